//! Secrets of machines: what one is, how it is kept, and which are open right now (docs/decisions/0025-secrets.md). Who gets them,
//! and what an admin does with them, is in `handing`.

pub(crate) mod export;
pub(crate) mod make;
pub(crate) mod open;
pub(crate) mod record;
pub mod seal;
pub(crate) mod turns;

/// Bytes of one secret: a certificate with its key has some five thousand.
pub const LARGEST: usize = 16 << 10;
/// Seconds from the mount of a boot's root in which it may ask for its secrets, and so for which a program that makes one is waited for.
pub const LASTS: u64 = 600;
/// Secrets of one machine.
pub use oneroot_bootconf::secrets::MOST;
