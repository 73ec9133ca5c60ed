//! What a directory of a disk is, as an index, without a copy of anything: for who wants to make it equal to another.
//!
//! Here a name is a name: what means something between layers (`.wh.` names, character devices 0:0, overlayfs' attributes) is
//! taken for what it is on the disk.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::assemble::Assembly;
use super::contents::{CHUNK, Stored, fill};
use super::directory::{Reads, read_all, unread};
use super::walk::{Borders, Entry, Listing, Unchanged, walk};
use super::{Progress, Tally, in_order};
use crate::build::IndexBuilder;
use crate::confine::{Dir, read_file};
use crate::error::{Error, Result};
use crate::index::Index;
use crate::parallel::both;
use crate::store::Store;
use crate::store::stat_cache::{Mark, StatCache};
use oneroot_ids::{GenerationId, ObjectId};

/// A directory as it was found.
pub struct Survey {
    /// All that is in it. Of a directory with another file system on it, only that it is there.
    pub index: Arc<Index>,
    /// Directories with another file system on them.
    pub file_systems: Vec<Vec<u8>>,
    /// Files whose bytes were read, for nothing says that they are as they were.
    pub read: u64,
    marks: Vec<Option<Mark>>,
    seen: StatCache,
}

/// Finds out what is in a directory. What has not changed since `Survey::remember` is not read. `now` is the time since 1970;
/// `kept` are paths that are passed over; `report` hears the bytes that were read so far.
///
/// # Errors
/// The system's.
pub fn survey(
    memory: &Arc<Store>,
    root: &Path,
    kept: &BTreeSet<Vec<u8>>,
    now: Duration,
    report: &mut dyn FnMut(Progress),
) -> Result<Survey> {
    let dir = Dir::open(root).map_err(Error::io("open", root))?;
    let device = rustix::fs::fstat(&dir).map_err(Error::io("stat", root))?.st_dev;
    let seen = StatCache::recall(memory, root, device, now, false);
    let mounts = mounts_below(root);
    let kept = kept.union(&mounts).cloned().collect();
    let borders = Borders { device, one_file_system: true, kept, as_is: true, ..Borders::default() };
    let mut listings = walk(&dir, &borders, Some(&seen), &mut |_| {})?;
    let left_out = listings.iter().filter(|listing| listing.left_out.is_some());
    let file_systems = left_out.map(|listing| listing.path.clone()).chain(mounts).collect();
    if let Some(index) = seen.index().filter(|_| is_as_seen(&listings)) {
        // What it is stands in an index that is here, and none has to be made.
        return Ok(Survey { index: index.clone(), file_systems, read: 0, marks: seen.marks(), seen });
    }
    let files = unread(&mut listings, device);
    let mut builder = IndexBuilder::new();
    let mut assembly = Assembly::new(&mut builder, None, device, Some(&seen)).taken_as_is();
    let mut tally = Tally { progress: Progress::default(), report: Box::new(report) };
    let (planted, read) =
        both(|| assembly.plant(listings), || read_all(&dir, Some(&seen), &files, &Hashed, &mut tally));
    let mut read = planted.and(read)?;
    for (node, number) in std::mem::take(&mut assembly.unread) {
        let read = read.get_mut(number as usize).and_then(Option::take);
        let read = read.ok_or(Error::Mistake("a file was not read"))?;
        let mark = read.trusted.then_some(read.mark);
        assembly.grown(node, read.meta, read.stored.content(), mark)?;
    }
    let marks = assembly.marks;
    let (index, order) = builder.finish_ordered()?;
    Ok(Survey {
        marks: in_order(&order, &marks),
        index: Arc::new(index),
        file_systems,
        read: files.len() as u64,
        seen,
    })
}

/// Whether a directory is all that it was in the last generation, and nothing else.
fn is_as_seen(listings: &[Listing]) -> bool {
    // Two files may have been one, or become one: each inode of the generation is one number here.
    let mut numbers = HashMap::new();
    let mut is_one = |entry: &Entry| match entry {
        Entry::Unchanged(Unchanged { linked: Some(number), inode, .. }) => {
            *numbers.entry(*number).or_insert(*inode) == *inode
        }
        _ => true,
    };
    listings.iter().all(|listing| {
        listing.is_as_seen && listing.left_out.is_none() && listing.entries.iter().all(&mut is_one)
    })
}

/// What is mounted below a directory, files too: a file system's number does not tell a directory of it that is mounted once more.
/// Without proc there are only the [walk's](super::walk) own borders.
pub(crate) fn mounts_below(root: &Path) -> BTreeSet<Vec<u8>> {
    let Ok(told) = read_file(Path::new("/proc/self/mountinfo")) else { return BTreeSet::new() };
    // proc(5): the fifth word is where, with spaces and the like in octal.
    let places = told.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    let below = places.filter_map(|place| {
        let place = unescaped(place);
        let path = Path::new(OsStr::from_bytes(&place)).strip_prefix(root).ok()?;
        (!path.as_os_str().is_empty()).then(|| path.as_os_str().as_bytes().to_vec())
    });
    below.collect()
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    let (mut plain, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some((byte, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|three| std::str::from_utf8(three).ok());
        let octal = digits.and_then(|three| u8::from_str_radix(three, 8).ok()).filter(|_| *byte == b'\\');
        plain.push(octal.unwrap_or(*byte));
        rest = octal.and_then(|_| after.get(3..)).unwrap_or(after);
    }
    plain
}

impl Survey {
    /// Of a directory that is not there.
    pub(crate) fn nothing(memory: &Arc<Store>, root: &Path, now: Duration) -> Result<Self> {
        // It will lie where its parent does.
        let above = root.parent().unwrap_or(root);
        let device = rustix::fs::stat(above).map_err(Error::io("stat", above))?.st_dev;
        let seen = StatCache::recall(memory, root, device, now, true);
        let index = Arc::new(IndexBuilder::new().finish()?);
        Ok(Self { index, file_systems: Vec::new(), read: 0, marks: Vec::new(), seen })
    }

    /// What says of a file of it that it has not changed: nothing where its times are too near.
    pub(crate) fn mark(&self, inode: u32) -> Option<Mark> {
        self.marks.get((inode as usize).saturating_sub(1)).copied().flatten()
    }

    /// Lets the next survey of the directory read only what has changed since it was made equal to a generation that the
    /// memory has. `marks` has one for each inode of that.
    pub(crate) fn remember(&self, memory: &Store, generation: GenerationId, marks: &[Option<Mark>]) {
        // That it can't be remembered costs the next survey time, and nothing else.
        let Ok(place) = memory.staging_dir() else { return };
        self.seen.written(generation, marks, &place).keep();
    }
}

/// Reads a file, and keeps its name alone.
struct Hashed;

impl Reads for Hashed {
    fn file(&self, mut from: &File, _: u64, buffer: &mut Vec<u8>, source: &[u8]) -> Result<Stored> {
        buffer.resize(CHUNK, 0);
        let (mut hasher, mut size) = (blake3::Hasher::new(), 0);
        loop {
            let filled = fill(&mut from, buffer, source)?;
            if filled == 0 {
                return Ok(Stored { object: ObjectId(*hasher.finalize().as_bytes()), size, new: false });
            }
            hasher.update(buffer.get(..filled).unwrap_or_default());
            size += filled as u64;
        }
    }
}
