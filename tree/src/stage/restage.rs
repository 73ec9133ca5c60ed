//! What staging a directory again promises: the same generation as reading everything, for the reading of what changed.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::*;

struct Home {
    _home: tempfile::TempDir,
    store: Arc<Store>,
    root: PathBuf,
}

impl Home {
    /// A tree of three files in two directories, one file with two names.
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("store")).unwrap();
        let root = home.path().join("root");
        fs::create_dir_all(root.join("etc/deep")).unwrap();
        fs::write(root.join("etc/motd"), "hello\n").unwrap();
        fs::hard_link(root.join("etc/motd"), root.join("etc/issue")).unwrap();
        fs::write(root.join("etc/deep/a"), "a").unwrap();
        fs::write(root.join("b"), "b").unwrap();
        Self { _home: home, store, root }
    }

    /// Stages as if an hour had gone by since the files were written.
    fn again(&self) -> Finished {
        self.at(SystemTime::now() + Duration::from_secs(3600), false)
    }

    fn at(&self, now: SystemTime, afresh: bool) -> Finished {
        let mut stage = Stage::begin(&self.store, |_| {}).unwrap();
        stage.remember(now.duration_since(SystemTime::UNIX_EPOCH).unwrap(), afresh);
        if afresh {
            stage.distrust();
        }
        stage.directory(&self.root).unwrap();
        stage.finish().unwrap()
    }

    /// Reading everything, and remembering nothing.
    fn whole(&self) -> GenerationId {
        let mut stage = Stage::begin(&self.store, |_| {}).unwrap();
        stage.directory(&self.root).unwrap();
        stage.finish().unwrap().generation
    }
}

/// Other bytes of the same length, with the mtime that it had.
fn rewrite_with_the_same_mtime(path: &Path, text: &str) {
    let before = fs::metadata(path).unwrap();
    assert_eq!(before.size(), text.len() as u64);
    fs::write(path, text).unwrap();
    File::options().append(true).open(path).unwrap().set_modified(before.modified().unwrap()).unwrap();
}

#[test]
fn unchanged_files_are_not_read_again_and_the_generation_is_the_same() {
    let home = Home::new();
    let first = home.again();
    assert_eq!((first.progress.unread, first.progress.bytes), (0, 8));
    let second = home.again();
    assert_eq!((second.progress.unread, second.progress.bytes), (3, 0));
    assert_eq!((first.generation, home.whole()), (second.generation, second.generation));
}

#[test]
fn a_changed_file_is_read_though_size_and_mtime_are_as_they_were() {
    let home = Home::new();
    home.again();
    rewrite_with_the_same_mtime(&home.root.join("etc/deep/a"), "A");
    let second = home.again();
    assert_eq!((second.progress.unread, second.progress.bytes), (2, 1), "its ctime gave it away");
    assert_eq!(second.generation, home.whole());
}

#[test]
fn a_file_written_in_the_moment_of_staging_is_read_again_next_time() {
    let home = Home::new();
    // The clock says that the files were written just now: a write that follows could have the same times.
    home.at(SystemTime::now(), false);
    let second = home.again();
    assert_eq!(second.progress.unread, 0);
    assert_eq!(home.again().progress.unread, 3);
}

#[test]
fn another_file_under_the_name_is_read_and_a_new_mode_needs_no_reading_of_the_others() {
    let home = Home::new();
    home.again();
    fs::write(home.root.join("new"), "b").unwrap();
    fs::rename(home.root.join("new"), home.root.join("b")).unwrap();
    fs::set_permissions(home.root.join("etc/deep/a"), fs::Permissions::from_mode(0o600)).unwrap();
    let second = home.again();
    assert_eq!(second.progress.unread, 1, "only the one with two names is as it was");
    assert_eq!(second.generation, home.whole());
}

#[test]
fn what_was_moved_removed_or_linked_anew_is_as_if_all_was_read() {
    let home = Home::new();
    home.again();
    fs::rename(home.root.join("etc/deep"), home.root.join("etc/moved")).unwrap();
    fs::remove_file(home.root.join("etc/motd")).unwrap();
    fs::hard_link(home.root.join("b"), home.root.join("c")).unwrap();
    assert_eq!(home.again().generation, home.whole());
    assert_eq!(home.again().generation, home.whole());
}

