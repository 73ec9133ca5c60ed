//! What the tables in memory are fed by. A change is durable first and shown second, and it comes on three ways: from one's
//! own commit, at once; from the watch, which tells what other servers on the same state have changed, and one's own once
//! more; and from a reading anew after a conflict. Which of them is news says [`oneroot_state::Applied`].

use std::sync::{MutexGuard, PoisonError};

use oneroot_state::{Applied, Backend as _, Change, Event, Revision, Txn};

use crate::error::Result;
use crate::index::claims::RESTS;
use crate::machines::Machines;

/// Rests that are taken from the state in one transaction: each is expected and removed.
const SWEPT_AT_ONCE: usize = 64;

impl Machines {
    /// Takes in what a watch of the whole state tells.
    pub fn state_changed(&self, event: Event) {
        self.show(|applied| applied.told(event));
    }

    /// Shows what a transaction of ours has changed.
    pub(crate) fn committed(&self, txn: &Txn, revision: Revision) {
        self.show(|applied| applied.committed(txn.changes(revision)));
    }

    /// Reads everything anew, for somebody else has changed what was about to be written, or nobody knows whether it was.
    /// Everything, for what conflicts need not be what is missing here: it may be a pin of a boot that only the other
    /// server knows of. The watch tells the same in a moment; whoever tries again must not be quicker.
    pub(crate) async fn read_anew(&self) -> Result<()> {
        let listing = self.state.list("").await?;
        self.show(|applied| applied.listed(listing));
        Ok(())
    }

    fn show(&self, news: impl FnOnce(&mut Applied) -> Vec<Change>) {
        // Held until it is shown, or a later change could be shown before an earlier one.
        let mut applied = self.applied();
        let news = news(&mut applied);
        if news.is_empty() {
            // Most of what the watch tells: nobody's remembered answer has to end for it.
            return;
        }
        let left = self.known_mut().take_in(&news);
        drop(applied);
        left.views.into_iter().for_each(|view| self.unload(view));
        left.machines.into_iter().for_each(|machine| self.refusals().forget(machine));
        left.nics.into_iter().for_each(|mac| self.steps().forget(mac));
    }

    pub(crate) fn applied(&self) -> MutexGuard<'_, Applied> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes rests that are over from the state. Once, at the start: there is one for each address at most until then.
    pub(crate) async fn sweep_rests(&self) {
        let over = self.known().rests_over(self.host.sure_since(), self.host.now());
        for some in over.chunks(SWEPT_AT_ONCE) {
            let txn = {
                let applied = self.applied();
                let known =
                    some.iter().filter_map(|address| Some((address, applied.revision(&RESTS.key(address))?)));
                known.fold(Txn::new(), |txn, (address, revision)| {
                    // Another server may have written a new one meanwhile.
                    RESTS.delete(RESTS.expect(txn, address, oneroot_state::Expect::At(revision)), address)
                })
            };
            match self.state.commit(txn.clone()).await {
                Ok(revision) => self.committed(&txn, revision),
                // They say nothing any more, and are looked at again at the next start.
                Err(cause) => {
                    tracing::debug!(%cause, "rests of addresses that are over stay in the state");
                    return;
                }
            }
        }
    }
}
