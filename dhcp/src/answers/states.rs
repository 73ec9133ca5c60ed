//! Messages in every state of a client (RFC 2131 §4.3). engine.rs has the table that this follows.

use std::net::Ipv4Addr;

use crate::addresses::allocator::Allocator;
use crate::addresses::probes::Purpose;
use crate::addresses::writes;
use crate::context::{Assigned, Context};
use crate::leases::pool::Choice;
use crate::step::{DropReason, Step};
use crate::wire::encode::Kind;
use crate::wire::message::MessageType;

/// States from which a client sends REQUEST (RFC 2131 §4.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Selecting,
    InitReboot,
    /// RENEWING and REBINDING: they differ in the route of the question, and not in its answer.
    Renewing,
}

/// Answers a message in a network where we give the addresses.
pub(crate) fn answer(allocator: &mut Allocator, context: &Context<'_>) -> Result<Step, DropReason> {
    if context.is_for_another() && !renews_ours(allocator, context) {
        // What it was offered stays for its minute: anybody can say in its name that it has chosen another server, and to
        // hold the address for it anew would be counted.
        return Err(DropReason::OtherServer);
    }
    match context.request.kind {
        MessageType::Discover => discover(allocator, context),
        MessageType::Request => request(allocator, context),
        MessageType::Inform => inform(allocator, context),
        MessageType::Decline => decline(allocator, context),
        MessageType::Release => writes::release(allocator, context),
    }
}

/// Whether a client renews or rebinds an address that it has of us. It must not name a server then (RFC 2131 §4.3.2), so
/// it does not matter whom it names.
fn renews_ours(allocator: &Allocator, context: &Context<'_>) -> bool {
    let (request, mac) = (context.request, context.client.mac);
    let its = [allocator.leased(mac), context.policy.held_by(mac)].contains(&Some(request.ciaddr));
    request.kind == MessageType::Request && request.requested.is_none() && its
}

fn discover(allocator: &mut Allocator, context: &Context<'_>) -> Result<Step, DropReason> {
    let (mac, now, stranger) = (context.client.mac, context.now, context.is_unknown());
    let Some(choice) = allocator.find(context) else {
        return Err(if stranger && allocator.has_only_room(context) {
            DropReason::SetAside
        } else {
            DropReason::PoolFull
        });
    };
    // What is the client's already is told it again and again; an address that is held for it anew is counted.
    let its = [allocator.leased(mac), allocator.offers.of(mac, now.mono)].contains(&Some(choice.address()));
    if stranger && !its && allocator.costs.is_used_up(mac, now.mono) {
        return Err(DropReason::TooMany);
    }
    match choice {
        Choice::Give(address) => {
            if stranger && !its {
                allocator.costs.too_many(mac, now.mono);
            }
            let secs = allocator.lease_secs(context);
            allocator.offers.hold(mac, address, stranger, now.mono);
            let given = Assigned { address, secs };
            Ok(Step::Reply(context.reply(Kind::Offer, Some(given), context.relay())))
        }
        Choice::Probe(address) => {
            let waits = Box::new((context.request.clone(), context.place.clone()));
            let token =
                probe(allocator, context, address, Purpose::Doubtful(waits)).ok_or(DropReason::Asking)?;
            Ok(Step::Probe { token, address })
        }
    }
}

/// Begins to look at an address. Only what has begun is counted: a repeat costs nothing, whoever sends it.
fn probe(
    allocator: &mut Allocator,
    context: &Context<'_>,
    address: Ipv4Addr,
    purpose: Purpose,
) -> Option<u64> {
    let (mac, now, stranger) = (context.client.mac, context.now.mono, context.is_unknown());
    let token = allocator.probes.begin(address, mac, purpose, stranger, now)?;
    if stranger {
        allocator.costs.too_many(mac, now);
    }
    Some(token)
}

fn request(allocator: &mut Allocator, context: &Context<'_>) -> Result<Step, DropReason> {
    let (request, subnet, mac) = (context.request, &context.place.subnet, context.client.mac);
    let (state, address) = match (request.ciaddr, request.server_id) {
        (Ipv4Addr::UNSPECIFIED, Some(_)) => (State::Selecting, request.requested),
        (Ipv4Addr::UNSPECIFIED, None) => (State::InitReboot, request.requested),
        (address, _) => (State::Renewing, Some(address)),
    };
    let Some(address) = address else { return Err(DropReason::NoAddress) };
    let nak = || {
        // A machine is never told to give up the address that its root runs on, whatever it asks.
        let runs = !context.client.boots() && context.policy.held_by(mac) == Some(address);
        if runs { Err(DropReason::Stranded) } else { Ok(Step::Reply(context.nak())) }
    };
    if !subnet.network.contains(address) {
        let silent = state == State::Renewing && !subnet.authoritative;
        return if silent { Err(DropReason::NoRecord) } else { nak() };
    }
    let known = allocator.known(context);
    // A lease is renewed whatever has been reserved or declined since: that waits for the next boot.
    let renews = !context.client.boots()
        && allocator.leased(mac) == Some(address)
        && !allocator.taken(address, context)
        && allocator.spares(address, context);
    match known {
        its if renews || its == Some(address) => writes::acknowledge(allocator, context, address),
        None if state != State::Selecting && !subnet.authoritative => Err(DropReason::NoRecord),
        // It names this server, so this is what it was offered. Of many thousand that come at once the first would be refused
        // what nobody else has, and all of them would begin anew.
        None if state == State::Selecting && allocator.is_left(address, context) => {
            writes::acknowledge(allocator, context, address)
        }
        Some(_) | None => nak(),
    }
}

/// RFC 2131 §4.3.5: the client has an address already; there is no lease in the answer.
fn inform(allocator: &Allocator, context: &Context<'_>) -> Result<Step, DropReason> {
    let ciaddr = context.request.ciaddr;
    // The answer goes to that address, so it must be one of the site's, and one that a client can have.
    if !ciaddr.is_unspecified() && !context.place.subnet.usable(ciaddr) {
        return Err(DropReason::NoSubnet);
    }
    let relay = context.relay().or_else(|| writes::relay_of(allocator, context));
    Ok(Step::Reply(context.reply(Kind::Ack, None, relay)))
}

/// RFC 2131 §3.1: the client says that somebody else is at the address. Anybody can say so in its name, so it is looked at
/// first. Only its own can be declined.
fn decline(allocator: &mut Allocator, context: &Context<'_>) -> Result<Step, DropReason> {
    let (mac, now) = (context.client.mac, context.now.mono);
    let offered = allocator.offers.of(mac, now);
    let its = |address: &Ipv4Addr| allocator.leased(mac) == Some(*address) || offered == Some(*address);
    let address = context.request.requested.filter(its).ok_or(DropReason::Noted)?;
    if allocator.declined.rests(address, now) {
        return Err(DropReason::Noted);
    }
    if context.is_unknown() && allocator.costs.is_used_up(mac, now) {
        return Err(DropReason::TooMany);
    }
    let token = probe(allocator, context, address, Purpose::Declined).ok_or(DropReason::Noted)?;
    Ok(Step::Probe { token, address })
}
