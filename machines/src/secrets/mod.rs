//! Secrets of machines: what one is, how it is kept, and which are open right now (docs/decisions/0025-secrets.md). Who gets them,
//! and what an admin does with them, is in `handing`.

pub(crate) mod export;
pub(crate) mod make;
pub(crate) mod open;
pub(crate) mod record;
pub mod seal;

/// Bytes of one secret: a certificate with its key has some five thousand.
pub const LARGEST: usize = 16 << 10;
/// Secrets of one machine.
pub use oneroot_bootconf::secrets::MOST;
