//! What can go wrong with a tree, by cause. Each text is a fragment that fits after "cannot stage x: ".

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use oneroot_ids::{GenerationId, ObjectId, ViewId};

/// A tree operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{doing} {path}: {cause}", path = path.display())]
    Io {
        /// What was being done: "open", "write", "sync".
        doing: &'static str,
        /// The file or directory that it was done to.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The disk is full, or the user's part of it. How much more is needed is not known: a source says so only when it
    /// has been read.
    #[error(
        "the disk of {path} is full ({doing}: {cause}); free space there (in a server's store, `oneroot gc` removes what nobody needs), \
         then do it again: nothing has changed", path = path.display()
    )]
    Full {
        /// What was being done: "write", "sync".
        doing: &'static str,
        /// A file on the full disk.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A command's result would take the place of a file.
    #[error("{path} is there already; choose another name, or replace it with --force", path = path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A command's result would take the place of what is not a regular file.
    #[error("{path} is a directory, a link or a device, which is never replaced; choose another name", path = path.display())]
    NotReplaced {
        /// What lies there.
        path: PathBuf,
    },
    /// A source holds a name or a structure that no tree can have.
    #[error("entry {name}: {reason}")]
    Entry {
        /// The entry's path in the source, with odd bytes escaped.
        name: String,
        /// Why it is refused.
        reason: Cow<'static, str>,
    },
    /// An archive is not what it says it is.
    #[error("archive: {0}")]
    Archive(io::Error),
    /// An OCI image is not laid out as one, or is none of a file system.
    #[error("image: {0}")]
    Image(String),
    /// A blob of an image is not the one that its descriptor says.
    #[error("image: blob {digest}: {reason}; pull or save the image again")]
    Blob {
        /// The digest in the descriptor.
        digest: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A layer of an image is not what an archive can be.
    #[error("image: layer {digest}: {cause}")]
    Layer {
        /// The layer's digest, `sha256:…`, as the manifest has it.
        digest: String,
        /// What is wrong in it.
        cause: Box<Error>,
    },
    /// A blob of an image is not there at all.
    #[error("image: blob {digest} is not there; pull or save the image again, with all its layers")]
    NoBlob {
        /// The digest in the descriptor.
        digest: String,
        /// What it is said to be.
        media_type: String,
        /// How long it is said to be, in bytes.
        size: u64,
    },
    /// An image is there, and not for this platform.
    #[error("image: nothing in it is for {wanted}; it has {there}")]
    NoPlatform {
        /// What was asked for: `linux/amd64`.
        wanted: String,
        /// What there is: `linux/arm64, linux/s390x`.
        there: String,
    },
    /// What cannot be, unless there is a mistake in this program: an error, so that no tree is wrong in silence.
    #[error("{0}; this is a mistake in oneroot, please report it: nothing has changed")]
    Mistake(&'static str),
    /// More nodes, names or bytes than an index holds.
    #[error("the tree has too many {0} for one index (4,294,967,295 at most); split it into layers")]
    TooLarge(&'static str),
    /// An index file is torn, of another version, or not the one that its name says.
    #[error("generation {generation}: {reason}; stage the profile again")]
    BadIndex {
        /// The name under which it was looked up.
        generation: GenerationId,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// What another host has sent as an index is none.
    #[error("the index that came: {0}; ask again, or another server")]
    Stream(io::Error),
    /// The bytes that another host sends have ended before their end.
    #[error("the transfer was cut off ({0}); what has come is kept, so the next run goes on from here")]
    Cut(io::Error),
    /// Another host has sent other bytes than those that were asked for.
    #[error(
        "other bytes came than those of object {0}; the server's store or the way to it is damaged (`oneroot verify` there): nothing has changed"
    )]
    OtherObject(ObjectId),
    /// What another host has sent is an index, and not the one that it was said to be.
    #[error("the index of generation {wanted} was asked for, and that of {found} came; nothing has changed")]
    OtherIndex {
        /// The generation that was asked for.
        wanted: GenerationId,
        /// The one that came.
        found: GenerationId,
    },
    /// Another sync, or another pull, is at work on a directory.
    #[error("{path} is being filled by another oneroot; wait for it, or end it", path = path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// Where sync would keep what is its own, there is something of somebody else's.
    #[error(
        "{path} is where sync keeps its own files, and it is no directory of this user's alone; remove it, or sync another directory", path = path.display()
    )]
    NotOurs {
        /// What is there.
        path: PathBuf,
    },
    /// Something came into a directory, or changed there, after it was looked at.
    #[error("{path} has changed while it was synced; run it again", path = path.display())]
    Changed {
        /// What changed.
        path: PathBuf,
    },
    /// Something has a name that sync wants for a tree of its own.
    #[error("{path} is there, and sync has not made it; move it away, or sync without --atomic", path = path.display())]
    InTheWay {
        /// What is there.
        path: PathBuf,
    },
    /// A whole tree can't take a directory's name.
    #[error("{path} can't be exchanged as a whole: {reason}; sync it without --atomic", path = path.display())]
    NotWhole {
        /// The directory.
        path: PathBuf,
        /// Why.
        reason: Cow<'static, str>,
    },
    /// A tree is to go, and something that is none of it is mounted there.
    #[error("{path} lies in a tree that is to go, and something is mounted on it; unmount it, and run it again", path = path.display())]
    MountedOn {
        /// Where it is mounted.
        path: PathBuf,
    },
    /// An object that was to come is not there.
    #[error("object {0} of the tree is not here; run it again")]
    NoObject(ObjectId),
    /// There is no tree to go back to.
    #[error("{path} has no tree before it: `sync --atomic` keeps one", path = path.display())]
    NothingBefore {
        /// The directory.
        path: PathBuf,
    },
    /// The store has no such generation.
    #[error("no generation {0} in the store; stage the profile again or copy it from another server")]
    NoGeneration(GenerationId),
    /// The store has no such stack, or it is not what its name says.
    #[error("no stack {0} in the store")]
    NoStack(ViewId),
    /// A stack is empty or higher than a handle can say.
    #[error("a stack has 1 to 65535 layers, not {0}")]
    StackHeight(usize),
    /// The store was written by a newer oneroot, or the directory is something else.
    #[error("{path} is not a store of format 1; use the oneroot that wrote it, or another directory", path = path.display())]
    StoreFormat {
        /// The store's directory.
        path: PathBuf,
    },
    /// Others than the store's owner may read or change what is in it.
    #[error(
        "{} is open to others (mode {mode:04o}), and the roots' files in it are for root alone; chmod -R go= {}",
        part.display(),
        store.display()
    )]
    OpenToOthers {
        /// The store's directory.
        store: PathBuf,
        /// What is open: the store, or a directory in it.
        part: PathBuf,
        /// Permission bits of that part.
        mode: u32,
    },
    /// The store's directory is another one than was opened, or none.
    #[error("{path} was removed or replaced since it was opened; put it back, or start again with what is there", path = path.display())]
    StoreMoved {
        /// The store's directory.
        path: PathBuf,
    },
    /// A reference's file does not read as one.
    #[error("reference {0} is damaged; stage it again")]
    BadRef(String),
}

impl Error {
    /// An [`Error::Io`] or [`Error::Full`] in the shape that `map_err` takes.
    pub fn io<C: Into<io::Error>>(doing: &'static str, path: impl AsRef<Path>) -> impl FnOnce(C) -> Self {
        move |cause| {
            let (path, cause) = (path.as_ref().to_owned(), cause.into());
            match cause.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Self::Full { doing, path, cause }
                }
                _ => Self::Io { doing, path, cause },
            }
        }
    }

    /// An [`Error::Busy`] where somebody else has the lock at `path` on a directory, in the shape that `map_err` takes.
    pub(crate) fn busy<'a>(directory: &'a Path, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |cause| match cause.kind() {
            io::ErrorKind::WouldBlock => Self::Busy { path: directory.to_owned() },
            _ => Self::io("lock", path)(cause),
        }
    }

    /// An [`Error::Entry`] for the entry with this raw name.
    pub fn entry(name: &[u8], reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Entry { name: name.escape_ascii().to_string(), reason: reason.into() }
    }
}

/// A tree operation's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;
