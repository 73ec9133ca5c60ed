//! rtnetlink's framing (netlink(7)), the little of it that init needs: one question, and all that is answered.
//!
//! The server's own client of rtnetlink (`src/net/netlink.rs`) stands on crates of several hundred kilobytes, which every machine
//! would load.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recvfrom, sendto, socket_with,
};

use super::Result;

/// The kernel cuts what it says into pieces of at most 32 KiB.
const PIECE: usize = 32 << 10;
/// Pieces of one answer.
const MOST: usize = 1024;
/// A message begins at a multiple of this, and so does an attribute.
const ALIGNED: usize = 4;
const HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;
const NUMBER: u32 = 1;
/// Flags of a question.
const REQUEST: u16 = 0x1;
const MANY: u16 = 0x2;
const ACKNOWLEDGE: u16 = 0x4;
const DUMP: u16 = 0x300;
const REPLACE: u16 = 0x100;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
/// Messages of netlink's own.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Bits of an attribute's type that are not its type: nested, and in the network's order.
const NO_TYPE: u16 = 0xc000;

/// A question.
pub(super) struct Request(Vec<u8>);

impl Request {
    fn with(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((REQUEST | flags).to_ne_bytes());
        bytes.extend(NUMBER.to_ne_bytes());
        bytes.extend([0; 4]);
        Self(bytes)
    }

    /// Changes something.
    pub(super) fn new(kind: u16) -> Self {
        Self::with(kind, ACKNOWLEDGE)
    }

    /// Makes something that is not there.
    pub(super) fn create(kind: u16) -> Self {
        Self::with(kind, ACKNOWLEDGE | CREATE | EXCLUSIVE)
    }

    /// Makes something, whether it is there or not.
    pub(super) fn replace(kind: u16) -> Self {
        Self::with(kind, ACKNOWLEDGE | CREATE | REPLACE)
    }

    /// Asks for all there are.
    pub(super) fn dump(kind: u16) -> Self {
        Self::with(kind, DUMP)
    }

    /// Attributes that stand in another.
    pub(super) fn nested() -> Self {
        Self(Vec::new())
    }

    /// The family's own header.
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub(super) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(ATTRIBUTE_HEADER + value.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(ALIGNED), 0);
        self
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// With its length in front.
    fn whole(&self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(self.0.iter().skip(4));
        bytes
    }
}

/// A message of the kernel's.
pub(super) struct Message {
    pub(super) kind: u16,
    /// All that follows its header.
    pub(super) payload: Vec<u8>,
}

impl Message {
    /// The value of an attribute, which stand behind a family's header of so many bytes.
    pub(super) fn attribute(&self, header: usize, kind: u16) -> Option<&[u8]> {
        find(self.payload.get(header..)?, kind)
    }
}

/// The value of an attribute among others.
pub(super) fn find(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    let mut rest = attributes;
    loop {
        let [l0, l1, k0, k1] = *rest.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = rest.get(ATTRIBUTE_HEADER..length)?;
        if u16::from_ne_bytes([k0, k1]) & !NO_TYPE == kind {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(ALIGNED)..)?;
    }
}

/// A socket for one question.
pub(super) struct Socket(OwnedFd);

impl Socket {
    pub(super) fn open() -> Result<Self> {
        // Protocol 0 is NETLINK_ROUTE.
        socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None).map(Self)
    }

    /// What is answered: nothing, or all messages of a dump. The kernel answers before the question is sent, so nobody waits.
    pub(super) fn ask(self, request: &Request) -> Result<Vec<Message>> {
        sendto(&self.0, &request.whole(), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let mut piece = vec![0; PIECE];
        let mut answer = Vec::new();
        for _ in 0..MOST {
            let (_, length, _) = recvfrom(&self.0, &mut *piece, RecvFlags::DONTWAIT)?;
            if take(piece.get(..length).unwrap_or_default(), &mut answer)? {
                return Ok(answer);
            }
        }
        Err(Errno::MSGSIZE)
    }
}

/// Adds the messages of one datagram; whether the answer ends with them.
fn take(datagram: &[u8], answer: &mut Vec<Message>) -> Result<bool> {
    let mut rest = datagram;
    while let Some(header) = rest.first_chunk::<HEADER>() {
        let [l0, l1, l2, l3, k0, k1, f0, f1, ..] = *header;
        let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        let Some(payload) = rest.get(HEADER..length) else { return Err(Errno::BADMSG) };
        match u16::from_ne_bytes([k0, k1]) {
            DONE => return Ok(true),
            ERROR => return refused(payload).map(|()| true),
            kind => answer.push(Message { kind, payload: payload.to_vec() }),
        }
        if u16::from_ne_bytes([f0, f1]) & MANY == 0 {
            return Ok(true);
        }
        rest = rest.get(length.next_multiple_of(ALIGNED)..).unwrap_or_default();
    }
    Ok(false)
}

/// `struct nlmsgerr` begins with an error number below zero, or zero for an acknowledgement.
fn refused(payload: &[u8]) -> Result<()> {
    match payload.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes)).checked_neg() {
        Some(0) => Ok(()),
        Some(number) if number > 0 => Err(Errno::from_raw_os_error(number)),
        _ => Err(Errno::BADMSG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_cut_short_or_lies_of_its_lengths_is_no_answer_and_no_harm() {
        let message = Request::with(16, MANY).bytes(&[0; 16]).attribute(3, b"eth0\0").whole();
        let mut answer = Vec::new();
        assert_eq!(take(&message, &mut answer), Ok(false));
        assert_eq!(answer.first().and_then(|link| link.attribute(16, 3)), Some(&b"eth0\0"[..]));
        assert_eq!(answer.first().and_then(|link| link.attribute(16, 4)), None);
        for length in 0..message.len() {
            let mut bytes = message.clone();
            bytes.truncate(length);
            assert!(take(&bytes, &mut Vec::new()).is_err() || length < HEADER);
        }
        assert_eq!(find(&[0, 0, 3, 0], 3), None);
        assert_eq!(find(&[3, 0, 3, 0, 0, 0, 0, 0], 3), None);
        assert_eq!(find(&[4, 0, 1, 0], 3), None);
    }
}
