//! Trees that go: all of one, by as many threads as there are processors, and nothing that is mounted on it.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, DirEntry, FileType};

use super::apply::{RUN, split};
use super::joined;
use super::place::is_mount;
use super::user::User;
use crate::confine::Dir;
use crate::error::{Error, Result};
use crate::parallel::each;
use crate::stage::mounts_below;

/// Removes a tree, whatever its directories' modes are; one on which something is mounted stays, and is an error.
pub(super) fn remove(tree: &Path) -> Result<()> {
    match fs::symlink_metadata(tree) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(Error::io("look at", tree)(cause)),
        Ok(is) if is.is_symlink() => return fs::remove_file(tree).map_err(Error::io("remove", tree)),
        // No tree of ours: somebody's file, in the place of one.
        Ok(is) if !is.is_dir() => return Err(Error::InTheWay { path: tree.to_owned() }),
        Ok(_) => {}
    }
    has_no_mounts(tree)?;
    if emptied(tree).is_err() {
        // A user's own directories, which may not be written into; or something came into one. Why it stays is said the second time.
        // Root may write into all, and opens nothing by its path: who owns a part of the tree could lead it elsewhere.
        if !User::own().enters_all() {
            opened_up(tree)?;
        }
        emptied(tree)?;
    }
    fs::remove_dir(tree).map_err(Error::io("remove", tree))
}

/// An error where something is mounted on a tree: it would be emptied with it.
pub(super) fn has_no_mounts(tree: &Path) -> Result<()> {
    let below = mounts_below(tree).first().map(|path| tree.join(OsStr::from_bytes(path)));
    match below.or_else(|| is_mount(tree).then(|| tree.to_owned())) {
        Some(path) => Err(Error::MountedOn { path }),
        None => Ok(()),
    }
}

/// Lets the owner of a tree's directories write into them.
fn opened_up(tree: &Path) -> Result<()> {
    let mut todo = vec![tree.to_owned()];
    while let Some(directory) = todo.pop() {
        let open = fs::Permissions::from_mode(0o700);
        fs::set_permissions(&directory, open).map_err(Error::io("open for writing", &directory))?;
        for entry in fs::read_dir(&directory).map_err(Error::io("list", &directory))?.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                todo.push(entry.path());
            }
        }
    }
    Ok(())
}

/// Whether it is a directory; not every file system says so in its list.
fn is_directory(dir: &Dir, entry: &DirEntry, name: &[u8]) -> io::Result<bool> {
    Ok(match entry.file_type() {
        FileType::Unknown => {
            let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            FileType::from_raw_mode(stat.st_mode) == FileType::Directory
        }
        known => known == FileType::Directory,
    })
}

/// Removes what is in a tree, by as many threads as there are processors.
fn emptied(tree: &Path) -> Result<()> {
    let root = Dir::open_itself(tree).map_err(Error::io("open", tree))?;
    let (mut level, mut all) = (vec![b".".to_vec()], Vec::new());
    while !level.is_empty() {
        let (below, done) = each(
            &level,
            RUN,
            || Ok(Vec::new()),
            |below: &mut Vec<Vec<u8>>, path| {
                let failed =
                    |cause: io::Error| Error::io("remove", tree.join(OsStr::from_bytes(path)))(cause);
                let dir = root.unmounted_dir(path).map_err(failed)?;
                for entry in rustix::fs::Dir::read_from(&dir).map_err(|cause| failed(cause.into()))? {
                    let entry = entry.map_err(|cause| failed(cause.into()))?;
                    let name = entry.file_name();
                    match name.to_bytes() {
                        b"." | b".." => {}
                        name if is_directory(&dir, &entry, name).map_err(failed)? => {
                            below.push(joined(path, name));
                        }
                        _ => rustix::fs::unlinkat(&dir, name, AtFlags::empty())
                            .map_err(|cause| failed(cause.into()))?,
                    }
                }
                Ok(())
            },
            |_| {},
        );
        done?;
        all.append(&mut level);
        level = below.into_iter().flatten().collect();
    }
    for path in all.iter().skip(1).rev() {
        let (above, name) = split(path);
        let failed = |cause: io::Error| Error::io("remove", tree.join(OsStr::from_bytes(path)))(cause);
        let above = root.unmounted_dir(if above.is_empty() { b"." } else { above }).map_err(failed)?;
        rustix::fs::unlinkat(&above, name, AtFlags::REMOVEDIR).map_err(|cause| failed(cause.into()))?;
    }
    Ok(())
}
