//! Read-only TFTP (RFC 1350, 2347, 2348, 2349, 7440): bytes in, bytes out.
//!
//! The crate opens no socket, reads no clock and touches no file. A shell owns port 69 and one port for each transfer.
//! It passes what arrives to [`Engine::request`] and [`Engine::packet`], wakes the engine with [`Engine::expire`] at
//! [`Engine::next_deadline`], and does what the returned [`Step`]s say. Which file a name stands for, and for whom, is
//! the shell's to decide: it is asked by [`Step::Open`] and answers with [`Engine::opened`] or [`Engine::refused`].
//! A file that is not in memory is asked for by [`Step::Fetch`], and no other transfer waits for it.
//!
//! Bottom to top: `name` and `packet` turn wire bytes into checked requests, `limits` holds every bound with its
//! reason, `datagrams` is what goes out at a time, `session` is one transfer, and `engine` is all of them: ports, caps,
//! duplicates and eviction.

mod counters;
mod datagrams;
mod engine;
mod error;
mod limits;
mod name;
mod packet;
mod session;
mod types;

pub use counters::Counters;
pub use datagrams::Datagrams;
pub use engine::Engine;
pub use error::TftpError;
pub use limits::{
    DUPLICATE_WITHIN, EXPIRE_BATCH, FIRST_INTERVAL, LONGEST_INTERVAL, Limits, MAX_BLKSIZE, MAX_PER_ADDRESS,
    MAX_REQUEST, MAX_RESENDS, MAX_RESENDS_UNPROVEN, MAX_SESSIONS, MAX_WINDOWSIZE, MTU, OPEN_WITHIN,
};
pub use types::{Content, Now, Outcome, Peer, SessionId, Step};
