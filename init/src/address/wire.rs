//! A DHCP client's messages (RFC 2131, RFC 2132): the three that it sends, and the three that it may be answered. Routes are those of
//! RFC 3442 where a server says any, and the router's option is one way to everywhere where it does not.
//!
//! dhcproto, which the server reads them by, is more than the rest of init together; the tests read these by it.

use std::net::Ipv4Addr;

use oneroot_ids::Mac;

const FIXED: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Shorter ones are dropped by old relays (RFC 1542 §2.1).
const SHORTEST: usize = 300;
/// Where `chaddr` is.
const CHADDR: usize = 28;
const BROADCAST: u8 = 0x80;
/// Options.
const MASK: u8 = 1;
const ROUTER: u8 = 3;
const MTU: u8 = 26;
const ADDRESS: u8 = 50;
const LEASE: u8 = 51;
const KIND: u8 = 53;
const SERVER: u8 = 54;
const WANTED: u8 = 55;
const LARGEST: u8 = 57;
const CLIENT: u8 = 61;
const PAD: u8 = 0;
const END: u8 = 255;
/// Routes, each to a network of any width.
const ROUTES: u8 = 121;
/// Messages.
const DISCOVER: u8 = 1;
const REQUEST: u8 = 3;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Who gives an address?
    Discover,
    /// Is this one still ours? (INIT-REBOOT)
    Keep(Ipv4Addr),
    /// The one that this server has offered, please.
    Take(Ipv4Addr, Ipv4Addr),
}

/// What kind of answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// This could be yours.
    Offer,
    /// This is yours.
    Ack,
    /// It is not.
    Nak,
}

/// An answer to this client's question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its kind.
    pub kind: Kind,
    /// Whose answer it is.
    pub server: Ipv4Addr,
    /// The address.
    pub address: Ipv4Addr,
    /// Bits of its network.
    pub prefix: Option<u8>,
    /// The ways that it knows, where it says any: who says none leaves it to who said some before.
    pub routes: Option<Vec<Route>>,
    /// What the link carries.
    pub mtu: Option<u16>,
    /// Seconds.
    pub lease: Option<u32>,
}

/// A way to a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    network: u32,
    bits: u8,
    router: Ipv4Addr,
}

impl Route {
    /// The one to everywhere.
    fn default(router: Ipv4Addr) -> Self {
        Self { network: 0, bits: 0, router }
    }

    fn has(&self, address: Ipv4Addr) -> bool {
        (u32::from(address) ^ self.network) & mask(self.bits) == 0
    }
}

/// The router of the narrowest of these ways that leads to an address; without an address, of the way to everywhere.
#[must_use]
pub fn router(routes: &[Route], to: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
    // What is on the link itself has no router; behind the router of a wider way it is found, too.
    let leads = |route: &&Route| {
        !route.router.is_unspecified() && to.map_or(route.bits == 0, |address| route.has(address))
    };
    // Of two as narrow the first.
    let found = routes.iter().rev().filter(leads).max_by_key(|route| route.bits);
    found.map(|route| route.router)
}

/// The question's bytes; `number` is what its answers have too.
#[must_use]
pub fn question(question: Question, number: u32, mac: Mac, seconds: u16) -> Vec<u8> {
    // BOOTREQUEST, Ethernet, six bytes of address, no hops.
    let mut bytes = vec![1, 1, 6, 0];
    bytes.extend(number.to_be_bytes());
    bytes.extend(seconds.to_be_bytes());
    // The link has no address yet, so an answer to one would not be heard.
    bytes.extend([BROADCAST, 0]);
    bytes.resize(CHADDR, 0);
    bytes.extend(mac.bytes());
    bytes.resize(FIXED, 0);
    bytes.extend(COOKIE);
    let kind = if question == Question::Discover { DISCOVER } else { REQUEST };
    bytes.extend([KIND, 1, kind, LARGEST, 2]);
    bytes.extend(1500u16.to_be_bytes());
    // The same as iPXE says and what manages the network later: a server that keys by it would see another client (RFC 2132 §9.14).
    bytes.extend([CLIENT, 7, 1]);
    bytes.extend(mac.bytes());
    if let Question::Keep(address) | Question::Take(address, _) = question {
        bytes.extend([ADDRESS, 4]);
        bytes.extend(address.octets());
    }
    if let Question::Take(_, server) = question {
        bytes.extend([SERVER, 4]);
        bytes.extend(server.octets());
    }
    // Whoever asks for routes has to ask before it asks for a router (RFC 3442).
    bytes.extend([WANTED, 5, MASK, ROUTES, ROUTER, MTU, LEASE, END]);
    bytes.resize(bytes.len().max(SHORTEST), PAD);
    bytes
}

