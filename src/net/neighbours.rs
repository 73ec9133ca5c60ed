//! The kernel's neighbour table: which hardware address an IPv4 neighbour was last seen with (arp(7)).
//!
//! A hint and no proof: anybody on the segment can fill it with anything.

use std::net::IpAddr;

use super::routing::Routing;

/// The hardware address of a neighbour; `None` for what is none, or has not been heard yet.
pub fn mac_of(address: IpAddr) -> Option<[u8; 6]> {
    let IpAddr::V4(address) = address else { return None };
    let found = Routing::open().and_then(|routing| routing.neighbour(address));
    found.inspect_err(|cause| tracing::debug!(%address, %cause, "cannot ask for a neighbour")).ok()?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::probe::tests::{HOST, MAC, NOBODY, host};
    use oneroot_testkit::{Lab, ip};
    use std::net::UdpSocket;

    /// Whether the neighbour is found once the kernel had a reason to ask for it.
    fn found(address: IpAddr) -> Option<[u8; 6]> {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        (0..40).find_map(|_| {
            socket.send_to(b"?", (address, 9)).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(50));
            mac_of(address)
        })
    }

    #[test]
    fn a_neighbour_that_was_heard_is_found_on_an_interface_that_was_made_again_too() {
        let lab = Lab::new().unwrap();
        {
            let _host = host(&lab, "lab0", HOST);
            assert_eq!(mac_of(HOST.into()), None, "nobody has asked for it yet");
            assert_eq!(found(HOST.into()), Some(MAC));
        }
        assert_eq!(found(NOBODY.into()), None, "asked for, and never answered");
        assert_eq!(mac_of([192, 168, 77, 1].into()), None, "ourselves");
        assert_eq!(mac_of([10, 1, 2, 3].into()), None, "no way there");
        ip("link del lab0").unwrap();
        assert_eq!(mac_of(HOST.into()), None);
        lab.switch("lab0", "192.168.77.1/24").unwrap();
        let _host = host(&lab, "lab0", HOST);
        assert_eq!(found(HOST.into()), Some(MAC));
    }
}
