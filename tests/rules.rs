//! Rules over the real binary: how facts come, what they change, and what they never do (docs/security.md).
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at its first surprise"
)]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::time::Duration;

use oneroot_testkit::{Lab, Machine, RELAY, Server, SiteFiles};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const RULES: &str = "[profile.kiosk]\nextends = \"debian\"\nargs = [\"kiosk=1\"]\n\
    [[rule]]\nwhen = { product = \"X1*\" }\nname = \"node-{serial}\"\nprofile = \"kiosk\"\n\
    [[rule]]\nwhen = { circuit_id = \"Gi1/0/*\" }\nprofile = \"debian\"\nargs = [\"port=1\"]\n";

fn site(more: &str) -> SiteFiles {
    let mut site = SiteFiles::with_alpha(b"kernel").unwrap();
    site.add(&format!("{RULES}{more}"));
    site
}

/// Every durable boot of the server, by the names of its plans.
fn plans(server: &Server) -> BTreeSet<String> {
    let file = server.site.path().join("plans.backup");
    server.run(&["state", "backup", file.to_str().unwrap()]).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let keys =
        text.lines().filter_map(|line| Some(line.split_once("\"key\":\"")?.1.split_once('"')?.0.to_owned()));
    keys.filter(|key| key.starts_with("plans/")).collect()
}

fn path(machine: &Machine, query: &str) -> String {
    format!("/boot/52-54-00-00-00-{:02x}.ipxe{query}", machine.last)
}

fn script(machine: &Machine, query: &str) -> String {
    let (status, script) = machine.get(&path(machine, query)).unwrap();
    assert_eq!(status, 200);
    String::from_utf8(script).unwrap()
}

fn json(server: &Server, words: &[&str]) -> Value {
    serde_json::from_str(&server.run(&[words, &["--json"]].concat()).unwrap()).unwrap()
}

/// A request as it is, and the first line of its answer; none where the connection ends without one.
fn raw(machine: &Machine, request: &[u8]) -> String {
    let mut stream = machine.connect(80, 0).unwrap();
    // The server may close before it has read all of it.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

/// DHCP's options of a machine that boots behind this port of a relay: option 60, and 82.1.
fn behind(port: &str) -> Vec<u8> {
    let length = u8::try_from(port.len()).unwrap();
    [&[60, 9], b"PXEClient".as_slice(), &[82, length + 2, 1, length], port.as_bytes()].concat()
}

#[test]
fn a_machine_is_first_sent_what_asks_for_its_facts_and_by_them_a_rule_gives_it_its_profile() {
    let lab = Lab::new().unwrap();
    let server = Server::start(site("")).unwrap();
    lab.on_machines(RELAY, |host| {
        let stranger = host.lease(11, PATIENCE).unwrap().unwrap();
        let asks = script(&stranger, "");
        assert!(asks.contains(&format!("{}?platform=${{platform}}&", path(&stranger, ""))), "{asks}");
        assert!(!asks.contains("/b/"));
        let head = raw(
            &stranger,
            format!("HEAD {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path(&stranger, ""))
                .as_bytes(),
        );
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(plans(&server), BTreeSet::new(), "nobody has told anything yet");
        // X1 Carbon, in digits as iPXE is asked to say it, and percent-encoded.
        let told =
            script(&stranger, "?x.product=583120436172626f6e&x.serial=5046&sizes=0040&busid=018086100e");
        assert!(told.contains("kiosk=1"), "{told}");
        assert_eq!(script(&stranger, "?serial=PF&product=X1%20Carbon&sizes=0040&busid=018086100e"), told);
        assert_eq!(plans(&server).len(), 1, "asked again with the same facts it is the same boot");
        let known = json(&server, &["explain", "52:54:00:00:00:0b"]);
        assert_eq!(known["told"]["hardware"]["product"], "X1 Carbon");
        assert_eq!(known["told"]["hardware"]["memory"], 16_384);
        assert_eq!(known["told"]["location"]["network"], "192.168.77.0/24");
        assert!(server.run(&["explain", "52:54:00:00:00:0b"]).unwrap().contains("[[rule]] 1 (line"));
        let listed = json(&server, &["status"]);
        let row = listed["machines"]
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["mac"] == "52:54:00:00:00:0b")
            .unwrap();
        assert_eq!(
            (&row["name"], &row["named"], &row["profile"]),
            (&"node-pf".into(), &false.into(), &"kiosk".into())
        );
        assert_eq!(row["claims"]["location"]["network"], "192.168.77.0/24");
        let other = script(&stranger, "?product=Y&serial=PF");
        assert!(!other.contains("/b/"), "no rule fits, and nobody has named it: {other}");
    })
    .unwrap();
}

#[test]
fn a_query_that_is_broken_endless_or_full_of_names_costs_its_own_facts_and_nothing_else() {
    let lab = Lab::new().unwrap();
    let mut server = Server::start(site("")).unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let before = server.resident().unwrap();
        let long = |fact: &str, count: usize| fact.repeat(count);
        for query in [
            "?product=%".to_owned(),
            "?product=%zz&product=X9".to_owned(),
            "?x.product=5".to_owned(),
            "?product=a%0d%0aecho%20hello".to_owned(),
            "?product=${net0/mac}%20%7C%7C%20shell".to_owned(),
            format!("?{}", long("fact=1&", 2000)),
            format!("?product={}", long("A", 12_000)),
            "?".to_owned(),
            "?&&&=&=".to_owned(),
        ] {
            let told = script(&alpha, &query);
            assert!(
                told.contains("/b/") && !told.contains("hello") && !told.contains("shell"),
                "{query}: {told}"
            );
        }
        for query in [long("product=A&", 100_000), format!("product={}", long("A", 1 << 20))] {
            let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", path(&alpha, &format!("?{query}")));
            let answer = raw(&alpha, request.as_bytes());
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        }
        assert!(script(&alpha, "?product=X1").contains("/b/"), "and it boots on");
        let after = server.resident().unwrap();
        assert!(after < before + (64 << 20), "{before} {after}");
    })
    .unwrap();
}

