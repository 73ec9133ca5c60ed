//! Files of the old tree that stay as they are, and have a name in the new one, too.
//!
//! They were looked at before the contents of the others came, which may have been long ago. So each is looked at again, just before
//! it is linked, which moves its ctime, and just after: what has changed since is never taken for what it was.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

use super::apply::{Hands, Steps};
use super::comparison::Comparison;
use super::exchange::is_kept;
use super::incoming::hash_of;
use super::joined;
use crate::confine::Dir;
use crate::disk::{self, attributes, is_described_as};
use crate::error::{Error, Result};
use crate::index::{Entry, Inode};
use crate::node::{Content, Kind, Meta};
use crate::stage::described;
use crate::store::stat_cache::Mark;

/// A directory of the new tree: its path and its inode.
type Directory = (Vec<u8>, u32);

/// Which names are linked from the old tree.
pub(super) struct Staying<'c> {
    change: &'c Comparison,
    /// By inode, the name by which a file of several is linked. A second link from the old tree would find its ctime moved.
    firsts: HashMap<u32, u32>,
    /// The other names, each with the first one.
    more: Vec<(Vec<u8>, Vec<u8>)>,
    /// Names that are to be other files than they are.
    links: HashSet<&'c [u8]>,
}

impl<'c> Staying<'c> {
    /// Of these directories.
    pub(super) fn of(change: &'c Comparison, directories: &[Directory]) -> Self {
        let links = change.plan.link.iter().map(|(path, _)| path.as_slice()).collect();
        let mut staying = Self { change, firsts: HashMap::new(), more: Vec::new(), links };
        let mut paths = HashMap::<u32, Vec<u8>>::new();
        for (path, directory) in directories {
            for (place, entry, inode) in staying.names(*directory).filter(|(.., inode)| inode.nlink() > 1) {
                let below = joined(path, entry.name);
                if !staying.stays(path, &entry, &inode) {
                    continue;
                }
                match paths.get(&entry.inode) {
                    Some(first) => staying.more.push((below, first.clone())),
                    None => {
                        staying.firsts.insert(entry.inode, place);
                        paths.insert(entry.inode, below);
                    }
                }
            }
        }
        staying
    }

    /// The names in a directory that are none of directories, with their places.
    fn names(&self, directory: u32) -> impl Iterator<Item = (u32, Entry<'c>, Inode<'c>)> + use<'c> {
        let wanted = &*self.change.wanted;
        let (first, count) = wanted.inode(directory).map_or((0, 0), |inode| inode.run());
        (first..first.saturating_add(count)).filter_map(|place| {
            let entry = wanted.entry(place)?;
            let inode = wanted.inode(entry.inode).filter(|inode| !inode.kind().is_directory())?;
            Some((place, entry, inode))
        })
    }

    /// Whether a name is linked. Most are of files that have no other, and then no path is needed to tell.
    fn stays(&self, path: &[u8], entry: &Entry<'_>, inode: &Inode<'_>) -> bool {
        self.change.plan.same(entry.inode).is_some()
            && ((inode.nlink() == 1 && self.change.kept.is_empty()) || {
                let below = joined(path, entry.name);
                !self.links.contains(below.as_slice()) && !is_kept(&self.change.kept, &below)
            })
    }

    /// Gives all that stay their names.
    pub(super) fn link_all(
        &self,
        hands: &mut Hands<'_>,
        old: &Dir,
        directories: &[Directory],
        steps: Steps<'_>,
    ) -> Result<()> {
        hands.with_all(directories, steps, |hands, (path, inode)| self.link_in(hands, old, path, *inode))?;
        self.more.iter().try_for_each(|(path, first)| hands.link(path, first))
    }

    fn link_in(&self, hands: &mut Hands<'_>, old: &Dir, path: &[u8], directory: u32) -> Result<()> {
        let mut linked = self.names(directory).filter(|(place, entry, inode)| {
            let is_first = || self.firsts.get(&entry.inode) == Some(place);
            self.stays(path, entry, inode) && (inode.nlink() == 1 || is_first())
        });
        let Some(first) = linked.next() else { return Ok(()) };
        let at = || old.path().join(OsStr::from_bytes(path));
        let from = old.dir(if path.is_empty() { b"." } else { path });
        let from = from.map_err(|cause| failed(cause, "open", at()))?;
        let below = joined(path, first.1.name);
        let (to, _) = hands.at(&below)?;
        for (_, entry, inode) in std::iter::once(first).chain(linked) {
            let at = || at().join(OsStr::from_bytes(entry.name));
            let done = self.linked(&from, to, &entry, &inode).map_err(|cause| failed(cause, "link", at()))?;
            if !done {
                return Err(Error::Changed { path: at() });
            }
        }
        Ok(())
    }

    /// Links a file; whether it is the one that was found.
    fn linked(&self, from: &Dir, to: &Dir, entry: &Entry<'_>, inode: &Inode<'_>) -> io::Result<bool> {
        let before = disk::look(from, entry.name)?;
        let mark = self.change.plan.same(entry.inode).and_then(|same| self.change.survey.mark(same));
        let is_as_found = match mark {
            Some(mark) => Mark::of(&before) == mark && kind(&before) == inode.kind(),
            None => is_described(&before, inode) && is_node(from, entry.name, &before, inode)?,
        };
        if !is_as_found {
            return Ok(false);
        }
        rustix::fs::linkat(from, entry.name, to, entry.name, AtFlags::empty())?;
        // It may have been written into, or the name been given to another, between the two. One that was written just before it was
        // read is read once more: its times may be the same.
        is_still(to, entry.name, inode, mark.is_some().then_some(&before))
    }
}

