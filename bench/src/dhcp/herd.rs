//! New clients at an even rate, more than perfdhcp comes to send: a relay whose every client discovers, takes what it is offered,
//! and is done with its ACK. Nobody asks twice, so that a message without an answer is one that was dropped.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use oneroot_testkit::Lab;
use socket2::SockRef;

use super::client::message;
use super::rates::Seen;

/// What the kernel keeps of answers while the generator sends.
const BUFFER: usize = 16 << 20;
/// Time after the last message for which its answer is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pause where nothing is due.
const PAUSE: Duration = Duration::from_micros(100);
/// Messages that are sent before answers are taken.
const AT_ONCE: u64 = 16;

/// One client: microseconds from the beginning, of its messages and their answers; 0 for what has not been.
#[derive(Debug, Default, Clone, Copy)]
struct Client {
    discovered: u64,
    offered: u64,
    requested: u64,
    acknowledged: u64,
}

struct Herd {
    socket: UdpSocket,
    server: Ipv4Addr,
    relay: Ipv4Addr,
    /// The third byte of their MACs.
    kind: u8,
    begun: Instant,
    clients: Vec<Client>,
}

/// So many of them a second, for so long.
pub fn ask(lab: &Lab, relay: &str, server: Ipv4Addr, kind: u8, rate: u32, seconds: u32) -> Result<Seen> {
    let address: Ipv4Addr = relay.split('/').next().unwrap_or_default().parse()?;
    lab.on_host(relay, || {
        let socket = UdpSocket::bind((address, 67))?;
        socket.set_nonblocking(true)?;
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER)?;
        SockRef::from(&socket).set_send_buffer_size(BUFFER)?;
        socket.connect((server, 67))?;
        let clients = Vec::with_capacity(usize::try_from(rate * seconds)?);
        let mut herd = Herd { socket, server, relay: address, kind, begun: Instant::now(), clients };
        herd.run(u64::from(rate), u64::from(seconds))
    })?
}

impl Herd {
    fn now(&self) -> u64 {
        // Nothing has been at 0.
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn run(&mut self, rate: u64, seconds: u64) -> Result<Seen> {
        let most = rate * seconds;
        self.begun = Instant::now();
        while self.now() < seconds * 1_000_000 {
            let due = (self.now() * rate / 1_000_000).min(most);
            let there = self.clients.len() as u64;
            for number in there..due.min(there + AT_ONCE) {
                let now = self.now();
                self.clients.push(Client { discovered: now, ..Client::default() });
                self.say(u32::try_from(number)?, 1, &[])?;
            }
            if self.hear()? == 0 && self.clients.len() as u64 >= due {
                std::thread::sleep(PAUSE);
            }
        }
        let ended = Instant::now();
        while ended.elapsed() < PATIENCE && self.clients.iter().any(|client| client.acknowledged == 0) {
            self.hear()?;
            std::thread::sleep(PAUSE);
        }
        Ok(self.seen())
    }

    fn say(&self, number: u32, kind: u8, options: &[(u8, Ipv4Addr)]) -> Result<()> {
        let [a, b, c, d] = number.to_be_bytes();
        anyhow::ensure!(a == 0, "more clients than there are MACs for them");
        let mac = [2, 0, self.kind, b, c, d];
        let xid = number << 1 | u32::from(kind == 3);
        match self.socket.send(&message(xid, kind, mac, self.relay, options)) {
            // It counts as dropped, and so it is.
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => Ok(()),
            sent => sent.map(drop).context("cannot send"),
        }
    }

    /// Takes what has been answered, and takes the offers; how many there were.
    fn hear(&mut self) -> Result<usize> {
        let mut reply = [0; 1500];
        for heard in 0..usize::try_from(AT_ONCE)? {
            let count = match self.socket.recv(&mut reply) {
                Ok(count) => count,
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Ok(heard),
                Err(cause) => return Err(cause).context("cannot receive"),
            };
            let Some((xid, address)) = read(&reply[..count]) else { continue };
            let (now, number) = (self.now(), xid >> 1);
            let Some(client) = self.clients.get_mut(usize::try_from(number)?) else { continue };
            if xid & 1 == 1 {
                client.acknowledged = now;
            } else if client.offered == 0 {
                (client.offered, client.requested) = (now, now);
                self.say(number, 3, &[(50, address), (54, self.server)])?;
            }
        }
        Ok(usize::try_from(AT_ONCE)?)
    }

    fn seen(&self) -> Seen {
        let mut seen = Seen::default();
        for client in &self.clients {
            match client {
                Client { offered: 0, .. } | Client { acknowledged: 0, .. } => seen.drops += 1,
                _ => seen.acks += 1,
            }
            seen.offers.extend(client.offered.checked_sub(client.discovered));
            seen.ack_times
                .extend(client.acknowledged.checked_sub(client.requested).filter(|_| client.requested > 0));
        }
        seen.offers.sort_unstable();
        seen.ack_times.sort_unstable();
        seen
    }
}

/// The transaction of an OFFER or ACK, and the address that it gives.
fn read(reply: &[u8]) -> Option<(u32, Ipv4Addr)> {
    let word = |at: usize| reply.get(at..)?.first_chunk::<4>().copied();
    let is_good = matches!(reply.get(240..243)?, [53, 1, 2 | 5]);
    Some((u32::from_be_bytes(word(4)?), Ipv4Addr::from(word(16)?))).filter(|_| is_good)
}
