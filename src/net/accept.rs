//! The one accept loop, under NFS, portmap and HTTP alike. It never gives up.
//!
//! Connections are capped per peer and in total. A full cap closes the connection that has been idle longest and lets
//! the new one in: a machine that lost its connections without a FIN must not be locked out by their ghosts. So does a
//! process that may open no more descriptors. The loop is also the one place where a connection's patience ends, so that a busy connection pays for no timer.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use super::throughput::Throughput;
use crate::clock;

/// Connections of one peer address. Linux uses one to sixteen (`nconnect`) for NFS and a few for HTTP.
const PER_PEER: usize = 32;
/// Connections of all peers on one listener.
const IN_TOTAL: usize = 5000;
/// The same over TLS.
const IN_TOTAL_SEALED: usize = 1000;
/// The same where only IPv6 is heard. No machine is there, and strangers must not use up the machines' descriptors: an
/// address each costs them nothing.
const IN_TOTAL_V6: usize = 64;
/// Pause after an accept that failed for want of descriptors or memory; the kernel keeps the queue meanwhile.
const PAUSE: Duration = Duration::from_millis(100);
/// How often the loop looks for connections whose patience has ended.
const SWEEP: Duration = Duration::from_secs(1);

/// What is served on a listener.
#[derive(Clone, Copy)]
pub struct Service {
    /// As the log has it.
    pub name: &'static str,
    /// Connections of all peers.
    most: usize,
}

impl Service {
    /// One whose connections hold little.
    pub const fn named(name: &'static str) -> Self {
        Self { name, most: IN_TOTAL }
    }

    /// One over TLS, where each connection holds records that are not whole yet, or not taken yet.
    pub const fn sealed(name: &'static str) -> Self {
        Self { name, most: IN_TOTAL_SEALED }
    }
}

/// One connection as the loop sees it. Times are those of [`clock::coarse_ms`].
pub struct Slot {
    peer: SocketAddr,
    /// When the peer last did something.
    touched: AtomicU64,
    /// When it must have done something again.
    until: AtomicU64,
    closed: AtomicBool,
    task: OnceLock<AbortHandle>,
    /// How fast the peer takes what it is sent.
    pub throughput: Throughput,
}

impl Slot {
    /// A connection that is not being served yet.
    pub fn new(peer: SocketAddr, now: u64) -> Self {
        Self {
            peer,
            touched: AtomicU64::new(now),
            until: AtomicU64::new(u64::MAX),
            closed: AtomicBool::new(false),
            task: OnceLock::new(),
            throughput: Throughput::default(),
        }
    }

    /// The peer has done something: it is the last to be evicted now.
    pub fn touch(&self) {
        self.touched.store(clock::coarse_ms(), Ordering::Relaxed);
    }

    /// The peer has done something, and is expected to do so again within `patience`, or the connection is closed.
    pub fn expect_within(&self, patience: Duration) {
        let now = clock::coarse_ms();
        self.touched.store(now, Ordering::Relaxed);
        let patience = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        self.until.store(now.saturating_add(patience), Ordering::Relaxed);
    }

    /// Ends the connection: what its task holds is let go of as if it had returned.
    pub fn close(&self) {
        // First this and then the task, which the loop sets before it looks here: whichever of the two comes later ends it.
        self.closed.store(true, Ordering::SeqCst);
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// Whether it has been told to end.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn touched(&self) -> u64 {
        self.touched.load(Ordering::Relaxed)
    }
}

struct Slots {
    most: usize,
    by_peer: HashMap<IpAddr, Vec<Arc<Slot>>>,
    total: usize,
}

impl Slots {
    fn new(most: usize) -> Self {
        Self { most, by_peer: HashMap::new(), total: 0 }
    }

    /// Takes a connection in, and takes one out if there are too many now; that one is to be closed.
    fn enter(&mut self, peer: SocketAddr, now: u64) -> (Arc<Slot>, Option<Arc<Slot>>) {
        let of_peer = self.by_peer.get(&peer.ip()).map(Vec::as_slice).unwrap_or_default();
        let idlest = if of_peer.len() >= PER_PEER {
            of_peer.iter().min_by_key(|slot| slot.touched()).cloned()
        } else if self.total >= self.most {
            self.idlest()
        } else {
            None
        };
        // It gives up its place now, though its task ends later: or two that come at once would both take that one's.
        if let Some(slot) = &idlest {
            self.leave(slot);
        }
        let slot = Arc::new(Slot::new(peer, now));
        self.by_peer.entry(peer.ip()).or_default().push(slot.clone());
        self.total += 1;
        (slot, idlest)
    }

    /// The connection that has been idle longest, whosever it is.
    fn idlest(&self) -> Option<Arc<Slot>> {
        self.by_peer.values().flatten().min_by_key(|slot| slot.touched()).cloned()
    }

