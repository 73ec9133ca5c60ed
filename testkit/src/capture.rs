//! The RPC records of a packet capture: what clients and NFS servers said to each other on the wire, whichever server it
//! was and whatever it counts itself.
//!
//! Reads classic pcap of Ethernet, as tcpdump and QEMU's filter-dump write it, and puts the TCP streams of port 2049
//! together (RFC 9293, sequence numbers only). A capture can be read while it is still being written.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use anyhow::{Result, ensure};

/// NFS' port.
const PORT: u16 = 2049;
/// Bytes before the first packet, and before each.
const FILE_HEAD: usize = 24;
const PACKET_HEAD: usize = 16;

/// One direction of a connection between a client and a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The client.
    pub client: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// The server.
    pub server: Ipv4Addr,
    /// From the client to the server.
    pub is_call: bool,
}

/// A capture, as far as it has been read.
#[derive(Default)]
pub struct Capture {
    begun: bool,
    left: Vec<u8>,
    streams: HashMap<Flow, Stream>,
}

impl Capture {
    /// Takes what the file has grown by, and shows each RPC record that has come whole with it.
    pub fn read(&mut self, more: &[u8], mut each: impl FnMut(Flow, &[u8])) -> Result<()> {
        self.left.extend(more);
        let bytes = std::mem::take(&mut self.left);
        let mut rest = bytes.as_slice();
        if !self.begun {
            let Some((head, packets)) = rest.split_at_checked(FILE_HEAD) else {
                self.left = bytes;
                return Ok(());
            };
            let magic = word(head, 0);
            let ours = magic == Some(0xa1b2_c3d4) || magic == Some(0xa1b2_3c4d);
            ensure!(ours, "no pcap of this machine's byte order");
            ensure!(word(head, 20) == Some(1), "no capture of Ethernet");
            (self.begun, rest) = (true, packets);
        }
        while let (Some(kept), Some(whole)) = (word(rest, 8), word(rest, 12)) {
            let Some(frame) = rest.get(PACKET_HEAD..PACKET_HEAD + kept) else { break };
            if let Some((flow, segment)) = segment(frame, whole) {
                let stream = self.streams.entry(flow).or_default();
                stream.take(&segment);
                while let Some(record) = stream.record() {
                    each(flow, &record);
                }
            }
            rest = rest.get(PACKET_HEAD + kept..).unwrap_or_default();
        }
        self.left = rest.to_vec();
        Ok(())
    }
}

/// A word of the capture's own, which is in the order of the machine that wrote it.
fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let four: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(four)).ok()
}

struct Segment {
    sequence: u32,
    opens: bool,
    payload: Vec<u8>,
}

/// The TCP segment of a frame; where the capture has cut its payload, zeros.
fn segment(frame: &[u8], whole: usize) -> Option<(Flow, Segment)> {
    let packet = frame.get(12..14).filter(|kind| *kind == [8, 0]).and(frame.get(14..))?;
    let header = usize::from(packet.first()? & 15) * 4;
    let total = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    // Segmentation offload leaves 0 where the length does not fit.
    let total = if total == 0 { whole.checked_sub(14)? } else { total };
    if *packet.get(9)? != 6 {
        return None;
    }
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
    let tcp = packet.get(header..)?;
    let port = |at: usize| Some(u16::from_be_bytes([*tcp.get(at)?, *tcp.get(at + 1)?]));
    let (from, to) = (address(12)?, address(16)?);
    let flow = match (port(0)?, port(2)?) {
        (port, PORT) => Flow { client: from, port, server: to, is_call: true },
        (PORT, port) => Flow { client: to, port, server: from, is_call: false },
        _ => return None,
    };
    let sequence = u32::from_be_bytes(tcp.get(4..8)?.try_into().ok()?);
    let data = usize::from(tcp.get(12)? >> 4) * 4;
    let length = total.checked_sub(header + data)?;
    let mut payload = tcp.get(data..)?.to_vec();
    // An Ethernet frame of less than 60 bytes is filled up: what is too much goes too.
    payload.resize(length, 0);
    Some((flow, Segment { sequence, opens: tcp.get(13)? & 2 != 0, payload }))
}

/// One direction of a TCP connection, being put in order.
#[derive(Default)]
struct Stream {
    next: Option<u32>,
    early: BTreeMap<u32, Vec<u8>>,
    bytes: Vec<u8>,
}

