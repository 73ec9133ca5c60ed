//! A directory of a disk that is kept equal to a generation or a view: `oneroot sync`.
//!
//! The directory is [surveyed](crate::stage::survey), compared with what it is to be (`plan`), the contents that neither it nor
//! a store has [come in](Incoming), and then it is changed: in place, a file at a time (`apply`), or as a whole tree beside it
//! that takes its name (`exchange`). What sync keeps for itself lies beside the directory (`place`).

mod apply;
mod arriving;
mod comparison;
mod exchange;
mod incoming;
mod memory;
mod place;
mod plan;
mod pulled;
mod removal;
mod staying;
#[cfg(test)]
mod tests;
mod turn;
mod user;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use crate::disk::{Lack, Lacks};
pub use apply::Steps;
pub use arriving::Describes;
pub use comparison::{Comparison, objects};
pub use incoming::Incoming;
pub use place::{Birth, Record, Tree};
pub use user::{User, as_far_as};

use crate::confine::Dir;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::objects::ObjectMap;
use crate::parallel::both;
use crate::stage::{Progress, Survey, survey};
use crate::store::Store;
use apply::Hands;
use memory::sync;
use oneroot_ids::{GenerationId, ObjectId};
use place::{INSIDE, Place};
use plan::Plan;

/// A directory that is synced, held by this process alone.
pub struct Replica {
    root: PathBuf,
    place: Place,
}

