//! A machine's own generation: what `bootconf::given` says that it is given, staged like any layer and laid over its tree.
//!
//! The result is named by its content, so a machine that has not changed gives the same name and writes nothing. What has
//! been staged once is remembered.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::made::Made;
use crate::error::Result;
use oneroot_bootconf::given::{Given, HOME};
use oneroot_ids::GenerationId;
use oneroot_tree::node::{Content, Meta, TreePath};
use oneroot_tree::{Stage, Store};

use crate::guest::MTIME;

/// Machines that are remembered, each with a line's worth of facts.
const MOST_REMEMBERED: usize = 50_000;

/// What has been staged so far.
pub struct Staged(Made<Given>);

impl Default for Staged {
    fn default() -> Self {
        Self(Made::at_most(MOST_REMEMBERED))
    }
}

impl Staged {
    /// The generation with what a machine is given. Blocks on the disk.
    pub fn generation(&self, store: &Arc<Store>, given: Given) -> Result<GenerationId> {
        self.0.or_make(store, given, |given| stage(store, given))
    }
}

fn stage(store: &Arc<Store>, given: &Given) -> Result<GenerationId> {
    let mut stage = Stage::begin(store, |_| {})?;
    let meta = |mode| Meta { mode, mtime: MTIME, ..Meta::default() };
    let files: Vec<(String, String)> =
        given.files().into_iter().map(|(path, text)| (format!("{HOME}/{path}"), text)).collect();
    let above = |path: &str| {
        path.match_indices('/')
            .map(|(end, _)| path.get(..end).unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    let directories: BTreeSet<String> =
        files.iter().flat_map(|(path, _)| above(path)).chain([String::new()]).collect();
    for directory in directories {
        let path = TreePath::parse(directory.as_bytes())?;
        // What a tree has there, as one that was copied off a running machine, is another machine's.
        stage.insert(&path, meta(0o755), Content::Directory { opaque: directory == HOME })?;
    }
    for (path, text) in &files {
        let content = stage.object(text.as_bytes(), path.as_bytes())?;
        // A site's variables may be secrets, and only root's hooks are told them.
        let mode = if path.ends_with("/facts") || path.ends_with("/facts.json") { 0o600 } else { 0o644 };
        stage.insert(&TreePath::parse(path.as_bytes())?, meta(mode), content)?;
    }
    Ok(stage.finish()?.generation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oneroot_bootconf::facts::{Facts, SiteFacts};
    use oneroot_bootconf::mounts::Mounts;
    use oneroot_bootconf::root::Initramfs;

    fn facts(name: &str) -> Facts {
        Facts {
            name: name.to_owned(),
            mac: "52:54:00:00:00:0a".to_owned(),
            macs: vec!["52:54:00:00:00:0a".to_owned()],
            address: None,
            profile: "debian".to_owned(),
            workloads: Vec::new(),
            groups: Vec::new(),
            hardware: oneroot_bootconf::hardware::Hardware::default(),
            location: oneroot_bootconf::hardware::Location::default(),
            vars: [].into(),
            site: SiteFacts {
                server: [10, 0, 0, 1].into(),
                domain: None,
                dns: vec![[10, 0, 0, 2].into()],
                ntp: Vec::new(),
            },
        }
    }

    #[test]
    fn what_a_tree_has_of_another_machine_is_hidden() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let given = Given::of(&facts("alpha"), Initramfs::InitramfsTools, &Mounts::new(), None);
        let mut copied = Stage::begin(&store, |_| {}).unwrap();
        for directory in ["", ".oneroot", ".oneroot/run"] {
            let path = TreePath::parse(directory.as_bytes()).unwrap();
            copied.insert(&path, Meta::default(), Content::Directory { opaque: false }).unwrap();
        }
        let file = copied.object(b"another's".as_slice(), b"x").unwrap();
        copied.insert(&TreePath::parse(b".oneroot/run/x").unwrap(), Meta::default(), file).unwrap();
        let tree = copied.finish().unwrap().generation;
        let own = Staged::default().generation(&store, given).unwrap();
        let view = oneroot_tree::Views::new(store.clone()).of(&[tree, own]).unwrap();
        assert!(view.follow(b"/.oneroot/nic").is_some() && view.follow(b"/.oneroot/run/x").is_none());
    }

    #[test]
    fn an_unchanged_machine_has_the_same_generation_on_any_server_and_another_machine_has_another() {
        let of = |name: &str| {
            let home = tempfile::tempdir().unwrap();
            let store = Store::open(home.path()).unwrap();
            let (staged, given) =
                (Staged::default(), Given::of(&facts(name), Initramfs::InitramfsTools, &Mounts::new(), None));
            let first = staged.generation(&store, given.clone()).unwrap();
            assert_eq!(staged.generation(&store, given.clone()).unwrap(), first, "remembered");
            assert_eq!(Staged::default().generation(&store, given).unwrap(), first, "staged again");
            first
        };
        assert_eq!(of("alpha"), of("alpha"));
        assert_ne!(of("alpha"), of("beta"));
    }
}
