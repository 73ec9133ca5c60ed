//! What came out: a table for people, JSON for programs, and each goal with its ratio.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Case;

/// One case with one server, once.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    /// Megabytes (10^6 bytes) in a second, all clients together.
    pub rate: f64,
    /// The server's CPU microseconds for each.
    pub cpu: f64,
    /// The load generator's.
    pub client_cpu: f64,
    /// Half of the transfers took no longer than so many milliseconds.
    pub p50: f64,
    /// 99 of 100 did.
    pub p99: f64,
    /// What clients said again, or heard again.
    pub again: u64,
}

/// Everything of one run.
pub struct Report {
    /// The server whose ratios are shown.
    pub ours: String,
    rows: Vec<(String, Case, Vec<Round>)>,
    /// What a server did not get through.
    pub failures: Vec<String>,
}

/// The largest ratio of time, and of CPU, to the best peer's that is good enough.
fn bounds(case: Case) -> (f64, f64) {
    match case.name {
        "window" | "lock64" | "window64" => (0.5, 1.0),
        _ => (1.0, 1.0),
    }
}

fn median(rounds: &[Round], of: impl Fn(&Round) -> f64) -> f64 {
    let mut figures: Vec<f64> = rounds.iter().map(of).collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What lies between the ends of the rounds.
fn spread(rounds: &[Round], of: impl Fn(&Round) -> f64) -> String {
    let figures = || rounds.iter().map(&of);
    let (least, most) = (figures().fold(f64::INFINITY, f64::min), figures().fold(0.0, f64::max));
    format!("{least:.0}–{most:.0}")
}

impl Report {
    /// Nothing yet.
    pub fn new(ours: String) -> Self {
        Self { ours, rows: Vec::new(), failures: Vec::new() }
    }

    /// One more round.
    pub fn add(&mut self, server: &str, case: Case, round: Round) {
        match self.rows.iter_mut().find(|(name, of, _)| name == server && *of == case) {
            Some((.., rounds)) => rounds.push(round),
            None => self.rows.push((server.to_owned(), case, vec![round])),
        }
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases: Vec<Case> = Vec::new();
        for (_, case, _) in &self.rows {
            if !cases.contains(case) {
                cases.push(*case);
            }
        }
        cases
    }

    /// The goals of the issue: what, figure, bound. The figure must not be larger than the bound.
    pub fn goals(&self) -> Vec<(String, f64, f64)> {
        let mut goals = Vec::new();
        for case in self.cases() {
            let of = |server: &dyn Fn(&str) -> bool, figure: &dyn Fn(&Round) -> f64| {
                let rows = self.rows.iter().filter(|(name, of, _)| *of == case && server(name));
                rows.map(|(name, _, rounds)| (median(rounds, figure), name.clone()))
                    .min_by(|one, other| one.0.total_cmp(&other.0))
            };
            let peer = |name: &str| ["atftpd", "tftpd-hpa", "dnsmasq"].contains(&name);
            let ours = |name: &str| name == self.ours;
            let (time, cpu) = bounds(case);
            for (what, bound, figure) in [
                ("time", time, &(|round: &Round| 1.0 / round.rate) as &dyn Fn(&Round) -> f64),
                ("CPU per MB", cpu, &|round: &Round| round.cpu),
            ] {
                if let (Some((ours, _)), Some((best, name))) = (of(&ours, figure), of(&peer, figure)) {
                    goals.push((
                        format!("{}: {what} / {name}'s, the best peer's", case.words),
                        ours / best,
                        bound,
                    ));
                }
            }
        }
        goals
    }

    /// For people; Markdown.
    pub fn text(&self) -> String {
        let mut text = String::from(
            "| case | server | MB/s | CPU µs/MB | p50 ms | p99 ms | client CPU µs/MB | said or heard again |\n\
             |---|---|---:|---:|---:|---:|---:|---:|\n",
        );
        for case in self.cases() {
            for (server, _, rounds) in self.rows.iter().filter(|(_, of, _)| *of == case) {
                let _ = writeln!(
                    text,
                    "| {} | {server} | {:.0} ({}) | {:.0} ({}) | {:.1} | {:.1} | {:.0} | {} |",
                    case.words,
                    median(rounds, |round| round.rate),
                    spread(rounds, |round| round.rate),
                    median(rounds, |round| round.cpu),
                    spread(rounds, |round| round.cpu),
                    median(rounds, |round| round.p50),
                    median(rounds, |round| round.p99),
                    median(rounds, |round| round.client_cpu),
                    rounds.iter().map(|round| round.again).sum::<u64>(),
                );
            }
        }
        text + &crate::report::goals(self.goals(), &self.failures)
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let round = |round: &Round| {
            json!({
                "megabytes_per_second": round.rate, "server_cpu_us_per_megabyte": round.cpu,
                "client_cpu_us_per_megabyte": round.client_cpu, "p50_ms": round.p50, "p99_ms": round.p99,
                "said_again": round.again,
            })
        };
        let row = |(server, case, rounds): &(String, Case, Vec<Round>)| {
            json!({
                "server": server, "case": case.words, "rounds": rounds.iter().map(round).collect::<Vec<_>>(),
            })
        };
        let goal = |(what, ratio, bound): &(String, f64, f64)| json!({ "goal": what, "ratio": ratio, "at_most": bound, "reached": ratio <= bound });
        json!({
            "machine": machine(),
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
            "goals": self.goals().iter().map(goal).collect::<Vec<_>>(),
            "failures": self.failures,
        })
    }
}

/// When, where, and what else ran.
pub fn machine() -> String {
    let machine = crate::machine();
    let word = |key: &str| machine[key].as_str().unwrap_or("").to_owned();
    format!("{}, {}, load {}", word("date"), word("machine"), word("load"))
}
