//! Interfaces and addresses that go and come under the running server: what hung on them comes back by itself, `status`
//! says what is wrong meanwhile, and the log says each thing once.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at its first surprise"
)]

use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use oneroot_testkit::{Lab, Server, SiteFiles, ip, udhcpc, udhcpc_on};
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
const PATIENCE: Duration = Duration::from_secs(5);
/// Looks at the status until it is as it should be, 50 ms apart.
const LOOKS: usize = 200;

fn site() -> SiteFiles {
    let site = SiteFiles::with_loader().unwrap();
    // Or the start would warn of that too.
    fs::write(site.path().join("loaders/undionly.kpxe"), "a loader").unwrap();
    site
}

/// The same for a server that may start before its interface.
fn patient_site() -> SiteFiles {
    let mut site = site();
    site.server("wait_for_interfaces = true");
    site
}

fn status(server: &Server) -> Value {
    serde_json::from_str(&server.run(&["status", "--json"]).unwrap()).unwrap()
}

/// Waits until an interface is in a state; what the status says of it then.
fn comes_to(server: &Server, name: &str, state: &str) -> Value {
    comes_to_one_of(server, name, &[state])
}

/// Waits until an interface is served: a bridge without ports may have a carrier or not.
fn comes_back(server: &Server, name: &str) -> Value {
    comes_to_one_of(server, name, &["serving", "no-carrier"])
}

