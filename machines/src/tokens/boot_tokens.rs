//! Boot tokens (docs/decisions/0006): the keyed hash in an export's path, where no lease says who is at an address.

use oneroot_bootconf::export::SEAL;
use oneroot_ids::{BootId, ViewId, same};

use crate::tokens::seals::seal;

/// Makes them and knows its own again.
pub struct BootTokens {
    /// Of these the first makes; all of them are known again.
    keys: Vec<[u8; 32]>,
}

impl BootTokens {
    /// `secrets` are the handle keys, the current one first: what a restored or shared state has, so tokens outlive the server
    /// that made them, and its key.
    pub fn new<'s>(secrets: impl IntoIterator<Item = &'s [u8; 32]>) -> Self {
        let key = |secret: &[u8; 32]| blake3::derive_key("oneroot 2026 export pass", secret);
        Self { keys: secrets.into_iter().map(key).collect() }
    }

    /// The seal of a boot and its view.
    pub fn make(&self, boot: BootId, view: ViewId) -> [u8; SEAL] {
        // There is always one: a state without keys is given the first.
        seal(&self.keys.first().copied().unwrap_or_default(), &format!("{boot}.{view}"))
    }

    /// Whether a seal is one of ours for them.
    pub fn is_good(&self, seal: [u8; SEAL], boot: BootId, view: ViewId) -> bool {
        let message = format!("{boot}.{view}");
        self.keys.iter().any(|key| same(&crate::tokens::seals::seal(key, &message), &seal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_good_for_its_boot_and_view_and_every_bit_of_it_counts() {
        let boot_tokens = BootTokens::new([&[7; 32]]);
        let (boot, view) = (BootId::from_random([1; 8]), ViewId([2; 16]));
        let seal = boot_tokens.make(boot, view);
        assert!(boot_tokens.is_good(seal, boot, view));
        assert!(!boot_tokens.is_good(seal, boot, ViewId([3; 16])));
        assert!(!boot_tokens.is_good(seal, BootId::from_random([9; 8]), view));
        assert!(!BootTokens::new([&[8; 32]]).is_good(seal, boot, view));
        let rotated = BootTokens::new([&[8; 32], &[7; 32]]);
        assert!(
            rotated.is_good(seal, boot, view) && rotated.make(boot, view) != seal,
            "an old key's is known"
        );
        for bit in 0..SEAL * 8 {
            let mut forged = seal;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(!boot_tokens.is_good(forged, boot, view), "bit {bit}");
        }
    }
}
