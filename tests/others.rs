//! Another DHCP server on the wire or on this host is told of, once; a mount that is refused says who asked and why.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use oneroot_vm_tests::{Lab, Server, SiteFiles};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

const PATIENCE: Duration = Duration::from_secs(60);
const RELAY: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);

fn site() -> SiteFiles {
    let mut site = SiteFiles::with_alpha(b"kernel").unwrap();
    site.machine("beta", "0b", "address = \"192.168.77.11\"").unwrap();
    site
}

/// The REQUEST of a client that takes the offer of the server at `server` (RFC 2131 §4.3.2, SELECTING).
fn takes(last: u8, server: [u8; 4], address: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![1, 1, 6, 0, 7, 3, 0, last];
    packet.resize(24, 0);
    packet.extend(RELAY.octets());
    packet.extend([0x52, 0x54, 0, 0, 0, last]);
    packet.resize(236, 0);
    packet.extend([99, 130, 83, 99, 53, 1, 3, 50, 4]);
    packet.extend(address);
    packet.extend([54, 4]);
    packet.extend(server);
    packet.push(255);
    packet
}

fn waits(server: &Server, what: &str) {
    let begun = Instant::now();
    while !server.log().contains(what) {
        assert!(begun.elapsed() < PATIENCE, "the log does not say {what:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn others(server: &Server) -> Vec<Value> {
    let status: Value = serde_json::from_str(&server.run(&["status", "--json"]).unwrap()).unwrap();
    status["other_servers"].as_array().unwrap().clone()
}

#[test]
fn a_machine_that_takes_another_servers_offer_is_told_of_once_with_both_names() {
    let lab = Lab::new().unwrap();
    let server = Server::start(site()).unwrap();
    assert!(others(&server).is_empty());
    lab.on_host("192.168.77.2/24", || {
        let relay = UdpSocket::bind((RELAY, 67)).unwrap();
        let say = |packet: &[u8]| relay.send_to(packet, ("192.168.77.1", 67)).unwrap();
        for _ in 0..20 {
            say(&takes(10, [192, 168, 77, 9], [192, 168, 77, 209]));
        }
        waits(
            &server,
            "another DHCP server, 192.168.77.9, answers on this network: alpha took 192.168.77.209",
        );
        say(&takes(11, [192, 168, 77, 9], [192, 168, 77, 210]));
        waits(&server, "beta took 192.168.77.210");
    })
    .unwrap();
    assert_eq!(server.log().matches("another DHCP server, 192.168.77.9").count(), 2, "once a machine");
    let seen = others(&server);
    assert_eq!(seen.len(), 1);
    assert_eq!((&seen[0]["server"], &seen[0]["machine"]), (&"192.168.77.9".into(), &"beta".into()));
    let told = server.run(&["status"]).unwrap();
    assert!(told.contains("another DHCP server, 192.168.77.9, answers on this network: beta took"), "{told}");
}

#[test]
fn the_other_servers_of_a_proxy_network_are_as_it_should_be() {
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::small().unwrap();
    let proxied =
        site.text().replace("pool = \"192.168.77.100-192.168.77.199\"\nlease = \"1h\"", "proxy = true");
    site.set_text(&proxied);
    let server = Server::start(site).unwrap();
    lab.on_host("192.168.77.2/24", || {
        let relay = UdpSocket::bind((RELAY, 67)).unwrap();
        relay.send_to(&takes(10, [192, 168, 77, 9], [192, 168, 77, 209]), ("192.168.77.1", 67)).unwrap();
    })
    .unwrap();
    server.run(&["status"]).unwrap();
    assert!(others(&server).is_empty() && !server.log().contains("another DHCP server"));
}

#[test]
fn another_program_of_this_host_that_shares_the_dhcp_port_is_told_of_at_the_start() {
    let _lab = Lab::new().unwrap();
    let other = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    other.set_reuse_address(true).unwrap();
    let all: std::net::SocketAddr = (Ipv4Addr::UNSPECIFIED, 67).into();
    other.bind(&all.into()).unwrap();
    let mut server = Server::start(site()).unwrap();
    let told = "another program on this host listens on UDP port 67 (0.0.0.0:67)";
    assert_eq!(server.log().matches(told).count(), 1);
    drop(other);
    server.kill9().unwrap();
    server.restart().unwrap();
    assert_eq!(server.log().matches(told).count(), 1, "it is gone");
}

#[test]
fn a_mount_of_a_root_that_is_not_mounted_from_there_says_who_asked_and_what_to_do() {
    let lab = Lab::new().unwrap();
    let server = Server::start(site()).unwrap();
    lab.on_machines(RELAY, |host| {
        let [alpha, beta] = [10, 11].map(|last| host.lease(last, PATIENCE).unwrap().unwrap());
        let boot = alpha.boot().unwrap();
        alpha.mount(&boot.export).unwrap();
        let view = boot.export.split('.').next().unwrap();
        beta.mount(view).map(drop).unwrap_err();
        beta.mount(&boot.export).map(drop).unwrap_err();
    })
    .unwrap();
    let said = "refused a mount: 192.168.77.11 (beta, 52:54:00:00:00:0b) asked for a root by a path that names no boot";
    server.wait_for_log(said, PATIENCE).unwrap();
    let told = server.machine("alpha").unwrap()["refused"]["told"].as_str().unwrap().to_owned();
    assert!(told.ends_with("that address is another machine's (beta, 52:54:00:00:00:0b)"), "{told}");
}
