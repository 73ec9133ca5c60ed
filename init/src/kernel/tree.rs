//! Another root for everything, and no file of the initramfs left: they are in memory, and would stay there for ever.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fstat, fstatfs, openat, statat, unlinkat};
use rustix::mount::mount_move;
use rustix::process::{chdir, chroot};

use super::Result;

/// File systems that the kernel unpacks an initramfs into (statfs(2)).
const IN_MEMORY: [u64; 2] = [0x8584_58f6, 0x0102_1994];
/// An initramfs of ours has `lib/modules/VERSION/kernel/drivers/net/ethernet/VENDOR/NAME`.
const DEEPEST: usize = 32;
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Makes a mount the root, as switch_root(8) does: a mount that is moved over `/` hides what was there.
pub(super) fn enter(new_root: &str) -> Result<()> {
    let old = openat(CWD, "/", DIRECTORY, Mode::empty())?;
    chdir(new_root)?;
    mount_move(".", "/")?;
    chroot(".")?;
    chdir("/")?;
    if is_ours(old.as_fd()) {
        empty(old.as_fd(), fstat(&old)?.st_dev, 0);
    }
    Ok(())
}

/// Whether this is an initramfs of oneroot's, and nobody's disk.
fn is_ours(root: BorrowedFd<'_>) -> bool {
    let kind = fstatfs(root).ok().and_then(|found| u64::try_from(found.f_type).ok());
    kind.is_some_and(|kind| IN_MEMORY.contains(&kind))
        && statat(root, oneroot_initrd::settings::PATH, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// Removes all that is in a directory and on that device. What can't be removed stays: it costs memory and nothing else.
fn empty(directory: BorrowedFd<'_>, device: u64, depth: usize) {
    let Ok(entries) = Dir::read_from(directory) else { return };
    // Read to the end first: removing moves what is read.
    let names: Vec<_> =
        entries.filter_map(std::result::Result::ok).map(|entry| entry.file_name().to_owned()).collect();
    for name in names.iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")) {
        let Ok(found) = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        if found.st_dev != device {
            continue;
        }
        if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
            let _ = unlinkat(directory, name, AtFlags::empty());
            continue;
        }
        if depth < DEEPEST {
            // What lies behind the name may be another mount's: told by its own number, not the name's.
            if let Ok(inner) = openat(directory, name, DIRECTORY, Mode::empty())
                && fstat(&inner).is_ok_and(|inside| inside.st_dev == device)
            {
                empty(inner.as_fd(), device, depth + 1);
            }
        }
        let _ = unlinkat(directory, name, AtFlags::REMOVEDIR);
    }
}
