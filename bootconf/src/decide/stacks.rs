//! What lies on what: each stack that some machine may get.

use std::collections::BTreeSet;

use crate::decide::asked::Catalogue;
use crate::decide::decided::profiles_of;
use crate::decide::decision::Part;
use crate::site::Site;

/// The stacks of all machines, bottom first, each once; and those of profiles and groups that no machine has yet.
#[must_use]
pub fn stacks(site: &Site) -> BTreeSet<Vec<Part>> {
    let catalogue = Catalogue::of(site);
    let decisions =
        catalogue.everybody().filter_map(|(_, asked)| profiles_of(&catalogue, &asked).ok()).flatten();
    let mut all: BTreeSet<Vec<Part>> = decisions.map(|decision| decision.parts).collect();
    let groups = site.groups.iter().map(|(_, group)| &group.gives);
    let given = groups.filter_map(|gives| Some((gives.profile()?, gives.layers.as_slice())));
    for (name, more) in site.profiles.keys().map(|name| (name.as_str(), &[][..])).chain(given) {
        let mut parts = Vec::new();
        for (name, profile) in site.chain(name) {
            if profile.source.is_some() {
                parts.push(Part::Profile { name: name.to_owned() });
            }
            parts.extend(profile.layers.iter().map(|path| Part::Layer { path: path.clone() }));
        }
        parts.extend(more.iter().map(|path| Part::Layer { path: path.clone() }));
        all.insert(parts);
    }
    all
}
