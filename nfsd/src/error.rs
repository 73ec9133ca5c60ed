//! What can go wrong outside a reply: a byte stream that can't be followed any more, or keys that can't be
//! held.
//!
//! A call that is merely wrong is not an error of this crate: it gets an RPC or NFS status and the connection
//! lives.

/// Why the shell must act. Every cause but [`Error::KeyIdTaken`] means: close the connection (a datagram is
/// dropped).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A record mark announced, together with what came before, more than [`crate::limits::MAX_RECORD`] bytes. Either
    /// the peer is hostile or the stream is out of step; nothing after it can be trusted.
    #[error("record exceeds {} bytes; close the connection", crate::limits::MAX_RECORD)]
    RecordTooLong,
    /// More than [`crate::limits::MAX_FRAGMENTS`] fragments without a last one.
    #[error("record has more than {} fragments; close the connection", crate::limits::MAX_FRAGMENTS)]
    TooManyFragments,
    /// A whole record of no bytes: no client sends one, and it has no xid to answer to.
    #[error("record is empty; close the connection")]
    EmptyRecord,
    /// The message ended inside the RPC call header, so it may not even have an xid to answer to.
    #[error("call header is cut short; close the connection")]
    ShortHeader,
    /// Two keys of a [`crate::Keyring`] were given the same id; a handle could not say which one sealed it.
    #[error("key id {0} is already on the ring; give each handle key an id of its own")]
    KeyIdTaken(u8),
}
