//! DHCP's sockets and its durability: the engine says what to answer, what to write first and where to look; this loop
//! writes, waits for the disk or the probe, and only then sends. Commits run side by side, so the group commit in `state`
//! takes them together. What waits when this loop is woken is looked at in one go, and what that has to write is one errand.

mod inbox;
mod leasing;
mod outbox;
mod overheard;
mod pace;
mod port;
mod rules;
mod store;
mod told;
#[cfg(test)]
mod two_servers;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use anyhow::Result;
use oneroot_dhcp::{
    DropReason, Lease, LeaseChange, MessageType, Now, ProbeResult, Refused, Reply, Request, Route, Step,
};
use oneroot_ids::Mac;
use oneroot_state::{Backend as _, Event, State, Txn};
use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use crate::clock;
use crate::follow::Follower;
use crate::net::interfaces::Interfaces;
use crate::net::keeper::Keeper;
use crate::net::{self, Backoff, Place};
use inbox::{Inbox, Next, Whose};
pub use leasing::Leasing;
use oneroot_machines::{Machines, Sign, What};
use outbox::Unsent;
use overheard::Ear;
use pace::Pace;
use port::Port;
use rules::{Rules, subnets};
use store::Written;

/// Where PXE firmware asks what to load once it was told of a boot server.
const BOOT_SERVER_PORT: u16 = 4011;
/// Largest message that is looked at; a client's is 300 to 1,500 bytes.
const LARGEST: usize = 2048;
/// Bytes that the kernel may keep for us while other work has the processor: some 4,000 messages. Where it allows less, it
/// gives what it allows.
const BUFFER: usize = 4 << 20;
/// The same for what is sent: all replies of one turn, as the kernel counts a datagram of 1.5 KB, for a link that is slower than we are.
const SENT: usize = 192 * 2304;
/// Messages that are taken from a socket in its turn: more than are looked at meanwhile, for a flood has to wait in the inbox, which
/// knows who goes first, and not in the socket's buffer.
const HEARD: usize = 1024;
/// Changes of the state that are taken in before others have their turn. Whoever is far behind has to read all of it anew.
const CHANGES: usize = 512;
/// How often leases are written that were acknowledged before, and how many at once; and how often it is said what was
/// dropped.
const LATER: Duration = Duration::from_secs(1);
const AT_ONCE: usize = 512;

/// Where a message came from, and where its answer leaves by.
#[derive(Debug, Clone, Copy)]
enum Ingress {
    /// Port 67 on an interface.
    Port(usize),
    /// Port 4011 on one of the server's addresses, from this client.
    BootServer(usize, SocketAddrV4),
}

/// Something that was begun and has come back.
enum Done {
    Written(u64, Lease, Written),
    Probed(u64, ProbeResult),
}

/// A message, and where it came from.
type Message = (Ingress, Vec<u8>);
type Waiting = Inbox<Done, oneroot_ids::Mac, Message>;

/// The DHCP server on all its interfaces.
pub struct Server {
    machines: Arc<Machines>,
    interfaces: Arc<Interfaces>,
    leasing: Leasing,
    changes: Follower<State>,
    ports: Vec<Port>,
    boot_servers: Vec<Arc<UdpSocket>>,
    /// None where it could not be opened: machines boot without it.
    ear: Option<Ear>,
    /// By which way the answer to a commit or a probe leaves.
    writing: HashMap<u64, Ingress>,
    probing: HashMap<u64, Ingress>,
    /// What is to be written, and has not been asked for yet.
    asked: Vec<(u64, Lease, Arc<Txn>)>,
    /// How often each reason for dropping a message had been counted when that was last said.
    told: HashMap<DropReason, u64>,
    born: Instant,
}

