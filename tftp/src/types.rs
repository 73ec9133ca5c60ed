//! What passes between the engine and its shell: time, peers, contents, steps and outcomes.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::{Datagrams, TftpError};

/// Milliseconds of a clock that never goes back. Where it starts does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Now(pub u64);

impl Now {
    pub(crate) fn after(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }
}

/// Who asks, and which of the server's addresses was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The client's address and port: its transfer identifier (RFC 1350 §4).
    pub remote: SocketAddr,
    /// The address that the request was sent to. Every answer must come from it, or clients drop the answer.
    pub local: IpAddr,
}

/// Names one transfer for as long as the engine lives; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub(crate) u64);

impl SessionId {
    /// A number of its own, for whoever keeps nothing but numbers: an event queue of the kernel.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

/// A file's bytes, handed in when a request is granted.
///
/// The engine keeps no block: what must be sent again is read again. So the bytes may not change while it is held.
#[allow(clippy::len_without_is_empty, reason = "a length on the wire, not a collection")]
pub trait Content: Send {
    /// Size in bytes. Asked once, at the start.
    fn len(&self) -> u64;

    /// Reads at `offset` into `buf` and returns how many bytes came; fewer than asked is fine.
    ///
    /// # Errors
    /// `WouldBlock` says that these bytes are not in memory: the engine sends what it has and asks for the rest by
    /// [`Step::Fetch`]. Any other error ends the transfer with an ERROR to the client. So does `Ok(0)` before
    /// [`Content::len`] is reached: a file that shrank is never filled up with zeros.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
}

/// What the shell must do next, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A new transfer. Open a port for it on `peer.local`, look the name up, and answer with
    /// [`crate::Engine::opened`] or [`crate::Engine::refused`].
    Open {
        /// The transfer.
        session: SessionId,
        /// The client, and the address of ours that it wrote to.
        peer: Peer,
        /// A relative path with `/` between its components, none of them empty, `.` or `..`.
        name: String,
    },
    /// Send from the transfer's own port to its peer: all that one event makes this transfer send.
    Send {
        /// The transfer.
        session: SessionId,
        /// What goes out, in this order.
        datagrams: Datagrams,
    },
    /// The contents from `offset` on are not in memory. Read them where that holds up nobody else, and answer with
    /// [`crate::Engine::fetched`]. A transfer asks for one part at a time.
    Fetch {
        /// The transfer.
        session: SessionId,
        /// Where the block begins that must be sent next.
        offset: u64,
    },
    /// An ERROR that belongs to no transfer. After [`crate::Engine::request`] it goes out from port 69, after
    /// [`crate::Engine::packet`] from the port that the stranger wrote to.
    Stray {
        /// Address and port of whoever sent what is answered.
        to: SocketAddr,
        /// One datagram.
        bytes: Vec<u8>,
    },
    /// The transfer is over. Close its port; a late packet for it is harmless.
    Ended {
        /// The transfer.
        session: SessionId,
        /// Whether the client has all of the file, or what ended it before.
        outcome: Outcome,
    },
}

/// How a transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The last block was acknowledged; or it was sent, often enough, to a client that had acknowledged before. The
    /// last ACK may be lost and its sender gone (RFC 1350 §6), so silence at the very end is no failure.
    Completed {
        /// Size of the file.
        bytes: u64,
    },
    /// The client asked for the size, got it, and stopped with an ERROR. UEFI does so before each fetch.
    Probed,
    /// The client sent an ERROR.
    ClientError {
        /// Its code (RFC 1350 appendix; 8 is from RFC 2347).
        code: u16,
    },
    /// The shell refused the request.
    Refused(TftpError),
    /// The client fell silent before the last window.
    TimedOut {
        /// How many bytes it had acknowledged.
        bytes: u64,
    },
    /// The contents could not be read, or were shorter than they had said.
    ReadFailed,
    /// It had never been acknowledged and made room for another request.
    Evicted,
    /// The same client port asked for another file.
    Replaced,
    /// The shell answered neither [`crate::Engine::opened`] nor [`crate::Engine::refused`] in time.
    NeverOpened,
}
