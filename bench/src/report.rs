//! What came out: a table for people, JSON for programs, and each goal with its ratio.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cases::Case;
use crate::load::{Measured, Shape};
use crate::storm::Stormed;

/// One line of the table.
pub struct Row {
    /// The server.
    pub server: &'static str,
    /// The case.
    pub case: Case,
    /// The load.
    pub shape: Shape,
    /// The figures.
    pub measured: Measured,
    /// Directory entries for each page; 1 for anything else.
    pub entries: f64,
}

/// Everything of one run.
#[derive(Default)]
pub struct Report {
    /// Figures, in the order in which they were measured.
    pub rows: Vec<Row>,
    /// Storms by server.
    pub storms: Vec<(&'static str, usize, Stormed)>,
    /// What a server did not get through.
    pub failures: Vec<String>,
}

/// The goals as a table, and what has failed: the end of every report.
pub fn goals(goals: Vec<(String, f64, f64)>, failures: &[String]) -> String {
    let mut text = "\n| goal | ratio | at most | |\n|---|---:|---:|---|\n".to_owned();
    for (what, figure, bound) in goals {
        let word = if figure <= bound { "reached" } else { "**not reached**" };
        let _ = writeln!(text, "| {what} | {figure:.2} | {bound} | {word} |");
    }
    for failure in failures {
        let _ = writeln!(text, "\nfailed: {failure}");
    }
    text
}

impl Report {
    fn find(&self, server: &str, case: Case, connections: usize) -> Option<&Row> {
        self.rows
            .iter()
            .find(|row| row.server == server && row.case == case && row.shape.connections == connections)
    }

    /// CPU microseconds for each unit: a call, or an entry of a listing.
    fn cpu(&self, server: &str, case: Case, connections: usize) -> Option<f64> {
        self.find(server, case, connections).map(|row| row.measured.server_cpu / row.entries)
    }

    /// The goals of the issue: what, figure, bound. The figure must not be larger than the bound.
    #[must_use]
    pub fn goals(&self) -> Vec<(String, f64, f64)> {
        let mut goals = Vec::new();
        let mut goal = |what: String, ours: Option<f64>, theirs: Option<f64>, bound: f64| {
            if let (Some(ours), Some(theirs)) = (ours, theirs) {
                goals.push((what, ours / theirs, bound));
            }
        };
        for case in [Case::Getattr, Case::Lookup, Case::Access, Case::Walk] {
            let (ours, theirs) = (self.cpu("oneroot", case, 4), self.cpu("nfs-ganesha", case, 4));
            goal(format!("{} 4x32: CPU / ganesha's", case.name()), ours, theirs, 0.1);
            let slowness =
                |server| self.find(server, case, 4).map(|row| 1.0 / row.measured.rate / row.entries);
            goal(
                format!("{} 4x32: time / ganesha's", case.name()),
                slowness("oneroot"),
                slowness("nfs-ganesha"),
                0.1,
            );
        }
        for case in [Case::Getattr, Case::Lookup, Case::Access] {
            for connections in [1, 4, 64] {
                let ours = self.cpu("oneroot", case, connections);
                // The size of a GETATTR reply, whatever is asked.
                let floor = self.cpu("canned", Case::Getattr, connections);
                goal(
                    format!("{}, {connections} connections: CPU / canned bytes'", case.name()),
                    ours,
                    floor,
                    2.0,
                );
            }
        }
        for connections in [1, 4, 64] {
            let ours = self.cpu("oneroot", Case::LargeRead, connections);
            let floor = self.cpu("sendfile", Case::LargeRead, connections);
            let theirs = self.cpu("nfs-ganesha", Case::LargeRead, connections);
            goal(format!("READ 1 MiB, {connections} connections: CPU / sendfile's"), ours, floor, 1.25);
            goal(format!("READ 1 MiB, {connections} connections: CPU / ganesha's"), ours, theirs, 0.5);
        }
        let small = |server| self.cpu(server, Case::SmallRead, 4);
        goal("READ 4 KiB 4x32: CPU / ganesha's".to_owned(), small("oneroot"), small("nfs-ganesha"), 0.2);
        let storm =
            |server| self.storms.iter().find(|(name, ..)| *name == server).map(|(_, _, storm)| *storm);
        let (ours, theirs) = (storm("oneroot"), storm("nfs-ganesha"));
        let seconds = |storm: Option<Stormed>| storm.map(|storm| storm.seconds);
        let cpu = |storm: Option<Stormed>| storm.map(|storm| storm.server_cpu);
        goal("storm: time / ganesha's".to_owned(), seconds(ours), seconds(theirs), 0.2);
        goal("storm: CPU / ganesha's".to_owned(), cpu(ours), cpu(theirs), 0.2);
        goals
    }

