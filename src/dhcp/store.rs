//! Leases in the state, and which NIC each address is by one. What is decided here is what two servers must not both write.
//!
//! A lease has its NIC's MAC as its key, so that a renewal expects what is known of that NIC. It says nothing against another
//! server that gives the same address to another NIC in the same moment: that one's lease has another key. So whoever gives an
//! address that its NIC does not have yet writes the address' own record too, and expects it to be as it is known. An address
//! of a lease that was written before there were such records has none; its lease is expected where it gives way.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Result;
use oneroot_dhcp::{CommitError, Lease, LeaseChange, Revision};
use oneroot_ids::Mac;
use oneroot_state::{Applied, Backend, Change, Error as StateError, Event, Expect, Listing, Table, Txn};
use serde::{Deserialize, Serialize};

/// Leases by MAC.
const LEASES: Table<Lease> = Table::new("leases");
/// Whose an address is by a lease.
const ADDRESSES: Table<Holder> = Table::new("addresses");

/// The NIC that an address was given to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
    mac: Mac,
}

/// What the store has for a NIC.
pub type Known = (Mac, Option<(Lease, Revision)>);

/// The records as this server knows them. What the engine knows is never older: it is told of a change in the same moment.
pub struct Records {
    applied: Applied,
    /// The address of each NIC, by its lease.
    addresses: HashMap<Mac, Ipv4Addr>,
}

/// A write that has come back.
pub struct Written {
    result: Result<Revision, CommitError>,
    txn: Arc<Txn>,
    /// What was read where something else was there than was taken for granted: the keys and what they had.
    read: Vec<(Vec<String>, Listing)>,
}

impl Records {
    /// All leases. Records that can't be parsed are named in the log and left where they are.
    pub async fn open(state: &impl Backend) -> Result<(Self, Vec<(Lease, Revision)>)> {
        let applied = Applied::new([LEASES.prefix(), ADDRESSES.prefix()]);
        let mut records = Self { applied, addresses: HashMap::new() };
        let news = records.applied.listed(state.list("").await?);
        let leases = records.learn(news).into_iter().filter_map(|(_, lease)| lease).collect();
        Ok((records, leases))
    }

    /// A change as one transaction.
    pub fn transaction(&self, change: &LeaseChange) -> Result<Txn, StateError> {
        let at = |revision: Revision| Expect::At(oneroot_state::Revision(revision.0));
        let (mac, address) = (change.put.mac, change.put.address);
        let its: Arc<str> = LEASES.key(mac).into();
        let mut txn = Txn::new().expect(its.clone(), change.expected.map_or(Expect::Absent, at));
        if let Some((other, revision)) = change.evict {
            txn = LEASES.delete(LEASES.expect(txn, other, at(revision)), other);
        }
        let before = self.addresses.get(&mac).copied();
        if before != Some(address) {
            let place: Arc<str> = ADDRESSES.key(address).into();
            txn = ADDRESSES.put_at(self.as_known(txn, &place), &place, &Holder { mac })?;
            let before = before.map(|before| Arc::from(ADDRESSES.key(before)));
            if let Some(before) = before.filter(|before| self.applied.revision(before).is_some()) {
                txn = self.as_known(txn, &before).delete(before);
            }
        }
        LEASES.put_at(txn, &its, &change.put)
    }

    fn as_known(&self, txn: Txn, place: &Arc<str>) -> Txn {
        txn.expect(place.clone(), self.applied.revision(place).map_or(Expect::Absent, Expect::At))
    }

