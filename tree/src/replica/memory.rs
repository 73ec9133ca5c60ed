//! What the files of a directory were when it was made equal: so that the next comparison reads only what somebody else has
//! changed.

use std::time::Duration;

use super::comparison::Comparison;
use crate::confine::Dir;
use crate::disk::{self, Lacks};
use crate::error::{Error, Result};
use crate::index::{Index, ROOT};
use crate::store::Store;
use crate::store::stat_cache::Mark;

/// File systems count time in ticks, the coarsest of which are 10 ms.
const TICK: Duration = Duration::from_millis(20);

/// Remembers what the files are now. `moved` says that all of them are links of their own into a new tree.
pub(super) fn remember(memory: &Store, dir: &Dir, change: &Comparison, moved: bool, lacks: &Lacks) {
    // Where something could not be set, only what is on the disk says what was.
    if !lacks.is_empty() {
        return;
    }
    let wanted = &change.wanted;
    let mut marks: Vec<Option<Mark>> = vec![None; wanted.inodes() as usize];
    let mut todo = vec![(Vec::new(), ROOT)];
    while let Some((path, directory)) = todo.pop() {
        // Opened when the first of its names has to be looked at.
        let mut opened = None;
        for (name, number) in names(wanted, directory) {
            let Some(inode) = wanted.inode(number) else { continue };
            if inode.kind().is_directory() {
                let below =
                    if path.is_empty() { name.to_vec() } else { [path.as_slice(), b"/", name].concat() };
                todo.push((below, number));
                continue;
            }
            let place = (number as usize).saturating_sub(1);
            let same = change.plan.same.get(place).copied().filter(|same| *same != 0 && !moved);
            let mark = match same {
                Some(same) => change.survey.mark(same),
                None => {
                    let here = || dir.dir(if path.is_empty() { b"." } else { &path }).ok();
                    let here = opened.get_or_insert_with(here).as_ref();
                    here.and_then(|here| disk::look(here, name).ok()).map(|stat| Mark::of(&stat))
                }
            };
            if let Some(place) = marks.get_mut(place) {
                *place = mark;
            }
        }
    }
    // Whoever writes from here on gives himself away: the file system's clock has moved on.
    std::thread::sleep(TICK);
    change.survey.remember(memory, wanted.generation(), &marks);
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
