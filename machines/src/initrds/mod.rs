//! Initrds of oneroot's own, as a layer of a machine's view: `oneroot-init`, modules of the tree's own kernel, their firmware.
//!
//! What lies in one is chosen by policy (`bootconf::drivers`), and the layer is named by its content: machines with the same NIC
//! and the same tree share it, and so do servers. It is made when the first of them boots, and remembered by two names: by the
//! stack that it was made for, and by what went into it, so that a machine with files of its own costs a look and no packing. The
//! settings of a boot are no part of it: they come with the plan, behind it.

mod contents;
mod firmware;
mod microcode;
mod parts;
mod places;
mod program;
mod taken;
mod unpacked;
mod wholes;

use std::sync::Arc;

use oneroot_bootconf::drivers::{Chosen, For, choose};
use oneroot_bootconf::kernels::Own;
use oneroot_bootconf::microcode::Microcode;
use oneroot_bootconf::root::{Drivers, OwnInitrd};
use oneroot_ids::{GenerationId, ObjectId};
use oneroot_initrd::cpio::{Archive, Unwritable};
use oneroot_initrd::firmware::Machine;
use oneroot_initrd::modules::{Narrowed, Tables};
use oneroot_initrd::settings::PATH;
use oneroot_tree::node::{Content, Meta, TreePath};
use oneroot_tree::{Stage, Store, View};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::guest::MTIME;

use contents::{Known, Parts, Texts};
use places::Places;
pub use program::{Program, Programs};
use unpacked::Unpacked;
use wholes::Wholes;

/// Where the parts lie in a view.
const HOME: &str = ".oneroot/boot";
/// What is packed, and what a kernel wants before it, which is not.
const INITRD: &str = "initrd";
const MICROCODE: &str = "microcode";
/// Stacks that are remembered, choices, and layers.
const MOST_REMEMBERED: usize = 10_000;
const MOST_LAYERS: usize = 1_000;

/// What came of it: a tree that none can be made of is not packed anew for each machine that asks again.
type Outcome<T> = std::result::Result<T, Arc<str>>;
/// The tables of a kernel, the directory of its modules, a digest of what the tree's admin says of modules, and for whom they are
/// chosen.
type Choice = ([Option<ObjectId>; 4], String, [u8; 32], For);
/// A stack, the directory of a kernel's modules in it, which of them were chosen, as a digest, and whose microcode. A NIC that a
/// machine only claims to have is no part of it: of such there are as many as somebody likes. And the round of the programs, so that what
/// came of one that was replaced, or of none, counts no longer than it is so.
type Key = (Vec<GenerationId>, String, [u8; 32], Microcode, u64);

/// Initrds made so far.
pub struct Initrds {
    programs: Programs,
    chosen: Cache<Choice, Outcome<[u8; 32]>>,
    by_stack: Cache<Key, Outcome<Arc<Composed>>>,
    by_content: Cache<[u8; 32], Outcome<Arc<Composed>>>,
    known: Known,
    wholes: Wholes,
    places: Places,
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
    /// In words: what the kernel's own tables name and the tree does not have, or has damaged, and no boot needs.
    pub missing: Vec<String>,
}

/// One thing that an initrd is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ingredient {
    /// `microcode`, `init`, `modules`, `firmware`, `packed`.
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

impl Initrds {
    /// The program for a processor: what an initrd starts with, by whatever name.
    pub fn program(&self, machine: Machine) -> Result<Arc<Program>> {
        self.programs.of(machine)
    }

