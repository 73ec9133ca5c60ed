//! Pins: which machine's boot holds which view, and what ends that (design.md, "Boots and pins").
//!
//! | event | what happens to the machine's pins |
//! |---|---|
//! | a plan is made | a new pin, *booting*. Of older booting ones only the newest stays; the running one stays |
//! | MNT of a view that one of its pins holds | the newest such pin is *running*; again, it stays so |
//! | MNT with a pass ([`crate::export`]) from an address | that boot's pin is *running*, with this address from now on |
//! | MNT of any other view | nothing; the mount is refused |
//! | a boot says `up` | its pin is running and up; older pins are dropped but those that a connection uses |
//! | [`GRACE`] after a later boot began to run | as if it had said `up` |
//! | released by the admin | all of them are dropped |
//! | silent for days, and a probe of its address went unanswered ([`crate::binding`]) | all but those in use are dropped |
//! | any DHCP packet | nothing: DHCP is no event here. A `dhclient` in the guest must not take its root away |
//!
//! A machine holds at most [`MOST`] pins. What gives way to a new plan is the oldest booting one, then the oldest that no
//! connection uses; the newest that ran never does, and one in use only where all are.

use std::net::IpAddr;

use oneroot_tree::ViewId;
use serde::{Deserialize, Serialize};

use crate::identity::{BootId, Mac, MachineId};

/// Pins of one machine at most.
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
    /// When the plan was made, seconds since 1970.
    pub made: u64,
    /// When the phase was entered, seconds since 1970.
    pub since: u64,
}

/// What may happen to a machine's pins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A plan was made: this is its pin.
    Planned(Pin),
    /// The machine mounts this view.
    Mounted(ViewId),
    /// The machine of this boot mounts its root from this address, as its pass proves.
    MountedFrom(BootId, IpAddr),
    /// This boot says that it is up.
    Up(BootId),
    /// Time has passed.
    Tick,
    /// The admin lets go of the machine.
    Released,
    /// Nothing was heard of the machine for days, and it did not answer a probe.
    Silent,
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
    // A clock that was set back must not make the newest boot the oldest.
    order.sort_by_key(|pin| (pin.made, pin.boot));
    match event {
        Event::Planned(new) => planned(&order, new, in_use),
        Event::Mounted(view) => {
            let Some(pin) = order.iter().rev().find(|pin| pin.view == *view) else { return Vec::new() };
            match pin.phase {
                Phase::Booting => {
                    vec![PinChange::Put(Pin { phase: Phase::Running, since: now, ..(*pin).clone() })]
                }
                Phase::Running | Phase::Up => Vec::new(),
            }
        }
        Event::MountedFrom(boot, address) => {
            let pin = order.iter().find(|pin| pin.boot == *boot);
            let Some(pin) = pin.filter(|pin| pin.phase == Phase::Booting || pin.address != *address) else {
                return Vec::new();
            };
            let (phase, since) =
                if pin.phase == Phase::Booting { (Phase::Running, now) } else { (pin.phase, pin.since) };
            vec![PinChange::Put(Pin { phase, since, address: *address, ..(*pin).clone() })]
        }
        Event::Up(boot) => {
            let Some(place) = order.iter().position(|pin| pin.boot == *boot) else { return Vec::new() };
            let (older, rest) = order.split_at(place);
            let up = rest.first().filter(|pin| pin.phase != Phase::Up);
            let put = up.map(|pin| PinChange::Put(Pin { phase: Phase::Up, since: now, ..(*pin).clone() }));
            put.into_iter().chain(dropped(older, in_use)).collect()
        }
        Event::Tick => {
            let settled = |pin: &&Pin| match pin.phase {
                Phase::Booting => false,
                Phase::Running => now.saturating_sub(pin.since) >= GRACE,
                Phase::Up => true,
            };
            let Some(place) = order.iter().rposition(settled) else { return Vec::new() };
            dropped(order.get(..place).unwrap_or_default(), in_use).collect()
        }
        Event::Released => order.iter().map(|pin| PinChange::Delete(pin.boot)).collect(),
        // A client behind a firewall answers no probe and reads all the same.
        Event::Silent => dropped(&order, in_use).collect(),
    }
}

