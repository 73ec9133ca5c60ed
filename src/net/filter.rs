//! Filters of sockets (bpf(4)): what nobody waits for is dropped in the kernel, and costs no wake-up.

use std::net::Ipv4Addr;

use socket2::SockFilter;

/// Load a word, two bytes or one of the packet, at `k`.
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
/// The same, at `k` behind the header whose length was noted; note the length of the IPv4 header that begins at `k`.
const LOAD_HALF_BEHIND: u16 = 0x48;
const NOTE_HEADER: u16 = 0xb1;
/// Return `k`; jump if what was loaded is `k`, or has a bit of it.
const RETURN: u16 = 0x06;
const JUMP_IF: u16 = 0x15;
const JUMP_IF_BITS: u16 = 0x45;
/// UDP's number in an IPv4 header, and where a datagram is a part of one: not the first, or more of it follows.
const UDP: u32 = 17;
const PART: u32 = 0x3fff;

/// Lets in only what has one of these addresses at this place: what nobody waits for costs no wake-up, and can't push
/// what somebody waits for out of the socket's buffer. At most 254 addresses, for a jump is a byte long.
pub fn addresses(at: u32, addresses: &[Ipv4Addr]) -> Vec<SockFilter> {
    let mut program = vec![SockFilter::new(LOAD_WORD, 0, 0, at)];
    let last = addresses.len();
    for (number, address) in addresses.iter().enumerate() {
        // Over the comparisons that follow and the refusal behind them.
        let to_yes = u8::try_from(last - number).unwrap_or(u8::MAX);
        program.push(SockFilter::new(JUMP_IF, to_yes, 0, u32::from(*address)));
    }
    program.push(SockFilter::new(RETURN, 0, 0, 0));
    program.push(SockFilter::new(RETURN, 0, 0, u32::MAX));
    program
}

/// Lets in only whole UDP datagrams from one port to another, in packets that begin with their IPv4 header.
pub fn datagrams(from: u16, to: u16) -> Vec<SockFilter> {
    let load = |code, at| SockFilter::new(code, 0, 0, at);
    // The number of instructions to leave out to get to the refusal, the last one.
    let unless = |code, value, to_no: [u8; 2]| SockFilter::new(code, to_no[0], to_no[1], value);
    vec![
        load(LOAD_BYTE, 9),
        unless(JUMP_IF, UDP, [0, 8]),
        load(LOAD_HALF, 6),
        unless(JUMP_IF_BITS, PART, [6, 0]),
        load(NOTE_HEADER, 0),
        load(LOAD_HALF_BEHIND, 0),
        unless(JUMP_IF, from.into(), [0, 3]),
        load(LOAD_HALF_BEHIND, 2),
        unless(JUMP_IF, to.into(), [0, 1]),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};
    use std::io::Read as _;

    #[test]
    fn what_has_one_of_the_addresses_comes_in_and_no_other() {
        let all: Vec<Ipv4Addr> = (0..=255).map(|last| Ipv4Addr::new(10, 0, 0, last)).collect();
        for wanted in [&all[..0], &all[7..8], &all[9..73]] {
            // A filter begins at the payload of a datagram that goes from one of our own sockets to the other.
            let (to, from) = Socket::pair(Domain::UNIX, Type::DGRAM, None).unwrap();
            from.set_nonblocking(true).unwrap();
            from.attach_filter(&addresses(2, wanted)).unwrap();
            for address in &all {
                to.send(&[&[0, 0], &address.octets()[..], &[9]].concat()).unwrap();
                let mut got = [0; 16];
                let count = (&from).read(&mut got).unwrap_or(0);
                assert_eq!(count == 7, wanted.contains(address), "{address}");
            }
        }
    }

    #[test]
    fn only_whole_datagrams_from_the_one_port_to_the_other_come_in() {
        let (to, from) = Socket::pair(Domain::UNIX, Type::DGRAM, None).unwrap();
        from.set_nonblocking(true).unwrap();
        from.attach_filter(&datagrams(67, 68)).unwrap();
        let packet = |words: u8, protocol: u8, flags: u8, part: u8, ports: [u8; 4]| {
            let mut packet = vec![0x40 | words, 0, 0, 0, 0, 0, flags, part, 64, protocol];
            packet.resize(usize::from(words) * 4, 0);
            packet.extend(ports);
            packet
        };
        let comes = |packet: &[u8]| {
            to.send(packet).unwrap();
            (&from).read(&mut [0; 128]).is_ok_and(|count| count == packet.len())
        };
        let ports = [0, 67, 0, 68];
        assert!(comes(&packet(5, 17, 0, 0, ports)) && comes(&packet(15, 17, 0x40, 0, ports)));
        for other in [[0, 68, 0, 67], [0, 67, 0, 67], [0, 68, 0, 68], [1, 67, 0, 68], [0, 67, 1, 68]] {
            assert!(!comes(&packet(5, 17, 0, 0, other)), "{other:?}");
        }
        assert!(!comes(&packet(5, 6, 0, 0, ports)), "TCP");
        assert!(!comes(&packet(5, 17, 0x20, 0, ports)) && !comes(&packet(5, 17, 0, 1, ports)), "parts");
        assert!(!comes(&packet(5, 17, 0, 0, ports)[..23]), "too short");
    }
}
