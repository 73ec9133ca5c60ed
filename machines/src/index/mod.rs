//! What is known of machines, in memory: the durable tables as they were last written, looked up by address and MAC.
//!
//! The data plane reads this and nothing else, under a lock that is never held across a wait.

pub(crate) mod claims;
pub(crate) mod copies;
pub(crate) mod others;
pub(crate) mod places;
pub(crate) mod refusals;
pub(crate) mod remedies;
pub(crate) mod sightings;
pub(crate) mod stalls;
pub(crate) mod steps;
pub(crate) mod tables;
pub(crate) mod timelines;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use oneroot_bootconf::access::{Verdict, verdict};
use oneroot_bootconf::assignment::{Adopting, Mapped};
use oneroot_bootconf::binding;
use oneroot_bootconf::hardware::{Examined, ExaminedRecord};
use oneroot_bootconf::identity::recognise;
use oneroot_bootconf::pins::{Phase, Pin};
use oneroot_bootconf::plan::BootPlan;
use oneroot_bootconf::{MachineRecord, Site};
use oneroot_ids::{BootId, Mac, MachineId, ViewId};
use oneroot_state::Revision;

use crate::credentials::record::{TokenName, TokenRecord};
use crate::index::claims::{Moved, Rest};
use crate::index::places::Places;

/// The tables.
#[derive(Default)]
pub struct MachineIndex {
    pub machines: HashMap<MachineId, (MachineRecord, Revision)>,
    pub pins: HashMap<BootId, (Pin, Revision)>,
    pub plans: HashMap<BootId, BootPlan>,
    /// What the state says over the site's files.
    pub mapped: HashMap<MachineId, (Mapped, Revision)>,
    /// The standing order to adopt whoever comes.
    pub adopting: Option<(Adopting, Revision)>,
    /// What machines have found out about themselves.
    pub examined: HashMap<MachineId, (ExaminedRecord, Revision)>,
    /// Access tokens.
    pub tokens: BTreeMap<TokenName, (TokenRecord, Revision)>,
    by_mac: HashMap<Mac, MachineId>,
    /// NICs that have an address of ours by a durable lease.
    leased: Places,
    /// NICs that were seen at an address which another server has given: it takes no lease of ours away.
    noted: Places,
    by_view: HashMap<ViewId, Vec<BootId>>,
    by_machine: HashMap<MachineId, Vec<BootId>>,
    /// Running pins by their machine's address; asked on every NFS call.
    running: HashMap<IpAddr, Vec<BootId>>,
    /// Booting pins by the address that their script went to.
    booting: HashMap<IpAddr, Vec<BootId>>,
    /// Running pins by the NIC that booted; asked with every DHCP packet.
    holding: HashMap<Mac, Vec<BootId>>,
    /// Addresses with which a machine ran until lately.
    pub rests: HashMap<IpAddr, Rest>,
    pub moved: Moved,
    /// When a machine that holds something last called, seconds since 1970; 0 before it has.
    heard: HashMap<MachineId, AtomicU64>,
}

impl MachineIndex {
    pub fn put_machine(&mut self, record: MachineRecord, revision: Revision) {
        let old = self.machines.get(&record.id).map(|(old, _)| old.macs.as_slice()).unwrap_or_default();
        for mac in old.iter().filter(|mac| !record.macs.contains(mac)) {
            // It may be another record's already, where that one of the same transaction was shown first.
            if self.by_mac.get(mac) == Some(&record.id) {
                self.by_mac.remove(mac);
            }
        }
        for mac in &record.macs {
            self.by_mac.insert(*mac, record.id);
        }
        self.machines.insert(record.id, (record, revision));
    }

    /// Forgets a machine whose pins are gone; the NICs that are nobody's now.
    pub fn drop_machine(&mut self, machine: MachineId) -> Vec<Mac> {
        let Some((record, _)) = self.machines.remove(&machine) else { return Vec::new() };
        let own = record.macs.into_iter().filter(|mac| self.by_mac.get(mac) == Some(&machine));
        let own: Vec<Mac> = own.collect();
        for mac in &own {
            self.by_mac.remove(mac);
        }
        own
    }

