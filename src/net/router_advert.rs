//! Router solicitations of machines that boot, answered with "no router here" (RFC 4861 §4.1 and §4.2).
//!
//! iPXE configures IPv6 beside IPv4, and fetches nothing before both have ended. On a link without an IPv6 router that is
//! after some sixteen seconds, at every boot. An advertisement with a lifetime of zero, no prefix and no flag says that
//! there is nothing to wait for. It is sent to that machine alone, and only to one whose address is ours to give, so no
//! other host of the network ever hears of it; Linux takes it for what it is and changes nothing.

use std::io::{self, ErrorKind};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use oneroot_ids::Mac;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::unix::AsyncFd;

use super::keeper::Keeper;
use super::{Backoff, link};
use oneroot_machines::Machines;

const SOLICITATION: u8 = 133;
/// Type 134, code 0, checksum by the kernel; hop limit not said; no flags; lifetime, reachable and retransmission 0.
const NO_ROUTER: [u8; 16] = [134, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// Neighbours drop what has another hop limit: it could come from outside the link.
const ON_LINK: u32 = 255;
/// Longest message that is looked at; a solicitation has 8 to 16 bytes.
const LONGEST: usize = 256;

/// A raw socket that hears solicitations on one interface.
pub fn open(keeper: &Keeper, interface: &str) -> Result<AsyncFd<Socket>> {
    let make = || -> Result<AsyncFd<Socket>> {
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        keeper.hold(interface, &socket, Some(ALL_ROUTERS))?;
        socket.set_unicast_hops_v6(ON_LINK)?;
        Ok(link::registered(socket)?)
    };
    make().with_context(|| format!("no IPv6 on {interface}"))
}

/// Answers for ever.
pub async fn serve(socket: AsyncFd<Socket>, machines: Arc<Machines>) {
    let mut backoff = Backoff::default();
    loop {
        let received = socket.async_io(tokio::io::Interest::READABLE, receive).await;
        match received {
            Ok(Some(asking)) => {
                backoff.reset();
                let Some(mac) = mac_of(*asking.ip()) else { continue };
                if !machines.has_address(mac) {
                    continue;
                }
                // Lost, it is asked for again.
                let sent = socket.get_ref().send_to(&NO_ROUTER, &SockAddr::from(SocketAddr::V6(asking)));
                tracing::debug!(machine = machines.name_of(mac), %mac, ?sent, "is told that no IPv6 router is here");
            }
            Ok(None) => backoff.reset(),
            Err(cause) => backoff.after(&cause, "router solicitations").await,
        }
    }
}

/// Who solicits; `None` for any other message.
fn receive(socket: &Socket) -> io::Result<Option<SocketAddrV6>> {
    let mut buffer = [0; LONGEST];
    let (count, from) = link::receive(socket, &mut buffer)?;
    // A shorter one is no valid solicitation (RFC 4861 §6.1.1).
    let kind = buffer.first().filter(|_| count >= 8);
    match from.as_socket_ipv6() {
        Some(from) if kind == Some(&SOLICITATION) => Ok(Some(from)),
        Some(_) => Ok(None),
        None => Err(ErrorKind::InvalidData.into()),
    }
}

/// The hardware address in a link-local address that was made of one (RFC 4291, appendix A), as iPXE makes it.
fn mac_of(address: Ipv6Addr) -> Option<Mac> {
    match address.octets() {
        [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a, b, c, 0xff, 0xfe, d, e, f] => Mac::new([a ^ 2, b, c, d, e, f]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_local_address_says_whose_it_is() {
        let address: Ipv6Addr = "fe80::5054:ff:fe00:a".parse().unwrap();
        assert_eq!(mac_of(address).unwrap().to_string(), "52:54:00:00:00:0a");
        for other in ["fe80::1", "2001:db8::5054:ff:fe00:a", "::"] {
            assert_eq!(mac_of(other.parse().unwrap()), None, "{other}");
        }
    }
}
