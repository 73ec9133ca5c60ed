//! From a datagram to a checked request. dhcproto's borrowed message walks the options; everything that could make it
//! panic or read the wrong bytes is checked before (`chaddr()` trusts `hlen`, the owned decoder drops
//! all options after a malformed one).

use std::net::Ipv4Addr;

use dhcproto::v4::borrowed::Message;

use oneroot_ids::Mac;

/// Fixed header and magic cookie (RFC 2131 §2).
const SMALLEST: usize = 240;
/// Nothing that fits one Ethernet frame is larger.
const LARGEST: usize = 1500;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// What a message is: `op` (RFC 2131 §2).
const REQUEST: u8 = 1;
pub(crate) const REPLY: u8 = 2;
/// Options looked at. A client sends twenty; more are somebody's attempt.
pub(crate) const MOST_OPTIONS: usize = 128;
/// Where a header has the server's name and the file, which options may be in.
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;
/// Sub-option of 175 by which iPXE says that it can HTTP.
const IPXE_HTTP: u8 = 0x13;
/// Longest option that is in one part (RFC 2132 §2).
const LONGEST_OPTION: usize = 255;

/// Why a datagram is no request. Each is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// Shorter than a header, or longer than a frame.
    #[error("not of a DHCP message's length")]
    Length,
    /// Not a request, not Ethernet, or no DHCP cookie.
    #[error("not a DHCP request")]
    NotDhcp,
    /// A hardware address that no NIC has.
    #[error("not from a NIC's address")]
    HardwareAddress,
    /// BOOTP (RFC 951): no option 53.
    #[error("BOOTP; only DHCP is answered")]
    Bootp,
    /// A message type that is unknown, or a server's.
    #[error("not a message that a client sends")]
    MessageType,
}

/// Messages that clients send (RFC 2132 §9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// Looks for servers.
    Discover,
    /// Takes an offer, asks whether an address is still good, or renews.
    Request,
    /// Has found somebody else at its address.
    Decline,
    /// Gives its address back.
    Release,
    /// Has an address and wants the rest.
    Inform,
}

/// A client's message, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it wants.
    pub kind: MessageType,
    /// Who it is.
    pub mac: Mac,
    /// Its transaction.
    pub xid: u32,
    /// Its flags, echoed; 0x8000 asks for a broadcast.
    pub flags: u16,
    /// The address that it uses already; none in a DISCOVER or DECLINE.
    pub ciaddr: Ipv4Addr,
    /// The relay that brought the message.
    pub giaddr: Ipv4Addr,
    /// Option 50: the address that it asks for.
    pub requested: Option<Ipv4Addr>,
    /// Option 54: the server that it answers.
    pub server_id: Option<Ipv4Addr>,
    /// Option 55: what it would like to be told.
    pub wanted: Vec<u8>,
    /// Option 57: the largest datagram that it takes, IP and UDP headers included.
    pub max_size: Option<u16>,
    /// Option 60.
    pub vendor_class: Vec<u8>,
    /// Option 61, to be echoed.
    pub client_id: Vec<u8>,
    /// Option 77.
    pub user_class: Vec<u8>,
    /// Option 82, to be echoed byte for byte.
    pub relay_info: Vec<u8>,
    /// Option 82.5: the network that the client is in, where giaddr does not say (RFC 3527).
    pub link_selection: Option<Ipv4Addr>,
    /// Option 82.11: the relay's address, to be told as the server's (RFC 5107).
    pub server_override: Option<Ipv4Addr>,
    /// Option 82.1: what the relay calls the port that the client is on.
    pub circuit_id: Vec<u8>,
    /// Option 82.2: what it calls the client's host or line.
    pub remote_id: Vec<u8>,
    /// Option 118: the network that the client wants an address of (RFC 3011).
    pub subnet_selection: Option<Ipv4Addr>,
    /// Option 93: every architecture that it names.
    pub architectures: Vec<u16>,
    /// Option 97, to be echoed to firmware.
    pub guid: Vec<u8>,
    /// Whether option 175 is there: iPXE's own.
    pub ipxe_options: bool,
    /// Whether that lists what iPXE can, and HTTP is not in it.
    pub ipxe_without_http: bool,
}

