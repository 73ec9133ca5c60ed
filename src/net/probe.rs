//! Whether a host is at an IPv4 address, and which hardware address it has.
//!
//! On a link of ours it is asked for by ARP, which every host answers. Behind a router it is pinged: an answer shows that
//! somebody is there and not who, and silence may be a firewall. Both are hints: whoever is on the segment can answer for
//! anybody.
//!
//! Its sockets are opened once, and belong to no interface, so they outlive all of them: nothing is opened later, and no
//! privilege is needed then.

#[cfg(test)]
pub mod tests;
mod wire;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use oneroot_ids::Mac;
use oneroot_machines::{ProbeResult, Reason};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use super::routing::{Routing, Way};
use super::{Backoff, filter, link};
use crate::clock;

/// Probes under way.
const MOST: usize = 64;
/// When an address is asked again, and when it counts as silent. A host that sleeps lightly, or a switch that has just
/// been told of a port, loses the first question.
const TRIES: [Duration; 3] =
    [Duration::from_millis(250), Duration::from_millis(350), Duration::from_millis(400)];
/// `ETH_P_ARP`.
const ARP: u16 = 0x0806;
/// Everybody on a link.
const BROADCAST: [u8; 6] = [0xff; 6];
/// Longest answer that is looked at: an echo with the longest IPv4 header has 84 bytes.
const LONGEST: usize = 256;

/// Asks for addresses.
pub struct Prober {
    shared: Arc<Shared>,
    listeners: [AbortHandle; 2],
}

struct Shared {
    routing: Routing,
    arp: AsyncFd<Socket>,
    icmp: AsyncFd<Socket>,
    under_way: Mutex<HashMap<Ipv4Addr, Asked>>,
}

/// An address that is being asked for.
struct Asked {
    how: How,
    /// What is known so far, for all who wait for it.
    found: watch::Sender<Option<ProbeResult>>,
}

/// A question, and what its answer is known by.
#[derive(Debug, Clone)]
enum How {
    /// On the interface with this number, from its MAC and an address of ours.
    Arp { index: u32, mac: [u8; 6], from: Option<Ipv4Addr> },
    /// With these bytes in it.
    Ping([u8; 16]),
}

impl Prober {
    /// Opens its sockets, in the network that this thread is in, and listens. Needs CAP_NET_RAW here and not again.
    pub fn open() -> Result<Self> {
        let arp = link::hearing(ARP, &filter::addresses(wire::ARP_SENDER, &[]))?;
        let icmp = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).context(link::NO_RAW)?;
        icmp.attach_filter(&filter::addresses(wire::IP_SOURCE, &[]))?;
        let shared = Arc::new(Shared {
            routing: Routing::open().context("cannot ask the kernel for routes (NETLINK_ROUTE)")?,
            arp: link::registered(arp)?,
            icmp: link::registered(icmp)?,
            under_way: Mutex::default(),
        });
        let (by_arp, by_ping) = (shared.clone(), shared.clone());
        let listeners = [
            tokio::spawn(async move { by_arp.listen(&by_arp.arp, Shared::hear_arp).await }).abort_handle(),
            tokio::spawn(async move { by_ping.listen(&by_ping.icmp, Shared::hear_ping).await })
                .abort_handle(),
        ];
        Ok(Self { shared, listeners })
    }

    /// Asks for an address. Takes no more than about a second; who asks for one that is being asked for shares the answer,
    /// and one that has nobody waiting any more is asked to the end all the same.
    pub async fn probe(&self, address: Ipv4Addr) -> ProbeResult {
        let mut found = match self.shared.join(address) {
            Ok(found) => found,
            Err(reason) => return ProbeResult::Unable(reason),
        };
        let found = found.wait_for(Option::is_some).await.ok().and_then(|found| *found);
        // Its task was ended with the runtime.
        found.unwrap_or(ProbeResult::Silent)
    }

    /// How this host would reach an address: by which interface, where it is on a link of ours.
    pub fn way(&self, to: Ipv4Addr) -> io::Result<Way> {
        self.shared.routing.way(to)
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.listeners.iter().for_each(AbortHandle::abort);
    }
}

impl Shared {
    fn under_way(&self) -> MutexGuard<'_, HashMap<Ipv4Addr, Asked>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a probe, or joins the one that is under way.
    fn join(self: &Arc<Self>, address: Ipv4Addr) -> Result<watch::Receiver<Option<ProbeResult>>, Reason> {
        let mut under_way = self.under_way();
        let count = under_way.len();
        let Entry::Vacant(place) = under_way.entry(address) else {
            return under_way.get(&address).map(|asked| asked.found.subscribe()).ok_or(Reason::Busy);
        };
        if count >= MOST {
            return Err(Reason::Busy);
        }
        let not_sent = |cause: &io::Error| Reason::NotSent(cause.kind());
        let how = match self.routing.way(address).map_err(|cause| not_sent(&cause))? {
            Way::Ours => return Ok(watch::channel(Some(ProbeResult::Answered)).1),
            Way::Nowhere => return Err(Reason::NoRoute),
            Way::OnLink(link, from) => match link.mac.filter(|_| link.asks) {
                Some(mac) => How::Arp { index: link.index, mac, from },
                None => How::Ping(nonce()?),
            },
            Way::Routed => How::Ping(nonce()?),
        };
        let (found, heard) = watch::channel(None);
        place.insert(Asked { how: how.clone(), found });
        // Before anything is asked: the first answer may come at once, and must find the filter open.
        if let Err(cause) = self.let_in(&under_way) {
            under_way.remove(&address);
            return Err(not_sent(&cause));
        }
        drop(under_way);
        tokio::spawn(self.clone().ask(address, how, heard.clone()));
        Ok(heard)
    }

