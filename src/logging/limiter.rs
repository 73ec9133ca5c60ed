//! How much may be said: whoever can make the server say something can make it say so without end, and the disk behind
//! the log is the machines' too.
//!
//! Each reason has an allowance, each peer a part of it, and all together have one. What is left out is counted, and the
//! count is said. So one peer's flood hides neither what others do nor that it is a flood. Times are milliseconds of any
//! clock that never goes back.

use std::collections::HashMap;
use std::hash::Hash;

/// Reasons that are told apart. When so many are being limited at once, what comes then counts as one more together.
const REASONS: usize = 512;
/// Peers of one reason that are told apart; those that come then share what the reason allows.
const PEERS: usize = 64;
/// How often it is said what a reason's flood left out, while it goes on.
const REPORT: u64 = 10_000;
/// A flood that has been over for so long is reported without waiting for that.
const OVER: u64 = 1_000;

/// So many lines at once, and then one every so many milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Lines at once.
    pub burst: u64,
    /// Milliseconds for which one line more is allowed.
    pub every: u64,
}

/// What a line may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowances {
    /// Of its reason, whoever causes it.
    pub reason: Allowance,
    /// Of one peer for this reason.
    pub peer: Allowance,
    /// Of all lines together. The same rate for each line, or they would measure the one store differently.
    pub all: Allowance,
}

/// How much of an allowance is used up: the moment at which all of it will be there again (the generic cell rate
/// algorithm). One that lies in the past is as good as forgotten.
#[derive(Debug, Clone, Copy, Default)]
struct Used(u64);

impl Used {
    fn has_room(self, now: u64, allowance: Allowance) -> bool {
        self.0.saturating_sub(now) <= allowance.burst.saturating_sub(1).saturating_mul(allowance.every)
    }

    fn take(&mut self, now: u64, allowance: Allowance) {
        self.0 = self.0.max(now).saturating_add(allowance.every);
    }

    fn is_over(self, now: u64) -> bool {
        self.0 <= now
    }
}

#[derive(Default)]
struct Peer {
    used: Used,
    left_out: u64,
}

#[derive(Default)]
struct Reason {
    used: Used,
    peers: HashMap<Box<str>, Peer>,
    left_out: u64,
    /// When something was first left out since the last report, and when last.
    since: u64,
    last: u64,
    /// The first line that was left out.
    example: String,
}

impl Reason {
    fn is_over(&self, now: u64) -> bool {
        self.left_out == 0 && self.used.is_over(now) && self.peers.values().all(|peer| peer.used.is_over(now))
    }

    /// The peer's own count, as long as there is room for one.
    fn peer(&mut self, now: u64, name: &str) -> Option<&mut Peer> {
        if !self.peers.contains_key(name) {
            if self.peers.len() >= PEERS {
                self.peers.retain(|_, peer| peer.left_out > 0 || !peer.used.is_over(now));
            }
            if self.peers.len() >= PEERS {
                return None;
            }
            self.peers.insert(name.into(), Peer::default());
        }
        self.peers.get_mut(name)
    }

    fn allows(
        &mut self,
        now: u64,
        mut room: bool,
        peer: Option<&str>,
        allowances: &Allowances,
        example: &str,
    ) -> bool {
        room = room && self.used.has_room(now, allowances.reason);
        if let Some(peer) = peer.and_then(|name| self.peer(now, name)) {
            room = room && peer.used.has_room(now, allowances.peer);
            if room {
                peer.used.take(now, allowances.peer);
            } else {
                peer.left_out += 1;
            }
        }
        // Only what is written uses anything up: a flood that went on would else never let a line through again.
        if room {
            self.used.take(now, allowances.reason);
            return true;
        }
        if self.left_out == 0 {
            self.since = now;
            example.clone_into(&mut self.example);
        }
        self.left_out += 1;
        self.last = now;
        false
    }

    fn report<K>(&mut self, reason: Option<K>) -> LeftOut<K> {
        let worst = self.peers.iter().max_by_key(|(_, peer)| peer.left_out);
        let worst = worst.filter(|(_, peer)| peer.left_out > 0);
        let report = LeftOut {
            reason,
            lines: std::mem::take(&mut self.left_out),
            example: std::mem::take(&mut self.example),
            worst: worst.map(|(name, peer)| (name.to_string(), peer.left_out)),
        };
        self.peers.values_mut().for_each(|peer| peer.left_out = 0);
        report
    }
}

