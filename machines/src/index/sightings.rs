//! What is told of each NIC that wants to boot: by DHCP, and by iPXE in its request for a script. Claims, kept in memory: who
//! decides by them freezes them in the boot's plan.
//!
//! Anybody's request adds to it, so it has a lock of its own and a bound: there is room for [`MOST`], and for one more the one goes
//! that was heard of longest ago; first among those that have sent nothing but datagrams, which anybody can send in any name.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use oneroot_bootconf::hardware::{Claims, Hardware};
use oneroot_ids::Mac;
use serde::{Deserialize, Serialize};

/// NICs that are remembered.
const MOST: usize = 20_000;
/// Seconds of silence after which a sign counts as another time that it was there.
const APART: u64 = 60;

/// What is known of a NIC that has wanted to boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// The NIC.
    pub mac: Mac,
    /// Its machine's name, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether the site names it, or somebody has adopted it.
    pub named: bool,
    /// From where it asked last, where it has asked for a script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// What is told of it.
    #[serde(flatten)]
    pub claims: Claims,
    /// When it was first heard of since the server started, seconds since 1970.
    pub first: u64,
    /// And last.
    pub last: u64,
    /// How often it was there: signs less than a minute apart are one time.
    pub times: u64,
}

/// One NIC, by site time.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// What DHCP says; none where nothing of it was heard since the server started.
    heard: Option<Claims>,
    /// What iPXE has said of its hardware.
    told: Hardware,
    pub address: Option<IpAddr>,
    pub first: u64,
    pub last: u64,
    pub times: u64,
    place: Place,
}

/// Who goes first: by datagrams alone, then by age.
type Place = (bool, u64, Option<Mac>);

/// All of them.
#[derive(Default)]
pub struct Sightings {
    seen: HashMap<Mac, Seen>,
    places: BTreeSet<Place>,
    turn: u64,
}

impl Sightings {
    /// A NIC wants to boot, by a DHCP message.
    pub fn heard(&mut self, mac: Mac, claims: Claims, now: u64) {
        self.note(mac, now, |seen| seen.heard = Some(claims));
    }

    /// It asks for its script, and may say this.
    pub fn told(&mut self, mac: Mac, address: IpAddr, told: Option<Hardware>, now: u64) {
        self.note(mac, now, |seen| {
            seen.address = Some(address);
            told.into_iter().for_each(|told| seen.told = told);
        });
    }

    fn note(&mut self, mac: Mac, now: u64, change: impl FnOnce(&mut Seen)) {
        if !self.seen.contains_key(&mac)
            && self.seen.len() >= MOST
            && let Some((_, _, Some(gone))) = self.places.pop_first()
        {
            self.seen.remove(&gone);
        }
        self.turn += 1;
        let seen = self.seen.entry(mac).or_insert_with(|| Seen { first: now, ..Seen::default() });
        change(seen);
        if seen.times == 0 || now.saturating_sub(seen.last) > APART {
            seen.times += 1;
        }
        seen.last = now;
        self.places.remove(&seen.place);
        // By turns and not by time, for many NICs are heard of in one second.
        seen.place = (seen.address.is_some(), self.turn, Some(mac));
        self.places.insert(seen.place);
    }

    /// What is told of a NIC, by DHCP and, in place of what iPXE has said, by `told`. Of what DHCP says nobody knows any more
    /// after a restart of the server; then what `before` has of that counts, the facts of its last boot.
    pub fn claims(&self, mac: Mac, told: Option<Hardware>, before: Option<Claims>) -> Claims {
        let seen = self.seen.get(&mac);
        let told = told.or_else(|| Some(seen?.told.clone())).unwrap_or_default();
        let heard = match (seen.and_then(|seen| seen.heard.clone()), before) {
            (Some(heard), _) => heard,
            (None, Some(before)) if told == Hardware::default() => before,
            // What iPXE tells now is all that it tells, so of the last boot only DHCP's part fills in.
            (None, Some(before)) => Claims { hardware: before.hardware.of_dhcp(), ..before },
            (None, None) => Claims::default(),
        };
        Claims { hardware: told.or(heard.hardware), location: heard.location, ..Claims::default() }
    }

