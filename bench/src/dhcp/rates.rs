//! The other half of `make bench-dhcp`: what an exchange of four messages costs, how many a second are answered without a drop,
//! and how long ten thousand machines take that are switched on at once; beside Kea. perfdhcp asks, as a relay.
//!
//! Each client is new to the server, so each ACK of oneroot's waits for the disk. Rounds of all servers alternate, so what else
//! the host does falls on all of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use oneroot_ids::Mac;
use oneroot_testkit::{Lab, Server, SiteFiles, ip, preload};
use serde_json::{Value, json};

use super::client::percentile;
use super::herd;
use super::kea::Kea;
use crate::cpu;

/// What strangers are given: a million addresses.
pub const POOL: &str = "10.65.0.0-10.79.255.250";
const SERVER: &str = "10.64.0.1";
const RELAY: &str = "10.64.0.2/12";
/// Machines of the avalanche, which the site names: 10.64.16.0 and on.
const AVALANCHE: u32 = 10_000;
const FIRST: u32 = 0x0a40_1000;
const CEILING: u32 = 32_000;
const PATIENCE: Duration = Duration::from_secs(60);
const USAGE: &str = "usage: oneroot-bench dhcp-rates NAME=BINARY [NAME=BINARY] [--seconds S] [--rounds N] [--rates 1000,4000,8000] [--json FILE]";

/// A disk on which each sync takes ten milliseconds more.
const SLOW: &str = "#include <sys/syscall.h>\n#include <unistd.h>\n\
    int fdatasync(int file) { usleep(10000); return syscall(SYS_fdatasync, file); }\n\
    int fsync(int file) { usleep(10000); return syscall(SYS_fsync, file); }\n";

/// Who is measured.
#[derive(Debug, Clone)]
enum Kind {
    Oneroot(PathBuf),
    Slow(PathBuf),
    Kea { persist: bool },
}

/// A server that runs, and the directory that goes with it.
struct Running {
    server: Runs,
    _work: tempfile::TempDir,
}

enum Runs {
    Oneroot(Server),
    Kea(Kea),
}

/// What clients have seen.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    pub acks: u64,
    pub drops: u64,
    /// Microseconds, in order: to the OFFER, and to the ACK.
    pub offers: Vec<u64>,
    pub ack_times: Vec<u64>,
}

/// One round at one rate.
#[derive(Debug, Clone)]
struct Cell {
    seen: Seen,
    cpu_us: f64,
}

struct Options {
    servers: Vec<(String, Kind)>,
    seconds: u32,
    rounds: u32,
    rates: Vec<u32>,
    json: Option<PathBuf>,
}

impl Options {
    fn parse(words: &[&str]) -> Result<Self> {
        let (servers, rates) = (Vec::new(), vec![1000, 4000, 8000]);
        let mut options = Self { servers, seconds: 5, rounds: 3, rates, json: None };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().context(USAGE);
            match *word {
                "--seconds" => options.seconds = value()?.parse()?,
                "--rounds" => options.rounds = value()?.parse()?,
                "--rates" => {
                    options.rates = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?;
                }
                "--json" => options.json = Some(value()?.into()),
                server => {
                    let (name, binary) = server.split_once('=').context(USAGE)?;
                    options.servers.push((name.to_owned(), Kind::Oneroot(binary.into())));
                }
            }
        }
        let Some((_, Kind::Oneroot(last))) = options.servers.last().cloned() else { bail!(USAGE) };
        options.servers.push(("Kea, in memory".to_owned(), Kind::Kea { persist: false }));
        options.servers.push(("Kea, file without sync".to_owned(), Kind::Kea { persist: true }));
        options.servers.push((SLOW_DISK.to_owned(), Kind::Slow(last)));
        Ok(options)
    }
}

const SLOW_DISK: &str = "now, each sync 10 ms longer";

