//! The engine with its records: what comes of a commit and of what other servers change. No socket and no clock here, so that
//! a test can run two of them on one state.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Result;
use oneroot_dhcp::{CommitError, Engine, Lease, LeaseChange, Step};
use oneroot_machines::Machines;
use oneroot_state::{Event, Txn};

use super::rules::subnets;
use super::store::{Known, Records, Written};

/// DHCP on one state.
pub struct Leasing {
    machines: Arc<Machines>,
    pub engine: Engine,
    records: Records,
}

impl Leasing {
    /// Reads the leases.
    pub async fn open(machines: Arc<Machines>) -> Result<Self> {
        let (records, leases) = Records::open(machines.state.as_ref()).await?;
        leases.iter().for_each(|(lease, _)| leased(&machines, lease));
        let engine = Engine::new(subnets(&machines.site()), leases);
        Ok(Self { machines, engine, records })
    }

    /// A commit that the engine asks for, as one transaction. `None` where there can't be one: then the engine knows.
    pub fn transaction(&mut self, token: u64, change: &LeaseChange) -> Option<Txn> {
        let txn = self.records.transaction(change);
        let failed = |cause: oneroot_state::Error| {
            tracing::error!(mac = %change.put.mac, %cause, "a lease could not be written, so it is not acknowledged");
            self.engine.committed(token, Err(CommitError::Failed));
        };
        txn.map_err(failed).ok()
    }

    /// What follows now that a commit has come back.
    pub fn came_back(&mut self, token: u64, lease: &Lease, written: Written) -> Step {
        let (result, learned) = self.records.came_back(lease, written);
        // Whatever the log says of it, and whether its client waits for an answer: this is whose the address is now.
        if result.is_ok() {
            leased(&self.machines, lease);
        }
        self.learn(learned);
        self.engine.committed(token, result)
    }

    /// The tables that a watch has to be of.
    pub fn watched(&self) -> Vec<String> {
        self.records.watched()
    }

    /// Takes in what that watch tells.
    pub fn state_changed(&mut self, event: Event) {
        let learned = self.records.changed(event);
        self.learn(learned);
    }

    fn learn(&mut self, learned: Vec<Known>) {
        for (mac, lease) in learned {
            lease.iter().for_each(|(lease, _)| leased(&self.machines, lease));
            self.engine.learn(mac, lease);
        }
    }
}

/// Notes whose an address is, as the store has it.
fn leased(machines: &Machines, lease: &Lease) {
    machines.leased(IpAddr::V4(lease.address), lease.mac);
}
