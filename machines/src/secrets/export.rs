//! The path of the export that a boot's secrets are: `/s/BOOT`.

use oneroot_ids::BootId;

/// How it begins.
const EXPORT: &[u8] = b"/s/";

/// The boot whose secrets a path is of.
pub fn boot_in(path: &[u8]) -> Option<BootId> {
    std::str::from_utf8(path.strip_prefix(EXPORT)?).ok()?.parse().ok()
}