    pub fn put_pin(&mut self, pin: Pin, revision: Revision) {
        // By the address, NIC and phase that it had, which need not be those that it has now.
        self.drop_from_indexes(pin.boot);
        self.by_view.entry(pin.view).or_default().push(pin.boot);
        self.by_machine.entry(pin.machine).or_default().push(pin.boot);
        self.heard.entry(pin.machine).or_default();
        if pin.phase == Phase::Booting {
            self.booting.entry(pin.address).or_default().push(pin.boot);
        } else {
            self.running.entry(pin.address).or_default().push(pin.boot);
            self.holding.entry(pin.mac).or_default().push(pin.boot);
        }
        self.moved.put(pin.address);
        self.pins.insert(pin.boot, (pin, revision));
    }

    /// Takes a pin away with its plan, and says which view nobody holds any more.
    pub fn drop_pin(&mut self, boot: BootId) -> Option<ViewId> {
        self.plans.remove(&boot);
        self.drop_from_indexes(boot);
        let (pin, _) = self.pins.remove(&boot)?;
        if !self.by_machine.contains_key(&pin.machine) {
            self.heard.remove(&pin.machine);
        }
        (!self.by_view.contains_key(&pin.view)).then_some(pin.view)
    }

    fn drop_from_indexes(&mut self, boot: BootId) {
        let Some((pin, _)) = self.pins.get(&boot) else { return };
        forget(&mut self.by_view, &pin.view, boot);
        forget(&mut self.by_machine, &pin.machine, boot);
        forget(&mut self.running, &pin.address, boot);
        forget(&mut self.booting, &pin.address, boot);
        forget(&mut self.holding, &pin.mac, boot);
        self.moved.put(pin.address);
    }

    /// A NIC has this address by a durable lease.
    pub fn leased(&mut self, address: IpAddr, mac: Mac) {
        self.leased.put(address, mac);
    }

    /// A NIC is at an address that another server has given.
    pub fn noted(&mut self, address: IpAddr, mac: Mac) {
        self.noted.put(address, mac);
    }

    /// The NIC that an address was leased to, or that is there as far as is known.
    pub fn mac_at(&self, address: IpAddr) -> Option<Mac> {
        self.leased.mac(address).or_else(|| self.noted.mac(address))
    }

    /// The address that a NIC has by a durable lease, or where it was seen.
    pub fn address(&self, mac: Mac) -> Option<IpAddr> {
        self.leased.address(mac).or_else(|| self.noted.address(mac))
    }

    /// The machine that has a MAC.
    pub fn machine_of(&self, mac: Mac) -> Option<MachineId> {
        self.by_mac.get(&mac).copied()
    }

    /// What the machine of a NIC has found out about itself: the one that this NIC's next boot is counted as. A NIC that the site
    /// has given to another machine brings nothing of the one before with it.
    pub fn examined_of(&self, site: &Site, mac: Mac) -> Examined {
        if self.examined.is_empty() {
            return Examined::default();
        }
        let known =
            self.machine_of(mac).and_then(|machine| self.machines.get(&machine)).map(|(record, _)| record);
        let machine = match (site.machine(mac), known) {
            (None, known) => known.map(|record| record.id),
            (Some((name, _)), Some(record)) if record.name.as_deref() == Some(name) => Some(record.id),
            (Some((name, machine)), _) => {
                let records = self.machines.values().map(|(record, _)| record);
                let nobody = MachineId::from_random([0; 16]);
                Some(recognise(mac, Some((name, &machine.macs)), records, nobody, 0).0.id)
            }
        };
        let record = machine.and_then(|machine| self.examined.get(&machine));
        record.map(|(record, _)| record.facts()).unwrap_or_default()
    }