impl Server {
    /// Binds the interfaces, inside of the runtime in which it is to serve.
    pub fn open(machines: Arc<Machines>, leasing: Leasing, keeper: &Keeper) -> Result<Self> {
        let site = machines.site();
        let ports =
            site.server.interfaces.iter().map(|name| Port::open(keeper, name)).collect::<Result<_>>()?;
        let boot_server = |address: IpAddr| -> Result<_> {
            let place = Place::of(&site, address);
            let address = SocketAddr::new(address, BOOT_SERVER_PORT);
            Ok(Arc::new(net::datagrams(address, place, "PXE boot servers")?))
        };
        let boot_servers = site.server_addresses().into_iter().map(boot_server).collect::<Result<_>>()?;
        let ear = Ear::open(keeper).inspect_err(|cause| {
            tracing::warn!("what other DHCP servers say on the wire is not heard: {cause:#}");
        });
        let changes = Follower::new(machines.state.clone(), leasing.watched());
        let (writing, probing, told) = (HashMap::new(), HashMap::new(), HashMap::new());
        let born = Instant::now();
        let ear = ear.ok();
        let mut server = Self {
            machines,
            interfaces: keeper.interfaces(),
            leasing,
            changes,
            ports,
            boot_servers,
            ear,
            writing,
            probing,
            asked: Vec::new(),
            told,
            born,
        };
        server.prepare();
        Ok(server)
    }

    /// Serves for ever.
    pub async fn serve(mut self) {
        let (inbox, mut pace) = (Arc::new(Waiting::new()), Pace::default());
        let mut listeners = JoinSet::new();
        let sockets =
            self.ports.iter().enumerate().map(|(number, port)| (port.socket.clone(), number, false));
        let others =
            self.boot_servers.iter().enumerate().map(|(number, socket)| (socket.clone(), number, true));
        for (socket, number, boots) in sockets.chain(others) {
            let ingress = move |from| match from {
                SocketAddr::V4(from) if boots => Some(Ingress::BootServer(number, from)),
                SocketAddr::V6(_) if boots => None,
                _ => Some(Ingress::Port(number)),
            };
            listeners.spawn(listen(socket, self.machines.clone(), inbox.clone(), ingress));
        }
        if let Some(ear) = self.ear.take() {
            listeners.spawn(ear.listen(self.machines.clone()));
        }
        let mut sites = self.machines.sites();
        let mut later = tokio::time::interval(LATER);
        loop {
            let mut told = None;
            tokio::select! {
                next = inbox.next() => {
                    self.take(next, &inbox);
                    inbox.hold_strangers(self.leasing.engine.strangers_wait());
                }
                Some(event) = self.changes.next() => told = Some(event),
                Ok(()) = sites.changed() => {
                    self.leasing.engine.set_subnets(subnets(&self.machines.site()));
                    self.prepare();
                }
                _ = later.tick() => {
                    self.write_later();
                    self.tell(inbox.lost());
                }
            }
            self.turn(&inbox, &mut pace, told).await;
        }
    }

    /// Does what is to be done by now, and waits until the next turn may begin.
    async fn turn(&mut self, inbox: &Arc<Waiting>, pace: &mut Pace, told: Option<Event>) {
        if told.is_some() {
            // The watch is quicker than the errand that brings the answer. Where that comes first, what it wrote is no news,
            // and need not be read.
            tokio::task::yield_now().await;
        }
        let begun = Instant::now();
        let room = pace.room(begun);
        let taken = self.take_what_waits(inbox, room, told);
        let wrote = self.write(inbox);
        self.send_waiting();
        // It never waits while messages wait, and others on this thread would: who listens, and the errand that was just begun.
        if wrote || taken >= room {
            tokio::task::yield_now().await;
        } else {
            tokio::task::consume_budget().await;
        }
        // It blocks the thread, which has nothing else to do: a task that slept would be woken with it for each message.
        let rest = pace.rest(begun, Instant::now(), taken, taken >= room);
        if !rest.is_zero() {
            std::thread::sleep(rest);
        }
    }

