//! Another DHCP server on the wire or on this host is told of, once; a mount that is refused says who asked and why.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use oneroot_testkit::{Lab, RELAY, Server, SiteFiles, ip, udhcpc};
use serde_json::Value;
use socket2::{Domain, SockRef, Socket, Type};

const PATIENCE: Duration = Duration::from_secs(60);
const INTERFACE: &str = "lab0";

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

/// The kinds of answer (RFC 2132 §9.6).
const OFFER: u8 = 2;
const ACK: u8 = 5;
const NAK: u8 = 6;

/// What a DHCP server at `server` tells a client on its own wire.
fn answer(kind: u8, last: u8, server: [u8; 4], address: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![2, 1, 6, 0, 7, 3, 0, last];
    packet.resize(16, 0);
    packet.extend(address);
    packet.resize(28, 0);
    packet.extend([0x52, 0x54, 0, 0, 0, last]);
    packet.resize(236, 0);
    packet.extend([99, 130, 83, 99, 53, 1, kind, 54, 4]);
    packet.extend(server);
    packet.push(255);
    packet.resize(300, 0);
    packet
}

/// Has a host on a switch, with an address of its own, broadcast these as a DHCP server does.
fn broadcast(lab: &Lab, switch: &str, address: &str, packets: &[Vec<u8>]) {
    lab.plug(switch, |nic| {
        ip(&format!("addr add {address} dev {nic}")).unwrap();
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 67)).unwrap();
        SockRef::from(&socket).bind_device(Some(nic.as_bytes())).unwrap();
        socket.set_broadcast(true).unwrap();
        for packet in packets {
            socket.send_to(packet, (Ipv4Addr::BROADCAST, 68)).unwrap();
        }
    })
    .unwrap();
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
    let server = Server::start(SiteFiles::with_two().unwrap()).unwrap();
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
        // Of alpha's, some may still wait when beta's turn comes: whose is looked at last is said of the last.
        let begun = Instant::now();
        while others(&server).first().is_none_or(|seen| seen["machine"] != "beta") {
            say(&takes(11, [192, 168, 77, 9], [192, 168, 77, 210]));
            assert!(begun.elapsed() < PATIENCE, "{:?}", others(&server));
        }
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
    let mut server = Server::start(SiteFiles::with_two().unwrap()).unwrap();
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
    let server = Server::start(SiteFiles::with_two().unwrap()).unwrap();
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

