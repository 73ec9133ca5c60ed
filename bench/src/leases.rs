//! Leases that a server finds when it starts, as if it had given them before: what is measured then is not how it gives them.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Result;
use oneroot_dhcp::Lease;
use oneroot_ids::Mac;
use oneroot_state::{Backend as _, Disk, MAX_OPERATIONS, Table, Txn};

/// Writes leases that run for a day from now into a state that no server has open.
pub fn write(state: &Path, leases: &[(Mac, Ipv4Addr)]) -> Result<()> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let table: Table<Lease> = Table::new("leases");
    let disk = Disk::open(state)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    for some in leases.chunks(MAX_OPERATIONS) {
        let mut txn = Txn::new();
        for (mac, address) in some.iter().copied() {
            let lease = Lease { mac, address, start: now, expires: now + 86_400, relay: None };
            txn = table.put(txn, mac, &lease)?;
        }
        runtime.block_on(disk.commit(txn))?;
    }
    Ok(())
}
