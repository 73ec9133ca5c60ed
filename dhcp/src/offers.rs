//! Offers: held in memory, for a minute, and never more than fit (hostile-inputs D12).

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;

use crate::mac::Mac;

/// Time that an offer is held, milliseconds. Some firmware uses an offered address without ever asking for it.
const HELD: u64 = 60_000;
/// Offers held at most. The oldest goes: a flood of made-up MACs must not keep a new machine out.
const MOST: usize = 4096;

#[derive(Debug, Default)]
pub(crate) struct Offers {
    by_mac: HashMap<Mac, (Ipv4Addr, u64)>,
    by_address: HashMap<Ipv4Addr, Mac>,
    order: VecDeque<(Mac, u64)>,
}

impl Offers {
    pub(crate) fn hold(&mut self, mac: Mac, address: Ipv4Addr, now: u64) {
        self.forget(mac);
        self.expire(now);
        while self.by_mac.len() >= MOST {
            let Some((oldest, until)) = self.order.pop_front() else { break };
            self.drop_if(oldest, until);
        }
        let until = now.saturating_add(HELD);
        self.by_mac.insert(mac, (address, until));
        self.by_address.insert(address, mac);
        self.order.push_back((mac, until));
        // What was forgotten or offered again leaves its old place behind; those must not pile up either.
        if self.order.len() > 2 * MOST {
            let known = &self.by_mac;
            self.order.retain(|(mac, until)| known.get(mac).is_some_and(|(_, held)| held == until));
        }
    }

    pub(crate) fn forget(&mut self, mac: Mac) {
        if let Some((address, _)) = self.by_mac.remove(&mac) {
            self.by_address.remove(&address);
        }
    }

    pub(crate) fn of(&self, mac: Mac, now: u64) -> Option<Ipv4Addr> {
        self.by_mac.get(&mac).filter(|(_, until)| *until > now).map(|(address, _)| *address)
    }

    pub(crate) fn holder(&self, address: Ipv4Addr, now: u64) -> Option<Mac> {
        let mac = *self.by_address.get(&address)?;
        self.of(mac, now).map(|_| mac)
    }

    fn expire(&mut self, now: u64) {
        while let Some((mac, until)) = self.order.front().copied().filter(|(_, until)| *until <= now) {
            self.order.pop_front();
            self.drop_if(mac, until);
        }
    }

    fn drop_if(&mut self, mac: Mac, until: u64) {
        if self.by_mac.get(&mac).is_some_and(|(_, held)| *held == until) {
            self.forget(mac);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_holds_a_bounded_number_and_the_newest() {
        let mut offers = Offers::default();
        for number in 0..50_000u32 {
            let [_, b, c, d] = number.to_be_bytes();
            let mac = Mac::new([2, 0, 0, b, c, d]).unwrap();
            offers.hold(mac, Ipv4Addr::from(0x0a00_0000 + number), 0);
            assert_eq!(offers.of(mac, 1), Some(Ipv4Addr::from(0x0a00_0000 + number)));
        }
        assert!(
            offers.by_mac.len() <= MOST
                && offers.by_address.len() <= MOST
                && offers.order.len() <= 2 * MOST + 1
        );
    }

    #[test]
    fn an_offer_ends_after_a_minute() {
        let mut offers = Offers::default();
        let mac = Mac::new([2, 0, 0, 0, 0, 1]).unwrap();
        offers.hold(mac, Ipv4Addr::new(10, 0, 0, 1), 5);
        assert_eq!(offers.holder(Ipv4Addr::new(10, 0, 0, 1), HELD), Some(mac));
        assert_eq!(offers.holder(Ipv4Addr::new(10, 0, 0, 1), HELD + 5), None);
    }
}
