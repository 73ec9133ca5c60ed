//! Names of stored things. Each is a hash, so a name means the same on every server that has the store
//! (docs/decisions/0004): [`ObjectId`] of a file's content, [`GenerationId`] of a logical index, [`ViewId`] of a stack.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An id was not the right number of lower-case hexadecimal digits.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[error("not an id of {expected} hexadecimal digits: {text:?}")]
pub struct BadId {
    /// Digits that an id of this type has.
    pub expected: usize,
    /// What was given, cut to 80 characters.
    pub text: String,
}

fn hex_to<const N: usize>(text: &str) -> Result<[u8; N], BadId> {
    let bad = || BadId { expected: 2 * N, text: text.chars().take(80).collect() };
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return Err(bad());
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return Err(bad()) };
        *byte = value(*high).zip(value(*low)).map(|(high, low)| high << 4 | low).ok_or_else(bad)?;
    }
    Ok(bytes)
}

macro_rules! id {
    ($name:ident, $bytes:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                hex_to(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

id!(ObjectId, 32, "A regular file's content: its BLAKE3 hash.");
id!(GenerationId, 32, "A staged tree: the BLAKE3 hash of its logical index and format version.");
id!(ViewId, 16, "A merged tree: the first 16 bytes of the BLAKE3 hash of its stack object.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_was_printed() {
        let id = ViewId([0, 1, 2, 3, 4, 5, 6, 7, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff]);
        assert_eq!(id.to_string(), "0001020304050607f8f9fafbfcfdfeff");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn an_id_in_any_other_spelling_is_refused() {
        for text in ["", "00", "0001020304050607F8F9FAFBFCFDFEFF", "0001020304050607f8f9fafbfcfdfef/", "é"] {
            assert!(text.parse::<ViewId>().is_err(), "{text:?}");
        }
    }
}
