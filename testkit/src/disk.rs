//! A small disk of a test's own, to be filled to the last page.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::thread::UnshareFlags;

/// Files and directories that there can be.
const INODES: u32 = 20_000;

/// A file system in memory, mounted for the calling thread and the programs that it starts, and for nobody else.
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one of `size` bytes on a directory, which is made where there is none.
    pub fn mount(path: &Path, size: u64) -> Result<Self> {
        fs::create_dir_all(path)?;
        // SAFETY: CLONE_NEWNS changes which mounts the calling thread sees, and gives it a working directory of its own;
        // no memory, no descriptor and no signal handling is shared with or taken from other threads by it.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }
            .context("cannot make a mount namespace; run as root, or under `unshare -Ur`")?;
        // Or the host would see the mount too: systemd has `/` shared.
        rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        let options = CString::new(format!("size={size},nr_inodes={INODES},mode=0700"))?;
        rustix::mount::mount("tmpfs", path, "tmpfs", MountFlags::empty(), options.as_c_str())?;
        Ok(Self { path: path.to_owned() })
    }

    /// Bytes that can still be written.
    pub fn free(&self) -> Result<u64> {
        let found = rustix::fs::statvfs(&self.path)?;
        Ok(found.f_bavail * found.f_frsize)
    }

    /// Takes all space but so many bytes.
    pub fn fill(&self, leave: u64) -> Result<()> {
        let mut ballast = File::options().create(true).append(true).open(self.ballast())?;
        let page = [1; 4096];
        while self.free()? >= leave + 4096 {
            ballast.write_all(&page)?;
        }
        Ok(())
    }

    /// Gives that space back.
    pub fn empty(&self) -> Result<()> {
        Ok(fs::remove_file(self.ballast())?)
    }

    /// Takes all space, and all inodes too, so that not even an empty directory can be made.
    pub fn fill_up(&self) -> Result<()> {
        self.fill(0)?;
        let names = self.path.join("names");
        fs::create_dir(&names)?;
        for number in 0..=INODES {
            match File::create(names.join(number.to_string())) {
                Ok(_) => {}
                Err(cause) if cause.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
                Err(cause) => return Err(cause.into()),
            }
        }
        anyhow::bail!("{} takes more files than it was made for", self.path.display())
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The namespace takes it along at the latest; what is below can be removed when it is gone from here.
        let _ = rustix::mount::unmount(&self.path, UnmountFlags::DETACH);
    }
}
