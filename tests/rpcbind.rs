//! Port 111 belongs to the host's rpcbind: the real one, in a network and a /run of the test's own.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oneroot_testkit::{Lab, Server, SiteFiles};

/// Debian's rpcbind; killed when dropped.
struct Rpcbind(Child);

impl Rpcbind {
    fn start() -> Self {
        let script = "mount -t tmpfs tmpfs /run && mkdir -p /run/rpcbind && PATH=$PATH:/usr/sbin:/sbin exec rpcbind -f";
        let started = Command::new("unshare")
            .args(["-m", "sh", "-c", script])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let rpcbind = Self(started.unwrap());
        let begun = Instant::now();
        while rpcinfo().is_empty() {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "rpcbind did not start; is the package installed?"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        rpcbind
    }
}

impl Drop for Rpcbind {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What rpcbind tells anybody: program, version, protocol, port.
fn rpcinfo() -> Vec<[String; 4]> {
    let path = std::env::var("PATH").unwrap() + ":/usr/sbin:/sbin";
    let told = Command::new("rpcinfo").args(["-p", "127.0.0.1"]).env("PATH", path).output().unwrap();
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    let row = |line: &str| {
        let words: Vec<String> = line.split_whitespace().take(4).map(str::to_owned).collect();
        words.try_into().ok()
    };
    text.lines().skip(1).filter_map(row).collect()
}

/// All but the portmapper's own.
fn ours() -> Vec<String> {
    let mut rows: Vec<String> =
        rpcinfo().into_iter().filter(|[program, ..]| program != "100000").map(|row| row.join(" ")).collect();
    rows.sort();
    rows
}

/// Another server of this host, as root, asks rpcbind: 1 is SET, 2 is UNSET (RFC 1833 §3.2); it must say yes.
fn somebody_else(procedure: u32, [program, version, port]: [u32; 3]) {
    // Below 512: rpcbind takes any port from there up to 1023 for itself (bindresvport(3)), and now and then took ours.
    let socket = UdpSocket::bind("127.0.0.1:399").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let words = [7, 0, 2, 100_000, 2, procedure, 0, 0, 0, 0, program, version, 6, port];
    let call: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
    socket.send_to(&call, "127.0.0.1:111").unwrap();
    let mut reply = [0; 64];
    let count = socket.recv(&mut reply).unwrap();
    assert_eq!(reply.get(24..count), Some(&1u32.to_be_bytes()[..]), "TRUE");
}

/// NFS, MOUNT and NFSACL.
const REGISTERED: [&str; 3] = ["100003 3 tcp 2049", "100005 3 tcp 2049", "100227 3 tcp 2049"];

#[test]
fn nfs_and_mount_are_registered_while_we_serve_and_after_a_kill_they_are_right_again() {
    let _lab = Lab::new().unwrap();
    let _rpcbind = Rpcbind::start();
    let mut server = Server::start(SiteFiles::small().unwrap()).unwrap();
    assert_eq!(ours(), REGISTERED);
    assert!(server.log().contains("port 111 is rpcbind's"), "{}", server.log());
    server.kill9().unwrap();
    assert_eq!(ours(), REGISTERED, "nobody could take them out");
    server.restart().unwrap();
    assert_eq!(ours(), REGISTERED);
    server.signal("TERM").unwrap();
    assert_eq!(server.wait().unwrap(), Some(0));
    assert_eq!(ours(), [""; 0], "whoever asks now is told that there is no NFS here");
}

#[test]
fn another_nfs_servers_registration_is_never_taken_and_is_named() {
    let _lab = Lab::new().unwrap();
    let _rpcbind = Rpcbind::start();
    let mut foreign = SiteFiles::small().unwrap();
    let moved = foreign.text().replace("[server]\n", "[server]\nnfs_port = 20490\nhttp_port = 8080\n");
    foreign.set_text(&moved);
    let first = Server::start(foreign).unwrap();
    let theirs = ["100003 3 tcp 20490", "100005 3 tcp 20490", "100227 3 tcp 20490"];
    assert_eq!(ours(), theirs);
    drop(first);
    let refused = Server::start(SiteFiles::small().unwrap()).err().unwrap().to_string();
    assert!(refused.contains("another NFS server") && refused.contains("port 20490"), "{refused}");
    assert_eq!(ours(), theirs);
}

#[test]
fn a_port_111_that_is_no_portmappers_is_said_to_be_taken() {
    let _lab = Lab::new().unwrap();
    let _squatter = std::net::TcpListener::bind("0.0.0.0:111").unwrap();
    let refused = Server::start(SiteFiles::small().unwrap()).err().unwrap().to_string();
    assert!(refused.contains("no portmapper answers on port 111"), "{refused}");
}

#[test]
fn an_entry_that_has_become_another_servers_stays_when_we_stop() {
    let _lab = Lab::new().unwrap();
    let _rpcbind = Rpcbind::start();
    let mut server = Server::start(SiteFiles::small().unwrap()).unwrap();
    somebody_else(2, [100_003, 3, 0]);
    somebody_else(1, [100_003, 3, 20490]);
    server.signal("TERM").unwrap();
    assert_eq!(server.wait().unwrap(), Some(0));
    assert_eq!(ours(), ["100003 3 tcp 20490"]);
}

#[test]
fn a_server_of_nfs_version_4_alone_is_no_obstacle_and_keeps_its_entry() {
    let _lab = Lab::new().unwrap();
    let _rpcbind = Rpcbind::start();
    // Asked for version 3, rpcbind answers with this port, for want of a better one.
    somebody_else(1, [100_003, 4, 20490]);
    let mut server = Server::start(SiteFiles::small().unwrap()).unwrap();
    let theirs = "100003 4 tcp 20490";
    assert!(
        ours().contains(&theirs.to_owned()) && ours().contains(&REGISTERED[0].to_owned()),
        "{:?}",
        ours()
    );
    server.signal("TERM").unwrap();
    assert_eq!(server.wait().unwrap(), Some(0));
    assert_eq!(ours(), [theirs]);
}

#[test]
fn a_mount_server_of_another_keeps_us_from_registering_anything() {
    let _lab = Lab::new().unwrap();
    let _rpcbind = Rpcbind::start();
    somebody_else(1, [100_005, 3, 20048]);
    let refused = Server::start(SiteFiles::small().unwrap()).err().unwrap().to_string();
    assert!(refused.contains("another MOUNT server") && refused.contains("port 20048"), "{refused}");
    assert_eq!(ours(), ["100005 3 tcp 20048"]);
}
