//! Replies that leave together: all of one turn, whoever they are for, by one call ([`crate::net::many`]).
//!
//! UDP_SEGMENT would be quicker for those of one relay, but it stays with the socket, and a kernel before 6.11 then refuses whatever
//! leaves by a device that does not make checksums: the replies of all others too.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::net::many;

/// Messages of one call.
const AT_ONCE: usize = 64;

/// What one socket has to send in this turn.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: Vec<(SocketAddrV4, Vec<u8>)>,
}

/// Replies that could not be sent.
#[derive(Debug)]
pub struct Unsent {
    /// Whom the first of them was for.
    pub to: Ipv4Addr,
    pub count: usize,
    pub cause: io::Error,
}

impl Outbox {
    pub fn put(&mut self, to: SocketAddrV4, payload: Vec<u8>) {
        self.waiting.push((to, payload));
    }

    /// Sends all of them. Nobody waits for a full queue: what is lost is asked for again. What can't be sent to one is no reason
    /// to keep the others' back.
    pub fn send(&mut self, socket: &UdpSocket) -> Vec<Unsent> {
        let (mut unsent, mut sent) = (Vec::new(), 0);
        while let Some(rest) = self.waiting.get(sent..).filter(|rest| !rest.is_empty()) {
            let some = rest.get(..AT_ONCE).unwrap_or(rest);
            let messages = || some.iter().map(|(to, payload)| ((*to).into(), payload.as_slice()));
            match socket.try_io(Interest::WRITABLE, || many::send(socket, messages())) {
                Ok(count) => sent += count.max(1),
                Err(cause) => {
                    let is_full = cause.kind() == io::ErrorKind::WouldBlock;
                    let count = if is_full { rest.len() } else { 1 };
                    sent += count;
                    unsent.extend(rest.first().map(|(to, _)| Unsent { to: *to.ip(), count, cause }));
                }
            }
        }
        self.waiting.clear();
        unsent
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
        let mut outbox = Outbox::default();
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
        }
    }

    #[tokio::test]
    async fn what_can_not_be_sent_to_one_keeps_nobody_elses_reply_back() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        server.writable().await.unwrap();
        let relay = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let std::net::SocketAddr::V4(to) = relay.local_addr().unwrap() else { unreachable!() };
        let mut outbox = Outbox::default();
        for number in 0..100u8 {
            outbox.put(to, vec![number; 300]);
            if number % 25 == 7 {
                // This socket may send no broadcasts.
                outbox.put("255.255.255.255:68".parse().unwrap(), vec![number; 300]);
            }
        }
        let unsent = outbox.send(&server);
        assert_eq!(
            unsent.iter().map(|unsent| (unsent.to, unsent.count)).collect::<Vec<_>>(),
            [(Ipv4Addr::BROADCAST, 1); 4]
        );
        let mut datagram = [0; 512];
        for number in 0..100u8 {
            assert_eq!(relay.recv(&mut datagram).await.unwrap(), 300);
            assert_eq!(datagram[0], number, "in the order in which they were made");
        }
    }
}
