//! Pins: which machine's boot holds which view, and what ends that (docs/decisions/0003 has the rows by number).
//!
//! | event | what happens to the machine's pins |
//! |---|---|
//! | a plan is made | a new pin, *booting*. Of older booting ones only the newest stays; the mounted ones stay |
//! | MNT of a boot's root, admitted ([`crate::boots::admission`]) | that boot's pin is *running*, with the NIC and address that it was mounted from |
//! | MNT of it again, from elsewhere, when nobody answers where it was | the address is this one from now on |
//! | any other MNT | nothing |
//! | a mounted boot says `up` | its pin is *up*; older pins are dropped but those that a connection uses |
//! | a boot that was never mounted says so | nothing: whoever can fetch a script can say that |
//! | [`GRACE`] after a later boot was mounted | as if it had said `up` |
//! | released by the admin | all of them are dropped |
//! | silence, however long | nothing: a machine believes for a day what it has read, and one that sleeps comes back |
//! | any DHCP packet | nothing: DHCP is no event here. A `dhclient` in the guest must not take its root away |
//!
//! A machine holds at most [`MOST`] pins, and one more where all of them are mounted: a plan takes the place of the oldest
//! that was never mounted and of no other, for any user of a machine can have plans made. A mount takes the place of the
//! mounted pin that is needed least, where there are [`MOST`] others.

use std::fmt;
use std::net::IpAddr;

use oneroot_ids::{BootId, Mac, MachineId, ViewId};
use serde::{Deserialize, Serialize};

/// Pins of one machine at most, but for the one beside as many mounted ones.
pub const MOST: usize = 3;
/// Seconds after which a running boot counts as up though it never said so: an image without the word must not keep
/// the old view for ever.
pub const GRACE: u64 = 600;

/// How far a boot has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Its plan is made; nothing is mounted yet.
    Booting,
    /// Its root is mounted.
    Running,
    /// It has said that it is up.
    Up,
}

/// As documents and people have it.
impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Booting => "booting",
            Self::Running => "running",
            Self::Up => "up",
        })
    }
}

/// The durable record that a machine's boot holds a view, and with it its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The machine.
    pub machine: MachineId,
    /// The boot.
    pub boot: BootId,
    /// The view it holds.
    pub view: ViewId,
    /// How far it is.
    pub phase: Phase,
    /// The NIC that booted.
    pub mac: Mac,
    /// The address that it booted with; it belongs to the machine while the pin runs.
    pub address: IpAddr,
    /// When the plan was made, seconds since 1970; later than the machine's plans before it, whatever the clock says.
    pub made: u64,
    /// When the phase was entered, seconds since 1970.
    pub since: u64,
    /// Whether the path of its root names the boot. Before that was so it named the view alone, and a mount of that is this
    /// pin's where no newer one holds the view.
    #[serde(default)]
    pub named: bool,
}

impl Pin {
    /// Whether its root was mounted: then somebody may be there, whatever has been heard of late.
    #[must_use]
    pub fn is_mounted(&self) -> bool {
        self.phase != Phase::Booting
    }

    /// Whether a word of this boot is believed, looked up from an address in a view: only from where its root is mounted,
    /// and in it. Any user of any machine that holds a view can look any name up there.
    #[must_use]
    pub fn hears(&self, from: IpAddr, view: ViewId) -> bool {
        self.is_mounted() && (self.address, self.view) == (from, view)
    }
}

/// What may happen to a machine's pins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A plan was made: this is its pin.
    Planned(Pin),
    /// A boot's root is mounted.
    Mounted {
        /// The boot.
        boot: BootId,
        /// The NIC that it was mounted by.
        mac: Mac,
        /// From where.
        address: IpAddr,
    },
    /// The same, from elsewhere than before, where nobody answers any more.
    Moved {
        /// The boot.
        boot: BootId,
        /// Where it was mounted when that was asked.
        before: IpAddr,
        /// The NIC that it was mounted by.
        mac: Mac,
        /// From where.
        address: IpAddr,
    },
    /// This boot says that it is up.
    Up(BootId),
    /// Time has passed.
    Tick {
        /// From when on durations are sure: what was before it may have lasted any time, and counts as none.
        sure_since: u64,
    },
    /// The admin lets go of the machine.
    Released,
}

/// What to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinChange {
    /// This pin, new or changed.
    Put(Pin),
    /// No longer this boot's.
    Delete(BootId),
}

