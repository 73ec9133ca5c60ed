//! A machine's own generation: what `bootconf::given` says that it is given, staged like any layer and laid over its tree.
//!
//! The result is named by its content, so a machine that has not changed gives the same name and writes nothing. What has
//! been staged once is remembered.
//!
//! A machine whose tree has programs that examine it gets the one that tells the server of what they find out, too: `oneroot-init` by
//! another name, which needs nothing of the tree.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::sync::Arc;

use super::made::Made;
use crate::error::Result;
use crate::initrds::Program;
use oneroot_bootconf::given::{Given, HOME};
use oneroot_ids::{GenerationId, ObjectId};
use oneroot_initrd::firmware::Machine;
use oneroot_tree::node::{Content, Meta, TreePath};
use oneroot_tree::{Stage, Store, View};

use crate::guest::MTIME;

/// Machines that are remembered, each with a line's worth of facts.
const MOST_REMEMBERED: usize = 50_000;
/// Programs that are remembered: those for two processors, and what they were before somebody built them anew.
const MOST_PROGRAMS: usize = 8;

/// Where the program lies that tells (`init/src/tell.rs`).
const TELL: &str = ".oneroot/tell";
/// What says for which processor a tree was made: no machine runs hooks without it.
const SHELL: &[u8] = b"/bin/sh";

/// What has been staged so far.
pub struct Staged {
    given: Made<(Given, Option<GenerationId>)>,
    programs: Made<ObjectId>,
}

impl Default for Staged {
    fn default() -> Self {
        Self { given: Made::at_most(MOST_REMEMBERED), programs: Made::at_most(MOST_PROGRAMS) }
    }
}

impl Staged {
    /// The generation with what a machine is given, and the program that tells, if there is one. Blocks on the disk.
    pub fn generation(
        &self,
        store: &Arc<Store>,
        given: Given,
        tells: Option<&Program>,
    ) -> Result<GenerationId> {
        // The program is larger than all else together: it is staged once, and a node in each machine's generation.
        let tells = tells.map(|program| {
            self.programs.or_make(store, &program.object, |_| stage_program(store, &program.bytes))
        });
        self.given.or_make(store, &(given, tells.transpose()?), |(given, tells)| stage(store, given, *tells))
    }
}

/// The processor that a tree's programs were made for, as far as its shell says.
pub fn processor(store: &Store, view: &View) -> Result<Option<Machine>> {
    let Some(object) = view.follow(SHELL).and_then(|shell| view.object(shell)) else { return Ok(None) };
    let mut head = Vec::new();
    store.object(object)?.take(Machine::HEAD as u64).read_to_end(&mut head)?;
    Ok(Machine::of_program(&head))
}

fn stage_program(store: &Arc<Store>, program: &[u8]) -> Result<GenerationId> {
    let mut stage = Stage::begin(store, |_| {})?;
    // No source has it, so nothing else would put it right.
    stage.distrust();
    let meta = |mode| Meta { mode, mtime: MTIME, ..Meta::default() };
    for directory in ["", HOME] {
        stage.insert(
            &TreePath::parse(directory.as_bytes())?,
            meta(0o755),
            Content::Directory { opaque: false },
        )?;
    }
    let content = stage.object(program, TELL.as_bytes())?;
    stage.insert(&TreePath::parse(TELL.as_bytes())?, meta(0o700), content)?;
    Ok(stage.finish()?.generation)
}

fn stage(store: &Arc<Store>, given: &Given, program: Option<GenerationId>) -> Result<GenerationId> {
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
    if let Some(program) = program {
        let program = oneroot_tree::Views::new(store.clone()).of(&[program])?;
        if let Some(tell) = program.follow(format!("/{TELL}").as_bytes()) {
            stage.copy(&program, tell, TELL.as_bytes())?;
        }
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
            examined: oneroot_bootconf::hardware::Examined::default(),
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
        let own = Staged::default().generation(&store, given, None).unwrap();
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
            let first = staged.generation(&store, given.clone(), None).unwrap();
            assert_eq!(staged.generation(&store, given.clone(), None).unwrap(), first, "remembered");
            assert_eq!(Staged::default().generation(&store, given, None).unwrap(), first, "staged again");
            first
        };
        assert_eq!(of("alpha"), of("alpha"));
        assert_ne!(of("alpha"), of("beta"));
    }
}
