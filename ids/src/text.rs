//! How ids are written: hexadecimal digits, in lower case.

use serde::{Deserialize, Deserializer};

/// A text that is no id of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}")]
pub struct BadId {
    what: &'static str,
    text: String,
}

impl BadId {
    /// Keeps 80 characters of `text`: it may be a peer's.
    pub(crate) fn new(what: &'static str, text: &str) -> Self {
        Self { what, text: text.chars().take(80).collect() }
    }
}

/// The bytes as lower-case digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    ::hex::encode(bytes)
}

/// The bytes that `2 * N` digits in either case stand for.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    ::hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

/// Whether two secrets are the same. It takes as long for any two of one length, so that time tells nobody how far a
/// guess was right.
#[must_use]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    constant_time_eq::constant_time_eq(a, b)
}

/// Reads an id from its text, whatever format holds it.
pub(crate) fn parsed<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: std::str::FromStr<Err = BadId>,
    D: Deserializer<'de>,
{
    std::borrow::Cow::<str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

/// A name of `$bytes` bytes, written as hexadecimal digits. In the state and in paths it has one spelling, the lower-case
/// one: two spellings of one name would be two keys.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident([u8; $bytes:literal]), $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&$crate::hex(&self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::BadId;

            fn from_str(text: &str) -> Result<Self, $crate::BadId> {
                let one_spelling = !text.bytes().any(|byte| byte.is_ascii_uppercase());
                let bytes = one_spelling.then(|| $crate::text::unhex(text)).flatten();
                bytes.map(Self).ok_or_else(|| $crate::BadId::new($what, text))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::text::parsed(deserializer)
            }
        }
    };
}

pub(crate) use id;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_bytes_of_the_same_length_are_the_same() {
        assert!(same(b"", b"") && same(b"seal", b"seal"));
        assert!(!same(b"seal", b"sea") && !same(b"sea", b"seal") && !same(b"seal", b"sEal"));
    }

    #[test]
    fn a_peers_text_is_quoted_and_cut() {
        let told = BadId::new("a view id", &format!("\u{1b}[2J{}", "x".repeat(1000))).to_string();
        assert!(told.starts_with("\"\\u{1b}[2J") && told.len() < 120, "{told}");
    }
}
