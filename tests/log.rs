//! The log of the real binary: nobody who reads it, or doesn't, holds up a machine, and no peer fills a disk with it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oneroot_testkit::{Lab, RELAY, Server, SiteFiles};
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
        let leased =
            lab.on_machines(RELAY, |host| host.lease(last, Duration::from_secs(20)).unwrap().is_some());
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

/// Clears the screen, begins a line of its own, turns what follows around, and is no UTF-8; for files, sites and peers.
const HOSTILE: &[u8] =
    b"x\x1b[2J\x1b]0;owned\x07\r\n2026-11-29T00:00:00Z ERROR forged\t\x7f\xc2\x9b31m\xe2\x80\xae\xff.key";
/// The same as a site can write it.
const IN_TOML: &str = "x\\u001b[2J\\r\\n\\t\\u007f\\u009b31m\\u202e";

fn is_tame(text: &[u8]) -> bool {
    let unseen =
        |char: char| (char.is_control() && char != '\n') || ('\u{202a}'..='\u{202e}').contains(&char);
    let forged = |line: &str| line.trim_start().starts_with("2026-11-29T00:00:00Z");
    std::str::from_utf8(text).is_ok_and(|text| !text.contains(unseen) && !text.lines().any(forged))
}

#[test]
fn no_name_of_a_site_a_tree_or_a_peer_reaches_a_terminal_or_the_log_as_it_is() {
    let _lab = Lab::new().unwrap();
    let mut site = SiteFiles::small().unwrap();
    let hostile = OsStr::from_bytes(HOSTILE);
    let root = site.path().join("root");
    let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n";
    fs::create_dir_all(root.join("boot")).unwrap();
    fs::write(root.join("boot/vmlinuz-1\u{1b}[2J\n"), "kernel").unwrap();
    fs::write(root.join("boot/initrd.img-1\u{1b}[2J\n"), "initrd").unwrap();
    fs::write(root.join("etc").join(hostile), key).unwrap();
    std::os::unix::fs::symlink(hostile, root.join("etc/link")).unwrap();
    site.machine("alpha", "0a", "address = \"192.168.77.10\"").unwrap();
    let layer = site.path().join("layers").join("x\u{1b}[2J\r\n\t\u{7f}\u{9b}31m\u{202e}");
    fs::create_dir_all(layer.join("etc")).unwrap();
    fs::write(layer.join("etc").join("issue\u{1b}[2J.j2"), "{{ name }}\u{1b}[2J\n").unwrap();
    let with_layer =
        site.text().replace("layers = [\"layers/common\"]", &format!("layers = [\"layers/{IN_TOML}\"]"));
    site.set_text(&with_layer);
    let mut server = Server::start(site).unwrap();
    fs::write(root.join("etc").join(hostile), "another").unwrap();
    let at = |words: &[&OsStr]| {
        let mut command = Command::new(server.binary());
        command.current_dir(server.site.path()).args(words).stdin(Stdio::null());
        let done = command.output().unwrap();
        for said in [&done.stdout, &done.stderr] {
            assert!(is_tame(said), "{words:?} says {:?}", String::from_utf8_lossy(said));
        }
        done.stdout.len() + done.stderr.len()
    };
    for words in [
        "check",
        "stage",
        "generations",
        "ls debian /etc",
        "ls alpha /etc",
        "diff debian~1 debian",
        "explain alpha",
        "render alpha",
        "explain alpha /etc/issue\u{1b}[2J",
        "status",
        "gc --dry-run",
        "verify",
        "ls debian /no\u{1b}[2J",
        "ls no\u{1b}[2J",
        "stage no\u{9b}31m",
        "rollback no\u{202e}",
        "release no\u{1b}[2J",
        "cat debian /etc/no\u{1b}[2J",
        "export debian no\u{1b}[2J/x.tar",
        "--site no\u{1b}[2J check",
        "--site no\u{1b}[2J serve",
        "state restore no\u{1b}[2J",
    ] {
        let words: Vec<&OsStr> = words.split(' ').map(OsStr::new).collect();
        assert!(at(&words) > 0, "{words:?} says something");
        let json = [words.as_slice(), &[OsStr::new("--json")]].concat();
        at(&json);
    }
    fs::write(
        server.site.path().join("broken.toml"),
        format!("\"{IN_TOML}\" = 1\n[profile.\"{IN_TOML}\"]\nsource = {{}}\n"),
    )
    .unwrap();
    at(&["--site", "broken.toml", "check"].map(OsStr::new));
    at(&["--site", "broken.toml", "status"].map(OsStr::new));
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    for name in [HOSTILE, b"boot/\x1b[2J.ipxe", b"\xff\xfe\n"] {
        socket.send_to(&[b"\0\x01", name, b"\0octet\0"].concat(), (SERVER, 69)).unwrap();
        socket.recv(&mut [0; 600]).unwrap();
        let mut stream = TcpStream::connect((SERVER, 80)).unwrap();
        stream
            .write_all(&[b"GET /", name, b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"].concat())
            .unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert_eq!(get("/boot/52-54-00-00-00-63.ipxe").split(' ').nth(1), Some("404"));
    let broken = format!(
        "{}\n[profile.\"{IN_TOML}\"]\nsource = {{ tar = \"{IN_TOML}\" }}\nlayers = [\"{IN_TOML}\"]\nbad = 1\n",
        server.site.text()
    );
    fs::write(server.site.path().join("site.toml"), broken).unwrap();
    server.signal("HUP").unwrap();
    let log = stopped(&mut server);
    assert!(is_tame(log.as_bytes()), "{log:?}");
    assert!(log.contains("TFTP") && log.contains("was not taken over"), "{log}");
}
