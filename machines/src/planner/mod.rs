//! From what the site decides to what a machine is given: the stack of generations, its view, kernel and initrd.
//!
//! Pure of machines and boots: `serve` asks it for a boot, `explain` and `render` ask it for a person.

pub(crate) mod asking;
pub mod decider;
mod given;
mod kernels;
mod made;
mod mounted;
pub mod renderer;
pub mod template_check;
pub mod templates;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::initrds::{Composed, Initrds, Program, Programs, Wanted};
use oneroot_bootconf::decision::{Decision, NoPlan, Part};
use oneroot_bootconf::drivers::For;
use oneroot_bootconf::facts::Facts;
use oneroot_bootconf::given::Given;
use oneroot_bootconf::kernels::{Loaded, Tree, dangling, kernel_and_initrds};
use oneroot_bootconf::microcode::Microcode;
use oneroot_bootconf::plan::Mounted;
use oneroot_bootconf::root::Root;
use oneroot_ids::{GenerationId, ViewId};
use oneroot_tree::node::TreePath;
use oneroot_tree::{Ref, RefKind, Store, View, Views};

use kernels::Kernels;
use mounted::MountedTrees;
use renderer::Renderer;
use templates::Templates;

/// Where a tree has what its machines do before their real init, and what examines them then; only such a tree is told their facts.
const HOOKS: &[u8] = b"/etc/oneroot/early.d";
const EXAMINERS: &[u8] = b"/etc/oneroot/examine.d";

/// Makes stacks and views.
pub struct Planner {
    /// Views in memory.
    pub views: Views,
    /// Templates found and rendered so far.
    pub templates: Templates,
    kernels: Kernels,
    mounted: MountedTrees,
    initrds: Initrds,
    /// Profiles whose trees were seen to have an initrd, where nothing else says whose initrd is booted.
    with_initrd: Mutex<BTreeSet<String>>,
    given: given::Staged,
    /// `/.oneroot` of this binary, the top of every stack.
    guest: GenerationId,
}

/// One generation of a stack, and what it is.
#[derive(Debug, Clone)]
pub struct StackEntry {
    /// The generation.
    pub generation: GenerationId,
    /// What it was staged from; none for `/.oneroot`.
    pub part: Option<Part>,
    /// It is what this machine is given in `/.oneroot`.
    pub given: bool,
    /// It is what the templates of that part have become.
    pub rendered: bool,
    /// It is an initrd of oneroot's own.
    pub initrd: bool,
}

impl StackEntry {
    /// A part's own.
    fn of(generation: GenerationId, part: &Part) -> Self {
        Self { part: Some(part.clone()), ..Self::ours(generation) }
    }

    /// One that no part of the site is.
    fn ours(generation: GenerationId) -> Self {
        Self { generation, part: None, given: false, rendered: false, initrd: false }
    }
}

/// A machine's root, and what boots it.
pub struct Stacked {
    /// The view's id.
    pub id: ViewId,
    /// The view.
    pub view: Arc<View>,
    /// What it is made of, bottom first.
    pub entries: Vec<StackEntry>,
    /// Of the profiles that it mounts, what it has of each.
    pub mounted: Mounted,
    /// Kernel and initrds.
    pub loaded: Result<Loaded, NoPlan>,
    /// The initrd of oneroot's own, where it has one.
    pub composed: Option<Arc<Composed>>,
    /// Links that have a kernel's name and lead to no file; they are passed over.
    pub dangling: Vec<String>,
}

/// The store's name for a part of a stack.
///
/// A layer below the site's own directory is known by its path from there, so a site that is copied to another server, or
/// moved, finds what it has staged.
pub fn reference(home: &Path, part: &Part) -> Result<Ref> {
    let (kind, name) = match part {
        Part::Profile { name } => (RefKind::Profile, name.clone()),
        Part::Machine { name, .. } => (RefKind::Machine, name.clone()),
        // Its parts have references of their own, and what is made of them is found by its content.
        Part::Kernel { profile, .. } | Part::Mounted { profile, .. } => {
            return Err(Error::Nameless(profile.clone()));
        }
        Part::Layer { path } => {
            let path = path.strip_prefix(home).unwrap_or(path);
            (RefKind::Layer, layer_name(&path.display().to_string()))
        }
    };
    Ref::new(kind, &name).ok_or(Error::Name(name))
}

/// A layer's path as a file name that no other path has: a dot first would hide it, and a long one is not taken.
fn layer_name(path: &str) -> String {
    const LONGEST: usize = 200;
    // A path is no file name; what takes the slashes' place can be in a path, so it is doubled there.
    let name = path.replace('+', "++").replace('/', "+");
    if name.len() <= LONGEST && !name.starts_with(['.', '=']) {
        return name;
    }
    let marked = format!("={name}");
    if marked.len() <= LONGEST {
        return marked;
    }
    format!("=={}", blake3::hash(path.as_bytes()).to_hex())
}

