//! What a file is known by, and what changes with its bytes: device, inode number, times and size. What was found in a file
//! counts for as long as these are the same; what rots on a disk does not change them.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

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
        Ok(Self::from(&file.metadata()?))
    }

    /// That of a file by its name, which is not opened.
    ///
    /// # Errors
    /// The system's.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self::from(&std::fs::metadata(path)?))
    }
}

impl From<&Metadata> for FileMark {
    fn from(found: &Metadata) -> Self {
        Self {
            file: (found.dev(), found.ino()),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
            size: found.size(),
        }
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
