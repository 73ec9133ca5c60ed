//! The port of a DHCP client on one link, before the link has an address: broadcast both ways (RFC 2131 §4.1), and bound to the
//! link, or the answer of another would be taken for its own.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

use super::net::errno;
use super::{Port, Result};

/// A frame of Ethernet's with nothing but this in it.
const LONGEST: usize = 1500;
const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);

/// The port.
pub(super) struct UdpPort(std::net::UdpSocket);

impl UdpPort {
    pub(super) fn open(link: &str) -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).map_err(errno)?;
        socket.set_reuse_address(true).map_err(errno)?;
        socket.set_broadcast(true).map_err(errno)?;
        socket.bind_device(Some(link.as_bytes())).map_err(errno)?;
        socket.bind(&SocketAddr::V4(CLIENT).into()).map_err(errno)?;
        Ok(Self(socket.into()))
    }
}

impl Port for UdpPort {
    fn send(&self, message: &[u8]) -> Result<()> {
        let sent = self.0.send_to(message, SERVER).map_err(errno)?;
        if sent == message.len() { Ok(()) } else { Err(Errno::MSGSIZE) }
    }

    fn receive(&self, within: Duration) -> Option<Vec<u8>> {
        // No time is not a time that can be set.
        self.0.set_read_timeout(Some(within.max(Duration::from_millis(1)))).ok()?;
        let mut message = [0; LONGEST];
        let (length, _) = self.0.recv_from(&mut message).ok()?;
        message.get(..length).map(<[u8]>::to_vec)
    }
}
