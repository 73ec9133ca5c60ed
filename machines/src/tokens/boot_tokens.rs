//! Boot tokens, which docs/decisions/0006 calls passes: the keyed hash in an export's path, where no lease says who is at an address.

use oneroot_bootconf::export::SEAL;
use oneroot_ids::{BootId, ViewId, same};

use crate::tokens::seals::seal;

/// Makes passes and knows its own again.
pub struct BootTokens {
    key: [u8; 32],
}

impl BootTokens {
    /// `secret` is the handle key: what a restored or shared state has, so passes outlive the server that made them.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self { key: blake3::derive_key("oneroot 2026 export pass", secret) }
    }

    /// The seal of a boot and its view.
    pub fn make(&self, boot: BootId, view: ViewId) -> [u8; SEAL] {
        seal(&self.key, &format!("{boot}.{view}"))
    }

    /// Whether a seal is one of ours for them.
    pub fn is_good(&self, seal: [u8; SEAL], boot: BootId, view: ViewId) -> bool {
        same(&self.make(boot, view), &seal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_good_for_its_boot_and_view_and_every_bit_of_it_counts() {
        let boot_tokens = BootTokens::new(&[7; 32]);
        let (boot, view) = (BootId::from_random([1; 8]), ViewId([2; 16]));
        let seal = boot_tokens.make(boot, view);
        assert!(boot_tokens.is_good(seal, boot, view));
        assert!(!boot_tokens.is_good(seal, boot, ViewId([3; 16])));
        assert!(!boot_tokens.is_good(seal, BootId::from_random([9; 8]), view));
        assert!(!BootTokens::new(&[8; 32]).is_good(seal, boot, view));
        for bit in 0..SEAL * 8 {
            let mut forged = seal;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(!boot_tokens.is_good(forged, boot, view), "bit {bit}");
        }
    }
}