/// Runs it with these words.
pub fn run(words: &[&str]) -> Result<()> {
    let options = Options::parse(words)?;
    let mut cells: BTreeMap<(u32, usize), Vec<Cell>> = BTreeMap::new();
    let mut tops: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    let mut avalanches: BTreeMap<usize, Vec<Option<Duration>>> = BTreeMap::new();
    for round in 1..=options.rounds {
        for (at, (name, kind)) in options.servers.iter().enumerate() {
            let lab = Lab::new()?;
            ip(&format!("addr add {SERVER}/12 dev lab0"))?;
            // Kea takes no interface that nothing is plugged into.
            for command in [
                "link add cable0 type veth peer name cable1",
                "link set cable0 master lab0 up",
                "link set cable1 up",
            ] {
                ip(command)?;
            }
            let running = start(kind)?;
            let pid = running.pid()?;
            for rate in &options.rates {
                let cell = measure(&lab, pid, *rate, options.seconds)?;
                eprintln!(
                    "round {round}, {name}, {rate}/s: {} ACKs, {} drops, {:.0} us",
                    cell.seen.acks, cell.seen.drops, cell.cpu_us
                );
                cells.entry((*rate, at)).or_default().push(cell);
            }
            if !matches!(kind, Kind::Slow(_)) {
                let top = highest(&lab)?;
                eprintln!("round {round}, {name}: {top}/s without a drop");
                tops.entry(at).or_default().push(top);
            }
            drop(running);
            // Of a server that has given nothing yet.
            let running = start(kind)?;
            let took = avalanche(&lab)?;
            eprintln!("round {round}, {name}: an avalanche of {AVALANCHE}: {took:?}");
            avalanches.entry(at).or_default().push(took);
            drop(running);
        }
    }
    print!("{}", table(&options, &cells, &tops, &avalanches));
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&as_json(&options, &cells, &tops, &avalanches))?)?;
    }
    Ok(())
}

impl Running {
    fn pid(&self) -> Result<u32> {
        match &self.server {
            Runs::Oneroot(server) => server.pid(),
            Runs::Kea(kea) => Ok(kea.pid()),
        }
    }
}

fn start(kind: &Kind) -> Result<Running> {
    let work = tempfile::tempdir()?;
    let server = match kind {
        Kind::Kea { persist } => Runs::Kea(Kea::start(work.path(), *persist)?),
        Kind::Oneroot(binary) => Runs::Oneroot(oneroot(binary, &[])?),
        Kind::Slow(binary) => {
            let library = preload(work.path(), "slow", SLOW)?;
            Runs::Oneroot(oneroot(binary, &[("LD_PRELOAD", &library)])?)
        }
    };
    Ok(Running { server, _work: work })
}

/// A site with a pool for strangers, and the machines of the avalanche by name, each with its address.
fn oneroot(binary: &Path, environment: &[(&str, &str)]) -> Result<Server> {
    let mut site = SiteFiles::with_source("directory = \"root\"", POOL, "1d")?;
    std::fs::create_dir_all(site.path().join("root/etc"))?;
    std::fs::write(site.path().join("root/etc/motd"), "hello\n")?;
    site.set_text(&site.text().replace("192.168.77.0/24", "10.64.0.0/12").replace("192.168.77.1", SERVER));
    let mut machines = String::new();
    for number in 0..AVALANCHE {
        let address = std::net::Ipv4Addr::from(FIRST + number);
        writeln!(
            machines,
            "[machine.m{number}]\nmac = \"{}\"\naddress = \"{address}\"\nprofile = \"debian\"",
            avalanche_mac(number)?
        )?;
    }
    site.add(&machines);
    let mut server = Server::new(site)?;
    server.set_binary(binary.to_owned());
    server.set_environment(environment);
    server.stage()?;
    server.restart()?;
    Ok(server)
}

/// perfdhcp counts MACs up from the first.
fn avalanche_mac(number: u32) -> Result<Mac> {
    let [.., high, low] = number.to_be_bytes();
    Mac::new([2, 0, 0xfe, 0, high, low]).context("not a MAC")
}

/// Numbers that no client had before: the third byte of their MACs.
fn fresh() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 0xfe
}

