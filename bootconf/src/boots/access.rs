//! Who may read what: one rule, asked on every NFS call and for every boot file.
//!
//! | the asking address is | the view is pinned by | answer |
//! |---|---|---|
//! | a machine's | that machine | allowed |
//! | a machine's | other machines only | refused |
//! | a machine's | nobody | gone: STALE |
//! | not known (yet) | anybody | later: JUKEBOX, the client waits and asks again |
//! | not known | nobody | gone: STALE |
//!
//! This isolates the machines of an honest network; it does not authenticate. Whoever can take a MAC or an address of
//! the segment is that machine: docs/security.md says so plainly.

use oneroot_ids::{MachineId, ViewId};

use crate::boots::pins::Pin;

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go ahead.
    Allow,
    /// Known to be another machine.
    Refuse,
    /// No pin holds the view.
    Gone,
    /// Nobody knows yet who is asking.
    Later,
}

/// Decides one access. `holders` are all pins of the view, of whatever machine.
pub fn verdict<'p>(
    peer: Option<MachineId>,
    view: ViewId,
    holders: impl IntoIterator<Item = &'p Pin>,
) -> Verdict {
    let mut held = false;
    for pin in holders {
        // The machine's own pins are among them, of whatever view.
        if pin.view != view {
            continue;
        }
        held = true;
        if peer == Some(pin.machine) {
            return Verdict::Allow;
        }
    }
    match (held, peer) {
        (false, _) => Verdict::Gone,
        (true, Some(_)) => Verdict::Refuse,
        (true, None) => Verdict::Later,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boots::pins::Phase;
    use oneroot_ids::BootId;

    fn machine(number: u8) -> MachineId {
        MachineId::from_random([number; 16])
    }

    fn pin(owner: u8, view: u8) -> Pin {
        Pin {
            machine: machine(owner),
            boot: BootId::from_random([owner; 8]),
            view: ViewId([view; 16]),
            phase: Phase::Running,
            mac: "52:54:00:00:00:0a".parse().unwrap(),
            address: std::net::IpAddr::from([10, 0, 0, owner]),
            made: 0,
            since: 0,
            named: true,
        }
    }

    #[test]
    fn a_machine_reads_its_own_view() {
        assert_eq!(verdict(Some(machine(1)), ViewId([1; 16]), [&pin(1, 1)]), Verdict::Allow);
    }

    #[test]
    fn a_machine_is_refused_the_view_of_another() {
        assert_eq!(verdict(Some(machine(1)), ViewId([2; 16]), [&pin(1, 1), &pin(2, 2)]), Verdict::Refuse);
    }

    #[test]
    fn two_machines_with_one_view_both_read_it() {
        let pins = [pin(1, 5), pin(2, 5)];
        assert_eq!(verdict(Some(machine(1)), ViewId([5; 16]), &pins), Verdict::Allow);
        assert_eq!(verdict(Some(machine(2)), ViewId([5; 16]), &pins), Verdict::Allow);
        assert_eq!(verdict(Some(machine(3)), ViewId([5; 16]), &pins), Verdict::Refuse);
    }

    #[test]
    fn a_view_that_nobody_holds_is_gone_for_everybody() {
        assert_eq!(verdict(Some(machine(1)), ViewId([9; 16]), [&pin(1, 1)]), Verdict::Gone);
        assert_eq!(verdict(None, ViewId([9; 16]), [&pin(1, 1)]), Verdict::Gone);
    }

    #[test]
    fn an_address_that_is_not_known_yet_waits() {
        assert_eq!(verdict(None, ViewId([1; 16]), [&pin(1, 1)]), Verdict::Later);
    }
}
