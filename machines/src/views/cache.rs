//! Which tree a peer was last allowed, for each thread: the answer to nearly every NFS call, without a lock and without
//! a look at the tables.
//!
//! An answer is good for one *edition* of the tables. Whoever changes them takes a new edition while nobody else can
//! read them, so an answer that was found before the change is never found again. Only allowed accesses are kept, and for
//! a second: then the tables hear again that the machine is there.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use oneroot_ids::ViewId;

use crate::views::tree::MachineTree;

/// Answers kept by a thread. Each has one place by view and peer; a larger storm than this only asks the tables.
const KEPT: usize = 1024;

/// Editions are numbered over all tables of a process, so that one number can't mean two tables.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// The number of the tables as they are now.
pub struct Epoch(AtomicU64);

impl Epoch {
    /// Of new tables.
    pub fn new() -> Self {
        Self(AtomicU64::new(NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// The tables are about to change. The caller holds their write lock, so who reads the new number waits for the
    /// change, and who had read the old one keeps its answer under a number that does not come back.
    pub fn turn(&self) {
        self.0.store(NEXT.fetch_add(1, Ordering::Relaxed), Ordering::Release);
    }

    /// The tables at this second of [`crate::Host::coarse`]; taken before they are read.
    pub fn at(&self, second: u64) -> Moment {
        Moment { epoch: self.0.load(Ordering::Acquire), second }
    }
}

/// What an answer is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    epoch: u64,
    second: u64,
}

struct Answer<T> {
    moment: Moment,
    peer: IpAddr,
    view: ViewId,
    /// Weak, so that a view which nobody holds any more leaves the memory at once.
    tree: Weak<T>,
}

/// One thread's answers.
pub struct Answers<T>(Vec<Option<Answer<T>>>);

impl<T> Answers<T> {
    /// None yet, and no room for any.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The tree that `peer` was allowed at this moment.
    pub fn find(&self, moment: Moment, peer: IpAddr, view: ViewId) -> Option<Arc<T>> {
        let answer = self.0.get(place(peer, view))?.as_ref()?;
        let same = answer.moment == moment && answer.view == view && answer.peer == peer;
        same.then(|| answer.tree.upgrade()).flatten()
    }

    /// Keeps an answer that was found in the tables after `moment` was taken.
    pub fn keep(&mut self, moment: Moment, peer: IpAddr, view: ViewId, tree: &Arc<T>) {
        // Made at the first answer: most threads serve no NFS.
        if self.0.is_empty() {
            self.0.resize_with(KEPT, || None);
        }
        if let Some(slot) = self.0.get_mut(place(peer, view)) {
            *slot = Some(Answer { moment, peer, view, tree: Arc::downgrade(tree) });
        }
    }
}

thread_local! {
    static ANSWERS: RefCell<Answers<MachineTree>> = const { RefCell::new(Answers::new()) };
}

/// [`Answers::find`] in this thread's.
pub fn find(moment: Moment, peer: IpAddr, view: ViewId) -> Option<Arc<MachineTree>> {
    ANSWERS.with_borrow(|answers| answers.find(moment, peer, view))
}

/// [`Answers::keep`] in this thread's.
pub fn keep(moment: Moment, peer: IpAddr, view: ViewId, tree: &Arc<MachineTree>) {
    ANSWERS.with_borrow_mut(|answers| answers.keep(moment, peer, view, tree));
}

fn place(peer: IpAddr, view: ViewId) -> usize {
    // A view's id is a hash already. Peers of one view differ in their last bytes.
    let [a, b, ..] = view.0;
    let [.., c, d] = match peer {
        IpAddr::V4(peer) => peer.to_ipv6_mapped().octets(),
        IpAddr::V6(peer) => peer.octets(),
    };
    usize::from(u16::from_be_bytes([a ^ c, b ^ d])) % KEPT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn an_answer_ends_with_its_edition_and_its_second() {
        let (epoch, tree, mut answers) = (Epoch::new(), Arc::new(()), Answers::new());
        let before = epoch.at(7);
        answers.keep(before, peer(1), ViewId([1; 16]), &tree);
        assert!(answers.find(epoch.at(7), peer(1), ViewId([1; 16])).is_some());
        assert!(answers.find(epoch.at(8), peer(1), ViewId([1; 16])).is_none());
        epoch.turn();
        assert!(answers.find(epoch.at(7), peer(1), ViewId([1; 16])).is_none());
        // Found before the change and kept after it.
        answers.keep(before, peer(1), ViewId([1; 16]), &tree);
        assert!(answers.find(epoch.at(7), peer(1), ViewId([1; 16])).is_none());
    }

    #[test]
    fn nobody_gets_what_another_peer_or_another_view_was_allowed() {
        let (epoch, tree) = (Epoch::new().at(7), Arc::new(()));
        for last in (0..=255).step_by(15) {
            for view in (0..=255).step_by(15) {
                let mut answers = Answers::new();
                answers.keep(epoch, peer(last), ViewId([view; 16]), &tree);
                let other = peer(last.wrapping_add(1));
                assert!(answers.find(epoch, other, ViewId([view; 16])).is_none());
                assert!(answers.find(epoch, peer(last), ViewId([view.wrapping_add(1); 16])).is_none());
                assert!(answers.find(epoch, peer(last), ViewId([view; 16])).is_some());
            }
        }
    }

    #[test]
    fn a_tree_that_is_let_go_is_not_kept_in_memory() {
        let (epoch, tree, mut answers) = (Epoch::new().at(7), Arc::new(()), Answers::new());
        answers.keep(epoch, peer(1), ViewId([1; 16]), &tree);
        drop(tree);
        assert!(answers.find(epoch, peer(1), ViewId([1; 16])).is_none());
    }
}
