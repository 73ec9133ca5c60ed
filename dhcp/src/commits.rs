//! Commits under way: what becomes of a lease, and which reply waits, once the store has answered.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use crate::lease::Lease;
use crate::mac::Mac;
use crate::step::Reply;

/// Commits that may be under way at once. A store that hangs costs its own clients, not memory.
const MOST: usize = 4096;
/// Time after which a commit that has not come back keeps nobody waiting any more, milliseconds.
const WAITED_FOR: u64 = 30_000;

/// One commit.
#[derive(Debug)]
pub(crate) struct Commit {
    /// The lease as the store will have it.
    pub(crate) lease: Lease,
    /// The NIC whose ended lease gives way.
    pub(crate) evict: Option<Mac>,
    /// What is sent when it is durable; a release has no answer.
    pub(crate) reply: Option<Reply>,
    /// When it was asked for, milliseconds.
    pub(crate) since: u64,
}

/// All of them, by token, by NIC and by address.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    by_token: HashMap<u64, Commit>,
    by_mac: HashMap<Mac, u64>,
    by_address: HashMap<Ipv4Addr, u64>,
    next: u64,
}

impl Commits {
    /// Whether this NIC's lease or this address waits for the store, or too many do.
    pub(crate) fn busy(&mut self, mac: Mac, address: Ipv4Addr, now: u64) -> bool {
        if self.by_token.len() >= MOST {
            let old: Vec<u64> = self
                .by_token
                .iter()
                .filter(|(_, commit)| !waits(commit, now))
                .map(|(token, _)| *token)
                .collect();
            old.into_iter().for_each(|token| drop(self.take(token)));
        }
        let waiting = |token: Option<&u64>| {
            token.and_then(|token| self.by_token.get(token)).is_some_and(|commit| waits(commit, now))
        };
        self.by_token.len() >= MOST
            || waiting(self.by_mac.get(&mac))
            || waiting(self.by_address.get(&address))
    }

    /// Notes a commit, and names it.
    pub(crate) fn add(&mut self, commit: Commit) -> u64 {
        let token = self.next;
        self.next = self.next.wrapping_add(1);
        self.by_mac.insert(commit.lease.mac, token);
        self.by_address.insert(commit.lease.address, token);
        self.by_token.insert(token, commit);
        token
    }

    /// A commit that has come back. One that nobody waits for any more still says what the store has.
    pub(crate) fn take(&mut self, token: u64) -> Option<Commit> {
        let commit = self.by_token.remove(&token)?;
        let its = |known: &u64| *known == token;
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
}

fn waits(commit: &Commit, now: u64) -> bool {
    now.saturating_sub(commit.since) < WAITED_FOR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nic_and_an_address_are_in_one_commit_at_a_time() {
        let mut commits = Commits::default();
        let [one, two] = [1, 2].map(|last| Mac::new([2, 0, 0, 0, 0, last]).unwrap());
        let [first, second] = [1, 2].map(|last| Ipv4Addr::new(10, 0, 0, last));
        let lease = Lease { mac: one, address: first, start: 0, expires: 60, relay: None };
        let token = commits.add(Commit { lease, evict: None, reply: None, since: 0 });
        assert!(commits.busy(one, second, 1) && commits.busy(two, first, 1));
        assert!(!commits.busy(two, second, 1));
        assert!(commits.take(token).is_some() && commits.take(token).is_none());
        assert!(!commits.busy(one, second, 1) && !commits.busy(two, first, 1));
    }

    #[test]
    fn a_store_that_hangs_costs_its_own_clients_and_no_memory() {
        let mut commits = Commits::default();
        let lease = |number: u32| {
            let [_, b, c, d] = number.to_be_bytes();
            let mac = Mac::new([2, 0, 0, b, c, d]).unwrap();
            Lease { mac, address: Ipv4Addr::from(0x0a00_0000 + number), start: 0, expires: 60, relay: None }
        };
        for number in 0..5000 {
            let lease = lease(number);
            if !commits.busy(lease.mac, lease.address, 0) {
                commits.add(Commit { lease, evict: None, reply: None, since: 0 });
            }
        }
        assert_eq!(
            (commits.by_token.len(), commits.by_mac.len(), commits.by_address.len()),
            (MOST, MOST, MOST)
        );
        let late = lease(4999);
        assert!(commits.busy(late.mac, late.address, WAITED_FOR - 1));
        assert!(!commits.busy(late.mac, late.address, WAITED_FOR), "what has waited too long gives way");
        assert!(commits.by_mac.is_empty() && commits.by_address.is_empty());
    }
}
