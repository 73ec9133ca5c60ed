//! What goes into the engine and what comes out of it.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::leases::lease::LeaseChange;
use crate::wire::message::Refused;
use oneroot_ids::Mac;

/// A datagram that came to port 67, or to 4011.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// Its bytes.
    pub payload: &'a [u8],
    /// Our addresses on the interface by which it came, one in each network of its wire. Without any, a message that does
    /// not say where it is from is answered only if the server has an address in one network alone.
    pub via: &'a [Ipv4Addr],
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this.
    Reply(Reply),
    /// Make this durable, then call [`crate::Engine::committed`] with the token.
    Commit {
        /// Which commit.
        token: u64,
        /// What to write.
        change: LeaseChange,
    },
    /// Find out whether a host is at this address, then call [`crate::Engine::probed`] with the token.
    Probe {
        /// Which probe.
        token: u64,
        /// Where.
        address: Ipv4Addr,
    },
    /// Nothing; counted.
    Dropped(DropReason),
}

/// What a probe has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeResult {
    /// A host with this hardware address.
    Mac(Mac),
    /// A host, and no way to tell which: it is behind a router.
    Answered,
    /// Nobody.
    Silent,
    /// Nobody could be asked.
    Unable,
}

/// A datagram to send, from the port that the request came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Its bytes.
    pub payload: Vec<u8>,
    /// Where it goes.
    pub route: Route,
    /// The server's address in the client's network, which it leaves from.
    pub server: Ipv4Addr,
    /// The client, for the log.
    pub mac: Mac,
    /// The address that the client is given, for the log; none in a NAK, and where another server gives it.
    pub address: Option<Ipv4Addr>,
    /// Whether it is an ACK with a lease behind it, and news: the lease has just been written, or a boot begins with one
    /// that was there.
    pub leased: bool,
    /// Whether firmware or iPXE asked: a boot begins here.
    pub boots: bool,
}

/// Where a reply goes (RFC 2131 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// To everybody on the link, port 68.
    Broadcast,
    /// To this hardware address on the link, as this IP address, port 68, without asking by ARP.
    Direct(Mac, Ipv4Addr),
    /// Through the relay that brought the request.
    Relay(SocketAddrV4),
    /// An ordinary datagram, routed: the client has this address already, and may be anywhere.
    Back(SocketAddrV4),
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DropReason {
    /// No request.
    #[error("{0}")]
    Refused(Refused),
    /// From a network that is not ours.
    #[error("from a network that the site does not have")]
    NoSubnet,
    /// The site does not know the machine, and gives unknown ones no address.
    #[error("from a machine that the site does not know")]
    Unknown,
    /// No address is free.
    #[error("no address is free; make the pool larger or release machines that are gone")]
    PoolFull,
    /// Only what is kept for machines of the site is free.
    #[error(
        "no address is free for a machine that the site does not name; make the pool larger, or name the machine"
    )]
    SetAside,
    /// Its address may still be in use: somebody asks.
    #[error("the only address left is being asked for")]
    Asking,
    /// The client has chosen another server.
    #[error("for another server")]
    OtherServer,
    /// It asks for an address, and does not say for which.
    #[error("a request that names no address (option 50 is missing)")]
    NoAddress,
    /// A client that we know nothing of asks for its old address.
    #[error("from a client that is not in our records")]
    NoRecord,
    /// A machine whose root runs asks for its address where it can't have it. A NAK would take the root away.
    #[error(
        "for an address that a root runs on and that can't be given here; look for its NIC in another network"
    )]
    Stranded,
    /// Too many messages.
    #[error("too many messages from one client")]
    TooMany,
    /// Its commit is under way already, or too many are.
    #[error("the lease is being written")]
    Pending,
    /// The lease could not be made durable.
    #[error("the lease could not be written")]
    NotDurable,
    /// Somebody else uses an address that a client was given.
    #[error("an address was declined: another host uses it; find that host, or exclude the address")]
    Declined,
    /// A client says that somebody else uses its address, and nobody else was found there.
    #[error("an address was declined, and no other host was found at it; it is given on")]
    Unproven,
    /// Another server's affair in a proxy network.
    #[error("in a network where another server gives the addresses")]
    Proxied,
    /// There is nothing that this client could boot.
    #[error("from firmware for which there is nothing to boot")]
    NothingToBoot,
    /// On port 4011, and not from firmware that looks for a boot server.
    #[error("not from firmware that looks for a boot server")]
    NotFirmware,
    /// Noted; no answer is due.
    #[error("noted")]
    Noted,
}

/// Why a commit did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitError {
    /// The store has something else; the client will ask again, and be decided anew.
    Conflict,
    /// The store did not take it.
    Failed,
}
