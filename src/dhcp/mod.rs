//! DHCP's sockets and its durability: the engine says what to answer and what to write first; this loop writes, waits
//! for the disk, and only then sends. Commits run side by side, so the group commit in `state` takes them together.

mod port;
mod rules;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use oneroot_dhcp::{
    CommitError, DropReason, Engine, Lease, LeaseChange, Now, Received, Reply, Revision, Route, Step,
};
use oneroot_state::{Backend as _, Error as StateError, Expect, Table, Txn};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::clock;
use crate::machines::Machines;
use crate::net::keeper::Keeper;
use crate::net::{self, Backoff, Place};
use port::Port;
use rules::{Rules, policy_mac, subnets};

/// Where PXE firmware asks what to load once it was told of a boot server.
const BOOT_SERVER_PORT: u16 = 4011;
/// Largest message that is looked at; a client's is 300 to 1,500 bytes.
const LARGEST: usize = 2048;
/// Messages and commits that may wait for the engine; what is more waits in the kernel, and is lost there.
const WAITING: usize = 4096;

/// Leases by MAC.
const LEASES: Table<Lease> = Table::new("leases");

/// Where a message came from, and where its answer leaves by.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Port 67 on an interface.
    Port(usize),
    /// Port 4011 on one of the server's addresses, from this client.
    BootServer(usize, SocketAddrV4),
}

enum Event {
    Heard(Way, Vec<u8>),
    Committed(u64, Result<Revision, CommitError>),
}

/// The DHCP server on all its interfaces.
pub struct Server {
    machines: Arc<Machines>,
    engine: Engine,
    ports: Vec<Port>,
    boot_servers: Vec<Arc<UdpSocket>>,
    /// By which way the ACK of a commit leaves.
    ways: HashMap<u64, Way>,
    born: Instant,
}

impl Server {
    /// Binds the interfaces and reads the leases.
    pub async fn open(machines: Arc<Machines>, keeper: &Keeper) -> Result<Self> {
        let site = machines.site();
        let ports =
            site.server.interfaces.iter().map(|name| Port::open(keeper, name)).collect::<Result<_>>()?;
        let boot_server = |address: IpAddr| -> Result<_> {
            let address = SocketAddr::new(address, BOOT_SERVER_PORT);
            Ok(Arc::new(net::datagrams(address, Place::of(&site), "PXE boot servers")?))
        };
        let boot_servers = site.server_addresses().into_iter().map(boot_server).collect::<Result<_>>()?;
        let (leases, bad) = LEASES.list(machines.state.as_ref()).await?;
        for record in bad {
            tracing::error!(key = record.key, cause = record.cause, "left out a lease that does not read");
        }
        for (_, lease) in &leases {
            if let Some(mac) = policy_mac(lease.value.mac) {
                machines.leased(IpAddr::V4(lease.value.address), mac);
            }
        }
        let leases = leases.into_iter().map(|(_, lease)| (lease.value, Revision(lease.revision.0)));
        let engine = Engine::new(subnets(&site), leases);
        let (born, ways) = (Instant::now(), HashMap::new());
        Ok(Self { machines, engine, ports, boot_servers, ways, born })
    }

    /// Serves for ever.
    pub async fn serve(mut self) {
        let (events, mut inbox) = mpsc::channel(WAITING);
        let mut listeners = JoinSet::new();
        for (number, port) in self.ports.iter().enumerate() {
            listeners.spawn(listen(port.socket.clone(), events.clone(), move |_| Some(Way::Port(number))));
        }
        for (number, socket) in self.boot_servers.iter().enumerate() {
            listeners.spawn(listen(socket.clone(), events.clone(), move |from| match from {
                SocketAddr::V4(from) => Some(Way::BootServer(number, from)),
                SocketAddr::V6(_) => None,
            }));
        }
        let mut sites = self.machines.sites();
        loop {
            tokio::select! {
                Some(event) = inbox.recv() => self.take(event, &events).await,
                Ok(()) = sites.changed() => {
                    self.engine.set_subnets(subnets(&self.machines.site()));
                }
            }
        }
    }

    async fn take(&mut self, event: Event, events: &mpsc::Sender<Event>) {
        let (way, step) = match event {
            Event::Heard(way, payload) => (way, self.handle(way, &payload)),
            Event::Committed(token, result) => {
                let Some(way) = self.ways.remove(&token) else { return };
                (way, self.engine.committed(token, result))
            }
        };
        match step {
            Step::Reply(reply) => self.send(way, &reply).await,
            Step::Dropped(reason) => self.dropped(reason),
            Step::Commit { token, change } => {
                self.ways.insert(token, way);
                let (machines, events) = (self.machines.clone(), events.clone());
                tokio::spawn(async move {
                    let result = write(&machines, &change).await;
                    let _ = events.send(Event::Committed(token, result)).await;
                });
            }
        }
    }