fn perfdhcp(lab: &Lab, words: &[String]) -> Result<String> {
    lab.on_host(RELAY, || {
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        let mut command = Command::new("timeout");
        let seconds = PATIENCE.as_secs().to_string();
        command.args([seconds.as_str(), "perfdhcp", "-4"]).args(words).arg(SERVER);
        // It ends with 3 where something was dropped, which its output says too.
        let done = command.env("PATH", path).output().context("cannot run perfdhcp")?;
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    })?
}

fn ask(lab: &Lab, rate: u32, seconds: u32) -> Result<Seen> {
    let words =
        format!("-r {rate} -R 1000000 -p {seconds} -W 1000000 -x t -b mac=02:00:{:02x}:00:00:00", fresh());
    let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
    let said = perfdhcp(lab, &words)?;
    seen(&said).with_context(|| format!("perfdhcp said:\n{}", said.chars().take(2000).collect::<String>()))
}

/// Reads what perfdhcp prints.
fn seen(said: &str) -> Result<Seen> {
    let mut seen = Seen::default();
    let mut is_ack = false;
    for line in said.lines() {
        if line.starts_with("***") {
            is_ack = line.contains("REQUEST-ACK");
        }
        if let Some(count) = line.strip_prefix("received packets: ").filter(|_| is_ack) {
            seen.acks = count.trim().parse()?;
        }
        if let Some(count) = line.strip_prefix("drops: ") {
            seen.drops += count.trim().parse::<u64>()?;
        }
        if let Some(times) = line.strip_prefix("sent / received: ") {
            let Some((sent, received)) = times.split_once(" / ") else { continue };
            let micros = |text: &str| -> Option<u64> {
                let (seconds, micros) = text.trim().split_once('.')?;
                Some(seconds.parse::<u64>().ok()? * 1_000_000 + micros.parse::<u64>().ok()?)
            };
            if let (Some(sent), Some(received)) = (micros(sent), micros(received)) {
                let times = if is_ack { &mut seen.ack_times } else { &mut seen.offers };
                times.push(received.saturating_sub(sent));
            }
        }
    }
    anyhow::ensure!(said.contains("REQUEST-ACK"), "no statistics");
    seen.offers.sort_unstable();
    seen.ack_times.sort_unstable();
    Ok(seen)
}

fn measure(lab: &Lab, pid: u32, rate: u32, seconds: u32) -> Result<Cell> {
    let before = cpu::of(pid)?;
    let seen = ask(lab, rate, seconds)?;
    let spent = cpu::of(pid)? - before;
    let cpu_us = spent as f64 / 1000.0 / seen.acks.max(1) as f64;
    Ok(Cell { seen, cpu_us })
}

/// The highest rate of a ladder at which fewer than one in a thousand is dropped, and the generator keeps up. It is one of our own:
/// perfdhcp comes to send less than either server can answer.
fn highest(lab: &Lab) -> Result<u32> {
    let (mut top, mut rate) = (0, 2000);
    while rate <= CEILING {
        let seen = herd::ask(lab, RELAY, SERVER.parse()?, u8::try_from(fresh())?, rate, 3)?;
        if seen.drops * 1000 > seen.acks || seen.acks == 0 {
            break;
        }
        // The generator itself may not come to send so many.
        let reached = u32::try_from(seen.acks / 3).unwrap_or(0);
        top = top.max(reached.min(rate));
        if reached < rate / 10 * 9 {
            break;
        }
        rate = rate * 5 / 4;
    }
    Ok(top)
}

/// Until each of the machines has its address, or nothing where they do not come to it.
fn avalanche(lab: &Lab) -> Result<Option<Duration>> {
    let words = format!("--scenario avalanche -R {AVALANCHE} -b mac=02:00:fe:00:00:00");
    let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
    let begun = Instant::now();
    let said = perfdhcp(lab, &words)?;
    let took = begun.elapsed();
    Ok((took < PATIENCE && said.contains("REQUEST-ACK")).then_some(took))
}

fn median(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
    (at(values.len() / 2), at(0), at(values.len().saturating_sub(1)))
}

type Cells = BTreeMap<(u32, usize), Vec<Cell>>;
type Tops = BTreeMap<usize, Vec<u32>>;
type Avalanches = BTreeMap<usize, Vec<Option<Duration>>>;

