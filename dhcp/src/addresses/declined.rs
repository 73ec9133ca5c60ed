//! Addresses at which another host was found after a client had declined them: for a while they are given to
//! nobody.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use oneroot_ids::Mac;

/// Milliseconds for which a declined address rests.
const REST: u64 = 600_000;
/// Addresses that rest at once. A forger must not be able to empty a pool, nor to fill the memory.
const MOST: usize = 256;
/// Addresses that rest at once on one client's word.
const MOST_BY_ONE: usize = 4;

/// Who declined an address, and until when it rests.
#[derive(Debug, Default)]
pub(crate) struct Declined {
    by_address: HashMap<Ipv4Addr, (Mac, u64)>,
    changed: Vec<Ipv4Addr>,
}

impl Declined {
    /// Lets an address rest; false when the client has used up what it may decline, or too many rest.
    pub(crate) fn add(&mut self, address: Ipv4Addr, by: Mac, now: u64) -> bool {
        self.expire(now);
        let by_one = self.by_address.values().filter(|(mac, _)| *mac == by).count();
        let room = self.by_address.len() < MOST && by_one < MOST_BY_ONE;
        if room {
            self.by_address.insert(address, (by, now.saturating_add(REST)));
            self.changed.push(address);
        }
        room
    }

    /// What rests, and on whose word.
    pub(crate) fn resting(&self, now: u64) -> impl Iterator<Item = (Ipv4Addr, Mac)> + '_ {
        let resting = self.by_address.iter().filter(move |(_, (_, until))| *until > now);
        resting.map(|(address, (by, _))| (*address, *by))
    }

    pub(crate) fn rests(&self, address: Ipv4Addr, now: u64) -> bool {
        self.by_address.get(&address).is_some_and(|(_, until)| *until > now)
    }

    /// Addresses that rest now and did not, or no more.
    pub(crate) fn changed(&mut self, now: u64) -> Vec<Ipv4Addr> {
        self.expire(now);
        std::mem::take(&mut self.changed)
    }

    fn expire(&mut self, now: u64) {
        let changed = &mut self.changed;
        self.by_address.retain(|address, (_, until)| {
            if *until <= now {
                changed.push(*address);
            }
            *until > now
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_clients_together_rest_a_bounded_number() {
        let mut declined = Declined::default();
        for number in 0..1000u32 {
            let [_, b, c, d] = number.to_be_bytes();
            let mac = Mac::new([2, 0, 0, b, c, d]).unwrap();
            declined.add(Ipv4Addr::from(0x0a00_0000 + number), mac, 0);
        }
        assert_eq!(declined.by_address.len(), MOST);
        assert!(!declined.rests(Ipv4Addr::new(10, 0, 0, 0), REST));
    }
}
