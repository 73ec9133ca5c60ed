//! The client's side of the portmapper, version 2 (RFC 1833 §3.2): telling a host's rpcbind where our programs are.
//!
//! Bytes alone. rpcbind takes SET and UNSET only from loopback, and believes that it is root who asks when the source
//! port is below 1024; that is the shell's to see to. It never looks at the credential. To root it lets go of anybody's
//! entry, so the shell must also see to it that an entry is its own.

use crate::portmap::{Mapping, PROGRAM, PortTable, VERSION};
use crate::xdr::{Malformed, Reader, Writer};
use crate::{mount, nfs3};

/// Longest answer that is looked at: a reply's head, the longest verifier, and a few words.
pub const LONGEST_ANSWER: usize = 512;

/// The longest verifier body (RFC 5531 §8.2).
const MAX_VERIFIER: usize = 400;

/// A call to another portmapper, by its procedure number (RFC 1833 §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Enter a mapping. Refused when the program and version have another port for that protocol already. Answered by
    /// [`done`].
    Set = 1,
    /// Take all mappings of a program and version out, whatever their protocol and port. Answered by [`done`].
    Unset = 2,
    /// The port of a mapping. Answered by [`port`].
    GetPort = 3,
}

/// Why an answer is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// It belongs to another call, or is no RPC reply at all.
    #[error("not the answer to this call; wait for the next datagram")]
    NotOurs,
    /// It ends early, goes on after its end, or has values that do not exist.
    #[error("the answer is malformed, so this is no portmapper; see `ss -lnp sport = :111`")]
    Malformed,
    /// Denied, by auth_stat: not from loopback, or the host's access lists forbid it.
    #[error("the portmapper refuses its own host (auth_stat {0}); allow 127.0.0.1 in /etc/hosts.allow")]
    Denied(u32),
    /// Denied for the version of RPC.
    #[error("the peer does not speak RPC version 2, so this is no portmapper; see `ss -lnp sport = :111`")]
    RpcMismatch,
    /// An RPC server without a portmapper.
    #[error("the peer is an RPC server but no portmapper; see `ss -lnp sport = :111`")]
    ProgUnavail,
    /// The versions that it serves instead.
    #[error("the portmapper serves versions {0} to {1} only; version 2 has to be enabled")]
    ProgMismatch(u32, u32),
    /// PROC_UNAVAIL, GARBAGE_ARGS or SYSTEM_ERR, by accept_stat.
    #[error("the portmapper can't carry this out (accept_stat {0}); see its log")]
    Failed(u32),
    /// A port above 65535.
    #[error("the portmapper names port {0}, which does not exist; restart it")]
    NoSuchPort(u32),
}

impl From<Malformed> for NoAnswer {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// What has to be registered where the portmapper is not ours, by program number: the table without the portmapper.
#[must_use]
pub fn registrations(table: &PortTable) -> Vec<Mapping> {
    let served = table.mappings().iter().filter(|mapping| mapping.program != PROGRAM);
    let mut all: Vec<Mapping> = served.copied().collect();
    all.sort_by_key(|mapping| mapping.program);
    all
}

/// What an admin calls a program of ours.
#[must_use]
pub fn name(program: u32) -> &'static str {
    match program {
        nfs3::PROGRAM => "NFS",
        mount::PROGRAM => "MOUNT",
        nfs3::acl::PROGRAM => "NFSACL",
        _ => "RPC",
    }
}

/// A call, ready for a datagram.
#[must_use]
pub fn call(xid: u32, question: Question, about: &Mapping) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(56);
    let mut out = Writer::new(&mut bytes);
    // CALL, RPC version 2; credential and verifier are AUTH_NONE.
    out.words([xid, 0, 2, PROGRAM, VERSION, question as u32, 0, 0, 0, 0]);
    let port = if question == Question::Set { u32::from(about.port) } else { 0 };
    out.words([about.program, about.version, about.protocol as u32, port]);
    bytes
}

/// Reads the answer to SET or UNSET: whether it was done.
///
/// # Errors
/// [`NoAnswer`].
pub fn done(xid: u32, datagram: &[u8]) -> Result<bool, NoAnswer> {
    match word(xid, datagram)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(NoAnswer::Malformed),
    }
}

/// Reads the answer to GETPORT; `None` where the program is not registered. rpcbind answers with the port of another
/// version when it does not have the one that it was asked for.
///
/// # Errors
/// [`NoAnswer`].
pub fn port(xid: u32, datagram: &[u8]) -> Result<Option<u16>, NoAnswer> {
    let word = word(xid, datagram)?;
    let port = u16::try_from(word).map_err(|_| NoAnswer::NoSuchPort(word))?;
    Ok((port != 0).then_some(port))
}

/// The one word that all three are answered with.
fn word(xid: u32, datagram: &[u8]) -> Result<u32, NoAnswer> {
    let mut reply = Reader::new(datagram);
    // Whose it is comes first: what is wrong with somebody else's is no concern of this call.
    let head = reply.u32().and_then(|of| Ok((of, reply.u32()?)));
    if head != Ok((xid, 1)) {
        return Err(NoAnswer::NotOurs);
    }
    match reply.u32()? {
        0 => {}
        1 => return Err(denial(reply)?),
        _ => return Err(NoAnswer::Malformed),
    }
    let _flavour = reply.u32()?;
    if reply.opaque()?.len() > MAX_VERIFIER {
        return Err(NoAnswer::Malformed);
    }
    match reply.u32()? {
        0 => {}
        1 => return Err(NoAnswer::ProgUnavail),
        2 => return Err(NoAnswer::ProgMismatch(reply.u32()?, reply.u32()?)),
        stat @ 3..=5 => return Err(NoAnswer::Failed(stat)),
        _ => return Err(NoAnswer::Malformed),
    }
    let word = reply.u32()?;
    reply.finish()?;
    Ok(word)
}

fn denial(mut reply: Reader<'_>) -> Result<NoAnswer, Malformed> {
    match reply.u32()? {
        0 => Ok(NoAnswer::RpcMismatch),
        1 => Ok(NoAnswer::Denied(reply.u32()?)),
        _ => Err(Malformed),
    }
}