    fn leave(&mut self, slot: &Arc<Slot>) {
        let Some(slots) = self.by_peer.get_mut(&slot.peer.ip()) else { return };
        let before = slots.len();
        slots.retain(|other| !Arc::ptr_eq(other, slot));
        self.total -= before - slots.len();
        if slots.is_empty() {
            self.by_peer.remove(&slot.peer.ip());
        }
    }

    /// Connections whose peers have been silent for longer than they may.
    fn silent(&self, now: u64) -> Vec<Arc<Slot>> {
        let all = self.by_peer.values().flatten();
        all.filter(|slot| slot.until.load(Ordering::Relaxed) < now).cloned().collect()
    }
}

/// A connection's place; given back when its task ends, however that comes about.
struct Place {
    slots: Arc<Mutex<Slots>>,
    slot: Arc<Slot>,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.slots).leave(&self.slot);
    }
}

fn lock(slots: &Mutex<Slots>) -> MutexGuard<'_, Slots> {
    slots.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether an accept failed for want of descriptors or memory.
fn is_exhausted(cause: &std::io::Error) -> bool {
    let errno = Errno::from_io_error(cause);
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].into_iter().any(|known| errno == Some(known))
}

/// How many connections a listener may have. One of IPv6 that hears IPv4 too has machines on it.
fn most(listener: &SockRef<'_>, service: Service) -> usize {
    if listener.only_v6().unwrap_or(false) { IN_TOTAL_V6 } else { service.most }
}

