//! What lies on what: each stack that some machine may get.

use std::collections::BTreeSet;

use crate::decide::asked::Catalogue;
use crate::decide::decided::profiles_of;
use crate::decide::decision::Part;
use crate::site::Site;
use crate::site::layers::Layer;

/// The stacks of all machines, bottom first, each once; and those of profiles, groups and rules that no machine has yet.
///
/// Of layers with a condition a machine may have any. What one layer does to those below it shows with all of them, with none
/// and with each alone; each choice of them would be two to the power of their number.
#[must_use]
pub fn stacks(site: &Site) -> BTreeSet<Vec<Part>> {
    let catalogue = Catalogue::of(site);
    let decisions =
        catalogue.everybody().filter_map(|(_, asked)| profiles_of(&catalogue, &asked).ok()).flatten();
    let mut all: BTreeSet<Vec<Part>> = decisions.map(|decision| decision.parts).collect();
    let groups = site.groups.iter().map(|(_, group)| &group.gives);
    let given = groups.chain(site.rules.iter().map(|rule| &rule.gives));
    let given = given.filter_map(|gives| Some((gives.profile()?, gives.layers.as_slice())));
    for (name, more) in site.profiles.keys().map(|name| (name.as_str(), &[][..])).chain(given) {
        let stack = |has: &dyn Fn(&Layer) -> bool| {
            let layers = |layers: &[Layer]| {
                let there = layers.iter().filter(|layer| layer.when.is_none() || has(layer));
                there.map(|layer| Part::Layer { path: layer.path.clone() }).collect::<Vec<Part>>()
            };
            let mut parts = Vec::new();
            for (name, profile) in site.chain(name) {
                if profile.source.is_some() {
                    parts.push(Part::Profile { name: name.to_owned() });
                }
                parts.extend(layers(&profile.layers));
            }
            parts.extend(layers(more));
            parts
        };
        all.insert(stack(&|_| true));
        all.insert(stack(&|_| false));
        let own = site.chain(name).into_iter().flat_map(|(_, profile)| &profile.layers).chain(more);
        all.extend(own.filter(|layer| layer.when.is_some()).map(|one| stack(&|layer| layer == one)));
    }
    all
}
