//! Messages in every state of a client (RFC 2131 §4.3). engine.rs has the table that this follows.

use std::net::Ipv4Addr;

use crate::addresses::Addresses;
use crate::asked::Asked;
use crate::commits::Commit;
use crate::encode::Kind;
use crate::lease::{Lease, LeaseChange};
use crate::step::{DropReason, Reply, Step};
use crate::wire::MessageType;

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
    if asked.is_for_another() {
        book.offers.forget(asked.client.mac);
        return Err(DropReason::OtherServer);
    }
    match asked.request.kind {
        MessageType::Discover => {
            let address = book.find(asked).ok_or(DropReason::PoolFull)?;
            book.offers.hold(asked.client.mac, address, asked.now.mono);
            Ok(Step::Reply(asked.reply(Kind::Offer, Some(address), asked.relay())))
        }
        MessageType::Request => request(book, asked),
        MessageType::Inform => inform(book, asked),
        MessageType::Decline => Err(decline(book, asked)),
        MessageType::Release => release(book, asked),
    }
}

fn request(book: &mut Addresses, asked: &Asked<'_>) -> Result<Step, DropReason> {
    let (request, subnet, mac) = (asked.request, &asked.place.subnet, asked.client.mac);
    let (state, address) = match (request.ciaddr, request.server_id) {
        (Ipv4Addr::UNSPECIFIED, Some(_)) => (State::Selecting, request.requested),
        (Ipv4Addr::UNSPECIFIED, None) => (State::InitReboot, request.requested),
        (address, _) => (State::Renewing, Some(address)),
    };
    let Some(address) = address else { return Err(DropReason::NoRecord) };
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
    let renews = !asked.client.boots() && book.leased(mac) == Some(address) && !book.taken(address, asked);
    match known {
        its if renews || its == Some(address) => acknowledge(book, asked, address),
        None if state != State::Selecting && !subnet.authoritative => Err(DropReason::NoRecord),
        Some(_) | None => nak(),
    }
}

/// Asks for the lease to be written; its ACK waits.
fn acknowledge(book: &mut Addresses, asked: &Asked<'_>, address: Ipv4Addr) -> Result<Step, DropReason> {
    let (mac, wall) = (asked.client.mac, asked.now.wall);
    let relay = asked.relay().or_else(|| relay_of(book, asked));
    let mut reply = asked.reply(Kind::Ack, Some(address), relay);
    reply.leased = true;
    let expires = wall.saturating_add(u64::from(asked.place.subnet.lease_secs));
    commit(book, asked, Lease { mac, address, start: wall, expires, relay }, Some(reply))
}

/// The relay that a client used before it renewed past it: still its gateway, where the site names none.
fn relay_of(book: &Addresses, asked: &Asked<'_>) -> Option<Ipv4Addr> {
    let (lease, _) = book.leases.of(asked.client.mac)?;
    let (renews, direct) = (lease.address == asked.request.ciaddr, asked.request.giaddr.is_unspecified());
    lease.relay.filter(|relay| renews && direct && asked.place.subnet.network.contains(*relay))
}

fn commit(
    book: &mut Addresses,
    asked: &Asked<'_>,
    lease: Lease,
    reply: Option<Reply>,
) -> Result<Step, DropReason> {
    if book.commits.busy(lease.mac, lease.address, asked.now.mono) {
        return Err(DropReason::Pending);
    }
    let other = book.leases.at(lease.address).filter(|(other, _)| other.mac != lease.mac);
    let evict = other.map(|(other, revision)| (other.mac, *revision));
    let expected = book.leases.of(lease.mac).map(|(_, revision)| *revision);
    let change = LeaseChange { put: lease.clone(), expected, evict };
    let evict = evict.map(|(mac, _)| mac);
    let token = book.commits.add(Commit { lease, evict, reply, since: asked.now.mono });
    Ok(Step::Commit { token, change })
}

/// RFC 2131 §4.3.5: the client has an address already; there is no lease in the answer.
fn inform(book: &Addresses, asked: &Asked<'_>) -> Result<Step, DropReason> {
    let ciaddr = asked.request.ciaddr;
    // The answer goes to that address, so it must be one of the site's.
    if !ciaddr.is_unspecified() && !asked.place.subnet.network.contains(ciaddr) {
        return Err(DropReason::NoSubnet);
    }
    let relay = asked.relay().or_else(|| relay_of(book, asked));
    Ok(Step::Reply(asked.reply(Kind::Ack, None, relay)))
}

/// RFC 2131 §4.3.4. The lease ends now, durably, and stays on record: its address is the last to be given to another.
fn release(book: &mut Addresses, asked: &Asked<'_>) -> Result<Step, DropReason> {
    let (ciaddr, wall) = (asked.request.ciaddr, asked.now.wall);
    let Some((lease, _)) = book.leases.of(asked.client.mac).filter(|(lease, _)| lease.address == ciaddr)
    else {
        return Err(DropReason::Noted);
    };
    if asked.policy.holder(ciaddr).is_some() || lease.expires <= wall {
        return Err(DropReason::Noted);
    }
    commit(book, asked, Lease { expires: wall, ..lease.clone() }, None)
}

/// RFC 2131 §3.1: the client has found somebody else at the address. Only its own can be declined.
fn decline(book: &mut Addresses, asked: &Asked<'_>) -> DropReason {
    let mac = asked.client.mac;
    let offered = book.offers.of(mac, asked.now.mono);
    let its = |address: &Ipv4Addr| book.leased(mac) == Some(*address) || offered == Some(*address);
    let Some(address) = asked.request.requested.filter(its) else { return DropReason::Noted };
    book.offers.forget(mac);
    book.declined.add(address, mac, asked.now.mono);
    DropReason::Declined
}
