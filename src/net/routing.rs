//! What this host knows of its links and of the ways to others, in the words of the rest of the program.

use std::io;
use std::net::Ipv4Addr;

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::address::{AddressHeader, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkHeader, LinkLayerType, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourHeader, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;

use super::netlink::{Message, Netlink};

/// Bytes of `struct ifinfomsg`, `struct ifaddrmsg`, `struct ndmsg` and `struct rtmsg`, behind which their attributes are.
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const NEIGHBOUR_HEADER: usize = 12;
const ROUTE_HEADER: usize = 12;
/// `linux/if_link.h`, `linux/if_addr.h`, `linux/neighbour.h`, `linux/rtnetlink.h`.
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFA_LOCAL: u16 = 2;
const NDA_LLADDR: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const RTA_VIA: u16 = 18;

/// An interface as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number, which another interface of the same name would not have.
    pub index: u32,
    /// `eth0`.
    pub name: String,
    /// Its hardware address; none where it is no Ethernet.
    pub mac: Option<[u8; 6]>,
    /// Whether neighbours are asked for by ARP on it.
    pub asks: bool,
    /// Whether it is switched on (`ip link set eth0 up`).
    pub up: bool,
    /// Whether something is connected to it.
    pub carrier: bool,
}

/// An IPv4 address of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The number of the interface that has it.
    pub index: u32,
    /// Without its prefix length.
    pub address: Ipv4Addr,
}

/// How this host would reach an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// It is one of our own.
    Ours,
    /// Without a router, by this interface and from this address of ours.
    OnLink(Link, Option<Ipv4Addr>),
    /// By a router.
    Routed,
    /// Not at all, or it is no address of a host.
    Nowhere,
}

/// Asks the kernel.
#[derive(Debug)]
pub struct Routing(Netlink);

impl Routing {
    /// For the network that this thread is in.
    pub fn open() -> io::Result<Self> {
        Netlink::open().map(Self)
    }

    /// The way to an address.
    pub fn way(&self, to: Ipv4Addr) -> io::Result<Way> {
        // The kernel takes it for this host, which no other host means by it.
        if to.is_unspecified() {
            return Ok(Way::Nowhere);
        }
        let mut question = RouteMessage::default();
        question.header.address_family = AddressFamily::Inet;
        question.header.destination_prefix_length = 32;
        question.attributes = vec![RouteAttribute::Destination(RouteAddress::Inet(to))];
        let answer = match self.0.ask(RouteNetlinkMessage::GetRoute(question), 0) {
            Ok(answer) => answer,
            Err(cause) if is_no_route(&cause) => return Ok(Way::Nowhere),
            Err(cause) => return Err(cause),
        };
        let Some(route) = answer.first() else { return Ok(Way::Nowhere) };
        let kind = RouteHeader::parse(&route.payload).map_or(RouteType::Unspec, |header| header.kind);
        let has = |attribute| route.attribute(ROUTE_HEADER, attribute).is_some();
        Ok(match kind {
            RouteType::Local => Way::Ours,
            // RTA_VIA is a gateway of another family, an IPv6 one for IPv4.
            RouteType::Unicast if has(RTA_GATEWAY) || has(RTA_VIA) => Way::Routed,
            RouteType::Unicast => {
                let source = route.attribute(ROUTE_HEADER, RTA_PREFSRC).and_then(<[u8]>::first_chunk::<4>);
                match number(route, ROUTE_HEADER, RTA_OIF) {
                    Some(index) => Way::OnLink(self.link(index)?, source.map(|bytes| (*bytes).into())),
                    None => Way::Nowhere,
                }
            }
            _ => Way::Nowhere,
        })
    }

