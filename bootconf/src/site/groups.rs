//! Groups: what machines have in common by their names, their NICs or their network, said once for all of them.
//!
//! A machine is in every group of which one word fits it, and what groups give adds up in the order of the file.

use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnetwork::Ipv4Network;
use oneroot_ids::Mac;

use crate::site::gives::Gives;

/// A `[group.NAME]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Who is in it.
    pub members: Members,
    /// What they get.
    pub gives: Gives,
}

/// Who is in a group: whoever one of these fits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    /// Machines by their names.
    pub names: Vec<NamePattern>,
    /// Machines by a NIC, whether the site names them or not.
    pub macs: Vec<MacPattern>,
    /// Machines by the network in which their address is.
    pub networks: Vec<Ipv4Network>,
}

/// A machine's name, in which `*` stands for any number of characters and `?` for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern(String);

/// The first bytes of a MAC address; all six are one NIC's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacPattern(Vec<u8>);

impl Members {
    /// Whether a machine is one of them: by its name, where it has one, its NICs, and the addresses that it has or is given.
    #[must_use]
    pub fn have(&self, name: Option<&str>, macs: &[Mac], addresses: &[Ipv4Addr]) -> bool {
        let named = |name: &str| self.names.iter().any(|pattern| pattern.fits(name));
        name.is_some_and(named)
            || self.macs.iter().any(|pattern| macs.iter().any(|mac| pattern.fits(*mac)))
            || self.networks.iter().any(|network| addresses.iter().any(|at| network.contains(*at)))
    }
}

impl NamePattern {
    /// Whether a name is like it.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        like(self.0.as_bytes(), name.as_bytes(), |wanted, byte| wanted == b'?' || wanted == byte)
    }
}

/// Whether a text is like a pattern, in which `*` stands for any number of characters; `is` says whether another character of
/// the pattern stands for one of the text.
pub(crate) fn like(pattern: &[u8], text: &[u8], is: impl Fn(u8, u8) -> bool) -> bool {
    // Where the last `*` was, and from where in the name it was tried last: to go on from there is enough, so this takes
    // no more steps than the product of both lengths.
    let (mut at, mut tried, mut star) = (0, 0, None);
    while tried < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, tried));
                at += 1;
            }
            Some(wanted) if text.get(tried).is_some_and(|byte| is(*wanted, *byte)) => {
                at += 1;
                tried += 1;
            }
            _ => {
                let Some((place, from)) = star else { return false };
                star = Some((place, from + 1));
                (at, tried) = (place + 1, from + 1);
            }
        }
    }
    pattern.iter().skip(at).all(|rest| *rest == b'*')
}

impl FromStr for NamePattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.*?".contains(&byte);
        let good = !text.is_empty() && text.len() <= 63 && text.bytes().all(allowed);
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(
                "is not like any machine's name: a-z, 0-9, '-' and '.', `*` for any characters and `?` for one",
            )
        }
    }
}

impl MacPattern {
    /// Whether a NIC's address begins so.
    #[must_use]
    pub fn fits(&self, mac: Mac) -> bool {
        mac.bytes().starts_with(&self.0)
    }

    /// Whether all that begin as the other says begin so.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }
}

impl FromStr for MacPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad =
            || format!("{text:?} is not a MAC address or the first bytes of one, such as \"52:54:00:*\"");
        let Some(first) = text.strip_suffix([':', '-', '*']).map(|_| text.trim_end_matches(['*', ':', '-']))
        else {
            return text.parse::<Mac>().map(|mac| Self(mac.bytes().to_vec())).map_err(|_| bad());
        };
        let byte = |digits: &str| {
            let good = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            good.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
        };
        let bytes: Option<Vec<u8>> = first.split([':', '-']).map(byte).collect();
        bytes.filter(|bytes| text.ends_with('*') && (1..6).contains(&bytes.len())).map(Self).ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_number_of_characters_and_a_question_mark_is_one() {
        let fits = |pattern: &str, name: &str| pattern.parse::<NamePattern>().unwrap().fits(name);
        for (pattern, name) in [
            ("seat-*", "seat-01"),
            ("seat-*", "seat-"),
            ("*", "alpha"),
            ("seat-??", "seat-01"),
            ("*-a", "x-a-a"),
            ("r*k*1", "rack1-k1"),
            ("alpha", "alpha"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("seat-*", "seat"),
            ("seat-??", "seat-1"),
            ("alpha", "alpha2"),
            ("a*b", "a"),
            ("?", ""),
            ("*-a", "x-a-b"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
        assert!("Seat*".parse::<NamePattern>().is_err() && "".parse::<NamePattern>().is_err());
        assert!(!fits(&"*a".repeat(31), &"b".repeat(63)), "and it does not take for ever");
    }

    #[test]
    fn a_mac_is_meant_whole_or_by_its_first_bytes() {
        let fits =
            |pattern: &str, mac: &str| pattern.parse::<MacPattern>().unwrap().fits(mac.parse().unwrap());
        assert!(fits("52:54:00:*", "52:54:00:00:00:0a") && fits("52-54-00-*", "52:54:00:00:00:0a"));
        assert!(fits("52:54:00:00:00:0A", "52:54:00:00:00:0a"));
        assert!(!fits("52:54:01:*", "52:54:00:00:00:0a") && !fits("52:54:00:00:00:0b", "52:54:00:00:00:0a"));
        for bad in [
            "",
            "*",
            "52:*:00",
            "52:5:*",
            "52:54:00",
            "52:54:00:",
            "52:54:00*:",
            "52:54:00:00:00:0a:*",
            "zz:*",
        ] {
            assert!(bad.parse::<MacPattern>().is_err(), "{bad}");
        }
    }
}
