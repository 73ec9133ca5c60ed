//! `make bench-http`: kernels and initrds by HTTP, beside nginx.
//!
//! One server at a time, in turns, in one network namespace: each client has an address of its own, for a server of ours takes
//! 32 connections of one. The files are in the page cache. What is fetched is compared with the file once, byte for byte.

mod client;
mod nginx;

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use client::{Load, Measured, Until};
use nginx::Nginx;
use serde_json::json;

use crate::peers::{self, Peer};
use crate::rpc;

/// Bytes of the kernel and of the initrd: those of a Debian 12.
const FILES: [(&str, usize); 2] = [("vmlinuz-1", 8 << 20), ("initrd.img-1", 32 << 20)];
/// Clients that fetch the kernel again and again.
const CLIENTS: [usize; 3] = [1, 64, 500];
/// Clients that fetch both once.
const BOOTING: usize = 500;
const USAGE: &str = "usage: oneroot-bench http NAME=BINARY [NAME=BINARY] [--rounds N] [--seconds S] [--case 1,64,500,boot] [--json FILE] [--work DIRECTORY]";

struct Options {
    servers: Vec<(String, PathBuf)>,
    rounds: usize,
    cases: Vec<String>,
    time: Duration,
    json: Option<PathBuf>,
    work: PathBuf,
}

impl Options {
    fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self {
            servers: Vec::new(),
            rounds: 3,
            cases: crate::list("1,64,500,boot"),
            time: Duration::from_secs(4),
            json: None,
            work: "/var/tmp/oneroot-bench".into(),
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().context(USAGE);
            match *word {
                "--rounds" => options.rounds = value()?.parse()?,
                "--case" => options.cases = crate::list(value()?),
                "--seconds" => options.time = Duration::from_secs_f64(value()?.parse()?),
                "--json" => options.json = Some(value()?.into()),
                "--work" => options.work = value()?.into(),
                server => {
                    let (name, binary) = server.split_once('=').context(USAGE)?;
                    options.servers.push((name.to_owned(), fs::canonicalize(binary)?));
                }
            }
        }
        if options.servers.is_empty() || options.rounds == 0 {
            bail!(USAGE);
        }
        Ok(options)
    }
}

/// A figure: by whom, of what, and in which round.
struct Row {
    server: String,
    case: String,
    measured: Measured,
}

/// Runs it with these words.
pub fn run(words: &[&str]) -> Result<()> {
    let options = Options::parse(words)?;
    let work = options.work.join("http");
    let boot = work.join("tree/boot");
    fs::create_dir_all(&boot)?;
    for (number, (name, bytes)) in FILES.iter().enumerate() {
        let contents: Vec<u8> = (0..*bytes).map(|at| (at / 7 + at / 4099 + number) as u8).collect();
        fs::write(boot.join(name), contents)?;
    }
    let _network = peers::network()?;
    let mut rows = Vec::new();
    for round in 1..=options.rounds {
        let nginx = Nginx::start(&boot, &work, peers::SERVER)?;
        let mut processes = children(nginx.pid())?;
        processes.push(nginx.pid());
        let paths = || Ok(FILES.iter().map(|(name, _)| format!("/{name}")).collect());
        let to = SocketAddrV4::new(peers::SERVER, nginx::PORT);
        measure(
            &Server { name: "nginx", processes, to, boot: &boot },
            |_| paths(),
            &options,
            round,
            &mut rows,
        )?;
        drop(nginx);
        for (name, binary) in &options.servers {
            let peer = peers::oneroot_of(Some(binary), &work.join("tree"), BOOTING)?;
            let to = SocketAddrV4::new(peers::SERVER, 80);
            let server = Server { name, processes: vec![peer.pid()], to, boot: &boot };
            measure(&server, |client| paths_of(&peer, client), &options, round, &mut rows)?;
        }
    }
    let text = report(&rows);
    println!("{text}");
    if let Some(file) = &options.json {
        let rows: Vec<_> = rows.iter().map(json_of).collect();
        fs::write(
            file,
            serde_json::to_string_pretty(&json!({ "machine": crate::machine(), "rows": rows }))?,
        )?;
    }
    Ok(())
}

/// One that runs.
struct Server<'a> {
    name: &'a str,
    processes: Vec<u32>,
    to: SocketAddrV4,
    boot: &'a Path,
}

/// Where a client of ours finds its files: under the boot that its export names.
fn paths_of(peer: &Peer, client: usize) -> Result<Vec<String>> {
    let export = peer.export(client);
    let boot = export.strip_prefix("/v/").and_then(|export| export.split('.').nth(1)).context("no boot")?;
    Ok(vec![format!("/b/{boot}/kernel"), format!("/b/{boot}/initrd")])
}