    /// The interface of this name, if there is one.
    pub fn named(&self, name: &str) -> io::Result<Option<Link>> {
        let mut question = LinkMessage::default();
        question.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        match self.0.ask(RouteNetlinkMessage::GetLink(question), 0) {
            Ok(answer) => Ok(answer.first().and_then(link)),
            Err(cause) if Errno::from_io_error(&cause) == Some(Errno::NODEV) => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    /// All IPv4 addresses of this host, each interface's primary ones first.
    pub fn addresses(&self) -> io::Result<Vec<Address>> {
        let mut question = AddressMessage::default();
        question.header.family = AddressFamily::Inet;
        let answer = self.0.ask(RouteNetlinkMessage::GetAddress(question), NLM_F_DUMP)?;
        let one = |message: &Message| {
            let index = AddressHeader::parse(&message.payload).ok()?.index;
            let address = message.attribute(ADDRESS_HEADER, IFA_LOCAL)?.first_chunk::<4>()?;
            Some(Address { index, address: (*address).into() })
        };
        Ok(answer.iter().filter_map(one).collect())
    }

    /// The hardware address that a neighbour was last seen with; none for who is behind a router, or was never heard.
    pub fn neighbour(&self, address: Ipv4Addr) -> io::Result<Option<[u8; 6]>> {
        let Way::OnLink(link, _) = self.way(address)? else { return Ok(None) };
        let mut question = NeighbourMessage::default();
        question.header.family = AddressFamily::Inet;
        question.header.ifindex = link.index;
        question.attributes = vec![NeighbourAttribute::Destination(NeighbourAddress::Inet(address))];
        let answer = match self.0.ask(RouteNetlinkMessage::GetNeighbour(question), 0) {
            Ok(answer) => answer,
            Err(cause) if Errno::from_io_error(&cause) == Some(Errno::NOENT) => return Ok(None),
            Err(cause) => return Err(cause),
        };
        let known = answer.first().filter(|message| {
            let state = NeighbourHeader::parse(&message.payload).map(|header| header.state);
            // Not those that are still being asked for, or were in vain.
            matches!(
                state,
                Ok(NeighbourState::Reachable
                    | NeighbourState::Stale
                    | NeighbourState::Delay
                    | NeighbourState::Probe
                    | NeighbourState::Permanent)
            )
        });
        Ok(known.and_then(|known| known.attribute(NEIGHBOUR_HEADER, NDA_LLADDR)?.try_into().ok()))
    }

    /// The interface with this number.
    fn link(&self, index: u32) -> io::Result<Link> {
        let mut question = LinkMessage::default();
        question.header.index = index;
        let answer = self.0.ask(RouteNetlinkMessage::GetLink(question), 0)?;
        answer.first().and_then(link).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// What a message says of a link.
fn link(message: &Message) -> Option<Link> {
    let header = LinkHeader::parse(&message.payload).ok()?;
    let name = message.attribute(LINK_HEADER, IFLA_IFNAME)?;
    let name = name.strip_suffix(&[0]).unwrap_or(name);
    let ethernet = header.link_layer_type == LinkLayerType::Ether;
    let mac = message.attribute(LINK_HEADER, IFLA_ADDRESS).filter(|_| ethernet);
    Some(Link {
        index: header.index,
        name: String::from_utf8_lossy(name).into_owned(),
        mac: mac.and_then(|mac| mac.try_into().ok()),
        asks: ethernet && !header.flags.contains(LinkFlags::Noarp),
        up: header.flags.contains(LinkFlags::Up),
        carrier: header.flags.contains(LinkFlags::LowerUp),
    })
}

fn number(message: &Message, header: usize, attribute: u16) -> Option<u32> {
    message.attribute(header, attribute)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// How the kernel says that a packet would go nowhere: no route, or one that is there to refuse (`ip route add unreachable`,
/// `prohibit`, `blackhole`).
fn is_no_route(cause: &io::Error) -> bool {
    [Errno::NETUNREACH, Errno::HOSTUNREACH, Errno::ACCESS, Errno::INVAL]
        .into_iter()
        .any(|errno| Errno::from_io_error(cause) == Some(errno))
}