    /// Takes what has come back and messages, as many as there is room for: to be woken for each message or change alone would cost
    /// more than most of them do. How many there were.
    fn take_what_waits(&mut self, inbox: &Arc<Waiting>, room: usize, told: Option<Event>) -> usize {
        let taken = inbox.take_some(room, |next| {
            self.take(next, inbox);
            self.leasing.engine.strangers_wait()
        });
        told.into_iter().for_each(|event| self.leasing.state_changed(event));
        for _ in 0..CHANGES {
            let Some(Some(event)) = now(self.changes.next()) else { break };
            self.leasing.state_changed(event);
        }
        taken
    }

    fn take(&mut self, next: Next<Done, Message>, inbox: &Arc<Waiting>) {
        let (ingress, step) = match next {
            Next::Heard((ingress, payload)) => {
                let request = Request::parse(&payload);
                let step = self.handle(ingress, &request);
                match (&step, &request) {
                    (Step::Dropped(DropReason::OtherServer), Ok(request)) => self.chose_another(request),
                    (Step::Dropped(_), _) | (_, Err(_)) => {}
                    (_, Ok(request)) => self.note_claims(ingress, request),
                }
                (Some(ingress), step)
            }
            Next::Done(Done::Written(token, lease, written)) => {
                (self.writing.remove(&token), self.leasing.came_back(token, &lease, written))
            }
            Next::Done(Done::Probed(token, found)) => {
                let (now, rules) = (self.now(), Rules(&self.machines, self.machines.site()));
                let step = self.leasing.engine.probed(now, &rules, token, found);
                (self.probing.remove(&token), step)
            }
        };
        match (step, ingress) {
            (Step::Reply(reply), Some(ingress)) => self.send(ingress, reply),
            (Step::Reply(_), None) | (Step::Dropped(_), _) => {}
            (Step::Commit { token, change }, ingress) => {
                ingress.map(|ingress| self.writing.insert(token, ingress));
                self.ask(token, change);
            }
            (Step::Probe { token, address }, ingress) => {
                ingress.map(|ingress| self.probing.insert(token, ingress));
                let (machines, inbox) = (self.machines.clone(), inbox.clone());
                tokio::spawn(async move {
                    let found = found(machines.probe(address).await);
                    inbox.done([Done::Probed(token, found)]);
                });
            }
        }
    }

    fn ask(&mut self, token: u64, change: LeaseChange) {
        if let Some(txn) = self.leasing.transaction(token, &change) {
            self.asked.push((token, change.put, Arc::new(txn)));
        }
    }

    /// Has written what is to be written by now; whether there was anything.
    fn write(&mut self, inbox: &Arc<Waiting>) -> bool {
        if self.asked.is_empty() {
            return false;
        }
        let (state, inbox, asked) =
            (self.machines.state.clone(), inbox.clone(), std::mem::take(&mut self.asked));
        tokio::spawn(async move {
            let txns = asked.iter().map(|(.., txn)| txn.clone()).collect();
            let answers = state.commit_each(txns).await;
            let (good, bad): (Vec<_>, Vec<_>) =
                asked.into_iter().zip(answers).partition(|(_, answer)| answer.is_ok());
            let mut done = Vec::with_capacity(good.len());
            for ((token, lease, txn), answer) in good {
                let written = store::outcome(state.as_ref(), lease.mac, txn, answer).await;
                done.push(Done::Written(token, lease, written));
            }
            inbox.done(done);
            // Something has to be read for these, and others do not wait for that.
            for ((token, lease, txn), answer) in bad {
                let written = store::outcome(state.as_ref(), lease.mac, txn, answer).await;
                inbox.done([Done::Written(token, lease, written)]);
            }
        });
        true
    }

    /// Writes leases that were acknowledged before, for their pins bind the addresses.
    fn write_later(&mut self) {
        let now = self.now();
        for _ in 0..AT_ONCE {
            let Some(Step::Commit { token, change }) = self.leasing.engine.overdue(now) else { return };
            self.ask(token, change);
        }
    }