impl Request {
    /// Checks a datagram that came to port 67.
    ///
    /// # Errors
    /// [`Refused`]: why it is dropped.
    pub fn parse(datagram: &[u8]) -> Result<Self, Refused> {
        let (mac, message) = head(datagram, REQUEST)?;
        let flags =
            datagram.get(10..12).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_be_bytes);
        let (mut kind, mut bootp) = (None, true);
        let mut request = Self::without_options(mac, &message, flags);
        let mut overload = 0;
        for option in message.opts().take(MOST_OPTIONS) {
            match (u8::from(option.code()), option.data()) {
                (52, [value]) => overload = *value,
                (53, data) => (bootp, kind) = (false, one(data)),
                (code, data) => request.read(code, data),
            }
        }
        for field in overloaded(datagram, overload) {
            for (code, data) in plain_options(field).take(MOST_OPTIONS) {
                match code {
                    53 => (bootp, kind) = (false, one(data)),
                    // A relay's alone, which looks for another's among the options and not in here.
                    82 => {}
                    _ => request.read(code, data),
                }
            }
        }
        request.kind = match kind {
            Some(1) => MessageType::Discover,
            Some(3) => MessageType::Request,
            Some(4) => MessageType::Decline,
            Some(7) => MessageType::Release,
            Some(8) => MessageType::Inform,
            _ if bootp => return Err(Refused::Bootp),
            _ => return Err(Refused::MessageType),
        };
        // RFC 2131 table 5: it has none yet. What firmware leaves there, of its last boot or of another network, says
        // neither where it is nor where it can be reached.
        if matches!(request.kind, MessageType::Discover | MessageType::Decline) {
            request.ciaddr = Ipv4Addr::UNSPECIFIED;
        }
        request.read_relay_info();
        Ok(request)
    }

    /// What the fixed part says.
    fn without_options(mac: Mac, message: &Message<'_>, flags: u16) -> Self {
        Self {
            kind: MessageType::Discover,
            mac,
            xid: message.xid(),
            flags,
            ciaddr: message.ciaddr(),
            giaddr: message.giaddr(),
            requested: None,
            server_id: None,
            wanted: Vec::new(),
            max_size: None,
            vendor_class: Vec::new(),
            client_id: Vec::new(),
            user_class: Vec::new(),
            relay_info: Vec::new(),
            link_selection: None,
            server_override: None,
            circuit_id: Vec::new(),
            remote_id: Vec::new(),
            subnet_selection: None,
            architectures: Vec::new(),
            guid: Vec::new(),
            ipxe_options: false,
            ipxe_without_http: false,
        }
    }

    /// Takes in one option. A malformed one is left out; it never costs the others.
    fn read(&mut self, code: u8, data: &[u8]) {
        match code {
            50 => self.requested = address(data).or(self.requested),
            54 => self.server_id = address(data).or(self.server_id),
            55 => self.wanted = data.to_vec(),
            57 => self.max_size = data.try_into().ok().map(u16::from_be_bytes),
            60 => self.vendor_class = data.to_vec(),
            61 => self.client_id = data.to_vec(),
            77 => self.user_class = data.to_vec(),
            // In several parts it is one that no reply has the room to bring back.
            82 => self.relay_info = if data.len() <= LONGEST_OPTION { data.to_vec() } else { Vec::new() },
            93 => {
                let pairs = data.chunks_exact(2).filter_map(|pair| pair.try_into().ok());
                self.architectures = pairs.map(u16::from_be_bytes).collect();
            }
            97 => self.guid = data.to_vec(),
            118 => self.subnet_selection = network(data),
            175 => {
                self.ipxe_options = true;
                self.ipxe_without_http = sub_options(data)
                    .is_some_and(|list| !list.is_empty() && !list.iter().any(|(code, _)| *code == IPXE_HTTP));
            }
            _ => {}
        }
    }

    /// Reads the relay's sub-options, if their lengths add up; if not, they are echoed and not believed.
    fn read_relay_info(&mut self) {
        let mut ids = [Vec::new(), Vec::new()];
        for (code, data) in sub_options(&self.relay_info).unwrap_or_default() {
            match code {
                1 => ids[0] = data.to_vec(),
                2 => ids[1] = data.to_vec(),
                5 => self.link_selection = network(data),
                11 => self.server_override = network(data),
                _ => {}
            }
        }
        [self.circuit_id, self.remote_id] = ids;
    }
}

/// The client's hardware address and the rest of a message of one kind. It is long enough, of Ethernet with six bytes, and has
/// the cookie: what dhcproto takes for granted holds.
pub(crate) fn head(datagram: &[u8], op: u8) -> Result<(Mac, Message<'_>), Refused> {
    if !(SMALLEST..=LARGEST).contains(&datagram.len()) {
        return Err(Refused::Length);
    }
    let Some((&[its, htype, hlen, hops], _)) = datagram.split_first_chunk::<4>() else {
        return Err(Refused::Length);
    };
    if its != op || htype != 1 || hops > 16 || datagram.get(236..SMALLEST) != Some(COOKIE.as_slice()) {
        return Err(Refused::NotDhcp);
    }
    if hlen != 6 {
        return Err(Refused::HardwareAddress);
    }
    let bytes: [u8; 6] =
        datagram.get(28..34).and_then(|bytes| bytes.try_into().ok()).ok_or(Refused::Length)?;
    let mac = Mac::new(bytes).ok_or(Refused::HardwareAddress)?;
    Ok((mac, Message::new(datagram).map_err(|_| Refused::NotDhcp)?))
}

/// Sub-options, each with its code; none unless their lengths add up.
fn sub_options(mut rest: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut found = Vec::new();
    while let Some((&[code, length], tail)) = rest.split_first_chunk() {
        let (data, tail) = tail.split_at_checked(usize::from(length))?;
        found.push((code, data));
        rest = tail;
    }
    rest.is_empty().then_some(found)
}

/// The fields that option 52 says have options in them too, in the order in which they are read (RFC 2131 §4.1).
fn overloaded(datagram: &[u8], option: u8) -> impl Iterator<Item = &[u8]> {
    let field = |bit: u8, place: std::ops::Range<usize>| datagram.get(place).filter(|_| option & bit != 0);
    let known = (1..=3).contains(&option);
    [field(1, FILE), field(2, SNAME)].into_iter().flatten().filter(move |_| known)
}

/// Options as they lie in a field, up to its end mark or to one that does not fit.
fn plain_options(field: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = field;
    std::iter::from_fn(move || {
        while let [0, tail @ ..] = rest {
            rest = tail;
        }
        let (&[code, length], tail) = rest.split_first_chunk()?;
        let (data, tail) = tail.split_at_checked(usize::from(length)).filter(|_| code != 255)?;
        rest = tail;
        Some((code, data))
    })
}

pub(crate) fn one(data: &[u8]) -> Option<u8> {
    <[u8; 1]>::try_from(data).ok().map(|[value]| value)
}

fn address(data: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(data).ok().map(Ipv4Addr::from)
}

/// An address that stands for a network or a server, so never 0.0.0.0.
pub(crate) fn network(data: &[u8]) -> Option<Ipv4Addr> {
    address(data).filter(|address| !address.is_unspecified())
}
