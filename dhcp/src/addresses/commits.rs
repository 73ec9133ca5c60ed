//! Commits under way: what becomes of a lease, and which reply waits, once the store has answered.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use crate::leases::lease::{Lease, Revision};
use crate::step::Reply;
use oneroot_ids::Mac;

/// Commits that may be under way at once. A store that hangs costs its own clients, not memory.
const MOST: usize = 4096;
/// Of them, those of machines that the site does not name: as many as the store takes into one sync, so that a machine of
/// the site never waits for more than that.
const MOST_OF_STRANGERS: usize = 512;
/// Time after which a commit that has not come back keeps its NIC waiting no more, milliseconds.
const WAITED_FOR: u64 = 30_000;

/// One commit.
#[derive(Debug)]
pub(crate) struct Commit {
    /// The lease as the store will have it.
    pub(crate) lease: Lease,
    /// What the store has of this NIC, for all that was known when it was asked for.
    pub(crate) expected: Option<Revision>,
    /// The NIC whose ended lease gives way, and that lease.
    pub(crate) evict: Option<(Mac, Revision)>,
    /// What is sent when it is durable; a release has no answer, and what was acknowledged before has had its own.
    pub(crate) reply: Option<Reply>,
    /// Whether it was acknowledged before, so that it is to be tried again.
    pub(crate) again: bool,
    /// Whether it is for a machine that the site does not name.
    pub(crate) stranger: bool,
    /// When it was asked for, milliseconds.
    pub(crate) since: u64,
}

/// All of them, by token, by NIC and by address.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    by_token: HashMap<u64, Commit>,
    by_mac: HashMap<Mac, u64>,
    by_address: HashMap<Ipv4Addr, u64>,
    of_strangers: usize,
    next: u64,
    changed: Vec<Ipv4Addr>,
}

impl Commits {
    /// Whether this NIC's lease or this address waits for the store, or too many do. None is forgotten before it has come
    /// back: until then nobody knows what the store has.
    pub(crate) fn busy(&self, mac: Mac, address: Ipv4Addr, stranger: bool, now: u64) -> bool {
        let waiting = |token: Option<&u64>| {
            token.and_then(|token| self.by_token.get(token)).is_some_and(|commit| waits(commit, now))
        };
        self.by_token.len() >= MOST
            || (stranger && self.is_full_of_strangers())
            || waiting(self.by_mac.get(&mac))
            || waiting(self.by_address.get(&address))
    }

    /// Whether as many leases of strangers wait for the store as it takes at once.
    pub(crate) fn is_full_of_strangers(&self) -> bool {
        self.of_strangers >= MOST_OF_STRANGERS
    }

    /// Whether a lease will be less than it is once its NIC's commit has come back: it ends or is of another address.
    pub(crate) fn unsettles(&self, lease: &Lease) -> bool {
        let coming = self.lease_of(lease.mac);
        coming.is_some_and(|coming| coming.address != lease.address || coming.expires < lease.expires)
    }

    /// Notes a commit, and names it.
    pub(crate) fn add(&mut self, commit: Commit) -> u64 {
        let token = self.next;
        self.next = self.next.wrapping_add(1);
        self.by_mac.insert(commit.lease.mac, token);
        self.by_address.insert(commit.lease.address, token);
        self.of_strangers += usize::from(commit.stranger);
        self.changed.push(commit.lease.address);
        self.by_token.insert(token, commit);
        token
    }

    /// Its client has been answered already: when it fails it is tried again.
    pub(crate) fn again(&mut self, token: u64) {
        if let Some(commit) = self.by_token.get_mut(&token) {
            commit.again = true;
        }
    }

    /// A commit that has come back. One that nobody waits for any more still says what the store has.
    pub(crate) fn take(&mut self, token: u64) -> Option<Commit> {
        let commit = self.by_token.remove(&token)?;
        let its = |known: &u64| *known == token;
        self.of_strangers -= usize::from(commit.stranger);
        self.changed.push(commit.lease.address);
        if self.by_mac.get(&commit.lease.mac).is_some_and(its) {
            self.by_mac.remove(&commit.lease.mac);
        }
        if self.by_address.get(&commit.lease.address).is_some_and(its) {
            self.by_address.remove(&commit.lease.address);
        }
        Some(commit)
    }

