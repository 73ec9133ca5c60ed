//! Who a machine is: the MAC finds it, the machine id stays with it (design.md, "Identity").

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A text that is no MAC address, machine id or boot id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}")]
pub struct BadIdentity {
    what: &'static str,
    text: String,
}

/// An Ethernet address of one machine: not zero, not a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

impl Mac {
    /// `None` for the zero address and for group addresses, which no machine has.
    #[must_use]
    pub fn new(bytes: [u8; 6]) -> Option<Self> {
        let group = bytes.first().is_some_and(|first| first & 1 == 1);
        (bytes != [0; 6] && !group).then_some(Self(bytes))
    }

    /// Its six bytes.
    #[must_use]
    pub fn bytes(self) -> [u8; 6] {
        self.0
    }

    /// `52-54-00-00-00-0a`, as file names and `BOOTIF` have it.
    #[must_use]
    pub fn dashed(self) -> String {
        self.to_string().replace(':', "-")
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = BadIdentity;

    /// Six pairs of digits with `:`, with `-`, or with nothing between them.
    fn from_str(text: &str) -> Result<Self, BadIdentity> {
        let bad =
            || BadIdentity { what: "a machine's MAC address, such as 52:54:00:12:34:56", text: shown(text) };
        let separated = [b':', b'-'].iter().any(|separator| {
            text.len() == 17 && text.bytes().skip(2).step_by(3).all(|byte| byte == *separator)
        });
        let digits: String = if separated { text.replace([':', '-'], "") } else { text.to_owned() };
        unhex::<6>(&digits).and_then(Self::new).ok_or_else(bad)
    }
}

fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

macro_rules! hex_id {
    ($name:ident, $len:literal, $what:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl FromStr for $name {
            type Err = BadIdentity;
            fn from_str(text: &str) -> Result<Self, BadIdentity> {
                unhex(text).map(Self).ok_or_else(|| BadIdentity { what: $what, text: shown(text) })
            }
        }
    };
}

/// A machine, for as long as its records live: it survives adoption, a new name, and a replaced NIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineId([u8; 16]);

impl MachineId {
    /// Made at first sight from random bytes. It serves as the machine's systemd machine-id too, which has to look like
    /// a version 4 UUID (machine-id(5)).
    #[must_use]
    pub fn from_random(mut random: [u8; 16]) -> Self {
        if let Some(version) = random.get_mut(6) {
            *version = *version & 0x0f | 0x40;
        }
        if let Some(variant) = random.get_mut(8) {
            *variant = *variant & 0x3f | 0x80;
        }
        Self(random)
    }
}

/// One boot of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId([u8; 8]);

impl BootId {
    /// Made from random bytes when the boot script is fetched.
    #[must_use]
    pub fn from_random(random: [u8; 8]) -> Self {
        Self(random)
    }
}

hex_id!(MachineId, 16, "a machine id of 32 hexadecimal digits");
hex_id!(BootId, 8, "a boot id of 16 hexadecimal digits");

macro_rules! text_serde {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                std::borrow::Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

text_serde!(Mac, MachineId, BootId);

/// What is remembered of a machine, durably, from the first packet on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineRecord {
    /// Its id.
    pub id: MachineId,
    /// Every address that it was seen with or that the site gives it.
    pub macs: Vec<Mac>,
    /// The name that the site gives it; none for an unknown machine.
    pub name: Option<String>,
    /// Seconds since 1970.
    pub first_seen: u64,
}

/// The record for a machine that shows `mac`, and whether it has to be written.
///
/// `site` is the site's name for the MAC and all MACs of that machine; `known` are all records. A record that has the
/// MAC is the machine. Else one with the site's name is: its NIC was replaced. Else it is new.
pub fn recognise<'r>(
    mac: Mac,
    site: Option<(&str, &[Mac])>,
    known: impl IntoIterator<Item = &'r MachineRecord>,
    fresh: MachineId,
    now: u64,
) -> (MachineRecord, bool) {
    let (mut by_mac, mut by_name) = (None, None);
    for record in known {
        if record.macs.contains(&mac) {
            by_mac = Some(record);
        }
        if site.is_some_and(|(name, macs)| {
            record.name.as_deref() == Some(name) || record.macs.iter().any(|known| macs.contains(known))
        }) {
            by_name = Some(record);
        }
    }
    let old = by_mac.or(by_name);
    let mut record =
        old.cloned().unwrap_or(MachineRecord { id: fresh, macs: Vec::new(), name: None, first_seen: now });
    for mac in site.map_or(&[][..], |(_, macs)| macs).iter().chain([&mac]) {
        if !record.macs.contains(mac) {
            record.macs.push(*mac);
        }
    }
    if let Some((name, _)) = site {
        record.name = Some(name.to_owned());
    }
    let changed = old != Some(&record);
    (record, changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(last: u8) -> Mac {
        Mac::new([0x52, 0x54, 0, 0, 0, last]).unwrap()
    }

    #[test]
    fn every_spelling_of_a_mac_is_the_same_mac() {
        for text in ["52:54:00:AB:cd:ef", "52-54-00-ab-cd-ef", "525400abcdef"] {
            assert_eq!(text.parse::<Mac>().unwrap().to_string(), "52:54:00:ab:cd:ef");
        }
        for text in [
            "",
            "52:54:00:ab:cd",
            "52:54-00:ab:cd:ef",
            "00:00:00:00:00:00",
            "ff:ff:ff:ff:ff:ff",
            "01:00:5e:00:00:01",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_replaced_nic_keeps_the_machine() {
        let first = MachineId::from_random([1; 16]);
        let (old, new) = recognise(mac(1), Some(("alpha", &[mac(1)])), [], first, 7);
        assert!(new);
        let (same, changed) =
            recognise(mac(2), Some(("alpha", &[mac(2)])), [&old], MachineId::from_random([2; 16]), 8);
        assert!(changed);
        assert_eq!(same.id, first);
        assert_eq!(same.macs, [mac(1), mac(2)]);
    }

    #[test]
    fn two_nics_of_one_machine_share_its_record() {
        let both = [mac(1), mac(2)];
        let (first, _) = recognise(mac(1), Some(("alpha", &both)), [], MachineId::from_random([1; 16]), 7);
        let (again, changed) =
            recognise(mac(2), Some(("alpha", &both)), [&first], MachineId::from_random([2; 16]), 8);
        assert_eq!((again.id, changed), (first.id, false));
    }

    #[test]
    fn an_unknown_machine_that_gets_a_name_keeps_its_id() {
        let (seen, _) = recognise(mac(1), None, [], MachineId::from_random([1; 16]), 7);
        let (named, _) =
            recognise(mac(1), Some(("alpha", &[mac(1)])), [&seen], MachineId::from_random([2; 16]), 8);
        assert_eq!((named.id, named.first_seen), (seen.id, 7));
    }
}
