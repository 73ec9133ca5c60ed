//! Addresses that are being asked for: whether somebody is there, and who. The asking is done outside.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use crate::networks::subnets::Place;
use crate::wire::message::Request;
use oneroot_ids::Mac;

/// Probes that may be under way at once.
const MOST: usize = 32;
/// Of them, on the word of machines that the site does not name.
const MOST_OF_STRANGERS: usize = 16;
/// Milliseconds after which a probe that has not come back is forgotten.
const WAITED_FOR: u64 = 30_000;

/// Why an address is asked for.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// A client has found another host at the address that it was given.
    Declined,
    /// Its lease looks ended, and may not be: what is to be answered when nobody is there.
    Doubtful(Box<(Request, Place)>),
}

/// A probe under way.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) address: Ipv4Addr,
    /// The client on whose word it is made.
    pub(crate) by: Mac,
    pub(crate) purpose: Purpose,
    stranger: bool,
    since: u64,
}

/// All of them; there are few.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    by_token: HashMap<u64, Probe>,
    next: u64,
    changed: Vec<Ipv4Addr>,
}

impl Probes {
    /// Notes a probe, and names it; `None` when the address is asked for already, or the client waits for another, or too
    /// many are under way.
    pub(crate) fn begin(
        &mut self,
        address: Ipv4Addr,
        by: Mac,
        purpose: Purpose,
        stranger: bool,
        now: u64,
    ) -> Option<u64> {
        let lost = |probe: &Probe| now.saturating_sub(probe.since) >= WAITED_FOR;
        self.changed.extend(self.by_token.values().filter(|probe| lost(probe)).map(|probe| probe.address));
        self.by_token.retain(|_, probe| !lost(probe));
        let of_strangers = self.by_token.values().filter(|probe| probe.stranger).count();
        let full = self.by_token.len() >= MOST || (stranger && of_strangers >= MOST_OF_STRANGERS);
        if full || self.by_token.values().any(|probe| probe.address == address || probe.by == by) {
            return None;
        }
        let token = self.next;
        self.next = self.next.wrapping_add(1);
        self.changed.push(address);
        self.by_token.insert(token, Probe { address, by, purpose, stranger, since: now });
        Some(token)
    }

    /// A probe that has come back.
    pub(crate) fn end(&mut self, token: u64) -> Option<Probe> {
        let probe = self.by_token.remove(&token)?;
        self.changed.push(probe.address);
        Some(probe)
    }

    /// Whether it is being found out whether an address can be given.
    pub(crate) fn settles(&self, address: Ipv4Addr) -> bool {
        let doubtful = |probe: &Probe| matches!(probe.purpose, Purpose::Doubtful(_));
        self.by_token.values().any(|probe| probe.address == address && doubtful(probe))
    }

    /// Addresses of which it has changed whether they are asked for.
    pub(crate) fn changed(&mut self) -> Vec<Ipv4Addr> {
        std::mem::take(&mut self.changed)
    }
}
