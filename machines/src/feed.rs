//! What the tables in memory are fed by. A change is durable first and shown second, and it comes on three ways: from one's
//! own commit, at once; from the watch, which tells what other servers on the same state have changed, and one's own once
//! more; and from a reading anew after a conflict. Which of them is news says [`oneroot_state::Applied`].

use std::sync::{MutexGuard, PoisonError};

use oneroot_state::{Applied, Backend as _, Change, Event, Revision, Txn};

use crate::error::Result;
use crate::index::claims::RESTS;
use crate::index::tables::{EXAMINED, Leftovers};
use crate::index::timelines::BOOTS;
use crate::machines::Machines;

/// Rests that are taken from the state in one transaction: each is expected and removed.
const SWEPT_AT_ONCE: usize = 64;

impl Machines {
    /// The tables that a watch has to be of.
    pub fn watched(&self) -> Vec<String> {
        self.applied().prefixes().to_vec()
    }

    /// Takes in what that watch tells.
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
        // Boots' timelines decide nothing: nobody's remembered answer ends for them. Nor does what a machine has found out, as often as
        // it does, say what anybody may read.
        let is_of_tables = |change: &Change| BOOTS.record(&change.key).is_none();
        let says_who_reads = |change: &Change| EXAMINED.record(&change.key).is_none();
        let of_tables: Vec<Change> = news.iter().filter(|change| is_of_tables(change)).cloned().collect();
        let left = if of_tables.is_empty() {
            Leftovers::default()
        } else if of_tables.iter().any(says_who_reads) {
            self.index_mut().take_in(&of_tables)
        } else {
            self.index_of_no_reader().take_in(&of_tables)
        };
        let site = self.site();
        let index = self.index();
        self.timelines().take_in(&news, &index, &site);
        drop(index);
        if left.is_mapped_anew {
            // The watch may have been quicker than the commit, and whoever made that looks into the site next.
            self.lay();
        }
        drop(applied);
        left.views.into_iter().for_each(|view| self.unload(view));
        left.machines.into_iter().for_each(|machine| self.refusals().forget(machine));
        left.nics.into_iter().for_each(|mac| self.steps().forget(mac));
    }

    /// What of the state is known here. Whoever takes the index too takes this first, as [`Self::show`] does: in the other
    /// order the two would wait for each other for ever.
    pub(crate) fn applied(&self) -> MutexGuard<'_, Applied> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes rests that are over from the state. Once, at the start: there is one for each address at most until then.
    pub(crate) async fn sweep_rests(&self) {
        let over = self.index().rests_over(self.host.sure_since(), self.host.now());
        for some in over.chunks(SWEPT_AT_ONCE) {
            let txn = {
                let applied = self.applied();
                let index =
                    some.iter().filter_map(|address| Some((address, applied.revision(&RESTS.key(address))?)));
                index.fold(Txn::new(), |txn, (address, revision)| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boots::tests_on::{Server, two};
    use oneroot_bootconf::access::Verdict;
    use oneroot_bootconf::again::Ask;
    use oneroot_state::Error as StateError;

    async fn boots(server: &Server, peer: std::net::IpAddr) -> String {
        server.machines.boot_script(peer, server.mac, None, Ask::Whole).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_one_server_lets_go_of_nobody_reads_on_the_other() {
        let home = tempfile::tempdir().unwrap();
        let ([one, mut other], peer) = two(home.path()).await;
        assert!(boots(&one, peer).await.contains("/kernel"));
        let view = one.machines.index().views()[0];
        assert_eq!(other.machines.verdict(peer, view), Verdict::Gone, "the other has not heard of it yet");
        other.hear();
        assert_eq!(other.machines.verdict(peer, view), Verdict::Allow);
        other.machines.load(view).unwrap();
        assert!(other.machines.tree(peer, view).is_ok());
        one.machines.release(&one.mac.to_string()).await.unwrap();
        other.hear();
        assert!(matches!(other.machines.tree(peer, view), Err(oneroot_nfsd::Refusal::Stale)));
        assert!(other.machines.in_memory(view).is_none() && other.machines.index().plans.is_empty());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_watch_that_missed_a_removal_finds_it_when_everything_is_told_again() {
        let home = tempfile::tempdir().unwrap();
        let ([one, mut other], peer) = two(home.path()).await;
        boots(&one, peer).await;
        other.hear();
        one.machines.release(&one.mac.to_string()).await.unwrap();
        for number in 0..3000 {
            let txn = oneroot_state::Txn::new().put(format!("leases/{}", number % 7), b"x".to_vec());
            one.machines.state.commit(txn).await.unwrap();
        }
        assert_eq!(other.machines.index().pins.len(), 1);
        let snapshots = other.hear();
        assert!(snapshots > 0, "it has fallen behind");
        assert!(other.machines.index().pins.is_empty());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn ones_own_change_that_the_watch_tells_again_ends_nothing_that_nfs_remembers() {
        let home = tempfile::tempdir().unwrap();
        let ([mut one, _], peer) = two(home.path()).await;
        boots(&one, peer).await;
        let before = one.machines.epoch.at(1);
        one.hear();
        assert_eq!(one.machines.epoch.at(1), before);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_a_machine_finds_out_ends_nothing_that_nfs_remembers() {
        let home = tempfile::tempdir().unwrap();
        let ([mut one, _], peer) = two(home.path()).await;
        boots(&one, peer).await;
        let machine = one.machines.index().machine_of(one.mac).unwrap();
        let before = one.machines.epoch.at(1);
        let txn = EXAMINED.put(oneroot_state::Txn::new(), machine, &Default::default()).unwrap();
        one.machines.state.commit(txn).await.unwrap();
        one.hear();
        assert!(one.machines.index().examined.contains_key(&machine));
        assert_eq!(one.machines.epoch.at(1), before);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn while_the_state_is_out_of_reach_what_is_known_is_served_and_nothing_is_promised() {
        let home = tempfile::tempdir().unwrap();
        let ([one, _], peer) = two(home.path()).await;
        boots(&one, peer).await;
        let view = one.machines.index().views()[0];
        one.memory().set_unreachable(true);
        assert!(one.machines.tree(peer, view).is_ok());
        let refused = one.machines.release(&one.mac.to_string()).await;
        assert!(matches!(refused, Err(crate::Error::State(StateError::Unavailable(_)))), "{refused:?}");
        assert!(one.machines.tree(peer, view).is_ok(), "it was not released");
        one.memory().set_unreachable(false);
        assert_eq!(one.machines.release(&one.mac.to_string()).await.unwrap(), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_change_whose_answer_was_lost_is_read_and_not_made_twice() {
        use oneroot_state::Trouble::{AnswerLost, RequestLost};
        for lost in [AnswerLost, RequestLost] {
            let home = tempfile::tempdir().unwrap();
            let ([one, mut other], peer) = two(home.path()).await;
            one.memory().trouble([Some(lost)]);
            assert!(boots(&one, peer).await.contains("/kernel"), "{lost:?}");
            assert_eq!(one.machines.index().pins.len(), 1, "{lost:?}");
            other.hear();
            assert_eq!(other.machines.index().pins.len(), 1, "{lost:?}");
            one.memory().trouble([Some(lost)]);
            one.machines.release(&one.mac.to_string()).await.unwrap();
            other.hear();
            assert!(
                one.machines.index().pins.is_empty() && other.machines.index().pins.is_empty(),
                "{lost:?}"
            );
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_view_that_is_let_go_of_while_it_is_being_read_does_not_stay_in_memory() {
        let home = tempfile::tempdir().unwrap();
        let ([one, _], peer) = two(home.path()).await;
        let machines = &one.machines;
        let is_loading = || !machines.loading.lock().unwrap().is_empty();
        for is_held in [true, false] {
            boots(&one, peer).await;
            let view = machines.index().views()[0];
            machines.unload(view);
            if !is_held {
                machines.release(&one.mac.to_string()).await.unwrap();
            }
            machines.load_soon(view);
            while is_loading() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            assert_eq!(machines.in_memory(view).is_some(), is_held);
        }
    }
}