    /// Answers of those that are being asked for, and no others.
    fn let_in(&self, under_way: &HashMap<Ipv4Addr, Asked>) -> io::Result<()> {
        let of = |arp: bool| -> Vec<Ipv4Addr> {
            let asked = under_way.iter().filter(|(_, asked)| asked.found.borrow().is_none());
            let asked = asked.filter(|(_, asked)| matches!(asked.how, How::Arp { .. }) == arp);
            asked.map(|(address, _)| *address).collect()
        };
        self.arp.get_ref().attach_filter(&filter::addresses(wire::ARP_SENDER, &of(true)))?;
        self.icmp.get_ref().attach_filter(&filter::addresses(wire::IP_SOURCE, &of(false)))
    }

    /// One probe from its first question to its end.
    async fn ask(
        self: Arc<Self>,
        address: Ipv4Addr,
        how: How,
        mut heard: watch::Receiver<Option<ProbeResult>>,
    ) {
        let mut end = ProbeResult::Silent;
        let (mut until, mut sent) = (Instant::now(), false);
        for pause in TRIES {
            match self.send(address, &how) {
                // One question that went out is enough: only then silence says anything.
                Ok(()) => (end, sent) = (ProbeResult::Silent, true),
                Err(cause) if !sent => end = ProbeResult::Unable(Reason::NotSent(cause.kind())),
                Err(_) => {}
            }
            until += pause;
            if timeout_at(until, heard.wait_for(Option::is_some)).await.is_ok() {
                break;
            }
        }
        let mut under_way = self.under_way();
        if let Some(asked) = under_way.remove(&address) {
            asked.found.send_if_modified(|found| found.is_none() && found.replace(end).is_none());
        }
        if let Err(cause) = self.let_in(&under_way) {
            tracing::debug!(%cause, "answers that nobody waits for come in");
        }
    }

    fn send(&self, address: Ipv4Addr, how: &How) -> io::Result<()> {
        let (socket, message, to) = match how {
            How::Arp { index, mac, from } => {
                let to = link::link_address(*index, ARP, Some(BROADCAST))?;
                (&self.arp, wire::arp_request(*mac, *from, address), to)
            }
            How::Ping(said) => {
                (&self.icmp, wire::echo_request(said), SockAddr::from(SocketAddrV4::new(address, 0)))
            }
        };
        socket.get_ref().send_to(&message, &to).map(drop)
    }

    /// Hears answers for ever.
    async fn listen(&self, socket: &AsyncFd<Socket>, hear: fn(&Self, &Socket) -> io::Result<()>) {
        let mut backoff = Backoff::default();
        loop {
            match socket.async_io(Interest::READABLE, |socket| hear(self, socket)).await {
                Ok(()) => backoff.reset(),
                Err(cause) => backoff.after(&cause, "answers to probes").await,
            }
        }
    }

    fn hear_arp(&self, socket: &Socket) -> io::Result<()> {
        let mut message = [0; LONGEST];
        let (count, from) = link::receive(socket, &mut message)?;
        if let Some((mac, address)) = message.get(..count).and_then(wire::arp_sender) {
            let by = link::index_in(&from);
            // One that can be nobody's address still shows that somebody is there.
            let found = Mac::new(mac).map_or(ProbeResult::Answered, ProbeResult::Mac);
            self.found(address, found, |how| matches!(how, How::Arp { index, .. } if by == Some(*index)));
        }
        Ok(())
    }

    fn hear_ping(&self, socket: &Socket) -> io::Result<()> {
        let mut packet = [0; LONGEST];
        let (count, _) = link::receive(socket, &mut packet)?;
        if let Some((address, said)) = packet.get(..count).and_then(wire::echo_reply) {
            self.found(address, ProbeResult::Answered, |how| matches!(how, How::Ping(ours) if *ours == said));
        }
        Ok(())
    }

    /// Takes the first answer to a question. No other is let in from there, for what comes then is a flood.
    fn found(&self, address: Ipv4Addr, found: ProbeResult, answers: impl Fn(&How) -> bool) {
        let under_way = self.under_way();
        let Some(asked) = under_way.get(&address).filter(|asked| answers(&asked.how)) else { return };
        if asked.found.send_if_modified(|known| known.is_none() && known.replace(found).is_none()) {
            // When it fails, the probe's own end lets nothing in any more.
            let _ = self.let_in(&under_way);
        }
    }
}

/// What nobody can guess, and so nobody can answer who has not heard the question.
fn nonce() -> Result<[u8; 16], Reason> {
    clock::random().map_err(|_| Reason::NotSent(io::ErrorKind::Other))
}