/// Accepts until `stop` resolves, then waits for the connections to end by themselves.
///
/// Each connection runs as a task of its own, so a panic in a handler costs that connection and nothing else.
pub async fn accept<H, F>(listener: TcpListener, service: Service, stop: impl Future<Output = ()>, handle: H)
where
    H: Fn(TcpStream, SocketAddr, Arc<Slot>) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let slots = Arc::new(Mutex::new(Slots::new(most(&SockRef::from(&listener), service))));
    let service = service.name;
    let mut tasks = JoinSet::new();
    let mut sweep = tokio::time::interval(SWEEP);
    tokio::pin!(stop);
    loop {
        // Those that have ended stay in the set until somebody takes them out.
        while tasks.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
            _ = sweep.tick() => {
                close_silent(&slots, service);
                continue;
            }
        };
        let (stream, peer) = match accepted {
            // A socket that systemd passes may hear both families, and has IPv4 peers as `::ffff:`; they are known by their
            // IPv4 address.
            Ok((stream, peer)) => (stream, SocketAddr::new(peer.ip().to_canonical(), peer.port())),
            Err(cause) => {
                make_room(&slots, service, &cause);
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // One write per batch of replies is ours already; Nagle would only hold back the last segment.
        let _ = stream.set_nodelay(true);
        let (slot, idlest) = lock(&slots).enter(peer, clock::coarse_ms());
        if let Some(idlest) = idlest {
            tracing::debug!(service, peer = %idlest.peer, "closed an idle connection to let a new one in");
            idlest.close();
        }
        let place = Place { slots: slots.clone(), slot: slot.clone() };
        // In a box: what a block takes in and then waits for lies in its future twice.
        let work = Box::pin(handle(stream, peer, slot.clone()));
        let task = tasks.spawn(async move {
            let _place = place;
            work.await;
        });
        let _ = slot.task.set(task);
        // Told so by its own task, before the handle was there.
        if slot.is_closed() {
            slot.close();
        }
    }
    // Nobody takes in who comes now, so it is closed before the others are waited for.
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

/// Ends the connections whose peers have been silent for longer than they may.
fn close_silent(slots: &Mutex<Slots>, service: &str) {
    let silent = lock(slots).silent(clock::coarse_ms());
    for slot in silent {
        tracing::debug!(service, peer = %slot.peer, "closed a connection whose peer was silent for too long");
        slot.close();
    }
}

/// What to do of an accept that failed: a peer that reset before we came is no fault of ours; running out of descriptors is.
fn make_room(slots: &Mutex<Slots>, service: &str, cause: &std::io::Error) {
    if cause.kind() != std::io::ErrorKind::ConnectionAborted {
        tracing::warn!(service, %cause, "cannot accept connections just now");
    }
    // Fewer descriptors than the caps allow make a listener as full as the caps do: who waits may have work to do, and
    // nobody would leave by himself.
    let idlest = lock(slots).idlest().filter(|_| is_exhausted(cause));
    if let Some(idlest) = idlest {
        idlest.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 700))
    }

    #[test]
    fn a_full_peer_loses_its_longest_idle_connection_and_not_the_newest() {
        let mut slots = Slots::new(IN_TOTAL);
        let all: Vec<_> = (0..PER_PEER).map(|_| slots.enter(peer(1), 1000).0).collect();
        for slot in all.iter().skip(1) {
            slot.touched.store(1050, Ordering::Relaxed);
        }
        let (newest, idlest) = slots.enter(peer(1), 1060);
        assert!(idlest.is_some_and(|slot| Arc::ptr_eq(&slot, &all[0])), "the idle one goes");
        let left = &slots.by_peer[&peer(1).ip()];
        assert_eq!(left.len(), PER_PEER);
        assert!(left.iter().any(|slot| Arc::ptr_eq(slot, &newest)));
        assert!(!left.iter().any(|slot| Arc::ptr_eq(slot, &all[0])));
    }

    #[test]
    fn a_full_peer_costs_no_other_peer_a_connection() {
        let mut slots = Slots::new(IN_TOTAL);
        let (quiet, _) = slots.enter(peer(2), 1000);
        for _ in 0..3 * PER_PEER {
            slots.enter(peer(1), 2000);
        }
        assert!(Arc::ptr_eq(&slots.by_peer[&peer(2).ip()][0], &quiet));
        assert_eq!(slots.total, PER_PEER + 1);
    }

    #[test]
    fn strangers_over_ipv6_have_few_connections_and_machines_have_all() {
        use socket2::{Domain, Socket, Type};
        let socket = |domain| Socket::new(domain, Type::STREAM, None).unwrap();
        let (four, six, both) = (socket(Domain::IPV4), socket(Domain::IPV6), socket(Domain::IPV6));
        six.set_only_v6(true).unwrap();
        both.set_only_v6(false).unwrap();
        let most = [&four, &six, &both].map(|socket| most(&SockRef::from(socket), Service::named("test")));
        assert_eq!(most, [IN_TOTAL, IN_TOTAL_V6, IN_TOTAL]);
        let mut slots = Slots::new(2);
        let first = slots.enter(peer(1), 1000).0;
        slots.enter(peer(2), 1001);
        assert!(slots.enter(peer(3), 1002).1.is_some_and(|idlest| Arc::ptr_eq(&idlest, &first)));
    }

    #[test]
    fn leaving_twice_counts_once() {
        let mut slots = Slots::new(IN_TOTAL);
        let (slot, _) = slots.enter(peer(1), 1000);
        slots.leave(&slot);
        slots.leave(&slot);
        assert_eq!(slots.total, 0);
        assert!(slots.by_peer.is_empty());
    }

    #[test]
    fn patience_ends_for_those_who_said_that_it_would() {
        let mut slots = Slots::new(IN_TOTAL);
        let (patient, hasty) = (slots.enter(peer(1), 1000).0, slots.enter(peer(1), 1000).0);
        hasty.expect_within(Duration::from_secs(10));
        let now = hasty.touched();
        assert!(slots.silent(now + 10_000).is_empty());
        let silent = slots.silent(now + 10_001);
        assert!(silent.len() == 1 && Arc::ptr_eq(&silent[0], &hasty));
        assert_eq!(patient.until.load(Ordering::Relaxed), u64::MAX);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_silent_connection_is_closed_and_what_it_held_is_let_go() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let held = Arc::new(());
        let seen = Arc::downgrade(&held);
        let held = Mutex::new(Some(held));
        let handle = move |stream: TcpStream, _: SocketAddr, slot: Arc<Slot>| {
            let held = held.lock().unwrap().take();
            slot.expect_within(Duration::from_millis(10));
            async move {
                std::future::pending::<()>().await;
                drop((stream, held));
            }
        };
        tokio::spawn(accept(listener, Service::named("test"), std::future::pending(), handle));
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut byte = [0];
        assert_eq!(tokio::io::AsyncReadExt::read(&mut silent, &mut byte).await.unwrap(), 0);
        assert!(seen.upgrade().is_none());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn connect_and_reset_in_a_loop_does_not_end_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = tokio::spawn(accept(
            listener,
            Service::named("test"),
            async { drop(stopped.await) },
            |mut stream, _, _| async move {
                use tokio::io::AsyncWriteExt as _;
                let _ = stream.write_all(b"x").await;
            },
        ));
        for _ in 0..300 {
            let stream = std::net::TcpStream::connect(address).unwrap();
            let socket = socket2::SockRef::from(&stream);
            socket.set_linger(Some(Duration::ZERO)).unwrap();
        }
        let mut honest = TcpStream::connect(address).await.unwrap();
        let mut byte = [0];
        tokio::io::AsyncReadExt::read_exact(&mut honest, &mut byte).await.unwrap();
        stop.send(()).unwrap();
        server.await.unwrap();
    }
}
