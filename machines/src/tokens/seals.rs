//! Seals: what only this site's servers can have made, told by a keyed hash. [`Cookies`] are here; passes are in `boot_tokens.rs`.
//!
//! A cookie is the part of a TFTP name that shows that whoever asks for it has heard us: UDP proves nothing of where a
//! request comes from, so a machine's script there only leads to a name with a cookie, and that name makes a plan.

use std::net::IpAddr;

use oneroot_bootconf::export::SEAL;
use oneroot_ids::{Mac, hex, same};

/// Seconds for which a cookie is good at least, and half of those for which it is at most. iPXE asks for the name within a
/// second of reading it.
const WINDOW: u64 = 60;

/// A keyed hash, cut.
pub fn seal(key: &[u8; 32], message: &str) -> [u8; SEAL] {
    let mut seal = [0; SEAL];
    let hash = blake3::keyed_hash(key, message.as_bytes());
    seal.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
    seal
}

/// Makes cookies and knows its own again.
pub struct Cookies {
    key: [u8; 32],
}

impl Cookies {
    /// `secret` is the handle key: what a restarted or restored server has, so a machine on its way is not sent back.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self { key: blake3::derive_key("oneroot 2026 boot script cookie", secret) }
    }

    /// The cookie of a NIC at an address, at a time in seconds since 1970.
    pub fn make(&self, peer: IpAddr, mac: Mac, now: u64) -> String {
        self.of(peer, mac, now / WINDOW)
    }

    /// Whether this is the cookie that the NIC at this address was told in the last [`WINDOW`] seconds, or shortly before.
    pub fn is_good(&self, cookie: &str, peer: IpAddr, mac: Mac, now: u64) -> bool {
        let windows = [now / WINDOW, (now / WINDOW).saturating_sub(1)];
        let good = |window| same(self.of(peer, mac, window).as_bytes(), cookie.as_bytes());
        // Both are looked at, so how long it takes doesn't tell which of them is like it.
        windows.map(good).contains(&true)
    }

    fn of(&self, peer: IpAddr, mac: Mac, window: u64) -> String {
        let seal = seal(&self.key, &format!("{peer} {mac} {window}"));
        hex(&seal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_790_000_040;

    fn peer(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn mac(last: u8) -> Mac {
        Mac::new([0x52, 0x54, 0, 0, 0, last]).unwrap()
    }

    #[test]
    fn a_cookie_is_good_for_its_address_its_nic_and_its_minute_or_the_next() {
        let cookies = Cookies::new(&[7; 32]);
        let cookie = cookies.make(peer(1), mac(1), NOW);
        for later in 0..=WINDOW {
            assert!(cookies.is_good(&cookie, peer(1), mac(1), NOW + later), "{later} s later");
        }
        assert!(!cookies.is_good(&cookie, peer(1), mac(1), NOW + 2 * WINDOW));
        assert!(!cookies.is_good(&cookie, peer(1), mac(1), NOW - 2 * WINDOW));
        assert!(!cookies.is_good(&cookie, peer(2), mac(1), NOW));
        assert!(!cookies.is_good(&cookie, peer(1), mac(2), NOW));
        assert!(!Cookies::new(&[8; 32]).is_good(&cookie, peer(1), mac(1), NOW));
        assert!(Cookies::new(&[7; 32]).is_good(&cookie, peer(1), mac(1), NOW), "after a restart too");
    }

    #[test]
    fn every_digit_of_a_cookie_counts_and_it_has_one_spelling() {
        let cookies = Cookies::new(&[7; 32]);
        let cookie = cookies.make(peer(1), mac(1), NOW);
        for place in 0..cookie.len() {
            for digit in "0123456789abcdefABCDEF+ ".chars() {
                let mut other: Vec<char> = cookie.chars().collect();
                other[place] = digit;
                let other: String = other.into_iter().collect();
                assert_eq!(cookies.is_good(&other, peer(1), mac(1), NOW), other == cookie, "{other}");
            }
        }
        for other in ["", "0", &cookie[1..], &format!("{cookie}0"), &format!("{cookie}00"), "é"] {
            assert!(!cookies.is_good(other, peer(1), mac(1), NOW), "{other}");
        }
    }
}
