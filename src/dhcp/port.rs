//! One interface's DHCP: hears port 67 on it, broadcasts included, and sends whole frames from it.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use anyhow::Result;
use oneroot_dhcp::frame::{self, Envelope};
use oneroot_dhcp::{Reply, Route};
use tokio::net::UdpSocket;

use super::outbox::{Outbox, Unsent};
use crate::net;
use crate::net::interfaces::{Interfaces, Seen};
use crate::net::keeper::Keeper;
use crate::net::link::Frames;

pub const SERVER_PORT: u16 = 67;
pub const CLIENT_PORT: u16 = 68;

/// An interface on which DHCP is answered.
pub struct Port {
    /// What it is called.
    pub name: String,
    interfaces: Arc<Interfaces>,
    raw: Frames,
    /// Shared with the task that listens. It is on the interface of this name, whichever that is (`net::keeper`).
    pub socket: Arc<UdpSocket>,
    frames: u16,
    outbox: Outbox,
}

impl Port {
    /// Binds an interface.
    pub fn open(keeper: &Keeper, name: &str) -> Result<Self> {
        let socket = Arc::new(net::broadcasts(keeper, name, SERVER_PORT, "DHCP")?);
        let (name, interfaces) = (name.to_owned(), keeper.interfaces());
        Ok(Self { name, interfaces, raw: Frames::open()?, socket, frames: 0, outbox: Outbox::default() })
    }

    /// What is known of its interface.
    pub fn seen(&self) -> Arc<Seen> {
        self.interfaces.seen(&self.name)
    }

    /// Sends a reply to where it goes; what is routed there leaves with [`Port::send_waiting`].
    pub fn send(&mut self, reply: Reply) -> io::Result<()> {
        match reply.route {
            Route::Relay(to) | Route::Back(to) => {
                self.outbox.put(to, reply.payload);
                Ok(())
            }
            Route::Broadcast => self.send_frame([0xff; 6], Ipv4Addr::BROADCAST, &reply),
            Route::Direct(mac, address) => self.send_frame(mac.bytes(), address, &reply),
        }
    }

    /// Sends what still waits.
    pub fn send_waiting(&mut self) -> Vec<Unsent> {
        self.outbox.send(&self.socket)
    }

    fn send_frame(&mut self, to_mac: [u8; 6], to: Ipv4Addr, reply: &Reply) -> io::Result<()> {
        let seen = self.interfaces.seen(&self.name);
        let (index, mac) =
            seen.link.as_ref().and_then(|link| Some((link.index, link.mac?))).ok_or_else(|| {
                // It went between the message and its answer; the client asks again.
                io::Error::new(io::ErrorKind::NotConnected, format!("{} is not there", self.name))
            })?;
        self.frames = self.frames.wrapping_add(1);
        let envelope = Envelope {
            from_mac: mac,
            to_mac,
            // Two networks may be on one wire.
            from: SocketAddrV4::new(reply.server, SERVER_PORT),
            to: SocketAddrV4::new(to, CLIENT_PORT),
        };
        match frame::udp(&envelope, self.frames, &reply.payload) {
            Some(frame) => self.raw.send(index, &frame),
            None => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}
