//! The same services over IPv6, on the site's interfaces and on no other: a host may have an uplink, where nobody boots.
//!
//! Machines lease, boot and mount over IPv4 (klibc and the kernel's nfsroot know nothing else), so an IPv6 peer is nobody's
//! machine and gets what any stranger gets. That is why nothing here can end a start: a host without IPv6, or one on which
//! another program has the IPv6 port, serves its machines all the same, and says so once.
//!
//! A site may say that there is to be none of it (`ipv6 = false`): then nobody asks for a [`Ipv6Sockets`].
//!
//! A datagram's answer leaves from the address that the route picks, which on a host with several IPv6 addresses in one
//! network may not be the one that was asked. TCP has no such trouble.

use std::cell::Cell;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};

use rustix::io::Errno;
use socket2::Type;
use tokio::net::{TcpListener, UdpSocket};

use super::keeper::Keeper;
use super::{Place, listener, receiver};
use crate::systemd;

/// Binds each port that is bound for IPv4 once more.
pub struct Ipv6Sockets<'a> {
    keeper: &'a Keeper,
    interfaces: &'a [String],
    /// It was said that this host has none.
    absent: Cell<bool>,
}

impl<'a> Ipv6Sockets<'a> {
    /// On these interfaces.
    pub fn new(keeper: &'a Keeper, interfaces: &'a [String]) -> Self {
        Self { keeper, interfaces, absent: Cell::new(false) }
    }

    /// The IPv6 listeners that belong beside these: none where one of these hears IPv6 already, as what systemd passes may.
    pub fn listen(&self, beside: &[TcpListener], port: u16, service: &str) -> Vec<TcpListener> {
        if beside.iter().any(|socket| hears_v6(socket.local_addr())) {
            return Vec::new();
        }
        let passed = systemd::passed_v6(port, Type::STREAM).into_iter().map(|socket| {
            socket.set_nonblocking(true)?;
            TcpListener::from_std(socket.into())
        });
        self.bound(passed.collect(), |place| listener(all(port), place), port, service)
    }

    /// The same for datagrams.
    pub fn datagrams(&self, beside: &[UdpSocket], port: u16, service: &str) -> Vec<UdpSocket> {
        if beside.iter().any(|socket| hears_v6(socket.local_addr())) {
            return Vec::new();
        }
        let passed = systemd::passed_v6(port, Type::DGRAM).into_iter().map(|socket| {
            socket.set_nonblocking(true)?;
            UdpSocket::from_std(socket.into())
        });
        self.bound(passed.collect(), |place| receiver(all(port), place), port, service)
    }

    /// What was passed, or else our own, or else a line in the log.
    fn bound<S>(
        &self,
        passed: Vec<io::Result<S>>,
        bind: impl Fn(Place<'_>) -> io::Result<S>,
        port: u16,
        service: &str,
    ) -> Vec<S> {
        let bind_on = |interface: &String| bind(Place::On(self.keeper, interface));
        let own = passed.is_empty().then(|| self.interfaces.iter().map(bind_on));
        let made = passed.into_iter().chain(own.into_iter().flatten());
        let kept = made.filter_map(|socket| match socket {
            Ok(socket) => Some(socket),
            Err(cause) if is_absent(&cause) => {
                if !self.absent.replace(true) {
                    tracing::info!("this host has no IPv6: everything is served over IPv4 alone");
                }
                None
            }
            Err(cause) => {
                tracing::warn!(port, %cause, "{service} is served over IPv4 alone");
                None
            }
        });
        kept.collect()
    }
}

fn all(port: u16) -> SocketAddr {
    (Ipv6Addr::UNSPECIFIED, port).into()
}

fn hears_v6(bound: io::Result<SocketAddr>) -> bool {
    bound.is_ok_and(|bound| bound.is_ipv6())
}

/// No such family in this kernel (`ipv6.disable=1`), or no such address (`disable_ipv6`).
fn is_absent(cause: &io::Error) -> bool {
    let errno = Errno::from_io_error(cause);
    [Errno::AFNOSUPPORT, Errno::PROTONOSUPPORT, Errno::ADDRNOTAVAIL]
        .into_iter()
        .any(|known| errno == Some(known))
}
