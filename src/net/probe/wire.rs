//! The bytes of a probe: ARP (RFC 826) and ICMP echo (RFC 792).

use std::net::Ipv4Addr;

/// Ethernet, IPv4, and the lengths of their addresses.
const ARP_HEAD: [u8; 6] = [0, 1, 8, 0, 6, 4];
const ARP_REQUEST: [u8; 2] = [0, 1];
/// Bytes of an ARP message for IPv4 on Ethernet.
const ARP: usize = 28;
/// Where an ARP message has its sender's address, and an IPv4 header its source.
pub const ARP_SENDER: u32 = 14;
pub const IP_SOURCE: u32 = 12;
/// Types of ICMP messages.
const ECHO_REPLY: u8 = 0;
const ECHO: u8 = 8;

/// "Who has `asked`?", from a MAC and an address; from 0.0.0.0 it changes nobody's table (RFC 5227 §1.1).
pub fn arp_request(mac: [u8; 6], from: Option<Ipv4Addr>, asked: Ipv4Addr) -> Vec<u8> {
    let mut message = Vec::with_capacity(ARP);
    message.extend(ARP_HEAD);
    message.extend(ARP_REQUEST);
    message.extend(mac);
    message.extend(from.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
    message.extend([0; 6]);
    message.extend(asked.octets());
    message
}

/// Who sent an ARP message. A request shows its sender as well as a reply does.
pub fn arp_sender(message: &[u8]) -> Option<([u8; 6], Ipv4Addr)> {
    let (head, rest) = message.get(..ARP)?.split_at_checked(8)?;
    if !head.starts_with(&ARP_HEAD) || !matches!(head.get(6..)?, [0, 1 | 2]) {
        return None;
    }
    let (mac, rest) = rest.split_first_chunk::<6>()?;
    Some((*mac, (*rest.first_chunk::<4>()?).into()))
}

/// An echo request that says something nobody can guess.
pub fn echo_request(said: &[u8; 16]) -> Vec<u8> {
    let mut message = vec![ECHO, 0, 0, 0, 0, 0, 0, 1];
    message.extend(said);
    let sum = checksum(&message);
    if let Some(field) = message.get_mut(2..4) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
    message
}

/// Who answers, and what was said; from a whole IPv4 packet, as raw sockets give them.
pub fn echo_reply(packet: &[u8]) -> Option<(Ipv4Addr, [u8; 16])> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let source = packet.get(12..16)?.first_chunk::<4>()?;
    let message = packet.get(header..)?;
    let said = message.get(8..24)?.first_chunk::<16>()?;
    (*message.first()? == ECHO_REPLY).then_some(((*source).into(), *said))
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_who_sent_it() {
        let mac = [0x52, 0x54, 0, 0, 0, 0x0a];
        let from = Ipv4Addr::new(192, 168, 77, 10);
        let request = arp_request(mac, Some(from), Ipv4Addr::new(192, 168, 77, 1));
        assert_eq!(arp_sender(&request), Some((mac, from)));
        for end in 0..request.len() {
            assert_eq!(arp_sender(&request[..end]), None, "{end}");
        }
        for (at, other) in [(0, 1), (1, 6), (2, 9), (4, 8), (5, 16), (7, 3), (7, 8)] {
            let mut bad = request.clone();
            bad[at] = other;
            assert_eq!(arp_sender(&bad), None, "byte {at} is {other}");
        }
    }

    #[test]
    fn an_echo_is_known_by_what_it_says() {
        let said = [7; 16];
        let request = echo_request(&said);
        assert_eq!(checksum(&request), 0, "a message with its checksum sums up to nothing");
        let mut packet = vec![0x45; 20];
        packet[12..16].copy_from_slice(&[10, 0, 0, 9]);
        packet.extend(&request);
        assert_eq!(echo_reply(&packet), None, "a request is no reply");
        packet[20] = ECHO_REPLY;
        assert_eq!(echo_reply(&packet), Some((Ipv4Addr::new(10, 0, 0, 9), said)));
        for end in 0..packet.len() {
            assert_eq!(echo_reply(&packet[..end]), None, "{end}");
        }
    }
}
