//! One message with all that its answer depends on, and where the answer goes.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::client::Client;
use crate::encode::{Answer, Kind};
use crate::options;
use crate::policy::{Policy, Reservation};
use crate::step::{DropReason, Now, Reply, Route};
use crate::subnets::Place;
use crate::wire::{MessageType, Request};

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// The flag by which a client asks for a broadcast, and by which a relay is told to make one (RFC 2131 §2).
pub(crate) const BROADCAST: u16 = 0x8000;

/// An address that a client is given, and for how many seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given {
    pub(crate) address: Ipv4Addr,
    pub(crate) secs: u32,
}

pub(crate) struct Asked<'a> {
    pub(crate) now: Now,
    pub(crate) policy: &'a dyn Policy,
    pub(crate) request: &'a Request,
    pub(crate) client: Client,
    pub(crate) place: Place,
    pub(crate) machine: Option<Reservation>,
}

impl<'a> Asked<'a> {
    /// # Errors
    /// [`DropReason::Unknown`], where the site serves only machines that it knows.
    pub(crate) fn new(
        now: Now,
        policy: &'a dyn Policy,
        request: &'a Request,
        place: Place,
    ) -> Result<Self, DropReason> {
        let machine = policy.reservation(request.mac);
        // Who is unknown now may have had a lease before, and can still give it back.
        let gives_back = matches!(request.kind, MessageType::Release | MessageType::Decline);
        if machine.is_none() && !gives_back && !policy.serve_unknown() {
            return Err(DropReason::Unknown);
        }
        Ok(Self { now, policy, request, client: Client::of(request), place, machine })
    }

    /// Whether the site does not name its machine: what it costs is bounded, and it gets what the others leave.
    pub(crate) fn is_stranger(&self) -> bool {
        self.machine.is_none()
    }

    /// What option 54 says: the relay's address where the relay wants to see renewals too (RFC 5107).
    pub(crate) fn server_id(&self) -> Ipv4Addr {
        self.request.server_override.unwrap_or(self.place.subnet.server)
    }

    /// Whether the client means another server.
    pub(crate) fn is_for_another(&self) -> bool {
        let ours = |id: Ipv4Addr| id == self.place.subnet.server || id == self.server_id();
        !self.request.server_id.is_none_or(ours)
    }

    /// The relay, if it can be the gateway of the client's network.
    pub(crate) fn relay(&self) -> Option<Ipv4Addr> {
        let relay = self.request.giaddr;
        (!relay.is_unspecified() && self.place.subnet.network.contains(relay)).then_some(relay)
    }

    /// An OFFER or ACK with an address, or what an INFORM is told. `relay` stands in for a gateway.
    pub(crate) fn reply(&self, kind: Kind, given: Option<Given>, relay: Option<Ipv4Addr>) -> Reply {
        let (request, subnet) = (self.request, &self.place.subnet);
        let yiaddr = given.map(|given| given.address);
        let boot = self.policy.boot(&self.client, subnet.server);
        let answer = Answer {
            request,
            flags: request.flags,
            ciaddr: if kind == Kind::Ack { request.ciaddr } else { Ipv4Addr::UNSPECIFIED },
            yiaddr: yiaddr.unwrap_or(Ipv4Addr::UNSPECIFIED),
            // shim, GRUB and the kernel's root server look at siaddr and nowhere else.
            siaddr: boot.as_ref().map_or(subnet.server, |boot| boot.server),
            file: boot.as_ref().map_or("", |boot| &boot.file),
            options: options::full(self, boot.as_ref(), given, subnet.router.or(relay)),
            mtu: subnet.mtu,
        };
        self.send(&answer, self.route(kind, yiaddr), yiaddr)
    }

    pub(crate) fn nak(&self) -> Reply {
        let request = self.request;
        let answer = Answer {
            request,
            // The client has no address that a relay could send it to (RFC 2131 §4.3.2).
            flags: if request.giaddr.is_unspecified() { request.flags } else { request.flags | BROADCAST },
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            file: "",
            options: options::nak(self),
            mtu: self.place.subnet.mtu,
        };
        self.send(&answer, self.route(Kind::Nak, None), None)
    }

    pub(crate) fn send(&self, answer: &Answer<'_>, route: Route, address: Option<Ipv4Addr>) -> Reply {
        let (mac, boots) = (self.client.mac, self.client.boots());
        Reply { payload: answer.encode(), route, mac, address, leased: false, boots }
    }

    /// RFC 2131 §4.1; INFORM goes straight to the client (§4.3.5), which has an address.
    fn route(&self, kind: Kind, yiaddr: Option<Ipv4Addr>) -> Route {
        let request = self.request;
        let has = !request.ciaddr.is_unspecified();
        let informs = request.kind == MessageType::Inform && has;
        if !request.giaddr.is_unspecified() && !informs {
            return Route::Relay(SocketAddrV4::new(request.giaddr, SERVER_PORT));
        }
        if has && !self.place.local {
            return Route::Back(SocketAddrV4::new(request.ciaddr, CLIENT_PORT));
        }
        match yiaddr.filter(|_| request.flags & BROADCAST == 0) {
            _ if kind == Kind::Nak => Route::Broadcast,
            _ if has => Route::Direct(request.mac, request.ciaddr),
            Some(address) => Route::Direct(request.mac, address),
            None => Route::Broadcast,
        }
    }
}
