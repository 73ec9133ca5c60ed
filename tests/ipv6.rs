//! IPv6 peers reach every service and are nobody's machine; a host without IPv6 serves all the same.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use oneroot_testkit::rpc::{self, Answer, opaque, words};
use oneroot_testkit::{Lab, Server, SiteFiles, ip, preload};
use socket2::{Domain, Socket, Type};

const PATIENCE: Duration = Duration::from_secs(20);
const NFS: u32 = 100_003;
const MOUNT: u32 = 100_005;
const PORTMAP: u32 = 100_000;

fn site() -> SiteFiles {
    let mut site = SiteFiles::with_loader().unwrap();
    site.machine("alpha", "0a", "address = \"192.168.77.10\"").unwrap();
    site
}

/// Connects from a port below 1024, so that only who is asking can be the reason of a refusal.
fn connect(to: impl Into<IpAddr>, port: u16) -> TcpStream {
    let to = SocketAddr::new(to.into(), port);
    let any: IpAddr = if to.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { [0, 0, 0, 0].into() };
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    let bound = (600..1024).rev().find(|from| socket.bind(&SocketAddr::new(any, *from).into()).is_ok());
    assert!(bound.is_some(), "no port below 1024 is free");
    socket.connect(&to.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

fn ask(stream: &mut TcpStream, procedure: [u32; 3], arguments: &[u8]) -> Answer {
    stream.write_all(&rpc::call(9, procedure, arguments)).unwrap();
    Answer::accepted(rpc::record(stream).unwrap(), 9).unwrap()
}

fn asked_by_datagram(to: IpAddr, procedure: [u32; 3], arguments: &[u8]) -> Answer {
    let answer = datagram(to, 111, &rpc::message(9, procedure, arguments));
    Answer::accepted(answer, 9).unwrap()
}

/// Sends a datagram, and gives the first that comes back.
fn datagram(to: IpAddr, port: u16, bytes: &[u8]) -> Vec<u8> {
    let any: IpAddr = if to.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { [0, 0, 0, 0].into() };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(bytes, (to, port)).unwrap();
    let mut answer = vec![0; 2048];
    let (count, from) = socket.recv_from(&mut answer).unwrap();
    assert_eq!(from.ip(), to, "the answer comes from where it was asked");
    answer.truncate(count);
    answer
}

fn http(to: IpAddr, path: &str) -> String {
    let mut stream = connect(to, 80);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// What every stranger gets, whatever the family: what is public, and no root.
fn gets_what_a_stranger_gets(to: IpAddr) {
    let mut nfs = connect(to, 2049);
    ask(&mut nfs, [NFS, 3, 0], &[]);
    let path = format!("/v/{}", "00".repeat(16));
    assert_eq!(ask(&mut nfs, [MOUNT, 3, 1], &opaque(path.as_bytes())).word().unwrap(), 2, "MNT3ERR_NOENT");
    assert_eq!(ask(&mut nfs, [MOUNT, 3, 5], &[]).word().unwrap(), 0, "nothing is exported to it");
    assert_eq!(ask(&mut nfs, [NFS, 3, 1], &opaque(&[7; 44])).word().unwrap(), 10_001, "NFS3ERR_BADHANDLE");

    // A portmapper of version 2 tells a port, which is the same for both families.
    let wanted = words(&[NFS, 3, 6, 0]);
    assert_eq!(ask(&mut connect(to, 111), [PORTMAP, 2, 3], &wanted).word().unwrap(), 2049);
    assert_eq!(asked_by_datagram(to, [PORTMAP, 2, 3], &wanted).word().unwrap(), 2049);

    assert!(http(to, "/boot/52-54-00-00-00-0a.ipxe").starts_with("HTTP/1.1 404"), "no script");
    assert!(http(to, "/ipxe.efi").ends_with("a loader"));
    let request = |name: &str| datagram(to, 69, &[b"\0\x01", name.as_bytes(), b"\0octet\0"].concat());
    assert_eq!(request("ipxe.efi"), b"\0\x03\0\x01a loader");
    assert_eq!(request("etc/motd")[..4], [0, 5, 0, 1], "no file");
}

#[test]
fn an_ipv6_peer_on_the_sites_interface_reaches_every_service_and_is_nobodys_machine() {
    let lab = Lab::new().unwrap();
    ip("addr add fd77::1/64 dev lab0 nodad").unwrap();
    let mut server = Server::start(site()).unwrap();
    gets_what_a_stranger_gets([192, 168, 77, 1].into());
    let ula: Ipv6Addr = "fd77::1".parse().unwrap();
    // What comes by another interface, the loopback here, finds nobody.
    for port in [2049, 111, 80] {
        assert!(TcpStream::connect((Ipv6Addr::LOCALHOST, port)).is_err());
    }
    lab.on_host("fd77::2/64 nodad", || gets_what_a_stranger_gets(ula.into())).unwrap();
    server.resident().unwrap();
    assert!(!server.log().contains("IPv4 alone"));
}

#[test]
fn a_site_without_ipv6_listens_over_ipv4_alone() {
    let lab = Lab::new().unwrap();
    ip("addr add fd77::1/64 dev lab0 nodad").unwrap();
    let mut site = site();
    let text = site.text().replace("[server]\n", "[server]\nipv6 = false\n");
    site.set_text(&text);
    let server = Server::start(site).unwrap();
    gets_what_a_stranger_gets([192, 168, 77, 1].into());
    let ula: Ipv6Addr = "fd77::1".parse().unwrap();
    lab.on_host("fd77::2/64 nodad", || {
        for port in [2049, 111, 80] {
            let refused = TcpStream::connect((ula, port)).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "TCP port {port}");
        }
        for port in [111, 69] {
            let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.connect((ula, port)).unwrap();
            socket.send(b"hello").unwrap();
            let refused = socket.recv(&mut [0; 16]).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "UDP port {port}");
        }
    })
    .unwrap();
    assert!(!server.log().contains("IPv4 alone"), "it was asked for, and is no news: {}", server.log());
}

/// What the kernel says with `ipv6.disable=1`.
const WITHOUT: &str = "#include <errno.h>\n#include <sys/socket.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n\
    int socket(int family, int type, int protocol) {\n\
        if (family == AF_INET6) { errno = EAFNOSUPPORT; return -1; }\n\
        return syscall(SYS_socket, family, type, protocol);\n\
    }\n";

#[test]
fn a_host_without_ipv6_serves_over_ipv4_and_says_so_once() {
    let _lab = Lab::new().unwrap();
    let site = site();
    let library = preload(site.path(), "without", WITHOUT).unwrap();
    let server = Server::start_with(site, &[("LD_PRELOAD", &library)]).unwrap();
    gets_what_a_stranger_gets([192, 168, 77, 1].into());
    assert!(TcpStream::connect((Ipv6Addr::LOCALHOST, 2049)).is_err());
    assert_eq!(server.log().matches("IPv4 alone").count(), 1, "{}", server.log());
}

#[test]
fn another_programs_ipv6_port_costs_no_machine_anything() {
    let _lab = Lab::new().unwrap();
    let other = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
    other.set_only_v6(true).unwrap();
    other.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 80)).into()).unwrap();
    other.listen(1).unwrap();
    let server = Server::start(site()).unwrap();
    gets_what_a_stranger_gets([192, 168, 77, 1].into());
    let log = server.log();
    assert_eq!(log.matches("IPv4 alone").count(), 1, "{log}");
    assert!(log.contains("HTTP is served over IPv4 alone"), "{log}");
}