fn planned(order: &[&Pin], new: &Pin, in_use: &dyn Fn(&Pin) -> bool) -> Vec<PinChange> {
    let mut left = order.to_vec();
    let mut changes = Vec::new();
    let mut booting = left.iter().filter(|pin| pin.phase == Phase::Booting).count();
    // The last plan but this one may be what the firmware is loading right now: iPXE fetches a script again after an
    // error. So one booting pin stays beside the new one.
    while booting > 1 || left.len() >= MOST {
        let victim = left.remove(gives_way(&left, in_use));
        booting = left.iter().filter(|pin| pin.phase == Phase::Booting).count();
        changes.push(PinChange::Delete(victim.boot));
    }
    changes.push(PinChange::Put(new.clone()));
    changes
}

/// Which of a machine's pins, oldest first, gives way to a new plan: the oldest booting one; else the oldest that no
/// connection uses; else the oldest, for the machine is on the newest that ran.
fn gives_way(left: &[&Pin], in_use: &dyn Fn(&Pin) -> bool) -> usize {
    let newest_running = left.iter().rposition(|pin| pin.phase != Phase::Booting);
    let booting = left.iter().position(|pin| pin.phase == Phase::Booting);
    let idle =
        || (0..left.len()).zip(left).find(|(place, pin)| Some(*place) != newest_running && !in_use(pin));
    booting.or_else(|| idle().map(|(place, _)| place)).unwrap_or(0)
}

