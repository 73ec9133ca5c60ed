//! Machines that nobody has named: how many are remembered, and which of them gives way to a new one.
//!
//! Whoever sends packets can make up a MAC for each, so the number of such records has a bound. A machine of the site is
//! none of them, and neither is one that was named once: those are as many as the admin has written.
//!
//! | strangers | a new one |
//! |---|---|
//! | fewer than [`MOST`] | is remembered |
//! | as many, and one of them holds no pin that may still run | is remembered; the quietest such one is forgotten, with its pins |
//! | as many, and each may still run | is refused |
//! | however many, and [`BURST`] new ones have come faster than one in [`EVERY`] s | waits for its turn |
//!
//! | a pin | may still run |
//! |---|---|
//! | *booting*, for less than [`STARTING`] since it called or the server came back | yes: a kernel may be on its way over a slow line |
//! | *booting*, called over [`DOWN`] before the server came back | no |
//! | *booting*, for longer | no: nothing was ever mounted |
//! | *running* or *up* | until its machine was silent for [`crate::boots::binding::SILENCE`] |
//!
//! That a connection uses a view says nothing here: a stranger who reads all the time could not be forgotten for a new one.
//! What counts is when the machine itself has called last. A forgotten machine that comes again is a new one, with another id.

use crate::Site;
use crate::boots::binding::is_silent;
use crate::boots::identity::MachineRecord;
use crate::boots::pins::{Phase, Pin};
use oneroot_ids::MachineId;

/// Strangers that are remembered.
pub const MOST: usize = 10_000;
/// Seconds that may lie between a boot script and the mount of its root.
pub const STARTING: u64 = 1800;
/// Seconds for which a server may be down while machines ask again and again for their kernels.
pub const DOWN: u64 = 86_400;
/// Strangers that are forgotten for one new one, where a state has more of them than [`MOST`].
const AT_ONCE: usize = 64;

/// Why a machine that nobody has named gets no boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// There are as many as are remembered, and each may still run.
    #[error("{MOST} machines that nobody has named boot here already; give this one a [machine] table")]
    Many,
    /// New ones come faster than is good for the store.
    #[error(
        "{BURST} machines that nobody has named came one after another, and now one in {EVERY} s may boot; this one asks \
         again, or give it a [machine] table"
    )]
    Fast,
}

/// New strangers that may boot one after another, and the seconds after which one more may. Each leaves a generation of its
/// own in the store, which a collection gives back after its grace: so many and no more can be there, whoever makes up MACs.
pub const BURST: u64 = MOST as u64;
/// See [`BURST`].
pub const EVERY: u64 = 10;

/// Counts new strangers.
#[derive(Debug, Clone, Copy)]
pub struct Newcomers {
    left: u64,
    /// Up to when what [`EVERY`] gives is counted in `left`, in seconds of site time.
    counted: u64,
}

impl Default for Newcomers {
    fn default() -> Self {
        Self { left: BURST, counted: 0 }
    }
}

impl Newcomers {
    /// One more comes.
    ///
    /// # Errors
    /// [`Full::Fast`]: it has to wait.
    pub fn admit(&mut self, now: u64) -> Result<(), Full> {
        let more = now.saturating_sub(self.counted) / EVERY;
        // By whole steps, so that what is left of one counts towards the next.
        self.counted = self.counted.saturating_add(more.saturating_mul(EVERY));
        self.left = self.left.saturating_add(more).min(BURST);
        self.left = self.left.checked_sub(1).ok_or(Full::Fast)?;
        Ok(())
    }
}

/// A record that counts.
#[derive(Debug, Clone)]
pub struct UnknownMachine<'r> {
    /// It.
    pub record: &'r MachineRecord,
    /// All its pins.
    pub pins: Vec<&'r Pin>,
    /// When it last called, seconds since 1970; none where it has not since the server's start.
    pub heard: Option<u64>,
}

impl UnknownMachine<'_> {
    /// Whether it must not be forgotten. What came before the server's start, `began`, is not known, so a machine that may
    /// have waited for it counts as heard of then.
    fn may_run(&self, began: u64, now: u64) -> bool {
        let heard = self.heard.unwrap_or(0);
        let runs = |pin: &&Pin| match pin.phase {
            Phase::Booting => {
                let called = pin.since.max(heard);
                let waits = began.saturating_sub(called) < DOWN;
                now.saturating_sub(if waits { called.max(began) } else { called }) < STARTING
            }
            Phase::Running | Phase::Up => !is_silent(pin.since.max(heard).max(began), now),
        };
        self.pins.iter().any(runs)
    }

    /// Its last sign, as far as it is known.
    fn sign(&self) -> u64 {
        let pins = self.pins.iter().map(|pin| pin.since);
        pins.chain(self.heard).chain([self.record.first_seen]).max().unwrap_or(0)
    }
}

