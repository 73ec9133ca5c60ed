//! Replies as bytes. Written by hand, for order matters here: what the client must have has its room first, what does not
//! fit is left out, and option 82 is the relay's own bytes, last (RFC 3046 §2.2). Options are never spread over `sname`
//! and `file` (option 52): the kernel, klibc and shim would not find them.

use std::net::Ipv4Addr;

use crate::wire::message::Request;

/// BOOTP's length; shorter replies are dropped by some ROMs and relays (RFC 1542 §2.1).
const PADDED: usize = 300;
/// A reply to a client that says nothing of its size: 576 bytes of IP datagram (RFC 2131 §2).
const USUAL: u16 = 576;
/// IP and UDP headers, which option 57 counts.
const HEADERS: u16 = 28;
/// Longest `file` with its NUL.
pub(crate) const FILE: usize = 128;

/// Options with their values, the most needed first. All values lie in one piece of memory: a reply has some twenty.
#[derive(Debug, Default)]
pub(crate) struct Options {
    values: Vec<u8>,
    /// Codes, and where the value of each ends.
    ends: Vec<(u8, usize)>,
}

impl Options {
    pub(crate) fn with_room() -> Self {
        Self { values: Vec::with_capacity(192), ends: Vec::with_capacity(24) }
    }

    /// Adds one; where it has no value, it is not sent.
    pub(crate) fn push(&mut self, code: u8, value: impl AsRef<[u8]>) {
        self.values.extend_from_slice(value.as_ref());
        self.ends.push((code, self.values.len()));
    }

    /// Adds one that is a list of addresses.
    pub(crate) fn addresses<'a>(&mut self, code: u8, addresses: impl IntoIterator<Item = &'a Ipv4Addr>) {
        addresses.into_iter().for_each(|address| self.values.extend_from_slice(&address.octets()));
        self.ends.push((code, self.values.len()));
    }

    fn each(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let mut from = 0;
        self.ends.iter().map(move |(code, end)| {
            let value = self.values.get(from..*end).unwrap_or_default();
            from = *end;
            (*code, value)
        })
    }
}

/// Option 67. Sent last, for old firmware writes a NUL behind it.
pub(crate) const BOOT_FILE: u8 = 67;

/// Kinds of reply (RFC 2132 §9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Offer = 2,
    Ack = 5,
    Nak = 6,
}

/// What a reply says.
pub(crate) struct Answer<'a> {
    pub(crate) request: &'a Request,
    pub(crate) flags: u16,
    pub(crate) ciaddr: Ipv4Addr,
    pub(crate) yiaddr: Ipv4Addr,
    pub(crate) siaddr: Ipv4Addr,
    /// Left empty if it does not fit.
    pub(crate) file: &'a str,
    /// The most needed first.
    pub(crate) options: Options,
    /// Largest IP datagram of the link.
    pub(crate) mtu: u16,
}

impl Answer<'_> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let request = self.request;
        // Our hops are none: the ROM of one Raspberry Pi drops what says otherwise.
        let mut bytes = Vec::with_capacity(usize::from(USUAL));
        bytes.extend([2, 1, 6, 0]);
        bytes.extend(request.xid.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(self.flags.to_be_bytes());
        for address in [self.ciaddr, self.yiaddr, self.siaddr, request.giaddr] {
            bytes.extend(address.octets());
        }
        bytes.extend(request.mac.bytes());
        bytes.resize(108, 0);
        if self.file.len() < FILE {
            bytes.extend(self.file.as_bytes());
        }
        bytes.resize(236, 0);
        bytes.extend([99, 130, 83, 99]);
        self.options(&mut bytes);
        bytes
    }

    fn options(&self, bytes: &mut Vec<u8>) {
        let context = self.request.max_size.unwrap_or(USUAL).clamp(USUAL, self.mtu.max(USUAL));
        let limit = usize::from(context - HEADERS);
        let relay = &self.request.relay_info;
        // The relay's own bytes and the end mark have their room before anything else.
        let reserved = bytes.len() + 1 + if relay.is_empty() { 0 } else { 2 + relay.len() };
        let (mut room, mut last) = (limit.saturating_sub(reserved), None);
        for (code, value) in self.options.each() {
            let needed = 2 + value.len();
            if !(3..=2 + usize::from(u8::MAX)).contains(&needed) || needed > room {
                continue;
            }
            room -= needed;
            if code == BOOT_FILE {
                last = Some(value);
            } else {
                put(bytes, code, value);
            }
        }
        if let Some(file) = last {
            put(bytes, BOOT_FILE, file);
        }
        if !relay.is_empty() {
            put(bytes, 82, relay);
        }
        bytes.push(255);
        if bytes.len() < PADDED {
            bytes.resize(PADDED, 0);
        }
    }
}

fn put(bytes: &mut Vec<u8>, code: u8, value: &[u8]) {
    if let Ok(length) = u8::try_from(value.len()) {
        bytes.extend([code, length]);
        bytes.extend(value);
    }
}