    fn prepare(&mut self) {
        let (now, rules) = (self.now(), Rules(&self.machines, self.machines.site()));
        self.leasing.engine.prepare(now, &rules);
    }

    fn now(&self) -> Now {
        let mono = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { wall: clock::now(), sure_since: clock::sure_since(), mono }
    }

    fn handle(&mut self, ingress: Ingress, request: &Result<Request, Refused>) -> Step {
        let (now, rules) = (self.now(), Rules(&self.machines, self.machines.site()));
        let engine = &mut self.leasing.engine;
        match ingress {
            Ingress::Port(number) => {
                let seen = self.ports.get(number).map(Port::seen);
                let via = seen.as_ref().map_or(&[][..], |seen| &seen.via);
                engine.take(now, &rules, request, via)
            }
            Ingress::BootServer(_, from) => engine.take_4011(now, &rules, request, from),
        }
    }

    /// Nobody waits for a full queue: what is lost is asked for again, and all others would wait too.
    fn send(&mut self, ingress: Ingress, reply: Reply) {
        let mac = reply.mac;
        if let (true, Some(address)) = (reply.leased, reply.address) {
            self.machines.step(mac, "address", reply.boots);
            tracing::info!(machine = self.machines.name_of(mac), %mac, %address, "has an address");
        }
        self.note(&reply);
        let sent = match (ingress, reply.route) {
            (Ingress::BootServer(number, _), Route::Back(to)) => match self.boot_servers.get(number) {
                Some(socket) => socket.try_send_to(&reply.payload, to.into()).map(drop),
                None => Ok(()),
            },
            (Ingress::Port(number), _) => match self.ports.get_mut(number) {
                Some(port) => port.send(reply),
                None => Ok(()),
            },
            (Ingress::BootServer(..), _) => Ok(()),
        };
        if let Err(cause) = sent {
            tracing::warn!(%mac, %cause, "a DHCP reply could not be sent");
        }
    }

    /// Sends what was left to be sent together.
    fn send_waiting(&mut self) {
        for port in &mut self.ports {
            for Unsent { to, count, cause } in port.send_waiting() {
                tracing::warn!(peer = %to, count, %cause, "DHCP replies could not be sent");
            }
        }
    }

    /// Notes what a message that is answered tells of a machine that wants to boot.
    fn note_claims(&self, ingress: Ingress, request: &Request) {
        let Ingress::Port(number) = ingress else { return };
        let Some(port) = self.ports.get(number) else { return };
        if let Some(claims) = told::claims(request, &port.name) {
            self.machines.heard_of(request.mac, claims);
        }
    }

    /// A client has taken another server's offer. A DISCOVER names no server, and a release or decline is about the past.
    fn chose_another(&self, request: &Request) {
        // This host may have other addresses, which a relay or a client may name.
        if let (MessageType::Request, Some(server)) = (request.kind, request.server_id)
            && !self.interfaces.is_here(server.into())
        {
            self.machines.other_server(Sign {
                what: What::Took,
                server,
                mac: request.mac,
                address: request.requested,
            });
        }
    }

    /// Notes what a reply says of how far a boot has come.
    fn note(&self, reply: &Reply) {
        let mac = reply.mac;
        if !reply.boots {
            self.machines.asked_for_address(mac);
        } else if is_proxy_offer(reply) && self.machines.goes_first(mac) {
            self.machines.step(mac, "offer", true);
        }
    }

    /// Says why messages were dropped since this was called last, once for each reason: a line for each message would cost
    /// more than to look at it.
    fn tell(&mut self, unheard: u64) {
        if unheard > 0 {
            tracing::warn!(now = unheard, "DHCP messages went unheard: more came at once than can wait");
        }
        let counts: Vec<_> = self.leasing.engine.counters().collect();
        for (reason, count) in counts {
            let told = self.told.insert(reason, count).unwrap_or(0);
            let ordinary = matches!(
                reason,
                DropReason::Noted
                    | DropReason::OtherServer
                    | DropReason::Pending
                    | DropReason::Asking
                    | DropReason::Proxied
            );
            if ordinary || count == told {
                continue;
            }
            if reason == DropReason::Declined {
                for (address, by) in self.leasing.engine.declined(self.now()) {
                    tracing::warn!(%address, mac = %by, "is not given out for ten minutes: a machine found another host using it");
                }
            }
            tracing::warn!(%reason, now = count - told, in_all = count, "dropped DHCP messages");
        }
    }
}