/// What an event changes. `pins` are the machine's, in any order; `in_use` says whether a connection uses a boot's view;
/// `now` is seconds since 1970.
pub fn changes(pins: &[Pin], event: &Event, in_use: &dyn Fn(&Pin) -> bool, now: u64) -> Vec<PinChange> {
    let mut order: Vec<&Pin> = pins.iter().collect();
    order.sort_by_key(|pin| (pin.made, pin.boot));
    match event {
        Event::Planned(new) => planned(&order, new),
        Event::Mounted { boot, mac, address } => mounted(&order, *boot, (*mac, *address), in_use, now),
        Event::Moved { boot, before, mac, address } => {
            // It may have moved meanwhile, to where nobody was asked.
            let there = |pin: &&&Pin| pin.boot == *boot && pin.is_mounted() && pin.address == *before;
            let pin = order.iter().find(there);
            let pin = pin.filter(|pin| (pin.mac, pin.address) != (*mac, *address));
            let moved = |pin: &&Pin| PinChange::Put(Pin { mac: *mac, address: *address, ..(*pin).clone() });
            pin.map(moved).into_iter().collect()
        }
        Event::Up(boot) => {
            let place = order.iter().position(|pin| pin.boot == *boot && pin.is_mounted());
            let Some((older, pin)) = place.and_then(|place| parted(&order, place)) else { return Vec::new() };
            // Said once more, it changes nothing of its own pin and ends what was in use the first time.
            let up = (pin.phase != Phase::Up).then(|| Pin { phase: Phase::Up, since: now, ..pin.clone() });
            up.map(PinChange::Put).into_iter().chain(ended(older, pin, in_use)).collect()
        }
        Event::Tick { sure_since } => {
            let settled = |pin: &&Pin| match pin.phase {
                Phase::Booting => false,
                Phase::Running => now.saturating_sub(pin.since.max(*sure_since)) >= GRACE,
                Phase::Up => true,
            };
            // The newest one: all that is older is over, whichever of it has settled too.
            let place = order.iter().rposition(settled);
            let Some((older, pin)) = place.and_then(|place| parted(&order, place)) else { return Vec::new() };
            ended(older, pin, in_use).collect()
        }
        Event::Released => order.iter().map(|pin| PinChange::Delete(pin.boot)).collect(),
    }
}

fn planned(order: &[&Pin], new: &Pin) -> Vec<PinChange> {
    let (booting, mounted): (Vec<&Pin>, Vec<&Pin>) = order.iter().partition(|pin| !pin.is_mounted());
    // The last plan but this one may be what the firmware is loading right now: iPXE fetches a script again after an
    // error. So one booting pin stays beside the new one, if there is a place.
    let stay = usize::from(mounted.len() + 2 <= MOST);
    let gone = booting.get(..booting.len().saturating_sub(stay)).unwrap_or_default();
    let gone = gone.iter().map(|pin| PinChange::Delete(pin.boot));
    // Which of two boots is the older one decides which of them ends: not two in one second, nor a clock that was set back.
    let made = order.last().map_or(new.made, |newest| new.made.max(newest.made.saturating_add(1)));
    gone.chain([PinChange::Put(Pin { made, ..new.clone() })]).collect()
}

fn mounted(
    order: &[&Pin],
    boot: BootId,
    (mac, address): (Mac, IpAddr),
    in_use: &dyn Fn(&Pin) -> bool,
    now: u64,
) -> Vec<PinChange> {
    let Some(pin) = order.iter().find(|pin| pin.boot == boot && !pin.is_mounted()) else { return Vec::new() };
    let running = Pin { phase: Phase::Running, since: now, mac, address, ..(*pin).clone() };
    // A machine that is reset again and again before it is up mounts a root each time, and none of them settles.
    let mut others: Vec<&Pin> = order.iter().copied().filter(|pin| pin.is_mounted()).collect();
    // Of those that are alike the older comes first: they are in that order, and the sort keeps it.
    others.sort_by_key(|pin| (in_use(pin), pin.phase == Phase::Up));
    let gone = others.get(..(others.len() + 1).saturating_sub(MOST)).unwrap_or_default();
    let gone = gone.iter().map(|pin| PinChange::Delete(pin.boot));
    [PinChange::Put(running)].into_iter().chain(gone).collect()
}