/// A part as people know it.
pub fn shown(part: &Part) -> String {
    match part {
        Part::Profile { name } => format!("profile {name}"),
        Part::Kernel { profile, .. } => format!("kernel of {profile}"),
        Part::Mounted { at, profile, .. } => format!("profile {profile} on {at}"),
        Part::Layer { path } | Part::Machine { path, .. } => path.display().to_string(),
    }
}

impl Planner {
    /// A planner that lays `guest` on top of every stack, and has its templates rendered by `renderer`.
    pub fn new(store: Arc<Store>, guest: GenerationId, renderer: Arc<dyn Renderer>) -> Self {
        Self {
            views: Views::new(store),
            templates: Templates::new(renderer),
            kernels: Kernels::default(),
            mounted: MountedTrees::default(),
            initrds: Initrds::of(Programs::default()),
            with_initrd: Mutex::default(),
            given: given::Staged::default(),
            guest,
        }
    }

    /// The same, which knows these programs for its initrds too.
    #[must_use]
    pub fn with_programs(self, programs: Programs) -> Self {
        Self { initrds: Initrds::of(programs), ..self }
    }

    /// The store that everything comes from.
    pub fn store(&self) -> &Arc<Store> {
        self.views.store()
    }

    /// `/.oneroot` of this binary.
    pub fn guest(&self) -> GenerationId {
        self.guest
    }

    /// The generation that a part has now.
    pub fn head(&self, home: &Path, part: &Part) -> Result<GenerationId> {
        let name = reference(home, part)?;
        let head = self.store().head(&name)?;
        Ok(head.ok_or_else(|| Error::NotStaged(name.to_string()))?.generation)
    }

    /// The generation that a part has for a machine: its head, unless another one is assigned to the machine.
    ///
    /// # Errors
    /// It is not staged, or is gone.
    pub fn generation(&self, home: &Path, part: &Part, decision: &Decision) -> Result<GenerationId> {
        let assigned = match part {
            Part::Profile { name } => decision.generations.get(name),
            _ => None,
        };
        assigned.map_or_else(|| self.head(home, part), |assigned| Ok(*assigned))
    }

    /// Those of several parts, in their order.
    ///
    /// # Errors
    /// As [`Self::generation`].
    pub fn generations(&self, home: &Path, parts: &[Part], decision: &Decision) -> Result<Vec<GenerationId>> {
        parts.iter().map(|part| self.generation(home, part, decision)).collect()
    }

    /// The stack that the site's decision makes for a machine, and its view. `home` is the site's directory. Blocks on the disk.
    ///
    /// Nothing of it is promised to anybody before [`Self::name`]: of what it writes, renderings and borrowed kernels, each is
    /// named by its content and goes with a collection.
    pub fn stack(&self, home: &Path, decision: &Decision, facts: &Facts) -> Result<Stacked> {
        let (mut entries, mounted) = self.laid(home, decision, facts)?;
        // Kernel and initrds are the tree's own: nothing that comes over it has any.
        let stack = generations(&entries);
        let below = self.views.of(&stack)?;
        let exists = |path: &str| below.follow(path.as_bytes()).and_then(|node| below.object(node)).is_some();
        let listed = |directory: &str| below.listed(directory);
        let tree = Tree { names: &listed, exists: &exists };
        let mut loaded = kernel_and_initrds(decision, &tree);
        let dangling = dangling(&tree, &|path| is_link(&below, path));
        let composed = match &mut loaded {
            Ok(found) => self.compose(&stack, &below, decision, facts, found).transpose(),
            Err(_) => None,
        };
        let composed = match composed {
            Some(Err(Error::NoPlan(cause))) => {
                loaded = Err(cause);
                None
            }
            Some(Err(other)) => return Err(other),
            Some(Ok(composed)) => Some(composed),
            None => None,
        };
        // What nobody mounts needs neither an init of ours nor files of its own.
        if decision.root == Root::Nfs {
            let initramfs =
                loaded.as_ref().map_or(decision.initramfs.unwrap_or_default(), |loaded| loaded.initramfs);
            let given = Given::of(facts, initramfs, &decision.mounts, decision.log.as_ref())
                .with_secrets(facts, &decision.secrets, &decision.more_addresses, decision.nfs_port)
                .with_vlan(decision.own.vlan_by(initramfs))
                .with_zram(decision.own.zram_by(initramfs));
            let [has_hooks, examines] = [HOOKS, EXAMINERS].map(|hooks| below.follow(hooks).is_some());
            let given = if has_hooks || examines { given.with_facts(facts) } else { given };
            let (given, tells) = if examines {
                let tells = self.tells(&below)?;
                (given.with_servers(facts, &decision.more_addresses, decision.http_port), tells)
            } else {
                (given, None)
            };
            let given = self.given.generation(self.store(), given, tells.as_deref())?;
            entries.push(StackEntry { given: true, ..StackEntry::ours(given) });
            entries.push(StackEntry::ours(self.guest));
        }
        if let Some(composed) = &composed {
            entries.push(StackEntry { initrd: true, ..StackEntry::ours(composed.generation) });
        }
        let view = self.views.of(&generations(&entries))?;
        Ok(Stacked { id: view.id(), view, entries, mounted, loaded, composed, dangling })
    }

