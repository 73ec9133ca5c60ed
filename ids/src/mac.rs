//! Ethernet addresses of NICs: what finds a machine, from its firmware to the system that it runs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::BadId;
use crate::text::{parsed, unhex};

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
        // In one piece: it is written some ten times for each lease, and the formatting of six numbers takes ten times as long.
        let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' - 10 + value };
        let mut text = [b':'; 17];
        for (place, byte) in text.chunks_mut(3).zip(self.0) {
            if let [high, low, ..] = place {
                (*high, *low) = (digit(byte >> 4), digit(byte & 15));
            }
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Mac {
    type Err = BadId;

    /// Six pairs of digits with `:`, with `-`, or with nothing between them; with `:`, a leading zero may be missing, as
    /// Solaris and BSD print it; three groups of four with `.`, as switches do.
    fn from_str(text: &str) -> Result<Self, BadId> {
        let bad = || BadId::new("a machine's MAC address, such as 52:54:00:12:34:56", text);
        let groups = |separator: char, count: usize, digits: std::ops::RangeInclusive<usize>| {
            let each = || text.split(separator);
            let good = each().count() == count && each().all(|group| digits.contains(&group.len()));
            good.then(|| {
                each().map(|group| format!("{group:0>width$}", width = *digits.end())).collect::<String>()
            })
        };
        let digits =
            groups(':', 6, 1..=2).or_else(|| groups('-', 6, 2..=2)).or_else(|| groups('.', 3, 4..=4));
        unhex::<6>(digits.as_deref().unwrap_or(text)).and_then(Self::new).ok_or_else(bad)
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
