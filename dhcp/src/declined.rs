//! Declined addresses: somebody else uses them, so for a while they are given to nobody (hostile-inputs D15).

use std::collections::HashMap;
use std::net::Ipv4Addr;

use crate::mac::Mac;

/// Milliseconds for which a declined address rests.
const REST: u64 = 600_000;
/// Addresses that rest at once. A forger must not be able to empty a pool, nor to fill the memory.
const MOST: usize = 256;
/// Addresses that rest at once on one client's word.
const MOST_BY_ONE: usize = 4;

/// Who declined an address, and until when it rests.
#[derive(Debug, Default)]
pub(crate) struct Declined(HashMap<Ipv4Addr, (Mac, u64)>);

impl Declined {
    /// Lets an address rest, unless the client has used up what it may decline.
    pub(crate) fn add(&mut self, address: Ipv4Addr, by: Mac, now: u64) {
        self.0.retain(|_, (_, until)| *until > now);
        let by_one = self.0.values().filter(|(mac, _)| *mac == by).count();
        if self.0.len() < MOST && by_one < MOST_BY_ONE {
            self.0.insert(address, (by, now.saturating_add(REST)));
        }
    }

    /// What rests, and on whose word.
    pub(crate) fn resting(&self, now: u64) -> impl Iterator<Item = (Ipv4Addr, Mac)> + '_ {
        self.0.iter().filter(move |(_, (_, until))| *until > now).map(|(address, (by, _))| (*address, *by))
    }

    pub(crate) fn rests(&self, address: Ipv4Addr, now: u64) -> bool {
        self.0.get(&address).is_some_and(|(_, until)| *until > now)
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
        assert_eq!(declined.0.len(), MOST);
        assert!(!declined.rests(Ipv4Addr::new(10, 0, 0, 0), REST));
    }
}
