//! The tables of a site against each other: names that must exist, addresses and MACs that must be one machine's alone.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use crate::report::nearest;
use crate::section::{At, Mistakes};
use crate::site::{Machine, Network, Profile, Workload};

type Named<T> = BTreeMap<String, At<T>>;

pub(crate) fn compare(
    networks: &[At<Network>],
    profiles: &Named<Profile>,
    workloads: &Named<Workload>,
    machines: &Named<Machine>,
    mistakes: &mut Mistakes,
) {
    for (number, network) in networks.iter().enumerate() {
        let overlaps = |other: &&At<Network>| {
            let (a, b) = (network.value.subnet, other.value.subnet);
            a.contains(b.network()) || b.contains(a.network())
        };
        if let Some(other) = networks.iter().take(number).find(overlaps) {
            mistakes.note(&network.spot, format!("{} overlaps {}", network.value.subnet, other.value.subnet));
        }
    }
    for (name, profile) in profiles {
        if let Some(extends) = &profile.value.extends {
            exists("profile", extends, profiles, profile, mistakes);
        }
        if let Some(cycle) = cycle(name, profiles) {
            mistakes.note(&profile.spot, format!("extends itself: {cycle}"));
        }
    }
    let (mut macs, mut addresses) = (HashMap::new(), HashMap::new());
    for (name, machine) in machines {
        exists("profile", &machine.value.profile, profiles, machine, mistakes);
        for workload in &machine.value.workloads {
            exists("workload", workload, workloads, machine, mistakes);
        }
        for mac in &machine.value.macs {
            alone("MAC", *mac, name, &mut macs, machine, mistakes);
        }
        if let Some(address) = machine.value.address {
            alone("address", address, name, &mut addresses, machine, mistakes);
            let inside = |network: &At<Network>| {
                let subnet = network.value.subnet;
                subnet.contains(address) && address != subnet.network() && address != subnet.broadcast()
            };
            if !networks.iter().any(inside) {
                mistakes.note(&machine.spot, format!("its address {address} is in none of the networks"));
            }
        }
    }
}

fn exists<T, U>(kind: &str, name: &str, known: &Named<T>, at: &At<U>, mistakes: &mut Mistakes) {
    // An empty name stands for a missing key, which has been told already.
    if !name.is_empty() && !known.contains_key(name) {
        let hint = nearest(name, known.keys().map(String::as_str));
        mistakes.note_with(&at.spot, format!("there is no {kind} {name:?}"), hint);
    }
}

fn alone<'n, K: Eq + Hash + Copy + std::fmt::Display>(
    what: &str,
    key: K,
    name: &'n str,
    owners: &mut HashMap<K, &'n str>,
    at: &At<Machine>,
    mistakes: &mut Mistakes,
) {
    if let Some(owner) = owners.insert(key, name) {
        let whose = if owner == name {
            "twice in this machine".to_owned()
        } else {
            format!("machine {owner}'s already")
        };
        mistakes.note(&at.spot, format!("{what} {key} is {whose}"));
    }
}

/// The way from a profile back to itself, as `a -> b -> a`.
fn cycle(start: &str, profiles: &Named<Profile>) -> Option<String> {
    let mut way = vec![start];
    let mut at = start;
    while let Some(next) = profiles.get(at).and_then(|profile| profile.value.extends.as_deref()) {
        way.push(next);
        if next == start {
            return Some(way.join(" -> "));
        }
        // A cycle further down the way is the fault of those profiles.
        if way.len() > profiles.len() {
            return None;
        }
        at = next;
    }
    None
}