/// Passes on what a socket hears, for ever.
async fn listen(
    socket: Arc<UdpSocket>,
    machines: Arc<Machines>,
    inbox: Arc<Waiting>,
    ingress: impl Fn(SocketAddr) -> Option<Ingress>,
) {
    widen(&socket);
    let mut datagram = vec![0; LARGEST];
    let hear = |datagram: &[u8], from| {
        if let Some(ingress) = ingress(from) {
            inbox.heard(whose(&machines, ingress, datagram), from, (ingress, datagram.to_vec()));
        }
    };
    let mut backoff = Backoff::default();
    loop {
        match socket.recv_from(&mut datagram).await {
            Ok((count, from)) => {
                backoff.reset();
                hear(datagram.get(..count).unwrap_or_default(), from);
            }
            // A reply was refused. The next message may be good.
            Err(cause) => backoff.after(&cause, "DHCP messages").await,
        }
        for _ in 0..HEARD {
            let Ok((count, from)) = socket.try_recv_from(&mut datagram) else { break };
            hear(datagram.get(..count).unwrap_or_default(), from);
        }
    }
}

/// Has the kernel keep more for a socket. Past what an ordinary program is allowed only with CAP_NET_ADMIN, which is not
/// needed for anything else: without it, it is what is allowed.
fn widen(socket: &UdpSocket) {
    let forced = rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, BUFFER);
    if forced.is_err()
        && let Err(cause) = SockRef::from(socket).set_recv_buffer_size(BUFFER)
    {
        tracing::debug!(%cause, "the buffer for DHCP messages stays as it is");
    }
    // It works with what the system gives, too.
    let _ = SockRef::from(socket).set_send_buffer_size(SENT);
}

/// What a future has to say without waiting. It has taken nothing where that is nothing.
fn now<F: Future>(future: F) -> Option<F::Output> {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(said) => Some(said),
        Poll::Pending => None,
    }
}

/// Whose a message is, by a look at its hardware address (RFC 2131 §2) and no more.
fn whose(machines: &Machines, ingress: Ingress, payload: &[u8]) -> Whose<Mac> {
    let bytes = payload.get(28..34).and_then(|bytes| <[u8; 6]>::try_from(bytes).ok());
    match bytes.and_then(Mac::new).filter(|mac| machines.goes_first(*mac)) {
        Some(mac) => Whose::Machine(mac),
        // Option 53 is the first of whoever boots; of another only the order is missed.
        None if matches!(ingress, Ingress::Port(_)) && payload.get(240..243) == Some(&[53, 1, 3]) => {
            Whose::Asks
        }
        None => Whose::Unknown,
    }
}

/// Whether a reply is an OFFER of something to boot and of no address: beside another DHCP server. Option 53 is the first.
fn is_proxy_offer(reply: &Reply) -> bool {
    reply.address.is_none() && reply.payload.get(240..243) == Some(&[53, 1, 2])
}

/// What a probe has found, as the engine takes it.
fn found(found: oneroot_machines::ProbeResult) -> ProbeResult {
    match found {
        oneroot_machines::ProbeResult::Mac(mac) => ProbeResult::Mac(mac),
        oneroot_machines::ProbeResult::Answered => ProbeResult::Answered,
        oneroot_machines::ProbeResult::Silent => ProbeResult::Silent,
        oneroot_machines::ProbeResult::Unable(_) => ProbeResult::Unable,
    }
}
