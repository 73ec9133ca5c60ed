//! The thread: it moves datagrams, wakes the engine when a timer is due, and asks [`Machines`] what a name stands for.
//!
//! The engine decides everything. What takes time is a task that sends an [`Event`] and rings the bell, so that a slow disk
//! holds up no other transfer.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use oneroot_machines::{Lookup, Machines, Resource, Via, blocking};
use oneroot_tftp::{Content, Engine, Now, Outcome, Peer, SessionId, Step, TftpError};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

use super::ahead::Ahead;
use super::bell::{BELL, Bell, Wakeups};
use super::port::Port;
use crate::net::Backoff;

/// Largest datagram that a client sends: an RRQ is 512 bytes, an ACK 4.
const LARGEST: usize = 2048;
/// The number of port 69 among the wakeups. Transfers are counted from 0.
const WELL_KNOWN: u64 = BELL - 1;
/// Reads from the disk at once. Others wait for their turn, each with nothing read.
const READS: usize = 32;
/// Answers of tasks that wait for the thread.
const ANSWERS: usize = 1024;
/// The longest sleep, where no timer is due.
const NOTHING_DUE: Duration = Duration::from_secs(3600);

/// What reaches the thread from tasks.
enum Event {
    Found(SessionId, Lookup),
    Read(SessionId, Option<Ahead>),
    Stop,
}

/// How a task reaches the thread.
#[derive(Clone)]
pub struct Line {
    events: mpsc::Sender<Event>,
    bell: Bell,
}

impl Line {
    async fn send(&self, event: Event) {
        // The thread is gone only when all is over.
        if self.events.send(event).await.is_ok() {
            self.bell.ring();
        }
    }

    /// Ends the thread.
    pub async fn stop(&self) {
        self.send(Event::Stop).await;
    }
}

struct Transfer {
    session: SessionId,
    port: Port,
    /// Once it has been found.
    resource: Option<Resource>,
    /// The task that looks its name up, or reads on.
    waits: Option<AbortHandle>,
}

impl Drop for Transfer {
    fn drop(&mut self) {
        if let Some(waits) = &self.waits {
            waits.abort();
        }
    }
}

/// All that the thread has.
pub struct Server {
    machines: Arc<Machines>,
    tasks: Handle,
    well_known: UdpSocket,
    local: IpAddr,
    engine: Engine,
    transfers: HashMap<u64, Transfer>,
    wakeups: Wakeups,
    line: Line,
    inbox: mpsc::Receiver<Event>,
    reads: Arc<Semaphore>,
    backoff: Backoff,
    born: Instant,
    /// When the thread last woke up.
    now: Now,
}

impl Server {
    /// A server for this port 69, and what stops it. Called from a task: its runtime runs those of the server.
    pub fn new(machines: Arc<Machines>, well_known: UdpSocket) -> io::Result<(Self, Line)> {
        let wakeups = Wakeups::new()?;
        wakeups.add(&well_known, WELL_KNOWN)?;
        let (events, inbox) = mpsc::channel(ANSWERS);
        let line = Line { events, bell: wakeups.bell() };
        let server = Self {
            machines,
            tasks: Handle::current(),
            local: well_known.local_addr()?.ip(),
            well_known,
            engine: Engine::new(),
            transfers: HashMap::new(),
            wakeups,
            line: line.clone(),
            inbox,
            reads: Arc::new(Semaphore::new(READS)),
            backoff: Backoff::default(),
            born: Instant::now(),
            now: Now(0),
        };
        Ok((server, line))
    }

