//! What other DHCP servers broadcast to clients (port 68), for the admin to be told of: nothing is done about it.
//!
//! A packet socket hears it beside whatever DHCP client this host has on that port. It hears what comes to everybody, or to
//! this host: an answer to one client's hardware address does not come here, on most networks.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use oneroot_bootconf::Site;
use oneroot_dhcp::{Overheard, ReplyType, frame};
use oneroot_machines::{Machines, Sign, What};
use socket2::Socket;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::port::{CLIENT_PORT, SERVER_PORT};
use crate::net::interfaces::Interfaces;
use crate::net::keeper::Keeper;
use crate::net::{Backoff, filter, link};

/// Packets that are looked at, and then none for a while: what comes meanwhile waits in the socket's buffer, and a flood is
/// dropped there. What is looked for says the same again and again.
const AT_ONCE: usize = 16;
const PAUSE: Duration = Duration::from_millis(100);
/// Longest packet that is looked at: no reply is longer than a frame.
const LONGEST: usize = 1600;

/// Hears what other servers say, on all interfaces of the site.
pub struct Ear {
    socket: AsyncFd<Socket>,
    interfaces: Arc<Interfaces>,
}

impl Ear {
    /// Needs CAP_NET_RAW here and not again.
    pub fn open(keeper: &Keeper) -> Result<Self> {
        let socket = link::hearing(link::IPV4, &filter::datagrams(SERVER_PORT, CLIENT_PORT))?;
        Ok(Self { socket: link::registered(socket)?, interfaces: keeper.interfaces() })
    }

    /// Hears for ever.
    pub async fn listen(self, machines: Arc<Machines>) {
        let mut packet = [0; LONGEST];
        let mut backoff = Backoff::default();
        loop {
            for _ in 0..AT_ONCE {
                let mut receive = |socket: &Socket| link::receive(socket, &mut packet);
                match self.socket.async_io(Interest::READABLE, &mut receive).await {
                    Ok((count, from)) => {
                        backoff.reset();
                        let by = link::index_in(&from);
                        self.hear(packet.get(..count).unwrap_or_default(), by, &machines);
                    }
                    Err(cause) => backoff.after(&cause, "answers of other DHCP servers").await,
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn hear(&self, packet: &[u8], by: Option<u32>, machines: &Machines) {
        let Some(heard) = frame::payload(packet).and_then(Overheard::parse) else { return };
        let what = match heard.kind {
            ReplyType::Offer => What::Offered,
            ReplyType::Ack => What::Gave,
            ReplyType::Nak => What::Refused,
        };
        if let (Some(server), Some(by)) = (heard.server, by)
            && !self.interfaces.is_here(server.into())
            && self.is_ours(by, &machines.site())
        {
            machines.other_server(Sign { what, server, mac: heard.mac, address: heard.address });
        }
    }

    /// Whether an interface is one where we give the addresses, and nobody else should.
    fn is_ours(&self, index: u32, site: &Site) -> bool {
        let seen = site.server.interfaces.iter().map(|name| self.interfaces.seen(name));
        let mut with = seen.filter(|seen| seen.link.as_ref().is_some_and(|link| link.index == index));
        let gives = |via: &[Ipv4Addr]| {
            !via.is_empty() && !via.iter().any(|address| site.is_proxied(IpAddr::V4(*address)))
        };
        with.next().is_some_and(|seen| gives(&seen.via))
    }
}
