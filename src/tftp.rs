//! TFTP's sockets: one on port 69, and one of its own for each transfer (RFC 1350 §4), on the address that was asked.
//!
//! The engine decides everything; this loop moves datagrams, wakes it when a timer is due, and asks [`Machines`] what a
//! name stands for. A lookup runs as a task, so that a slow disk holds up no other transfer.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use oneroot_tftp::{Content, Engine, Now, Outcome, Peer, SessionId, Step, TftpError};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use crate::net::Backoff;
use oneroot_machines::{Machines, Resource, Via};

/// Largest datagram that a client sends: an RRQ is 512 bytes, an ACK 4.
const LARGEST: usize = 2048;

/// A resource, as a transfer reads it.
struct Sent(Resource);

impl Content for Sent {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<usize> {
        self.0.fill(offset, to)
    }
}

/// What reaches the loop from its tasks.
enum Event {
    Packet(SessionId, SocketAddr, Vec<u8>),
    Found(SessionId, Option<Resource>),
}

/// A transfer's own port, and the task that listens on it.
struct Port {
    socket: Arc<UdpSocket>,
    peer: SocketAddr,
    listener: AbortHandle,
}

struct Server {
    machines: Arc<Machines>,
    well_known: UdpSocket,
    local: IpAddr,
    engine: Engine,
    ports: HashMap<SessionId, Port>,
    events: mpsc::Sender<Event>,
    born: Instant,
}

/// Serves until `stop` changes.
pub async fn serve(machines: Arc<Machines>, socket: UdpSocket, mut stop: watch::Receiver<bool>) {
    let Ok(local) = socket.local_addr() else { return };
    let (events, mut inbox) = mpsc::channel(1024);
    let mut server = Server {
        machines,
        well_known: socket,
        local: local.ip(),
        engine: Engine::new(),
        ports: HashMap::new(),
        events,
        born: Instant::now(),
    };
    let mut datagram = vec![0; LARGEST];
    let mut backoff = Backoff::default();
    loop {
        let due = server.engine.next_deadline();
        let wake = due.map_or(Duration::from_secs(3600), |due| {
            Duration::from_millis(due.0.saturating_sub(server.now().0))
        });
        // The transfer on whose port a datagram came: an answer to a stranger leaves from where it was asked.
        let mut asked = None;
        let steps = tokio::select! {
            _ = stop.changed() => return,
            received = server.well_known.recv_from(&mut datagram) => match received {
                Ok((count, remote)) => {
                    backoff.reset();
                    let peer = Peer { remote, local: server.local };
                    let now = server.now();
                    server.engine.request(now, peer, datagram.get(..count).unwrap_or_default())
                }
                // An ICMP error of an earlier send, or an interface that is down for now. Never a reason to end.
                Err(cause) => {
                    backoff.after(&cause, "TFTP requests").await;
                    continue;
                }
            },
            Some(event) = inbox.recv() => {
                let now = server.now();
                match event {
                    Event::Packet(session, from, bytes) => {
                        asked = Some(session);
                        server.engine.packet(now, session, from, &bytes)
                    }
                    Event::Found(session, Some(resource)) => server.engine.opened(now, session, Box::new(Sent(resource))),
                    Event::Found(session, None) => server.engine.refused(now, session, TftpError::NotFound),
                }
            }
            () = tokio::time::sleep(wake) => {
                let now = server.now();
                server.engine.expire(now)
            }
        };
        for step in steps {
            server.take(step, asked).await;
        }
    }
}

impl Server {
    fn now(&self) -> Now {
        Now(u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    async fn take(&mut self, step: Step, asked: Option<SessionId>) {
        match step {
            Step::Open { session, peer, name } => self.open(session, peer, name).await,
            Step::Send { session, bytes } => {
                if let Some(port) = self.ports.get(&session)
                    && let Err(cause) = port.socket.send_to(&bytes, port.peer).await
                {
                    // The engine's timer sends it again, or gives the transfer up.
                    tracing::debug!(peer = %port.peer, %cause, "TFTP send");
                }
            }
            Step::Stray { to, bytes } => {
                let own = asked.and_then(|session| self.ports.get(&session)).map(|port| port.socket.as_ref());
                // A stranger that is gone is no loss.
                let _ = own.unwrap_or(&self.well_known).send_to(&bytes, to).await;
            }
            Step::Ended { session, outcome } => {
                if let Some(port) = self.ports.remove(&session) {
                    port.listener.abort();
                    report(port.peer, &outcome);
                }
            }
        }
    }

    /// Gives a new transfer its port, and looks its name up.
    async fn open(&mut self, session: SessionId, peer: Peer, name: String) {
        let Ok(socket) = UdpSocket::bind((self.local, 0)).await else {
            // The engine's own timer ends a transfer that is never opened; the client asks again meanwhile.
            tracing::warn!(peer = %peer.remote, "no port left for a TFTP transfer");
            return;
        };
        let socket = Arc::new(socket);
        let (events, listening) = (self.events.clone(), socket.clone());
        let listener = tokio::spawn(async move {
            let mut datagram = vec![0; LARGEST];
            let mut backoff = Backoff::default();
            loop {
                match listening.recv_from(&mut datagram).await {
                    Ok((count, from)) => {
                        backoff.reset();
                        let bytes = datagram.get(..count).unwrap_or_default().to_vec();
                        if events.send(Event::Packet(session, from, bytes)).await.is_err() {
                            return;
                        }
                    }
                    Err(cause) => backoff.after(&cause, "a TFTP transfer's datagrams").await,
                }
            }
        });
        self.ports.insert(session, Port { socket, peer: peer.remote, listener: listener.abort_handle() });
        let (events, machines) = (self.events.clone(), self.machines.clone());
        tokio::spawn(async move {
            let found = machines.resource(peer.remote.ip().to_canonical(), &name, None, Via::Tftp).await;
            let level = if found.is_some() { "serving" } else { "not there" };
            tracing::debug!(peer = %peer.remote, name, "TFTP file: {level}");
            let _ = events.send(Event::Found(session, found)).await;
        });
    }
}

fn report(peer: SocketAddr, outcome: &Outcome) {
    match outcome {
        Outcome::Completed { bytes } => tracing::info!(%peer, bytes, "fetched a file over TFTP"),
        other => tracing::debug!(%peer, outcome = ?other, "a TFTP transfer ended"),
    }
}
