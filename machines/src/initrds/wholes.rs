//! Initrds that were read and found as they were written, so that many machines that boot at once don't have them read for each:
//! what was found counts as long as their files are the same, and for some boots: a disk that rots changes no mark.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use oneroot_ids::GenerationId;
use oneroot_tree::store::FileMark;
use quick_cache::sync::Cache;

/// Initrds that are remembered.
const MOST: usize = 1_000;
/// Boots for which one that was read counts.
const COUNTS: u32 = 64;

/// What the files of each were when they were read, and how often that was asked since.
pub struct Wholes(Cache<GenerationId, Arc<(Vec<FileMark>, AtomicU32)>>);

impl Default for Wholes {
    fn default() -> Self {
        Self(Cache::new(MOST))
    }
}

impl Wholes {
    /// Whether an initrd is whole; `read` looks, where nobody has since its files became what `marks` say.
    pub fn is_whole(&self, initrd: GenerationId, marks: Vec<FileMark>, read: impl FnOnce() -> bool) -> bool {
        let counts = |known: &(Vec<FileMark>, AtomicU32)| {
            known.0 == marks && known.1.fetch_add(1, Ordering::Relaxed) < COUNTS
        };
        if self.0.get(&initrd).is_some_and(|known| counts(&known)) {
            return true;
        }
        let is_whole = read();
        if is_whole {
            self.0.insert(initrd, Arc::new((marks, AtomicU32::new(0))));
        }
        is_whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_initrd_is_read_for_the_first_machine_and_again_once_its_file_was_written_or_moved() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("object");
        let (wholes, initrd) = (Wholes::default(), GenerationId([1; 32]));
        let mut reads = 0;
        let mut ask = |is_whole| {
            let marks = vec![FileMark::of(&std::fs::File::open(&path).unwrap()).unwrap()];
            let read = || {
                reads += 1;
                is_whole
            };
            (wholes.is_whole(initrd, marks, read), reads)
        };
        std::fs::write(&path, "whole").unwrap();
        assert_eq!([ask(true), ask(true), ask(true)], [(true, 1); 3]);
        std::fs::write(directory.path().join("new"), "rotten").unwrap();
        std::fs::rename(directory.path().join("new"), &path).unwrap();
        assert_eq!([ask(false), ask(false)], [(false, 2), (false, 3)], "what is damaged is not remembered");
        assert_eq!([ask(true), ask(true)], [(true, 4); 2]);
        // One that rots where it lies is read again after some boots.
        let found = (0..COUNTS).map(|_| ask(false)).last().unwrap();
        assert_eq!(found, (false, 5));
    }
}
