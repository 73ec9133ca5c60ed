//! The power fails: whatever the server had told anybody is there when it is on again.
//!
//! `ONEROOT_KILLS` says how often (3 unless set), `ONEROOT_SEED` from where.

use std::collections::HashMap;
use std::time::Duration;

use oneroot_vm_tests::{PowerMachine, artifacts};
use serde_json::Value;

/// To a server that stages and leases: 20 s on two idle cores.
const ON: Duration = Duration::from_secs(400);
/// It works for so long at most before the power fails.
const WORK: u64 = 12_000;
/// A reference remembers 100 generations; so many of those that were told must be among them.
const REMEMBERED: usize = 90;

/// What the machine has told, ever.
#[derive(Default)]
struct Told {
    /// Generations, oldest first, each with the word in its tree that no other has.
    staged: Vec<(String, String)>,
    /// The last tree that was synced.
    synced: Option<String>,
    leases: HashMap<String, String>,
    /// The last boot of each NIC.
    boots: HashMap<String, String>,
}

/// What one start found.
#[derive(Default)]
struct Found {
    checked: bool,
    broken: Vec<String>,
    /// Newest first.
    history: Vec<String>,
    /// The tree that is on the disk as files.
    copy: Option<String>,
    leases: HashMap<String, String>,
    /// NIC of each boot.
    boots: HashMap<String, String>,
}

impl Found {
    /// A record of the state, as a backup has it.
    fn record(&mut self, line: &str) {
        let record: Value = serde_json::from_str(line).unwrap();
        let value: Value = serde_json::from_str(text(&record, "value")).unwrap();
        let mac = text(&value, "mac").to_owned();
        match text(&record, "key").split_once('/').unwrap() {
            ("leases", _) => drop(self.leases.insert(mac, text(&value, "address").to_owned())),
            (_, boot) => drop(self.boots.insert(boot.to_owned(), mac)),
        }
    }

    /// Everything that was told before this start is there.
    fn holds(&self, told: &Told, context: &str) {
        let recent = told.staged.iter().rev().take(REMEMBERED);
        for (back, (generation, _)) in recent.enumerate() {
            let place = self.history.iter().position(|found| found == generation);
            // One more may have been staged and not told.
            assert!(
                place.is_some_and(|place| place == back || place == back + 1),
                "{context}: {generation} was staged, {back} before the last, and is at {place:?}"
            );
        }
        let place = |id: &Option<String>| told.staged.iter().position(|(_, word)| Some(word) == id.as_ref());
        // One that was staged and not told is later than all of them.
        let found = self.copy.as_ref().map(|_| place(&self.copy).unwrap_or(usize::MAX));
        assert!(
            told.synced.is_none() || found >= place(&told.synced),
            "{context}: {:?} was synced, and {:?} is there",
            told.synced,
            self.copy
        );
        for (mac, address) in &told.leases {
            assert_eq!(self.leases.get(mac), Some(address), "{context}: the lease of {mac}");
        }
        for (mac, boot) in &told.boots {
            assert_eq!(self.boots.get(boot), Some(mac), "{context}: the boot {boot} of {mac}");
        }
    }
}

/// Reads a console: what the start found, and what was told from there on.
fn read(log: &str, told: &mut Told, context: &str) -> Found {
    let mut found = Found::default();
    // A line that the cut has cut is no promise.
    for line in log.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let Some((_, said)) = line.trim_end().split_once("@@ ") else { continue };
        match said.split(' ').collect::<Vec<_>>().as_slice() {
            ["checked"] => {
                found.checked = true;
                found.holds(told, context);
            }
            ["history", generation] => found.history.push((*generation).to_owned()),
            ["state", ..] => found.record(said.trim_start_matches("state ")),
            ["copy", id] => found.copy = Some((*id).to_owned()),
            ["staged", generation, id] => told.staged.push(((*generation).to_owned(), (*id).to_owned())),
            ["synced", id] => told.synced = Some((*id).to_owned()),
            ["leased", mac, address] => drop(told.leases.insert((*mac).to_owned(), (*address).to_owned())),
            ["booted", mac, boot] => drop(told.boots.insert((*mac).to_owned(), (*boot).to_owned())),
            ["broken" | "litter", ..] => found.broken.push(said.to_owned()),
            _ => {}
        }
    }
    assert_eq!(found.broken, [""; 0], "{context}");
    found
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn a_server_that_loses_its_power_comes_back_with_every_generation_lease_and_boot_that_it_told() {
    let Some(debian) = artifacts::here(artifacts::debian) else { return };
    let machine = PowerMachine::new(&debian).unwrap();
    let (kills, seed) = (number("ONEROOT_KILLS", 3), number("ONEROOT_SEED", 1));
    let (mut told, mut chance, mut checked) = (Told::default(), seed, 0);
    for cut in 1..=kills {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut guest = machine.power_on().unwrap();
        // Some cuts fall into the start itself.
        let early = (chance >> 20).is_multiple_of(8);
        guest.wait_for(if early { "@@ mounted" } else { "@@ checked" }, ON).unwrap();
        std::thread::sleep(Duration::from_millis((chance >> 33) % WORK));
        let log = guest.power_cut().unwrap();
        let context = format!("seed {seed}, cut {cut}");
        checked += u64::from(read(&log, &mut told, &context).checked);
        println!(
            "{context}: {} generations, {} synced, {} leases, {} boots told so far",
            told.staged.len(),
            if told.synced.is_some() { "one" } else { "none" },
            told.leases.len(),
            told.boots.len()
        );
    }
    let mut guest = machine.power_on().unwrap();
    guest.wait_for("@@ checked", ON).unwrap();
    guest.wait_for("@@ staged", ON).unwrap();
    let last = read(&guest.power_cut().unwrap(), &mut told, &format!("seed {seed}, at the end"));
    assert!(last.checked && checked > 0);
    assert!(told.synced.is_some(), "something was synced");
    assert!(!told.staged.is_empty() && !told.leases.is_empty() && !told.boots.is_empty());
    println!("{kills} power cuts, {checked} of them after the start was checked");
}
