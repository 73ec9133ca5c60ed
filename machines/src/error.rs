//! Why a machine does not get what it asks for, or an admin not what was asked of the machines.

use std::io;
use std::net::IpAddr;

use oneroot_bootconf::decision::NoPlan;
use oneroot_bootconf::render::RenderError;
use oneroot_bootconf::unknown::Full;
use oneroot_ids::{BootId, Mac, ViewId};

use crate::credentials::record::TokenName;

/// By cause. Each says what to do next where that is not plain.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The site gives the machine nothing to boot.
    #[error(transparent)]
    NoPlan(#[from] NoPlan),
    /// There is no room for one more machine that nobody has named.
    #[error(transparent)]
    Full(#[from] Full),
    /// The mapping stays as it is.
    #[error(transparent)]
    Mapping(#[from] MappingRefused),
    /// The tokens stay as they are.
    #[error(transparent)]
    Token(#[from] TokenChangeRefused),
    /// The secrets stay as they are.
    #[error(transparent)]
    Secret(#[from] SecretRefused),
    /// Nothing can be sealed or opened.
    #[error("the key file of the site's secrets could not be read when the server started: its log says why")]
    NoSiteSeal,
    /// A record of another site's, or of before its key file was lost.
    #[error(
        "the secret {0} is sealed with another key file: put the site's `secrets.key` back, or set or rotate that secret"
    )]
    SealedElsewhere(String),
    /// Somebody has to say it.
    #[error("it is none that the server makes")]
    SecretIsSet,
    /// It has said so while it was asking.
    #[error("it has said already that it has them")]
    SecretsClosed,
    /// The program is at it, or has not come to it yet.
    #[error("the site's program is making them; it asks again")]
    SecretsAreMade,
    /// As many as may are taking theirs.
    #[error("{0} machines are taking theirs; it asks again")]
    SecretsWait(usize),
    /// A template can't be rendered for the machine.
    #[error(transparent)]
    Template(#[from] RenderError),
    /// A template is no text.
    #[error("{0}: is not UTF-8, so it is not a template")]
    NoText(String),
    /// The store can't do it.
    #[error(transparent)]
    Tree(#[from] oneroot_tree::Error),
    /// A view can't be read.
    #[error("view {view}: {cause}")]
    View {
        /// Which.
        view: ViewId,
        /// Why.
        cause: oneroot_tree::Error,
    },
    /// A part of the machine's stack has no generation.
    #[error("{0} is not staged yet; run `oneroot stage`")]
    NotStaged(String),
    /// The name of a part can't be a name in the store.
    #[error("{0:?} is too long for a name in the store")]
    Name(String),
    /// A part has no name in the store: it is found by its content.
    #[error("what is made of {0} has no name in the store")]
    Nameless(String),
    /// Another profile lends the kernel, and has no tree.
    #[error("the profile that lends the kernel has no tree: {0}")]
    Lender(oneroot_tree::Error),
    /// Another profile is mounted, and has no tree.
    #[error("what is mounted on {at} has no tree: {cause}")]
    NotMounted {
        /// Where.
        at: String,
        /// Why.
        cause: oneroot_tree::Error,
    },
    /// Something is in the way of a profile that is mounted.
    #[error(
        "nothing can be mounted on {at}: {other} is no directory in the machine's tree; mount it elsewhere, or where a link there leads"
    )]
    NoPlaceForMount {
        /// Where.
        at: String,
        /// What is in the way.
        other: String,
    },
    /// No initrd can be made of a tree.
    #[error("{0}")]
    Initrd(String),
    /// There is no program for a tree's processor, or what lies there is none. It counts until the files are others.
    #[error("{0}")]
    NoProgram(String),
    /// What an initrd would have can't stand in one.
    #[error(transparent)]
    Archive(#[from] oneroot_initrd::cpio::Unwritable),
    /// The state can't be read or written.
    #[error(transparent)]
    State(#[from] oneroot_state::Error),
    /// Another address has begun to boot in this machine's name (rule M9 of docs/decisions/0003).
    #[error("this machine boots at {0}; another address has to wait for that")]
    BootsElsewhere(IpAddr),
    /// Another machine has the name that a rule gives.
    #[error("another machine has the name {0}")]
    NameTaken(String),
    /// Whatever was tried, another server had changed the same records.
    #[error("another server keeps changing this machine's boots")]
    Contended,
    /// A MAC that no machine was seen with.
    #[error("no machine with the MAC {0} has ever booted here; see `oneroot status`")]
    UnknownMac(Mac),
    /// An address that no machine boots or runs with.
    #[error("no machine boots or runs at {0}; see `oneroot status`")]
    UnknownAddress(IpAddr),
    /// A boot that no pin is of.
    #[error("no machine holds the boot {0}")]
    UnknownBoot(BootId),
    /// A word that is no machine.
    #[error(
        "no machine {0:?} has ever booted here; a machine is a name, a MAC, an address or a boot, as `oneroot status` has them"
    )]
    UnknownMachine(String),
    /// All 256 numbers are taken.
    #[error(
        "every number that a handle has for its key is taken; run `oneroot keys retire` once all machines have booted again"
    )]
    NoKeyNumber,
    /// An old key may still be needed.
    #[error(
        "these have not booted since the server started, and may hold handles of an old key: {0}; once they have, or are released, ask again"
    )]
    KeysInUse(String),
    /// The kernel has no random bytes.
    #[error("the kernel has no random bytes: {0}")]
    Random(io::Error),
    /// An object of the store can't be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The server is about to end.
    #[error("the server is about to end")]
    Ending,
}

