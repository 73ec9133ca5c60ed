//! Messages in every state of a client (RFC 2131 §4.3). engine.rs has the table that this follows.

use std::net::Ipv4Addr;

use crate::addresses::Addresses;
use crate::asked::{Asked, Given};
use crate::encode::Kind;
use crate::pool::Choice;
use crate::probes::Purpose;
use crate::step::{DropReason, Step};
use crate::wire::MessageType;
use crate::writes;

/// States from which a client sends REQUEST (RFC 2131 §4.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Selecting,
    InitReboot,
    /// RENEWING and REBINDING: they differ in the route of the question, and not in its answer.
    Renewing,
}

/// Answers a message in a network where we give the addresses.
pub(crate) fn answer(book: &mut Addresses, asked: &Asked<'_>) -> Result<Step, DropReason> {
    if asked.is_for_another() && !renews_ours(book, asked) {
        // What it was offered stays for its minute: anybody can say in its name that it has chosen another server, and to
        // hold the address for it anew would be counted.
        return Err(DropReason::OtherServer);
    }
    match asked.request.kind {
        MessageType::Discover => discover(book, asked),
        MessageType::Request => request(book, asked),
        MessageType::Inform => inform(book, asked),
        MessageType::Decline => decline(book, asked),
        MessageType::Release => writes::release(book, asked),
    }
}

/// Whether a client renews or rebinds an address that it has of us. It must not name a server then (RFC 2131 §4.3.2), so
/// it does not matter whom it names.
fn renews_ours(book: &Addresses, asked: &Asked<'_>) -> bool {
    let (request, mac) = (asked.request, asked.client.mac);
    let its = [book.leased(mac), asked.policy.held_by(mac)].contains(&Some(request.ciaddr));
    request.kind == MessageType::Request && request.requested.is_none() && its
}

fn discover(book: &mut Addresses, asked: &Asked<'_>) -> Result<Step, DropReason> {
    let (mac, now, stranger) = (asked.client.mac, asked.now, asked.is_stranger());
    let Some(choice) = book.find(asked) else {
        return Err(if stranger && book.has_only_room(asked) {
            DropReason::SetAside
        } else {
            DropReason::PoolFull
        });
    };
    // What is the client's already is told it again and again; an address that is held for it anew is counted.
    let its = [book.leased(mac), book.offers.of(mac, now.mono)].contains(&Some(choice.address()));
    if stranger && !its && book.costs.is_used_up(mac, now.mono) {
        return Err(DropReason::TooMany);
    }
    match choice {
        Choice::Give(address) => {
            if stranger && !its {
                book.costs.too_many(mac, now.mono);
            }
            let secs = book.lease_secs(asked);
            book.offers.hold(mac, address, stranger, now.mono);
            let given = Given { address, secs };
            Ok(Step::Reply(asked.reply(Kind::Offer, Some(given), asked.relay())))
        }
        Choice::Probe(address) => {
            let waits = Box::new((asked.request.clone(), asked.place.clone()));
            let token = probe(book, asked, address, Purpose::Doubtful(waits)).ok_or(DropReason::Asking)?;
            Ok(Step::Probe { token, address })
        }
    }
}

/// Begins to look at an address. Only what has begun is counted: a repeat costs nothing, whoever sends it.
fn probe(book: &mut Addresses, asked: &Asked<'_>, address: Ipv4Addr, purpose: Purpose) -> Option<u64> {
    let (mac, now, stranger) = (asked.client.mac, asked.now.mono, asked.is_stranger());
    let token = book.probes.begin(address, mac, purpose, stranger, now)?;
    if stranger {
        book.costs.too_many(mac, now);
    }
    Some(token)
}

fn request(book: &mut Addresses, asked: &Asked<'_>) -> Result<Step, DropReason> {
    let (request, subnet, mac) = (asked.request, &asked.place.subnet, asked.client.mac);
    let (state, address) = match (request.ciaddr, request.server_id) {
        (Ipv4Addr::UNSPECIFIED, Some(_)) => (State::Selecting, request.requested),
        (Ipv4Addr::UNSPECIFIED, None) => (State::InitReboot, request.requested),
        (address, _) => (State::Renewing, Some(address)),
    };
    let Some(address) = address else { return Err(DropReason::NoAddress) };
    let nak = || {
        // A machine is never told to give up the address that its root runs on, whatever it asks.
        let runs = !asked.client.boots() && asked.policy.held_by(mac) == Some(address);
        if runs { Err(DropReason::Stranded) } else { Ok(Step::Reply(asked.nak())) }
    };
    if !subnet.network.contains(address) {
        let silent = state == State::Renewing && !subnet.authoritative;
        return if silent { Err(DropReason::NoRecord) } else { nak() };
    }
    let known = book.known(asked);
    // A lease is renewed whatever has been reserved or declined since: that waits for the next boot.
    let renews = !asked.client.boots()
        && book.leased(mac) == Some(address)
        && !book.taken(address, asked)
        && book.spares(address, asked);
    match known {
        its if renews || its == Some(address) => writes::acknowledge(book, asked, address),
        None if state != State::Selecting && !subnet.authoritative => Err(DropReason::NoRecord),
        Some(_) | None => nak(),
    }
}

/// RFC 2131 §4.3.5: the client has an address already; there is no lease in the answer.
fn inform(book: &Addresses, asked: &Asked<'_>) -> Result<Step, DropReason> {
    let ciaddr = asked.request.ciaddr;
    // The answer goes to that address, so it must be one of the site's, and one that a client can have.
    if !ciaddr.is_unspecified() && !asked.place.subnet.usable(ciaddr) {
        return Err(DropReason::NoSubnet);
    }
    let relay = asked.relay().or_else(|| writes::relay_of(book, asked));
    Ok(Step::Reply(asked.reply(Kind::Ack, None, relay)))
}

/// RFC 2131 §3.1: the client says that somebody else is at the address. Anybody can say so in its name, so it is looked at
/// first. Only its own can be declined.
fn decline(book: &mut Addresses, asked: &Asked<'_>) -> Result<Step, DropReason> {
    let (mac, now) = (asked.client.mac, asked.now.mono);
    let offered = book.offers.of(mac, now);
    let its = |address: &Ipv4Addr| book.leased(mac) == Some(*address) || offered == Some(*address);
    let address = asked.request.requested.filter(its).ok_or(DropReason::Noted)?;
    if book.declined.rests(address, now) {
        return Err(DropReason::Noted);
    }
    if asked.is_stranger() && book.costs.is_used_up(mac, now) {
        return Err(DropReason::TooMany);
    }
    let token = probe(book, asked, address, Purpose::Declined).ok_or(DropReason::Noted)?;
    Ok(Step::Probe { token, address })
}
