//! Leases whose writing can wait: those that a running pin binds anyway, which are acknowledged at once. The last word of
//! each NIC is written, and one at a time.

use std::collections::{HashMap, VecDeque};

use crate::leases::lease::Lease;
use oneroot_ids::Mac;

/// NICs whose lease waits. What is more is not written: the pin binds the address without it, and the next renewal
/// comes.
const MOST: usize = 4096;

#[derive(Debug, Default)]
pub(crate) struct Later {
    by_mac: HashMap<Mac, Lease>,
    order: VecDeque<Mac>,
}

impl Later {
    pub(crate) fn put(&mut self, lease: Lease) {
        let mac = lease.mac;
        let full = self.by_mac.len() >= MOST && !self.by_mac.contains_key(&mac);
        if !full && self.by_mac.insert(mac, lease).is_none() {
            self.order.push_back(mac);
        }
    }

    /// One that could not be written, unless there is newer word.
    pub(crate) fn put_back(&mut self, lease: Lease) {
        if !self.by_mac.contains_key(&lease.mac) {
            self.put(lease);
        }
    }

    /// A lease that was written otherwise meanwhile says more than one that waits.
    pub(crate) fn forget(&mut self, mac: Mac) {
        if self.by_mac.remove(&mac).is_some() {
            self.order.retain(|other| *other != mac);
        }
    }

    /// The one that has waited longest.
    pub(crate) fn take(&mut self) -> Option<Lease> {
        let mac = self.order.pop_front()?;
        self.by_mac.remove(&mac)
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn lease(number: u32, expires: u64) -> Lease {
        let [_, b, c, d] = number.to_be_bytes();
        let mac = Mac::new([2, 0, 0, b, c, d]).unwrap();
        Lease { mac, address: Ipv4Addr::from(0x0a00_0000 + number), start: 0, expires, relay: None }
    }

    #[test]
    fn one_write_waits_for_each_nic_and_a_bounded_number_in_all() {
        let mut later = Later::default();
        for time in 0..10 {
            (0..5000).for_each(|number| later.put(lease(number, time)));
        }
        assert_eq!((later.by_mac.len(), later.order.len()), (MOST, MOST));
        later.forget(lease(0, 0).mac);
        assert_eq!(later.take(), Some(lease(1, 9)), "its last word");
        assert_eq!((later.by_mac.len(), later.len()), (MOST - 2, MOST - 2));
    }
}
