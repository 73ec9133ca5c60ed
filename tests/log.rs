//! The log of the real binary: nobody who reads it, or doesn't, holds up a machine, and no peer fills a disk with it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oneroot_vm_tests::{Lab, Server, SiteFiles};
use rustix::fs::{OFlags, fcntl_setfl};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
const PATIENCE: Duration = Duration::from_secs(60);
/// Requests of each kind in a flood.
const FLOOD: usize = 20_000;
/// What a flood of each kind may write, whatever the time that it takes on a slow computer.
const MOST_LINES: usize = 600;
const MOST_BYTES: usize = 128 * 1024;

fn get(path: &str) -> String {
    let mut stream = TcpStream::connect((SERVER, 80)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Waits for a process to end by itself.
fn ended(process: &mut Child) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if process.try_wait().unwrap().is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// A server that runs, killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_log_that_nobody_reads_holds_up_no_machine_and_not_the_end() {
    let lab = Lab::new().unwrap();
    let site = SiteFiles::small().unwrap();
    let server = Server::new(site).unwrap();
    server.stage().unwrap();
    let (mut log, mut end) = std::io::pipe().unwrap();
    // Full before the server's first line.
    let flags = rustix::fs::fcntl_getfl(&end).unwrap();
    fcntl_setfl(&end, flags | OFlags::NONBLOCK).unwrap();
    let mut filled = 0;
    while let Ok(count) = end.write(&[b'x'; 512]) {
        filled += count;
    }
    fcntl_setfl(&end, flags).unwrap();
    let mut command = Command::new(server.binary());
    command.current_dir(server.site.path()).args(["-vv", "serve"]);
    let mut running = Running(command.stdin(Stdio::null()).stderr(end).spawn().unwrap());
    // The command holds an end of the pipe too.
    drop(command);
    let begun = Instant::now();
    while server.run(&["status"]).is_err() {
        assert!(begun.elapsed() < PATIENCE, "it does not come up");
        std::thread::sleep(Duration::from_millis(50));
    }
    for last in 10..14 {
        let leased = lab.on_machines(Ipv4Addr::new(192, 168, 77, 2), |host| {
            host.lease(last, Duration::from_secs(20)).unwrap().is_some()
        });
        assert!(leased.unwrap(), "DHCP answers");
        assert!(get("/boot/52-54-00-00-00-63.ipxe").starts_with("HTTP/1.1 404"));
    }
    Command::new("kill").arg(running.0.id().to_string()).status().unwrap();
    assert!(ended(&mut running.0), "it ends though its last lines are not taken");
    let mut read = Vec::new();
    log.read_to_end(&mut read).unwrap();
    assert!(read.len() >= filled);
}

#[test]
fn a_flood_of_refusals_is_a_few_lines_and_every_refusal_is_written_or_counted() {
    let (_lab, mut server) = served();
    let before = server.log().len();
    let mut stream = TcpStream::connect((SERVER, 80)).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let asked = std::thread::spawn(move || {
        let one = "GET /boot/52-54-00-00-00-63.ipxe HTTP/1.1\r\nHost: x\r\n";
        for number in 1..=FLOOD {
            let rest = if number == FLOOD { "Connection: close\r\n\r\n" } else { "\r\n" };
            writer.write_all(format!("{one}{rest}").as_bytes()).unwrap();
        }
    });
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).unwrap();
    asked.join().unwrap();
    assert_eq!(String::from_utf8(answers).unwrap().matches("HTTP/1.1 404").count(), FLOOD);
    let log = stopped(&mut server);
    let log = &log[before..];
    bounded(log);
    assert_eq!(told(log, "refused a boot script"), FLOOD);
}

#[test]
fn a_flood_of_bad_records_and_of_names_is_a_few_lines() {
    let (_lab, mut server) = served();
    let before = server.log().len();
    for _ in 0..FLOOD / 10 {
        let mut stream = TcpStream::connect((SERVER, 2049)).unwrap();
        stream.write_all(&0x7fff_ffffu32.to_be_bytes()).unwrap();
        let _ = stream.read(&mut [0]);
    }
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    for number in 0..FLOOD {
        let name = format!("{number}{}", "\u{1b}[31m".repeat(80));
        socket.send_to(format!("\0\x01{name}\0octet\0").as_bytes(), (SERVER, 69)).unwrap();
    }
    let log = stopped(&mut server);
    let log = &log[before..];
    bounded(log);
    assert_eq!(told(log, "closed an NFS connection"), FLOOD / 10);
}

fn served() -> (Lab, Server) {
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::small().unwrap();
    site.machine("alpha", "0a", "address = \"192.168.77.10\"").unwrap();
    let server = Server::start(site).unwrap();
    (lab, server)
}

/// Its whole log, after it was told to end.
fn stopped(server: &mut Server) -> String {
    server.signal("TERM").unwrap();
    assert_eq!(server.wait().unwrap(), Some(0));
    server.log()
}

fn bounded(log: &str) {
    let lines = log.lines().count();
    assert!(lines <= MOST_LINES && log.len() <= MOST_BYTES, "{lines} lines, {} bytes:\n{log}", log.len());
}

/// How often the log says something, what it left out included.
fn told(log: &str, what: &str) -> usize {
    let of_line = |line: &str| match line.split_once("left out ") {
        Some((_, rest)) => rest.split(' ').next().unwrap().parse().unwrap(),
        None => 1,
    };
    log.lines().filter(|line| line.contains(what)).map(of_line).sum()
}
