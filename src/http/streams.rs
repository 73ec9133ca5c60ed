//! Which streams of a tree's contents are under way, and which one gives way where there are too many.
//!
//! | who comes when all places are taken | takes the place of |
//! |---|---|
//! | whoever has fewer than another | the slowest of the one who has the most |
//! | a machine of the site | the slowest of those that only have tokens |
//! | anybody | one that takes hardly anything, a machine's only for a machine |
//!
//! Whoever loses a place goes on where he was when there is room again.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::net::accept::Slot;
use crate::net::throughput::{Least, SETTLED};

/// Streams of objects at once.
const STREAMS: usize = 128;
/// Those of one address.
const PER_PEER: usize = 8;
/// What is asked of each.
pub const LEAST: Least = Least { bytes: 32 * 1024, within: Duration::from_secs(60) };
/// Bytes a second below which one gives way to anybody.
const CRAWL: u64 = 16 * 1024;
/// Of those who are sent away, so many milliseconds lie between the times at which two are to come back,
const APART: u64 = 100;
/// And within these, in seconds, each of them comes back.
const AGAIN: std::ops::RangeInclusive<u64> = 5..=60;

/// The streams that are under way.
#[derive(Clone, Default)]
pub struct Streams(Arc<All>);

#[derive(Default)]
struct All {
    entries: Mutex<Vec<Entry>>,
    /// When the last one who was sent away is to come back.
    again: AtomicU64,
}

struct Entry {
    /// Its connection, which is one of a kind.
    slot: Arc<Slot>,
    peer: IpAddr,
    is_machine: bool,
    since: u64,
}

/// The place of one; given back when it ends, however that comes about.
pub struct Place(Streams, Arc<Slot>);

impl Streams {
    /// A place for one more, if there is any. `now` is the time of `clock::coarse_ms`.
    pub fn enter(&self, slot: &Arc<Slot>, peer: IpAddr, is_machine: bool, now: u64) -> Option<Place> {
        let mut streams = self.streams();
        if streams.iter().filter(|stream| stream.peer == peer).count() >= PER_PEER {
            return None;
        }
        if streams.len() >= STREAMS {
            let victim = victim(&streams, peer, is_machine, now)?;
            let gone = streams.remove(victim);
            // What it reads just now it may end; its place is another's already.
            gone.slot.close();
        }
        streams.push(Entry { slot: slot.clone(), peer, is_machine, since: now });
        Some(Place(self.clone(), slot.clone()))
    }

    /// Whether there may be a place for one more from here, whoever it is: asked before anything is looked up for it.
    pub fn has_room(&self, peer: IpAddr, now: u64) -> bool {
        let streams = self.streams();
        let its = streams.iter().filter(|stream| stream.peer == peer).count();
        its < PER_PEER && (streams.len() < STREAMS || victim(&streams, peer, true, now).is_some())
    }

    /// After how many seconds one is to ask again for whom there is no room: the more were sent away lately, the later.
    pub fn again(&self, now: u64) -> u64 {
        let next = |last: u64| (last.max(now) + APART).min(now + AGAIN.end() * 1000);
        let last = self.0.again.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        let wait = next(last.unwrap_or_default()) - now;
        (wait / 1000).clamp(*AGAIN.start(), *AGAIN.end())
    }

