//! Offers: held in memory, for a minute, and never more than fit. Strangers' are kept apart, so that no
//! flood of made-up MACs takes an offer from a machine of the site.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;

use oneroot_ids::Mac;

/// Time that an offer is held, milliseconds. Some firmware uses an offered address without ever asking for it.
const HELD: u64 = 60_000;
/// Offers held to machines of the site at most.
const MOST: usize = 4096;
/// Offers held to strangers. The oldest goes: a flood of made-up MACs must not keep a new machine out.
const MOST_OF_STRANGERS: usize = 2048;

#[derive(Debug)]
pub(crate) struct Offers {
    named: Table,
    strangers: Table,
    changed: Vec<Ipv4Addr>,
}

impl Default for Offers {
    fn default() -> Self {
        Self { named: Table::new(MOST), strangers: Table::new(MOST_OF_STRANGERS), changed: Vec::new() }
    }
}

impl Offers {
    pub(crate) fn hold(&mut self, mac: Mac, address: Ipv4Addr, stranger: bool, now: u64) {
        let table = if stranger { &mut self.strangers } else { &mut self.named };
        // A repeat costs nothing while half of its time is left.
        if table.of(mac, now.saturating_add(HELD / 2)) == Some(address) {
            return;
        }
        self.forget(mac);
        self.changed.push(address);
        let table = if stranger { &mut self.strangers } else { &mut self.named };
        table.hold(mac, address, now, &mut self.changed);
    }

    pub(crate) fn forget(&mut self, mac: Mac) {
        for table in [&mut self.named, &mut self.strangers] {
            self.changed.extend(table.forget(mac));
        }
    }

    pub(crate) fn of(&self, mac: Mac, now: u64) -> Option<Ipv4Addr> {
        self.named.of(mac, now).or_else(|| self.strangers.of(mac, now))
    }

    pub(crate) fn holder(&self, address: Ipv4Addr, now: u64) -> Option<Mac> {
        self.named.holder(address, now).or_else(|| self.strangers.holder(address, now))
    }

    /// Whether an offer may have given way to newer ones in its minute, so that who asks for it is not known any more.
    pub(crate) fn gave_way(&self, now: u64) -> bool {
        [&self.named, &self.strangers].into_iter().any(|table| table.full_until > now)
    }

    /// Addresses that are offered now and were not, or no more.
    pub(crate) fn changed(&mut self, now: u64) -> Vec<Ipv4Addr> {
        for table in [&mut self.named, &mut self.strangers] {
            table.expire(now, &mut self.changed);
        }
        std::mem::take(&mut self.changed)
    }

    /// Every address that is offered.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.named.by_address.keys().chain(self.strangers.by_address.keys()).copied()
    }
}

#[derive(Debug)]
struct Table {
    most: usize,
    by_mac: HashMap<Mac, (Ipv4Addr, u64)>,
    by_address: HashMap<Ipv4Addr, Mac>,
    order: VecDeque<(Mac, u64)>,
    /// Until then an offer that has given way would have been good.
    full_until: u64,
}

impl Table {
    fn new(most: usize) -> Self {
        let (by_mac, by_address, order) = (HashMap::new(), HashMap::new(), VecDeque::new());
        Self { most, by_mac, by_address, order, full_until: 0 }
    }

    fn hold(&mut self, mac: Mac, address: Ipv4Addr, now: u64, changed: &mut Vec<Ipv4Addr>) {
        self.expire(now, changed);
        while self.by_mac.len() >= self.most && !self.by_mac.contains_key(&mac) {
            let Some((oldest, until)) = self.order.pop_front() else { break };
            self.full_until = self.full_until.max(until);
            changed.extend(self.drop_if(oldest, until));
        }
        let until = now.saturating_add(HELD);
        self.by_mac.insert(mac, (address, until));
        self.by_address.insert(address, mac);
        self.order.push_back((mac, until));
        // What was forgotten or offered again leaves its old place behind; those must not pile up either.
        if self.order.len() > 2 * self.most {
            let known = &self.by_mac;
            self.order.retain(|(mac, until)| known.get(mac).is_some_and(|(_, held)| held == until));
        }
    }

    fn forget(&mut self, mac: Mac) -> Option<Ipv4Addr> {
        let (address, _) = self.by_mac.remove(&mac)?;
        if self.by_address.get(&address) == Some(&mac) {
            self.by_address.remove(&address);
        }
        Some(address)
    }

    fn of(&self, mac: Mac, now: u64) -> Option<Ipv4Addr> {
        self.by_mac.get(&mac).filter(|(_, until)| *until > now).map(|(address, _)| *address)
    }

    fn holder(&self, address: Ipv4Addr, now: u64) -> Option<Mac> {
        let mac = *self.by_address.get(&address)?;
        self.of(mac, now).map(|_| mac)
    }

    fn expire(&mut self, now: u64, changed: &mut Vec<Ipv4Addr>) {
        while let Some((mac, until)) = self.order.front().copied().filter(|(_, until)| *until <= now) {
            self.order.pop_front();
            changed.extend(self.drop_if(mac, until));
        }
    }

    fn drop_if(&mut self, mac: Mac, until: u64) -> Option<Ipv4Addr> {
        let held = self.by_mac.get(&mac).is_some_and(|(_, held)| *held == until);
        if held { self.forget(mac) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(number: u32) -> Mac {
        let [_, b, c, d] = number.to_be_bytes();
        Mac::new([2, 0, 0, b, c, d]).unwrap()
    }

    fn address(number: u32) -> Ipv4Addr {
        Ipv4Addr::from(0x0a00_0000 + number)
    }

    #[test]
    fn a_flood_holds_a_bounded_number_and_the_newest() {
        let mut offers = Offers::default();
        for number in 0..50_000u32 {
            offers.hold(mac(number), address(number), true, 0);
            assert_eq!(offers.of(mac(number), 1), Some(address(number)));
        }
        let table = &offers.strangers;
        assert!(table.by_mac.len() <= MOST_OF_STRANGERS && table.by_address.len() <= MOST_OF_STRANGERS);
        assert!(table.order.len() <= 2 * MOST_OF_STRANGERS + 1);
        assert!(offers.gave_way(HELD - 1) && !offers.gave_way(HELD));
    }

    #[test]
    fn a_flood_of_made_up_macs_takes_no_offer_from_a_machine_of_the_site() {
        let mut offers = Offers::default();
        (0..1000).for_each(|number| offers.hold(mac(number), address(number), false, 0));
        (1000..50_000).for_each(|number| offers.hold(mac(number), address(number), true, 0));
        assert!((0..1000).all(|number| offers.of(mac(number), 1) == Some(address(number))));
    }

    #[test]
    fn an_offer_ends_after_a_minute_and_repeats_do_not_pile_up() {
        let mut offers = Offers::default();
        offers.hold(mac(1), address(1), false, 5);
        assert_eq!(offers.changed(5), [address(1)]);
        (0..1000).for_each(|_| offers.hold(mac(1), address(1), false, 6));
        assert_eq!((offers.named.order.len(), offers.changed(6).len()), (1, 0));
        assert_eq!(offers.holder(address(1), HELD), Some(mac(1)));
        assert_eq!(offers.holder(address(1), HELD + 5), None);
        assert_eq!(offers.changed(HELD + 5), [address(1)]);
        offers.hold(mac(1), address(1), false, HELD + 5);
        offers.hold(mac(1), address(2), false, HELD + 6);
        assert_eq!(offers.holder(address(1), HELD + 7), None, "a NIC is offered one address");
        assert_eq!(offers.changed(HELD + 7), [address(1), address(1), address(2)]);
    }
}
