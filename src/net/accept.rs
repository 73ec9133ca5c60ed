//! The one accept loop, under NFS, portmap and HTTP alike. It never gives up.
//!
//! Connections are capped per peer and in total. A full cap closes the connection that has been idle longest and lets
//! the new one in: a machine that lost its connections without a FIN must not be locked out by their ghosts.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Connections of one peer address. Linux uses one to sixteen (`nconnect`) for NFS and a few for HTTP.
const PER_PEER: usize = 32;
/// Connections of all peers on one listener.
const IN_TOTAL: usize = 5000;
/// Pause after an accept that failed for want of descriptors or memory; the kernel keeps the queue meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

/// One connection as the loop sees it. The handler touches it, and ends when it is evicted.
pub struct Slot {
    peer: IpAddr,
    born: Instant,
    touched: AtomicU64,
    evict: Notify,
}

impl Slot {
    /// The connection has done something: it is the last to be evicted now.
    pub fn touch(&self) {
        let age = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.touched.store(age, Ordering::Relaxed);
    }

    /// Resolves when this connection has to give way.
    pub async fn evicted(&self) {
        self.evict.notified().await;
    }

    fn idle(&self, now: Instant) -> Duration {
        let touched = self.born + Duration::from_millis(self.touched.load(Ordering::Relaxed));
        now.saturating_duration_since(touched)
    }
}

#[derive(Default)]
struct Slots {
    by_peer: HashMap<IpAddr, Vec<Arc<Slot>>>,
    total: usize,
}

impl Slots {
    fn enter(&mut self, peer: IpAddr, now: Instant) -> Arc<Slot> {
        let full = |slots: &Vec<Arc<Slot>>| slots.len() >= PER_PEER;
        let oldest = if self.by_peer.get(&peer).is_some_and(full) {
            self.by_peer.get(&peer).and_then(|slots| slots.iter().max_by_key(|slot| slot.idle(now))).cloned()
        } else if self.total >= IN_TOTAL {
            self.by_peer.values().flatten().max_by_key(|slot| slot.idle(now)).cloned()
        } else {
            None
        };
        if let Some(slot) = oldest {
            slot.evict.notify_one();
            self.leave(&slot);
        }
        let slot = Arc::new(Slot { peer, born: now, touched: AtomicU64::new(0), evict: Notify::new() });
        self.by_peer.entry(peer).or_default().push(slot.clone());
        self.total += 1;
        slot
    }

    fn leave(&mut self, slot: &Arc<Slot>) {
        let Some(slots) = self.by_peer.get_mut(&slot.peer) else { return };
        let before = slots.len();
        slots.retain(|other| !Arc::ptr_eq(other, slot));
        self.total -= before - slots.len();
        if slots.is_empty() {
            self.by_peer.remove(&slot.peer);
        }
    }
}

/// Accepts until `stop` resolves, then waits for the connections to end by themselves.
///
/// Each connection runs as a task of its own, so a panic in a handler costs that connection and nothing else.
pub async fn accept<H, F>(
    listener: TcpListener,
    service: &'static str,
    stop: impl Future<Output = ()>,
    handle: H,
) where
    H: Fn(TcpStream, SocketAddr, Arc<Slot>) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let slots = Arc::new(Mutex::new(Slots::default()));
    let mut tasks = JoinSet::new();
    let mut quiet_until = Instant::now();
    tokio::pin!(stop);
    loop {
        while tasks.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(cause) => {
                // A peer that reset before we came is no fault of ours; running out of descriptors is.
                if Instant::now() >= quiet_until && cause.kind() != std::io::ErrorKind::ConnectionAborted {
                    tracing::warn!(service, %cause, "cannot accept connections just now");
                    quiet_until = Instant::now() + Duration::from_secs(5);
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // One write per batch of replies is ours already; Nagle would only hold back the last segment.
        let _ = stream.set_nodelay(true);
        let slot = slots.lock().unwrap_or_else(PoisonError::into_inner).enter(peer.ip(), Instant::now());
        let slots = slots.clone();
        let work = handle(stream, peer, slot.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = work => {}
                () = slot.evicted() => tracing::debug!(service, %peer, "closed an idle connection to let a new one in"),
            }
            slots.lock().unwrap_or_else(PoisonError::into_inner).leave(&slot);
        });
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_peer_loses_its_longest_idle_connection_and_not_the_newest() {
        let mut slots = Slots::default();
        let start = Instant::now();
        let peer = IpAddr::from([127, 0, 0, 1]);
        let all: Vec<_> = (0..PER_PEER).map(|_| slots.enter(peer, start)).collect();
        for slot in all.iter().skip(1) {
            slot.touched.store(50, Ordering::Relaxed);
        }
        let newest = slots.enter(peer, start + Duration::from_millis(60));
        let left = &slots.by_peer[&peer];
        assert_eq!(left.len(), PER_PEER);
        assert!(left.iter().any(|slot| Arc::ptr_eq(slot, &newest)));
        assert!(!left.iter().any(|slot| Arc::ptr_eq(slot, &all[0])), "the idle one went");
    }

    #[test]
    fn a_full_peer_costs_no_other_peer_a_connection() {
        let mut slots = Slots::default();
        let now = Instant::now();
        let quiet = slots.enter(IpAddr::from([127, 0, 0, 2]), now);
        for _ in 0..3 * PER_PEER {
            slots.enter(IpAddr::from([127, 0, 0, 1]), now);
        }
        assert!(Arc::ptr_eq(&slots.by_peer[&quiet.peer][0], &quiet));
        assert_eq!(slots.total, PER_PEER + 1);
    }

    #[test]
    fn leaving_twice_counts_once() {
        let mut slots = Slots::default();
        let slot = slots.enter(IpAddr::from([127, 0, 0, 1]), Instant::now());
        slots.leave(&slot);
        slots.leave(&slot);
        assert_eq!(slots.total, 0);
        assert!(slots.by_peer.is_empty());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn connect_and_reset_in_a_loop_does_not_end_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = tokio::spawn(accept(
            listener,
            "test",
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