    /// The machine at an address: the one that runs with it, else the one that it is leased to, else the one that was
    /// last given a boot script there.
    ///
    /// A running pin comes first: the address is its machine's, whatever DHCP has been told since. The script comes last:
    /// it is all that is left after a restart where another server gives the addresses.
    pub fn machine_at(&self, address: IpAddr) -> Option<MachineId> {
        self.nic_at(address).map(|(machine, _)| machine)
    }

    /// The same, with the NIC that has the address.
    pub fn nic_at(&self, address: IpAddr) -> Option<(MachineId, Mac)> {
        let running = self.mounted_at(address);
        let leased = || {
            let mac = self.mac_at(address)?;
            Some((self.machine_of(mac)?, mac))
        };
        running.or_else(leased).or_else(|| self.booting_at(address).map(|pin| (pin.machine, pin.mac)))
    }

    /// The machine that has mounted a root from an address, and its NIC: where another server gives the addresses, nothing
    /// less says who is there.
    pub fn mounted_at(&self, address: IpAddr) -> Option<(MachineId, Mac)> {
        self.running_at(address).map(|pin| (pin.machine, pin.mac))
    }

    /// The pin that binds an address.
    pub fn running_at(&self, address: IpAddr) -> Option<&Pin> {
        binding::holder(self.pins_in(self.running.get(&address)?), address)
    }

    /// All pins that run with an address.
    pub fn running_with(&self, address: IpAddr) -> impl Iterator<Item = &Pin> {
        self.pins_in(self.running.get(&address).map_or(&[][..], Vec::as_slice))
    }

    /// The newest pin whose script went to an address and whose root is not mounted yet.
    pub fn booting_at(&self, address: IpAddr) -> Option<&Pin> {
        // The id decides between two of one second, so that the answer does not depend on the order in which they were
        // read.
        self.pins_in(self.booting.get(&address)?).max_by_key(|pin| (pin.made, pin.boot))
    }

    /// An address rests from now on.
    pub fn put_rest(&mut self, address: IpAddr, rest: Rest) {
        self.rests.insert(address, rest);
        self.moved.put(address);
    }

    /// An address rests no more.
    pub fn drop_rest(&mut self, address: IpAddr) {
        self.rests.remove(&address);
        self.moved.put(address);
    }

    /// The pin that binds a NIC.
    pub fn pin_of(&self, mac: Mac) -> Option<&Pin> {
        binding::held(self.pins_in(self.holding.get(&mac)?), mac)
    }

    fn pins_in<'k>(&'k self, boots: &'k [BootId]) -> impl Iterator<Item = &'k Pin> {
        boots.iter().filter_map(|boot| self.pins.get(boot)).map(|(pin, _)| pin)
    }

    /// All pins of one machine.
    pub fn pins_of(&self, machine: MachineId) -> impl Iterator<Item = &(Pin, Revision)> {
        let boots = self.by_machine.get(&machine).map_or(&[][..], Vec::as_slice);
        boots.iter().filter_map(|boot| self.pins.get(boot))
    }

    /// A machine has called.
    pub fn hear(&self, machine: MachineId, now: u64) {
        if let Some(heard) = self.heard.get(&machine) {
            heard.store(now, Ordering::Relaxed);
        }
    }

    /// When a machine last called, seconds since 1970, since this server started.
    pub fn heard(&self, machine: MachineId) -> Option<u64> {
        self.heard.get(&machine).map(|heard| heard.load(Ordering::Relaxed)).filter(|heard| *heard > 0)
    }

    /// All pins that hold a view.
    pub fn holders(&self, view: ViewId) -> impl Iterator<Item = &Pin> {
        self.pins_in(self.by_view.get(&view).map_or(&[][..], Vec::as_slice))
    }

    /// What a machine, or an address that is nobody's yet, may do with a view.
    pub fn verdict(&self, machine: Option<MachineId>, view: ViewId) -> Verdict {
        // Of the pins that hold a view one is enough to say that it is held. Views made by older versions may be held by all
        // machines of a profile; one of today's has its machine's own generation in it, and is held by that machine alone.
        let own = machine.into_iter().flat_map(|machine| self.pins_of(machine)).map(|(pin, _)| pin);
        verdict(machine, view, own.chain(self.holders(view).take(1)))
    }