    /// For people; Markdown.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::from(
            "| case | conns × depth | server | calls/s | p50 µs | p99 µs | server CPU µs/call | client CPU µs/call |\n\
             |---|---|---|---:|---:|---:|---:|---:|\n",
        );
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        let order = |row: &Row| Case::ALL.iter().position(|case| *case == row.case);
        rows.sort_by_key(|row| (order(row), row.shape.connections));
        for row in rows {
            let Measured { rate, p50, p99, server_cpu, client_cpu, .. } = row.measured;
            let entry = if row.case == Case::Walk {
                format!(" ({:.3} an entry)", server_cpu / row.entries)
            } else {
                String::new()
            };
            let _ = writeln!(
                text,
                "| {} | {}×{} | {} | {rate:.0} | {p50:.0} | {p99:.0} | {server_cpu:.2}{entry} | {client_cpu:.2} |",
                row.case.name(),
                row.shape.connections,
                row.shape.depth,
                row.server
            );
        }
        if !self.storms.is_empty() {
            text += "\n| storm | clients | seconds | client p50 s | p99 s | calls | MB | server CPU s | client CPU s |\n\
                     |---|---:|---:|---:|---:|---:|---:|---:|---:|\n";
        }
        for (server, clients, storm) in &self.storms {
            let Stormed { seconds, p50, p99, server_cpu, client_cpu, calls, bytes } = storm;
            let megabytes = bytes >> 20;
            let _ = writeln!(
                text,
                "| {server} | {clients} | {seconds:.2} | {p50:.2} | {p99:.2} | {calls} | {megabytes} | {server_cpu:.2} | {client_cpu:.2} |"
            );
        }
        text + &goals(self.goals(), &self.failures)
    }

    /// For programs.
    #[must_use]
    pub fn json(&self, machine: &Value) -> Value {
        let row = |row: &Row| {
            let m = row.measured;
            json!({
                "case": row.case.name(), "server": row.server,
                "connections": row.shape.connections, "depth": row.shape.depth,
                "calls_per_second": m.rate, "p50_us": m.p50, "p99_us": m.p99,
                "server_cpu_us_per_call": m.server_cpu, "client_cpu_us_per_call": m.client_cpu,
                "calls": m.calls, "entries_per_call": row.entries,
            })
        };
        let storm = |(server, clients, s): &(&str, usize, Stormed)| {
            json!({
                "server": server, "clients": clients, "seconds": s.seconds, "p50_s": s.p50, "p99_s": s.p99,
                "server_cpu_s": s.server_cpu, "client_cpu_s": s.client_cpu, "calls": s.calls, "bytes": s.bytes,
            })
        };
        let goal = |(what, ratio, bound): &(String, f64, f64)| json!({ "goal": what, "ratio": ratio, "at_most": bound, "reached": ratio <= bound });
        json!({
            "machine": machine,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
            "storms": self.storms.iter().map(storm).collect::<Vec<_>>(),
            "failures": self.failures,
            "goals": self.goals().iter().map(goal).collect::<Vec<_>>(),
        })
    }
}
