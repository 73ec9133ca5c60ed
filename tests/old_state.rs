//! What older versions have left opens for ever: `fixtures/COMMIT.tar.zst` is a site with its store, its state (of a server
//! that was killed) and a backup of that, all written by the binary of that commit, and what its machines were told then.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use oneroot_testkit::{Lab, Machine, Root, Server, SiteFiles, ip};
use serde::Deserialize;

/// A machine as it was when the fixture was made.
#[derive(Deserialize)]
struct Told {
    name: String,
    last: u8,
    address: Ipv4Addr,
    boot: String,
    export: String,
    phase: String,
    root_handle: String,
    hostname_handle: String,
    /// BLAKE3 by path; none for a machine that had not mounted anything.
    files: Option<BTreeMap<String, String>>,
}

impl Told {
    fn machine(&self) -> Machine {
        Machine { last: self.last, address: self.address }
    }

    fn is_proxied(&self) -> bool {
        self.address.octets()[2] == 78
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn hashes(root: &mut Root) -> BTreeMap<String, String> {
    let files = root.read_all().unwrap();
    files.into_iter().map(|(path, bytes)| (path, blake3::hash(&bytes).to_hex().to_string())).collect()
}

/// The site of a commit, its server not started yet, and what its machines were told.
fn left_by(commit: &str) -> (Lab, Server, Vec<Told>) {
    let lab = Lab::new().unwrap();
    lab.switch("lab1", "192.168.78.1/24").unwrap();
    // A switch without ports has no address of its own.
    ip("link set lab1 address 52:54:00:ff:00:02").unwrap();
    let tar = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{commit}.tar.zst"));
    let site = SiteFiles::unpacked(&tar).unwrap();
    let told = serde_json::from_slice(&fs::read(site.path().join("told.json")).unwrap()).unwrap();
    (lab, Server::new(site).unwrap(), told)
}

/// Acts as each machine, from its own address and, beside another DHCP server, its own NIC.
fn as_each(lab: &Lab, told: &[Told], act: impl Fn(&Told) + Sync) {
    for told in told {
        let switch = if told.is_proxied() { "lab1" } else { "lab0" };
        let there = |nic: &str| {
            ip(&format!("link set {nic} address 52:54:00:00:00:{:02x}", told.last)).unwrap();
            ip(&format!("addr add {}/24 dev {nic}", told.address)).unwrap();
            if told.is_proxied() {
                ip("route add 192.168.77.0/24 via 192.168.78.1").unwrap();
            }
            act(told);
        };
        lab.plug(switch, there).unwrap();
    }
}

/// A machine that ran goes on with its handles as if nothing had been, and may mount its root again by the path it knows.
fn goes_on(told: &Told) {
    let machine = told.machine();
    let Some(files) = &told.files else {
        assert_eq!(machine.get(&format!("/b/{}/kernel", told.boot)).unwrap().0, 200, "{}", told.name);
        machine.mount(&told.export).unwrap();
        return;
    };
    let mut before = machine.resume(bytes(&told.root_handle)).unwrap();
    assert_eq!(hashes(&mut before), *files, "{}", told.name);
    if !told.hostname_handle.is_empty() {
        assert_eq!(before.lookup("etc/hostname").unwrap(), bytes(&told.hostname_handle), "{}", told.name);
    }
    let mut again = machine.mount(&told.export).unwrap();
    assert_eq!(again.handle(), bytes(&told.root_handle), "{}", told.name);
    assert_eq!(hashes(&mut again), *files, "{}", told.name);
}

#[test]
fn machines_that_ran_under_af98222_run_on() {
    let (lab, mut server, told) = left_by("af98222");
    server.restart().unwrap();
    for told in &told {
        let name = if told.name == "stranger" { "52:54:00:00:00:63" } else { &told.name };
        let machine = server.machine(name).unwrap();
        assert_eq!(
            (&machine["boot"], &machine["phase"]),
            (&told.boot.as_str().into(), &told.phase.as_str().into())
        );
    }
    as_each(&lab, &told, goes_on);
    // What this version has written in its turn opens too.
    server.kill9().unwrap();
    server.restart().unwrap();
    as_each(&lab, &told, goes_on);
}

#[test]
fn a_backup_of_af98222_is_restored_and_serves_the_same_machines() {
    let (lab, mut server, told) = left_by("af98222");
    fs::rename(server.site.path().join("state"), server.site.path().join("state.old")).unwrap();
    server.run(&["state", "restore", "--unverified", "backup.json"]).unwrap();
    server.restart().unwrap();
    as_each(&lab, &told, goes_on);
}

#[test]
fn a_store_of_af98222_is_whole_and_staged_again_it_has_the_same_generations() {
    let (_lab, server, _) = left_by("af98222");
    server.run(&["verify"]).unwrap();
    let heads = || server.run(&["generations", "--json"]).unwrap();
    let generations = |text: &str| -> Vec<String> {
        let all: serde_json::Value = serde_json::from_str(text).unwrap();
        let mut ids: Vec<_> =
            all.as_array().unwrap().iter().map(|one| one["generation"].to_string()).collect();
        ids.sort();
        ids
    };
    let before = generations(&heads());
    server.run(&["stage", "--afresh"]).unwrap();
    assert_eq!(generations(&heads()), before, "nothing has changed, so nothing is new");
}