#[test]
fn a_machine_that_the_site_names_is_none_of_another_name_or_profile_whatever_it_tells() {
    let lab = Lab::new().unwrap();
    let _server = Server::start(site("")).unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let plain = script(&alpha, "?");
        assert!(plain.contains("oneroot: alpha,") && !plain.contains("kiosk=1"), "{plain}");
        let told = script(&alpha, "?product=X1&serial=1");
        assert!(told.contains("oneroot: alpha,") && !told.contains("kiosk=1"), "{told}");
        let boot = alpha.boot_telling("product=X1&serial=1").unwrap();
        let mut root = alpha.mount(&boot.export).unwrap();
        assert_eq!(root.read_all().unwrap()["/etc/hostname"], b"alpha\n");
        assert!(script(&alpha, "?product=Y").contains("oneroot: alpha,"));
        assert!(root.lookup("/etc/hostname").is_ok(), "what runs is as it was");
    })
    .unwrap();
}

#[test]
fn of_two_machines_that_tell_one_serial_the_first_has_the_name_and_a_name_of_the_site_neither() {
    let lab = Lab::new().unwrap();
    let x1 = "?product=X1&serial=7";
    let mut server =
        Server::start(site("[machine.node-9]\nmac = \"52:54:00:00:00:63\"\nprofile = \"debian\"\n")).unwrap();
    lab.on_machines(RELAY, |host| {
        let [first, second] = [11, 12].map(|last| host.lease(last, PATIENCE).unwrap().unwrap());
        assert!(script(&first, x1).contains("oneroot: node-7,"));
        let told = script(&second, x1);
        assert!(told.contains("oneroot: 52:54:00:00:00:0c,") && told.contains("kiosk=1"), "{told}");
        server.wait_for_log("another machine has that name", PATIENCE).unwrap();
    })
    .unwrap();
    // Also after the server was killed, and in the other order.
    server.kill9().unwrap();
    server.restart().unwrap();
    lab.on_machines(RELAY, |host| {
        let [first, second] = [11, 12].map(|last| host.lease(last, PATIENCE).unwrap().unwrap());
        assert!(script(&second, x1).contains("oneroot: 52:54:00:00:00:0c,"));
        assert!(script(&first, x1).contains("oneroot: node-7,"));
        let nine = script(&second, "?product=X1&serial=9");
        assert!(nine.contains("oneroot: 52:54:00:00:00:0c,"), "a machine of the site has that name: {nine}");
        // Once the first tells another, its name is free.
        assert!(script(&first, "?product=X1&serial=8").contains("oneroot: node-8,"));
        assert!(script(&second, x1).contains("oneroot: node-7,"));
    })
    .unwrap();
}