/// The pins before a place, and the one there.
fn parted<'o, 'p>(order: &'o [&'p Pin], place: usize) -> Option<(&'o [&'p Pin], &'p Pin)> {
    Some((order.get(..place)?, order.get(place)?))
}

/// What a boot that was mounted, and has come up, leaves nobody in need of. Where it holds the same view at the same address
/// itself, calls of the older one can't be told from its own, and whoever makes them loses nothing.
fn ended<'p>(
    older: &'p [&'p Pin],
    by: &'p Pin,
    in_use: &'p dyn Fn(&Pin) -> bool,
) -> impl Iterator<Item = PinChange> + 'p {
    let same = |pin: &Pin| (pin.view, pin.address) == (by.view, by.address);
    let ends = move |pin: &&&Pin| !pin.is_mounted() || same(pin) || !in_use(pin);
    older.iter().filter(ends).map(|pin| PinChange::Delete(pin.boot))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(number: u8, phase: Phase) -> Pin {
        Pin {
            machine: MachineId::from_random([9; 16]),
            boot: BootId::from_random([number; 8]),
            view: ViewId([number; 16]),
            phase,
            mac: "52:54:00:00:00:0a".parse().unwrap(),
            address: IpAddr::from([10, 0, 0, 1]),
            made: u64::from(number),
            since: u64::from(number),
            named: true,
        }
    }

    fn mounts(pin: &Pin) -> Event {
        Event::Mounted { boot: pin.boot, mac: pin.mac, address: pin.address }
    }

    fn idle(_: &Pin) -> bool {
        false
    }

    fn deleted(changes: &[PinChange]) -> Vec<BootId> {
        changes
            .iter()
            .filter_map(|change| if let PinChange::Delete(boot) = change { Some(*boot) } else { None })
            .collect()
    }

    #[test]
    fn a_plan_pins_its_view_and_leaves_the_running_one() {
        let pins = [pin(1, Phase::Up)];
        let changes = changes(&pins, &Event::Planned(pin(2, Phase::Booting)), &idle, 50);
        assert_eq!(changes, [PinChange::Put(pin(2, Phase::Booting))]);
    }

    #[test]
    fn a_later_plan_is_the_newer_one_in_the_same_second_and_after_a_clock_was_set_back() {
        let pins = [pin(7, Phase::Up)];
        for made in [7, 3] {
            let plan = Pin { made, ..pin(2, Phase::Booting) };
            let put = PinChange::Put(Pin { made: 8, ..plan.clone() });
            assert_eq!(changes(&pins, &Event::Planned(plan), &idle, made), [put]);
        }
    }

    #[test]
    fn plans_that_were_never_mounted_do_not_pile_up() {
        let pins = [pin(1, Phase::Up), pin(2, Phase::Booting), pin(3, Phase::Booting)];
        let changes = changes(&pins, &Event::Planned(pin(4, Phase::Booting)), &idle, 50);
        assert_eq!(deleted(&changes), [pins[1].boot], "the oldest booting one goes, the running one stays");
    }

    #[test]
    fn a_plan_takes_the_place_of_plans_alone_and_stands_beside_three_mounted_roots() {
        let given_way = |phases: &[Phase]| {
            let pins: Vec<Pin> = (1..).zip(phases).map(|(number, phase)| pin(number, *phase)).collect();
            let made = changes(&pins, &Event::Planned(pin(9, Phase::Booting)), &idle, 1_000_000);
            let boots = deleted(&made).into_iter();
            boots.map(|boot| pins.iter().position(|pin| pin.boot == boot).unwrap()).collect::<Vec<_>>()
        };
        let (ran, up, booting) = (Phase::Running, Phase::Up, Phase::Booting);
        assert_eq!(given_way(&[booting, booting]), [0]);
        assert_eq!(given_way(&[up, booting, booting]), [1]);
        assert_eq!(given_way(&[booting, up, booting]), [0]);
        assert_eq!(given_way(&[up, ran, booting]), [2]);
        assert!(given_way(&[ran, ran, ran]).is_empty());
        assert_eq!(given_way(&[ran, ran, ran, booting]), [3]);
    }

    #[test]
    fn no_number_of_plans_takes_a_mounted_root_away_whether_it_is_read_or_not() {
        for roots in 1..=MOST {
            let mut pins: Vec<Pin> =
                (1..=roots).map(|root| pin(u8::try_from(root).unwrap(), Phase::Running)).collect();
            let mounted = pins.clone();
            for number in 10..30 {
                let made = changes(&pins, &Event::Planned(pin(number, Phase::Booting)), &idle, 1_000_000);
                pins.retain(|pin| !deleted(&made).contains(&pin.boot));
                pins.push(pin(number, Phase::Booting));
                assert!(pins.len() <= MOST.max(roots + 1), "plan {number} beside {roots} roots");
                assert!(mounted.iter().all(|pin| pins.contains(pin)), "plan {number} took a root of {roots}");
            }
        }
    }

    #[test]
    fn a_mount_beyond_three_takes_the_place_of_the_root_that_is_needed_least() {
        let given_way = |phases: [Phase; 3], used: &[u64]| {
            let pins = [pin(1, phases[0]), pin(2, phases[1]), pin(3, phases[2]), pin(4, Phase::Booting)];
            let made = changes(&pins, &mounts(&pins[3]), &|pin| used.contains(&pin.made), 50);
            assert!(matches!(&made[0], PinChange::Put(pin) if pin.made == 4 && pin.phase == Phase::Running));
            let boots = deleted(&made).into_iter();
            boots.map(|boot| pins.iter().position(|pin| pin.boot == boot).unwrap()).collect::<Vec<_>>()
        };
        let (ran, up) = (Phase::Running, Phase::Up);
        assert_eq!(given_way([up, ran, ran], &[]), [1], "the oldest that never came up");
        assert_eq!(given_way([up, ran, ran], &[2]), [2], "nor one that is read");
        assert_eq!(given_way([up, ran, ran], &[2, 3]), [0]);
        assert_eq!(given_way([ran, ran, ran], &[1, 2, 3]), [0]);
    }

    #[test]
    fn a_mount_runs_the_boot_that_it_names_and_no_other_of_the_same_view() {
        let pins = [
            pin(1, Phase::Up),
            pin(2, Phase::Booting),
            Pin { view: ViewId([2; 16]), ..pin(3, Phase::Booting) },
        ];
        let made = changes(&pins, &mounts(&pins[1]), &idle, 50);
        assert_eq!(made, [PinChange::Put(Pin { phase: Phase::Running, since: 50, ..pins[1].clone() })]);
        assert_eq!(changes(&pins, &mounts(&pins[0]), &idle, 50), [], "a second mount changes nothing");
        assert_eq!(changes(&pins, &mounts(&pin(8, Phase::Booting)), &idle, 50), [], "that boot is over");
    }

    #[test]
    fn a_mount_binds_nic_and_address_and_a_move_changes_them_and_begins_no_phase_anew() {
        let pins = [pin(1, Phase::Up), pin(2, Phase::Booting)];
        let (other, nic) = (IpAddr::from([10, 0, 0, 99]), "52:54:00:00:00:0c".parse().unwrap());
        let mount = Event::Mounted { boot: pins[1].boot, mac: nic, address: other };
        let running = Pin { phase: Phase::Running, since: 50, mac: nic, address: other, ..pins[1].clone() };
        assert_eq!(changes(&pins, &mount, &idle, 50), [PinChange::Put(running.clone())]);
        let again = std::slice::from_ref(&running);
        assert_eq!(changes(again, &mounts(&pins[1]), &idle, 60), [], "where it is mounted is settled once");
        let from =
            |before, to: &Pin| Event::Moved { boot: running.boot, before, mac: to.mac, address: to.address };
        let moved = |pin: &Pin| from(other, pin);
        let elsewhere = IpAddr::from([10, 0, 0, 7]);
        assert_eq!(changes(again, &from(elsewhere, &pins[1]), &idle, 60), [], "it is not there any more");
        assert_eq!(changes(again, &moved(&running), &idle, 60), []);
        let back = Pin { mac: pins[1].mac, address: pins[1].address, ..running.clone() };
        assert_eq!(changes(again, &moved(&pins[1]), &idle, 60), [PinChange::Put(back)]);
        assert_eq!(changes(&pins, &moved(&pins[0]), &idle, 60), [], "it was never mounted");
    }

    #[test]
    fn up_drops_the_older_ones_but_not_while_a_connection_uses_them() {
        let pins = [pin(1, Phase::Up), pin(2, Phase::Running)];
        let made = changes(&pins, &Event::Up(pins[1].boot), &idle, 50);
        assert_eq!(deleted(&made), [pins[0].boot]);
        let used = |pin: &Pin| pin.boot == BootId::from_random([1; 8]);
        assert_eq!(deleted(&changes(&pins, &Event::Up(pins[1].boot), &used, 50)), []);
    }

    #[test]
    fn a_boot_that_was_never_mounted_ends_nothing_whatever_it_says_and_however_long_it_lasts() {
        let pins = [pin(1, Phase::Up), pin(2, Phase::Booting)];
        assert_eq!(changes(&pins, &Event::Up(pins[1].boot), &idle, 50), []);
        assert_eq!(changes(&pins, &Event::Tick { sure_since: 0 }, &idle, u64::MAX), []);
    }

    #[test]
    fn of_two_boots_with_one_view_at_one_address_the_older_ends_though_the_view_is_read() {
        let (first, second) = (pin(1, Phase::Up), Pin { view: ViewId([1; 16]), ..pin(2, Phase::Running) });
        let ended = |second: &Pin| {
            deleted(&changes(&[first.clone(), second.clone()], &Event::Up(second.boot), &|_| true, 50))
        };
        assert_eq!(ended(&second), [first.boot]);
        let elsewhere = Pin { address: IpAddr::from([10, 0, 0, 2]), ..second.clone() };
        assert_eq!(ended(&elsewhere), [], "the older one's address is its own");
        assert_eq!(ended(&Pin { view: ViewId([2; 16]), ..second }), []);
    }

    #[test]
    fn plans_older_than_a_boot_that_came_up_are_over_though_their_view_is_read() {
        let pins = [pin(1, Phase::Booting), pin(2, Phase::Running), pin(3, Phase::Booting)];
        assert_eq!(deleted(&changes(&pins, &Event::Up(pins[1].boot), &|_| true, 50)), [pins[0].boot]);
    }

    #[test]
    fn a_word_is_believed_from_where_the_boots_root_is_mounted_and_in_its_view() {
        for phase in [Phase::Running, Phase::Up] {
            let pin = pin(1, phase);
            assert!(pin.hears(pin.address, pin.view));
            assert!(!pin.hears(IpAddr::from([10, 0, 0, 2]), pin.view));
            assert!(!pin.hears(pin.address, ViewId([2; 16])));
        }
        let never_mounted = pin(1, Phase::Booting);
        assert!(!never_mounted.hears(never_mounted.address, never_mounted.view));
    }

    #[test]
    fn a_boot_that_never_says_up_counts_as_up_after_the_grace_time() {
        let pins = [pin(1, Phase::Up), Pin { since: 100, ..pin(2, Phase::Running) }];
        assert_eq!(changes(&pins, &Event::Tick { sure_since: 0 }, &idle, 100 + GRACE - 1), []);
        assert_eq!(
            deleted(&changes(&pins, &Event::Tick { sure_since: 0 }, &idle, 100 + GRACE)),
            [pins[0].boot]
        );
    }

    #[test]
    fn the_grace_time_is_counted_from_the_hosts_start_for_nobody_knows_how_long_it_was_off() {
        let pins = [pin(1, Phase::Up), Pin { since: 100, ..pin(2, Phase::Running) }];
        let tick = Event::Tick { sure_since: 100_000 };
        assert_eq!(changes(&pins, &tick, &idle, 100_000 + GRACE - 1), []);
        assert_eq!(deleted(&changes(&pins, &tick, &idle, 100_000 + GRACE)), [pins[0].boot]);
    }

    #[test]
    fn time_alone_never_drops_the_only_running_pin() {
        let pins = [pin(1, Phase::Running)];
        assert_eq!(changes(&pins, &Event::Tick { sure_since: 0 }, &idle, u64::MAX), []);
        let pins = [pin(1, Phase::Up), pin(2, Phase::Booting)];
        assert_eq!(
            changes(&pins, &Event::Tick { sure_since: 0 }, &idle, u64::MAX),
            [],
            "a boot that never mounted replaces nothing"
        );
    }

    #[test]
    fn release_drops_all() {
        let pins = [pin(1, Phase::Up), pin(2, Phase::Booting)];
        assert_eq!(deleted(&changes(&pins, &Event::Released, &idle, 50)).len(), 2);
    }

    #[test]
    fn a_word_from_a_boot_that_is_gone_does_nothing() {
        assert_eq!(changes(&[pin(1, Phase::Up)], &Event::Up(BootId::from_random([8; 8])), &idle, 50), []);
    }
}