/// Whether what has a name is what is wanted; the file of which all is known but the bytes is `known`. Another one is read: some file
/// systems (FUSE's, CIFS) number names and not files.
pub(super) fn is_still(dir: &Dir, name: &[u8], wanted: &Inode<'_>, known: Option<&Stat>) -> io::Result<bool> {
    let is = disk::look(dir, name)?;
    let is_known = known.is_some_and(|known| known.st_ino == is.st_ino);
    Ok(is_described(&is, wanted)
        && (is_known
            || match wanted.kind() {
                Kind::Regular => is_content(dir, name, wanted)?,
                _ => is_node(dir, name, &is, wanted)?,
            }))
}

/// What was there and is not any more, or is no directory, has changed.
fn failed(cause: io::Error, doing: &'static str, path: PathBuf) -> Error {
    match Errno::from_io_error(&cause) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Error::Changed { path },
        _ => Error::io(doing, path)(cause),
    }
}

fn kind(stat: &Stat) -> Kind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::Regular,
        FileType::Symlink => Kind::Symlink,
        FileType::CharacterDevice => Kind::Character,
        FileType::BlockDevice => Kind::Block,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        _ => Kind::Directory,
    }
}

/// Whether all that a stat says is as it is to be.
fn is_described(stat: &Stat, wanted: &Inode<'_>) -> bool {
    let is = described(stat, wanted.xattrs());
    kind(stat) == wanted.kind()
        && is_described_as(&is, wanted)
        && (wanted.kind() != Kind::Regular || u64::try_from(stat.st_size) == Ok(wanted.size()))
}

/// Whether what is no file is what it is to be.
fn is_node(dir: &Dir, name: &[u8], stat: &Stat, wanted: &Inode<'_>) -> io::Result<bool> {
    let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    Ok(match wanted.content() {
        Content::Symlink(target) => {
            rustix::fs::readlinkat(dir, name, Vec::new())?.as_bytes() == target.as_slice()
        }
        Content::Character(major, minor) | Content::Block(major, minor) => device == (major, minor),
        _ => true,
    })
}

/// Whether a file has the bytes and the attributes that it is to have.
fn is_content(dir: &Dir, name: &[u8], wanted: &Inode<'_>) -> io::Result<bool> {
    let file = dir.file(name)?;
    let meta = Meta { xattrs: attributes(&file)?, ..wanted.meta() };
    Ok(is_described_as(&meta, wanted) && Some(hash_of(&file)?) == wanted.object())
}