    fn streams(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which one gives way.
fn victim(streams: &[Entry], peer: IpAddr, is_machine: bool, now: u64) -> Option<usize> {
    let mut counts = HashMap::<IpAddr, usize>::new();
    for stream in streams {
        *counts.entry(stream.peer).or_default() += 1;
    }
    let count = |peer| counts.get(&peer).copied().unwrap_or(0);
    let its = count(peer);
    let settled =
        streams.iter().enumerate().filter(|(_, stream)| now.saturating_sub(stream.since) >= SETTLED);
    let goes = settled.filter_map(|(at, stream)| {
        let (rate, has) = (stream.slot.throughput.rate(now), count(stream.peer));
        let has_more = has > its + 1;
        let is_for_machine = is_machine && !stream.is_machine;
        let crawls = rate.waited < CRAWL && (is_machine || !stream.is_machine);
        (has_more || is_for_machine || crawls).then_some((stream.is_machine, Reverse(has), rate, at))
    });
    goes.min().map(|(.., at)| at)
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.streams().retain(|stream| !Arc::ptr_eq(&stream.slot, &self.1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: u64 = 2 * SETTLED;

    fn peer(number: usize) -> IpAddr {
        IpAddr::from([10, 0, 0, u8::try_from(number).unwrap()])
    }

    fn enter(streams: &Streams, from: usize, is_machine: bool, now: u64) -> Option<(Place, Arc<Slot>)> {
        let slot = Arc::new(Slot::new((peer(from), 700).into(), now));
        slot.throughput.ask(LEAST, now);
        Some((streams.enter(&slot, peer(from), is_machine, now)?, slot))
    }

    /// All places taken by so many a peer, each of which takes so many bytes a second.
    fn full(streams: &Streams, each: usize, is_machine: bool, rate: usize) -> Vec<(Place, Arc<Slot>)> {
        let all = (0..STREAMS).map(|number| enter(streams, number / each, is_machine, 0).unwrap());
        let all: Vec<_> = all.collect();
        for (_, slot) in &all {
            slot.throughput.waits(0);
            slot.throughput.sent(rate * usize::try_from(LATER / 1000).unwrap());
        }
        all
    }

    #[test]
    fn sixteen_addresses_that_hold_all_of_them_shut_nobody_out() {
        let streams = Streams::default();
        let held = full(&streams, PER_PEER, false, 1 << 20);
        let slowest = &held[77].1;
        for (_, slot) in held.iter().filter(|(_, slot)| !Arc::ptr_eq(slot, slowest)) {
            slot.throughput.sent(1 << 20);
        }
        let came = enter(&streams, 200, false, LATER);
        assert!(came.is_some() && slowest.is_closed(), "the slowest goes");
        assert_eq!(held.iter().filter(|(_, slot)| slot.is_closed()).count(), 1);
        assert_eq!(streams.streams().len(), STREAMS);
        // Until it has as many as the others have.
        let more: Vec<_> = (0..PER_PEER).filter_map(|_| enter(&streams, 200, false, LATER)).collect();
        assert!(more.len() < PER_PEER, "{}", more.len());
    }

    #[test]
    fn a_machine_comes_before_whoever_has_a_token_and_nobody_before_a_machine() {
        for (theirs, mine, comes) in
            [(false, true, true), (false, false, false), (true, false, false), (true, true, false)]
        {
            let streams = Streams::default();
            let _held = full(&streams, 1, theirs, 1 << 20);
            assert_eq!(enter(&streams, 200, mine, LATER).is_some(), comes, "{theirs} {mine}");
        }
    }

    #[test]
    fn who_crawls_gives_way_and_who_has_just_come_does_not() {
        let streams = Streams::default();
        let _held = full(&streams, 1, false, 100);
        assert!(enter(&streams, 200, false, SETTLED - 1).is_none());
        assert!(enter(&streams, 200, false, LATER).is_some());
        let machines = Streams::default();
        let _held = full(&machines, 1, true, 100);
        assert!(enter(&machines, 200, false, LATER).is_none(), "a machine's is not for a token");
        assert!(enter(&machines, 200, true, LATER).is_some());
    }

    #[test]
    fn whoever_can_get_no_place_hears_so_before_anything_is_looked_up_for_him() {
        let streams = Streams::default();
        let held = full(&streams, PER_PEER, true, 1 << 20);
        assert!(!streams.has_room(peer(0), LATER), "of one address");
        assert!(streams.has_room(peer(200), LATER), "another gives way");
        assert!(!streams.has_room(peer(200), SETTLED - 1), "nobody can be told apart yet");
        drop(held);
        assert!(streams.has_room(peer(0), LATER));
    }

    #[test]
    fn the_more_are_sent_away_the_later_each_is_to_come_back() {
        let streams = Streams::default();
        let (first, all) = (streams.again(LATER), (0..300).map(|_| streams.again(LATER)));
        let all: Vec<u64> = all.collect();
        assert_eq!((first, all.last()), (5, Some(&30)), "ten in a second");
        assert!(all.is_sorted());
        assert_eq!((0..1000).map(|_| streams.again(LATER)).max(), Some(60));
        assert_eq!(streams.again(LATER + 60_000), 5, "a minute later nobody is waited for");
    }

    #[test]
    fn a_place_is_given_back_once_and_by_its_own_alone() {
        let streams = Streams::default();
        let held = full(&streams, PER_PEER, false, 1);
        let came = enter(&streams, 200, false, LATER);
        drop(held);
        assert_eq!(streams.streams().len(), 1);
        drop(came);
        assert_eq!(streams.streams().len(), 0);
    }
}
