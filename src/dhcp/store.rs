//! Leases on the disk.

use anyhow::Result;
use oneroot_dhcp::{CommitError, Lease, LeaseChange, Revision};
use oneroot_ids::Mac;
use oneroot_state::{Backend as _, Error as StateError, Expect, Table, Txn};

use oneroot_machines::Machines;

/// Leases by MAC.
const LEASES: Table<Lease> = Table::new("leases");

/// What the store has for a NIC.
pub type Known = (Mac, Option<(Lease, Revision)>);

/// A write that has come back.
pub struct Written {
    pub result: Result<Revision, CommitError>,
    /// What the store has of the NICs in question, where that was something else than the engine took for granted.
    pub learned: Vec<Known>,
}

/// All leases. Records that do not read are named in the log and left where they are.
pub async fn all(machines: &Machines) -> Result<Vec<(Lease, Revision)>> {
    let (leases, bad) = LEASES.list(machines.state.as_ref()).await?;
    for record in bad {
        tracing::error!(
            key = record.key,
            cause = record.cause,
            "ignored a lease record that cannot be parsed"
        );
    }
    Ok(leases.into_iter().map(|(_, lease)| (lease.value, Revision(lease.revision.0))).collect())
}

/// Makes a lease durable.
pub async fn write(machines: &Machines, change: &LeaseChange) -> Written {
    let mac = change.put.mac;
    match commit(machines, change).await {
        Ok(revision) => Written { result: Ok(revision), learned: Vec::new() },
        Err(cause) => {
            tracing::error!(%mac, %cause, "a lease could not be written, so it is not acknowledged");
            if !matches!(cause, StateError::Conflict { .. }) {
                return Written { result: Err(CommitError::Failed), learned: Vec::new() };
            }
            let macs = [Some(mac), change.evict.map(|(other, _)| other)];
            let mut learned = Vec::new();
            for mac in macs.into_iter().flatten() {
                if let Ok(found) = LEASES.get(machines.state.as_ref(), mac).await {
                    learned.push((mac, found.map(|at| (at.value, Revision(at.revision.0)))));
                }
            }
            Written { result: Err(CommitError::Conflict), learned }
        }
    }
}

async fn commit(machines: &Machines, change: &LeaseChange) -> Result<Revision, StateError> {
    let at = |revision: Revision| Expect::At(oneroot_state::Revision(revision.0));
    let mac = change.put.mac;
    let mut txn = LEASES.expect(Txn::new(), mac, change.expected.map_or(Expect::Absent, at));
    if let Some((other, revision)) = change.evict {
        txn = LEASES.delete(LEASES.expect(txn, other, at(revision)), other);
    }
    let txn = LEASES.put(txn, mac, &change.put)?;
    Ok(Revision(machines.state.commit(txn).await?.0))
}
