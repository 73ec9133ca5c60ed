//! Whose an address is by a pin, for DHCP: the machine's that runs with it, the machine's that boots with it, and the
//! machine's that ran with it until lately.
//!
//! The rest of an address whose pin has ended is a record of its own, written in the transaction that ends the pin: after a
//! restart the pin is not there to tell, and the lease need not be. A renewal from a running root is acknowledged before
//! it is written (`src/dhcp`), and a machine that has booted to another address has its lease there.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::Result;
use oneroot_bootconf::Site;
use oneroot_bootconf::pins::{Phase, Pin, PinChange};
use oneroot_bootconf::unknown::STARTING;
use oneroot_ids::{BootId, Mac};
use oneroot_state::{Table, Txn};
use serde::{Deserialize, Serialize};

use crate::index::MachineIndex;

/// Rests by address.
pub const RESTS: Table<Rest> = Table::new("rests");

/// An address with which a machine ran until a moment ago: nobody else gets it for one lease time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    /// The NIC that had it.
    pub mac: Mac,
    /// When its pin ended, seconds of site time.
    pub from: u64,
    /// When it is free, seconds of site time.
    pub until: u64,
}

/// Whose an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The machine's that runs with it.
    Runs(Mac),
    /// The machine's that boots with it, or ran with it, until then: seconds of site time.
    Kept(Mac, u64),
}

/// Addresses whose claim has changed since that was asked last.
#[derive(Default)]
pub struct Moved {
    any: AtomicBool,
    addresses: Mutex<BTreeSet<IpAddr>>,
}

