//! `make bench-tftp`: oneroot's TFTP beside atftpd, tftpd-hpa and dnsmasq, with the same files and the same clients.
//!
//! One server at a time, in a network namespace of the benchmark's own, and the clients in another, behind a cable of MTU
//! 1500 and a switch. Each round is all servers in turn; what is shown is the median of the rounds and what lies between
//! their ends, so that other work on the machine falls on all servers, and is seen.

mod account;
mod load;
mod peers;
mod report;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use oneroot_testkit::{Lab, ip};

use load::{Shape, Transfers};
use peers::Peer;
use report::{Report, Round};

const USAGE: &str =
    "usage: oneroot-bench tftp NAME=BINARY [NAME=BINARY] [--only SERVER[,SERVER]] [--case CASE[,CASE]]
                         [--rounds N] [--hpa IN.TFTPD] [--json FILE]
SERVER is atftpd, tftpd-hpa, dnsmasq or a NAME; CASE is lock, window, lock8, lock64, window64, curl or atftp";
/// What most firmware asks for, and what leaves room for a VLAN's and a tunnel's headers.
const BLKSIZE: u16 = 1456;
/// Clients have the upper half of the lab's network.
const CLIENTS: &str = "192.168.77.128/25";
const HOST: &str = "192.168.77.2/24";
/// The names that oneroot has for loaders, for these are what it gives to anybody. A large initrd, and a usual one.
const LARGE: (&str, usize) = ("ipxe.efi", 64 << 20);
const USUAL: (&str, usize) = ("undionly.kpxe", 4 << 20);

/// Who fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    /// The load generator.
    Own(Shape),
    Curl,
    Atftp,
}

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    name: &'static str,
    words: &'static str,
    client: Client,
    file: (&'static str, usize),
}

impl Case {
    fn windowed(&self) -> bool {
        matches!(self.client, Client::Own(Shape { windowsize: 2.., .. }) | Client::Atftp)
    }
}

const fn own(clients: usize, windowsize: u16, each: usize) -> Client {
    Client::Own(Shape { clients, windowsize, each })
}

const CASES: [Case; 7] = [
    Case { name: "lock", words: "lock-step, 1 client", client: own(1, 1, 1), file: LARGE },
    Case { name: "window", words: "windowsize 8, 1 client", client: own(1, 8, 3), file: LARGE },
    Case { name: "lock8", words: "lock-step, 8 clients", client: own(8, 1, 4), file: USUAL },
    Case { name: "lock64", words: "lock-step, 64 clients", client: own(64, 1, 1), file: USUAL },
    Case { name: "window64", words: "windowsize 8, 64 clients", client: own(64, 8, 3), file: USUAL },
    Case { name: "curl", words: "lock-step, curl", client: Client::Curl, file: LARGE },
    Case { name: "atftp", words: "windowsize 8, atftp", client: Client::Atftp, file: LARGE },
];

struct Options {
    ours: Vec<(String, PathBuf)>,
    only: Vec<String>,
    cases: Vec<String>,
    rounds: usize,
    hpa: PathBuf,
    json: Option<PathBuf>,
}

impl Options {
    fn parse(words: &[&str]) -> Result<Self> {
        let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let mut options = Self {
            ours: Vec::new(),
            only: Vec::new(),
            cases: CASES.iter().map(|case| case.name.to_owned()).collect(),
            rounds: 3,
            hpa: "in.tftpd".into(),
            json: None,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().context(USAGE);
            match *word {
                "--only" => options.only = list(value()?),
                "--case" => options.cases = list(value()?),
                "--rounds" => options.rounds = value()?.parse()?,
                "--hpa" => options.hpa = value()?.into(),
                "--json" => options.json = Some(value()?.into()),
                server => {
                    let (name, binary) = server.split_once('=').context(USAGE)?;
                    options.ours.push((name.to_owned(), binary.into()));
                }
            }
        }
        if options.ours.is_empty() || options.rounds == 0 {
            bail!(USAGE);
        }
        Ok(options)
    }
}

