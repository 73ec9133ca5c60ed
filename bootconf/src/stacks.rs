//! What lies on what: each stack that some machine may get.

use std::collections::BTreeSet;

use crate::decision::{Part, decide};
use crate::site::Site;
use oneroot_ids::Mac;

/// A MAC for a machine that the site does not name: locally administered, nobody's.
const NOBODY: [u8; 6] = [0x02, 0, 0, 0, 0, 1];

/// The stacks of all machines, bottom first, each once; and those of profiles that no machine has yet.
#[must_use]
pub fn stacks(site: &Site) -> BTreeSet<Vec<Part>> {
    let macs = site.machines.values().filter_map(|machine| machine.macs.first().copied());
    let decisions = macs.chain(Mac::new(NOBODY)).filter_map(|mac| decide(site, mac).ok());
    let mut all: BTreeSet<Vec<Part>> = decisions.map(|decision| decision.parts).collect();
    for name in site.profiles.keys() {
        let mut parts = Vec::new();
        for (name, profile) in site.chain(name) {
            if profile.source.is_some() {
                parts.push(Part::Profile { name: name.to_owned() });
            }
            parts.extend(profile.layers.iter().map(|path| Part::Layer { path: path.clone() }));
        }
        all.insert(parts);
    }
    all
}