fn comes_to_one_of(server: &Server, name: &str, states: &[&str]) -> Value {
    let mut seen = Value::Null;
    for _ in 0..LOOKS {
        let status = status(server);
        let all = status["interfaces"].as_array().unwrap();
        seen = all.iter().find(|one| one["name"] == name).unwrap().clone();
        if states.iter().any(|state| seen["state"] == *state) {
            return seen;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{name} is not {states:?}: {seen}");
}

fn count(server: &Server, what: &str) -> usize {
    server.log().lines().filter(|line| line.contains(what)).count()
}

/// Waits until the log has said something so many times, and no more often.
fn says(server: &Server, what: &str, times: usize) {
    let enough = (0..LOOKS).any(|_| {
        let said = count(server, what) >= times;
        if !said {
            std::thread::sleep(Duration::from_millis(50));
        }
        said
    });
    assert!(enough && count(server, what) == times, "{what:?} is in the log {} times", count(server, what));
}

fn lease(lab: &Lab, switch: &str) -> Option<HashMap<String, String>> {
    udhcpc(lab, switch).unwrap()
}

/// Fetches the loader by HTTP; nothing where nobody listens.
fn http(to: IpAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(to, 80), PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /ipxe.efi HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// The same by TFTP: one block, which is all there is.
fn tftp(to: IpAddr) -> Option<Vec<u8>> {
    let any: IpAddr = if to.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(b"\0\x01ipxe.efi\0octet\0", (to, 69)).ok()?;
    let mut answer = vec![0; 600];
    let count = socket.recv(&mut answer).ok()?;
    Some(answer[..count].to_vec())
}

/// Everything that a machine needs, from a fresh host: an address, a loader by HTTP and by TFTP.
fn serves(lab: &Lab, switch: &str) {
    let told = lease(lab, switch).unwrap();
    assert_eq!(told["serverid"], "192.168.77.1");
    let act = || (http(SERVER.into()), tftp(SERVER.into()));
    let fetched = lab.plug(switch, |nic| {
        ip(&format!("addr add 192.168.77.2/24 dev {nic}")).unwrap();
        act()
    });
    let (by_http, by_tftp) = fetched.unwrap();
    assert!(by_http.unwrap().ends_with("a loader"));
    assert_eq!(by_tftp.unwrap(), b"\0\x03\0\x01a loader");
}

#[test]
fn a_bridge_that_is_deleted_and_made_again_is_served_as_before() {
    let lab = Lab::new().unwrap();
    let mut server = Server::start(site()).unwrap();
    serves(&lab, "lab0");
    let before = comes_back(&server, "lab0");
    for round in 1..=3 {
        ip("link del lab0").unwrap();
        let gone = comes_to(&server, "lab0", "not-there");
        assert_eq!((&gone["mac"], &gone["addresses"]), (&Value::Null, &serde_json::json!([])));
        assert!(server.run(&["status"]).unwrap().contains("lab0       -    -          is not there"));
        assert_eq!(status(&server)["missing_addresses"], serde_json::json!(["192.168.77.1"]));
        says(&server, "lab0 is gone", round);
        lab.switch("lab0", "192.168.77.1/24").unwrap();
        let back = comes_back(&server, "lab0");
        assert_ne!(back["mac"], before["mac"], "it is another interface");
        assert_eq!(back["addresses"], serde_json::json!(["192.168.77.1"]));
        serves(&lab, "lab0");
        for said in ["lab0 is gone", "lab0 is back", "77.1 is not an address", "77.1 is an address"] {
            says(&server, said, round);
        }
        assert_eq!(status(&server)["missing_addresses"], serde_json::json!([]));
    }
    server.resident().unwrap();
}

#[test]
fn a_bridge_is_served_again_by_a_server_that_has_no_privilege_but_its_sockets() {
    let lab = Lab::new().unwrap();
    let mut server = Server::new(site()).unwrap();
    server.stage().unwrap();
    // The two that the unit leaves it.
    let confined = server.site.path().join("confined");
    let binary = server.binary().display().to_string();
    let words = "--bounding-set=-all,+net_bind_service,+net_raw --inh-caps=-all --no-new-privs";
    fs::write(&confined, format!("#!/bin/sh\nexec setpriv {words} {binary} \"$@\"\n")).unwrap();
    fs::set_permissions(&confined, fs::Permissions::from_mode(0o755)).unwrap();
    server.set_binary(confined);
    server.restart().unwrap();
    ip("link del lab0").unwrap();
    comes_to(&server, "lab0", "not-there");
    lab.switch("lab0", "192.168.77.1/24").unwrap();
    comes_back(&server, "lab0");
    serves(&lab, "lab0");
}

#[test]
fn an_interface_that_is_switched_off_and_on_is_served_again() {
    let lab = Lab::new().unwrap();
    let server = Server::start(site()).unwrap();
    ip("link set lab0 down").unwrap();
    comes_to(&server, "lab0", "down");
    assert!(server.run(&["status"]).unwrap().contains("is down"));
    ip("link set lab0 up").unwrap();
    comes_back(&server, "lab0");
    serves(&lab, "lab0");
    says(&server, "lab0 is down", 1);
    says(&server, "lab0 is back", 1);
}

#[test]
fn an_address_that_is_taken_away_and_given_back_is_served_again() {
    let lab = Lab::new().unwrap();
    let server = Server::start(site()).unwrap();
    serves(&lab, "lab0");
    ip("addr del 192.168.77.1/24 dev lab0").unwrap();
    comes_to(&server, "lab0", "no-address");
    assert!(server.run(&["status"]).unwrap().contains("192.168.77.1 is not an address of this host"));
    ip("addr add 192.168.77.1/24 dev lab0").unwrap();
    comes_back(&server, "lab0");
    serves(&lab, "lab0");
    for said in ["lab0 has no address", "lab0 is back", "77.1 is not an address", "77.1 is an address"] {
        says(&server, said, 1);
    }
}

#[test]
fn an_interface_and_an_address_that_come_after_the_start_are_waited_for_when_the_site_says_so() {
    let lab = Lab::new().unwrap();
    ip("link del lab0").unwrap();
    let server = Server::start(patient_site()).unwrap();
    comes_to(&server, "lab0", "not-there");
    says(&server, "lab0 is not there", 1);
    assert!(server.log().contains("ready"), "the rest is served");
    ip("link add lab0 type bridge forward_delay 0 mcast_snooping 0").unwrap();
    comes_to(&server, "lab0", "down");
    ip("link set lab0 up").unwrap();
    comes_to(&server, "lab0", "no-address");
    ip("addr add 192.168.77.1/24 dev lab0").unwrap();
    comes_back(&server, "lab0");
    serves(&lab, "lab0");
    says(&server, "lab0 is there: machines are answered", 1);
    says(&server, "77.1 is an address", 1);
    says(&server, "lab0 is back", 0);
    assert_eq!(count(&server, "WARN"), 2, "the interface and its address:\n{}", server.log());
}

#[test]
fn two_interfaces_that_come_later_are_both_served_over_both_families() {
    let lab = Lab::new().unwrap();
    let mut site = patient_site();
    let text = site.text().replace("interface = \"lab0\"", "interface = [\"lab0\", \"lab1\"]");
    site.set_text(&text);
    ip("link del lab0").unwrap();
    let server = Server::start(site).unwrap();
    says(&server, "lab0 is not there", 1);
    says(&server, "lab1 is not there", 1);
    assert_eq!(count(&server, "IPv4 alone"), 0, "{}", server.log());
    for name in ["lab0", "lab1"] {
        ip(&format!("link add {name} type bridge forward_delay 0 mcast_snooping 0")).unwrap();
        ip(&format!("link set {name} up")).unwrap();
    }
    ip("addr add 192.168.77.1/24 dev lab0").unwrap();
    comes_back(&server, "lab0");
    serves(&lab, "lab0");
}

#[test]
fn a_site_that_does_not_wait_is_told_how_when_an_interface_or_an_address_is_missing() {
    let lab = Lab::new().unwrap();
    ip("addr del 192.168.77.1/24 dev lab0").unwrap();
    let refused = Server::start(site()).err().unwrap().to_string();
    assert!(refused.contains("is not an address of this host"), "{refused}");
    assert!(refused.contains("wait_for_interfaces = true"), "{refused}");
    ip("link del lab0").unwrap();
    let refused = Server::start(site()).err().unwrap().to_string();
    assert!(refused.contains("no interface lab0"), "{refused}");
    assert!(refused.contains("wait_for_interfaces = true"), "{refused}");
    lab.switch("lab0", "192.168.77.1/24").unwrap();
    let _server = Server::start(site()).unwrap();
    serves(&lab, "lab0");
}

#[test]
fn more_addresses_are_listened_on_and_one_that_the_host_gets_later_from_then_on() {
    let _lab = Lab::new().unwrap();
    ip("addr add 192.168.77.3/24 dev lab0").unwrap();
    let mut site = site();
    site.server("more_addresses = [\"192.168.77.3\", \"192.168.77.4\"]");
    let server = Server::start(site).unwrap();
    says(&server, "192.168.77.4 is not an address of this host", 1);
    let connects = |address: &str, port: u16| TcpStream::connect((address, port)).is_ok();
    for port in [80, 111, 2049] {
        assert!(connects("192.168.77.3", port), "{port}");
    }
    ip("addr add 192.168.77.4/24 dev lab0").unwrap();
    says(&server, "192.168.77.4 is an address of this host", 1);
    assert!(connects("192.168.77.4", 80) && connects("192.168.77.4", 2049));
}

#[test]
fn an_interface_that_is_renamed_is_let_alone_and_the_next_one_of_its_name_is_served() {
    let lab = Lab::new().unwrap();
    let server = Server::start(site()).unwrap();
    ip("link set lab0 down").unwrap();
    ip("link set lab0 name other0").unwrap();
    ip("link set other0 up").unwrap();
    comes_to(&server, "lab0", "not-there");
    assert!(lease(&lab, "other0").is_none(), "the site says nothing of other0");
    assert_eq!(count(&server, "could not be sent"), 0, "nothing is heard there");
    ip("addr del 192.168.77.1/24 dev other0").unwrap();
    lab.switch("lab0", "192.168.77.1/24").unwrap();
    comes_back(&server, "lab0");
    serves(&lab, "lab0");
    ip("link del lab0").unwrap();
    comes_to(&server, "lab0", "not-there");
    ip("link set other0 down").unwrap();
    ip("link set other0 name lab0").unwrap();
    ip("link set lab0 up").unwrap();
    ip("addr add 192.168.77.1/24 dev lab0").unwrap();
    comes_back(&server, "lab0");
    serves(&lab, "lab0");
}

#[test]
fn an_interface_with_another_hardware_address_sends_from_that() {
    let lab = Lab::new().unwrap();
    let server = Server::start(site()).unwrap();
    ip("link set lab0 address 52:54:00:ff:00:77").unwrap();
    for _ in 0..LOOKS {
        if comes_back(&server, "lab0")["mac"] == "52:54:00:ff:00:77" {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(comes_back(&server, "lab0")["mac"], "52:54:00:ff:00:77");
    let sender = lab.plug("lab0", |nic| {
        // Every frame that the host hears.
        let frames =
            Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(3_u16.to_be())))).unwrap();
        frames.set_read_timeout(Some(PATIENCE)).unwrap();
        udhcpc_on(nic).unwrap().unwrap();
        loop {
            let mut frame = [0; 2048];
            let count = (&frames).read(&mut frame).unwrap();
            // IPv4 without options, UDP, from port 67.
            if count > 36 && frame[12..14] == [8, 0] && frame[23] == 17 && frame[34..36] == [0, 67] {
                return frame[6..12].to_vec();
            }
        }
    });
    assert_eq!(sender.unwrap(), [0x52, 0x54, 0, 0xff, 0, 0x77]);
    serves(&lab, "lab0");
}

/// Whether a machine that has an address is told that there is no IPv6 router (RFC 4861 §4.2).
fn solicits(lab: &Lab) -> bool {
    let ask = |nic: &str| {
        udhcpc_on(nic).unwrap().unwrap();
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).unwrap();
        socket.bind_device(Some(nic.as_bytes())).unwrap();
        socket.set_multicast_hops_v6(255).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let all_routers = SocketAddrV6::new("ff02::2".parse().unwrap(), 0, 0, 0);
        // Its own address is not used before it is known to be nobody else's, which takes a second or two.
        (0..50).any(|_| {
            let _ = socket.send_to(&[133, 0, 0, 0, 0, 0, 0, 0], &all_routers.into());
            let mut answer = [0; 256];
            matches!((&socket).read(&mut answer), Ok(16) if answer[0] == 134)
        })
    };
    lab.plug("lab0", ask).unwrap()
}

#[test]
fn ipv6_and_router_solicitations_come_back_with_their_interface() {
    let lab = Lab::new().unwrap();
    let server = Server::start(site()).unwrap();
    assert!(solicits(&lab));
    ip("link del lab0").unwrap();
    comes_to(&server, "lab0", "not-there");
    lab.switch("lab0", "192.168.77.1/24").unwrap();
    ip("addr add fd77::1/64 dev lab0 nodad").unwrap();
    comes_back(&server, "lab0");
    assert!(solicits(&lab));
    let ula: IpAddr = "fd77::1".parse::<Ipv6Addr>().unwrap().into();
    let fetched = lab.on_host("fd77::2/64 nodad", || (http(ula), tftp(ula)));
    let (by_http, by_tftp) = fetched.unwrap();
    assert!(by_http.unwrap().ends_with("a loader"));
    assert_eq!(by_tftp.unwrap(), b"\0\x03\0\x01a loader");
    assert!(
        TcpStream::connect((Ipv6Addr::LOCALHOST, 80)).is_err(),
        "and nobody hears what comes another way"
    );
}

#[test]
fn ipv6_is_served_on_an_interface_that_came_after_the_start_and_not_on_the_loopback_before() {
    let lab = Lab::new().unwrap();
    ip("link del lab0").unwrap();
    let server = Server::start(patient_site()).unwrap();
    let connecting =
        TcpStream::connect_timeout(&(Ipv6Addr::LOCALHOST, 80).into(), Duration::from_millis(500));
    assert!(connecting.is_err(), "a socket that waits for its interface hears nothing");
    lab.switch("lab0", "192.168.77.1/24").unwrap();
    ip("addr add fd77::1/64 dev lab0 nodad").unwrap();
    comes_back(&server, "lab0");
    let ula: IpAddr = "fd77::1".parse::<Ipv6Addr>().unwrap().into();
    let fetched = lab.on_host("fd77::2/64 nodad", || (http(ula), tftp(ula))).unwrap();
    assert!(fetched.0.unwrap().ends_with("a loader"));
    assert_eq!(fetched.1.unwrap(), b"\0\x03\0\x01a loader");
    assert!(TcpStream::connect((Ipv6Addr::LOCALHOST, 80)).is_err());
}

/// How often the process's threads have gone to sleep by themselves.
fn naps(server: &Server) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid().unwrap())).unwrap();
    let of = |task: fs::DirEntry| -> u64 {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.map_or(0, |line| line.trim().parse().unwrap())
    };
    tasks.map(|task| of(task.unwrap())).sum()
}

