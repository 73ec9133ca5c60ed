//! Every object against its name, every index against its checksum, every stack against what it needs.
//!
//! Names are hashes, so the store can tell by itself whether a disk has kept what it was given.

use std::collections::HashSet;
use std::io::{self, Read as _};

use super::Store;
use super::gc::{ASIDE, names};
use crate::error::Result;
use oneroot_ids::{GenerationId, ObjectId, ViewId};

/// Bytes read at a time.
const CHUNK: usize = 256 * 1024;

/// Something that is not as its name says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// An object's bytes are not those that it is named by.
    #[error("object {0} has other bytes than its name says; stage its sources with --afresh")]
    Object(ObjectId),
    /// An object can't be read.
    #[error("object {0} cannot be read: {1}; stage its sources with --afresh")]
    Unreadable(ObjectId, String),
    /// A generation needs an object that is not there.
    #[error("generation {0} needs object {1}, which is not there; stage its source with --afresh")]
    Missing(GenerationId, ObjectId),
    /// An index does not read.
    #[error("{1}")]
    Generation(GenerationId, String),
    /// A stack needs a generation that is not there or does not read.
    #[error("view {0} needs generation {1}, which is not there")]
    Stack(ViewId, GenerationId),
    /// A name that nothing in a store has.
    #[error("{0} does not belong into a store")]
    Foreign(String),
}

/// How far it is, and what it has found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// Objects read.
    pub objects: u64,
    /// Bytes of those objects' contents.
    pub bytes: u64,
    /// Indexes read.
    pub generations: u64,
    /// Stacks read.
    pub stacks: u64,
}

impl Store {
    /// Reads all of the store. `report` is called as it goes on, `damaged` for each thing that is wrong.
    ///
    /// # Errors
    /// When a directory of the store can't be listed.
    pub fn verify(
        &self,
        report: &mut dyn FnMut(Checked),
        damaged: &mut dyn FnMut(Damage),
    ) -> Result<Checked> {
        let mut checked = Checked::default();
        let good = self.verify_objects(&mut checked, report, damaged)?;
        let whole = self.verify_generations(&good, &mut checked, report, damaged)?;
        for name in names(&self.path.join("stacks"))? {
            let Ok(id) = name.parse::<ViewId>() else { continue };
            for generation in self.stack(id)? {
                if !whole.contains(&generation) {
                    damaged(Damage::Stack(id, generation));
                }
            }
            checked.stacks += 1;
        }
        report(checked);
        Ok(checked)
    }

    /// Whether a generation can be read and each of its objects has what its name says. All of them are read for that.
    #[must_use]
    pub fn is_whole(&self, id: GenerationId) -> bool {
        let is_good = |object| self.hash_object(object, &mut |_| {}).is_ok_and(|hash| hash == object);
        self.generation(id).is_ok_and(|index| {
            (1..=index.inodes()).filter_map(|number| index.inode(number)?.object()).all(is_good)
        })
    }

    /// The objects that have what their names say.
    fn verify_objects(
        &self,
        checked: &mut Checked,
        report: &mut dyn FnMut(Checked),
        damaged: &mut dyn FnMut(Damage),
    ) -> Result<HashSet<ObjectId>> {
        let mut good = HashSet::new();
        let objects = self.path.join("objects");
        for head in names(&objects)? {
            for tail in names(&objects.join(&head))? {
                let Ok(id) = format!("{head}{tail}").parse::<ObjectId>() else {
                    if tail.ends_with(ASIDE) {
                        continue;
                    }
                    damaged(Damage::Foreign(format!("objects/{head}/{tail}")));
                    continue;
                };
                let hash = self.hash_object(id, &mut |count| {
                    checked.bytes += count;
                    report(*checked);
                });
                match hash {
                    Ok(hash) if hash == id => drop(good.insert(id)),
                    Ok(_) => damaged(Damage::Object(id)),
                    Err(cause) => damaged(Damage::Unreadable(id, cause.to_string())),
                }
                checked.objects += 1;
            }
        }
        Ok(good)
    }