#[test]
fn a_memory_that_is_torn_or_whose_generation_is_gone_is_no_memory() {
    let home = Home::new();
    let first = home.again();
    let memory = fs::read_dir(home.store.path().join("seen")).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(&memory).unwrap();
    for at in [0, 20, 50, 60, bytes.len() - 40, bytes.len() - 1] {
        let mut torn = bytes.clone();
        torn[at] ^= 1;
        fs::write(&memory, &torn).unwrap();
        assert_eq!(home.again().progress.unread, 0, "a flipped bit at {at}");
        fs::write(&memory, &bytes[..at]).unwrap();
        assert_eq!(home.again().progress.unread, 0, "cut at {at}");
    }
    assert_eq!(home.again().progress.unread, 3);
    let index = home.store.path().join("generations").join(first.generation.to_string());
    fs::remove_file(index).unwrap();
    assert_eq!(home.again().progress.unread, 0);
}

#[test]
fn afresh_reads_everything_and_brings_back_a_lost_object() {
    let home = Home::new();
    home.again();
    let object = oneroot_ids::ObjectId(*blake3::hash(b"hello\n").as_bytes());
    fs::remove_file(home.store.object_path(object)).unwrap();
    home.again();
    assert!(!home.store.has_object(object), "nothing was read");
    let afresh = home.at(SystemTime::now() + Duration::from_secs(3600), true);
    assert_eq!(afresh.progress.new_objects, 1);
    assert!(home.store.has_object(object));
}

#[test]
fn afresh_puts_right_what_the_disk_has_changed_of_small_files_and_large_and_cut_off() {
    let home = Home::new();
    let large = vec![7; 3 * contents::CHUNK];
    fs::write(home.root.join("large"), &large).unwrap();
    // Twice in the tree: found damaged once.
    fs::write(home.root.join("etc/b"), "b").unwrap();
    home.again();
    let path = |bytes: &[u8]| home.store.object_path(oneroot_ids::ObjectId(*blake3::hash(bytes).as_bytes()));
    let write = |path: PathBuf, bytes: &[u8]| {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(path, bytes).unwrap();
    };
    write(path(b"b"), b"c");
    write(path(b"hello\n"), b"");
    let mut changed = large.clone();
    changed[large.len() - 1] ^= 1;
    write(path(&large), &changed);
    let later = SystemTime::now() + Duration::from_secs(3600);
    let finished = home.at(later, true);
    assert_eq!((finished.progress.mended, finished.progress.new_objects), (3, 3));
    for bytes in [&b"b"[..], b"hello\n", b"a", &large] {
        assert!(fs::read(path(bytes)).unwrap() == bytes);
    }
    assert_eq!(home.at(later, true).progress.mended, 0);
}

#[test]
fn zeros_over_a_stated_size_are_refused_with_the_file_s_name_whatever_they_are_read_from() {
    let home = Home::new();
    let zeros = vec![0; 4 * contents::CHUNK];
    let stage = |most: u64| {
        let mut stage = Stage::begin(&home.store, |_| {}).unwrap();
        stage.contents.limit_holes(most);
        stage
    };
    assert!(stage(zeros.len() as u64).object(zeros.as_slice(), b"here").is_ok());
    let refused = stage(zeros.len() as u64 - 1).object(zeros.as_slice(), b"here").unwrap_err();
    assert!(refused.to_string().contains("here"), "{refused}");
    // Several files together; holes that are on no disk, before they are read.
    File::create(home.root.join("one")).unwrap().set_len(4 << 20).unwrap();
    assert!(stage(4 << 20).directory(&home.root).is_ok());
    assert!(stage((4 << 20) - 1).directory(&home.root).is_err());
    File::create(home.root.join("etc/two")).unwrap().set_len(4 << 20).unwrap();
    assert!(stage(4 << 20).directory(&home.root).is_err());
    assert!(stage(8 << 20).directory(&home.root).is_ok());
}

#[test]
fn a_collection_forgets_what_goes_with_its_generation_and_keeps_the_rest() {
    let home = Home::new();
    let first = home.again();
    let count = || fs::read_dir(home.store.path().join("seen")).unwrap().count();
    let needed = |generations: &[GenerationId]| crate::store::Needed {
        generations: generations.iter().copied().collect(),
        ..Default::default()
    };
    let collect = |generations: &[GenerationId]| {
        let later = SystemTime::now() + Duration::from_secs(1_000_000);
        home.store.collect(&needed(generations), crate::store::SHORTEST_GRACE, later, false).unwrap();
    };
    collect(&[first.generation]);
    assert_eq!(count(), 1);
    collect(&[]);
    assert_eq!(count(), 0);
}