/// What the domain returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<tokio::task::JoinError> for Error {
    /// A task that was cut off: by the end of the process, for nothing here cancels one and nothing panics.
    fn from(_: tokio::task::JoinError) -> Self {
        Self::Ending
    }
}

/// Why a machine's secrets stay as they are.
#[derive(Debug, thiserror::Error)]
pub enum SecretRefused {
    /// The site has no such machine.
    #[error(
        "the site has no machine {0}, and only a machine that it names has secrets; `oneroot machines` lists them"
    )]
    NoSuchMachine(String),
    /// What is no secret's name.
    #[error("{0}")]
    Words(String),
    /// Nothing in it.
    #[error("the secret is empty; it is read from standard input")]
    Empty,
    /// More than is given.
    #[error("a secret has {0} bytes at most; keep a key here, and what it opens elsewhere")]
    TooLarge(usize),
    /// More than a machine has.
    #[error("a machine has {0} secrets at most; remove one first")]
    TooMany(usize),
    /// There is none.
    #[error("{machine} has no secret {name}; `oneroot secret list {machine}` lists those that it has")]
    NoSuchSecret {
        /// Whose.
        machine: String,
        /// Which.
        name: String,
    },
    /// Nobody runs a program that makes it.
    #[error(
        "no program is there that makes it: [make_secrets] names one, and a server learns of it when it starts"
    )]
    NoMaker,
    /// The program has not made it.
    #[error("{program} {told}")]
    NotPrinted {
        /// The program.
        program: std::path::PathBuf,
        /// What it did instead.
        told: String,
    },
    /// It is printed, and nobody has it.
    #[error(
        "the program has run, and what it printed was not kept: {0}; rotate the secret, or let its machine ask again"
    )]
    NotKept(String),
    /// It is run for that machine.
    #[error("the site's program is making secrets for {0}; rotate this one in a minute")]
    Busy(String),
    /// The site does not have it made.
    #[error(
        "the site does not say any more that its program makes {machine}'s secret {name}; `oneroot secret remove` takes it away"
    )]
    NotSaid {
        /// Whose.
        machine: String,
        /// Which.
        name: String,
    },
    /// It was not made here.
    #[error("{0} was set by somebody, so it can't be made anew: set it again")]
    NotMade(String),
}

/// Why no access token is made or taken back.
#[derive(Debug, thiserror::Error)]
pub enum TokenChangeRefused {
    /// What is no token's name.
    #[error("{0}")]
    Words(String),
    /// It would be good for nothing.
    #[error("a token is good for something: say what with --view")]
    NoViews,
    /// More than there may be.
    #[error("a token has {0} views at most; make several")]
    TooManyViews(usize),
    /// The site has no such thing.
    #[error("the site has no {0}; a view is a profile, a generation of one, or a machine by its name")]
    NoSuchView(String),
    /// One of this name is in use.
    #[error(
        "there is a token {0} already; revoke it first (`oneroot token revoke {0}`), or take another name"
    )]
    Taken(TokenName),
    /// None has this name.
    #[error("no token {0:?}; `oneroot token list` lists those that there are")]
    NoSuchToken(String),
    /// There is no room for another.
    #[error(
        "there are {0} tokens, and all are good; revoke those that nobody uses (`oneroot token revoke NAME`)"
    )]
    Full(usize),
}

/// Why the mapping stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum MappingRefused {
    /// Nobody is called that.
    #[error("no machine {0:?}; `oneroot machines` lists those that there are")]
    NoSuchMachine(String),
    /// It has no name yet.
    #[error("{0} has no name yet; run `oneroot adopt {0} --name NAME`")]
    Unnamed(Mac),
    /// A site file would be refused with it.
    #[error("{0}")]
    Words(String),
    /// A machine has the name.
    #[error("there is a machine {0} already")]
    NameTaken(String),
    /// The site's files have the name.
    #[error("{0} is named by the site's files; change its name there, and reload")]
    InFiles(String),
    /// It holds a root.
    #[error("{0} holds a root, and would lose it; run `oneroot release {0}` first")]
    Runs(String),
    /// There is nothing to take away.
    #[error("nothing of that is assigned to {0}")]
    NotAssigned(String),
    /// The state has nothing of it.
    #[error("nothing is kept of {0} but what the site's files say")]
    NothingKept(String),
    /// There is no fact of it.
    #[error("{0} has found out nothing about itself that is kept")]
    NothingExamined(String),
    /// Somebody has asked for the same.
    #[error("machines are being adopted as {names} by {by} already; end that with `oneroot adopt --stop`")]
    IsAdopting {
        /// The pattern.
        names: String,
        /// Who has asked for it.
        by: String,
    },
    /// Nobody has.
    #[error("no machines are being adopted")]
    NotAdopting,
}
