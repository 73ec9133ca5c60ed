//! Whole Ethernet frames around a DHCP reply, with checksums of our own: what a UDP socket leaves to the hardware is
//! missing on virtual links, and iPXE drops such a packet without a word.

use std::net::{Ipv4Addr, SocketAddrV4};

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const UDP: u8 = 17;
const IP_HEADER: u16 = 20;
const UDP_HEADER: u16 = 8;

/// Where an IPv4 header says that it is a part of a datagram: more of it follows, or it is not the first.
const PART: u16 = 0x3fff;

/// Source and destination of a frame.
#[derive(Debug, Clone, Copy)]
pub struct Envelope {
    /// The interface's hardware address.
    pub from_mac: [u8; 6],
    /// The receiver's, or broadcast.
    pub to_mac: [u8; 6],
    /// Server address and port 67.
    pub from: SocketAddrV4,
    /// Client address, or broadcast, and port 68.
    pub to: SocketAddrV4,
}

/// Ethernet (no VLAN), IPv4 (RFC 791, no options) and UDP (RFC 768) around a payload; `None` if it is too long for a
/// datagram. `id` is the IP identification.
#[must_use]
pub fn udp(envelope: &Envelope, id: u16, payload: &[u8]) -> Option<Vec<u8>> {
    let udp_length = u16::try_from(payload.len()).ok()?.checked_add(UDP_HEADER)?;
    let total = udp_length.checked_add(IP_HEADER)?;
    let mut ip = vec![0x45, 0];
    ip.extend(total.to_be_bytes());
    ip.extend(id.to_be_bytes());
    // Not to be fragmented on the way: no client of ours puts fragments together.
    ip.extend([0x40, 0, 64, UDP, 0, 0]);
    ip.extend(envelope.from.ip().octets());
    ip.extend(envelope.to.ip().octets());
    let sum = checksum(ip.iter().copied());
    put(&mut ip, 10, sum);

    let mut udp = Vec::with_capacity(usize::from(udp_length));
    udp.extend(envelope.from.port().to_be_bytes());
    udp.extend(envelope.to.port().to_be_bytes());
    udp.extend(udp_length.to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    let pseudo = pseudo_header(*envelope.from.ip(), *envelope.to.ip(), udp_length);
    // All zeros would mean "no checksum".
    let sum = match checksum(pseudo.into_iter().chain(udp.iter().copied())) {
        0 => 0xffff,
        sum => sum,
    };
    put(&mut udp, 6, sum);

    let mut frame = Vec::with_capacity(14 + usize::from(total));
    frame.extend(envelope.to_mac);
    frame.extend(envelope.from_mac);
    frame.extend(ETHERTYPE_IPV4);
    frame.append(&mut ip);
    frame.append(&mut udp);
    Some(frame)
}

/// Of an IPv4 packet the UDP datagram's payload; `None` where it is no whole one. Checksums are not looked at, for on virtual
/// links there are none.
#[must_use]
pub fn payload(packet: &[u8]) -> Option<&[u8]> {
    let first = *packet.first()?;
    let word = |at: usize| packet.get(at..)?.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes));
    let header = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || header < usize::from(IP_HEADER) || packet.get(9) != Some(&UDP) {
        return None;
    }
    let datagram = packet
        .get(header..usize::from(word(2)?))
        .filter(|_| word(6).is_some_and(|flags| flags & PART == 0))?;
    let length = datagram.get(4..)?.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes))?;
    datagram.get(usize::from(UDP_HEADER)..usize::from(length))
}

fn pseudo_header(from: Ipv4Addr, to: Ipv4Addr, length: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(12);
    bytes.extend(from.octets());
    bytes.extend(to.octets());
    bytes.extend([0, UDP]);
    bytes.extend(length.to_be_bytes());
    bytes
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: impl Iterator<Item = u8>) -> u16 {
    let mut sum = 0u32;
    let mut high = true;
    for byte in bytes {
        sum += if high { u32::from(byte) << 8 } else { u32::from(byte) };
        high = !high;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from(folded & 0xffff).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_checksums_come_out_right_for_any_payload() {
        let envelope = Envelope {
            from_mac: [2, 0, 0, 0, 0, 1],
            to_mac: [0xff; 6],
            from: SocketAddrV4::new(Ipv4Addr::new(192, 168, 77, 1), 67),
            to: SocketAddrV4::new(Ipv4Addr::BROADCAST, 68),
        };
        for length in [0, 1, 2, 299, 300, 1471] {
            let payload: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let frame = udp(&envelope, 7, &payload).unwrap();
            assert_eq!(frame.len(), 42 + length);
            // RFC 1071: a sum over what includes its own checksum is zero.
            assert_eq!(checksum(frame[14..34].iter().copied()), 0, "IP, {length}");
            let udp_length = u16::try_from(8 + length).unwrap();
            let pseudo = pseudo_header(*envelope.from.ip(), *envelope.to.ip(), udp_length);
            assert_eq!(checksum(pseudo.into_iter().chain(frame[34..].iter().copied())), 0, "UDP, {length}");
            assert_eq!(&frame[42..], payload);
            // Ethernet pads short frames.
            let padded = [&frame[14..], &[0; 9]].concat();
            assert_eq!(super::payload(&padded), Some(&payload[..]));
            for end in 14..frame.len() {
                assert_eq!(super::payload(&frame[14..end]), None, "{end} of {length}");
            }
            // Version, length of the header, more parts, a later part, another protocol, a length that is none.
            for (at, other) in [(0, 0x65), (0, 0x44), (6, 0x20), (7, 1), (9, 6), (24, 0xff)] {
                let mut bad = frame[14..].to_vec();
                bad[at] = other;
                assert_eq!(super::payload(&bad), None, "byte {at} is {other}");
            }
        }
        assert!(udp(&envelope, 7, &vec![0; 65_530]).is_none());
    }
}
