//! DHCP's sockets and its durability: the engine says what to answer and what to write first; this loop writes, waits
//! for the disk, and only then sends. Commits run side by side, so the group commit in `state` takes them together.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use oneroot_bootconf::{Site, script};
use oneroot_dhcp::frame::{self, Envelope};
use oneroot_dhcp::{
    BootFile, Client, CommitError, DropReason, Engine, Lease, LeaseChange, Now, Policy, Received,
};
use oneroot_dhcp::{Reply, Reservation, Revision, Route, Step, Subnet};
use oneroot_state::{Backend as _, Error as StateError, Expect, Table, Txn};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::clock;
use crate::machines::Machines;
use crate::net::{self, link, link::Interface};

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// Largest message that is looked at; a client's is 300 to 1,500 bytes.
const LARGEST: usize = 2048;
/// Commits that may wait to be told to the engine.
const ANSWERS: usize = 4096;
/// Largest IP datagram that every Ethernet takes; replies are far smaller.
const ETHERNET_MTU: u16 = 1500;
/// How often one reason for dropping messages may be logged.
const QUIET: Duration = Duration::from_secs(5);

/// Leases by MAC.
const LEASES: Table<Lease> = Table::new("leases");

type Mac = oneroot_dhcp::Mac;

/// The same address in policy's words; a MAC that the wire accepts is one that policy accepts.
fn policy_mac(mac: Mac) -> Option<oneroot_bootconf::Mac> {
    oneroot_bootconf::Mac::new(mac.bytes())
}

fn wire_mac(mac: oneroot_bootconf::Mac) -> Option<Mac> {
    Mac::new(mac.bytes()).ok()
}

fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

/// What the engine asks, answered from the site and from the machines' pins.
struct Rules<'a>(&'a Machines, Arc<Site>);

impl Policy for Rules<'_> {
    fn reservation(&self, mac: Mac) -> Option<Reservation> {
        let (name, machine) = self.1.machine(policy_mac(mac)?)?;
        Some(Reservation { address: machine.address_of(policy_mac(mac)?), hostname: Some(name.to_owned()) })
    }

    fn reserved(&self, address: Ipv4Addr) -> Option<Mac> {
        self.1.reserved(address).and_then(wire_mac)
    }

    fn serve_unknown(&self) -> bool {
        true
    }

    fn boot(&self, client: &Client, server: Ipv4Addr) -> Option<BootFile> {
        let base = script::http_base(IpAddr::V4(server), self.1.server.http_port);
        let file = match (client.ipxe, client.http, client.pxe, client.architecture) {
            // iPXE never gets a loader: it would load itself for ever (reference E6).
            (true, ..) => format!("{base}/boot/{}.ipxe", policy_mac(client.mac)?.dashed()),
            (false, true, _, _) => format!("{base}/ipxe.efi"),
            (false, false, true, Some(0) | None) => "undionly.kpxe".to_owned(),
            (false, false, true, Some(7 | 9)) => "ipxe.efi".to_owned(),
            _ => return None,
        };
        Some(BootFile { server, file })
    }

    fn holder(&self, address: Ipv4Addr) -> Option<Mac> {
        self.0.holder(IpAddr::V4(address)).and_then(wire_mac)
    }

    fn held_by(&self, mac: Mac) -> Option<Ipv4Addr> {
        self.0.held_by(policy_mac(mac)?).and_then(v4)
    }
}

/// A DHCP server on one interface.
pub struct Server {
    machines: Arc<Machines>,
    engine: Engine,
    interface: Interface,
    socket: UdpSocket,
    address: Ipv4Addr,
    born: Instant,
    frames: u16,
    quiet: HashMap<DropReason, Instant>,
}

impl Server {
    /// Binds the interface and reads the leases.
    pub async fn open(machines: Arc<Machines>) -> Result<Self> {
        let site = machines.site();
        let address = v4(site.server.address).context("DHCP needs an IPv4 server address")?;
        let interface = site.server.interfaces.first().context("the site names no interface")?;
        let interface = Interface::open(interface)?;
        let socket = net::broadcasts(&interface.name, SERVER_PORT, "DHCP")?;
        let (leases, bad) = LEASES.list(machines.state.as_ref()).await?;
        for record in bad {
            tracing::error!(key = record.key, cause = record.cause, "left out a lease that does not read");
        }
        for (_, lease) in &leases {
            if let Some(mac) = policy_mac(lease.value.mac) {
                machines.leased(IpAddr::V4(lease.value.address), mac);
            }
        }
        let subnets = site.networks.iter().map(|network| Subnet {
            network: network.subnet,
            server: network.server.unwrap_or(address),
            router: network.router,
            dns: network.dns.clone(),
            domain: network.domain.clone(),
            pool: network.pool,
            exclude: network.exclude.clone(),
            lease_secs: network.lease,
            mtu: ETHERNET_MTU,
            authoritative: network.authoritative,
            proxy: network.proxy,
        });
        let leases = leases.into_iter().map(|(_, lease)| (lease.value, Revision(lease.revision.0)));
        let engine = Engine::new(subnets.collect(), leases);
        let (born, quiet) = (Instant::now(), HashMap::new());
        Ok(Self { machines, engine, interface, socket, address, born, frames: 0, quiet })
    }

