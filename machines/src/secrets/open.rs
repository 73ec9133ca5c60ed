//! The secrets that machines can read right now, each machine's as a small tree of its own that no store has.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use oneroot_ids::{BootId, ViewId};

use crate::objects::lent::Lent;
use crate::secrets::seal::SiteSeal;
use crate::views::tree::MachineTree;

/// Boots whose secrets are open at once; one more has to wait until another has taken its own.
pub const MOST_OPEN: usize = 1024;

/// What is known of secrets while the server runs.
#[derive(Default)]
pub struct Secrets {
    /// What they are sealed with.
    pub seal: OnceLock<SiteSeal>,
    open: RwLock<HashMap<ViewId, Open>>,
}

/// A boot's secrets, while it may read them.
pub struct Open {
    boot: BootId,
    tree: Arc<MachineTree>,
    /// Served for as long as this lives.
    _contents: Vec<Lent>,
}

impl Open {
    /// A tree, and what its files have.
    pub fn new(boot: BootId, tree: MachineTree, contents: Vec<Lent>) -> Self {
        Self { boot, tree: Arc::new(tree), _contents: contents }
    }
}

/// There are as many as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Secrets {
    /// A boot's, if they are open.
    pub fn of(&self, boot: BootId) -> Option<(ViewId, Arc<MachineTree>)> {
        of(&self.open.read().unwrap_or_else(PoisonError::into_inner), boot)
    }

    /// Whose a view is, if it is one of these, and the tree.
    pub fn in_view(&self, view: ViewId) -> Option<(BootId, Arc<MachineTree>)> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(&view).map(|open| (open.boot, open.tree.clone()))
    }

    /// Opens a boot's, unless somebody else was quicker: then that counts.
    pub fn add(&self, view: ViewId, new: Open) -> Result<(ViewId, Arc<MachineTree>), Full> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = of(&open, new.boot) {
            return Ok(found);
        }
        if open.len() >= MOST_OPEN {
            return Err(Full);
        }
        let tree = new.tree.clone();
        open.insert(view, new);
        Ok((view, tree))
    }

    /// Closes those of all boots but these.
    pub fn keep(&self, stays: impl Fn(BootId) -> bool) {
        self.open.write().unwrap_or_else(PoisonError::into_inner).retain(|_, open| stays(open.boot));
    }
}

fn of(open: &HashMap<ViewId, Open>, boot: BootId) -> Option<(ViewId, Arc<MachineTree>)> {
    open.iter().find(|(_, open)| open.boot == boot).map(|(view, open)| (*view, open.tree.clone()))
}
