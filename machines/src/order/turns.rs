//! One at a time: a lock for each thing that is being changed, for as long as somebody wants it and no longer.
//!
//! Whoever needs several takes them in their order, so no two can wait for each other; whoever has some already may take
//! more only if nobody has them ([`Turns::take_now`]). The map has an entry for each thing that somebody has or waits for.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use oneroot_ids::{Mac, MachineId};
use tokio::sync::OwnedMutexGuard;

/// What only one change at a time may touch; the revisions in each commit guard against other servers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Thing {
    /// A machine's record and pins.
    Machine(MachineId),
    /// Whose a NIC is.
    Nic(Mac),
    /// Which record has a name of the site.
    Name(String),
}

type Lock = Arc<tokio::sync::Mutex<()>>;

/// Locks by what they are for.
pub struct Turns<K> {
    locks: Mutex<HashMap<K, Lock>>,
}

/// Somebody's turn, for one thing or several; it ends when this is dropped.
pub struct Turn<K: Eq + Hash + Ord>(Vec<Place<K>>);

/// A place in the line for one thing.
struct Place<K: Eq + Hash> {
    turns: Arc<Turns<K>>,
    key: K,
    lock: Option<Lock>,
    guard: Option<OwnedMutexGuard<()>>,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self { locks: Mutex::default() }
    }
}

impl<K: Eq + Hash + Ord + Clone> Turns<K> {
    /// Waits for all of these.
    pub async fn take(self: &Arc<Self>, keys: impl IntoIterator<Item = K>) -> Turn<K> {
        let keys: BTreeSet<K> = keys.into_iter().collect();
        let mut turn = Turn(Vec::with_capacity(keys.len()));
        for key in keys {
            let mut place = self.line(key);
            if let Some(lock) = place.lock.clone() {
                place.guard = Some(lock.lock_owned().await);
            }
            turn.0.push(place);
        }
        turn
    }

    /// The turn for one thing, unless somebody has it.
    pub fn take_now(self: &Arc<Self>, key: K) -> Option<Turn<K>> {
        let mut place = self.line(key);
        place.guard = Some(place.lock.clone()?.try_lock_owned().ok()?);
        Some(Turn(vec![place]))
    }

    /// Things that somebody has and somebody else waits for.
    #[cfg(test)]
    pub fn waited_for(&self) -> usize {
        self.waited_for_by(1)
    }

    /// Those for which so many wait.
    #[cfg(test)]
    pub fn waited_for_by(&self, waiting: usize) -> usize {
        // The map has one, who has the turn two, and each who waits two.
        self.locks().values().filter(|lock| Arc::strong_count(lock) >= 3 + 2 * waiting).count()
    }

    fn line(self: &Arc<Self>, key: K) -> Place<K> {
        let lock = self.locks().entry(key.clone()).or_default().clone();
        Place { turns: self.clone(), key, lock: Some(lock), guard: None }
    }
}

impl<K> Turns<K> {
    fn locks(&self) -> std::sync::MutexGuard<'_, HashMap<K, Lock>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        self.guard = None;
        // Locks are handed out under this lock only, so whoever finds nobody else's here is the last.
        let mut locks = self.turns.locks();
        self.lock = None;
        if locks.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            locks.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future as _;
    use std::task::{Context, Poll, Waker};

    /// Whether a turn can be had at once; it ends at once too.
    fn is_free(turns: &Arc<Turns<u8>>, keys: &[u8]) -> bool {
        let mut taking = Box::pin(turns.take(keys.to_vec()));
        matches!(taking.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(_))
    }

    #[test]
    fn who_wants_the_same_thing_waits_and_nobody_else_does() {
        let turns = Arc::<Turns<u8>>::default();
        let held = turns.take_now(3).unwrap();
        assert!(turns.take_now(3).is_none() && !is_free(&turns, &[1, 3, 5]));
        assert!(is_free(&turns, &[1, 5]), "nor has one who waits in vain kept anything");
        drop(held);
        assert!(is_free(&turns, &[1, 3, 5]));
    }

    #[test]
    fn nothing_is_left_of_turns_that_ended_or_were_waited_for_in_vain() {
        let turns = Arc::<Turns<u8>>::default();
        let held = turns.take_now(3).unwrap();
        let mut waiting: Vec<_> = (0..9).map(|_| Box::pin(turns.take([2, 3, 4]))).collect();
        for taking in &mut waiting {
            assert!(taking.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        drop(waiting);
        assert_eq!(turns.locks().len(), 1, "what is held");
        drop(held);
        assert_eq!(turns.locks().len(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn any_number_of_overlapping_turns_come_to_their_end_one_at_a_time() {
        let turns = Arc::<Turns<u8>>::default();
        let users = Arc::new([(); 8].map(|()| std::sync::atomic::AtomicU32::new(0)));
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..400u32 {
            let (turns, users) = (turns.clone(), users.clone());
            tasks.spawn(async move {
                let bits = number.wrapping_mul(2_654_435_761) >> 24;
                let keys: Vec<u8> = (0..8).filter(|key| bits >> key & 1 == 1).collect();
                let _turn = turns.take(keys.iter().rev().copied()).await;
                for key in &keys {
                    let user = &users[usize::from(*key)];
                    assert_eq!(user.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0, "key {key}");
                }
                tokio::task::yield_now().await;
                for key in &keys {
                    users[usize::from(*key)].fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        assert!(turns.locks().is_empty());
    }
}
