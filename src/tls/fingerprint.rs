//! What a certificate is known by where no authority vouches for it: the SHA-256 of its DER form.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// SHA-256 of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Of a certificate in DER.
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl fmt::Display for Fingerprint {
    /// As `openssl x509 -fingerprint -sha256` writes it, so that both can be compared by eye.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            let colon = if place == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    /// With or without colons, in either case, and as openssl writes the whole line.
    fn from_str(text: &str) -> Result<Self, NoFingerprint> {
        let digits = text.trim().rsplit('=').next().unwrap_or_default();
        let digits: Vec<u8> = digits.bytes().filter(|byte| *byte != b':').collect();
        let (mut bytes, mut pairs) = ([0; 32], digits.chunks_exact(2));
        if digits.len() != 64 {
            return Err(NoFingerprint);
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs.by_ref()) {
            let text =
                str::from_utf8(pair).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
            *byte = text.and_then(|text| u8::from_str_radix(text, 16).ok()).ok_or(NoFingerprint)?;
        }
        Ok(Self(bytes))
    }
}

/// What is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoFingerprint;

impl fmt::Display for NoFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no SHA-256 fingerprint: that is 64 hexadecimal digits, with or without colons, as `oneroot status` shows it",
        )
    }
}

impl std::error::Error for NoFingerprint {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_in_each_way_that_people_write_it() {
        let one = Fingerprint::of(b"");
        let shown = one.to_string();
        assert!(shown.starts_with("E3:B0:C4:42:98:FC:1C:14:"), "{shown}");
        let plain = shown.replace(':', "").to_lowercase();
        for text in [&shown, &plain, &format!(" sha256 Fingerprint={shown}\n")] {
            assert_eq!(text.parse(), Ok(one), "{text}");
        }
        for text in [
            "",
            "E3",
            &plain[1..],
            &format!("{plain}00"),
            &plain.replace('b', "g"),
            &plain.replace("e3", "+3"),
        ] {
            assert_eq!(text.parse::<Fingerprint>(), Err(NoFingerprint), "{text}");
        }
    }
}