/// Runs it with these words.
pub fn run(words: &[&str]) -> Result<()> {
    let options = Options::parse(words)?;
    let files = tempfile::tempdir_in("/var/tmp").context("cannot make a directory for files to fetch")?;
    peers::make(files.path(), &[LARGE, USUAL])?;
    let mut servers: Vec<(String, Option<PathBuf>)> =
        ["atftpd", "tftpd-hpa", "dnsmasq"].map(|name| (name.to_owned(), None)).into();
    servers.extend(options.ours.iter().map(|(name, binary)| (name.clone(), Some(binary.clone()))));
    servers.retain(|(name, _)| options.only.is_empty() || options.only.contains(name));
    let cases: Vec<Case> =
        CASES.into_iter().filter(|case| options.cases.iter().any(|wanted| wanted == case.name)).collect();
    let ours = options.ours.last().map(|(name, _)| name.clone()).unwrap_or_default();
    let mut report = Report::new(ours);
    for number in 1..=options.rounds {
        for (name, binary) in &servers {
            eprintln!("round {number}, {name}");
            let lab = Lab::new()?;
            let peer = Peer::start(name, binary.as_deref(), files.path(), &options.hpa)?;
            lab.on_host(HOST, || clients(&peer, &cases, &mut report))??;
        }
    }
    println!("{}\n", report::machine());
    println!("{}", report.text());
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_string_pretty(&report.json())?)?;
    }
    match report.failures.iter().find(|failure| failure.starts_with(&report.ours)) {
        Some(failure) => bail!("{failure}"),
        None => Ok(()),
    }
}

/// What the clients' host does with one server.
fn clients(peer: &Peer, cases: &[Case], report: &mut Report) -> Result<()> {
    ip(&format!("route add local {CLIENTS} dev lo"))?;
    peer.wait(address(0))?;
    for case in cases {
        match measure(peer, *case) {
            Ok(Some(round)) => {
                eprintln!("  {}: {:.0} MB/s, {:.0} us of CPU per MB", case.words, round.rate, round.cpu);
                report.add(&peer.name, *case, round);
            }
            // It has no windows: that is no failure of its, and no figure.
            Ok(None) => {}
            Err(cause) => report.failures.push(format!("{}, {}: {cause:#}", peer.name, case.words)),
        }
    }
    Ok(())
}

/// The address of a client, by its number from 0.
fn address(number: usize) -> Ipv4Addr {
    let number = u8::try_from(number % 120).unwrap_or(0);
    Ipv4Addr::new(192, 168, 77, 129 + number)
}

fn measure(peer: &Peer, case: Case) -> Result<Option<Round>> {
    let (name, size) = case.file;
    if case.windowed() && !peer.windows {
        return Ok(None);
    }
    let (before, own, begun) = (peer.cpu()?, crate::cpu::of(std::process::id())?, Instant::now());
    let Transfers { mut times, again } = match case.client {
        Client::Own(shape) => load::run(shape, name, size)?,
        Client::Curl => {
            let from = address(0).to_string();
            let url = format!("tftp://{}/{name}", oneroot_testkit::SERVER);
            let words = [
                "-sS",
                "--interface",
                &from,
                "--tftp-blksize",
                &BLKSIZE.to_string(),
                "-o",
                "/dev/null",
                &url,
            ];
            program("curl", &words)?
        }
        Client::Atftp => {
            let blksize = format!("blksize {BLKSIZE}");
            let words =
                ["--option", &blksize, "--option", "windowsize 8", "-g", "-r", name, "-l", "/dev/null"];
            program("atftp", &[&words[..], &[oneroot_testkit::SERVER]].concat())?
        }
    };
    let (took, own) = (begun.elapsed(), crate::cpu::of(std::process::id())? - own);
    // A process that a server has for one transfer counts when it has ended.
    std::thread::sleep(Duration::from_millis(100));
    let cpu = peer.cpu()? - before;
    let megabytes = (times.len() * size) as f64 / 1e6;
    times.sort_unstable();
    let percentile = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1000.0;
    Ok(Some(Round {
        rate: megabytes / took.as_secs_f64(),
        cpu: cpu as f64 / 1000.0 / megabytes,
        client_cpu: own as f64 / 1000.0 / megabytes,
        p50: percentile(50),
        p99: percentile(99),
        again,
    }))
}

/// Somebody else's client, which fetches once.
fn program(name: &str, words: &[&str]) -> Result<Transfers> {
    let begun = Instant::now();
    let done = Command::new(name).args(words).stdin(Stdio::null()).stdout(Stdio::null()).output()?;
    // atftp ends well whatever happened, and says it; options it says too.
    let said = String::from_utf8_lossy(&done.stderr);
    let said: Vec<&str> = said.lines().filter(|line| !line.starts_with("Option ")).collect();
    ensure!(done.status.success() && said.is_empty(), "{name} says: {said:?}");
    Ok(Transfers { times: vec![begun.elapsed()], again: 0 })
}
