//! Why a request is refused, with the code (RFC 1350 appendix) and the text that go into the ERROR packet.
//!
//! A text is fixed for its cause: it can tell neither a path nor whether something exists outside of what is served.

/// Why the client gets an ERROR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TftpError {
    /// The contents could not be read, or not to their end.
    #[error("file can't be read now; ask again")]
    Unreadable,
    /// Nothing is served under this name. To be said at once: boot loaders probe dozens of names.
    #[error("file not found")]
    NotFound,
    /// The name was empty, or garbage from its first byte on.
    #[error("request names no file; set the boot file name")]
    NoName,
    /// The policy does not let this client have the file.
    #[error("access denied")]
    Access,
    /// A component `.` or `..`, or bytes that are not UTF-8.
    #[error("name refused; use a plain path without . and ..")]
    BadName,
    /// The name and the mode do not end within [`crate::MAX_REQUEST`] bytes.
    #[error("request too long; use a shorter name")]
    TooLong,
    /// A write request.
    #[error("server is read-only; nothing can be written")]
    ReadOnly,
    /// The request has no terminated name and mode.
    #[error("request is malformed; send a name and a mode")]
    Malformed,
    /// A mode other than octet and netascii.
    #[error("mode not served; use octet")]
    BadMode,
    /// A packet for a transfer that belongs to another address or port.
    #[error("unknown transfer; send a new request")]
    UnknownTransfer,
}

impl TftpError {
    /// The error code on the wire.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Unreadable => 0,
            Self::NotFound | Self::NoName => 1,
            Self::Access | Self::BadName | Self::TooLong | Self::ReadOnly => 2,
            Self::Malformed | Self::BadMode => 4,
            Self::UnknownTransfer => 5,
        }
    }
}
