//! What the files of a directory were when it was made equal: so that the next comparison reads only what somebody else has
//! changed.

use std::collections::HashSet;
use std::time::Duration;

use rustix::fs::Stat;

use super::apply::RUN;
use super::comparison::Comparison;
use super::joined;
use crate::confine::Dir;
use crate::disk::{self, Lacks, nanoseconds};
use crate::error::{Error, Result};
use crate::index::{Index, Inode, ROOT};
use crate::parallel::each;
use crate::store::Store;
use crate::store::stat_cache::Mark;

/// File systems count time in ticks, the coarsest of which are 10 ms.
const TICK: Duration = Duration::from_millis(20);

/// What the files were at a moment.
pub(super) struct Looked(Vec<Option<Mark>>);

/// Looks at what was changed, until just now; `moved` says that all files are links of their own into a new tree. Nothing where
/// something could not be set: then only what is on the disk says what was.
pub(super) fn look(dir: &Dir, change: &Comparison, moved: bool, lacks: &Lacks) -> Option<Looked> {
    if !lacks.is_empty() {
        return None;
    }
    // Whoever writes after the look gives himself away: the file system's clock has moved on since all that it finds.
    std::thread::sleep(TICK);
    let wanted = &change.wanted;
    // What was written just before it was read may have been written again since.
    let described = change.plan.describe.iter().filter(|(_, was, _)| change.survey.mark(*was).is_none());
    let unsure: HashSet<u32> = described.map(|(.., number)| *number).collect();
    let mut directories = vec![(Vec::new(), ROOT)];
    let mut next = 0;
    while let Some((path, directory)) = directories.get(next).cloned() {
        next += 1;
        let is_directory =
            |number: &u32| wanted.inode(*number).is_some_and(|inode| inode.kind().is_directory());
        let below = names(wanted, directory).filter(|(_, number)| is_directory(number));
        directories.extend(below.map(|(name, number)| (joined(&path, name), number)));
    }
    let (looked, _) = each(
        &directories,
        RUN,
        || Ok(Vec::new()),
        |marks: &mut Vec<(u32, Mark)>, (path, directory)| {
            // Opened when the first of its names has to be looked at.
            let mut opened = None;
            for (name, number) in names(wanted, *directory) {
                let Some(inode) = wanted.inode(number).filter(|inode| !inode.kind().is_directory()) else {
                    continue;
                };
                let mark = match change.plan.same(number) {
                    Some(same) if !moved || change.survey.mark(same).is_none() => change.survey.mark(same),
                    _ => {
                        let here = || dir.dir(if path.is_empty() { b"." } else { path }).ok();
                        let here = opened.get_or_insert_with(here).as_ref();
                        let is = here.and_then(|here| disk::look(here, name).ok());
                        is.filter(|is| !unsure.contains(&number) && is_as_made(is, &inode))
                            .map(|is| Mark::of(&is))
                    }
                };
                marks.extend(mark.map(|mark| (number, mark)));
            }
            Ok(())
        },
        |_| {},
    );
    let mut marks: Vec<Option<Mark>> = vec![None; wanted.inodes() as usize];
    for (number, mark) in looked.into_iter().flatten() {
        if let Some(place) = marks.get_mut((number as usize).saturating_sub(1)) {
            *place = Some(mark);
        }
    }
    Some(Looked(marks))
}

/// Remembers what the files were.
pub(super) fn remember(memory: &Store, change: &Comparison, looked: &Looked) {
    change.survey.remember(memory, change.wanted.generation(), &looked.0);
}

/// Whether nobody has written into a file since it was made: its time would have moved.
fn is_as_made(is: &Stat, wanted: &Inode<'_>) -> bool {
    u64::try_from(is.st_size) == Ok(wanted.size())
        && is.st_mode & 0o7777 == u32::from(wanted.mode())
        && (is.st_uid, is.st_gid) == (wanted.uid(), wanted.gid())
        && nanoseconds(is.st_mtime, is.st_mtime_nsec) == wanted.mtime()
}

fn names(index: &Index, directory: u32) -> impl Iterator<Item = (&[u8], u32)> {
    let (first, count) = index.inode(directory).map_or((0, 0), |inode| inode.run());
    let entries = (first..first.saturating_add(count)).filter_map(|place| index.entry(place));
    entries.map(|entry| (entry.name, entry.inode))
}

/// Makes all that was written on a directory's file system last.
pub(super) fn sync(directory: &std::path::Path) -> Result<()> {
    let dir = Dir::open(directory).map_err(Error::io("open", directory))?;
    rustix::fs::syncfs(&dir).map_err(Error::io("sync", directory))
}