impl Moved {
    pub fn put(&self, address: IpAddr) {
        // The address first: with the flag up before, `take` could clear it, find nothing, and leave the address untold.
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).insert(address);
        self.any.store(true, Ordering::Release);
    }

    /// All of them; from now on they count as told. Costs a look at one word when there are none.
    pub fn take(&self) -> BTreeSet<IpAddr> {
        // Cleared before the addresses are taken: one that comes in between raises it again, and costs a look that finds
        // nothing.
        if !self.any.swap(false, Ordering::AcqRel) {
            return BTreeSet::new();
        }
        std::mem::take(&mut self.addresses.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Rests that begin with a change of pins.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Rested(Vec<(IpAddr, Rest)>);

impl Rested {
    /// Of these changes: each address that a root ran with and none runs with afterwards rests.
    pub(crate) fn of(index: &MachineIndex, site: &Site, made: &[PinChange], now: u64) -> Self {
        let gone: HashMap<BootId, &Pin> = made
            .iter()
            .filter_map(
                |change| if let PinChange::Delete(boot) = change { index.pins.get(boot) } else { None },
            )
            .map(|(pin, _)| (pin.boot, pin))
            .collect();
        let stays = |pin: &Pin| {
            let put = made.iter().any(|change| {
                matches!(change, PinChange::Put(new) if new.phase != Phase::Booting && new.address == pin.address)
            });
            let others = index.running_with(pin.address);
            put || { others }.any(|other| !gone.contains_key(&other.boot))
        };
        let mut rested = Self::default();
        for pin in gone.values().filter(|pin| pin.phase != Phase::Booting && !stays(pin)) {
            let IpAddr::V4(address) = pin.address else { continue };
            // Where another server gives the addresses, there is nobody here to keep one from.
            if let Some(network) = site.network(address).filter(|network| !network.proxy) {
                let rest =
                    Rest { mac: pin.mac, from: now, until: now.saturating_add(u64::from(network.lease)) };
                rested.0.push((pin.address, rest));
            }
        }
        rested
    }

    pub(crate) fn write(&self, mut txn: Txn) -> Result<Txn> {
        for (address, rest) in &self.0 {
            txn = RESTS.put(txn, address, rest)?;
        }
        Ok(txn)
    }
}

/// When something that takes so long is over, where all before `sure` may have taken any time.
fn ends(from: u64, until: u64, sure: u64) -> u64 {
    if from >= sure { until } else { until.max(sure.saturating_add(until.saturating_sub(from))) }
}

impl MachineIndex {
    /// Whose an address is by a pin that runs, boots, or has ended lately.
    pub(crate) fn claim(&self, address: IpAddr, sure: u64, now: u64) -> Option<Claim> {
        if let Some(pin) = self.running_at(address) {
            return Some(Claim::Runs(pin.mac));
        }
        let boots = self
            .booting_at(address)
            .map(|pin| (pin.mac, ends(pin.made, pin.made.saturating_add(STARTING), sure)));
        let rests = self.rests.get(&address).map(|rest| (rest.mac, ends(rest.from, rest.until, sure)));
        let kept = [boots, rests].into_iter().flatten().find(|(_, until)| *until > now);
        kept.map(|(mac, until)| Claim::Kept(mac, until))
    }

    /// Addresses whose rest is over, at a site time, and with the time from which on durations are sure.
    pub(crate) fn rests_over(&self, sure: u64, now: u64) -> Vec<IpAddr> {
        let over = self.rests.iter().filter(|(_, rest)| ends(rest.from, rest.until, sure) <= now);
        over.map(|(address, _)| *address).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oneroot_bootconf::load_str;
    use oneroot_ids::{MachineId, ViewId};
    use oneroot_state::Revision;
    use std::path::Path;

    const NOW: u64 = 100_000;

    fn site() -> Site {
        let text = "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\n[[network]]\nsubnet = \"10.0.0.0/24\"\nlease = \"1h\"\n\
            [[network]]\nsubnet = \"10.1.0.0/24\"\nproxy = true\n";
        load_str("site.toml", text, Path::new("/")).unwrap()
    }

    fn mac(number: u8) -> Mac {
        Mac::new([0x52, 0x54, 0, 0, 0, number]).unwrap()
    }

    fn pin(owner: u8, made: u64, address: [u8; 4], phase: Phase) -> Pin {
        Pin {
            machine: MachineId::from_random([owner; 16]),
            boot: BootId::from_random(made.to_be_bytes()),
            view: ViewId([1; 16]),
            phase,
            mac: mac(owner),
            address: IpAddr::from(address),
            made,
            since: made,
            named: true,
        }
    }

    fn known(pins: &[Pin]) -> MachineIndex {
        let mut index = MachineIndex::default();
        pins.iter().for_each(|pin| index.put_pin(pin.clone(), Revision(1)));
        index
    }

    const AT: [u8; 4] = [10, 0, 0, 10];

    fn claim(index: &MachineIndex, sure: u64, now: u64) -> Option<Claim> {
        index.claim(AT.into(), sure, now)
    }

    #[test]
    fn an_address_is_kept_for_who_boots_with_it_for_half_an_hour() {
        let boots = known(&[pin(1, NOW, AT, Phase::Booting)]);
        assert_eq!(claim(&boots, 0, NOW + STARTING - 1), Some(Claim::Kept(mac(1), NOW + STARTING)));
        assert_eq!(claim(&boots, 0, NOW + STARTING), None);
        let later = NOW + 2 * STARTING;
        let kept = Some(Claim::Kept(mac(1), later + STARTING));
        assert_eq!(claim(&boots, later, later), kept, "nobody knows how long the host was off");
        let runs = known(&[pin(1, NOW, AT, Phase::Running), pin(2, NOW + 1, AT, Phase::Booting)]);
        assert_eq!(claim(&runs, 0, NOW), Some(Claim::Runs(mac(1))));
    }

    #[test]
    fn an_address_rests_for_a_lease_time_once_nothing_runs_with_it() {
        let (old, new) = (pin(1, NOW - 9, AT, Phase::Up), pin(1, NOW - 1, [10, 0, 0, 20], Phase::Running));
        let mut index = known(&[old.clone(), new.clone()]);
        let made = [PinChange::Delete(old.boot), PinChange::Put(Pin { phase: Phase::Up, ..new.clone() })];
        let rested = Rested::of(&index, &site(), &made, NOW);
        assert_eq!(rested.0, [(old.address, Rest { mac: mac(1), from: NOW, until: NOW + 3600 })]);
        index.drop_pin(old.boot);
        rested.0.into_iter().for_each(|(address, rest)| index.put_rest(address, rest));
        assert_eq!(claim(&index, 0, NOW + 3599), Some(Claim::Kept(mac(1), NOW + 3600)));
        assert_eq!(claim(&index, 0, NOW + 3600), None);
        let later = NOW + 9000;
        assert_eq!(claim(&index, later, later), Some(Claim::Kept(mac(1), later + 3600)));
    }

    #[test]
    fn an_address_does_not_rest_while_another_boot_runs_with_it_nor_where_others_give_addresses() {
        let (old, new) = (pin(1, NOW - 9, AT, Phase::Up), pin(1, NOW - 1, AT, Phase::Running));
        let both = known(&[old.clone(), new.clone()]);
        let rested = |index: &MachineIndex, made: &[PinChange]| Rested::of(index, &site(), made, NOW).0.len();
        assert_eq!(rested(&both, &[PinChange::Delete(old.boot)]), 0);
        assert_eq!(rested(&both, &[PinChange::Delete(old.boot), PinChange::Delete(new.boot)]), 2);
        let booting = known(&[pin(1, NOW, AT, Phase::Booting)]);
        assert_eq!(rested(&booting, &[PinChange::Delete(pin(1, NOW, AT, Phase::Booting).boot)]), 0);
        let beside = pin(1, NOW, [10, 1, 0, 10], Phase::Up);
        assert_eq!(rested(&known(std::slice::from_ref(&beside)), &[PinChange::Delete(beside.boot)]), 0);
        let first_mount = PinChange::Put(Pin { phase: Phase::Running, ..new });
        assert_eq!(rested(&both, &[PinChange::Delete(old.boot), first_mount]), 0);
    }

    #[test]
    fn what_has_moved_is_told_once() {
        let mut index = known(&[pin(1, NOW, AT, Phase::Up)]);
        assert_eq!(index.moved.take(), BTreeSet::from([IpAddr::from(AT)]));
        assert!(index.moved.take().is_empty());
        index.drop_pin(pin(1, NOW, AT, Phase::Up).boot);
        assert_eq!(index.moved.take().len(), 1);
    }
}
