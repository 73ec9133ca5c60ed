//! What a DHCP server tells a client on port 68, as somebody reads it who is neither: who says what, and to whom (RFC 2131
//! table 3). Anybody can say such a thing, so nothing may depend on it.

use std::net::Ipv4Addr;

use crate::wire::message::{self as parse, MOST_OPTIONS, REPLY};
use oneroot_ids::Mac;

/// Kinds of reply (RFC 2132 §9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyType {
    /// OFFER.
    Offer,
    /// ACK.
    Ack,
    /// NAK.
    Nak,
}

/// A reply that was meant for somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overheard {
    /// What it says.
    pub kind: ReplyType,
    /// The server. None where it does not say so itself (option 54), or a relay stands for it (RFC 5107).
    pub server: Option<Ipv4Addr>,
    /// The client.
    pub mac: Mac,
    /// The address that the client is offered or given; none in a NAK, in an answer to an INFORM, and from a server that says
    /// only what to boot.
    pub address: Option<Ipv4Addr>,
}

impl Overheard {
    /// Reads a datagram that came to port 68; `None` for what is no reply.
    #[must_use]
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let (mac, message) = parse::head(datagram, REPLY).ok()?;
        let (mut kind, mut server) = (None, None);
        for option in message.opts().take(MOST_OPTIONS) {
            match (u8::from(option.code()), option.data()) {
                (53, data) => kind = parse::one(data),
                (54, data) => server = parse::network(data),
                _ => {}
            }
        }
        let kind = match kind? {
            2 => ReplyType::Offer,
            5 => ReplyType::Ack,
            6 => ReplyType::Nak,
            _ => return None,
        };
        let told = |address: Ipv4Addr| Some(address).filter(|address| !address.is_unspecified());
        let server = server.filter(|server| told(message.giaddr()) != Some(*server));
        let address = told(message.yiaddr()).filter(|_| kind != ReplyType::Nak);
        Some(Self { kind, server, mac, address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reply(kind: u8, giaddr: [u8; 4]) -> Vec<u8> {
        let mut bytes = vec![2, 1, 6, 0];
        bytes.resize(16, 0);
        bytes.extend([10, 0, 0, 7]);
        bytes.resize(24, 0);
        bytes.extend(giaddr);
        bytes.extend([2, 0, 0, 0, 0, 1]);
        bytes.resize(236, 0);
        bytes.extend([99, 130, 83, 99, 54, 4, 10, 0, 0, 9, 53, 1, kind, 255]);
        bytes
    }

    #[test]
    fn a_reply_says_who_tells_whom_what() {
        let mac = Mac::new([2, 0, 0, 0, 0, 1]).unwrap();
        let [server, address] = [9, 7].map(|last| Some(Ipv4Addr::new(10, 0, 0, last)));
        let heard = |kind| Overheard::parse(&reply(kind, [0; 4]));
        assert_eq!(heard(2), Some(Overheard { kind: ReplyType::Offer, server, mac, address }));
        assert_eq!(heard(5), Some(Overheard { kind: ReplyType::Ack, server, mac, address }));
        assert_eq!(heard(6), Some(Overheard { kind: ReplyType::Nak, server, mac, address: None }));
        // What clients say, and what is none of DHCP's.
        assert!([0, 1, 3, 4, 7, 8, 9].into_iter().all(|kind| heard(kind).is_none()));
    }

    #[test]
    fn a_relay_that_stands_for_its_server_is_no_server() {
        let server = |giaddr| Overheard::parse(&reply(2, giaddr)).unwrap().server;
        assert_eq!(server([10, 0, 0, 9]), None);
        assert_eq!(server([10, 0, 0, 8]), Some(Ipv4Addr::new(10, 0, 0, 9)));
    }

    #[test]
    fn a_part_of_a_reply_is_none() {
        let whole = reply(2, [0; 4]);
        // Without the end mark it is whole all the same.
        assert!((0..whole.len() - 1).all(|end| Overheard::parse(&whole[..end]).is_none()));
        for (at, other) in [(0, 1), (1, 6), (2, 8), (28, 0xff), (236, 0)] {
            let mut bad = whole.clone();
            bad[at] = other;
            assert_eq!(Overheard::parse(&bad), None, "byte {at} is {other}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(at in 0usize..260, bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut whole = reply(2, [0; 4]);
            whole.truncate(at);
            whole.extend(bytes);
            let _ = Overheard::parse(&whole);
        }
    }
}
