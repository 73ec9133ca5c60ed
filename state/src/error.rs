//! What can go wrong with the state, by cause. Each text is a fragment that fits after "cannot keep the lease: ".

use std::path::PathBuf;

use crate::Revision;

/// A state operation failed.
#[derive(Debug, thiserror::Error, Clone)]
pub enum Error {
    /// Somebody else has changed a key since it was read; nothing was written.
    #[error("{key} was changed meanwhile (now at {current:?}); read it again")]
    Conflict {
        /// The first key whose expectation failed.
        key: String,
        /// Its revision now; `None` when it is not there.
        current: Option<Revision>,
    },
    /// The disk did not take it. What was there before still is.
    #[error(
        "not written, the disk said: {0}; free space or mend the disk, it is tried again with the next change"
    )]
    NotDurable(String),
    /// Another process has the state directory.
    #[error("{} is in use by another oneroot; stop it, or give this one a state directory of its own", .0.display())]
    InUse(PathBuf),
    /// The directory can't be made or opened.
    #[error("{}: {cause}", path.display())]
    Open {
        /// The directory or file.
        path: PathBuf,
        /// What the system or the store said.
        cause: String,
    },
    /// The files are of a format that this binary does not know.
    #[error("{} is of format {found}, this oneroot knows {known}; use the oneroot that wrote it", path.display())]
    Format {
        /// The store's file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// The writer has ended: the process is going down.
    #[error("the state is closed")]
    Closed,
    /// A value does not read as what its table holds.
    #[error("{key} does not read as a {table} record: {cause}")]
    Unreadable {
        /// Its key.
        key: String,
        /// Its table.
        table: &'static str,
        /// What the parser said.
        cause: String,
    },
}