    /// Serves until it is stopped.
    pub fn run(mut self) {
        let mut numbers = Vec::new();
        let mut datagram = vec![0; LARGEST];
        loop {
            let due = self.engine.next_deadline();
            let sleep = due.map(|due| Duration::from_millis(due.0.saturating_sub(self.now.0)));
            if let Err(cause) = self.wakeups.wait(sleep.unwrap_or(NOTHING_DUE), &mut numbers) {
                self.pause(&cause, "TFTP's sockets");
            }
            // All that has come by now comes now: a clock that is asked for each block costs more than it says.
            self.now = Now(u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX));
            for number in numbers.drain(..) {
                match number {
                    BELL => {
                        if self.answers() {
                            return;
                        }
                    }
                    WELL_KNOWN => self.request(&mut datagram),
                    transfer => self.packet(transfer, &mut datagram),
                }
            }
            if self.engine.next_deadline().is_some_and(|due| due <= self.now) {
                let steps = self.engine.expire(self.now);
                self.take(steps, None);
            }
        }
    }

    /// An ICMP error of an earlier send, or an interface that is down for now. Never a reason to end, nor to be busy.
    fn pause(&mut self, cause: &io::Error, what: &str) {
        if !matches!(cause.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) {
            tracing::debug!(%cause, "cannot receive {what}");
            std::thread::sleep(self.backoff.next());
        }
    }

    /// A datagram on port 69.
    fn request(&mut self, datagram: &mut [u8]) {
        match self.well_known.recv_from(datagram) {
            Ok((count, remote)) => {
                self.backoff.reset();
                let peer = Peer { remote, local: self.local };
                let steps = self.engine.request(self.now, peer, datagram.get(..count).unwrap_or_default());
                self.take(steps, None);
            }
            Err(cause) => self.pause(&cause, "TFTP requests"),
        }
    }

    /// A datagram on a transfer's port.
    fn packet(&mut self, number: u64, datagram: &mut [u8]) {
        let Some(transfer) = self.transfers.get(&number) else { return };
        let session = transfer.session;
        match transfer.port.socket().recv_from(datagram) {
            Ok((count, from)) => {
                self.backoff.reset();
                let bytes = datagram.get(..count).unwrap_or_default();
                let steps = self.engine.packet(self.now, session, from, bytes);
                // An answer to a stranger leaves from where it was asked.
                self.take(steps, Some(session));
            }
            Err(cause) => self.pause(&cause, "a TFTP transfer's datagrams"),
        }
    }

    /// What tasks have found out; whether it is time to stop.
    fn answers(&mut self) -> bool {
        while let Ok(event) = self.inbox.try_recv() {
            let steps = match event {
                Event::Stop => return true,
                Event::Found(session, Ok(Some(resource))) => {
                    if let Some(transfer) = self.transfers.get_mut(&session.number()) {
                        transfer.resource = Some(resource.clone());
                    }
                    self.engine.opened(self.now, session, Box::new(Ahead::new(resource)))
                }
                Event::Found(session, none) => {
                    let error = none.map_or(TftpError::Unreadable, |_| TftpError::NotFound);
                    self.engine.refused(self.now, session, error)
                }
                Event::Read(session, ahead) => {
                    let content = ahead.map(|ahead| Box::new(ahead) as Box<dyn Content>);
                    self.engine.fetched(self.now, session, content)
                }
            };
            self.take(steps, None);
        }
        false
    }

    fn take(&mut self, steps: Vec<Step>, asked: Option<SessionId>) {
        for step in steps {
            match step {
                Step::Open { session, peer, name } => self.open(session, peer, name),
                Step::Send { session, datagrams } => {
                    if let Some(transfer) = self.transfers.get_mut(&session.number())
                        && let Err(cause) = transfer.port.send(&datagrams)
                    {
                        // The engine's timer sends it again, or gives the transfer up.
                        tracing::debug!(peer = %transfer.port.peer(), %cause, "TFTP send");
                    }
                }
                Step::Fetch { session, offset } => self.fetch(session, offset),
                Step::Stray { to, bytes } => {
                    let own = asked.and_then(|session| self.transfers.get(&session.number()));
                    let socket = own.map_or(&self.well_known, |transfer| transfer.port.socket());
                    // A stranger that is gone is no loss.
                    let _ = socket.send_to(&bytes, to);
                }
                Step::Ended { session, outcome } => {
                    if let Some(transfer) = self.transfers.remove(&session.number()) {
                        report(transfer.port.peer(), &outcome);
                    }
                }
            }
        }
    }

    /// Gives a new transfer its port, and looks its name up.
    fn open(&mut self, session: SessionId, peer: Peer, name: String) {
        let number = session.number();
        let bound = Port::bind(self.local, peer.remote).and_then(|port| {
            self.wakeups.add(port.socket(), number)?;
            Ok(port)
        });
        let Ok(port) = bound else {
            // The engine's own timer ends a transfer that is never opened; the client asks again meanwhile.
            tracing::warn!(peer = %peer.remote, "no port left for a TFTP transfer");
            return;
        };
        self.transfers.insert(number, Transfer { session, port, resource: None, waits: None });
        let (line, machines) = (self.line.clone(), self.machines.clone());
        let looking = self.tasks.spawn(async move {
            let found = machines.resource(peer.remote.ip().to_canonical(), &name, None, Via::Tftp).await;
            let what = match &found {
                Ok(Some(_)) => "serving",
                Ok(None) => "not there",
                Err(_) => "cannot be read",
            };
            tracing::debug!(peer = %peer.remote, name, "TFTP file: {what}");
            line.send(Event::Found(session, found)).await;
        });
        // With the transfer it ends: a place that was taken away from one is somebody else's at once, and whoever waits for
        // the disk without one would be one more for each datagram.
        if let Some(transfer) = self.transfers.get_mut(&number) {
            transfer.waits = Some(looking.abort_handle());
        }
    }

    /// Reads on in a file that is not in memory.
    fn fetch(&mut self, session: SessionId, offset: u64) {
        let Some(transfer) = self.transfers.get_mut(&session.number()) else { return };
        let Some(resource) = transfer.resource.clone() else { return };
        let (line, reads, peer) = (self.line.clone(), self.reads.clone(), transfer.port.peer());
        let reading = self.tasks.spawn(async move {
            let Ok(permit) = reads.acquire_owned().await else { return };
            let read = blocking(permit, move || Ahead::read(resource, offset)).await.flatten();
            let read =
                read.inspect_err(|cause| tracing::warn!(%peer, %cause, "a file can't be read for TFTP"));
            line.send(Event::Read(session, read.ok())).await;
        });
        transfer.waits = Some(reading.abort_handle());
    }
}

fn report(peer: SocketAddr, outcome: &Outcome) {
    match outcome {
        Outcome::Completed { bytes } => tracing::info!(%peer, bytes, "fetched a file over TFTP"),
        other => tracing::debug!(%peer, outcome = ?other, "a TFTP transfer ended"),
    }
}