/// The path of a name in a directory, of which the root's is empty.
fn joined(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

/// How a directory is to be changed.
#[derive(Debug, Clone, Default)]
pub struct How {
    /// As a whole tree that takes the directory's name, with so many of those before it kept.
    pub whole: Option<usize>,
    /// Paths to which nothing happens, below the directory and without a leading slash.
    pub kept: BTreeSet<Vec<u8>>,
    /// That it is only compared: nothing is removed, not even what a run before has left.
    pub only_compared: bool,
}

/// What was done to a directory.
#[derive(Debug, Default)]
pub struct Applied {
    /// What could not be set.
    pub lacks: Lacks,
}

impl Replica {
    /// Opens a directory that is to be synced; makes it where it is not there.
    ///
    /// # Errors
    /// [`Error::Busy`], or the system's.
    pub fn open(directory: &Path) -> Result<Self> {
        let root = place::resolved(directory)?;
        let place = Place::open(&root)?;
        let replica = Self { root, place };
        replica.settle()?;
        Ok(replica)
    }

    /// Whether a directory has been synced before, or was begun to be. Nothing is made.
    ///
    /// # Errors
    /// The system's.
    pub fn is_begun(directory: &Path) -> Result<bool> {
        Ok(Place::is_there(&place::resolved(directory)?))
    }

    /// The directory, by a path without links.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where its own files lie.
    #[must_use]
    pub fn place(&self) -> &Path {
        &self.place.path
    }

    /// What it was made equal to, and what was before.
    ///
    /// # Errors
    /// The system's.
    pub fn record(&self) -> Result<Record> {
        self.place.record()
    }

    /// Notes whether a program that was to run after a change has not run well since.
    ///
    /// # Errors
    /// The system's.
    pub fn owe(&self, owed: bool) -> Result<()> {
        let record = Record { owed, ..self.record()? };
        self.place.write(&record)
    }

    /// An index that a run before has kept.
    #[must_use]
    pub fn known(&self, generation: GenerationId) -> Option<Arc<Index>> {
        self.place.memory.shared_generation(generation).ok()
    }

    /// Keeps an index for the next run.
    ///
    /// # Errors
    /// The system's.
    pub fn keep_index(&self, index: &Index) -> Result<()> {
        let written = self.place.memory.write_generation(index)?;
        self.place.memory.name_generation(written)
    }

    /// Looks at the directory as it is. `now` is the time since 1970.
    ///
    /// # Errors
    /// The system's; [`Error::NotWhole`].
    pub fn look(&self, how: &How, now: Duration, report: &mut dyn FnMut(Progress)) -> Result<Survey> {
        if let Some(keep) = how.whole {
            self.can_exchange()?;
            self.has_room(&self.record()?, keep)?;
            // Now: what goes with it moves the ctimes by which files are known.
            if !how.only_compared {
                exchange::clear(&self.root, &self.place.path)?;
            }
        }
        if !self.root.exists() {
            return Survey::nothing(&self.place.memory, &self.root, now);
        }
        let survey = survey(&self.place.memory, &self.root, &self.kept(how), now, report)?;
        if let (Some(first), true) = (survey.file_systems.first(), how.whole.is_some()) {
            let reason = format!("another file system is mounted on /{} in it", first.escape_ascii());
            return Err(Error::NotWhole { path: self.root.clone(), reason: reason.into() });
        }
        Ok(survey)
    }

    /// Finds out what is to be done for a directory that was found like this to be as `wanted` says.
    ///
    /// # Errors
    /// [`Error::Entry`] for what is to be kept where there can be no directory for it; [`Error::MountedOn`].
    pub fn compare(&self, survey: Survey, wanted: Arc<Index>, how: &How) -> Result<Comparison> {
        let mut kept = self.kept(how);
        kept.extend(survey.file_systems.iter().cloned());
        let plan = Plan::of(&survey.index, &wanted, &kept)?;
        if let Some(keep) = how.whole.filter(|_| !plan.is_empty()) {
            self.can_let_go(keep)?;
        }
        Ok(Comparison { survey, wanted, plan, kept })
    }

    /// What nothing happens to: what somebody has asked for, and sync's own.
    fn kept(&self, how: &How) -> BTreeSet<Vec<u8>> {
        let own = self.place.is_inside.then(|| INSIDE.to_vec());
        how.kept.iter().cloned().chain(own).collect()
    }

    fn can_exchange(&self) -> Result<()> {
        let refused =
            |reason: &'static str| Error::NotWhole { path: self.root.clone(), reason: reason.into() };
        if self.place.is_inside {
            return Err(refused("it is a file system of its own, or nothing may be written beside it"));
        }
        Ok(())
    }

    /// Changes the directory. All [missing](Comparison::missing) objects are in `incoming`, or in `store`. `tree` is what it is then.
    ///
    /// # Errors
    /// The system's. What was in place before stays whole: each file in place, or the whole tree.
    pub fn apply(
        &self,
        change: &Comparison,
        how: &How,
        incoming: &mut Incoming,
        store: Option<&Store>,
        tree: Tree,
        steps: Steps<'_>,
    ) -> Result<Applied> {
        // The index is written while the directory is changed: one that no record names is a memory of nothing.
        let (kept, lacks) = both(
            || self.keep_index(&change.wanted),
            || self.changed(change, how, incoming, store, tree.clone(), steps),
        );
        kept?;
        let lacks = lacks?;
        if how.whole.is_some() {
            let all: Vec<ObjectId> = incoming.all().collect();
            for object in all {
                let _ = fs::remove_file(incoming.path(object));
                incoming.moved(object);
            }
        }
        let dir = Dir::open(&self.root).map_err(Error::io("open", &self.root))?;
        let looked = memory::look(&dir, change, how.whole.is_some(), &lacks);
        sync(&self.root)?;
        let mut record = self.record()?;
        record.current = Some(tree);
        self.place.write(&record)?;
        if let Some(looked) = &looked {
            memory::remember(&self.place.memory, change, looked);
        }
        Ok(Applied { lacks })
    }

    /// Makes the directory what it is to be; what it lacks.
    fn changed(
        &self,
        change: &Comparison,
        how: &How,
        incoming: &mut Incoming,
        store: Option<&Store>,
        tree: Tree,
        steps: Steps<'_>,
    ) -> Result<Lacks> {
        let uses = change.plan.contents(&change.wanted);
        if how.whole.is_none() {
            crate::store::make_directory(&self.root).map_err(Error::io("create", &self.root))?;
        }
        let old = self
            .root
            .exists()
            .then(|| Dir::open(&self.root))
            .transpose()
            .map_err(Error::io("open", &self.root))?;
        change.bring(old.as_ref(), &uses, incoming, store)?;
        match how.whole {
            None => {
                // What is named lasts: the contents before their names in the tree.
                sync(incoming.place())?;
                let mut hands = Hands::on(&self.root, &change.wanted, incoming, uses, true)?;
                let carried_out = hands.carry_out(&change.plan, &change.survey, steps);
                let (lacks, moved) = (hands.lacks, hands.moved);
                moved.into_iter().for_each(|object| incoming.moved(object));
                carried_out.map(|()| lacks)
            }
            Some(_) if change.plan.is_empty() && old.is_some() => Ok(Lacks::default()),
            Some(keep) => {
                let (next, lacks) = self.filled(change, old.as_ref(), incoming, uses, steps)?;
                self.turn(&next, old.is_some(), keep, tree)?;
                Ok(lacks)
            }
        }
    }

    /// Makes the whole tree beside the directory; where it is, and what it lacks.
    fn filled(
        &self,
        change: &Comparison,
        old: Option<&Dir>,
        incoming: &mut Incoming,
        uses: ObjectMap<u64>,
        steps: Steps<'_>,
    ) -> Result<(PathBuf, Lacks)> {
        let next = exchange::begin(&self.root, &self.place.path)?;
        let mut hands = Hands::on(&next, &change.wanted, incoming, uses, false)?;
        exchange::fill(&mut hands, old, change, steps)?;
        let lacks = hands.lacks;
        sync(&next)?;
        Ok((next, lacks))
    }
}
