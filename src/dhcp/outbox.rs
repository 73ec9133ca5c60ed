//! Replies that leave together: those of one turn to one relay, or to one client, that are of one length, by one call.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use tokio::net::UdpSocket;

use crate::net::segments;

/// What one socket has to send in this turn.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: Vec<(SocketAddrV4, Vec<u8>)>,
    /// Several of them, one behind the other.
    together: Vec<u8>,
    /// What UDP_SEGMENT is set to; `None` where the kernel does not know it.
    segment: Option<usize>,
}

/// Replies that could not be sent.
#[derive(Debug)]
pub struct Unsent {
    pub to: Ipv4Addr,
    pub count: usize,
    pub cause: io::Error,
}

impl Outbox {
    pub fn new() -> Self {
        Self { segment: Some(0), ..Self::default() }
    }

    pub fn put(&mut self, to: SocketAddrV4, payload: Vec<u8>) {
        self.waiting.push((to, payload));
    }

    /// Sends all of them. Nobody waits for a full queue: what is lost is asked for again.
    pub fn send(&mut self, socket: &UdpSocket) -> Vec<Unsent> {
        let mut waiting = std::mem::take(&mut self.waiting);
        // Those of one relay in the order in which they were made, but for their lengths: each is another client's.
        waiting.sort_by_key(|(to, payload)| (*to, payload.len()));
        let alike = waiting.chunk_by(|(to, one), (other, next)| (to, one.len()) == (other, next.len()));
        let mut unsent = Vec::new();
        for group in alike {
            let length = group.first().map_or(1, |(_, payload)| payload.len().max(1));
            for part in group.chunks((segments::MOST_BYTES / length).clamp(1, segments::MOST)) {
                if let (Err(cause), Some((to, _))) = (self.send_alike(socket, part, length), part.first()) {
                    unsent.push(Unsent { to: *to.ip(), count: part.len(), cause });
                }
            }
        }
        waiting.clear();
        self.waiting = waiting;
        unsent
    }

    fn send_alike(
        &mut self,
        socket: &UdpSocket,
        part: &[(SocketAddrV4, Vec<u8>)],
        length: usize,
    ) -> io::Result<()> {
        let Some((to, _)) = part.first() else { return Ok(()) };
        if part.len() > 1 && self.segments(socket, length) {
            self.together.clear();
            part.iter().for_each(|(_, payload)| self.together.extend_from_slice(payload));
            match socket.try_send_to(&self.together, (*to).into()) {
                Err(cause) if segments::is_refusal(&cause) => {
                    tracing::debug!(peer = %to, %cause, "DHCP replies are sent one by one");
                }
                sent => return sent.map(drop),
            }
        }
        // A longer one than those of the last call would be cut up like those.
        if self.segment.is_some_and(|segment| segment != 0 && segment < length) {
            self.segments(socket, 0);
        }
        part.iter().try_for_each(|(to, payload)| socket.try_send_to(payload, (*to).into()).map(drop))
    }

    /// Whether what is sent from here on is cut up into such pieces.
    fn segments(&mut self, socket: &UdpSocket, length: usize) -> bool {
        if self.segment.is_some_and(|segment| segment != length) {
            self.segment = segments::cut(socket, length).ok().map(|()| length);
        }
        self.segment.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_reply_of_a_turn_arrives_whole_at_whom_it_is_for_whatever_their_lengths() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        // Nothing can be sent before the loop has looked at it once.
        server.writable().await.unwrap();
        let relays =
            [UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap()];
        let mut outbox = Outbox::new();
        // Three rounds: what one has set must not cut up what is sent in the next.
        for round in 0..3u8 {
            let mut sent = [Vec::new(), Vec::new()];
            for number in 0..150u8 {
                let relay = usize::from(number % 2);
                let length = [300, 300, 312, 548, 1472][usize::from((number + round) % 5)];
                let mut payload = vec![round; length];
                payload[0] = number;
                let std::net::SocketAddr::V4(to) = relays[relay].local_addr().unwrap() else {
                    unreachable!()
                };
                outbox.put(to, payload.clone());
                sent[relay].push(payload);
            }
            assert!(outbox.send(&server).is_empty());
            for (relay, mut sent) in relays.iter().zip(sent) {
                let mut heard = Vec::new();
                let mut datagram = [0; 2048];
                for _ in 0..sent.len() {
                    let count = relay.recv(&mut datagram).await.unwrap();
                    heard.push(datagram[..count].to_vec());
                }
                sent.sort();
                heard.sort();
                assert!(sent == heard, "round {round}");
            }
            outbox.put("127.0.0.1:9".parse().unwrap(), vec![0; 1472]);
            outbox.send(&server);
        }
    }
}