    /// One NIC.
    pub fn all_of(&self, mac: Mac) -> Option<&Seen> {
        self.seen.get(&mac)
    }

    /// Every NIC.
    pub fn all(&self) -> impl Iterator<Item = (Mac, &Seen)> {
        self.seen.iter().map(|(mac, seen)| (*mac, seen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oneroot_bootconf::hardware::{Firmware, Location, Told};

    fn mac(number: u32) -> Mac {
        let [a, b, c, d] = number.to_be_bytes();
        Mac::new([2, 0, a, b, c, d]).unwrap()
    }

    fn product(name: &str) -> Hardware {
        Hardware { product: Told::of(name.as_bytes()), ..Hardware::default() }
    }

    fn class(name: &str) -> Claims {
        let hardware = Hardware {
            vendor_class: Told::of(name.as_bytes()),
            firmware: Some(Firmware::Bios),
            ..Hardware::default()
        };
        let location = Location { interface: Told::of(b"lan"), ..Location::default() };
        Claims { hardware, location, ..Claims::default() }
    }

    #[test]
    fn made_up_macs_push_each_other_out_and_nobody_who_has_asked_for_a_script() {
        let mut sightings = Sightings::default();
        sightings.told(mac(1), [10, 0, 0, 1].into(), Some(product("X1")), 5);
        for number in 2..=u32::try_from(2 * MOST).unwrap() {
            sightings.heard(mac(number), class("PXEClient"), 6);
        }
        assert_eq!((sightings.seen.len(), sightings.places.len()), (MOST, MOST));
        assert!(sightings.seen.contains_key(&mac(1)));
        assert!(!sightings.seen.contains_key(&mac(2)), "the one of longest ago has gone");
        assert!(sightings.seen.contains_key(&mac(u32::try_from(2 * MOST).unwrap())));
    }

    #[test]
    fn signs_less_than_a_minute_apart_are_one_time() {
        let mut sightings = Sightings::default();
        for now in [100, 130, 160, 400, 90, 300] {
            sightings.heard(mac(1), class("PXEClient"), now);
        }
        let (_, seen) = sightings.all().next().unwrap();
        assert_eq!((seen.first, seen.last, seen.times), (100, 300, 3));
    }

    #[test]
    fn what_ipxe_says_counts_before_what_dhcp_says_and_a_new_word_replaces_all_of_the_old() {
        let mut sightings = Sightings::default();
        sightings.heard(mac(1), class("PXEClient"), 1);
        let both = Hardware { serial: Told::of(b"S"), firmware: Some(Firmware::Uefi), ..product("X1") };
        sightings.told(mac(1), [10, 0, 0, 1].into(), Some(both.clone()), 2);
        let claims = sightings.claims(mac(1), None, None);
        assert_eq!(claims.hardware, Hardware { vendor_class: Told::of(b"PXEClient"), ..both });
        assert_eq!(claims.location.interface, Told::of(b"lan"));
        let claims = sightings.claims(mac(1), Some(product("X2")), None);
        assert_eq!((claims.hardware.product, claims.hardware.serial), (Told::of(b"X2"), None));
        assert_eq!(claims.hardware.firmware, Some(Firmware::Bios));
    }

    #[test]
    fn after_a_restart_what_dhcp_said_at_the_last_boot_counts_and_what_ipxe_said_then_does_not() {
        let sightings = Sightings::default();
        let mut before = class("PXEClient");
        before.hardware.product = Told::of(b"X1");
        assert_eq!(sightings.claims(mac(1), None, Some(before.clone())), before, "it was not asked");
        let claims = sightings.claims(mac(1), Some(product("X2")), Some(before.clone()));
        assert_eq!(claims.hardware, product("X2").or(before.hardware.clone().of_dhcp()));
        assert_eq!(claims.location, before.location);
        let nothing = sightings.claims(
            mac(1),
            Some(Hardware { serial: Told::of(b"S"), ..Hardware::default() }),
            Some(before),
        );
        assert_eq!(nothing.hardware.product, None);
    }
}