fn measure(
    server: &Server<'_>,
    paths: impl Fn(usize) -> Result<Vec<String>>,
    options: &Options,
    round: usize,
    rows: &mut Vec<Row>,
) -> Result<()> {
    for ((name, _), path) in FILES.iter().zip(paths(0)?) {
        ensure!(
            whole(server.to, &path)? == fs::read(server.boot.join(name))?,
            "{}: {path} is another file",
            server.name
        );
    }
    let mut note = |case: String, measured: Measured| {
        let Measured { server_cpu, client_cpu, .. } = measured;
        eprintln!(
            "{round}: {}, {case}: {server_cpu:.0} us a MB, the client {client_cpu:.0}; {:.2} s",
            server.name,
            measured.took.as_secs_f64()
        );
        rows.push(Row { server: server.name.to_owned(), case, measured });
    };
    let load = |clients: usize, files: usize| -> Result<Load> {
        let paths = (0..clients).map(|client| Ok(paths(client)?.into_iter().take(files).collect()));
        Ok(Load { to: server.to, paths: paths.collect::<Result<_>>()? })
    };
    let wants = |case: &str| options.cases.iter().any(|wanted| wanted == case);
    for clients in CLIENTS.into_iter().filter(|clients| wants(&clients.to_string())) {
        let measured = client::run(&server.processes, &load(clients, 1)?, Until::Over(options.time))?;
        note(format!("{clients} connections"), measured);
    }
    if wants("boot") {
        let measured = client::run(&server.processes, &load(BOOTING, 2)?, Until::Once)?;
        note(format!("{BOOTING} boot at once"), measured);
    }
    Ok(())
}

/// A file as the server has it.
fn whole(to: SocketAddrV4, path: &str) -> Result<Vec<u8>> {
    let mut stream = rpc::connect(peers::client(0), to)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").context("no head")?;
    Ok(answer.split_off(end + 4))
}

fn children(pid: u32) -> Result<Vec<u32>> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    Ok(text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
}

/// The middle, the least and the most of what a server took in a case.
fn spread(rows: &[Row], server: &str, case: &str, figure: impl Fn(&Measured) -> f64) -> [f64; 3] {
    let found = rows.iter().filter(|row| row.server == server && row.case == case);
    let mut found: Vec<f64> = found.map(|row| figure(&row.measured)).collect();
    found.sort_by(f64::total_cmp);
    let last = found.len().saturating_sub(1);
    [found.len() / 2, 0, last].map(|at| found.get(at).copied().unwrap_or(f64::NAN))
}

/// The names of a column, each once.
fn each(rows: &[Row], name: impl Fn(&Row) -> &String) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for row in rows {
        if !names.contains(&name(row).as_str()) {
            names.push(name(row).as_str());
        }
    }
    names
}

fn report(rows: &[Row]) -> String {
    let mut text = String::from(
        "| case | server | server CPU µs/MB | client CPU µs/MB | MB/s | p50 ms | p99 ms | beside nginx | goal |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---|\n",
    );
    let seconds = |measured: &Measured| measured.took.as_secs_f64();
    for case in each(rows, |row| &row.case) {
        let once = case.contains("boot");
        for server in each(rows, |row| &row.server) {
            let of = |server: &str, figure: &dyn Fn(&Measured) -> f64| spread(rows, server, case, figure);
            let cpu = of(server, &|measured| measured.server_cpu);
            let ratio = |figure: &dyn Fn(&Measured) -> f64| of(server, figure)[0] / of("nginx", figure)[0];
            let (beside, goal) = match (server, once) {
                ("nginx", _) => (String::new(), String::new()),
                (_, true) => (format!("{:.2} of its time", ratio(&seconds)), reached(ratio(&seconds))),
                (_, false) => {
                    let ratio = ratio(&|measured| measured.server_cpu);
                    (format!("{ratio:.2} of its CPU"), reached(ratio))
                }
            };
            let _ = writeln!(
                text,
                "| {case} | {server} | {:.0} ({:.0} to {:.0}) | {:.0} | {:.0} | {:.1} | {:.1} | {beside} | {goal} |",
                cpu[0],
                cpu[1],
                cpu[2],
                of(server, &|measured| measured.client_cpu)[0],
                of(server, &|measured| measured.megabytes / seconds(measured))[0],
                of(server, &|measured| measured.p50)[0],
                of(server, &|measured| measured.p99)[0],
            );
        }
    }
    text
}

fn reached(ratio: f64) -> String {
    format!("1.0: {}", if ratio <= 1.0 { "reached" } else { "**not reached**" })
}

fn json_of(row: &Row) -> serde_json::Value {
    let Measured { megabytes, took, server_cpu, client_cpu, p50, p99 } = row.measured;
    json!({
        "server": row.server, "case": row.case, "megabytes": megabytes, "seconds": took.as_secs_f64(),
        "server_us_per_mb": server_cpu, "client_us_per_mb": client_cpu, "p50_ms": p50, "p99_ms": p99,
    })
}
