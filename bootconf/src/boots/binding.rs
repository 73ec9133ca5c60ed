//! Whose an address is: a machine's as long as it has a running pin with it (docs/decisions/0003).
//!
//! The pin is the durable record; the binding is read from it and needs none of its own. It is independent of the lease:
//! initramfs clients never renew, and a client that believes what it read for a day is silent for hours.
//!
//! | what happens | the address |
//! |---|---|
//! | a plan is made, nothing is mounted | is not bound yet; DHCP keeps it for half an hour, then the lease alone does |
//! | the root is mounted | is the machine's, and the NIC's that booted |
//! | the lease ends, another NIC asks for it, the reservation changes | stays so |
//! | the machine runs from another address | is free once the older pin is dropped ([`crate::boots::pins`]) and a lease time is over |
//! | the admin releases the machine | is free once a lease time is over |
//! | nothing is heard, however long | stays so: nobody but the machine and its admin ends its boot |

use std::net::IpAddr;

use crate::boots::pins::{Phase, Pin};
use oneroot_ids::Mac;

/// Seconds without a packet after which a stranger may be forgotten ([`crate::boots::unknown`]).
pub const SILENCE: u64 = 7 * 86_400;

/// The pin that binds an address: of two running ones with it, the newer. Its NIC alone may be given the address.
pub fn holder<'p>(pins: impl IntoIterator<Item = &'p Pin>, address: IpAddr) -> Option<&'p Pin> {
    newest(pins, |pin| pin.address == address)
}

/// The pin that binds a NIC: to the address that DHCP has to offer it, whatever its reservation says by now.
pub fn held<'p>(pins: impl IntoIterator<Item = &'p Pin>, mac: Mac) -> Option<&'p Pin> {
    newest(pins, |pin| pin.mac == mac)
}

/// Whether a machine was silent for so long. `last_seen` and `now` are seconds since 1970; a clock that was set back says no.
#[must_use]
pub fn is_silent(last_seen: u64, now: u64) -> bool {
    now.saturating_sub(last_seen) >= SILENCE
}

fn newest<'p>(pins: impl IntoIterator<Item = &'p Pin>, wanted: impl Fn(&Pin) -> bool) -> Option<&'p Pin> {
    let running = pins.into_iter().filter(|pin| pin.phase != Phase::Booting && wanted(pin));
    running.max_by_key(|pin| (pin.made, pin.boot))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boots::pins::{Event, PinChange, changes};
    use oneroot_ids::{BootId, MachineId, ViewId};

    fn mac(number: u8) -> Mac {
        Mac::new([0x52, 0x54, 0, 0, 0, number]).unwrap()
    }

    fn pin(owner: u8, made: u8, address: u8, phase: Phase) -> Pin {
        Pin {
            machine: MachineId::from_random([owner; 16]),
            boot: BootId::from_random([made; 8]),
            view: ViewId([made; 16]),
            phase,
            mac: mac(owner),
            address: IpAddr::from([10, 0, 0, address]),
            made: u64::from(made),
            since: u64::from(made),
            named: true,
        }
    }

    fn at(address: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, address])
    }

    #[test]
    fn a_plan_alone_binds_no_address() {
        assert_eq!(holder(&[pin(1, 1, 10, Phase::Booting)], at(10)), None);
    }

    #[test]
    fn a_mounted_root_binds_the_address_to_machine_and_nic() {
        for phase in [Phase::Running, Phase::Up] {
            let pins = [pin(1, 1, 10, phase), pin(2, 2, 11, phase)];
            let bound = holder(&pins, at(10)).unwrap();
            assert_eq!((bound.machine, bound.mac), (pins[0].machine, mac(1)));
            assert_eq!(held(&pins, mac(2)).unwrap().address, at(11));
            assert_eq!(holder(&pins, at(12)), None);
        }
    }

    #[test]
    fn another_machines_plan_for_the_same_address_takes_nothing_away() {
        let pins = [pin(1, 1, 10, Phase::Up), pin(2, 9, 10, Phase::Booting)];
        assert_eq!(holder(&pins, at(10)).unwrap().machine, pins[0].machine);
    }

    #[test]
    fn a_boot_to_another_address_frees_the_old_one_when_it_is_up() {
        let pins = [pin(1, 1, 10, Phase::Up), pin(1, 2, 20, Phase::Running)];
        assert_eq!(held(&pins, mac(1)).unwrap().address, at(20), "the newer boot's address is the NIC's");
        assert!(holder(&pins, at(10)).is_some(), "the old root may be read still");
        let made = changes(&pins, &Event::Up(pins[1].boot), &|_| false, 50);
        assert!(made.contains(&PinChange::Delete(pins[0].boot)));
        assert_eq!(holder(&pins[1..], at(10)), None);
    }

    #[test]
    fn seven_days_without_a_packet_are_silence_and_a_clock_that_was_set_back_makes_none() {
        assert!(!is_silent(1000, 1000 + SILENCE - 1));
        assert!(is_silent(1000, 1000 + SILENCE));
        assert!(!is_silent(1000, 0));
    }
}
