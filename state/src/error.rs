//! What can go wrong with the state, by cause. Each text is a fragment that fits after "cannot keep the lease: ".

use std::path::PathBuf;

use crate::revision::Revision;

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
    /// A key or value is longer than any backend has to take; nothing was written.
    #[error("{key} is too large a record (keys to 1 KiB, values to 1 MiB); make it smaller")]
    TooLarge {
        /// The key's first 64 characters.
        key: String,
    },
    /// A transaction is larger than any backend has to take; nothing was written.
    #[error(
        "a transaction of {operations} operations and {bytes} bytes is too large (to 128 operations and 1 MiB); \
         write it in parts"
    )]
    TooMuch {
        /// Its expectations or its writes, whichever are more.
        operations: usize,
        /// What it writes, in bytes.
        bytes: usize,
    },
    /// The disk did not take it. Readers see what was there before.
    #[error(
        "not written, the disk said: {0}; free space or mend the disk, it is tried again with the next change"
    )]
    NotDurable(String),
    /// A shared store can't be reached. Nothing was written, and what is read may be old.
    #[error("the shared state cannot be reached: {0}; it is asked again")]
    Unavailable(String),
    /// The answer to a commit was lost on its way: read the keys again before anything is concluded.
    #[error("whether it was written is not known: {0}; it is read again")]
    OutcomeUnknown(String),
    /// Another process has the state directory.
    #[error(
        "{} is in use by another oneroot{}; stop it, or give this one a state directory of its own",
        dir.display(),
        holder.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The state directory.
        dir: PathBuf,
        /// The process that has it, as far as it has said so.
        holder: Option<u32>,
    },
    /// The directory can't be made or opened.
    #[error("{}: {cause}", path.display())]
    Open {
        /// The directory or file.
        path: PathBuf,
        /// What the system or the store said, and what to do.
        cause: String,
    },
    /// The file does not hold what was written to it. Never answered by starting empty: addresses would be given twice,
    /// and handles in the field would go stale.
    #[error("{} is damaged ({cause}); keep a copy of it and put the last backup in its place", path.display())]
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The file is of a format that this binary does not know.
    #[error("{} is of format {found}, this oneroot knows {known}; use the oneroot that wrote it", path.display())]
    Format {
        /// The store's file.
        path: PathBuf,
        /// The format that the file names.
        found: u64,
        /// The newest that this binary reads.
        known: u64,
    },
    /// A restore was cut off: some of its records are missing, and nobody can tell which.
    #[error("{} holds a half of a backup: its restore did not end; move it away and restore again", dir.display())]
    HalfRestored {
        /// The state directory.
        dir: PathBuf,
    },
    /// The writer has ended: the process is going down.
    #[error("the state is closed; start oneroot again")]
    Closed,
    /// A value does not read as what its table holds.
    #[error("{key} is not a valid {table} record: {cause}; use the oneroot that wrote it, or a backup")]
    Unreadable {
        /// The record's whole key, `TABLE/RECORD`.
        key: String,
        /// The table that it stands in.
        table: &'static str,
        /// What the parser said.
        cause: String,
    },
}
