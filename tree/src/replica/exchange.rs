//! A whole tree beside the directory, which takes its name in one step: whoever looks sees the old tree or the new one.
//!
//! `NAME.next` is what is being made, `NAME.1` the tree before, `NAME.2` the one before that. Files that do not change are hard
//! links into the tree in force: who writes into a file of one tree, and does not replace it, writes into it in all of them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, RenameFlags};
use rustix::io::Errno;

use super::apply::{Hands, Steps, split};
use super::comparison::Comparison;
use super::joined;
use super::plan::Plan;
use super::removal::remove;
use super::staying::Staying;
use crate::confine::Dir;
use crate::error::{Error, Result};
use crate::index::{Index, ROOT};

/// The name of a tree beside a directory.
pub(super) fn beside(root: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = root.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// The tree that is being made.
pub(super) fn begin(root: &Path, place: &Path) -> Result<PathBuf> {
    clear(root, place)?;
    let (next, ours) = (beside(root, "next"), place.join("next"));
    fs::write(&ours, b"").map_err(Error::io("write", &ours))?;
    // A link that somebody has put there meanwhile is none of ours, wherever it leads.
    fs::DirBuilder::new().mode(0o700).create(&next).map_err(Error::io("create", &next))?;
    let made = Dir::open_itself(&next).map_err(Error::io("open", &next))?;
    crate::disk::inherits_nothing(&made).map_err(Error::io("remove the default ACL of", &next))?;
    Ok(next)
}

/// Removes what a run before has left of a tree that it made. A directory of that name which is none of ours stays, and is an error.
pub(super) fn clear(root: &Path, place: &Path) -> Result<()> {
    let (next, ours) = (beside(root, "next"), place.join("next"));
    match fs::symlink_metadata(&next) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => {}
        Err(cause) => return Err(Error::io("look at", &next)(cause)),
        Ok(_) if !ours.exists() => return Err(Error::InTheWay { path: next }),
        Ok(_) => remove(&next)?,
    }
    // The sign goes with it, or the next directory of that name, whoever makes it, would be taken for ours.
    match fs::remove_file(&ours) {
        Err(cause) if cause.kind() != ErrorKind::NotFound => Err(Error::io("remove", &ours)(cause)),
        _ => Ok(()),
    }
}

/// Fills the new tree: what the plan leaves alone is linked from the old one, and what is to be kept with it.
pub(super) fn fill(
    hands: &mut Hands<'_>,
    old: Option<&Dir>,
    change: &Comparison,
    steps: Steps<'_>,
) -> Result<()> {
    let (wanted, plan, kept) = (&*change.wanted, &change.plan, &change.kept);
    let mut directories = vec![(Vec::new(), ROOT)];
    directories_of(wanted, kept, &mut directories);
    hands.of = (2 * directories.len() + plan.make.len()) as u64;
    for (path, _) in directories.iter().skip(1) {
        hands.directory(path)?;
    }
    if let Some(old) = old {
        Staying::of(change, &directories).link_all(hands, old, &directories, steps)?;
    }
    changed_ones(hands, old, plan, steps)?;
    for path in old.iter().flat_map(|_| kept) {
        if let Some(old) = old {
            keep(hands, old, path)?;
        }
    }
    let settle: Vec<(&Vec<u8>, u32)> = directories.iter().rev().map(|(path, inode)| (path, *inode)).collect();
    hands.settle_all(&settle, steps)
}

/// The files of the new tree that are not those of the old one.
fn changed_ones(hands: &mut Hands<'_>, old: Option<&Dir>, plan: &Plan, steps: Steps<'_>) -> Result<()> {
    hands.make_all(plan, steps)?;
    for (path, _, inode) in &plan.describe {
        let Some(dir) = old else { break };
        let file =
            dir.file(path).map_err(Error::io("open", dir.path().join(std::ffi::OsStr::from_bytes(path))))?;
        hands.copied(&file, &hands.inode(*inode)?, path)?;
        hands.put_made(path)?;
    }
    for (path, first) in others(plan) {
        hands.link(path, first)?;
    }
    for (path, first) in &plan.link {
        hands.link(path, first)?;
    }
    Ok(())
}

/// Other names of files that are described anew, and so are none of the old tree's: the name, and the first one.
fn others(plan: &Plan) -> impl Iterator<Item = (&Vec<u8>, &Vec<u8>)> {
    plan.describe.iter().flat_map(|(path, _, inode)| {
        plan.others.get(inode).into_iter().flatten().map(move |other| (other, path))
    })
}

pub(super) fn is_kept(kept: &BTreeSet<Vec<u8>>, path: &[u8]) -> bool {
    if kept.is_empty() {
        return false;
    }
    let above = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    above.chain([path.len()]).any(|end| path.get(..end).is_some_and(|path| kept.contains(path)))
}