    /// None yet; what they start with are these programs.
    #[must_use]
    pub fn of(programs: Programs) -> Self {
        Self {
            programs,
            chosen: Cache::new(MOST_REMEMBERED),
            by_stack: Cache::new(MOST_REMEMBERED),
            by_content: Cache::new(MOST_LAYERS),
            known: Known::default(),
            wholes: Wholes::default(),
            places: Places::default(),
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
    /// Whose processors it is for.
    pub microcode: Microcode,
}

/// What was looked for.
enum Looked {
    /// It is known what comes of it.
    Known(Outcome<Arc<Composed>>),
    /// It is to be packed, if none has this name.
    Parts { name: [u8; 32], key: Key, parts: Box<Parts>, tables: Box<Narrowed>, builtin: String },
}

impl Initrds {
    /// The initrd for a tree; made now, where there is none. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Initrd`] where the tree or this server has not what it takes; that of the store.
    pub fn composed(&self, store: &Arc<Store>, wanted: &Wanted<'_>) -> Result<Arc<Composed>> {
        let modules = &wanted.own.modules;
        // What is new of the programs is read here, before anybody's place is taken.
        let round = self.programs.round();
        let tables = Texts::objects(wanted.view, modules);
        let choice = (tables, modules.clone(), contents::conf_digest(wanted.view), wanted.drivers);
        let known = self.chosen.get(&choice).and_then(|chosen| match chosen {
            Ok(digest) => self.of_stack(store, &wanted.key(digest, round)),
            Err(cause) => Some(Err(cause)),
        });
        let outcome = match known {
            Some(known) => known,
            None => {
                let sought = self.sought(store, wanted, choice, round);
                self.known.unpacked.clear();
                sought?
            }
        };
        outcome.map_err(|cause| Error::Initrd(cause.to_string()))
    }

    /// The same where nothing is remembered of the choice and the stack.
    fn sought(
        &self,
        store: &Arc<Store>,
        wanted: &Wanted<'_>,
        choice: Choice,
        round: u64,
    ) -> Result<Outcome<Arc<Composed>>> {
        match self.looked_for(store, wanted, choice, round)? {
            Looked::Known(known) => Ok(known),
            Looked::Parts { name, key, parts, tables, builtin } => {
                let outcome = self.packed(store, name, *parts, &tables, &builtin)?;
                self.by_stack.insert(key, outcome.clone());
                Ok(outcome)
            }
        }
    }

    /// What is remembered of a stack, if the store still has it.
    fn of_stack(&self, store: &Store, key: &Key) -> Option<Outcome<Arc<Composed>>> {
        self.by_stack.get(key).filter(|known| self.is_there(store, known))
    }

    /// What an initrd is made of, in a place: a tree that takes long holds up no more than one.
    fn looked_for(&self, store: &Store, wanted: &Wanted<'_>, choice: Choice, round: u64) -> Result<Looked> {
        let _place = self.places.take();
        let texts = match remembered(Texts::read(store, wanted.view, &wanted.own.modules))? {
            Ok(texts) => texts,
            Err(cause) => return Ok(self.fails(choice, cause)),
        };
        let (tables, chosen) = match remembered(chosen(&texts, wanted))? {
            Ok(both) => both,
            Err(cause) => return Ok(self.fails(choice, cause)),
        };
        let key = wanted.key(digest(&chosen), round);
        self.chosen.insert(choice, Ok(key.2));
        if let Some(known) = self.of_stack(store, &key) {
            return Ok(Looked::Known(known));
        }
        let parts = match remembered(contents::gathered(store, wanted, &chosen, &self.known, &self.programs))?
        {
            Ok(parts) => Box::new(parts),
            Err(cause) => {
                self.by_stack.insert(key, Err(cause.clone()));
                return Ok(Looked::Known(Err(cause)));
            }
        };
        let tables = Box::new(tables.narrowed(&parts.loadable()));
        let name = parts.name(&tables, &texts.builtin);
        Ok(Looked::Parts { name, key, parts, tables, builtin: texts.builtin })
    }

    /// Nothing can be chosen of these tables.
    fn fails(&self, choice: Choice, cause: Arc<str>) -> Looked {
        self.chosen.insert(choice, Err(cause.clone()));
        Looked::Known(Err(cause))
    }

    /// The initrd of this name; made now, where there is none. Many machines that start at once want the same: one of them makes
    /// it, and the others wait for that without taking anybody's place.
    fn packed(
        &self,
        store: &Arc<Store>,
        name: [u8; 32],
        parts: Parts,
        tables: &Narrowed,
        builtin: &str,
    ) -> Result<Outcome<Arc<Composed>>> {
        if self.by_content.get(&name).is_some_and(|known| !self.is_there(store, &known)) {
            self.by_content.remove(&name);
        }
        self.by_content.get_or_insert_with(&name, || {
            let _place = self.places.take();
            remembered(made(store, parts, tables, builtin, &self.known.unpacked))
        })
    }

    /// Whether the store still has what is known, as it was written: a machine that is given a damaged initrd does not come up,
    /// however often it tries. It is read for the first boot, and again once its files change or some boots have had it. A failure stays one for as long as the tree is the same.
    fn is_there(&self, store: &Store, known: &Outcome<Arc<Composed>>) -> bool {
        let Ok(known) = known else { return true };
        let generation = known.generation;
        if !store.keep_generation(generation) {
            return false;
        }
        let read = || store.is_whole(generation);
        let is_whole =
            store.marks(generation).is_some_and(|marks| self.wholes.is_whole(generation, marks, read));
        if !is_whole {
            tracing::warn!(%generation, "an initrd of oneroot's is damaged in the store, and is made anew: look at its disk");
        }
        is_whole
    }
}

impl Wanted<'_> {
    fn key(&self, chosen: [u8; 32], round: u64) -> Key {
        (self.stack.to_vec(), self.own.modules.clone(), chosen, self.microcode, round)
    }
}

/// What a tree is to blame for, or the programs as they are, as what came of it; other troubles pass.
fn remembered<T>(result: Result<T>) -> Result<Outcome<T>> {
    match result {
        Ok(done) => Ok(Ok(done)),
        Err(Error::Initrd(cause) | Error::NoProgram(cause)) => Ok(Err(cause.into())),
        Err(other) => Err(other),
    }
}

/// A kernel's tables, and which of its modules are wanted.
fn chosen<'t>(texts: &'t Texts, wanted: &Wanted<'_>) -> Result<(Tables<'t>, Chosen<'t>)> {
    let tables = texts.tables()?;
    let chosen = choose(&tables, wanted.drivers);
    if !chosen.lacks.is_empty() {
        return Err(Error::Initrd(lacking(&chosen.lacks, texts, wanted.own)));
    }
    if !chosen.unmet.is_empty() {
        return Err(Error::Initrd(unmet(&chosen, wanted.own).collect::<Vec<_>>().join("; ")));
    }
    Ok((tables, chosen))
}

