//! Initrds of oneroot's own, as a layer of a machine's view: `oneroot-init`, modules of the tree's own kernel, their firmware.
//!
//! What lies in one is chosen by policy (`bootconf::drivers`), and the layer is named by its content: machines with the same NIC
//! and the same tree share it, and so do servers. It is made when the first of them boots, and remembered by two names: by the
//! stack that it was made for, and by what went into it, so that a machine with files of its own costs a look and no packing. The
//! settings of a boot are no part of it: they come with the plan, behind it.

mod contents;
mod parts;
mod program;

use std::sync::Arc;

use oneroot_bootconf::drivers::{For, choose};
use oneroot_bootconf::kernels::Own;
use oneroot_bootconf::root::Drivers;
use oneroot_ids::{GenerationId, ObjectId};
use oneroot_initrd::cpio::{Archive, Unwritable};
use oneroot_initrd::firmware::Said;
use oneroot_initrd::modules::Tables;
use oneroot_initrd::settings::PATH;
use oneroot_tree::node::{Content, Meta, TreePath};
use oneroot_tree::{Stage, Store, View};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::guest::MTIME;

use contents::Texts;

/// Where the parts lie in a view.
const HOME: &str = ".oneroot/boot";
/// What is packed.
const INITRD: &str = "initrd";
/// Stacks that are remembered, and layers.
const MOST_REMEMBERED: usize = 10_000;
const MOST_LAYERS: usize = 1_000;
/// Modules of which it is remembered what they say.
const MOST_MODULES: usize = 10_000;

/// Initrds made so far.
pub struct Initrds {
    by_stack: Cache<(Vec<GenerationId>, String, For), Arc<Composed>>,
    by_content: Cache<[u8; 32], Arc<Composed>>,
    said: Cache<ObjectId, Arc<Said>>,
}

/// An initrd that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Composed {
    /// The layer that has it.
    pub generation: GenerationId,
    /// Paths of its parts in a view, in the order in which a kernel unpacks them.
    pub parts: Vec<String>,
    /// What it is made of, for people.
    pub made_of: Vec<Ingredient>,
    /// What the kernel's own tables name and the tree does not have.
    pub missing: Vec<String>,
}

/// One thing that an initrd is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ingredient {
    /// `init`, `modules`, `firmware`, `packed`.
    pub what: String,
    /// Bytes.
    pub bytes: u64,
    /// Which, and why.
    pub why: String,
}

impl Composed {
    /// That of a machine which has an initrd of its tree's.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            generation: GenerationId([0; 32]),
            parts: Vec::new(),
            made_of: Vec::new(),
            missing: Vec::new(),
        }
    }
}

impl Default for Initrds {
    fn default() -> Self {
        Self {
            by_stack: Cache::new(MOST_REMEMBERED),
            by_content: Cache::new(MOST_LAYERS),
            said: Cache::new(MOST_MODULES),
        }
    }
}

/// A tree that an initrd is made for.
pub struct Wanted<'w> {
    /// The stack below, bottom first.
    pub stack: &'w [GenerationId],
    /// Its view.
    pub view: &'w View,
    /// The kernel.
    pub own: &'w Own,
    /// Whose NIC it is for.
    pub drivers: For,
}