    /// The NIC that is about to have this address.
    pub(crate) fn at(&self, address: Ipv4Addr) -> Option<Mac> {
        self.by_token.get(self.by_address.get(&address)?).map(|commit| commit.lease.mac)
    }

    /// The address that this NIC is about to have.
    pub(crate) fn of(&self, mac: Mac) -> Option<Ipv4Addr> {
        self.lease_of(mac).map(|lease| lease.address)
    }

    /// The lease that this NIC is about to have.
    pub(crate) fn lease_of(&self, mac: Mac) -> Option<&Lease> {
        self.by_token.get(self.by_mac.get(&mac)?).map(|commit| &commit.lease)
    }

    /// Every address whose lease is being written.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.by_address.keys().copied()
    }

    /// Addresses whose lease is being written now and was not, or no more.
    pub(crate) fn changed(&mut self) -> Vec<Ipv4Addr> {
        std::mem::take(&mut self.changed)
    }
}

fn waits(commit: &Commit, now: u64) -> bool {
    now.saturating_sub(commit.since) < WAITED_FOR
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(number: u32, stranger: bool) -> Commit {
        let [_, b, c, d] = number.to_be_bytes();
        let mac = Mac::new([2, 0, 0, b, c, d]).unwrap();
        let address = Ipv4Addr::from(0x0a00_0000 + number);
        let lease = Lease { mac, address, start: 0, expires: 60, relay: None };
        Commit { lease, expected: None, evict: None, reply: None, again: false, stranger, since: 0 }
    }

    fn add(commits: &mut Commits, commit: Commit, now: u64) -> Option<u64> {
        let free = !commits.busy(commit.lease.mac, commit.lease.address, commit.stranger, now);
        free.then(|| commits.add(commit))
    }

    #[test]
    fn a_nic_and_an_address_are_in_one_commit_at_a_time() {
        let mut commits = Commits::default();
        let (one, two) = (commit(1, false).lease, commit(2, false).lease);
        let token = commits.add(commit(1, false));
        assert!(commits.busy(one.mac, two.address, false, 1) && commits.busy(two.mac, one.address, false, 1));
        assert!(!commits.busy(two.mac, two.address, false, 1));
        assert!(!commits.busy(one.mac, one.address, false, WAITED_FOR), "its client may ask again by then");
        assert_eq!(commits.at(one.address), Some(one.mac), "and nobody else has the address meanwhile");
        assert!(commits.take(token).is_some() && commits.take(token).is_none());
        assert!(
            !commits.busy(one.mac, two.address, false, 1) && !commits.busy(two.mac, one.address, false, 1)
        );
        assert_eq!(commits.changed(), [one.address, one.address]);
    }

    #[test]
    fn a_store_that_hangs_costs_its_own_clients_and_no_memory() {
        let mut commits = Commits::default();
        let mut tokens: Vec<u64> = vec![];
        for number in 0..5000 {
            tokens.extend(add(&mut commits, commit(number, false), u64::from(number) * WAITED_FOR));
        }
        let sizes = (commits.by_token.len(), commits.by_mac.len(), commits.by_address.len());
        assert_eq!(sizes, (MOST, MOST, MOST));
        tokens.into_iter().for_each(|token| drop(commits.take(token)));
        assert!(commits.by_mac.is_empty() && commits.by_address.is_empty());
    }

    #[test]
    fn strangers_leave_room_in_the_store_for_machines_of_the_site() {
        let mut commits = Commits::default();
        let taken = (0..5000).filter(|number| add(&mut commits, commit(*number, true), 0).is_some()).count();
        assert_eq!(taken, MOST_OF_STRANGERS);
        assert!(commits.is_full_of_strangers());
        let token = add(&mut commits, commit(6000, false), 0).unwrap();
        commits.take(token);
        assert!(add(&mut commits, commit(6001, true), 0).is_none());
        commits.take(0);
        assert!(!commits.is_full_of_strangers());
        assert!(add(&mut commits, commit(6001, true), 0).is_some());
    }
}
