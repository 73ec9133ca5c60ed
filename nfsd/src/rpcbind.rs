//! The client's side of the portmapper, version 2 (RFC 1833 §3): telling a host's rpcbind where our programs are.
//!
//! Bytes alone. rpcbind takes SET and UNSET only from loopback, and believes that it is root who asks when the source
//! port is below 1024; that is the shell's to see to.

use crate::portmap::{Mapping, PROGRAM, VERSION};
use crate::xdr::{Malformed, Reader, Writer};

/// Longest answer that is looked at: a reply's head and one word.
pub const LONGEST_ANSWER: usize = 512;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Enter a mapping. Refused when the program and version have one for that protocol already.
    Set = 1,
    /// Take all mappings of a program and version out, whatever their protocol.
    Unset = 2,
    /// The port of a mapping.
    GetPort = 3,
}

/// Why an answer is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// It belongs to another call, or is no RPC reply at all.
    #[error("not the answer to this call; wait for the next datagram")]
    NotOurs,
    /// The portmapper does not do this, or not for us.
    #[error("the portmapper refused the call; is it rpcbind?")]
    Refused,
}

impl From<Malformed> for NoAnswer {
    fn from(_: Malformed) -> Self {
        Self::NotOurs
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

/// Reads an answer: 1 or 0 for SET and UNSET, a port or 0 for GETPORT.
///
/// # Errors
/// [`NoAnswer`].
pub fn answer(xid: u32, datagram: &[u8]) -> Result<u32, NoAnswer> {
    let mut reply = Reader::new(datagram);
    if (reply.u32()?, reply.u32()?) != (xid, 1) {
        return Err(NoAnswer::NotOurs);
    }
    if reply.u32()? != 0 {
        return Err(NoAnswer::Refused);
    }
    let _verifier = (reply.u32()?, reply.opaque()?);
    match reply.u32()? {
        0 => Ok(reply.u32()?),
        _ => Err(NoAnswer::Refused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::portmap::{MappingProtocol, PortTable, Ports};
    use crate::replies::Replies;

    fn nfs() -> Mapping {
        Mapping { program: 100_003, version: 3, protocol: MappingProtocol::Tcp, port: 2049 }
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn a_call_is_one_that_our_own_portmapper_understands() {
        let bytes = call(7, Question::GetPort, &nfs());
        assert_eq!(bytes, words(&[7, 0, 2, 100_000, 2, 3, 0, 0, 0, 0, 100_003, 3, 6, 0]));
        let table = PortTable::new(Ports { nfs: 2049, mount: 2049, portmap_tcp: None, portmap_udp: None });
        let mut out = Replies::new();
        crate::portmap::answer(&table, 3, Reader::new(&bytes[40..]), &mut out).unwrap();
        assert_eq!(call(7, Question::Set, &nfs())[52..], words(&[2049]));
    }

    #[test]
    fn an_answer_is_read_and_what_is_none_is_told_apart() {
        assert_eq!(answer(7, &words(&[7, 1, 0, 0, 0, 0, 2049])), Ok(2049));
        assert_eq!(answer(7, &words(&[7, 1, 0, 1, 4, 9, 0, 1])), Ok(1), "a verifier is skipped");
        for other in [&words(&[8, 1, 0, 0, 0, 0, 1])[..], &words(&[7, 0, 0, 0, 0, 0, 1]), b"", b"abc"] {
            assert_eq!(answer(7, other), Err(NoAnswer::NotOurs));
        }
        assert_eq!(answer(7, &words(&[7, 1, 0, 0, 0, 0])), Err(NoAnswer::NotOurs), "cut short");
        assert_eq!(answer(7, &words(&[7, 1, 1, 1, 5])), Err(NoAnswer::Refused), "denied");
        assert_eq!(answer(7, &words(&[7, 1, 0, 0, 0, 3])), Err(NoAnswer::Refused), "no such procedure");
    }
}
