//! What must survive a crash: leases, pins, machine records, keys.
//!
//! The shape is a shared store's (etcd's): keys and values with revisions, transactions that expect revisions, reads
//! that can be watched. No other part of the program may assume that it is alone. The default [`Disk`] is redb in the
//! state directory with one writer and group commit: **whoever is answered, is durable**.
#![forbid(unsafe_code)]

mod applied;
mod backend;
mod dir;
mod disk;
mod error;
#[cfg(test)]
mod faults;
mod feed;
mod file;
mod kv;
mod log;
mod memory;
mod mirror;
mod restore;
mod revision;
mod state;
mod store;
mod table;
mod watch;

pub use applied::Applied;
pub use backend::{Backend, Health};
pub use disk::Disk;
pub use error::Error;
pub use kv::{Change, Expect, Listing, MAX_KEY, MAX_OPERATIONS, MAX_TXN, MAX_VALUE, Txn, Versioned};
pub use memory::{Memory, Paused, Trouble};
pub use restore::restore;
pub use revision::Revision;
pub use state::State;
pub use table::{Quarantined, Table};
pub use watch::{Event, Events, Watch};