#[test]
fn what_a_relay_says_counts_and_is_remembered_by_the_boot_when_the_server_is_killed() {
    let lab = Lab::new().unwrap();
    let mut server = Server::start(site("")).unwrap();
    let (before, address) = lab
        .on_machines(RELAY, |host| {
            let stranger = host.lease_telling(11, &behind("Gi1/0/7"), PATIENCE).unwrap().unwrap();
            let told = script(&stranger, "?serial=1");
            assert!(told.contains("port=1"), "{told}");
            let row = |server: &Server| {
                json(server, &["status"])["machines"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .find(|row| row["mac"] == "52:54:00:00:00:0b")
                    .unwrap()
                    .clone()
            };
            let claims = row(&server)["claims"].clone();
            assert_eq!(claims["location"]["circuit_id"], "Gi1/0/7");
            assert_eq!(claims["location"]["relay"], RELAY.to_string());
            assert_eq!(claims["hardware"]["vendor_class"], "PXEClient");
            (told, stranger.address)
        })
        .unwrap();
    server.kill9().unwrap();
    server.restart().unwrap();
    lab.on_machines(RELAY, |host| {
        // It asks on, and no DHCP message of it has come.
        oneroot_testkit::ip(&format!("addr add {address}/24 dev {}", host.nic())).unwrap();
        let stranger = Machine::at(11, address);
        assert_eq!(script(&stranger, "?serial=1"), before, "the same boot, by what was frozen in it");
        // It is moved to another port, where no rule fits.
        let moved = host.lease_telling(11, &behind("Gi2/0/7"), PATIENCE).unwrap().unwrap();
        assert!(!script(&moved, "?serial=1").contains("/b/"));
    })
    .unwrap();
}

#[test]
fn a_site_without_rules_asks_whom_nobody_has_named_and_once_whose_tree_it_has_not_looked_into() {
    let lab = Lab::new().unwrap();
    let server = Server::start(SiteFiles::with_alpha(b"kernel").unwrap()).unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        assert!(script(&alpha, "").contains("?platform="), "an initrd for its NIC may have to be made");
        assert!(script(&alpha, "?").contains("/b/"));
        assert!(script(&alpha, "").contains("/b/"), "its tree has one: one request");
        let stranger = host.lease(11, PATIENCE).unwrap().unwrap();
        assert!(script(&stranger, "").contains("?platform="));
    })
    .unwrap();
    drop(server);
}

#[test]
fn a_rule_is_tried_without_the_machine_and_a_layer_that_is_left_out_is_shown() {
    let mut files = site("");
    files.file("x2", "etc/x2", "yes\n").unwrap();
    files.add("[group.all]\nmacs = \"52:54:00:*\"\nlayers = [{ path = \"layers/x2\", when = { product = \"X2*\", memory = \"8192-\" } }]\n");
    let server = Server::new(files).unwrap();
    server.stage().unwrap();
    let explain = |facts: &[&str]| {
        let facts: Vec<&str> = facts.iter().flat_map(|fact| ["--fact", fact]).collect();
        server.run(&[&["explain", "alpha"], facts.as_slice()].concat())
    };
    let out = explain(&["product=X2 Tablet"]).unwrap();
    assert!(out.contains("only when product = \"X2*\", memory = \"8192-\", hidden"), "{out}");
    assert!(out.contains("told of it: product X2 Tablet"), "{out}");
    let with = explain(&["product=X2 Tablet", "memory=8192"]).unwrap();
    assert!(!with.contains("hidden") && with.matches("layers/x2").count() == 2, "{with}");
    for wrong in ["prodct=X", "product", "memory=8G", "arch=amd64"] {
        let told = explain(&[wrong]).unwrap_err().to_string();
        assert!(told.contains("--fact"), "{told}");
    }
}
