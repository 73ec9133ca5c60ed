//! `make bench-boots`: how long it takes until machines that are switched on at once have their boot scripts, each with a plan
//! and a pin that are on the disk. They have their addresses already; what is measured is decisions, stacks and commits.
//!
//! One server at a time, in a network namespace of its own, several rounds of each in turn, each with a server that nobody has
//! booted from: a script that is asked for again is answered by the boot that there is.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use oneroot_ids::Mac;
use oneroot_testkit::{Lab, SERVER, Server, SiteFiles, ip};
use socket2::{Domain, Socket, Type};

use crate::{cpu, leases};

const MACHINES: u32 = 500;
/// 10.77.0.1 and on: in the server's namespace, so that a client there can have any of them.
const FIRST: u32 = 0x0a4d_0002;
const USAGE: &str = "usage: oneroot-bench boots NAME=BINARY [NAME=BINARY] [--rounds N]";
/// For one script, with a disk that others use.
const PATIENCE: Duration = Duration::from_secs(120);

/// One round.
struct Round {
    wall: Duration,
    cpu: Duration,
}

/// Runs it with these words.
pub fn run(words: &[&str]) -> Result<()> {
    let (mut servers, mut rounds) = (Vec::new(), 3);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--rounds" => rounds = words.next().context(USAGE)?.parse()?,
            server => {
                let (name, binary) = server.split_once('=').context(USAGE)?;
                servers.push((name.to_owned(), PathBuf::from(binary)));
            }
        }
    }
    if servers.is_empty() {
        bail!(USAGE);
    }
    let mut table = format!(
        "{MACHINES} boot scripts at once\n| server | round | until the last has its script | processor for one |\n|---|---|---|---|\n"
    );
    // In turns, so that what else the host does falls on all of them.
    for number in 1..=rounds {
        for (name, binary) in &servers {
            let Round { wall, cpu } = round(binary)?;
            writeln!(table, "| {name} | {number} | {wall:.2?} | {} µs |", (cpu / MACHINES).as_micros())?;
        }
    }
    print!("{table}");
    Ok(())
}

/// A server that nobody has booted from, and all machines at once.
fn round(binary: &Path) -> Result<Round> {
    let _lab = Lab::new()?;
    ip(&format!("addr add {}/16 dev lab0", Ipv4Addr::from(FIRST - 1)))?;
    for number in 0..MACHINES {
        ip(&format!("addr add {}/16 dev lab0", address(number)))?;
    }
    let mut server = server(binary)?;
    server.restart()?;
    let pid = server.pid()?;
    let (before, begun) = (cpu::of(pid)?, Instant::now());
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..MACHINES).map(|number| scope.spawn(move || fetch(number))).collect();
        asked
            .into_iter()
            .try_for_each(|asked| asked.join().map_err(|_| anyhow::anyhow!("a client panicked"))?)
    })?;
    Ok(Round { wall: begun.elapsed(), cpu: Duration::from_nanos(cpu::of(pid)? - before) })
}

fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(FIRST + number)
}

fn mac(number: u32) -> Result<Mac> {
    let [.., high, low] = number.to_be_bytes();
    Mac::new([2, 0, 0, 1, high, low]).context("not a MAC")
}

fn server(binary: &Path) -> Result<Server> {
    let mut site = SiteFiles::with_alpha(b"kernel")?;
    site.add("[[network]]\nsubnet = \"10.77.0.0/16\"\n");
    let mut machines = String::new();
    for number in 0..MACHINES {
        let (mac, address) = (mac(number)?, address(number));
        writeln!(
            machines,
            "[machine.m{number}]\nmac = \"{mac}\"\naddress = \"{address}\"\nprofile = \"debian\""
        )?;
    }
    site.add(&machines);
    let mut server = Server::new(site)?;
    server.set_binary(binary.to_owned());
    server.stage()?;
    let all = (0..MACHINES).map(|number| Ok((mac(number)?, address(number)))).collect::<Result<Vec<_>>>()?;
    leases::write(&server.site.path().join("state"), &all)?;
    Ok(server)
}

/// One machine's script, from its own address.
fn fetch(number: u32) -> Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((address(number), 0)).into())?;
    let server: IpAddr = SERVER.parse()?;
    socket.connect(&SocketAddr::from((server, 80)).into())?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    let path = mac(number)?.dashed();
    // As a machine asks that has told its facts: one answer is one boot.
    write!(stream, "GET /boot/{path}.ipxe? HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.contains("/kernel"), "machine {number} has no boot: {answer}");
    Ok(())
}