fn table(options: &Options, cells: &Cells, tops: &Tops, avalanches: &Avalanches) -> String {
    let kea = options.servers.iter().position(|(_, kind)| matches!(kind, Kind::Kea { persist: false }));
    let cpu = |rate: u32, at: usize| {
        median(cells.get(&(rate, at)).into_iter().flatten().map(|cell| cell.cpu_us).collect())
    };
    let mut text = "| exchanges a second | server | µs of CPU for one: median, least and most | of Kea's in memory | goal | drops | OFFER p50, p99 | ACK p50, p99 |\n\
                    |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for ((rate, at), rounds) in cells {
        let (middle, least, most) = cpu(*rate, *at);
        let ratio = kea.map_or(f64::NAN, |kea| middle / cpu(*rate, kea).0);
        let is_ours = matches!(options.servers[*at].1, Kind::Oneroot(_));
        let goal = match rate {
            1000 if is_ours => "0.50",
            8000 if is_ours => "0.20",
            _ => "",
        };
        let drops: u64 = rounds.iter().map(|cell| cell.seen.drops).sum();
        let ms = |pick: fn(&Seen) -> &Vec<u64>, percent: usize| {
            let all = rounds.iter().filter_map(|cell| percentile(pick(&cell.seen), percent));
            median(all.map(|us| us as f64 / 1000.0).collect()).0
        };
        let _ = writeln!(
            text,
            "| {rate} | {} | {middle:.0} ({least:.0}, {most:.0}) | {ratio:.2} | {goal} | {drops} | {:.1} ms, {:.1} ms | {:.1} ms, {:.1} ms |",
            options.servers[*at].0,
            ms(|seen| &seen.offers, 50),
            ms(|seen| &seen.offers, 99),
            ms(|seen| &seen.ack_times, 50),
            ms(|seen| &seen.ack_times, 99),
        );
    }
    let _ = writeln!(
        text,
        "\n| server | most a second without a drop: median, least and most | an avalanche of {AVALANCHE} |\n|---|---|---|"
    );
    for (at, (name, _)) in options.servers.iter().enumerate() {
        let (middle, least, most) =
            median(tops.get(&at).into_iter().flatten().map(|top| f64::from(*top)).collect());
        let took: Vec<String> = avalanches
            .get(&at)
            .into_iter()
            .flatten()
            .map(|took| took.map_or("not ended".to_owned(), |took| format!("{:.1} s", took.as_secs_f64())))
            .collect();
        let top = if middle.is_nan() {
            "not measured".to_owned()
        } else {
            format!("{middle:.0} ({least:.0}, {most:.0})")
        };
        let _ = writeln!(text, "| {name} | {top} | {} |", took.join(", "));
    }
    text
}

fn as_json(options: &Options, cells: &Cells, tops: &Tops, avalanches: &Avalanches) -> Value {
    let name = |at: usize| &options.servers[at].0;
    let rates: Vec<Value> = cells
        .iter()
        .flat_map(|((rate, at), rounds)| {
            rounds.iter().map(move |cell| {
                json!({
                    "rate": rate, "server": name(*at), "acks": cell.seen.acks, "drops": cell.seen.drops, "cpu_us": cell.cpu_us,
                    "offer_p50_us": percentile(&cell.seen.offers, 50), "offer_p99_us": percentile(&cell.seen.offers, 99),
                    "ack_p50_us": percentile(&cell.seen.ack_times, 50), "ack_p99_us": percentile(&cell.seen.ack_times, 99),
                })
            })
        })
        .collect();
    let tops: Vec<Value> =
        tops.iter().map(|(at, tops)| json!({ "server": name(*at), "without_a_drop": tops })).collect();
    let seconds = |took: &Option<Duration>| took.map(|took| took.as_secs_f64());
    let avalanches: Vec<Value> = avalanches
        .iter()
        .map(|(at, took)| json!({ "server": name(*at), "seconds": took.iter().map(seconds).collect::<Vec<_>>() }))
        .collect();
    json!({ "rates": rates, "tops": tops, "avalanches": avalanches })
}
