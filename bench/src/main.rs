//! `make bench-nfs`: oneroot's NFS server beside nfs-ganesha, nfs3_server and two floors, in one run. `make bench-dhcp`:
//! see [`dhcp`]. `make bench-http`: see [`http`]. `make bench-tftp`: see [`tftp`]. `make bench-boots`: see [`boots`].
//! `make bench-tree`: see [`machines`].
//!
//! One tree, one load generator, one machine, one server at a time, in a network namespace of the benchmark's own. What
//! each figure means is said in docs/benchmarks.md.
#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a measuring program for a developer's own machine: it may stop with a backtrace"
)]

mod boots;
mod cases;
mod cpu;
mod dhcp;
mod floors;
mod http;
mod leases;
mod load;
mod machines;
mod mirror;
mod nodes;
mod peers;
mod record;
mod report;
mod rpc;
mod storm;
mod tftp;
mod tree;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use cases::Case;
use load::{Shape, Span, Work};
use peers::Peer;
use report::{Report, Row};
use rpc::Prober;
use serde_json::json;
use storm::{Booting, Recording};

const SHAPES: [Shape; 3] = [
    Shape { connections: 1, depth: 1 },
    Shape { connections: 4, depth: 32 },
    Shape { connections: 64, depth: 4 },
];
/// Clients of the cases; connections are shared out among them. The server takes 32 connections of one address.
const CLIENTS: usize = 4;
const USAGE: &str = "usage: oneroot-bench run [--only SERVER[,SERVER]] [--case CASE[,CASE]] [--seconds S] [--clients N]
                         [--boot FILE.calls] [--json FILE] [--work DIRECTORY]
       oneroot-bench machines
       oneroot-bench tftp NAME=BINARY [NAME=BINARY]
       oneroot-bench boots NAME=BINARY [NAME=BINARY]
       oneroot-bench http NAME=BINARY [NAME=BINARY]
       oneroot-bench record CAPTURE.pcap > boots/NAME.calls
SERVER is canned, sendfile, nfs3, ganesha or oneroot; CASE is getattr, lookup, access, walk, small, large or storm";

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", port, "canned"] => floors::canned(port.parse()?),
        ["serve", port, "sendfile", file] => floors::sendfile(port.parse()?, Path::new(file)),
        ["serve", port, "nfs3", tree] => mirror::serve(port.parse()?, Path::new(tree)),
        ["record", capture] => {
            print!("{}", record::record(Path::new(capture))?);
            Ok(())
        }
        ["dhcp", rest @ ..] => dhcp::run(rest),
        ["dhcp-rates", rest @ ..] => dhcp::rates::run(rest),
        ["http", rest @ ..] => http::run(rest),
        ["tftp", rest @ ..] => tftp::run(rest),
        ["boots", rest @ ..] => boots::run(rest),
        ["machines"] => {
            machines::run();
            Ok(())
        }
        ["run", rest @ ..] => Options::parse(rest)?.run(),
        _ => bail!(USAGE),
    }
}

struct Options {
    only: Vec<String>,
    cases: Vec<String>,
    span: Span,
    clients: usize,
    boot: PathBuf,
    json: Option<PathBuf>,
    work: PathBuf,
}