    /// What became of a write of this NIC's lease, and what the engine has to learn first. A lease that another server has
    /// changed since it was written counts as a conflict: what is told of it by now is newer.
    pub fn came_back(
        &mut self,
        lease: &Lease,
        written: Written,
    ) -> (Result<Revision, CommitError>, Vec<Known>) {
        let (Written { result, txn, read }, mac) = (written, lease.mac);
        let mut news = Vec::new();
        match result {
            Ok(Revision(revision)) => {
                let revision = oneroot_state::Revision(revision);
                // What this server has written need not be read: the lease is known, and nothing else is put beside it.
                let is_its = |change: &Change| change.value.is_some() && LEASES.record(&change.key).is_some();
                let (own, others): (Vec<_>, Vec<_>) = txn.changes(revision).into_iter().partition(is_its);
                let keys: Vec<Arc<str>> = own.iter().map(|change| change.key.clone()).collect();
                if !self.applied.committed(own).is_empty() {
                    self.addresses.insert(mac, lease.address);
                }
                let others = self.applied.committed(others);
                self.learn(others);
                if keys.iter().any(|its| self.applied.revision(its) != Some(revision)) {
                    return (Err(CommitError::Conflict), Vec::new());
                }
            }
            Err(_) => {
                for (keys, listing) in read {
                    news.extend(self.applied.read(&keys, listing));
                }
            }
        }
        (result, self.learn(news))
    }

    /// The tables that a watch has to be of.
    pub fn watched(&self) -> Vec<String> {
        self.applied.prefixes().to_vec()
    }

    /// What the engine has to learn of what the watch tells.
    pub fn changed(&mut self, event: Event) -> Vec<Known> {
        let news = self.applied.told(event);
        self.learn(news)
    }

    fn learn(&mut self, news: Vec<Change>) -> Vec<Known> {
        let mut known = Vec::new();
        for change in news {
            match LEASES.changed(&change) {
                Ok(Some((mac, lease))) => {
                    let Ok(mac) = mac.parse::<Mac>() else { continue };
                    match &lease {
                        Some(lease) => drop(self.addresses.insert(mac, lease.address)),
                        None => drop(self.addresses.remove(&mac)),
                    }
                    known.push((mac, lease.map(|lease| (lease, Revision(change.revision.0)))));
                }
                Ok(None) => {}
                Err(cause) => tracing::error!(%cause, "ignored a lease record that cannot be parsed"),
            }
        }
        known
    }
}

/// What became of a transaction, now that it is answered.
pub async fn outcome(
    state: &impl Backend,
    mac: Mac,
    txn: Arc<Txn>,
    answer: Result<oneroot_state::Revision, StateError>,
) -> Written {
    let failed = |result, txn, read| Written { result, txn, read };
    match answer {
        Ok(revision) => failed(Ok(Revision(revision.0)), txn, Vec::new()),
        Err(StateError::Conflict { key, .. }) => {
            tracing::debug!(%mac, key, "another server was quicker; the client asks again");
            match read_anew(state, &txn).await {
                Ok(read) => failed(Err(CommitError::Conflict), txn, read),
                Err(_) => failed(Err(CommitError::Failed), txn, Vec::new()),
            }
        }
        Err(cause) => {
            tracing::error!(%mac, %cause, "a lease could not be written, so it is not acknowledged");
            // It may have been: then that is known from here on, and the client that asks again is answered.
            let read = match cause {
                StateError::OutcomeUnknown(_) => read_anew(state, &txn).await.unwrap_or_default(),
                _ => Vec::new(),
            };
            failed(Err(CommitError::Failed), txn, read)
        }
    }
}

/// All that a transaction is about as it is now, and the leases of those who hold its addresses: an address' record must never
/// be known without the lease that it is of, or the next transaction would take the address.
async fn read_anew(state: &impl Backend, txn: &Txn) -> Result<Vec<(Vec<String>, Listing)>, StateError> {
    let keys = txn.keys();
    let there = state.read(&keys).await?;
    let holders = there.records.iter().filter(|(key, _)| ADDRESSES.record(key).is_some());
    let macs = holders.map(|(key, at)| Ok(LEASES.key(ADDRESSES.parse(key, &at.value)?.mac)));
    let macs: Vec<String> = macs.collect::<Result<_, StateError>>()?;
    let theirs = state.read(&macs).await?;
    Ok(vec![(macs, theirs), (keys, there)])
}