impl Stream {
    /// Takes a segment; adds what is now in order.
    fn take(&mut self, segment: &Segment) {
        if segment.opens {
            *self = Self { next: Some(segment.sequence.wrapping_add(1)), ..Self::default() };
            return;
        }
        if segment.payload.is_empty() {
            return;
        }
        // A capture may begin in the middle of a connection.
        self.next.get_or_insert(segment.sequence);
        self.early.insert(segment.sequence, segment.payload.clone());
        while let Some(next) = self.next {
            // How far the first byte of a segment lies behind the one that is next; half the numbers lie ahead.
            let behind = |at: u32| Some(next.wrapping_sub(at)).filter(|behind| *behind < 1 << 31);
            let Some(at) = self.early.keys().copied().find(|at| behind(*at).is_some()) else { return };
            let (Some(bytes), Some(known)) = (self.early.remove(&at), behind(at)) else { return };
            let new = usize::try_from(known).ok().and_then(|known| bytes.get(known..)).unwrap_or_default();
            self.bytes.extend(new);
            self.next = u32::try_from(new.len()).ok().map(|length| next.wrapping_add(length));
        }
    }

    fn record(&mut self) -> Option<Vec<u8>> {
        let mark = u32::from_be_bytes(*self.bytes.first_chunk::<4>()?);
        let end = 4 + usize::try_from(mark & 0x7fff_ffff).ok()?;
        let record = self.bytes.get(4..end)?.to_vec();
        self.bytes.drain(..end);
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: [u8; 4] = [192, 168, 77, 10];
    const SERVER: [u8; 4] = [192, 168, 77, 1];

    /// A packet of a capture: Ethernet, IPv4, TCP from the client's port 700 to 2049.
    fn packet(sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let total = u16::try_from(40 + payload.len()).unwrap().to_be_bytes();
        let mut frame = [&[0; 12][..], &[8, 0]].concat();
        frame.extend([0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, 6, 0, 0]);
        frame.extend([CLIENT, SERVER].concat());
        frame.extend([700u16.to_be_bytes(), PORT.to_be_bytes()].concat());
        frame.extend([sequence.to_be_bytes(), [0; 4]].concat());
        frame.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
        frame.extend(payload);
        frame.resize(frame.len().max(60), 0xee);
        let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
        [[0; 4], [0; 4], length, length].concat().into_iter().chain(frame).collect()
    }

    fn file(packets: &[Vec<u8>]) -> Vec<u8> {
        let mut head = 0xa1b2_c3d4u32.to_le_bytes().to_vec();
        head.resize(20, 0);
        head.extend(1u32.to_le_bytes());
        [head, packets.concat()].concat()
    }

    fn record(text: &[u8]) -> Vec<u8> {
        [&(0x8000_0000 | u32::try_from(text.len()).unwrap()).to_be_bytes(), text].concat()
    }

    fn read(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut capture, mut records) = (Capture::default(), Vec::new());
        for piece in pieces {
            capture
                .read(piece, |flow, record| {
                    assert_eq!((flow.client.octets(), flow.port, flow.is_call), (CLIENT, 700, true));
                    records.push(record.to_vec());
                })
                .unwrap();
        }
        records
    }

    #[test]
    fn records_are_found_in_any_order_of_segments_once_each_and_across_the_end_of_the_numbers() {
        let bytes = [record(b"one"), record(b"twenty-two"), record(b"three")].concat();
        let at = |place: usize| u32::MAX.wrapping_add(u32::try_from(place).unwrap().wrapping_sub(3));
        let (first, second, third) = (&bytes[..10], &bytes[10..14], &bytes[14..]);
        let packets = [
            packet(at(0).wrapping_sub(1), 2, b""),
            packet(at(10), 0, second),
            packet(at(0), 0, first),
            packet(at(0), 0, first),
            packet(at(7), 0, &bytes[7..14]),
            packet(at(14), 0, third),
        ];
        let expected = vec![b"one".to_vec(), b"twenty-two".to_vec(), b"three".to_vec()];
        assert_eq!(read(&[&file(&packets)]), expected);
    }

    #[test]
    fn a_capture_that_still_grows_is_read_in_pieces_of_any_size() {
        let whole = file(&[packet(5, 0, &record(b"one")), packet(12, 0, &record(b"two"))]);
        for cut in 0..whole.len() {
            let (front, back) = whole.split_at(cut);
            assert_eq!(read(&[front, back]), [b"one", b"two"], "cut at {cut}");
        }
    }
}