/// `oneroot serve` with sockets that systemd would have opened. Ends with the test.
struct Served {
    process: Child,
    /// Its site; it does not run itself.
    site: Server,
}

impl Served {
    /// `sockets` is Python that opens them.
    fn with(sockets: &str) -> Self {
        let site = Server::new(site()).unwrap();
        site.stage().unwrap();
        let script = format!("{OPEN}{sockets}\n{PASS}");
        let home = site.site.path();
        let log = fs::File::create(home.join("passed.log")).unwrap();
        let mut python = Command::new("python3");
        python.current_dir(home).arg("-c").arg(script).arg(site.binary()).stderr(log);
        let served = Self { process: python.spawn().unwrap(), site };
        let begun = Instant::now();
        while served.site.run(&["status", "--json"]).is_err() {
            assert!(begun.elapsed() < PATIENCE, "it did not come up: {}", served.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        served
    }

    fn log(&self) -> String {
        fs::read_to_string(self.site.site.path().join("passed.log")).unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const OPEN: &str = r#"
import fcntl, os, sys
from socket import *
sockets = []
def at(family, kind, address, both=False):
    opened = socket(family, kind)
    if family == AF_INET6: opened.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, not both)
    opened.bind(address)
    if kind == SOCK_STREAM: opened.listen(64)
    sockets.append(opened)
"#;
const PASS: &str = r#"
for place, far in enumerate([fcntl.fcntl(opened, fcntl.F_DUPFD, 100) for opened in sockets]): os.dup2(far, 3 + place)
os.environ.update(LISTEN_FDS=str(len(sockets)), LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[1], [sys.argv[1], "serve"])
"#;

#[test]
fn sockets_for_both_families_that_systemd_holds_serve_both() {
    let _lab = Lab::new().unwrap();
    let served = Served::with(
        "for port in 2049, 111, 80: at(AF_INET6, SOCK_STREAM, ('::', port), True)\n\
         for port in 111, 69: at(AF_INET6, SOCK_DGRAM, ('::', port), True)",
    );
    gets_what_a_stranger_gets(Ipv6Addr::LOCALHOST.into());
    gets_what_a_stranger_gets([192, 168, 77, 1].into());
    let said = served.log();
    assert!(!said.contains("IPv4 alone") && !said.contains("has no use for"), "{said}");
}

#[test]
fn a_socket_for_ipv6_alone_that_systemd_holds_is_not_taken_for_ipv4s() {
    let _lab = Lab::new().unwrap();
    ip("addr add fd77::1/64 dev lab0 nodad").unwrap();
    let served = Served::with(
        "at(AF_INET6, SOCK_STREAM, ('fd77::1', 2049))\nat(AF_INET6, SOCK_STREAM, ('::', 80))\n\
         at(AF_INET, SOCK_STREAM, ('0.0.0.0', 2049))",
    );
    gets_what_a_stranger_gets("fd77::1".parse().unwrap());
    gets_what_a_stranger_gets([192, 168, 77, 1].into());
    assert!(TcpStream::connect((Ipv6Addr::LOCALHOST, 2049)).is_err(), "the admin said which address");
    let said = served.log();
    assert!(!said.contains("has no use for"), "{said}");
}