#[test]
fn what_another_server_broadcasts_is_told_of_once_though_no_machine_takes_it() {
    let lab = Lab::new().unwrap();
    let server = Server::start(SiteFiles::with_two().unwrap()).unwrap();
    let other = [192, 168, 77, 9];
    let offer = answer(OFFER, 10, other, [192, 168, 77, 209]);
    broadcast(&lab, INTERFACE, "192.168.77.9/24", &vec![offer; 8]);
    let told = "another DHCP server, 192.168.77.9, answers on this network: it offered alpha 192.168.77.209; switch that one off";
    waits(&server, told);
    let refused = answer(NAK, 11, other, [0; 4]);
    let gave = answer(ACK, 77, other, [192, 168, 77, 210]);
    broadcast(&lab, INTERFACE, "192.168.77.9/24", &[refused, gave]);
    let begun = Instant::now();
    let seen = loop {
        let seen = others(&server);
        if seen[0]["what"] == "gave" {
            break seen;
        }
        assert!(begun.elapsed() < PATIENCE, "{seen:?}");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(seen.len(), 1);
    assert_eq!(
        (&seen[0]["mac"], &seen[0]["address"]),
        (&"52:54:00:00:00:4d".into(), &"192.168.77.210".into())
    );
    let status = server.run(&["status"]).unwrap();
    let shown = "another DHCP server, 192.168.77.9, answers on this network: it gave 52:54:00:00:00:4d 192.168.77.210";
    assert!(status.contains(shown), "{status}");
    assert_eq!(server.log().matches("another DHCP server").count(), 1, "{}", server.log());
}

#[test]
fn neither_our_own_answers_nor_what_is_no_answer_show_another_server() {
    let lab = Lab::new().unwrap();
    let server = Server::start(SiteFiles::with_two().unwrap()).unwrap();
    assert!(udhcpc(&lab, INTERFACE).unwrap().is_some(), "a machine has an address of ours");
    let address = [192, 168, 77, 209];
    let ours = answer(OFFER, 10, [192, 168, 77, 1], address);
    let nobodys = answer(OFFER, 10, [192, 168, 77, 0], address);
    let (mut question, mut torn, mut no_mac) = (nobodys.clone(), nobodys.clone(), nobodys.clone());
    (question[0], no_mac[28]) = (1, 0xff);
    torn.truncate(239);
    // A relay that stands for its server says its own address (RFC 5107): whose answer it is can't be seen.
    let mut relayed = answer(ACK, 10, [192, 168, 77, 8], address);
    relayed[24..28].copy_from_slice(&[192, 168, 77, 8]);
    let last = answer(OFFER, 10, [192, 168, 77, 9], address);
    broadcast(&lab, INTERFACE, "192.168.77.9/24", &[ours, question, torn, no_mac, relayed, vec![], last]);
    waits(&server, "another DHCP server, 192.168.77.9");
    let seen = others(&server);
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[test]
fn another_server_is_heard_where_we_give_addresses_and_on_an_interface_that_was_made_again() {
    let lab = Lab::new().unwrap();
    lab.switch("lab1", "10.9.0.1/24").unwrap();
    let mut site = SiteFiles::with_two().unwrap();
    let proxied = site.text().replace(
        &format!("interface = \"{INTERFACE}\""),
        &format!("interface = [\"{INTERFACE}\", \"lab1\"]"),
    ) + "\n[[network]]\nsubnet = \"10.9.0.0/24\"\nserver = \"10.9.0.1\"\nproxy = true\n";
    site.set_text(&proxied);
    let server = Server::start(site).unwrap();
    // They are heard in the order in which they come: what is told of the last was not told of the first.
    broadcast(&lab, "lab1", "10.9.0.9/24", &[answer(OFFER, 10, [10, 9, 0, 9], [10, 9, 0, 209])]);
    broadcast(
        &lab,
        INTERFACE,
        "192.168.77.9/24",
        &[answer(OFFER, 10, [192, 168, 77, 9], [192, 168, 77, 209])],
    );
    waits(&server, "another DHCP server, 192.168.77.9");
    assert_eq!(others(&server).len(), 1, "a proxy is beside another server");
    ip(&format!("link del {INTERFACE}")).unwrap();
    waits(&server, "lab0 is gone");
    lab.switch(INTERFACE, "192.168.77.1/24").unwrap();
    waits(&server, "lab0 is back");
    broadcast(
        &lab,
        INTERFACE,
        "192.168.77.8/24",
        &[answer(OFFER, 10, [192, 168, 77, 8], [192, 168, 77, 209])],
    );
    waits(&server, "another DHCP server, 192.168.77.8");
}

#[test]
fn a_flood_of_made_up_servers_is_bounded_and_keeps_no_machine_from_its_address() {
    let lab = Lab::new().unwrap();
    let server = Server::start(SiteFiles::with_two().unwrap()).unwrap();
    let made_up = |number: u16| {
        let [high, low] = number.to_be_bytes();
        answer(OFFER, 10, [172, 16, high, low], [192, 168, 77, 209])
    };
    let flood: Vec<_> = (0..5000).map(made_up).collect();
    for part in flood.chunks(1000) {
        broadcast(&lab, INTERFACE, "192.168.77.9/24", part);
        assert!(udhcpc(&lab, INTERFACE).unwrap().is_some());
    }
    waits(&server, "another DHCP server, 172.16.0.0");
    assert!(others(&server).len() <= 16);
    assert!(server.log().matches("another DHCP server").count() <= 64);
}
