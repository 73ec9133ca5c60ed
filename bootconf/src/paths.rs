//! Directories that must not lie in one another: the store and the state are the server's own, and what is one machine's own is
//! in no layer that others get.
//!
//! Paths are compared as they are written, without a look at the file system: a link can still lead from one to another.

use std::path::{Component, Path, PathBuf};

use crate::check::Draft;
use crate::report::Spot;
use crate::section::{At, Mistakes};
use crate::site::Source;

/// A directory of the `[server]` table: its path, and where a file says it.
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    pub(crate) spot: Option<Spot>,
}

impl Directory {
    pub(crate) fn new(said: Option<At<PathBuf>>, default: PathBuf) -> Self {
        match said {
            Some(At { value, spot }) => Self { path: value, spot: Some(spot) },
            None => Self { path: default, spot: None },
        }
    }
}

/// Without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            _ => plain.push(part),
        }
    }
    plain
}

fn has(outer: &Path, inner: &Path) -> bool {
    plain(inner).starts_with(plain(outer))
}

/// Notes a store or state that can't be one, `whole` being the table's own place.
pub(crate) fn apart(store: &Directory, state: &Directory, whole: &Spot, mistakes: &mut Mistakes) {
    for (name, directory) in [("store", store), ("state", state)] {
        if plain(&directory.path) == Path::new("/") {
            let spot = directory.spot.as_ref().unwrap_or(whole);
            mistakes.note(
                spot,
                format!("is the root of the host's own files; name a directory for it alone, such as \"/var/lib/oneroot/{name}\""),
            );
            return;
        }
    }
    let spot = state.spot.as_ref().or(store.spot.as_ref()).unwrap_or(whole);
    let (store, state) = (&store.path, &state.path);
    let how = if plain(store) == plain(state) {
        "are one directory"
    } else if has(store, state) {
        "lie one in the other: the state is in the store"
    } else if has(state, store) {
        "lie one in the other: the store is in the state"
    } else {
        return;
    };
    mistakes.note(
        spot,
        format!(
            "store {} and state {} {how}; give each a directory of its own, side by side",
            store.display(),
            state.display()
        ),
    );
}

/// Notes what would hand the server's own directories, or one machine's own files, to other machines.
pub(crate) fn compare(draft: &Draft, mistakes: &mut Mistakes) {
    let shared = shared(draft);
    if let Some(server) = &draft.server {
        let own = draft.machines.values().filter_map(|machine| {
            let layer = machine.value.layer.as_ref()?;
            Some((machine.place("layer", &layer.display()), layer.as_path()))
        });
        for (spot, path) in shared.iter().copied().chain(own) {
            for (name, directory) in [("state", &server.state), ("store", &server.store)] {
                if has(path, directory) {
                    mistakes.note(
                        spot,
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
            mistakes.note(
                machine.place("layer", &layer.display()),
                format!(
                    "is in {}, which other machines get too, and with it what is this machine's own; move it out of there",
                    outer.display()
                ),
            );
        }
    }
}

/// The directories that more than one machine may get: sources and layers of profiles and workloads.
fn shared(draft: &Draft) -> Vec<(&Spot, &Path)> {
    let mut shared = Vec::new();
    for profile in draft.profiles.values() {
        if let Some(Source::Directory { path, .. }) = &profile.value.source {
            shared.push((profile.place("source", &String::new()), path.as_path()));
        }
        let layers = profile.value.layers.iter();
        shared.extend(layers.map(|layer| (profile.place("layers", &layer.display()), layer.as_path())));
    }
    for workload in draft.workloads.values() {
        let layers = workload.value.layers.iter();
        shared.extend(layers.map(|layer| (workload.place("layers", &layer.display()), layer.as_path())));
    }
    shared
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_itself_and_what_is_below_it_however_it_is_written() {
        let yes = [
            ("/a", "/a"),
            ("/a", "/a/b"),
            ("/a/", "/a/./b/"),
            ("/a/x/..", "/a/b"),
            ("/", "/a"),
            ("/a", "/b/../a/c"),
        ];
        assert!(yes.iter().all(|(outer, inner)| has(Path::new(outer), Path::new(inner))));
        let no = [("/a", "/ab"), ("/a/b", "/a"), ("/a", "/a/../b")];
        assert!(!no.iter().any(|(outer, inner)| has(Path::new(outer), Path::new(inner))));
    }
}
