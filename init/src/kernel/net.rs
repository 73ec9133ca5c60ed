//! Links, addresses and routes, each a question to the kernel over rtnetlink (rtnetlink(7)).

use std::io;
use std::net::Ipv4Addr;

use oneroot_ids::Mac;
use rustix::io::Errno;

use super::netlink::{Message, Request, Socket};
use super::{Link, Result};

/// Kinds of messages.
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const REMOVE_ADDRESS: u16 = 21;
const NEW_ROUTE: u16 = 24;
/// Flags of a link.
const UP: u32 = 0x1;
const LOWER_UP: u32 = 0x1_0000;
/// ARP's number of Ethernet, as a link's type.
const ETHERNET: u16 = 1;
/// Attributes of a link.
const LINK_ADDRESS: u16 = 1;
const LINK_NAME: u16 = 3;
const LINK_MTU: u16 = 4;
const LINK_OVER: u16 = 5;
const LINK_INFO: u16 = 18;
const LINK_OWN_ADDRESS: u16 = 54;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VLAN_ID: u16 = 1;
/// Attributes of an address.
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const BROADCAST: u16 = 4;
/// Attributes of a route.
const ROUTE_OUT: u16 = 4;
const ROUTE_GATEWAY: u16 = 5;
/// `AF_INET`.
const IPV4: u8 = 2;
/// The table, who made the route, its scope and type: main, boot, universe, unicast.
const ROUTE: [u8; 4] = [254, 3, 0, 1];
/// Bytes of `struct ifinfomsg`.
const LINK_HEADER: usize = 16;

/// The kernel's number of an error of the library's.
#[allow(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
pub(crate) fn errno(error: io::Error) -> Errno {
    match Errno::from_io_error(&error) {
        Some(errno) => errno,
        None if error.kind() == io::ErrorKind::TimedOut => Errno::TIMEDOUT,
        None => Errno::IO,
    }
}

pub(super) fn links() -> Result<Vec<Link>> {
    let messages = Socket::open()?.ask(&Request::dump(GET_LINK).bytes(&[0; LINK_HEADER]))?;
    let mut links: Vec<Link> = messages.iter().filter_map(link).collect();
    links.sort_by_key(|link| link.index);
    Ok(links)
}

/// A link of Ethernet's kind, out of `struct ifinfomsg` and its attributes.
fn link(message: &Message) -> Option<Link> {
    let head: &[u8; LINK_HEADER] = message.payload.first_chunk()?;
    let [_, _, k0, k1, i0, i1, i2, i3, f0, f1, f2, f3, ..] = *head;
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    if u16::from_ne_bytes([k0, k1]) != ETHERNET || message.kind != NEW_LINK {
        return None;
    }
    let attribute = |kind| message.attribute(LINK_HEADER, kind);
    let mac = |kind| Mac::new(*attribute(kind)?.first_chunk()?);
    let name = attribute(LINK_NAME)?;
    Some(Link {
        index: u32::from_ne_bytes([i0, i1, i2, i3]),
        name: String::from_utf8_lossy(name.strip_suffix(&[0]).unwrap_or(name)).into_owned(),
        mac: mac(LINK_ADDRESS),
        own_mac: mac(LINK_OWN_ADDRESS),
        carrier: flags & UP != 0 && flags & LOWER_UP != 0,
        made: attribute(LINK_INFO).is_some_and(|info| super::netlink::find(info, INFO_KIND).is_some()),
    })
}

/// `struct ifinfomsg`: a link, and the flags that are to change to these.
fn link_header(index: u32, flags: u32, change: u32) -> [u8; LINK_HEADER] {
    let mut header = [0; LINK_HEADER];
    let words = [index, flags, change].map(u32::to_ne_bytes);
    for (place, byte) in header.iter_mut().skip(4).zip(words.as_flattened()) {
        *place = *byte;
    }
    header
}

/// What is behind a router is behind it, though no address of the link's says that it is there (`RTNH_F_ONLINK`).
const ON_LINK: u32 = 4;

pub(super) fn bring_up(link: u32) -> Result<()> {
    Socket::open()?.ask(&Request::new(NEW_LINK).bytes(&link_header(link, UP, UP))).map(drop)
}

pub(super) fn set_mtu(link: u32, mtu: u16) -> Result<()> {
    let request = Request::new(NEW_LINK).bytes(&link_header(link, 0, 0));
    Socket::open()?.ask(&request.attribute(LINK_MTU, &u32::from(mtu).to_ne_bytes())).map(drop)
}

pub(super) fn add_vlan(link: u32, vlan: u16, name: &str) -> Result<()> {
    let data = Request::nested().attribute(VLAN_ID, &vlan.to_ne_bytes());
    let info = Request::nested().attribute(INFO_KIND, b"vlan").attribute(INFO_DATA, data.as_bytes());
    let request = Request::create(NEW_LINK)
        .bytes(&link_header(0, UP, UP))
        .attribute(LINK_NAME, name.as_bytes())
        .attribute(LINK_OVER, &link.to_ne_bytes())
        .attribute(LINK_INFO, info.as_bytes());
    is_fine_when_there(Socket::open()?.ask(&request).map(drop))
}

pub(super) fn add_address(link: u32, address: Ipv4Addr, prefix: u8) -> Result<()> {
    // The host's part all ones; a network of one or two hosts has no such address (RFC 3021).
    let hosts = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
    let everybody = Ipv4Addr::from(u32::from(address) | hosts);
    let [i0, i1, i2, i3] = link.to_ne_bytes();
    let mut request = Request::create(NEW_ADDRESS)
        .bytes(&[IPV4, prefix, 0, 0, i0, i1, i2, i3])
        .attribute(LOCAL, &address.octets())
        .attribute(ADDRESS, &address.octets());
    if prefix < 31 {
        request = request.attribute(BROADCAST, &everybody.octets());
    }
    is_fine_when_there(Socket::open()?.ask(&request).map(drop))
}

pub(super) fn remove_address(link: u32, address: Ipv4Addr, prefix: u8) -> Result<()> {
    let [i0, i1, i2, i3] = link.to_ne_bytes();
    let request = Request::new(REMOVE_ADDRESS)
        .bytes(&[IPV4, prefix, 0, 0, i0, i1, i2, i3])
        .attribute(LOCAL, &address.octets())
        .attribute(ADDRESS, &address.octets());
    Socket::open()?.ask(&request).map(drop)
}

pub(super) fn add_router(link: u32, router: Ipv4Addr, on_link: bool) -> Result<()> {
    let [table, protocol, scope, kind] = ROUTE;
    let [f0, f1, f2, f3] = if on_link { ON_LINK } else { 0 }.to_ne_bytes();
    let request = Request::replace(NEW_ROUTE)
        .bytes(&[IPV4, 0, 0, 0, table, protocol, scope, kind, f0, f1, f2, f3])
        .attribute(ROUTE_OUT, &link.to_ne_bytes())
        .attribute(ROUTE_GATEWAY, &router.octets());
    Socket::open()?.ask(&request).map(drop)
}

fn is_fine_when_there(answer: Result<()>) -> Result<()> {
    if answer == Err(Errno::EXIST) { Ok(()) } else { answer }
}