#[test]
fn a_server_whose_interface_is_gone_waits_and_asks_nobody_all_the_time() {
    let _lab = Lab::new().unwrap();
    let server = Server::start(site()).unwrap();
    ip("link del lab0").unwrap();
    comes_to(&server, "lab0", "not-there");
    std::thread::sleep(Duration::from_secs(1));
    let before = naps(&server);
    std::thread::sleep(Duration::from_secs(3));
    let woken = naps(&server) - before;
    assert!(woken < 60, "it woke {woken} times");
}

#[test]
fn a_reload_that_names_another_network_says_what_the_interface_lacks() {
    let lab = Lab::new().unwrap();
    let mut server = Server::start(site()).unwrap();
    let moved =
        server.site.text().replace("192.168.77.0/24", "10.5.0.0/24").replace("192.168.77.1", "10.5.0.1");
    let moved = moved.replacen("address = \"10.5.0.1\"", "address = \"192.168.77.1\"", 1);
    server.site.set_text(&moved);
    server.reload().unwrap();
    comes_to(&server, "lab0", "no-address");
    says(&server, "lab0 has no address", 1);
    ip("addr add 10.5.0.1/24 dev lab0").unwrap();
    comes_back(&server, "lab0");
    let told = lease(&lab, "lab0").unwrap();
    assert!(told["ip"].starts_with("10.5.0."), "{told:?}");
}