/// What was left out of the log for one reason.
#[derive(Debug, PartialEq, Eq)]
pub struct LeftOut<K> {
    /// The reason; none for those that were too many to tell apart.
    pub reason: Option<K>,
    /// How many lines.
    pub lines: u64,
    /// One of them.
    pub example: String,
    /// Whose were most of them, and how many.
    pub worst: Option<(String, u64)>,
}

/// Decides which lines are written.
pub struct Limiter<K> {
    all: Used,
    reasons: HashMap<Option<K>, Reason>,
}

impl<K: Clone + Eq + Hash> Limiter<K> {
    /// One that has allowed nothing yet.
    pub fn new() -> Self {
        Self { all: Used::default(), reasons: HashMap::new() }
    }

    /// Whether a line may be written now. If not, it is counted, and `example` stands for it in the report.
    pub fn allows(
        &mut self,
        now: u64,
        reason: K,
        peer: Option<&str>,
        allowances: &Allowances,
        example: &str,
    ) -> bool {
        let room = self.all.has_room(now, allowances.all);
        let allowed = self.reason(now, reason).allows(now, room, peer, allowances, example);
        if allowed {
            self.all.take(now, allowances.all);
        }
        allowed
    }

    /// Whether a line is one more of a flood, whatever it says: then it is counted. If not, [`Limiter::allows`] is to be asked.
    pub fn leaves_out(&mut self, now: u64, reason: &K, peer: Option<&str>, allowances: &Allowances) -> bool {
        let room = self.all.has_room(now, allowances.all);
        let Some(known) = self.reasons.get_mut(&Some(reason.clone())) else { return false };
        // The first that is left out stands for the others.
        if known.left_out == 0 || (room && known.used.has_room(now, allowances.reason)) {
            return false;
        }
        !known.allows(now, false, peer, allowances, "")
    }

    fn reason(&mut self, now: u64, reason: K) -> &mut Reason {
        let mut key = Some(reason);
        if !self.reasons.contains_key(&key) && self.reasons.len() >= REASONS {
            self.reasons.retain(|_, reason| !reason.is_over(now));
            if self.reasons.len() >= REASONS {
                key = None;
            }
        }
        self.reasons.entry(key).or_default()
    }

    /// What has been left out and is to be said now.
    pub fn due(&mut self, now: u64) -> Vec<LeftOut<K>> {
        self.reports(|reason| {
            now >= reason.since.saturating_add(REPORT) || now >= reason.last.saturating_add(OVER)
        })
    }

    /// What has been left out and was not said yet: for the end of the log.
    pub fn rest(&mut self) -> Vec<LeftOut<K>> {
        self.reports(|_| true)
    }