/// Whether a record is one that packets alone have made.
#[must_use]
pub fn is_unknown(record: &MachineRecord, site: &Site) -> bool {
    // A NIC that the site names makes it known at once; its record gets the name when it boots.
    record.name.is_none() && record.macs.iter().all(|mac| site.machine(*mac).is_none())
}

/// Which strangers are forgotten so that one more can be remembered. `coming` are being written right now, and are not among
/// `all`; `began` is when the server did, and `now` is now, both in seconds since 1970. `have` is asked for each that would
/// go, the quietest first: no means that somebody changes that one at this moment, which is a sign of life.
///
/// # Errors
/// Each of them may still run.
pub fn room(
    all: &[UnknownMachine<'_>],
    coming: usize,
    (began, now): (u64, u64),
    have: &mut dyn FnMut(MachineId) -> bool,
) -> Result<Vec<MachineId>, Full> {
    let surplus = (all.len() + coming + 1).saturating_sub(MOST);
    if surplus == 0 {
        return Ok(Vec::new());
    }
    let mut idle: Vec<&UnknownMachine<'_>> =
        all.iter().filter(|stranger| !stranger.may_run(began, now)).collect();
    idle.sort_by_key(|stranger| (stranger.sign(), stranger.record.id));
    // Asked one by one, and of no more than are needed: each yes takes a turn that somebody else may want.
    let ids = idle.iter().map(|stranger| stranger.record.id).filter(|id| have(*id));
    let forgotten: Vec<MachineId> = ids.take(surplus.min(AT_ONCE)).collect();
    if forgotten.is_empty() { Err(Full::Many) } else { Ok(forgotten) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boots::binding::SILENCE;
    use oneroot_ids::{BootId, Mac, ViewId};
    use std::net::IpAddr;

    /// While nobody else comes, and nobody is in the way.
    fn room(all: &[UnknownMachine<'_>], began: u64, now: u64) -> Result<Vec<MachineId>, Full> {
        super::room(all, 0, (began, now), &mut |_| true)
    }

    /// Long after all of them.
    const NOW: u64 = 100 * 86_400;

    fn id(number: usize) -> MachineId {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        MachineId::from_random(bytes)
    }

    fn mac(number: usize) -> Mac {
        let [.., a, b, c] = number.to_be_bytes();
        Mac::new([2, 0, 0, a, b, c]).unwrap()
    }

    fn record(number: usize, first_seen: u64) -> MachineRecord {
        MachineRecord { id: id(number), macs: vec![mac(number)], name: None, claimed: None, first_seen }
    }

    fn pin(phase: Phase, since: u64) -> Pin {
        let number = since.to_be_bytes();
        Pin {
            machine: id(0),
            boot: BootId::from_random(number),
            view: ViewId([1; 16]),
            phase,
            mac: mac(0),
            address: IpAddr::from([10, 0, 0, 1]),
            made: since,
            since,
            named: true,
        }
    }

    /// As many as there may be, the earlier the quieter, without a pin.
    fn full() -> Vec<MachineRecord> {
        (0..MOST).map(|number| record(number, number as u64)).collect()
    }

    fn without_pins(records: &[MachineRecord]) -> Vec<UnknownMachine<'_>> {
        let stranger = |record| UnknownMachine { record, pins: Vec::new(), heard: None };
        records.iter().map(stranger).collect()
    }

    #[test]
    fn new_ones_come_in_a_burst_and_then_one_by_one() {
        let mut newcomers = Newcomers::default();
        let admitted = |newcomers: &mut Newcomers, now| {
            (0..2 * BURST).take_while(|_| newcomers.admit(now).is_ok()).count()
        };
        let start = 1_800_000_003;
        assert_eq!(admitted(&mut newcomers, start), MOST);
        assert_eq!(admitted(&mut newcomers, start + EVERY - 4), 0);
        let over_a_day: u64 = (0..86_400).map(|second| admitted(&mut newcomers, start + second) as u64).sum();
        assert_eq!(over_a_day, 86_400 / EVERY);
        assert_eq!(admitted(&mut newcomers, start + 30 * 86_400), MOST, "it is full again, and no fuller");
    }

    #[test]
    fn nobody_is_forgotten_while_there_is_room() {
        let records = full();
        assert_eq!(room(&without_pins(&records[1..]), 0, NOW), Ok(vec![]));
        assert_eq!(room(&[], 0, NOW), Ok(vec![]));
    }

    #[test]
    fn the_quietest_gives_way_whatever_the_order_of_the_records() {
        let mut records = full();
        records.reverse();
        assert_eq!(room(&without_pins(&records), 0, NOW), Ok(vec![id(0)]));
        let mut strangers = without_pins(&records);
        strangers[MOST - 1].heard = Some(NOW);
        assert_eq!(room(&strangers, 0, NOW), Ok(vec![id(1)]), "the first has called since");
    }

    #[test]
    fn nobody_whose_pin_may_still_run_gives_way() {
        let records = full();
        let given_way = |pin: Pin, began: u64| {
            let mut strangers = without_pins(&records);
            strangers[0].pins = vec![&pin];
            // The rest were seen just now.
            let rest = strangers.iter_mut().skip(1);
            rest.for_each(|stranger| stranger.heard = Some(NOW));
            room(&strangers, began, NOW) == Ok(vec![id(0)])
        };
        assert!(!given_way(pin(Phase::Booting, NOW - STARTING + 1), 0));
        assert!(given_way(pin(Phase::Booting, NOW - STARTING), 0));
        let waits = pin(Phase::Booting, NOW - 5 * STARTING);
        assert!(!given_way(waits.clone(), NOW - STARTING + 1), "it waited while the server was down");
        assert!(given_way(waits, NOW - STARTING));
        assert!(given_way(pin(Phase::Booting, NOW - DOWN), NOW), "nobody waits for a day");
        for phase in [Phase::Running, Phase::Up] {
            assert!(!given_way(pin(phase, NOW - SILENCE + 1), 0));
            assert!(given_way(pin(phase, NOW - SILENCE), 0));
            assert!(!given_way(pin(phase, 0), NOW - SILENCE + 1), "who knows what was before the start");
        }
        assert!(!given_way(pin(Phase::Running, NOW + 1000), 0), "a clock that was set back forgets nobody");
    }

    #[test]
    fn a_machine_that_calls_does_not_give_way() {
        let (records, old) = (full(), pin(Phase::Running, 0));
        let mut strangers = without_pins(&records);
        strangers[0].pins = vec![&old];
        assert_eq!(room(&strangers, 0, NOW), Ok(vec![id(0)]));
        strangers[0].heard = Some(NOW - SILENCE + 1);
        assert_eq!(room(&strangers, 0, NOW), Ok(vec![id(1)]));
    }

    #[test]
    fn a_new_one_is_refused_when_each_may_run() {
        let (records, young) = (full(), pin(Phase::Booting, NOW));
        let mut strangers = without_pins(&records);
        strangers.iter_mut().for_each(|stranger| stranger.pins = vec![&young]);
        assert_eq!(room(&strangers, 0, NOW), Err(Full::Many));
    }

    #[test]
    fn a_state_that_has_too_many_gets_fewer_with_each_new_one() {
        let records: Vec<_> = (0..MOST + 1000).map(|number| record(number, number as u64)).collect();
        let forgotten = room(&without_pins(&records), 0, NOW).unwrap();
        assert_eq!(forgotten, (0..AT_ONCE).map(id).collect::<Vec<_>>());
    }

    #[test]
    fn who_is_being_written_has_a_place_already_and_who_is_being_changed_does_not_give_way() {
        let records = full();
        let strangers = without_pins(&records[2..]);
        let given_way =
            |coming, have: &mut dyn FnMut(MachineId) -> bool| super::room(&strangers, coming, (0, NOW), have);
        assert_eq!(given_way(1, &mut |_| true), Ok(vec![]), "the last place");
        assert_eq!(given_way(2, &mut |_| true), Ok(vec![id(2)]));
        assert_eq!(given_way(3, &mut |_| true), Ok(vec![id(2), id(3)]));
        assert_eq!(given_way(2, &mut |other| other != id(2)), Ok(vec![id(3)]));
        assert_eq!(given_way(2, &mut |_| false), Err(Full::Many));
    }

    #[test]
    fn a_machine_of_the_site_is_no_stranger_and_neither_is_one_that_was() {
        let site = crate::load_str("site.toml", crate::EXAMPLE, std::path::Path::new("/site")).unwrap();
        let known = site.machines["beta"].macs[0];
        assert!(is_unknown(&record(1, 0), &site));
        assert!(!is_unknown(&MachineRecord { macs: vec![known], ..record(1, 0) }, &site));
        assert!(!is_unknown(&MachineRecord { name: Some("gone".to_owned()), ..record(1, 0) }, &site));
        assert!(
            is_unknown(&MachineRecord { macs: vec![], ..record(1, 0) }, &site),
            "its NIC is another's now"
        );
    }
}
