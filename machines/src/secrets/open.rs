//! The secrets that machines can read right now, each machine's as a small tree of its own that no store has.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use oneroot_ids::{BootId, ViewId};

use crate::objects::lent::Lent;
use crate::planner::decider::Decider;
use crate::secrets::seal::SiteSeal;
use crate::secrets::turns::Turns;
use crate::views::tree::MachineTree;

/// Boots whose secrets are open at once; one more has to wait until another has taken its own.
pub const MOST_OPEN: usize = 256;

/// What is known of secrets while the server runs.
#[derive(Default)]
pub struct Secrets {
    /// What they are sealed with.
    pub seal: OnceLock<SiteSeal>,
    /// Who runs the program that makes some of them.
    pub maker: OnceLock<Arc<dyn Decider>>,
    /// For whom that runs.
    pub turns: Turns,
    open: RwLock<HashMap<ViewId, Open>>,
    /// Boots that have said here that they have them, until their pins go: what is under way for one comes too late.
    closed: Mutex<HashSet<BootId>>,
}

/// A boot's secrets, while it may read them.
pub struct Open {
    boot: BootId,
    tree: Arc<MachineTree>,
    /// Those that are in it.
    names: BTreeSet<String>,
    /// Served for as long as this lives.
    _contents: Vec<Lent>,
}

impl Open {
    /// A tree, the secrets in it, and what its files have.
    pub fn new(boot: BootId, tree: MachineTree, names: BTreeSet<String>, contents: Vec<Lent>) -> Self {
        Self { boot, tree: Arc::new(tree), names, _contents: contents }
    }
}

/// Why a boot's are not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotOpened {
    /// There are as many as there may be.
    Full,
    /// It has them.
    Closed,
}

impl Secrets {
    /// A boot's, if they are open and have all of these.
    pub fn of(&self, boot: BootId, names: &BTreeSet<String>) -> Option<(ViewId, Arc<MachineTree>)> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        of(&open, boot)
            .filter(|(_, open)| open.names.is_superset(names))
            .map(|(view, open)| (view, open.tree.clone()))
    }

    /// Whose a view is, if it is one of these, and the tree.
    pub fn in_view(&self, view: ViewId) -> Option<(BootId, Arc<MachineTree>)> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(&view).map(|open| (open.boot, open.tree.clone()))
    }

    /// Opens a boot's, unless somebody else was quicker: then that counts. One that lacks some of these is over then, and so are handles
    /// of it.
    pub fn add(&self, view: ViewId, new: Open) -> Result<(ViewId, Arc<MachineTree>), NotOpened> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        // Asked under the lock that a close takes too.
        if self.is_closed(new.boot) {
            return Err(NotOpened::Closed);
        }
        let known = of(&open, new.boot)
            .map(|(view, known)| (view, known.tree.clone(), known.names.is_superset(&new.names)));
        match known {
            Some((view, tree, true)) => return Ok((view, tree)),
            Some((old, ..)) => drop(open.remove(&old)),
            None => {}
        }
        if open.len() >= MOST_OPEN {
            return Err(NotOpened::Full);
        }
        let tree = new.tree.clone();
        open.insert(view, new);
        Ok((view, tree))
    }

    /// Closes a boot's.
    pub fn close(&self, boot: BootId) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        self.closed().insert(boot);
        open.retain(|_, open| open.boot != boot);
    }

    /// Whether a boot has said here that it has them.
    pub fn is_closed(&self, boot: BootId) -> bool {
        self.closed().contains(&boot)
    }

    fn closed(&self) -> MutexGuard<'_, HashSet<BootId>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of those that nobody may read any more: `comes_up` says of a boot whether it may, `is_there` whether it has a pin.
    pub fn keep(&self, comes_up: impl Fn(BootId) -> bool, is_there: impl Fn(BootId) -> bool) {
        self.open.write().unwrap_or_else(PoisonError::into_inner).retain(|_, open| comes_up(open.boot));
        self.turns.keep(&comes_up);
        self.closed().retain(|boot| is_there(*boot));
    }
}

fn of(open: &HashMap<ViewId, Open>, boot: BootId) -> Option<(ViewId, &Open)> {
    open.iter().find(|(_, open)| open.boot == boot).map(|(view, open)| (*view, open))
}
