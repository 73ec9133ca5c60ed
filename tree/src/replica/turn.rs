//! The turn of names: a whole tree takes the directory's name, and those before it the next ones.
//!
//! It is written down before it begins: which inode is to have the directory's name, and what the record is then. The exchange
//! decides. Whoever was killed before it has the old tree and the record of before; whoever was killed after it goes on, and
//! each step is taken only where its outcome is not there yet. Nothing is removed before all that is kept has its name.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::memory::sync;
use super::place::{Birth, Record, Tree};
use super::removal::{has_no_mounts, remove};
use super::{Replica, exchange};
use crate::error::{Error, Result};

/// A turn that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// The inode number of the tree that is to have the directory's name,
    inode: u64,
    /// and its time of birth: a number is another's when its directory is gone.
    #[serde(default)]
    birth: Option<Birth>,
    /// How many trees are kept; none where two trees exchange their names and that is all.
    keep: Option<usize>,
    /// What is recorded when it is done.
    then: Record,
}

fn inode(path: &Path) -> Result<u64> {
    Ok(fs::symlink_metadata(path).map_err(Error::io("look at", path))?.ino())
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(Error::io("rename", from))
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

impl Replica {
    fn older(&self, number: usize) -> PathBuf {
        exchange::beside(&self.root, &number.to_string())
    }

    /// Where a tree has its place for the moment in which nothing has the directory's name, and where one is that goes.
    fn aside(&self) -> PathBuf {
        self.place.path.join("aside")
    }

    fn gone(&self) -> PathBuf {
        self.place.path.join("gone")
    }

    /// Whether the names that the trees before are to have are free, or are those of trees that sync has made: what is somebody's
    /// own is never taken for one.
    pub(super) fn has_room(&self, record: &Record, keep: usize) -> Result<()> {
        let next = exchange::beside(&self.root, "next");
        if is_there(&next) && !self.place.path.join("next").exists() {
            return Err(Error::InTheWay { path: next });
        }
        for number in 1..=keep.max(record.older.len()) {
            let path = self.older(number);
            if is_there(&path) && !self.is_ours(record, number) {
                return Err(Error::InTheWay { path });
            }
        }
        Ok(())
    }

    /// Whether nothing is mounted on the trees that go when another takes the directory's name: it would go with them.
    pub(super) fn can_let_go(&self, keep: usize) -> Result<()> {
        let record = self.record()?;
        let gap = (1..=keep).any(|number| !is_there(&self.older(number)));
        let first = if gap || keep == 0 { keep + 1 } else { keep };
        let older = (first..=record.older.len()).filter(|number| self.is_ours(&record, *number));
        older.map(|number| self.older(number)).chain([self.gone()]).try_for_each(|tree| has_no_mounts(&tree))
    }

    fn is_ours(&self, record: &Record, number: usize) -> bool {
        let mark = record.marks.get(number - 1).copied().flatten();
        number <= record.older.len() && (mark.is_none() || mark == Birth::of(&self.older(number)))
    }

    /// Gives the new tree the directory's name, and those before it theirs. `had` says whether there was a directory.
    pub(super) fn turn(&self, next: &Path, had: bool, keep: usize, tree: Tree) -> Result<()> {
        let mut record = self.record()?;
        self.has_room(&record, keep)?;
        let mut then = record.clone();
        let before = then.current.replace(tree);
        if had && keep > 0 {
            // Where somebody has taken one away, those before it move up to there, and those behind it stay.
            let free = (1..=keep).find(|number| !is_there(&self.older(*number)));
            if let Some(at) = free.filter(|number| *number <= then.older.len()) {
                then.older.remove(at - 1);
                if at <= then.marks.len() {
                    then.marks.remove(at - 1);
                }
            }
            // What was there before the first sync is kept as any other tree.
            then.older.insert(0, before.unwrap_or_else(Tree::unknown));
            then.marks.insert(0, Birth::of(&self.root));
        }
        then.older.truncate(keep);
        then.marks.truncate(keep);
        let turn = Turn { inode: inode(next)?, birth: Birth::of(next), keep: Some(keep), then };
        record.turn = Some(Box::new(turn.clone()));
        self.place.write(&record)?;
        exchange::exchange(next, &self.root, &self.aside())?;
        self.end(&record, &turn)
    }

    /// Goes back to the tree before, which stays the one before then: twice is nothing.
    ///
    /// # Errors
    /// [`Error::NothingBefore`], or the system's.
    pub fn roll_back(&self) -> Result<Record> {
        let mut record = self.record()?;
        let before = self.older(1);
        if record.older.is_empty() || !before.exists() {
            return Err(Error::NothingBefore { path: self.root.clone() });
        }
        self.has_room(&record, 0)?;
        let mut then = record.clone();
        if let Some(mark) = then.marks.first_mut() {
            *mark = Birth::of(&self.root);
        }
        let now = then.older.remove(0);
        then.older.splice(0..0, then.current.replace(now));
        let (inode, birth) = (inode(&before)?, Birth::of(&before));
        let turn = Turn { inode, birth, keep: None, then: then.clone() };
        record.turn = Some(Box::new(turn.clone()));
        self.place.write(&record)?;
        exchange::exchange(&before, &self.root, &self.aside())?;
        self.end(&record, &turn)?;
        Ok(then)
    }

    /// Goes on with a turn that a run before has begun.
    pub(super) fn settle(&self) -> Result<()> {
        let mut record = self.record()?;
        let Some(turn) = record.turn.clone() else { return Ok(()) };
        let other = match turn.keep {
            Some(_) => exchange::beside(&self.root, "next"),
            None => self.older(1),
        };
        // Where the exchange is three renames.
        if is_there(&self.aside()) {
            if !is_there(&self.root) {
                rename(&other, &self.root)?;
            }
            rename(&self.aside(), &other)?;
        }
        let is_one = || turn.birth.is_none() || turn.birth == Birth::of(&self.root);
        if is_there(&self.root) && inode(&self.root)? == turn.inode && is_one() {
            return self.end(&record, &turn);
        }
        record.turn = None;
        self.place.write(&record)
    }

    /// What is left to do once the new tree has the directory's name.
    fn end(&self, record: &Record, turn: &Turn) -> Result<()> {
        // It has it for good: a file system may make the record last and not the names that are moved, and what is removed stays so.
        sync(&self.root)?;
        // The old tree has it now.
        let next = exchange::beside(&self.root, "next");
        if let Some(keep) = turn.keep {
            if keep > 0 && is_there(&next) {
                self.moved_up(keep)?;
                rename(&next, &self.older(1))?;
            }
            for number in (keep + 1..=record.older.len()).filter(|number| self.is_ours(record, *number)) {
                remove(&self.older(number))?;
            }
            remove(&self.gone())?;
            remove(&next)?;
        }
        self.place.write(&turn.then)?;
        if turn.keep.is_none() {
            // Two have exchanged their names; one that a sync was killed over may still lie there, and this says whose it is.
            return Ok(());
        }
        match fs::remove_file(self.place.path.join("next")) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(Error::io("remove", self.place.path.join("next"))),
        }
    }

    /// Makes the first name free: the others move up by one, the last of them aside where all are taken. There is one gap all the
    /// while, and it tells how far that is.
    fn moved_up(&self, keep: usize) -> Result<()> {
        let gap = (1..=keep).find(|number| !is_there(&self.older(*number)));
        if gap.is_none() {
            remove(&self.gone())?;
            rename(&self.older(keep), &self.gone())?;
        }
        (1..gap.unwrap_or(keep))
            .rev()
            .try_for_each(|number| rename(&self.older(number), &self.older(number + 1)))
    }
}
