//! How a secret is kept: sealed with ChaCha20-Poly1305 (RFC 8439) by a key of the site, which lies in a file of its own. Whoever
//! has a backup of the state alone has no secret of any machine.
//!
//! Machine and name are sealed with it, so a record that somebody has moved to another machine opens for none.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// Bytes of the key.
pub const KEY: usize = 32;
/// Random bytes for each secret that is sealed. A site seals thousands, and so may draw them: two alike come after 2^48.
pub(crate) const ONCE: usize = NONCE_LEN;

/// The key.
pub struct SiteSeal(LessSafeKey);

/// It says nothing of itself.
impl fmt::Debug for SiteSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SiteSeal")
    }
}

impl SiteSeal {
    /// Of random bytes that were kept. None where the library takes no such key, which it does.
    #[must_use]
    pub fn of(key: &[u8; KEY]) -> Option<Self> {
        Some(Self(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).ok()?)))
    }

    /// A machine's secret, sealed with bytes that were never used for another one; as text.
    pub(crate) fn seal(&self, machine: &str, name: &str, once: [u8; ONCE], plain: &[u8]) -> Option<String> {
        let mut bytes = plain.to_vec();
        let nonce = Nonce::assume_unique_for_key(once);
        self.0.seal_in_place_append_tag(nonce, Aad::from(whose(machine, name)), &mut bytes).ok()?;
        Some(STANDARD.encode([&once[..], &bytes].concat()))
    }

    /// What [`Self::seal`] has sealed; none where that was another key, for another machine or by another name.
    pub(crate) fn open(&self, machine: &str, name: &str, sealed: &str) -> Option<Vec<u8>> {
        let bytes = STANDARD.decode(sealed).ok()?;
        let (once, sealed) = bytes.split_first_chunk::<ONCE>()?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*once);
        let plain = self.0.open_in_place(nonce, Aad::from(whose(machine, name)), &mut sealed).ok()?;
        Some(plain.to_vec())
    }
}

/// Neither has a line break in it.
fn whose(machine: &str, name: &str) -> Vec<u8> {
    format!("{machine}\n{name}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_for_its_machine_by_its_name_and_its_key_and_no_other() {
        let (seal, other) = (SiteSeal::of(&[1; KEY]).unwrap(), SiteSeal::of(&[2; KEY]).unwrap());
        let sealed = seal.seal("alpha", "token", [7; ONCE], b"not told").unwrap();
        assert_eq!(seal.open("alpha", "token", &sealed).unwrap(), b"not told");
        assert!(!STANDARD.decode(&sealed).unwrap().windows(8).any(|bytes| bytes == b"not told"));
        assert!(seal.open("beta", "token", &sealed).is_none());
        assert!(seal.open("alpha", "key", &sealed).is_none());
        assert!(other.open("alpha", "token", &sealed).is_none());
        for cut in [0, 5, ONCE, sealed.len() - 4] {
            assert!(seal.open("alpha", "token", sealed.get(..cut).unwrap()).is_none(), "{cut}");
        }
        let mut changed = STANDARD.decode(&sealed).unwrap();
        *changed.last_mut().unwrap() ^= 1;
        assert!(seal.open("alpha", "token", &STANDARD.encode(changed)).is_none());
    }
}