impl Initrds {
    /// The initrd for a tree; made now, where there is none. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Initrd`] where the tree has not what it takes; that of the store.
    pub fn composed(&self, store: &Arc<Store>, wanted: &Wanted<'_>) -> Result<Arc<Composed>> {
        let is_there = |known: &Arc<Composed>| store.keep_generation(known.generation);
        let key = (wanted.stack.to_vec(), wanted.own.modules.clone(), wanted.drivers);
        if let Some(known) = self.by_stack.get(&key).filter(is_there) {
            return Ok(known);
        }
        let texts = Texts::read(store, wanted.view, &wanted.own.modules)?;
        let tables = Tables::parse(&texts.dep, &texts.alias, &texts.softdep, &texts.builtin)
            .map_err(|cause| Error::Initrd(cause.to_string()))?;
        let chosen = choose(&tables, wanted.drivers);
        if !chosen.lacks.is_empty() {
            return Err(Error::Initrd(lacking(&chosen.lacks, &texts, wanted.own)));
        }
        let mut parts = contents::gathered(store, wanted, &chosen, &self.said)?;
        let tables = tables.narrowed(&parts.loadable());
        let name = parts.name(&tables, &texts.builtin);
        let composed = match self.by_content.get(&name).filter(is_there) {
            Some(known) => known,
            None => {
                let packed = parts::packed(store, &mut parts, &tables, &texts.builtin)?;
                let generation = stage(store, &packed.bytes)?;
                let composed = Arc::new(Composed {
                    generation,
                    parts: vec![format!("/{HOME}/{INITRD}")],
                    made_of: packed.made_of,
                    missing: parts.missing,
                });
                self.by_content.insert(name, composed.clone());
                composed
            }
        };
        self.by_stack.insert(key, composed.clone());
        Ok(composed)
    }
}

/// In words: what a kernel lacks.
fn lacking(lacks: &[&str], texts: &Texts, own: &Own) -> String {
    let lacks = lacks.join(" and ");
    let depmod = if texts.dep.is_empty() {
        format!("; modules.dep is missing or empty: run `depmod {}` in the tree", own.version)
    } else {
        String::new()
    };
    format!("kernel {} lacks {lacks}, as a module and in itself{depmod}", own.version)
}

/// What keeps a tree's machines from coming up by an initrd of oneroot's own, or may: for who stages the tree. Blocks on the disk.
pub fn findings(store: &Store, view: &View, own: &Own) -> Vec<String> {
    let found = || -> Result<Vec<String>> {
        let texts = Texts::read(store, view, &own.modules)?;
        let tables = Tables::parse(&texts.dep, &texts.alias, &texts.softdep, &texts.builtin)
            .map_err(|cause| Error::Initrd(cause.to_string()))?;
        let drivers = For { drivers: Drivers::Common, nic: None };
        let chosen = choose(&tables, drivers);
        let lacks: Vec<&str> = chosen.lacks.iter().chain(&chosen.doubts).copied().collect();
        let mut told = Vec::new();
        if !lacks.is_empty() {
            told.push(lacking(&lacks, &texts, own));
        }
        let wanted = Wanted { stack: &[], view, own, drivers };
        let parts = contents::gathered(store, &wanted, &chosen, &Cache::new(1))?;
        told.extend(parts.missing.iter().map(|path| missing(path)));
        Ok(told)
    };
    found().unwrap_or_else(|cause| vec![cause.to_string()])
}

/// In words: a module that is not there.
#[must_use]
pub fn missing(path: &str) -> String {
    format!(
        "{path} is not there, though its kernel's modules.dep names it: install the kernel's package anew"
    )
}

/// The settings of a boot, as what comes behind its initrd.
///
/// # Errors
/// None that their own bounds do not hold.
pub fn settings(settings: &str) -> Result<Vec<u8>, Unwritable> {
    let mut archive = Archive::new(Vec::new());
    // Its directory is there: the program's archive comes first.
    archive.file(PATH, 0o444, settings.as_bytes())?;
    archive.finish()
}

/// The layer that has it.
fn stage(store: &Arc<Store>, initrd: &[u8]) -> Result<GenerationId> {
    let mut stage = Stage::begin(store, |_| {})?;
    // No source has it, so nothing else would put it right.
    stage.distrust();
    let meta = |mode| Meta { mode, mtime: MTIME, ..Meta::default() };
    for (directory, _) in HOME.match_indices('/').chain([(0, ""), (HOME.len(), "")]) {
        let path = TreePath::parse(HOME.get(..directory).unwrap_or_default().as_bytes())?;
        stage.insert(&path, meta(0o755), Content::Directory { opaque: false })?;
    }
    let path = format!("{HOME}/{INITRD}");
    let content = stage.object(initrd, path.as_bytes())?;
    stage.insert(&TreePath::parse(path.as_bytes())?, meta(0o644), content)?;
    Ok(stage.finish()?.generation)
}
