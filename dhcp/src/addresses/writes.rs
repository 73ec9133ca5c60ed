//! What becomes durable, and what need not: acknowledging an address, and giving it back.
//!
//! | REQUEST for its address | acknowledged | written |
//! |---|---|---|
//! | of a lease that is durable and has more than half its time left | at once, for the time that is left | nothing |
//! | that its root runs on, from the system that runs | at once: the pin is durable, and binds the address | later, once for all |
//! | else | once it is on the disk | first |

use std::net::Ipv4Addr;

use crate::addresses::allocator::Allocator;
use crate::addresses::commits::Commit;
use crate::context::{Assigned, Context};
use crate::leases::lease::{Lease, LeaseChange};
use crate::now::Now;
use crate::policy::Claim;
use crate::step::{DropReason, Reply, Step};
use crate::wire::encode::Kind;

/// Acknowledges an address that is the client's.
pub(crate) fn acknowledge(
    allocator: &mut Allocator,
    context: &Context<'_>,
    address: Ipv4Addr,
) -> Result<Step, DropReason> {
    let (mac, now) = (context.client.mac, context.now);
    let relay = context.relay().or_else(|| relay_of(allocator, context));
    let secs = allocator.lease_secs(context);
    if let Some(left) = left(allocator, context, address, secs) {
        // Another relay than the lease has is not written here: anybody can make one up, for each message.
        return Ok(at_once(allocator, context, Assigned { address, secs: left }, relay));
    }
    let expires = now.wall.saturating_add(u64::from(secs));
    // Shown a shorter time than it was once, a client may not have heard of it: its lease never gets shorter here.
    let before = allocator.leases.of(mac).filter(|known| known.lease.address == address);
    let expires = before.map_or(expires, |known| known.lease.expires.max(expires));
    let lease = Lease { mac, address, start: now.wall, expires, relay };
    let given = Assigned { address, secs };
    if !context.client.boots() && context.policy.claim(address) == Some(Claim::Runs(mac)) {
        allocator.later.put(lease);
        return Ok(at_once(allocator, context, given, relay));
    }
    let mut reply = context.reply(Kind::Ack, Some(given), relay);
    reply.leased = true;
    if context.is_unknown() && allocator.costs.too_many(mac, now.mono) {
        return Err(DropReason::TooMany);
    }
    commit(allocator, now, context.is_unknown(), lease, Some(reply))
}

/// The seconds that are left of a durable lease of this address, where that is more than half of what it would get.
fn left(allocator: &Allocator, context: &Context<'_>, address: Ipv4Addr, secs: u32) -> Option<u32> {
    let mac = context.client.mac;
    let lease = &allocator.leases.of(mac)?.lease;
    let left = lease.expires.saturating_sub(context.now.wall).min(u64::from(context.place.subnet.lease_secs));
    let good = lease.address == address && left > u64::from(secs / 2) && !allocator.commits.unsettles(lease);
    u32::try_from(left).ok().filter(|_| good)
}

fn at_once(
    allocator: &mut Allocator,
    context: &Context<'_>,
    given: Assigned,
    relay: Option<Ipv4Addr>,
) -> Step {
    let (mac, now) = (context.client.mac, context.now.mono);
    let mut reply = context.reply(Kind::Ack, Some(given), relay);
    // Only that a boot begins is news, and not from whoever says so without end.
    let watched = !context.is_unknown() || !allocator.notes.is_full(now);
    reply.leased = reply.boots && watched && !allocator.notes.too_many(mac, now);
    Step::Reply(reply)
}

/// The relay that a client used before it renewed past it: still its gateway, where the site names none.
pub(crate) fn relay_of(allocator: &Allocator, context: &Context<'_>) -> Option<Ipv4Addr> {
    let lease = &allocator.leases.of(context.client.mac)?.lease;
    let (renews, direct) = (lease.address == context.request.ciaddr, context.request.giaddr.is_unspecified());
    lease.relay.filter(|relay| renews && direct && context.place.subnet.network.contains(*relay))
}

/// RFC 2131 §4.3.4. A stranger's lease ends now, durably, and stays on record: its address is the last to be given to
/// another. A machine of the site has its address or its room anyway, so nothing is written, whoever says so in its name.
pub(crate) fn release(allocator: &mut Allocator, context: &Context<'_>) -> Result<Step, DropReason> {
    let (mac, ciaddr, now) = (context.client.mac, context.request.ciaddr, context.now);
    let its = allocator.leases.of(mac).map(|known| &known.lease).filter(|lease| lease.address == ciaddr);
    let Some(lease) = its.filter(|_| context.is_unknown()).cloned() else { return Err(DropReason::Noted) };
    if matches!(context.policy.claim(ciaddr), Some(Claim::Runs(_))) || lease.expires <= now.wall {
        return Err(DropReason::Noted);
    }
    if allocator.costs.too_many(mac, now.mono) {
        return Err(DropReason::TooMany);
    }
    commit(allocator, now, true, Lease { start: now.wall, expires: now.wall, ..lease }, None)
}

/// Whether a lease that waits says less than what is known by now, so that it is not written. A lease of another address,
/// durable or about to be, is that of a boot which has begun since; one that began later says more, also that it has ended.
fn is_old(allocator: &Allocator, waits: &Lease, now: Now) -> bool {
    let (mac, address) = (waits.mac, waits.address);
    let its = allocator.leases.of(mac).filter(|known| known.binds(now)).map(|known| &known.lease);
    let coming = allocator.commits.lease_of(mac).filter(|coming| coming.expires > now.wall);
    let elsewhere = its.into_iter().chain(coming).any(|lease| lease.address != address);
    let others = allocator.leases.at(address).is_some_and(|known| known.lease.mac != mac && known.binds(now));
    let newer = allocator.leases.of(mac).is_some_and(|known| known.lease.start > waits.start);
    newer || elsewhere || others || allocator.commits.at(address).is_some_and(|coming| coming != mac)
}

/// The next lease that was acknowledged and is still to be written.
pub(crate) fn overdue(allocator: &mut Allocator, now: Now) -> Option<Step> {
    for _ in 0..allocator.later.len() {
        let mut lease = allocator.later.take()?;
        let (mac, address) = (lease.mac, lease.address);
        if allocator.commits.busy(mac, address, false, now.mono) {
            allocator.later.put(lease);
            continue;
        }
        if is_old(allocator, &lease, now) {
            continue;
        }
        if let Some(known) = allocator.leases.of(mac).filter(|known| known.lease.address == address) {
            lease.expires = lease.expires.max(known.lease.expires);
        }
        if let Ok(Step::Commit { token, change }) = commit(allocator, now, false, lease, None) {
            allocator.commits.again(token);
            return Some(Step::Commit { token, change });
        }
    }
    None
}

fn commit(
    allocator: &mut Allocator,
    now: Now,
    stranger: bool,
    lease: Lease,
    reply: Option<Reply>,
) -> Result<Step, DropReason> {
    if allocator.commits.busy(lease.mac, lease.address, stranger, now.mono) {
        return Err(DropReason::Pending);
    }
    allocator.later.forget(lease.mac);
    let other = allocator.leases.at(lease.address).filter(|known| known.lease.mac != lease.mac);
    let evict = other.map(|known| (known.lease.mac, known.revision));
    let expected = allocator.leases.of(lease.mac).map(|known| known.revision);
    let change = LeaseChange { put: lease.clone(), expected, evict };
    let commit = Commit { lease, expected, evict, reply, again: false, stranger, since: now.mono };
    Ok(Step::Commit { token: allocator.commits.add(commit), change })
}