    /// The generations that can be read; of each, the objects that are not there are told.
    fn verify_generations(
        &self,
        good: &HashSet<ObjectId>,
        checked: &mut Checked,
        report: &mut dyn FnMut(Checked),
        damaged: &mut dyn FnMut(Damage),
    ) -> Result<HashSet<GenerationId>> {
        let mut whole = HashSet::new();
        for name in names(&self.path.join("generations"))? {
            let Ok(id) = name.parse::<GenerationId>() else {
                if !name.starts_with('.') && !name.ends_with(ASIDE) {
                    damaged(Damage::Foreign(format!("generations/{name}")));
                }
                continue;
            };
            match self.generation(id) {
                Ok(index) => {
                    whole.insert(id);
                    let needed = (1..=index.inodes()).filter_map(|number| index.inode(number)?.object());
                    // What is there and wrong was told; here, what is not there at all.
                    let missing = needed.filter(|object| !good.contains(object) && !self.has_object(*object));
                    let mut told = HashSet::new();
                    missing
                        .filter(|object| told.insert(*object))
                        .for_each(|object| damaged(Damage::Missing(id, object)));
                }
                Err(cause) => damaged(Damage::Generation(id, cause.to_string())),
            }
            checked.generations += 1;
            report(*checked);
        }
        Ok(whole)
    }

    /// The hash of what an object has, which should be its name. `read` hears of the bytes as they are read.
    pub(crate) fn hash_object(&self, id: ObjectId, read: &mut dyn FnMut(u64)) -> io::Result<ObjectId> {
        let mut file = self.object(id)?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; CHUNK];
        loop {
            let count = match file.read(&mut buffer) {
                Ok(0) => return Ok(ObjectId(*hasher.finalize().as_bytes())),
                Ok(count) => count,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                Err(cause) => return Err(cause),
            };
            hasher.update(buffer.get(..count).unwrap_or_default());
            read(count as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Stage;
    use std::fs;

    fn damage(store: &Store) -> Vec<Damage> {
        let mut found = Vec::new();
        store.verify(&mut |_| {}, &mut |damage| found.push(damage)).unwrap();
        found
    }

    #[test]
    fn a_whole_store_is_good_and_a_flipped_bit_a_lost_object_and_a_torn_index_are_found() {
        let home = tempfile::tempdir().unwrap();
        let source = home.path().join("source");
        fs::create_dir_all(&source).unwrap();
        fs::write(source.join("a"), "first").unwrap();
        fs::write(source.join("b"), "second").unwrap();
        let store = Store::open(&home.path().join("store")).unwrap();
        let mut stage = Stage::begin(&store, |_| {}).unwrap();
        stage.directory(&source).unwrap();
        let generation = stage.finish().unwrap().generation;
        let view = store.put_stack(&[generation]).unwrap();
        assert_eq!(damage(&store), []);

        let object = |text: &str| ObjectId(*blake3::hash(text.as_bytes()).as_bytes());
        let write = |id: ObjectId, text: &str| {
            let path = store.object_path(id);
            let mut permissions = fs::metadata(&path).unwrap().permissions();
            #[allow(clippy::permissions_set_readonly_false, reason = "a disk that lies asks nobody")]
            permissions.set_readonly(false);
            fs::set_permissions(&path, permissions).unwrap();
            fs::write(path, text).unwrap();
        };
        write(object("first"), "firsT");
        assert_eq!(damage(&store), [Damage::Object(object("first"))]);
        write(object("first"), "first");
        fs::remove_file(store.object_path(object("second"))).unwrap();
        assert_eq!(damage(&store), [Damage::Missing(generation, object("second"))]);

        let index = home.path().join("store/generations").join(generation.to_string());
        let mut bytes = fs::read(&index).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::remove_file(&index).unwrap();
        fs::write(&index, bytes).unwrap();
        let found = damage(&store);
        assert!(
            matches!(found.as_slice(), [Damage::Generation(..), Damage::Stack(id, _)] if *id == view),
            "{found:?}"
        );
    }
}
