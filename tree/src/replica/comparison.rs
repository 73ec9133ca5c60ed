//! What a directory is beside what it is to be, and what has to come for that.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::incoming::Incoming;
use super::plan::Plan;
use crate::confine::Dir;
use crate::diff::{Change, Difference, diff};
use crate::error::{Error, Result};
use crate::index::Index;
use crate::node::Meta;
use crate::objects::{ObjectMap, ObjectSet};
use crate::stage::Survey;
use crate::store::Store;
use oneroot_ids::ObjectId;

/// What a directory is and what it is to be.
pub struct Comparison {
    pub(super) survey: Survey,
    pub(super) wanted: Arc<Index>,
    pub(super) plan: Plan,
    pub(super) kept: BTreeSet<Vec<u8>>,
}

impl Comparison {
    /// Whether the directory is what it is to be.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.plan.is_empty()
    }

    /// The directory as it was found.
    #[must_use]
    pub fn survey(&self) -> &Survey {
        &self.survey
    }

    /// All that differs, in order of paths; without what is kept.
    #[must_use]
    pub fn differences(&self) -> Vec<Difference> {
        let mut all = diff(&self.survey.index, &self.wanted);
        all.retain(|difference| {
            let is_kept = |kept: &Vec<u8>| {
                difference.path == *kept || difference.path.starts_with(&[kept.as_slice(), b"/"].concat())
            };
            !self.kept.iter().any(is_kept)
        });
        // What belongs to the host and not to the tree is no difference.
        all.retain(|difference| difference.what != Change::Changed(Vec::new()));
        all
    }

    /// The objects that are to come, in the order of the index, with their sizes: those that the directory has not, nor a store,
    /// nor a run before.
    #[must_use]
    pub fn missing(&self, incoming: &Incoming, store: Option<&Store>) -> Vec<(ObjectId, u64)> {
        let uses = self.plan.contents(&self.wanted);
        let there = self.places(&uses);
        those(&self.wanted, |object| uses.contains_key(object))
            .filter(|(object, size)| {
                *size > 0
                    && !incoming.has(*object)
                    && !there.contains_key(object)
                    && !store.is_some_and(|store| store.has_object(*object))
            })
            .collect()
    }

    /// How an object is to be described, where one file is made of it and it has no attributes.
    pub fn describes(&self) -> impl Fn(ObjectId) -> Option<Meta> + Sync + '_ {
        let mut files = ObjectMap::<Option<u32>>::default();
        let made = self
            .plan
            .make
            .iter()
            .filter_map(|(_, inode)| Some((self.wanted.inode(*inode)?.object()?, *inode)));
        for (object, inode) in made {
            files.entry(object).and_modify(|only| *only = None).or_insert(Some(inode));
        }
        move |object| {
            let meta = self.wanted.inode((*files.get(&object)?)?)?.meta();
            meta.xattrs.is_empty().then_some(meta)
        }
    }

    /// Where the directory has some of these objects.
    fn places(&self, uses: &ObjectMap<u64>) -> ObjectMap<u32> {
        let found = &self.survey.index;
        let inodes = (1..=found.inodes()).filter_map(|number| Some((found.inode(number)?.object()?, number)));
        inodes.filter(|(object, _)| uses.contains_key(object)).collect()
    }

    /// Copies what the directory or the store has of the contents that are needed to those that have come: in the tree, they may
    /// be gone before their turn.
    pub(super) fn bring(
        &self,
        root: Option<&Dir>,
        uses: &ObjectMap<u64>,
        incoming: &mut Incoming,
        store: Option<&Store>,
    ) -> Result<()> {
        let places = self.places(uses);
        for (object, size) in those(&self.wanted, |object| uses.contains_key(object)) {
            if size == 0 || incoming.has(object) {
                continue;
            }
            let from_tree = || {
                let path = path_of(&self.survey.index, *places.get(&object)?)?;
                root?.file(&path).ok()
            };
            let from_store = || store.and_then(|store| store.object(object).ok());
            let mut file = from_tree().or_else(from_store).ok_or(Error::NoObject(object))?;
            // What has begun to come of it is no beginning of these bytes, nor of what is read when these are other ones.
            incoming.forget(object);
            match incoming.receive(object, size, &mut file) {
                Err(Error::OtherObject(_) | Error::Cut(_)) => {
                    incoming.forget(object);
                    let mut file = from_store().ok_or(Error::NoObject(object))?;
                    incoming.receive(object, size, &mut file)?;
                }
                received => received?,
            }
        }
        Ok(())
    }
}

/// The objects of an index, each once, in the order in which files are numbered: what both sides of a transfer count by.
pub fn objects(index: &Index) -> impl Iterator<Item = (ObjectId, u64)> + '_ {
    those(index, |_| true)
}

/// Those of them for which this is true.
fn those(index: &Index, are: impl Fn(&ObjectId) -> bool) -> impl Iterator<Item = (ObjectId, u64)> {
    let mut met = ObjectSet::default();
    let inodes = (1..=index.inodes()).filter_map(|number| index.inode(number));
    inodes.filter_map(move |inode| {
        let object = inode.object().filter(&are)?;
        met.insert(object).then(|| (object, inode.size()))
    })
}

/// The path of a file, by its first name.
fn path_of(index: &Index, number: u32) -> Option<Vec<u8>> {
    let (mut at, mut names) = (index.inode(number)?, Vec::new());
    while let Some(name) = at.name() {
        names.push(name);
        at = index.inode(at.parent())?;
    }
    names.reverse();
    Some(names.join(&b'/'))
}
