//! Sockets. Protocol crates have none; here are the one accept loop, the raw link, and how sockets are bound.
//!
//! Everything is bound to the server's own address, so every answer leaves from the address that was asked, on hosts
//! with many too (RFC 1123 §4.1.3.5; a wrong source address is what breaks TFTP clients). DHCP alone must hear
//! broadcasts: it is bound to its interface instead. No machine is told an IPv6 address, so there is none to bind to:
//! [`six`] is bound to interfaces too.

pub mod accept;
pub mod link;
pub mod neighbours;
mod netlink;
pub mod probe;
pub mod routing;
pub mod six;
pub mod solicited;
pub mod stalled;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};

use crate::units;

/// Connections that the kernel keeps for us while the loop is busy.
const BACKLOG: i32 = 1024;

/// Listens on a TCP address. A restart must not wait for old connections to leave TIME_WAIT.
pub fn listen(address: SocketAddr, service: &str) -> Result<TcpListener> {
    let bind = || -> io::Result<TcpListener> {
        if let Some(socket) = units::passed(address, Type::STREAM) {
            socket.set_nonblocking(true)?;
            return TcpListener::from_std(socket.into());
        }
        listener(address, None)
    };
    bind().with_context(|| format!("cannot listen on TCP {address} for {service}{}", who_has(address.port())))
}

fn listener(address: SocketAddr, interface: Option<&str>) -> io::Result<TcpListener> {
    let socket = socket(address, interface, Type::STREAM, Protocol::TCP)?;
    socket.set_reuse_address(true)?;
    socket.set_keepalive(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A socket for one family: an IPv6 socket that also took IPv4 would be in the way of the one that has the address.
fn socket(
    address: SocketAddr,
    interface: Option<&str>,
    kind: Type,
    protocol: Protocol,
) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if let Some(interface) = interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Binds a UDP address.
pub fn datagrams(address: SocketAddr, service: &str) -> Result<UdpSocket> {
    let bind = || -> io::Result<UdpSocket> {
        if let Some(socket) = units::passed(address, Type::DGRAM) {
            socket.set_nonblocking(true)?;
            return UdpSocket::from_std(socket.into());
        }
        receiver(address, None)
    };
    bind().with_context(|| format!("cannot bind UDP {address} for {service}{}", who_has(address.port())))
}

fn receiver(address: SocketAddr, interface: Option<&str>) -> io::Result<UdpSocket> {
    let socket = socket(address, interface, Type::DGRAM, Protocol::UDP)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// Binds a UDP port on one interface, broadcasts included.
pub fn broadcasts(interface: &str, port: u16, service: &str) -> Result<UdpSocket> {
    let bind = || -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        socket.set_broadcast(true)?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
        UdpSocket::from_std(socket.into())
    };
    bind()
        .with_context(|| format!("cannot bind UDP port {port} on {interface} for {service}{}", who_has(port)))
}

/// Whether a bind failed because another program has the port.
pub fn is_taken(cause: &anyhow::Error) -> bool {
    cause.downcast_ref::<io::Error>().is_some_and(|cause| cause.kind() == io::ErrorKind::AddrInUse)
}

/// What usually sits on a port, for the admin who reads that it is taken.
fn who_has(port: u16) -> &'static str {
    match port {
        67 => " (another DHCP server? see `ss -ulpn sport = 67`; capability CAP_NET_BIND_SERVICE?)",
        69 => " (another TFTP server? see `ss -ulpn sport = 69`; capability CAP_NET_BIND_SERVICE?)",
        111 => " (see `ss -lnp sport = :111`; CAP_NET_BIND_SERVICE?)",
        2049 => " (the kernel's NFS server? see `ss -tlpn sport = 2049`)",
        _ => "",
    }
}
