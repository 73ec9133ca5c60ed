//! The secret of an access token: 256 bits that nobody can guess, which its owner has and the server does not keep.
//!
//! What is kept is its BLAKE3 hash. One without salt or stretching is enough: there is no dictionary of 256 random bits.

use std::fmt;
use std::str::FromStr;

use oneroot_ids::{hex, same};
use serde::{Deserialize, Serialize};

/// What each begins with, so that programs that look for leaked secrets find one.
const PREFIX: &str = "oneroot_";
/// Its bytes.
const BYTES: usize = 32;

/// A secret. Neither `Debug` nor serde write it: it is shown once, by [`Secret::reveal`].
#[derive(Clone)]
pub struct Secret([u8; BYTES]);

impl Secret {
    /// Of bytes that nobody can guess.
    pub fn from_random(bytes: [u8; BYTES]) -> Self {
        Self(bytes)
    }

    /// As its owner gets it.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", hex(&self.0))
    }

    /// As it is kept.
    pub fn hash(&self) -> SecretHash {
        SecretHash(blake3::hash(&self.0).to_hex().to_string())
    }
}

impl FromStr for Secret {
    type Err = ();

    /// It has one spelling.
    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.strip_prefix(PREFIX).ok_or(())?.as_bytes();
        if digits.len() != 2 * BYTES {
            return Err(());
        }
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(()),
        };
        let mut bytes = [0; BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            if let [high, low] = pair {
                *byte = value(*high)? << 4 | value(*low)?;
            }
        }
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The hash of a secret, in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretHash(String);

impl SecretHash {
    /// Whether it is this secret's. It takes as long whichever it is.
    pub fn is_of(&self, other: &Self) -> bool {
        same(self.0.as_bytes(), other.0.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_one_spelling_and_every_digit_of_it_counts() {
        let secret = Secret::from_random(std::array::from_fn(|at| u8::try_from(at * 7 % 256).unwrap()));
        let (text, hash) = (secret.reveal(), secret.hash());
        assert!(text.starts_with("oneroot_00070e15") && text.len() == 8 + 64, "{text}");
        assert!(text.parse::<Secret>().unwrap().hash().is_of(&hash));
        for place in PREFIX.len()..text.len() {
            for digit in "0123456789abcdefABCDEF_g ".chars() {
                let mut other: Vec<char> = text.chars().collect();
                other[place] = digit;
                let other: String = other.into_iter().collect();
                let is_same = other.parse::<Secret>().is_ok_and(|other| other.hash().is_of(&hash));
                assert_eq!(is_same, other == text, "{other}");
            }
        }
        for other in [
            "",
            "oneroot_",
            &text[1..],
            &format!("{text}0"),
            &format!(" {text}"),
            &text.replace("oneroot_", ""),
        ] {
            assert!(other.parse::<Secret>().is_err(), "{other}");
        }
    }

    #[test]
    fn a_secret_is_in_no_debug_output_and_in_nothing_that_is_kept() {
        let secret = Secret::from_random([0xab; 32]);
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        let kept = format!("{:?} {}", secret.hash(), serde_json::to_string(&secret.hash()).unwrap());
        assert!(!kept.contains("abab"), "{kept}");
    }
}