    /// Serves for ever.
    pub async fn serve(mut self) {
        let (answers, mut inbox) = mpsc::channel::<(u64, Result<Revision, CommitError>)>(ANSWERS);
        let mut datagram = vec![0; LARGEST];
        loop {
            let step = tokio::select! {
                received = self.socket.recv_from(&mut datagram) => match received {
                    Ok((count, _)) => {
                        let payload = datagram.get(..count).unwrap_or_default();
                        let machines = self.machines.clone();
                        let received = Received { payload, via: Some(self.address) };
                        self.engine.handle(self.now(), &Rules(&machines, machines.site()), received)
                    }
                    // The interface is down for now, or a reply was refused. The next message may be good.
                    Err(cause) => {
                        tracing::debug!(%cause, "DHCP receive");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
                Some((token, result)) = inbox.recv() => self.engine.committed(token, result),
            };
            match step {
                Step::Reply(reply) => self.send(&reply).await,
                Step::Dropped(reason) => self.dropped(reason),
                Step::Commit { token, change } => {
                    let (machines, answers) = (self.machines.clone(), answers.clone());
                    tokio::spawn(async move {
                        let result = write(&machines, &change).await;
                        let _ = answers.send((token, result)).await;
                    });
                }
            }
        }
    }

    fn now(&self) -> Now {
        let mono = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { wall: clock::now(), mono }
    }

    async fn send(&mut self, reply: &Reply) {
        if let (true, Some(address), Some(mac)) = (reply.leased, reply.address, policy_mac(reply.mac)) {
            self.machines.leased(IpAddr::V4(address), mac);
            self.machines.step(mac, "address", reply.boots);
            tracing::info!(machine = self.machines.name_of(mac), %mac, %address, "has an address");
        }
        let sent = match reply.route {
            Route::Relay(to) | Route::Back(to) => self.socket.send_to(&reply.payload, to).await.map(drop),
            Route::Broadcast => self.send_frame([0xff; 6], Ipv4Addr::BROADCAST, &reply.payload),
            Route::Direct(mac, address) => self.send_frame(mac.bytes(), address, &reply.payload),
        };
        if let Err(cause) = sent {
            tracing::warn!(mac = %reply.mac, %cause, "a DHCP reply could not be sent");
        }
    }

    fn send_frame(&mut self, to_mac: [u8; 6], to: Ipv4Addr, payload: &[u8]) -> std::io::Result<()> {
        self.frames = self.frames.wrapping_add(1);
        let envelope = Envelope {
            from_mac: self.interface.mac,
            to_mac,
            from: SocketAddrV4::new(self.address, SERVER_PORT),
            to: SocketAddrV4::new(to, CLIENT_PORT),
        };
        match frame::udp(&envelope, self.frames, payload) {
            Some(frame) => link::send_frame(&self.interface.raw, &frame),
            None => Err(std::io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Counted by the engine; said at most every few seconds for each reason, for anybody can send bad packets.
    fn dropped(&mut self, reason: DropReason) {
        let said = self.quiet.get(&reason).is_some_and(|said| said.elapsed() < QUIET);
        let usual = matches!(
            reason,
            DropReason::Noted | DropReason::OtherServer | DropReason::Pending | DropReason::Proxied
        );
        if !said && !usual {
            self.quiet.insert(reason, Instant::now());
            let count =
                self.engine.counters().find(|(other, _)| *other == reason).map_or(0, |(_, count)| count);
            if reason == DropReason::Declined {
                for (address, by) in self.engine.declined(self.now()) {
                    tracing::warn!(%address, %by, "rests: a machine has found another host there");
                }
            }
            tracing::warn!(count, "dropped a DHCP message: {reason}");
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
