//! Any datagram, to either port, and any IP packet: what is read of it stands in it.
//!
//! Input: the bytes. What is a request is no reply, so two servers never answer each other.

use std::net::{Ipv4Addr, SocketAddrV4};

use oneroot_dhcp::frame::{self, Envelope};
use oneroot_dhcp::{Overheard, Request};
use oneroot_testkit::Tape;

use super::packets::{HEADER, message, option, plain, some_option};

pub fn run(data: &[u8]) {
    let request = Request::parse(data).ok();
    let reply = Overheard::parse(data);
    assert!(request.is_none() || reply.is_none(), "a request and a reply at once");
    if let Some(request) = &request {
        judge(data, request);
    }
    if let Some(reply) = reply {
        assert_eq!((data[0], &data[28..34]), (2, reply.mac.bytes().as_slice()));
    }
    frames(data);
}

fn judge(data: &[u8], request: &Request) {
    assert!((HEADER..=1500).contains(&data.len()));
    let plain = plain(data).unwrap();
    assert_eq!((plain.op, plain.mac), (1, request.mac.bytes().as_slice()));
    assert_eq!(plain.xid, request.xid.to_be_bytes());
    assert_eq!(data[24..28], request.giaddr.octets());
    // Where option 52 says that fields have options too, later ones count.
    let overloaded = plain.options.iter().any(|(code, _)| *code == 52);
    if plain.whole && !overloaded && plain.options.len() <= 100 {
        for (code, read) in [(60, &request.vendor_class), (61, &request.client_id), (97, &request.guid)] {
            let twice = plain.options.iter().filter(|(its, _)| *its == code).count() > 1;
            if !twice {
                assert_eq!(plain.once(code).unwrap_or_default(), read, "option {code}");
            }
        }
        if let Some([a, b, c, d]) = plain.once(50) {
            assert_eq!(request.requested, Some(Ipv4Addr::new(*a, *b, *c, *d)));
        }
    }
    let held =
        [&request.wanted, &request.vendor_class, &request.client_id, &request.user_class, &request.guid];
    let bytes: usize = held.iter().map(|value| value.len()).sum();
    assert!(bytes + request.relay_info.len() <= data.len(), "more is kept than was sent");
    assert!(request.relay_info.len() <= 255);
}

/// Of whatever packet a payload is read: sent in a frame of our own it is read again.
fn frames(data: &[u8]) {
    let Some(payload) = frame::payload(data) else { return };
    assert!(payload.len() + 28 <= data.len());
    let envelope = Envelope {
        from_mac: [2; 6],
        to_mac: [0xff; 6],
        from: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 67),
        to: SocketAddrV4::new(Ipv4Addr::BROADCAST, 68),
    };
    let sent = frame::udp(&envelope, 1, payload).unwrap();
    assert_eq!(frame::payload(&sent[14..]), Some(payload));
}

/// Requests and replies of every kind, with each option that is read; and packets with headers of IP and UDP.
pub fn seeds() -> Vec<Vec<u8>> {
    let mac = [2, 0, 0, 0, 0, 1];
    let mut found = vec![];
    for kind in 0..9 {
        for choice in 0..8 {
            let bytes = [choice, 1, 7, 3, 9, 1, 2, 4, 5, 6];
            let more = some_option(&mut Tape::new(&bytes));
            found.push(message(mac, [10, 0, 0, 9], [0; 4], &[option(53, &[kind]), more, vec![255]].concat()));
        }
        let mut reply =
            message(mac, [0; 4], [10, 0, 0, 2], &[option(54, &[10, 0, 0, 1]), option(53, &[kind])].concat());
        reply[0] = 2;
        found.push(reply);
    }
    // Options in `file` and `sname` (option 52).
    let mut overloaded = message(mac, [0; 4], [0; 4], &[option(52, &[3]), vec![255]].concat());
    overloaded[44..47].copy_from_slice(&[53, 1, 1]);
    overloaded[108..114].copy_from_slice(&[50, 4, 10, 0, 0, 9]);
    found.push(overloaded);
    let envelope = Envelope {
        from_mac: [2; 6],
        to_mac: [2; 6],
        from: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 9), 68),
        to: SocketAddrV4::new(Ipv4Addr::BROADCAST, 67),
    };
    for length in [0, 1, 300] {
        found.push(frame::udp(&envelope, 7, &vec![b'x'; length]).unwrap().split_off(14));
    }
    found
}