    /// The program by which a tree's machine tells what it finds out. Where there is none for its processor, or what lies there is
    /// none or can't be read, the machine comes up without and says so.
    fn tells(&self, below: &View) -> Result<Option<Arc<Program>>> {
        let Some(processor) = given::processor(self.store(), below)? else { return Ok(None) };
        match self.initrds.program(processor) {
            Ok(program) => Ok(Some(program)),
            // Who looked at the file has said it.
            Err(Error::NoProgram(_)) => Ok(None),
            Err(cause) => {
                tracing::warn!(%cause, "a machine is told its facts without the program that tells what it finds out");
                Ok(None)
            }
        }
    }

    /// What the parts of a decision are, bottom first, with what their templates become; and what it has of the profiles that it mounts.
    fn laid(&self, home: &Path, decision: &Decision, facts: &Facts) -> Result<(Vec<StackEntry>, Mounted)> {
        let (mut entries, mut mounted) = (Vec::<StackEntry>::new(), Mounted::new());
        for part in &decision.parts {
            match part {
                Part::Kernel { parts, .. } => {
                    let lender = self.generations(home, parts, decision)?;
                    let generation = self.kernels.borrowed(&self.views, &lender, &generations(&entries))?;
                    entries.push(StackEntry::of(generation, part));
                    continue;
                }
                Part::Mounted { at, parts, .. } => {
                    let lender = self.generations(home, parts, decision)?;
                    let below = generations(&entries);
                    let below = if below.is_empty() { None } else { Some(self.views.of(&below)?) };
                    let generation = self.mounted.mounted(&self.views, &lender, at, below.as_deref())?;
                    entries.push(StackEntry::of(generation, part));
                    mounted.insert(at.clone(), lender);
                    continue;
                }
                Part::Profile { .. } | Part::Layer { .. } | Part::Machine { .. } => {}
            }
            let generation = self.generation(home, part, decision)?;
            entries.push(StackEntry::of(generation, part));
            // A profile's own tree may have `*.j2` files that are some program's; those of layers are the admin's.
            if !matches!(part, Part::Profile { .. })
                && let Some(generation) =
                    self.templates.rendered(self.store(), generation, &shown(part), facts)?
            {
                entries.push(StackEntry { rendered: true, ..StackEntry::of(generation, part) });
            }
        }
        Ok((entries, mounted))
    }

    /// Whether a profile's machines may be given an initrd of oneroot's own for want of another: so they may until its tree was
    /// looked into.
    pub fn may_make_initrds_for(&self, profile: &str) -> bool {
        !self.with_initrd.lock().unwrap_or_else(PoisonError::into_inner).contains(profile)
    }

    /// A profile's tree was looked into.
    pub(crate) fn tree_has_initrd(&self, profile: &str, has: bool) {
        let mut with = self.with_initrd.lock().unwrap_or_else(PoisonError::into_inner);
        if has {
            with.insert(profile.to_owned());
        } else {
            with.remove(profile);
        }
    }

    /// The initrd of oneroot's own, where one is wanted; `loaded` is told its parts.
    fn compose(
        &self,
        stack: &[GenerationId],
        view: &View,
        decision: &Decision,
        facts: &Facts,
        loaded: &mut Loaded,
    ) -> Result<Option<Arc<Composed>>> {
        if decision.initramfs.is_none() {
            self.tree_has_initrd(&decision.profile, loaded.own.is_none());
        }
        let Some(own) = &mut loaded.own else { return Ok(None) };
        let drivers = For::of(&decision.own, facts.hardware.nic);
        let microcode = Microcode::of(&facts.hardware);
        let made = self.initrds.composed(self.store(), &Wanted { stack, view, own, drivers, microcode });
        let composed = made.map_err(|cause| match cause {
            Error::Initrd(cause) | Error::NoProgram(cause) => Error::NoPlan(NoPlan::NotComposed {
                profile: decision.profile.clone(),
                kernel: loaded.kernel.clone(),
                cause,
            }),
            other => other,
        })?;
        own.parts.clone_from(&composed.parts);
        Ok(Some(composed))
    }

    /// Gives a stack its name in the store, durably: before a pin promises it. Blocks on the disk.
    pub fn name(&self, stacked: &Stacked) -> Result<ViewId> {
        Ok(self.store().put_stack(&generations(&stacked.entries))?)
    }
}

fn generations(entries: &[StackEntry]) -> Vec<GenerationId> {
    entries.iter().map(|laid| laid.generation).collect()
}

/// Whether a path is itself a symbolic link.
fn is_link(view: &View, path: &str) -> bool {
    let path = TreePath::parse(path.trim_start_matches('/').as_bytes()).ok();
    path.and_then(|path| view.resolve(&path)).is_some_and(|node| view.target(node).is_some())
}
