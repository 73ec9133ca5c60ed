//! Sockets. Protocol crates have none; here are the one accept loop, the raw link, and how sockets are bound.
//!
//! Everything is bound to the server's own address, so every answer leaves from the address that was asked, on hosts
//! with many too (RFC 1123 §4.1.3.5; a wrong source address is what breaks TFTP clients). DHCP alone must hear
//! broadcasts: it is bound to its interface instead. No machine is told an IPv6 address, so there is none to bind to:
//! [`ipv6`] is bound to interfaces too.

pub mod accept;
mod around;
mod backoff;
pub mod filter;
pub mod holders;
pub mod interfaces;
pub mod ipv6;
pub mod keeper;
pub mod link;
pub mod many;
pub mod neighbours;
mod netlink;
pub mod probe;
pub mod router_advert;
pub mod routing;
pub mod stalled;
pub mod throughput;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Result;
use oneroot_bootconf::Site;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};

use crate::systemd;
pub use backoff::Backoff;
use keeper::Keeper;

/// Connections that the kernel keeps for us while the loop is busy.
const BACKLOG: i32 = 1024;

/// Where a socket is bound.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// To an address that this host has.
    Here,
    /// To an address that this host may only get later (ip(7), `IP_FREEBIND`). Waiting for it instead would need the
    /// privilege to bind low ports for ever.
    Late,
    /// To an interface of this name, for as long as the server runs.
    On(&'a Keeper, &'a str),
}

impl Place<'_> {
    /// For an address of the site.
    pub fn of(site: &Site, address: IpAddr) -> Self {
        if site.starts_without(address) { Self::Late } else { Self::Here }
    }

    fn apply(self, socket: &Socket) -> io::Result<()> {
        match self {
            Self::Here => Ok(()),
            Self::Late => socket.set_freebind_v4(true),
            Self::On(keeper, interface) => keeper.hold(interface, socket, None),
        }
    }
}

/// Listens on a TCP address. A restart must not wait for old connections to leave TIME_WAIT.
pub fn listen(address: SocketAddr, place: Place<'_>, service: &str) -> Result<TcpListener> {
    let bind = || -> io::Result<TcpListener> {
        if let Some(socket) = systemd::passed(address, Type::STREAM) {
            socket.set_nonblocking(true)?;
            return TcpListener::from_std(socket.into());
        }
        listener(address, place)
    };
    bind().map_err(|cause| not_bound(cause, "listen on TCP", address, service))
}

fn listener(address: SocketAddr, place: Place<'_>) -> io::Result<TcpListener> {
    let socket = socket(address, place, Type::STREAM, Protocol::TCP)?;
    socket.set_reuse_address(true)?;
    // A peer that has lost its power never says that it is gone.
    socket.set_keepalive(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A socket for one family: an IPv6 socket that also took IPv4 would be in the way of the one that has the address.
fn socket(address: SocketAddr, place: Place<'_>, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    place.apply(&socket)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Binds a UDP address.
pub fn datagrams(address: SocketAddr, place: Place<'_>, service: &str) -> Result<UdpSocket> {
    let bind = || -> io::Result<UdpSocket> {
        if let Some(socket) = systemd::passed(address, Type::DGRAM) {
            socket.set_nonblocking(true)?;
            return UdpSocket::from_std(socket.into());
        }
        receiver(address, place)
    };
    bind().map_err(|cause| not_bound(cause, "bind UDP", address, service))
}

fn receiver(address: SocketAddr, place: Place<'_>) -> io::Result<UdpSocket> {
    let socket = socket(address, place, Type::DGRAM, Protocol::UDP)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// Binds a UDP port on one interface, broadcasts included.
pub fn broadcasts(keeper: &Keeper, interface: &str, port: u16, service: &str) -> Result<UdpSocket> {
    let all = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let bind = || -> io::Result<UdpSocket> {
        let socket = socket(all, Place::On(keeper, interface), Type::DGRAM, Protocol::UDP)?;
        // Sockets of interfaces that are not there are all bound to one number (`keeper`), where without this the second
        // could not have the port.
        socket.set_reuse_address(true)?;
        socket.set_broadcast(true)?;
        socket.bind(&all.into())?;
        UdpSocket::from_std(socket.into())
    };
    bind().map_err(|cause| not_bound(cause, &format!("bind UDP on {interface}"), all, service))
}

/// Whether a bind failed because another program has the port.
pub fn is_taken(cause: &anyhow::Error) -> bool {
    cause.downcast_ref::<io::Error>().is_some_and(|cause| cause.kind() == io::ErrorKind::AddrInUse)
}

/// An address that machines are told and that this host does not have. `has` are those that it has.
pub fn no_address(site: &Site, missing: IpAddr, has: &[Ipv4Addr]) -> String {
    let is_networks = site.networks.iter().any(|network| network.server.map(IpAddr::V4) == Some(missing));
    let key = match missing == site.server.address {
        true => "[server] address",
        false if is_networks => "server of a [[network]]",
        false => "[server] more_addresses",
    };
    let has: Vec<String> =
        has.iter().filter(|address| !address.is_loopback()).map(ToString::to_string).collect();
    let has = if has.is_empty() { "no other".to_owned() } else { has.join(", ") };
    format!("{missing} ({key}) is not an address of this host, which has {has}")
}

/// What mends that: it is a mistake, or comes later.
pub const OR_WAIT: &str = "correct the site, or say `wait_for_interfaces = true` in [server] if it comes later or floats between servers";

/// Why a socket could not be bound, for the admin who has to do something about it.
fn not_bound(cause: io::Error, what: &str, address: SocketAddr, service: &str) -> anyhow::Error {
    let hint = match cause.kind() {
        io::ErrorKind::AddrInUse => who_has(what, address.port(), service),
        io::ErrorKind::AddrNotAvailable => format!(": it is not an address of this host; {OR_WAIT}"),
        io::ErrorKind::PermissionDenied => ": run it as root, or give it CAP_NET_BIND_SERVICE".to_owned(),
        _ => String::new(),
    };
    anyhow::Error::from(cause).context(format!("cannot {what} {address} for {service}{hint}"))
}

/// What usually sits on a port, how to see what does, and the key of the site by which oneroot takes another.
fn who_has(what: &str, port: u16, service: &str) -> String {
    let usual = match (port, service) {
        (67, _) => " (another DHCP server?)",
        (69, _) => " (another TFTP server?)",
        (111, _) => " (rpcbind?)",
        (_, "HTTP" | "HTTPS") => " (a web server?)",
        (_, "NFS") => " (the kernel's NFS server?)",
        _ => "",
    };
    let other = match service {
        "HTTP" => "; stop it, or give oneroot another port with `http_port` in [server]",
        "HTTPS" => "; stop it, or give oneroot another port with `https_port` in [server]",
        "NFS" => "; stop it, or give oneroot another port with `nfs_port` in [server]",
        _ => "; stop it",
    };
    let kind = if what.contains("UDP") { 'u' } else { 't' };
    format!(": another program has the port{usual}, and `ss -l{kind}np 'sport = :{port}'` says which{other}")
}
