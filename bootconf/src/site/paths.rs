//! Directories that must not lie in one another: the store and the state are the server's own, and what is one machine's own is
//! in no layer that others get.
//!
//! Paths are compared as they are written, without a look at the file system: a link can still lead from one to another.

use std::path::Path;

use crate::site::Source;
use crate::site::directories::has;
use crate::site::draft::Draft;
use crate::site::report::Span;
use crate::site::section::Diagnostics;

/// Notes what would hand the server's own directories, or one machine's own files, to other machines.
pub(crate) fn compare(draft: &Draft, diagnostics: &mut Diagnostics) {
    let shared = shared(draft);
    if let Some(server) = &draft.server {
        let own = draft.machines.values().filter_map(|machine| {
            let layer = machine.value.layer.as_ref()?;
            Some((machine.place("layer", &layer.display()), layer.as_path()))
        });
        for (span, path) in shared.iter().copied().chain(own) {
            for (name, directory) in [("state", &server.state), ("store", &server.store)] {
                if has(path, directory) {
                    diagnostics.note(
                        span,
                        format!(
                            "has the server's own {name} {} in it, which machines would get with all keys and roots; move one of the two",
                            directory.display()
                        ),
                    );
                    break;
                }
            }
        }
    }
    for machine in draft.machines.values() {
        let Some(layer) = &machine.value.layer else { continue };
        if let Some((_, outer)) = shared.iter().find(|(_, outer)| has(outer, layer)) {
            diagnostics.note(
                machine.place("layer", &layer.display()),
                format!(
                    "is in {}, which other machines get too, and with it what is this machine's own; move it out of there",
                    outer.display()
                ),
            );
        }
    }
}

/// The directories that more than one machine may get: sources of profiles, and layers of profiles, workloads, groups and rules.
fn shared(draft: &Draft) -> Vec<(&Span, &Path)> {
    let mut shared = Vec::new();
    for profile in draft.profiles.values() {
        if let Some(Source::Directory { path, .. }) = &profile.value.source {
            shared.push((profile.place("source", &String::new()), path.as_path()));
        }
        let layers = profile.value.layers.iter();
        shared.extend(
            layers.map(|layer| (profile.place("layers", &layer.path.display()), layer.path.as_path())),
        );
    }
    for workload in draft.workloads.values() {
        let layers = workload.value.layers.iter();
        shared.extend(
            layers.map(|layer| (workload.place("layers", &layer.path.display()), layer.path.as_path())),
        );
    }
    for group in draft.groups.values() {
        let layers = group.value.gives.layers.iter();
        shared
            .extend(layers.map(|layer| (group.place("layers", &layer.path.display()), layer.path.as_path())));
    }
    for rule in &draft.rules {
        let layers = rule.value.gives.layers.iter();
        shared
            .extend(layers.map(|layer| (rule.place("layers", &layer.path.display()), layer.path.as_path())));
    }
    shared
}
