//! Why a source can't be staged, by cause.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use oci_client::errors::OciDistributionError;

/// What a host lacks to stage a source.
#[derive(Debug, thiserror::Error)]
pub enum Lack {
    /// A program that a package brings.
    #[error("there is no {program} here; install {install}")]
    Installer {
        /// The program.
        program: &'static str,
        /// The packages.
        install: &'static str,
    },
    /// A program of the admin's.
    #[error("there is no program {program}: a name is looked for in PATH, and a path from {}", home.display())]
    Program {
        /// As the site names it.
        program: String,
        /// Where a path of the site's begins.
        home: PathBuf,
    },
    /// What is to be read is not there.
    #[error("{} is not there, so it cannot be staged", .0.display())]
    NotThere(PathBuf),
    /// Whether it is there can't be seen.
    #[error("{} cannot be looked at ({cause}); run this as the user who stages", path.display())]
    Unseen {
        /// What is to be read.
        path: PathBuf,
        /// The system's reason; it is in the message, for that goes on after it.
        cause: io::Error,
    },
}

impl Lack {
    /// Of a file or directory that can't be found now.
    pub(crate) fn of_path(path: &std::path::Path) -> Option<Self> {
        // Not `exists()`: what this user may not look at is there all the same.
        match path.try_exists() {
            Ok(true) => None,
            Ok(false) => Some(Self::NotThere(path.to_owned())),
            Err(cause) => Some(Self::Unseen { path: path.to_owned(), cause }),
        }
    }

    /// Whether a program is missing, rather than what is to be read.
    #[must_use]
    pub fn is_program(&self) -> bool {
        matches!(self, Self::Installer { .. } | Self::Program { .. })
    }
}

/// Why a source can't be staged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host lacks something.
    #[error(transparent)]
    Lacks(#[from] Lack),
    /// The tree can't be read, or the store can't be written.
    #[error(transparent)]
    Tree(#[from] oneroot_tree::Error),
    /// The same, of what has another name than its path.
    #[error("{from}")]
    From {
        /// What was read.
        from: String,
        /// What is wrong with it.
        #[source]
        cause: oneroot_tree::Error,
    },
    /// An archive can't be opened.
    #[error("cannot open {} ({hint})", path.display())]
    Open {
        /// The archive.
        path: PathBuf,
        /// What may be the reason.
        hint: &'static str,
        /// The system's.
        #[source]
        cause: io::Error,
    },
    /// The host gives no place to work in.
    #[error("cannot {doing}")]
    Io {
        /// What was about to be done.
        doing: &'static str,
        /// The system's reason.
        #[source]
        cause: io::Error,
    },
    /// A program does not start.
    #[error("cannot run {program}")]
    Start {
        /// The program, and what brings it.
        program: String,
        /// The system's reason.
        #[source]
        cause: io::Error,
    },
    /// A program has failed.
    #[error("{program} ended with {status}; it said:\n{said}")]
    Ended {
        /// The program.
        program: String,
        /// How.
        status: ExitStatus,
        /// Its last lines.
        said: String,
    },
    /// An image could not be pulled.
    #[error("cannot pull {image} ({login})")]
    Pull {
        /// The image.
        image: String,
        /// The login that was used, or where there was none.
        login: String,
        /// Why not.
        #[source]
        cause: Box<Error>,
    },
    /// An image has a name that the registry's protocol does not have.
    #[error("the image's name is not valid")]
    Name(#[source] oci_client::ParseError),
    /// There is no client for registries.
    #[error("cannot make a client")]
    Client(#[source] Box<OciDistributionError>),
    /// A registry refuses, or is not there.
    #[error(transparent)]
    Registry(#[from] Box<OciDistributionError>),
    /// The same, of a blob.
    #[error("blob {digest}")]
    Blob {
        /// The blob.
        digest: String,
        /// The reason.
        #[source]
        cause: Box<OciDistributionError>,
    },
    /// A registry sends another number of bytes than the image's documents say.
    #[error("{what} has {is} bytes, not {told}")]
    Size {
        /// What was sent.
        what: String,
        /// Bytes that came.
        is: u64,
        /// Bytes that were told.
        told: u64,
    },
    /// A manifest is larger than any.
    #[error("its manifest has {0} bytes, too many")]
    TooLong(usize),
    /// A manifest is not one.
    #[error("its manifest is not valid JSON")]
    Manifest(#[source] serde_json::Error),
    /// A file of logins can't be read.
    #[error("cannot read {}", path.display())]
    Logins {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        cause: io::Error,
    },
    /// A file of logins is none.
    #[error("cannot use {}", path.display())]
    LoginsFormat {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: serde_json::Error,
    },
    /// A login is not one.
    #[error("cannot use {}: the login for {key} is malformed", path.display())]
    Login {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        key: String,
    },
}

impl Error {
    /// An [`Error::Io`] in the shape that `map_err` takes.
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Io { doing, cause }
    }

    /// An [`Error::From`] in the same shape.
    pub(crate) fn from_what(from: impl Into<String>) -> impl FnOnce(oneroot_tree::Error) -> Self {
        move |cause| Self::From { from: from.into(), cause }
    }
}

/// What becomes of a source.
pub type Result<T, E = Error> = std::result::Result<T, E>;