/// The same for the same modules.
fn digest(chosen: &Chosen<'_>) -> [u8; 32] {
    let mut digest = blake3::Hasher::new();
    for path in &chosen.modules {
        digest.update(path.as_bytes());
        digest.update(&[u8::from(chosen.needed.contains(path))]);
    }
    *digest.finalize().as_bytes()
}

/// Packs one, and puts it into the store.
fn made(
    store: &Arc<Store>,
    parts: Parts,
    tables: &Narrowed,
    builtin: &str,
    kept: &Unpacked,
) -> Result<Arc<Composed>> {
    let mut packed = parts::packed(store, &parts, tables, builtin, kept)?;
    let early = microcode::packed(store, &parts.microcode)?;
    let mut missing = parts.missing;
    packed.missing.into_iter().chain(early.missing).for_each(|trouble| contents::note(&mut missing, trouble));
    let mut files = vec![(INITRD, packed.bytes)];
    if let Some(bytes) = early.bytes {
        packed
            .made_of
            .insert(0, Ingredient { what: MICROCODE.to_owned(), bytes: bytes.len() as u64, why: early.why });
        // The kernel looks for it at the very beginning.
        files.insert(0, (MICROCODE, bytes));
    }
    Ok(Arc::new(Composed {
        generation: stage(store, &files)?,
        parts: files.iter().map(|(name, _)| format!("/{HOME}/{name}")).collect(),
        made_of: packed.made_of,
        missing,
    }))
}

