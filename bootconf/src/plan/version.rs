//! Names with versions in them, as `/boot` has them: which is newer, and which fit a pattern.
//!
//! The order is dpkg's (deb-version(7)): runs of digits as numbers; `~` before everything, the end included; letters
//! before all other characters. It puts `6.1.0-9` before `6.1.0-10` and `6.9~rc1` before `6.9`.

use std::cmp::Ordering;

/// Compares two names by the versions in them.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        let (word_a, rest_a) = split(a, |byte| !byte.is_ascii_digit());
        let (word_b, rest_b) = split(b, |byte| !byte.is_ascii_digit());
        let (number_a, left_a) = split(rest_a, u8::is_ascii_digit);
        let (number_b, left_b) = split(rest_b, u8::is_ascii_digit);
        let order = words(word_a, word_b).then_with(|| numbers(number_a, number_b));
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (left_a, left_b);
    }
    Ordering::Equal
}

fn split(text: &[u8], belongs: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !belongs(byte)).unwrap_or(text.len());
    text.split_at(end)
}

fn words(a: &[u8], b: &[u8]) -> Ordering {
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    };
    let longer = a.len().max(b.len());
    let pairs = (0..longer).map(|place| weight(a.get(place)).cmp(&weight(b.get(place))));
    pairs.into_iter().find(|order| *order != Ordering::Equal).unwrap_or(Ordering::Equal)
}

/// Numbers of any length: without leading zeros the longer one is greater.
fn numbers(a: &[u8], b: &[u8]) -> Ordering {
    let (_, a) = split(a, |byte| *byte == b'0');
    let (_, b) = split(b, |byte| *byte == b'0');
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// Whether a path has a pattern in it: `*` stands for any characters, `/` excepted.
pub(crate) fn is_pattern(path: &str) -> bool {
    path.contains('*')
}

/// Whether a file name fits a pattern.
pub(crate) fn fits(name: &str, pattern: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return name == pattern };
    let Some(mut name) = name.strip_prefix(start) else { return false };
    // The shortest match of each middle part leaves most for the rest, so there is no going back.
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, after)) = name.split_once(part) else { return false };
        name = after;
    }
    name.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_dpkg_orders_them() {
        let ascending = [
            "vmlinuz-0-rescue",
            "vmlinuz-6.1~rc1",
            "vmlinuz-6.1",
            "vmlinuz-6.1.0-9-amd64",
            "vmlinuz-6.1.0-10-amd64",
            "vmlinuz-6.1.0-10-rt",
            "vmlinuz-6.10.0-1-amd64",
            "vmlinuz-10.0",
            "vmlinuz-99999999999999999999999999.0",
        ];
        for (place, older) in ascending.iter().enumerate() {
            assert_eq!(compare(older, older), Ordering::Equal);
            for newer in ascending.iter().skip(place + 1) {
                assert_eq!(compare(older, newer), Ordering::Less, "{older} < {newer}");
                assert_eq!(compare(newer, older), Ordering::Greater, "{newer} > {older}");
            }
        }
        assert_eq!(compare("a-007", "a-7"), Ordering::Equal);
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (name, pattern) in [
            ("vmlinuz-6.1", "vmlinuz-*"),
            ("vmlinuz-", "vmlinuz-*"),
            ("vmlinuz-6.1-rt-amd64", "vmlinuz-*-rt-*"),
            ("x", "*"),
            ("abab", "*ab"),
        ] {
            assert!(fits(name, pattern), "{name} {pattern}");
        }
        for (name, pattern) in
            [("vmlinux-6.1", "vmlinuz-*"), ("vmlinuz-6.1", "vmlinuz"), ("ab", "*ab*ab"), ("a", "a*a")]
        {
            assert!(!fits(name, pattern), "{name} {pattern}");
        }
    }
}
