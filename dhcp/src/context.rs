//! One message with all that its answer depends on, and where the answer goes.

use std::net::Ipv4Addr;

use crate::networks::subnets::Place;
use crate::now::Now;
use crate::policy::{Policy, Reservation};
use crate::step::DropReason;
use crate::wire::client::Client;
use crate::wire::message::{MessageType, Request};

/// The flag by which a client asks for a broadcast, and by which a relay is told to make one (RFC 2131 §2).
pub(crate) const BROADCAST: u16 = 0x8000;

/// An address that a client is given, and for how many seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Assigned {
    pub(crate) address: Ipv4Addr,
    pub(crate) secs: u32,
}

pub(crate) struct Context<'a> {
    pub(crate) now: Now,
    pub(crate) policy: &'a dyn Policy,
    pub(crate) request: &'a Request,
    pub(crate) client: Client,
    pub(crate) place: Place,
    pub(crate) machine: Option<Reservation>,
}

impl<'a> Context<'a> {
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
    pub(crate) fn is_unknown(&self) -> bool {
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
}
