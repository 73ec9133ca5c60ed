//! Real DHCP clients on real links: several interfaces, a proxy network, a network that comes by a reload.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::collections::HashMap;

use oneroot_testkit::{Lab, Server, SiteFiles, ip};

/// What a fresh host of a switch is told; `None` when nobody answers.
fn udhcpc(lab: &Lab, switch: &str) -> Option<HashMap<String, String>> {
    oneroot_testkit::udhcpc(lab, switch).unwrap()
}

const SECOND: &str = "[[network]]\nsubnet = \"192.168.78.0/24\"\nserver = \"192.168.78.1\"\nrouter = \"192.168.78.254\"\n\
                      pool = \"192.168.78.20-192.168.78.22\"\nexclude = [\"192.168.78.21\"]\ndomain = \"second.example\"\n";

#[test]
fn each_interface_gives_addresses_of_its_own_network_and_names_the_server_there() {
    let lab = Lab::new().unwrap();
    lab.switch("lab1", "192.168.78.1/24").unwrap();
    let mut site = SiteFiles::small().unwrap();
    let both = site.text().replace("interface = \"lab0\"", "interface = [\"lab0\", \"lab1\"]");
    site.set_text(&both);
    site.add(SECOND);
    let _server = Server::start(site).unwrap();
    let first = udhcpc(&lab, "lab0").unwrap();
    assert!(first["ip"].starts_with("192.168.77.1"), "{first:?}");
    assert_eq!((first["serverid"].as_str(), first["siaddr"].as_str()), ("192.168.77.1", "192.168.77.1"));
    let mut given = vec![udhcpc(&lab, "lab1").unwrap(), udhcpc(&lab, "lab1").unwrap()];
    for told in &given {
        assert_eq!((told["serverid"].as_str(), told["router"].as_str()), ("192.168.78.1", "192.168.78.254"));
        assert_eq!(told["domain"], "second.example");
    }
    given.sort_by(|a, b| a["ip"].cmp(&b["ip"]));
    let addresses: Vec<&str> = given.iter().map(|told| told["ip"].as_str()).collect();
    assert_eq!(addresses, ["192.168.78.20", "192.168.78.22"], "what is excluded is given to nobody");
    assert!(udhcpc(&lab, "lab1").is_none(), "the pool has no more");
}

#[test]
fn what_a_machines_link_carries_is_told_to_it_and_to_no_other() {
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::small().unwrap();
    let smaller = site.text().replace("[profile.debian]\n", "[profile.debian]\nmtu = 1400\n");
    site.set_text(&smaller);
    site.machine("alpha", "0a", "address = \"192.168.77.10\"").unwrap();
    let _server = Server::start(site).unwrap();
    let alpha = lab.plug("lab0", |nic| {
        ip(&format!("link set {nic} address 52:54:00:00:00:0a")).unwrap();
        oneroot_testkit::udhcpc_on(nic).unwrap().unwrap()
    });
    assert_eq!(alpha.unwrap()["mtu"], "1400");
    let other = udhcpc(&lab, "lab0").unwrap();
    assert!(!other.contains_key("mtu"), "{other:?}");
}

#[test]
fn of_two_networks_on_one_wire_a_machine_is_in_that_of_its_own_address() {
    let lab = Lab::new().unwrap();
    ip("addr add 192.168.78.1/24 dev lab0").unwrap();
    let mut site = SiteFiles::small().unwrap();
    site.add(SECOND);
    site.machine("alpha", "0a", "address = \"192.168.78.10\"").unwrap();
    let _server = Server::start(site).unwrap();
    let alpha = lab.plug("lab0", |nic| {
        ip(&format!("link set {nic} address 52:54:00:00:00:0a")).unwrap();
        oneroot_testkit::udhcpc_on(nic).unwrap().unwrap()
    });
    let alpha = alpha.unwrap();
    assert_eq!(
        [&alpha["ip"], &alpha["serverid"], &alpha["router"]],
        ["192.168.78.10", "192.168.78.1", "192.168.78.254"]
    );
    let other = udhcpc(&lab, "lab0").unwrap();
    assert_eq!(other["serverid"], "192.168.77.1", "{other:?}");
}

#[test]
fn a_pool_that_a_reload_makes_larger_is_given_from_at_once() {
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::small().unwrap();
    let tight = site.text().replace("192.168.77.100-192.168.77.199", "192.168.77.100-192.168.77.100");
    site.set_text(&tight);
    let mut server = Server::start(site).unwrap();
    assert_eq!(udhcpc(&lab, "lab0").unwrap()["ip"], "192.168.77.100");
    assert!(udhcpc(&lab, "lab0").is_none());
    let wider = server.site.text().replace("100-192.168.77.100", "100-192.168.77.101");
    server.site.set_text(&wider);
    server.reload().unwrap();
    assert_eq!(udhcpc(&lab, "lab0").unwrap()["ip"], "192.168.77.101");
}

#[test]
fn a_proxy_network_gives_no_address_to_anybody() {
    let lab = Lab::new().unwrap();
    // All loaders, or the start would warn of those that this host does not have.
    let mut site = SiteFiles::with_loader().unwrap();
    std::fs::write(site.path().join("loaders/undionly.kpxe"), "a loader").unwrap();
    let proxied =
        site.text().replace("pool = \"192.168.77.100-192.168.77.199\"\nlease = \"1h\"", "proxy = true");
    site.set_text(&proxied);
    let server = Server::start(site).unwrap();
    assert!(udhcpc(&lab, "lab0").is_none());
    assert!(
        !server.log().contains("WARN"),
        "ordinary clients of the other server are no trouble: {}",
        server.log()
    );
}