/// The directories of an index, each before what it holds.
fn directories_of(wanted: &Index, kept: &BTreeSet<Vec<u8>>, to: &mut Vec<(Vec<u8>, u32)>) {
    let mut todo = vec![(ROOT, Vec::new())];
    while let Some((directory, path)) = todo.pop() {
        let (first, count) = wanted.inode(directory).map_or((0, 0), |inode| inode.run());
        for entry in (first..first.saturating_add(count)).filter_map(|place| wanted.entry(place)) {
            if wanted.inode(entry.inode).is_some_and(|inode| inode.kind().is_directory()) {
                let below = joined(&path, entry.name);
                if !is_kept(kept, &below) {
                    to.push((below.clone(), entry.inode));
                    todo.push((entry.inode, below));
                }
            }
        }
    }
}

/// Links a file from the old tree.
fn linked(hands: &mut Hands<'_>, old: Option<&Dir>, path: &[u8]) -> Result<()> {
    let old = old.ok_or(Error::Mistake("a file is as it was in no tree"))?;
    let (above, name) = split(path);
    let at = || old.path().join(std::ffi::OsStr::from_bytes(path));
    let from = old
        .dir(if above.is_empty() { b"." } else { above })
        .map_err(|cause| Error::io("open", at())(cause))?;
    let (to, _) = hands.at(path)?;
    rustix::fs::linkat(&from, name, to, name, AtFlags::empty())
        .map_err(|cause| Error::io("link", at())(cause))
}

/// Takes what is to be kept over from the old tree, with the directories above it.
fn keep(hands: &mut Hands<'_>, old: &Dir, path: &[u8]) -> Result<()> {
    let at = || old.path().join(std::ffi::OsStr::from_bytes(path));
    let failed = |cause: io::Error| Error::io("keep", at())(cause);
    let (above, name) = split(path);
    let from = match old.dir(if above.is_empty() { b"." } else { above }) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(failed)?,
    };
    let there = match crate::disk::look(&from, name) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(()),
        there => there.map_err(failed)?,
    };
    for (end, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
        made_like(hands, old, path.get(..end).unwrap_or_default()).map_err(failed)?;
    }
    let mut todo = vec![(path.to_vec(), FileType::from_raw_mode(there.st_mode))];
    let mut settled = Vec::new();
    while let Some((path, kind)) = todo.pop() {
        if kind != FileType::Directory {
            linked(hands, Some(old), &path)?;
            continue;
        }
        made_like(hands, old, &path).map_err(failed)?;
        let dir = old.dir(&path).map_err(failed)?;
        for entry in rustix::fs::Dir::read_from(&dir).map_err(|cause| failed(cause.into()))? {
            let entry = entry.map_err(|cause| failed(cause.into()))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                let stat = crate::disk::look(&dir, name).map_err(failed)?;
                todo.push(([&path, b"/".as_slice(), name].concat(), FileType::from_raw_mode(stat.st_mode)));
            }
        }
        settled.push(path);
    }
    for path in settled.iter().rev() {
        described_like(hands, old, path).map_err(failed)?;
    }
    Ok(())
}

/// Makes a directory where there is none.
fn made_like(hands: &mut Hands<'_>, old: &Dir, path: &[u8]) -> io::Result<()> {
    let (to, name) = hands.at(path).map_err(io::Error::other)?;
    match rustix::fs::mkdirat(to, name, rustix::fs::Mode::RWXU) {
        Err(Errno::EXIST) => Ok(()),
        made => {
            made?;
            described_like(hands, old, path)
        }
    }
}

/// Gives a directory of the new tree the owner, mode, attributes and time that it has in the old one.
fn described_like(hands: &mut Hands<'_>, old: &Dir, path: &[u8]) -> io::Result<()> {
    use std::os::fd::AsFd as _;
    let from = old.dir(path)?;
    let meta = crate::stage::described_as(&from)?;
    let (to, name) = hands.at(path).map_err(io::Error::other)?;
    crate::disk::describe(to.dir(name)?.as_fd(), &meta, true, &mut |_| true)
}

/// Gives the new tree the directory's name; the old one, if there is one, is where the new one was then. `aside` is a free name.
pub(super) fn exchange(next: &Path, root: &Path, aside: &Path) -> Result<()> {
    let failed = |cause: Errno| Error::io("exchange with its next tree", root)(cause);
    match rustix::fs::renameat_with(CWD, next, CWD, root, RenameFlags::EXCHANGE) {
        Err(Errno::NOENT) => rustix::fs::renameat(CWD, next, CWD, root).map_err(failed),
        // A file system without such a rename: for a moment, nothing has the name.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            rustix::fs::renameat(CWD, root, CWD, aside).map_err(failed)?;
            rustix::fs::renameat(CWD, next, CWD, root).map_err(failed)?;
            rustix::fs::renameat(CWD, aside, CWD, next).map_err(failed)
        }
        exchanged => exchanged.map_err(failed),
    }
}
