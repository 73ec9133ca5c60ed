//! What a client is told, and where that goes (RFC 2131 §4.1).

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::answers::options;
use crate::context::{Assigned, BROADCAST, Context};
use crate::step::{Reply, Route};
use crate::wire::encode::{Answer, Kind};
use crate::wire::message::MessageType;

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;

impl Context<'_> {
    /// An OFFER or ACK with an address, or what an INFORM is told. `relay` stands in for a gateway.
    pub(crate) fn reply(&self, kind: Kind, given: Option<Assigned>, relay: Option<Ipv4Addr>) -> Reply {
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
        Reply {
            payload: answer.encode(),
            route,
            server: self.place.subnet.server,
            mac,
            address,
            leased: false,
            boots,
        }
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
