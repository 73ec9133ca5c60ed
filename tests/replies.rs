//! What a site says of its networks reaches the client that leaves the least room, up to the last byte that `check` accepts.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::collections::HashMap;
use std::net::UdpSocket;
use std::time::Duration;

use oneroot_testkit::{Lab, RELAY, Server, SiteFiles};

/// A DISCOVER of alpha's NIC by HTTP Boot firmware that is iPXE too, says nothing of its size, and asks for everything.
fn discover() -> Vec<u8> {
    let mut packet = vec![1, 1, 6, 0, 1, 2, 3, 4];
    packet.resize(24, 0);
    packet.extend(RELAY.octets());
    packet.extend([0x52, 0x54, 0, 0, 0, 0x0a]);
    packet.resize(236, 0);
    packet.extend([99, 130, 83, 99, 53, 1, 1, 60, 30]);
    packet.extend(b"HTTPClient:Arch:00016:UNDI:003");
    // It names HTTP (19) among what it can.
    packet.extend([77, 4, b'i', b'P', b'X', b'E', 93, 2, 0, 16, 175, 6, 33, 1, 1, 19, 1, 1]);
    packet.extend([55, 8, 1, 3, 6, 12, 15, 54, 66, 67, 255]);
    packet
}

fn options(packet: &[u8]) -> HashMap<u8, Vec<u8>> {
    let (mut options, mut rest) = (HashMap::new(), &packet[240..]);
    while rest[0] != 255 {
        let length = usize::from(rest[1]);
        options.insert(rest[0], rest[2..2 + length].to_vec());
        rest = &rest[2 + length..];
    }
    options
}

#[test]
fn the_longest_lists_of_servers_and_domain_that_are_accepted_reach_the_client_with_the_least_room() {
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::small().unwrap();
    let dns: Vec<String> = (1..=12).map(|last| format!("\"192.168.77.{last}\"")).collect();
    let ntp: Vec<String> = (21..=23).map(|last| format!("\"192.168.77.{last}\"")).collect();
    let domain = format!("{}.{}", "a".repeat(31), "b".repeat(31));
    let longest = site.text().replace(
        "lease = \"1h\"",
        &format!(
            "lease = \"1h\"\ndns = [{}]\nntp = [{}]\ndomain = \"{domain}\"",
            dns.join(", "),
            ntp.join(", ")
        ),
    );
    site.set_text(&longest);
    let name = "n".repeat(63);
    site.machine(&name, "0a", "").unwrap();
    let server = Server::start(site).unwrap();
    let longer = longest.replace(&domain, &format!("{domain}c"));
    std::fs::write(server.site.path().join("longer.toml"), longer).unwrap();
    assert!(server.run(&["--site", "longer.toml", "check"]).unwrap_err().to_string().contains("name fewer"));
    let offer = lab.on_host("192.168.77.2/24", || {
        let relay = UdpSocket::bind((RELAY, 67)).unwrap();
        relay.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        relay.send_to(&discover(), ("192.168.77.1", 67)).unwrap();
        let mut offer = [0; 1500];
        let count = relay.recv(&mut offer).unwrap();
        offer[..count].to_vec()
    });
    let offer = offer.unwrap();
    assert!(offer.len() <= 548, "{} bytes", offer.len());
    let options = options(&offer);
    assert_eq!((options[&60].as_slice(), options[&6].len()), (b"HTTPClient".as_slice(), 48));
    assert_eq!(options[&42], [192, 168, 77, 21, 192, 168, 77, 22, 192, 168, 77, 23]);
    assert!(options[&67].ends_with(b".ipxe"), "{options:?}");
    assert_eq!((options[&12].as_slice(), options[&15].as_slice()), (name.as_bytes(), domain.as_bytes()));
}