    fn reports(&mut self, is_due: impl Fn(&Reason) -> bool) -> Vec<LeftOut<K>> {
        let limited = self.reasons.iter_mut().filter(|(_, reason)| reason.left_out > 0 && is_due(reason));
        limited.map(|(key, reason)| reason.report(key.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: Allowances = Allowances {
        reason: Allowance { burst: 10, every: 1_000 },
        peer: Allowance { burst: 3, every: 5_000 },
        all: Allowance { burst: 50, every: 20 },
    };

    /// How many of so many lines a millisecond are written in this time.
    fn written(
        limiter: &mut Limiter<u32>,
        times: std::ops::Range<u64>,
        of: impl Fn(u64) -> (u32, String),
    ) -> u64 {
        let lines = times.flat_map(|now| (0..20).map(move |number| (now, number)));
        let allowed = lines.filter(|(now, number)| {
            let (reason, peer) = of(*number);
            limiter.allows(*now, reason, Some(&peer), &SOME, "example")
        });
        allowed.count() as u64
    }

    #[test]
    fn a_flood_of_one_peer_is_a_few_lines_and_every_line_is_written_or_counted() {
        let mut limiter = Limiter::new();
        let lines = written(&mut limiter, 0..4_000, |_| (1, "peer".to_owned()));
        assert_eq!(lines, 3, "at once; the next is allowed after 5 s");
        assert!(limiter.due(4_000).is_empty(), "it goes on, and is not old enough");
        let report = LeftOut {
            reason: Some(1),
            lines: 79_997,
            example: "example".to_owned(),
            worst: Some(("peer".to_owned(), 79_997)),
        };
        assert_eq!(limiter.due(5_000), [report]);
        assert!(limiter.rest().is_empty(), "said once");
    }

    #[test]
    fn a_flood_that_is_only_counted_is_reported_as_one_whose_every_line_was_made() {
        let (mut made, mut counted) = (Limiter::new(), Limiter::new());
        let mut spared = 0;
        for now in 0..4_000 {
            for number in 0..20 {
                let peer = format!("peer {}", if number < 8 { 0 } else { number % 7 });
                let reason = number % 2;
                let allowed = made.allows(now, reason, Some(&peer), &SOME, "example");
                let left_out = counted.leaves_out(now, &reason, Some(&peer), &SOME);
                spared += u64::from(left_out);
                assert_eq!(!left_out && counted.allows(now, reason, Some(&peer), &SOME, "example"), allowed);
            }
        }
        assert!(spared > 70_000, "{spared} of 80,000 lines were not made");
        let sorted = |mut reports: Vec<LeftOut<u32>>| {
            reports.sort_by_key(|report| report.reason);
            reports
        };
        assert_eq!(sorted(made.rest()), sorted(counted.rest()));
    }

    #[test]
    fn a_flood_is_reported_while_it_goes_on() {
        let mut limiter = Limiter::new();
        let mut reported = 0;
        for second in 0..100 {
            written(&mut limiter, second * 1_000..second * 1_000 + 1_000, |_| (1, "peer".to_owned()));
            reported += limiter.due(second * 1_000 + 999).len();
        }
        assert!((8..=10).contains(&reported), "{reported} reports in 100 s");
    }

    #[test]
    fn a_flood_of_many_peers_costs_no_more_than_its_reason_allows() {
        let mut limiter = Limiter::new();
        let lines = written(&mut limiter, 0..10_000, |number| (1, format!("made-up {number}")));
        assert!((19..=20).contains(&lines), "ten at once, one a second from then on: {lines}");
    }

    #[test]
    fn one_peers_flood_hides_no_other_peer_and_no_other_reason() {
        let mut limiter = Limiter::new();
        written(&mut limiter, 0..500, |_| (1, "loud".to_owned()));
        assert!(limiter.allows(500, 1, Some("other"), &SOME, ""));
        assert!(limiter.allows(500, 2, Some("loud"), &SOME, ""));
        assert!(limiter.allows(500, 3, None, &SOME, ""));
    }

    #[test]
    fn all_reasons_together_have_a_bound_too() {
        let mut limiter = Limiter::new();
        let lines =
            (0..10_000u64).filter(|now| (0..300).any(|reason| limiter.allows(*now, reason, None, &SOME, "")));
        assert!(lines.count() <= 50 + 10_000 / 20 + 1);
    }

    #[test]
    fn what_makes_up_reasons_and_peers_without_end_takes_no_memory_without_end() {
        let mut limiter = Limiter::new();
        for number in 0..50_000u32 {
            limiter.allows(0, number, None, &SOME, "");
            limiter.allows(0, 1, Some(&number.to_string()), &SOME, "");
        }
        assert!(limiter.reasons.len() <= REASONS + 1);
        assert!(limiter.reasons.values().all(|reason| reason.peers.len() <= PEERS));
        let counted: u64 = limiter.rest().iter().map(|left| left.lines).sum();
        assert_eq!(counted, 100_000 - 50, "all but what is allowed at once");
        limiter.allows(1_000_000, 60_000, None, &SOME, "");
        assert!(limiter.reasons.len() <= 2, "what is over is forgotten");
    }

    #[test]
    fn what_stays_within_its_allowance_is_written_whole_and_never_reported() {
        let mut limiter = Limiter::new();
        for number in 0..1_000 {
            assert!(limiter.allows(number * 5_000, 1, Some("peer"), &SOME, ""));
        }
        assert!(limiter.rest().is_empty());
    }
}