    fn handle(&mut self, way: Way, payload: &[u8]) -> Step {
        let mono = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        let now = Now { wall: clock::now(), mono };
        let site = self.machines.site();
        let machines = self.machines.clone();
        match way {
            Way::Port(number) => {
                let via = self.ports.get(number).and_then(|port| port.via(&site));
                self.engine.handle(now, &Rules(&machines, site), Received { payload, via })
            }
            Way::BootServer(_, from) => {
                let received = Received { payload, via: None };
                self.engine.handle_4011(now, &Rules(&machines, site), received, from)
            }
        }
    }

    async fn send(&mut self, way: Way, reply: &Reply) {
        if let (true, Some(address), Some(mac)) = (reply.leased, reply.address, policy_mac(reply.mac)) {
            self.machines.leased(IpAddr::V4(address), mac);
            self.machines.step(mac, "address", reply.boots);
            tracing::info!(machine = self.machines.name_of(mac), %mac, %address, "has an address");
        }
        let sent = match (way, reply.route) {
            (Way::BootServer(number, _), Route::Back(to)) => match self.boot_servers.get(number) {
                Some(socket) => socket.send_to(&reply.payload, to).await.map(drop),
                None => Ok(()),
            },
            (Way::Port(number), _) => match self.ports.get_mut(number) {
                Some(port) => port.send(reply, &self.machines.site()).await,
                None => Ok(()),
            },
            (Way::BootServer(..), _) => Ok(()),
        };
        if let Err(cause) = sent {
            tracing::warn!(mac = %reply.mac, %cause, "a DHCP reply could not be sent");
        }
    }

    /// Counted by the engine; the log limits how often each reason is said, for anybody can send bad packets.
    fn dropped(&mut self, reason: DropReason) {
        let ordinary = matches!(
            reason,
            DropReason::Noted | DropReason::OtherServer | DropReason::Pending | DropReason::Proxied
        );
        if ordinary {
            return;
        }
        let count = self.engine.counters().find(|(other, _)| *other == reason).map_or(0, |(_, count)| count);
        if reason == DropReason::Declined {
            let mono = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
            for (address, by) in self.engine.declined(Now { wall: clock::now(), mono }) {
                tracing::warn!(%address, mac = %by, "rests: a machine has found another host there");
            }
        }
        tracing::warn!(%reason, count, "dropped a DHCP message");
    }
}

/// Passes on what a socket hears, for ever.
async fn listen(socket: Arc<UdpSocket>, to: mpsc::Sender<Event>, way: impl Fn(SocketAddr) -> Option<Way>) {
    let mut datagram = vec![0; LARGEST];
    let mut backoff = Backoff::default();
    loop {
        match socket.recv_from(&mut datagram).await {
            Ok((count, from)) => {
                backoff.reset();
                let payload = datagram.get(..count).unwrap_or_default().to_vec();
                if let Some(way) = way(from)
                    && to.send(Event::Heard(way, payload)).await.is_err()
                {
                    return;
                }
            }
            // A reply was refused. The next message may be good.
            Err(cause) => backoff.after(&cause, "DHCP messages").await,
        }
    }
}

/// Makes a lease durable.
async fn write(machines: &Machines, change: &LeaseChange) -> Result<Revision, CommitError> {
    let at = |revision: Revision| Expect::At(oneroot_state::Revision(revision.0));
    let mac = change.put.mac;
    let mut txn = LEASES.expect(Txn::new(), mac, change.expected.map_or(Expect::Absent, at));
    if let Some((other, revision)) = change.evict {
        txn = LEASES.delete(LEASES.expect(txn, other, at(revision)), other);
    }
    let txn = LEASES.put(txn, mac, &change.put).map_err(|_| CommitError::Failed)?;
    match machines.state.commit(txn).await {
        Ok(revision) => Ok(Revision(revision.0)),
        Err(cause) => {
            tracing::error!(%mac, %cause, "a lease could not be written, so it is not acknowledged");
            Err(if matches!(cause, StateError::Conflict { .. }) {
                CommitError::Conflict
            } else {
                CommitError::Failed
            })
        }
    }
}
