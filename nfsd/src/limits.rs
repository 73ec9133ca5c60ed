//! How much of a call is waited for.

/// The longest record taken. The largest call that a read-only server needs is a few hundred bytes, but a
/// client may send a WRITE of wtmax (32 KiB) before it learns that the file system is read-only.
pub const MAX_RECORD: usize = 64 * 1024;

/// The most fragments a record may come in. Real clients send one; more is legal, an endless row is an
/// attack.
pub const MAX_FRAGMENTS: u32 = 64;