    /// Whether a pin holds a view.
    pub fn is_held(&self, view: ViewId) -> bool {
        self.by_view.contains_key(&view)
    }

    /// All views that are held.
    pub fn views(&self) -> Vec<ViewId> {
        self.by_view.keys().copied().collect()
    }
}

/// Takes a boot out of one list of an index, and the list when it is empty.
fn forget<K: std::hash::Hash + Eq>(index: &mut HashMap<K, Vec<BootId>>, key: &K, boot: BootId) {
    if let Some(boots) = index.get_mut(key) {
        boots.retain(|other| *other != boot);
        if boots.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nic_that_is_seen_where_another_server_gives_addresses_keeps_its_lease_of_ours() {
        let mut index = MachineIndex::default();
        let mac = |number: u8| Mac::new([2, 0, 0, 0, 0, number]).unwrap();
        let [home, away, other] = [[10, 0, 0, 5], [10, 9, 0, 5], [10, 9, 0, 6]].map(IpAddr::from);
        index.leased(home, mac(1));
        index.noted(away, mac(2));
        index.noted(away, mac(1));
        assert_eq!([home, away].map(|address| index.mac_at(address)), [Some(mac(1)); 2]);
        assert_eq!((index.address(mac(1)), index.address(mac(2))), (Some(home), None));
        index.noted(other, mac(1));
        assert_eq!((index.mac_at(away), index.mac_at(home)), (None, Some(mac(1))), "it has moved there");
    }

    #[test]
    fn what_a_machine_has_found_out_stays_with_it_whichever_nics_the_site_gives_it_and_no_nic_takes_it_along()
    {
        let home = tempfile::tempdir().unwrap();
        let mac = |number: u8| Mac::new([2, 0, 0, 0, 0, number]).unwrap();
        let mut index = MachineIndex::default();
        for (number, name) in [(1, Some("alpha")), (2, None)] {
            let id = MachineId::from_random([number; 16]);
            let name = name.map(str::to_owned);
            let macs = vec![mac(number), mac(number + 10)];
            let record = MachineRecord { id, macs, name, claimed: None, first_seen: 1 };
            index.put_machine(record, Revision(1));
            let told = format!("{{\"hooks\":{{\"a\":{{\"facts\":{{\"rack\":{number}}},\"since\":1}}}}}}");
            index.examined.insert(id, (serde_json::from_str(&told).unwrap(), Revision(1)));
        }
        let rack = |alpha: u8, beta: u8, nic: u8| {
            let site = format!(
                "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\n[[network]]\nsubnet = \"10.0.0.0/8\"\n\
                 [profile.a]\nsource = {{ directory = \"root\" }}\n\
                 [machine.alpha]\nmac = \"{}\"\nprofile = \"a\"\n[machine.beta]\nmac = \"{}\"\nprofile = \"a\"\n",
                mac(alpha),
                mac(beta)
            );
            let site = oneroot_bootconf::load_str("site.toml", &site, home.path()).unwrap();
            index.examined_of(&site, mac(nic)).get(&"rack".parse().unwrap()).map(ToString::to_string)
        };
        let facts_of = |machine: &str| Some(machine.to_owned());
        assert_eq!(rack(1, 9, 1), facts_of("1"), "as it was");
        assert_eq!(rack(3, 9, 3), facts_of("1"), "alpha has a new NIC");
        assert_eq!(rack(3, 1, 1), None, "its old one is beta's, which has found out nothing");
        assert_eq!(rack(2, 9, 2), facts_of("1"), "a stranger's is alpha's now");
        assert_eq!(rack(1, 2, 2), facts_of("2"), "the stranger is beta");
        assert_eq!(rack(1, 9, 2), facts_of("2"), "nobody's");
    }
}
