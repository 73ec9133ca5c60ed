//! What a file is known by, and what changes with its bytes: device, inode number, times and size. What was found in a file
//! counts for as long as these are the same; what rots on a disk does not change them.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use oneroot_ids::GenerationId;

use super::Store;

/// That of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMark {
    file: (u64, u64),
    modified: (i64, i64),
    changed: (i64, i64),
    size: u64,
}

impl FileMark {
    /// That of an open file.
    ///
    /// # Errors
    /// The system's.
    pub fn of(file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self {
            file: (found.dev(), found.ino()),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
            size: found.size(),
        })
    }
}

impl Store {
    /// Those of a generation's objects, none of which is read; nothing where the generation can't be read, or an object is not there.
    #[must_use]
    pub fn marks(&self, id: GenerationId) -> Option<Vec<FileMark>> {
        let index = self.generation(id).ok()?;
        let objects = (1..=index.inodes()).filter_map(|number| index.inode(number)?.object());
        objects.map(|object| FileMark::of(&self.object(object).ok()?).ok()).collect()
    }
}
