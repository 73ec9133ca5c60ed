//! What it means that somebody, or nobody, was found at an address.
//!
//! | at a declined address is | the address |
//! |---|---|
//! | a MAC that is neither the client's that declined it nor that of whoever the address belongs to | rests |
//! | the client itself, or its owner | is given on: somebody else spoke in its name |
//! | somebody behind a relay, who can't be told from the client | rests, unless it is reserved or a root runs with it |
//! | nobody; or nobody could be asked | is given on |
//!
//! | at an address whose lease only looks ended is | the address |
//! |---|---|
//! | nobody, or the client that asks for it now | is given |
//! | anybody else | is not given before its lease is sure to be over |
//! | nobody could be asked | is asked for again with the next message |

use std::net::Ipv4Addr;

use crate::addresses::allocator::Allocator;
use crate::leases::lease::Probed;
use crate::now::Now;
use crate::policy::Policy;
use crate::step::{DropReason, ProbeResult};
use oneroot_ids::Mac;

/// At an address that this client has declined.
pub(crate) fn declined(
    allocator: &mut Allocator,
    now: Now,
    policy: &dyn Policy,
    (address, by): (Ipv4Addr, Mac),
    found: ProbeResult,
) -> DropReason {
    let claim = policy.claim(address).filter(|claim| claim.holds(now.wall)).map(|claim| claim.mac());
    let reserved = policy.reserved(address);
    let foreign = match found {
        ProbeResult::Mac(mac) => {
            let leased = allocator.leases.at(address).map(|known| known.lease.mac);
            ![Some(by), claim, reserved, leased].contains(&Some(mac))
        }
        ProbeResult::Answered => claim.is_none() && reserved.is_none(),
        ProbeResult::Silent | ProbeResult::Unable => false,
    };
    if !foreign || !allocator.declined.add(address, by, now.mono) {
        return DropReason::Unproven;
    }
    if allocator.offers.of(by, now.mono) == Some(address) {
        allocator.offers.forget(by);
    }
    DropReason::Declined
}

/// At an address whose lease only looks ended, for this client: whether it can be answered now.
pub(crate) fn doubtful(
    allocator: &mut Allocator,
    (address, by): (Ipv4Addr, Mac),
    found: ProbeResult,
) -> bool {
    let probed = match found {
        ProbeResult::Silent => Probed::Silent,
        ProbeResult::Mac(mac) if mac == by => Probed::Silent,
        ProbeResult::Mac(_) | ProbeResult::Answered => Probed::There,
        ProbeResult::Unable => Probed::No,
    };
    allocator.leases.found(address, probed);
    probed == Probed::Silent
}
