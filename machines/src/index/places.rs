//! Which NIC is at an address: by a lease of ours, or as far as is known where another server gives them. Each NIC has one
//! address and each address one NIC, so there are never more entries than addresses, whatever NICs come and go.

use std::collections::HashMap;
use std::net::IpAddr;

use oneroot_ids::Mac;

/// Addresses with their NICs.
#[derive(Default)]
pub struct Places {
    macs: HashMap<IpAddr, Mac>,
    addresses: HashMap<Mac, IpAddr>,
}

impl Places {
    /// A NIC is at an address, and nowhere else any more.
    pub fn put(&mut self, address: IpAddr, mac: Mac) {
        if let Some(old) = self.addresses.insert(mac, address)
            && self.macs.get(&old) == Some(&mac)
        {
            self.macs.remove(&old);
        }
        if let Some(before) = self.macs.insert(address, mac)
            && before != mac
            && self.addresses.get(&before) == Some(&address)
        {
            self.addresses.remove(&before);
        }
    }

    /// The NIC that is at an address.
    pub fn mac(&self, address: IpAddr) -> Option<Mac> {
        self.macs.get(&address).copied()
    }

    /// The address that a NIC is at.
    pub fn address(&self, mac: Mac) -> Option<IpAddr> {
        self.addresses.get(&mac).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nics_that_come_and_go_are_remembered_only_as_far_as_there_are_addresses() {
        let mut places = Places::default();
        let mac = |number: u8| Mac::new([2, 0, 0, 0, 0, number]).unwrap();
        for number in 1..=200 {
            places.put(IpAddr::from([10, 0, 0, number % 2]), mac(number));
        }
        assert_eq!((places.addresses.len(), places.macs.len()), (2, 2));
        let has = |number| places.address(mac(number)).is_some();
        assert!(has(200) && has(199) && !has(198));
        places.put(IpAddr::from([10, 0, 0, 1]), mac(200));
        assert_eq!(places.mac(IpAddr::from([10, 0, 0, 0])), None, "it has moved");
        assert_eq!((places.addresses.len(), places.macs.len()), (1, 1));
    }
}