impl Options {
    fn parse(words: &[&str]) -> Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut options = Self {
            only: list("canned,sendfile,nfs3,ganesha,oneroot"),
            cases: list("getattr,lookup,access,walk,small,large,storm"),
            span: Span { warm_up: Duration::from_millis(500), counted: Duration::from_secs(2) },
            clients: 500,
            boot: here.join("boots/debian-bios.calls"),
            json: None,
            work: "/var/tmp/oneroot-bench".into(),
        };
        for pair in words.chunks(2) {
            let [name, value] = pair else { bail!(USAGE) };
            match *name {
                "--only" => options.only = list(value),
                "--case" => options.cases = list(value),
                "--seconds" => options.span.counted = Duration::from_secs_f64(value.parse()?),
                "--clients" => options.clients = value.parse()?,
                "--boot" => options.boot = value.into(),
                "--json" => options.json = Some(value.into()),
                "--work" => options.work = value.into(),
                _ => bail!(USAGE),
            }
        }
        Ok(options)
    }

    fn wants(&self, case: Case) -> bool {
        let name = match case {
            Case::Getattr => "getattr",
            Case::Lookup => "lookup",
            Case::Access => "access",
            Case::Walk => "walk",
            Case::SmallRead => "small",
            Case::LargeRead => "large",
        };
        self.cases.iter().any(|case| case == name)
    }

    fn run(&self) -> Result<()> {
        std::fs::create_dir_all(&self.work)?;
        let recording = Arc::new(Recording::load(&self.boot)?);
        let tree = tree::make(&self.work, &recording.nodes)?;
        read_all(&tree)?;
        let _network = peers::network()?;
        let storms = self.cases.iter().any(|case| case == "storm");
        let machines = if storms { self.clients.max(CLIENTS) } else { CLIENTS };
        let big = tree.join("big").display().to_string();
        let mut report = Report::default();
        for name in &self.only {
            eprintln!("{name}: starts");
            let peer = match name.as_str() {
                "canned" => peers::own("canned", &["canned"], 2049, &self.work)?,
                "sendfile" => peers::own("sendfile", &["sendfile", &big], 2049, &self.work)?,
                "nfs3" => {
                    peers::own("nfs3_server", &["nfs3", &tree.display().to_string()], 2049, &self.work)?
                }
                "ganesha" => peers::ganesha(&tree, &self.work)?,
                "oneroot" => peers::oneroot(&tree, machines)?,
                _ => bail!(USAGE),
            };
            let floor = matches!(peer.name, "canned" | "sendfile");
            self.measure(&peer, floor, &mut report)?;
            if storms && !floor {
                let clients = booting(&peer, self.clients)?;
                eprintln!("{name}: storm of {} clients, {} calls each", clients.len(), recording.calls());
                match storm::run(peer.pid(), peer.nfs(), &recording, &clients) {
                    Ok(stormed) => report.storms.push((peer.name, self.clients, stormed)),
                    Err(cause) => report.failures.push(format!("{}, storm: {cause:#}", peer.name)),
                }
            }
        }
        let machine = machine();
        println!(
            "{}, {}\n",
            machine["date"].as_str().unwrap_or(""),
            machine["machine"].as_str().unwrap_or("")
        );
        println!("{}", report.text());
        if let Some(file) = &self.json {
            std::fs::write(file, serde_json::to_string_pretty(&report.json(&machine))?)?;
        }
        let ours = report.failures.iter().find(|failure| failure.starts_with("oneroot"));
        ours.map_or(Ok(()), |failure| bail!("{failure}"))
    }

    fn measure(&self, peer: &Peer, floor: bool, report: &mut Report) -> Result<()> {
        let surveyed = if floor { Vec::new() } else { survey(peer)? };
        for case in Case::ALL.into_iter().filter(|case| self.wants(*case)) {
            let large = matches!(case, Case::SmallRead | Case::LargeRead);
            if floor && (large != (peer.name == "sendfile") || !large && case != Case::Getattr) {
                continue;
            }
            let work: Vec<Work> = if floor {
                (0..CLIENTS).map(|number| cases::canned(peers::client(number), case)).collect()
            } else {
                surveyed.iter().map(|surveyed| surveyed.work(case)).collect::<Result<_>>()?
            };
            let entries = surveyed.first().filter(|_| case == Case::Walk);
            let entries = entries.map_or(1.0, |one| one.entries as f64 / work[0].calls.len() as f64);
            for shape in SHAPES {
                let measured = match load::run(peer.pid(), peer.nfs(), &work, shape, self.span) {
                    Ok(measured) => measured,
                    Err(cause) => {
                        report.failures.push(format!(
                            "{}, {}, {}x{}: {cause:#}",
                            peer.name,
                            case.name(),
                            shape.connections,
                            shape.depth
                        ));
                        continue;
                    }
                };
                eprintln!(
                    "  {} {}x{}: {:.0}/s, {:.2} us",
                    case.name(),
                    shape.connections,
                    shape.depth,
                    measured.rate,
                    measured.server_cpu
                );
                report.rows.push(Row { server: peer.name, case, shape, measured, entries });
            }
        }
        Ok(())
    }
}

fn list(words: &str) -> Vec<String> {
    words.split(',').map(str::to_owned).collect()
}

/// What each client sees. Where all see the same, one looks and all use it.
fn survey(peer: &Peer) -> Result<Vec<cases::Surveyed>> {
    let mut surveyed = Vec::new();
    for number in 0..if peer.own_exports() { CLIENTS } else { 1 } {
        let from = peers::client(number);
        let root = Prober::new(from, peer.mount())?.mount(peer.export(number))?;
        surveyed.push(cases::survey(&mut Prober::new(from, peer.nfs())?, from, &root)?);
    }
    let nodes = surveyed.first().map_or(0, cases::Surveyed::nodes);
    eprintln!("  {nodes} nodes found");
    Ok(surveyed)
}

/// All clients of a storm, each with its root.
fn booting(peer: &Peer, clients: usize) -> Result<Vec<Booting>> {
    let mount = |number: usize| {
        let from = peers::client(number);
        let root = Prober::new(from, peer.mount())?.mount(peer.export(number))?;
        Ok(Booting { from, root })
    };
    (0..clients).map(mount).collect()
}

/// Reads the whole tree once: no server is to be the one that waits for the disk.
fn read_all(tree: &Path) -> Result<()> {
    let script = "find \"$1\" -type f -print0 | xargs -0 cat > /dev/null";
    let done = Command::new("sh").args(["-c", script, "sh"]).arg(tree).status()?;
    anyhow::ensure!(done.success(), "cannot read {}", tree.display());
    Ok(())
}

/// When and where.
fn machine() -> serde_json::Value {
    let say = |program: &str, words: &[&str]| {
        let said = Command::new(program).args(words).output().map(|done| done.stdout).unwrap_or_default();
        String::from_utf8_lossy(&said).trim().to_owned()
    };
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("")
        .trim_start_matches(['\t', ' ', ':']);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    json!({
        "date": say("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        "machine": format!("{cores} cores, {model}, Linux {}", say("uname", &["-r"])),
        "load": std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
        "ganesha": say("dpkg-query", &["-W", "-f", "${Version}", "nfs-ganesha"]),
    })
}