/// An answer to the question of that number by that client; none where it is another's, or no answer at all.
#[must_use]
pub fn answer(bytes: &[u8], number: u32, mac: Mac) -> Option<Answer> {
    let head = bytes.get(..4)?;
    let chaddr = bytes.get(CHADDR..CHADDR + 6)?;
    if head.get(..3)? != [2, 1, 6] || bytes.get(4..8)? != number.to_be_bytes() || chaddr != mac.bytes() {
        return None;
    }
    let options = bytes.get(FIXED..)?.strip_prefix(&COOKIE)?;
    let kind = match option(options, KIND)? {
        [2] => Kind::Offer,
        [5] => Kind::Ack,
        [6] => Kind::Nak,
        _ => return None,
    };
    let four = |kind| option(options, kind).and_then(|value| value.first_chunk::<4>().copied());
    let address = Ipv4Addr::from(*bytes.get(16..20)?.first_chunk()?);
    Some(Answer {
        kind,
        server: four(SERVER)?.into(),
        address,
        prefix: four(MASK).and_then(|mask| prefix(u32::from_be_bytes(mask))),
        routes: routes(options).or_else(|| {
            let router = four(ROUTER).map(Ipv4Addr::from).filter(|router| !router.is_unspecified())?;
            Some(vec![Route::default(router)])
        }),
        mtu: option(options, MTU)
            .and_then(|value| value.try_into().ok())
            .map(u16::from_be_bytes)
            .filter(|mtu| *mtu >= 576),
        lease: four(LEASE).map(u32::from_be_bytes),
    })
    .filter(|answer| answer.kind == Kind::Nak || is_a_hosts(answer.address))
}

/// Bits of a mask that has no gaps.
fn prefix(mask: u32) -> Option<u8> {
    (mask != 0 && mask.leading_ones() + mask.trailing_zeros() == 32)
        .then(|| u8::try_from(mask.leading_ones()).ok())?
}

fn is_a_hosts(address: Ipv4Addr) -> bool {
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || address.is_broadcast())
}

/// The routes of option 121. One that can't be read is none, whole: half of somebody's routes leads astray.
fn routes(options: &[u8]) -> Option<Vec<Route>> {
    // What does not fit into one option is in several (RFC 3396).
    let told = values(options, ROUTES).collect::<Vec<_>>().concat();
    let (mut rest, mut routes) = (told.as_slice(), Vec::new());
    while let Some((bits, behind)) = rest.split_first().filter(|(bits, _)| **bits <= 32) {
        let (network, behind) = behind.split_at_checked(bits.div_ceil(8).into())?;
        let (router, behind) = behind.split_first_chunk::<4>()?;
        let router = Ipv4Addr::from(*router);
        if !(router.is_unspecified() || is_a_hosts(router)) {
            return None;
        }
        let network = network.iter().chain(&[0; 4]).take(4).fold(0, |all, byte| all << 8 | u32::from(*byte));
        routes.push(Route { network, bits: *bits, router });
        rest = behind;
    }
    (rest.is_empty() && !routes.is_empty()).then_some(routes)
}

/// The mask of so many bits.
pub(super) fn mask(bits: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0)
}

/// The value of the first option of that number.
fn option(options: &[u8], wanted: u8) -> Option<&[u8]> {
    values(options, wanted).next()
}

/// The values of all options of that number. Those in `sname` and `file` are not looked at: no server of ours puts them there.
fn values(options: &[u8], wanted: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = options;
    std::iter::from_fn(move || {
        loop {
            match *rest {
                [PAD, ref behind @ ..] => rest = behind,
                [END, ..] | [] | [_] => return None,
                [kind, length, ref behind @ ..] => {
                    let (value, behind) = behind.split_at_checked(length.into())?;
                    rest = behind;
                    if kind == wanted {
                        return Some(value);
                    }
                }
            }
        }
    })
}