fn dropped<'p>(older: &'p [&Pin], in_use: &'p dyn Fn(&Pin) -> bool) -> impl Iterator<Item = PinChange> + 'p {
    older.iter().filter(|pin| !in_use(pin)).map(|pin| PinChange::Delete(pin.boot))
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
        }
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
    fn plans_that_were_never_mounted_do_not_pile_up() {
        let pins = [pin(1, Phase::Up), pin(2, Phase::Booting), pin(3, Phase::Booting)];
        let changes = changes(&pins, &Event::Planned(pin(4, Phase::Booting)), &idle, 50);
        assert_eq!(deleted(&changes), [pins[1].boot], "the oldest booting one goes, the running one stays");
    }

    #[test]
    fn a_machine_holds_at_most_three_pins_and_keeps_the_newest_running_one() {
        let pins = [pin(1, Phase::Running), pin(2, Phase::Running), pin(3, Phase::Running)];
        let made = changes(&pins, &Event::Planned(pin(4, Phase::Booting)), &|_| true, 50);
        assert_eq!(deleted(&made), [pins[0].boot]);
        let pins = [pin(1, Phase::Running), pin(2, Phase::Booting), pin(3, Phase::Booting)];
        let made = changes(&pins, &Event::Planned(pin(4, Phase::Booting)), &idle, 50);
        assert!(!deleted(&made).contains(&pins[0].boot));
    }

    #[test]
    fn a_mount_of_a_pinned_view_runs_and_of_any_other_does_nothing() {
        let pins = [pin(1, Phase::Up), pin(2, Phase::Booting)];
        let made = changes(&pins, &Event::Mounted(ViewId([2; 16])), &idle, 50);
        assert_eq!(made, [PinChange::Put(Pin { phase: Phase::Running, since: 50, ..pins[1].clone() })]);
        assert_eq!(changes(&pins, &Event::Mounted(ViewId([7; 16])), &idle, 50), []);
        assert_eq!(
            changes(&pins, &Event::Mounted(ViewId([1; 16])), &idle, 50),
            [],
            "a second mount changes nothing"
        );
    }

    #[test]
    fn a_pass_binds_the_address_that_shows_it_and_again_when_that_changes() {
        let pins = [pin(1, Phase::Up), pin(2, Phase::Booting)];
        let other = IpAddr::from([10, 0, 0, 99]);
        let made = changes(&pins, &Event::MountedFrom(pins[1].boot, other), &idle, 50);
        let running = Pin { phase: Phase::Running, since: 50, address: other, ..pins[1].clone() };
        assert_eq!(made, [PinChange::Put(running.clone())]);
        assert_eq!(
            changes(std::slice::from_ref(&running), &Event::MountedFrom(running.boot, other), &idle, 60),
            []
        );
        let back = Event::MountedFrom(running.boot, pins[0].address);
        let moved = changes(std::slice::from_ref(&running), &back, &idle, 60);
        assert_eq!(
            moved,
            [PinChange::Put(Pin { address: pins[0].address, ..running })],
            "a phase begins once"
        );
        let gone = Event::MountedFrom(BootId::from_random([8; 8]), other);
        assert_eq!(changes(&pins, &gone, &idle, 50), []);
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
    fn a_boot_that_never_says_up_counts_as_up_after_the_grace_time() {
        let pins = [pin(1, Phase::Up), Pin { since: 100, ..pin(2, Phase::Running) }];
        assert_eq!(changes(&pins, &Event::Tick, &idle, 100 + GRACE - 1), []);
        assert_eq!(deleted(&changes(&pins, &Event::Tick, &idle, 100 + GRACE)), [pins[0].boot]);
    }

    #[test]
    fn time_alone_never_drops_the_only_running_pin() {
        let pins = [pin(1, Phase::Running)];
        assert_eq!(changes(&pins, &Event::Tick, &idle, u64::MAX), []);
        let pins = [pin(1, Phase::Up), pin(2, Phase::Booting)];
        assert_eq!(
            changes(&pins, &Event::Tick, &idle, u64::MAX),
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
    fn a_root_that_a_connection_reads_outlives_any_number_of_plans() {
        let mut pins = vec![pin(1, Phase::Running), pin(2, Phase::Running), pin(3, Phase::Booting)];
        let used = |pin: &Pin| pin.made == 1;
        for number in 4..20 {
            let made = changes(&pins, &Event::Planned(pin(number, Phase::Booting)), &used, 50);
            pins.retain(|pin| !deleted(&made).contains(&pin.boot));
            pins.push(pin(number, Phase::Booting));
            assert!(pins.len() <= MOST);
            assert!(pins.iter().any(|pin| pin.made == 1), "plan {number} took the root that is read");
            assert!(pins.iter().any(|pin| pin.made == 2), "plan {number} took the newest that ran");
        }
    }

    #[test]
    fn what_gives_way_is_a_booting_pin_then_an_idle_one_and_never_the_newest_that_ran() {
        let given_way = |phases: [Phase; 3], used: &[u64]| {
            let pins = [pin(1, phases[0]), pin(2, phases[1]), pin(3, phases[2])];
            let made =
                changes(&pins, &Event::Planned(pin(4, Phase::Booting)), &|pin| used.contains(&pin.made), 50);
            deleted(&made)
                .iter()
                .map(|boot| pins.iter().position(|pin| pin.boot == *boot))
                .collect::<Vec<_>>()
        };
        let (ran, booting) = (Phase::Running, Phase::Booting);
        assert_eq!(given_way([ran, ran, booting], &[]), [Some(2)]);
        assert_eq!(given_way([ran, ran, ran], &[1]), [Some(1)]);
        assert_eq!(given_way([ran, ran, ran], &[1, 2]), [Some(0)]);
    }

    #[test]
    fn silence_drops_what_nobody_reads() {
        let pins = [pin(1, Phase::Up), pin(2, Phase::Booting)];
        assert_eq!(deleted(&changes(&pins, &Event::Silent, &idle, 50)).len(), 2);
        assert_eq!(deleted(&changes(&pins, &Event::Silent, &|pin| pin.made == 1, 50)), [pins[1].boot]);
    }

    #[test]
    fn a_word_from_a_boot_that_is_gone_does_nothing() {
        assert_eq!(changes(&[pin(1, Phase::Up)], &Event::Up(BootId::from_random([8; 8])), &idle, 50), []);
    }
}
