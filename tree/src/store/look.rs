//! A store that is looked into: whoever asks what a machine would boot changes nothing by it.
//!
//! What such a look makes on its way (rendered templates, what a machine is given, a borrowed kernel) goes into a store of its
//! own, in a directory that the caller throws away. Below it lies the real one, which is read where that has nothing: no name
//! is made there, no file is touched, and a collection finds all of it as old as it was. Nothing is synced, for nobody is
//! promised any of it.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use super::{PARTS, Store, closed_to_others, has_format};
use crate::error::{Error, Result};

impl Store {
    /// Opens a store to look into it. `scratch` is a directory of the caller's own, which may go when the store is not used any
    /// more. Where there is no store at `path`, none is made: then it has nothing in it.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn look(path: &Path, scratch: &Path) -> Result<Arc<Self>> {
        let below = Self::if_there(path)?;
        // Also makes it.
        drop(Self::open(scratch)?);
        Self::opened(scratch, below).map(Arc::new)
    }

    /// The store at `path`, to read from; none where one is not there, or half made.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn if_there(path: &Path) -> Result<Option<Arc<Self>>> {
        let is_there = ["", "objects", "generations", "stacks"].iter().all(|part| path.join(part).exists());
        if !is_there || !has_format(path)? {
            // What may not be looked at is there all the same.
            return match path.try_exists() {
                Err(cause) => Err(Error::io("look at", path)(cause)),
                Ok(_) => Ok(None),
            };
        }
        for part in PARTS.into_iter().filter(|part| path.join(part).exists()) {
            closed_to_others(path, path.join(part), part.is_empty())?;
        }
        Self::opened(path, None).map(|store| Some(Arc::new(store)))
    }

    /// Whether this is laid over another store, so that nothing in it has to last.
    pub(super) fn is_look(&self) -> bool {
        self.below.is_some()
    }

    /// What was found here, or else below.
    pub(super) fn either<T>(
        &self,
        here: io::Result<T>,
        below: impl FnOnce(&Self) -> io::Result<T>,
    ) -> io::Result<T> {
        match (here, &self.below) {
            (Err(cause), Some(store)) if cause.kind() == ErrorKind::NotFound => below(store),
            (here, _) => here,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::node::{Content, Meta, TreePath};
    use crate::store::{How, Staged};
    use crate::{Ref, RefKind, Stage, Views};

    fn stage(store: &Arc<Store>, text: &[u8]) -> oneroot_ids::GenerationId {
        let mut stage = Stage::begin(store, |_| {}).unwrap();
        let root = Content::Directory { opaque: false };
        stage.insert(&TreePath::parse(b"").unwrap(), Meta::default(), root).unwrap();
        let file = stage.object(text, b"x").unwrap();
        stage.insert(&TreePath::parse(b"x").unwrap(), Meta::default(), file).unwrap();
        stage.finish().unwrap().generation
    }

    #[test]
    fn what_is_made_in_a_look_is_seen_there_and_never_below() {
        let home = tempfile::tempdir().unwrap();
        let (path, scratch) = (home.path().join("store"), home.path().join("scratch"));
        let store = Store::open(&path).unwrap();
        let old = stage(&store, b"old");
        let name = Ref::new(RefKind::Profile, "p").unwrap();
        store.stage_head(&name, Staged { generation: old, at: 1, how: How::Staged }).unwrap();

        let look = Store::look(&path, &scratch).unwrap();
        assert_eq!(look.head(&name).unwrap().unwrap().generation, old);
        let (same, new) = (stage(&look, b"old"), stage(&look, b"new"));
        assert_eq!(same, old, "the same input has the same name in both");
        look.stage_head(&name, Staged { generation: new, at: 2, how: How::Staged }).unwrap();
        let view = Views::new(look.clone()).load(look.put_stack(&[old, new]).unwrap()).unwrap();
        let object = view.object(view.follow(b"/x").unwrap()).unwrap();
        assert_eq!(io::read_to_string(look.object(object).unwrap()).unwrap(), "new");

        assert_eq!(store.head(&name).unwrap().unwrap().generation, old);
        assert!(store.generation(new).is_err() && !store.has_object(object));
        assert_eq!(fs::read_dir(path.join("stacks")).unwrap().count(), 0);
    }

    #[test]
    fn a_store_that_is_not_there_is_an_empty_one() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("store");
        let look = Store::look(&path, &home.path().join("scratch")).unwrap();
        assert_eq!(look.head(&Ref::new(RefKind::Profile, "p").unwrap()).unwrap(), None);
        assert!(!path.exists());
    }
}
