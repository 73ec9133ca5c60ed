//! `make bench-dhcp`: how long a machine that the site names waits for its address while strangers flood the server.
//!
//! One server at a time, in a network namespace of its own; the flood and the machines are two hosts on its switch, each
//! behind a relay's socket (RFC 2131 §4.1). The pool is full of leases that run. Each machine is measured once, so that each
//! ACK waits for the disk, but in the flood with its own MAC: there one machine asks again and again.

mod client;
mod herd;
mod kea;
pub mod rates;

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use oneroot_ids::Mac;
use oneroot_testkit::{Lab, Server, SiteFiles, ip};
use serde_json::{Value, json};

use client::{Flood, Measured};

use crate::leases;

/// Addresses of the named machines: 192.168.4.0 and on, outside of every pool.
const FIRST: u32 = 0xc0a8_0400;
const MACHINES: u32 = 6000;
/// The pools begin here and may have up to 60,000 addresses: the network is a /15.
const POOL: u32 = 0xc0a9_0100;
const USAGE: &str = "usage: oneroot-bench dhcp NAME=BINARY [NAME=BINARY] [--seconds S] [--pools 100,4000,60000] [--rates 0,100,1000,10000,20000] [--json FILE]";

struct Options {
    servers: Vec<(String, PathBuf)>,
    time: Duration,
    pools: Vec<u32>,
    rates: Vec<u32>,
    json: Option<PathBuf>,
}

impl Options {
    fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self {
            servers: Vec::new(),
            time: Duration::from_secs(10),
            pools: vec![100, 4000, 60_000],
            rates: vec![0, 100, 1000, 10_000, 20_000],
            json: None,
        };
        let numbers = |text: &str| text.split(',').map(str::parse).collect::<Result<Vec<u32>, _>>();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().context(USAGE);
            match *word {
                "--seconds" => options.time = Duration::from_secs_f64(value()?.parse()?),
                "--pools" => options.pools = numbers(value()?)?,
                "--rates" => options.rates = numbers(value()?)?,
                "--json" => options.json = Some(value()?.into()),
                server => {
                    let (name, binary) = server.split_once('=').context(USAGE)?;
                    options.servers.push((name.to_owned(), binary.into()));
                }
            }
        }
        if options.servers.is_empty() || options.pools.iter().any(|pool| *pool > 60_000) {
            bail!(USAGE);
        }
        Ok(options)
    }
}

/// What is measured in one cell of the table.
struct Cell {
    server: String,
    pool: u32,
    flood: Flood,
    sent: u64,
    measured: Measured,
}

/// Runs it with these words.
pub fn run(words: &[&str]) -> Result<()> {
    let options = Options::parse(words)?;
    let mut cells = Vec::new();
    for (name, binary) in &options.servers {
        for pool in &options.pools {
            let lab = Lab::new()?;
            ip("addr add 192.168.4.1/15 dev lab0")?;
            let mut server = server(binary, *pool)?;
            server.restart()?;
            let floods = options.rates.iter().map(|rate| Flood::MadeUp(*rate)).chain([Flood::Own(10_000)]);
            for (number, flood) in (0..).zip(floods) {
                eprintln!("{name}, a pool of {pool}: {flood}");
                let first = number * MACHINES / 8;
                let (measured, sent) = client::measure(&lab, flood, first, options.time)?;
                cells.push(Cell { server: name.clone(), pool: *pool, flood, sent, measured });
            }
        }
    }
    print!("{}", table(&cells));
    if let Some(path) = options.json {
        let all: Vec<Value> = cells.iter().map(Cell::json).collect();
        std::fs::write(path, serde_json::to_vec_pretty(&all)?)?;
    }
    Ok(())
}

/// A site of many machines, each with an address of its own, and a pool that strangers have filled.
fn server(binary: &Path, pool: u32) -> Result<Server> {
    let last = Ipv4Addr::from(POOL + pool - 1);
    let range = format!("{}-{last}", Ipv4Addr::from(POOL));
    let mut site = SiteFiles::with_source("directory = \"root\"", &range, "1d")?;
    std::fs::create_dir_all(site.path().join("root/etc"))?;
    std::fs::write(site.path().join("root/etc/motd"), "hello\n")?;
    site.set_text(&site.text().replace("192.168.77.0/24", "192.168.0.0/15"));
    let mut machines = String::new();
    for number in 0..MACHINES {
        let address = Ipv4Addr::from(FIRST + 2 + number);
        let mac = Mac::new(client::machine(number)).context("not a MAC")?;
        writeln!(
            machines,
            "[machine.m{number}]\nmac = \"{mac}\"\naddress = \"{address}\"\nprofile = \"debian\""
        )?;
    }
    site.add(&machines);
    let mut server = Server::new(site)?;
    server.set_binary(binary.to_owned());
    server.stage()?;
    fill(&server.site.path().join("state"), pool)?;
    Ok(server)
}

/// Leases for every address of the pool.
fn fill(state: &Path, pool: u32) -> Result<()> {
    let lease = |number| {
        let mac = Mac::new(client::stranger(number)).context("not a MAC")?;
        Ok((mac, Ipv4Addr::from(POOL + number)))
    };
    leases::write(state, &(0..pool).map(lease).collect::<Result<Vec<_>>>()?)
}

impl Cell {
    fn json(&self) -> Value {
        let Measured { asked, answered, times } = &self.measured;
        json!({
            "server": self.server, "pool": self.pool, "flood": self.flood.to_string(), "sent": self.sent,
            "asked": asked, "answered": answered, "p50_us": client::percentile(times, 50),
            "p99_us": client::percentile(times, 99), "max_us": client::percentile(times, 100),
        })
    }
}

fn table(cells: &[Cell]) -> String {
    let mut text =
        "| server | pool, full | flood of DISCOVER | sent | asked | unanswered | p50 | p99 | worst |\n\
                    |---|---|---|---|---|---|---|---|---|\n"
            .to_owned();
    for cell in cells {
        let Measured { asked, answered, times } = &cell.measured;
        let ms = |percent: usize| {
            client::percentile(times, percent)
                .map_or("-".to_owned(), |us| format!("{:.1} ms", us as f64 / 1000.0))
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {asked} | {} | {} | {} | {} |",
            cell.server,
            cell.pool,
            cell.flood,
            cell.sent,
            asked - answered,
            ms(50),
            ms(99),
            ms(100)
        );
    }
    text
}