/// In words: what a kernel lacks. Without depmod's tables nobody knows that it does.
fn lacking(lacks: &[&str], texts: &Texts, own: &Own) -> String {
    let (version, lacks) = (&own.version, lacks.join(" and "));
    if texts.dep.is_empty() {
        return format!(
            "modules.dep of kernel {version} is missing or empty: run `depmod {version}` in the tree; without it the kernel is taken to lack {lacks}"
        );
    }
    format!("kernel {version} lacks {lacks}, as a module and in itself")
}

/// In words: the settings of a profile that a kernel can't carry out.
fn unmet<'c>(chosen: &'c Chosen<'_>, own: &'c Own) -> impl Iterator<Item = String> + 'c {
    chosen.unmet.iter().map(|told| format!("kernel {} {told}", own.version))
}

/// The settings of a profile that a kernel of a tree can't carry out, in words: for who stages the tree. Blocks on the disk.
pub fn unmet_by(store: &Store, view: &View, own: &Own, settings: &OwnInitrd) -> Vec<String> {
    let found = || -> Result<Vec<String>> {
        let texts = Texts::read(store, view, &own.modules)?;
        let chosen = choose(&texts.tables()?, For::of(settings, None));
        // Without depmod's tables it seems to have nothing, and that is said already.
        let is_unknown = texts.dep.is_empty() && !chosen.lacks.is_empty();
        Ok(if is_unknown { Vec::new() } else { unmet(&chosen, own).collect() })
    };
    // And so is what keeps them from being read.
    found().unwrap_or_default()
}

/// What keeps a tree's machines from coming up by an initrd of oneroot's own, or may: for who stages the tree. Blocks on the disk.
pub fn findings(store: &Store, view: &View, own: &Own, programs: &Programs) -> Vec<String> {
    let found = || -> Result<Vec<String>> {
        let texts = Texts::read(store, view, &own.modules)?;
        let tables = texts.tables()?;
        let drivers = For { drivers: Drivers::Common, ..For::default() };
        let chosen = choose(&tables, drivers);
        let lacks: Vec<&str> = chosen.lacks.iter().chain(&chosen.doubts).copied().collect();
        let mut told = Vec::new();
        if !lacks.is_empty() {
            told.push(lacking(&lacks, &texts, own));
        }
        let wanted =
            Wanted { stack: &[], view, own, drivers, microcode: Microcode { amd: true, intel: true } };
        let parts = contents::gathered(store, &wanted, &chosen, &Known::default(), programs)?;
        told.extend(parts.missing);
        Ok(told)
    };
    found().unwrap_or_else(|cause| vec![cause.to_string()])
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
fn stage(store: &Arc<Store>, files: &[(&str, Vec<u8>)]) -> Result<GenerationId> {
    let mut stage = Stage::begin(store, |_| {})?;
    // No source has it, so nothing else would put it right.
    stage.distrust();
    let meta = |mode| Meta { mode, mtime: MTIME, ..Meta::default() };
    for (directory, _) in HOME.match_indices('/').chain([(0, ""), (HOME.len(), "")]) {
        let path = TreePath::parse(HOME.get(..directory).unwrap_or_default().as_bytes())?;
        stage.insert(&path, meta(0o755), Content::Directory { opaque: false })?;
    }
    for (name, bytes) in files {
        let path = format!("{HOME}/{name}");
        let content = stage.object(bytes.as_slice(), path.as_bytes())?;
        stage.insert(&TreePath::parse(path.as_bytes())?, meta(0o644), content)?;
    }
    Ok(stage.finish()?.generation)
}

#[cfg(test)]
pub(crate) mod tests;
