//! One interface's DHCP: hears port 67 on it, broadcasts included, and sends whole frames from it.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket as StdSocket};
use std::sync::Arc;

use anyhow::Result;
use oneroot_bootconf::Site;
use oneroot_dhcp::frame::{self, Envelope};
use oneroot_dhcp::{Reply, Route};
use socket2::SockRef;
use tokio::net::UdpSocket;

use super::rules::v4;
use crate::net::{self, link, link::Interface};

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;

/// An interface on which DHCP is answered.
pub struct Port {
    interface: Interface,
    /// Shared with the task that listens.
    pub socket: Arc<UdpSocket>,
    /// Our address on it, in one of the site's networks; none while it has none, or where only relays' messages come.
    via: Option<Ipv4Addr>,
    frames: u16,
}

impl Port {
    /// Binds an interface.
    pub fn open(name: &str) -> Result<Self> {
        let interface = Interface::open(name)?;
        let socket = Arc::new(net::broadcasts(name, SERVER_PORT, "DHCP")?);
        Ok(Self { interface, socket, via: None, frames: 0 })
    }

    /// Our address on it. An interface may get one late, so it is asked for until there is one.
    pub fn via(&mut self, site: &Site) -> Option<Ipv4Addr> {
        if self.via.is_none() {
            self.via = site.networks.iter().find_map(|network| {
                let address = address_on(&self.interface.name, network.subnet.nth(1)?)?;
                network.subnet.contains(address).then_some(address)
            });
        }
        self.via
    }

    /// Forgets it: the site has other networks now.
    pub fn forget(&mut self) {
        self.via = None;
    }

    /// Sends a reply to where it goes.
    pub fn send(&mut self, reply: &Reply, site: &Site) -> std::io::Result<()> {
        match reply.route {
            Route::Relay(to) | Route::Back(to) => {
                self.socket.try_send_to(&reply.payload, to.into()).map(drop)
            }
            Route::Broadcast => self.send_frame([0xff; 6], Ipv4Addr::BROADCAST, &reply.payload, site),
            Route::Direct(mac, address) => self.send_frame(mac.bytes(), address, &reply.payload, site),
        }
    }

    fn send_frame(
        &mut self,
        to_mac: [u8; 6],
        to: Ipv4Addr,
        payload: &[u8],
        site: &Site,
    ) -> std::io::Result<()> {
        self.frames = self.frames.wrapping_add(1);
        let told = self.via(site).and_then(|via| v4(site.server_for(IpAddr::V4(via))));
        let from = told.or_else(|| v4(site.server.address)).unwrap_or(Ipv4Addr::UNSPECIFIED);
        let envelope = Envelope {
            from_mac: self.interface.mac,
            to_mac,
            from: SocketAddrV4::new(from, SERVER_PORT),
            to: SocketAddrV4::new(to, CLIENT_PORT),
        };
        match frame::udp(&envelope, self.frames, payload) {
            Some(frame) => link::send_frame(&self.interface.raw, &frame),
            None => Err(std::io::ErrorKind::InvalidInput.into()),
        }
    }
}

/// The address from which this host would send to `to` by an interface. Nothing is sent: the kernel is asked for a route.
fn address_on(interface: &str, to: Ipv4Addr) -> Option<Ipv4Addr> {
    let socket = StdSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    SockRef::from(&socket).bind_device(Some(interface.as_bytes())).ok()?;
    socket.connect((to, SERVER_PORT)).ok()?;
    v4(socket.local_addr().ok()?.ip())
}
