//! Letting go of what nobody needs any more.
//!
//! Needed is what the caller names (heads and their history, the views of pins), and whatever is younger than a grace
//! time: a stage or a plan under way names nothing yet. What is used again without being written (an object that a stage
//! finds there, a rendered layer) is made young first ([`Store::keep_object`], [`Store::keep_generation`]). So there is
//! no lock, and nobody waits for a collection.
//!
//! Each thing is moved aside before it is removed, and looked at again there: had somebody made it young in that moment,
//! it goes back. Indexes go before objects are looked at, so an index that is there always has its objects.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Store;
use crate::confine::{Dir, lock_file};
use crate::error::{Error, Result};
use crate::lock::Lock;
use oneroot_ids::{GenerationId, ObjectId, ViewId};

/// Shortest grace time. A stage reads its first object long before it names its index.
pub const SHORTEST_GRACE: Duration = Duration::from_secs(3600);

/// Ending of what is moved aside.
pub(super) const ASIDE: &str = "gone";

/// What a collection has removed, or would.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Stacks, of which a view is made: no pin names them any more.
    pub stacks: u64,
    /// Generations that no reference, assignment or stack needs.
    pub generations: u64,
    /// Files' contents that are in no generation that stays.
    pub objects: u64,
    /// Bytes of the disk that all of them took: less than their contents where those have holes.
    pub freed: u64,
}

/// What a collection leaves, however old it is, with all that it is made of.
#[derive(Debug, Clone, Default)]
pub struct Needed {
    /// Views that pins hold.
    pub views: HashSet<ViewId>,
    /// Generations that references keep, or that machines are assigned.
    pub generations: HashSet<GenerationId>,
}

/// Generations that nobody needs, and where each lies.
type OldGenerations = Vec<(GenerationId, PathBuf)>;

impl Store {
    /// Removes what is neither needed nor younger than `grace` before `now`. With `dry`, only counts.
    ///
    /// # Errors
    /// The system's, or [`Error::NoStack`] when a needed view can't be read: then nothing is removed, for it could need
    /// anything.
    pub fn collect(&self, needed: &Needed, grace: Duration, now: SystemTime, dry: bool) -> Result<Collected> {
        let lock_path = self.path.join("gc.lock");
        let lock = lock_file(&lock_path).map_err(Error::io("create", &lock_path))?;
        let _lock = Lock::now(lock).map_err(Error::io("lock (another collection runs)", &lock_path))?;
        self.put_back_what_a_crash_left()?;
        let young_from = now.checked_sub(grace.max(SHORTEST_GRACE)).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut collected = Collected::default();
        let (generations, old_stacks) = self.sort_stacks(needed, young_from)?;
        let (mut kept, old_generations) = self.sort_generations(&generations, young_from)?;
        for path in old_stacks {
            if let Some(freed) = self.remove(&path, young_from, dry)? {
                collected.stacks += 1;
                collected.freed += freed;
            }
        }
        for (id, path) in old_generations {
            match self.remove(&path, young_from, dry)? {
                Some(freed) => {
                    collected.generations += 1;
                    collected.freed += freed;
                }
                None => kept.push(id),
            }
        }
        self.collect_objects(&kept, young_from, dry, &mut collected)?;
        self.collect_transfers(young_from, dry, &mut collected)?;
        if !dry {
            super::stat_cache::forget_the_dead(self)?;
        }
        Ok(collected)
    }

    /// The generations that are needed, by themselves or by a stack that stays; and the stacks that go.
    fn sort_stacks(
        &self,
        needed: &Needed,
        young_from: SystemTime,
    ) -> Result<(HashSet<GenerationId>, Vec<PathBuf>)> {
        let (mut generations, mut old) = (needed.generations.clone(), Vec::new());
        for name in names(&self.path.join("stacks"))? {
            let path = self.path.join("stacks").join(&name);
            let Ok(view) = name.parse::<ViewId>() else { continue };
            if needed.views.contains(&view) || !is_old(&path, young_from) {
                generations.extend(self.stack(view)?);
            } else {
                old.push(path);
            }
        }
        let lost = |view: &&ViewId| !self.path.join("stacks").join(view.to_string()).exists();
        match needed.views.iter().find(lost) {
            Some(lost) => Err(Error::NoStack(*lost)),
            None => Ok((generations, old)),
        }
    }

    /// The generations that stay, and those that go.
    fn sort_generations(
        &self,
        needed: &HashSet<GenerationId>,
        young_from: SystemTime,
    ) -> Result<(Vec<GenerationId>, OldGenerations)> {
        let (mut kept, mut old) = (Vec::new(), OldGenerations::new());
        for name in names(&self.path.join("generations"))? {
            let path = self.path.join("generations").join(&name);
            let Ok(id) = name.parse::<GenerationId>() else { continue };
            if needed.contains(&id) || !is_old(&path, young_from) {
                kept.push(id);
            } else {
                old.push((id, path));
            }
        }
        Ok((kept, old))
    }

    /// Removes the old objects that no generation of these has.
    fn collect_objects(
        &self,
        kept: &[GenerationId],
        young_from: SystemTime,
        dry: bool,
        collected: &mut Collected,
    ) -> Result<()> {
        let mut objects = HashSet::new();
        for id in kept {
            let index = self.generation(*id)?;
            objects.extend((1..=index.inodes()).filter_map(|number| index.inode(number)?.object()));
        }
        let home = self.path.join("objects");
        for head in names(&home)? {
            for tail in names(&home.join(&head))? {
                let Ok(id) = format!("{head}{tail}").parse::<ObjectId>() else { continue };
                let path = home.join(&head).join(&tail);
                if objects.contains(&id) || !is_old(&path, young_from) {
                    continue;
                }
                if let Some(freed) = self.remove(&path, young_from, dry)? {
                    collected.objects += 1;
                    collected.freed += freed;
                }
            }
        }
        Ok(())
    }

    /// What is left of a pull that nobody has gone on with.
    fn collect_transfers(&self, young_from: SystemTime, dry: bool, collected: &mut Collected) -> Result<()> {
        let home = self.path.join("incoming");
        if !home.exists() {
            return Ok(());
        }
        // A pull that is under way holds it, and may be at it for longer than anything else stays young.
        let home_file = File::open(&home).map_err(Error::io("open", &home))?;
        let Ok(_lock) = Lock::now(home_file) else { return Ok(()) };
        let mut all = Vec::new();
        for part in names(&home)?.into_iter().map(|name| home.join(name)).filter(|part| part.is_dir()) {
            all.extend(names(&part)?.into_iter().map(|name| part.join(name)));
        }
        for path in all {
            if is_old(&path, young_from)
                && let Some(freed) = self.remove(&path, young_from, dry)?
            {
                collected.objects += 1;
                collected.freed += freed;
            }
        }
        Ok(())
    }

    /// Removes one file, unless it has become young meanwhile; what it took of the disk when it is gone.
    fn remove(&self, path: &Path, young_from: SystemTime, dry: bool) -> Result<Option<u64>> {
        if dry {
            return Ok(fs::metadata(path).ok().map(|found| disk_space(&found)));
        }
        let aside = path.with_extension(ASIDE);
        match fs::rename(path, &aside) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
            moved => moved.map_err(Error::io("move aside", path))?,
        }
        let found = fs::metadata(&aside).map_err(Error::io("look at", &aside))?;
        if found.modified().is_ok_and(|time| time >= young_from) {
            fs::rename(&aside, path).map_err(Error::io("put back", path))?;
            return Ok(None);
        }
        fs::remove_file(&aside).map_err(Error::io("remove", &aside))?;
        Ok(Some(disk_space(&found)))
    }

    /// A collection that was killed between moving aside and removing did not get to look again. Nor does it matter
    /// whether the thing was needed: it goes back, and is looked at like any other.
    fn put_back_what_a_crash_left(&self) -> Result<()> {
        let mut places = vec![self.path.join("stacks"), self.path.join("generations")];
        let objects = self.path.join("objects");
        places.extend(names(&objects)?.into_iter().map(|head| objects.join(head)));
        for place in places {
            for name in names(&place)? {
                if let Some(own) = name.strip_suffix(ASIDE).and_then(|name| name.strip_suffix('.')) {
                    fs::rename(place.join(&name), place.join(own))
                        .map_err(Error::io("put back", place.join(own)))?;
                }
            }
        }
        Ok(())
    }

    /// Whether an object is there; if so, it is young again, for somebody is about to need it.
    #[must_use]
    pub fn keep_object(&self, id: ObjectId) -> bool {
        make_young(&self.object_path(id)) || self.below.as_ref().is_some_and(|below| below.has_object(id))
    }

    /// The same for a generation.
    #[must_use]
    pub fn keep_generation(&self, id: GenerationId) -> bool {
        let name = id.to_string();
        let is_below = |below: &Arc<Self>| open_wherever(&below.generations, &name).is_ok();
        make_young(&self.path.join("generations").join(&name)) || self.below.as_ref().is_some_and(is_below)
    }
}

/// Opens what may be aside at this moment, to go back: a collection that looks at what has just become needed moves it
/// for an instant, and one that is killed then leaves it there until the next.
pub(super) fn open_wherever(directory: &Dir, name: &str) -> io::Result<File> {
    let aside = format!("{name}.{ASIDE}");
    let mut last = directory.file(name.as_bytes());
    for name in [&aside, name] {
        match last {
            Err(cause) if cause.kind() == ErrorKind::NotFound => last = directory.file(name.as_bytes()),
            opened => return opened,
        }
    }
    last
}

pub(super) fn make_young(path: &Path) -> bool {
    let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    let times = rustix::fs::Timestamps { last_access: now, last_modification: now };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::empty()).is_ok()
        // It may have been moved aside and looked at between the kernel's finding it and changing it.
        && path.exists()
}

/// What a file takes of the disk. It says so in units of 512 bytes, whatever the file system's blocks are (stat(3type)).
pub(crate) fn disk_space(found: &fs::Metadata) -> u64 {
    found.blocks().saturating_mul(512)
}

fn is_old(path: &Path, young_from: SystemTime) -> bool {
    fs::metadata(path).and_then(|found| found.modified()).is_ok_and(|time| time < young_from)
}

/// The names in a directory, in order; none where there is no directory.
pub(super) fn names(directory: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io("list", directory))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("list", directory))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Stage;
    use std::path::PathBuf;

    struct Home {
        home: tempfile::TempDir,
        store: Arc<Store>,
    }

    impl Home {
        fn new() -> Self {
            let home = tempfile::tempdir().unwrap();
            let store = Store::open(&home.path().join("store")).unwrap();
            Self { home, store }
        }

        /// A generation of one file of its own and one that all share, and its view.
        fn stage(&self, text: &str) -> (GenerationId, ViewId) {
            let source = self.home.path().join("source");
            fs::create_dir_all(&source).unwrap();
            fs::write(source.join("own"), text).unwrap();
            fs::write(source.join("shared"), "shared").unwrap();
            let mut stage = Stage::begin(&self.store, |_| {}).unwrap();
            stage.directory(&source).unwrap();
            let generation = stage.finish().unwrap().generation;
            (generation, self.store.put_stack(&[generation]).unwrap())
        }

        fn collect(&self, needed: &Needed, days: u64, dry: bool) -> Collected {
            let now = SystemTime::now() + Duration::from_secs(days * 86_400);
            self.store.collect(needed, SHORTEST_GRACE, now, dry).unwrap()
        }

        fn verify(&self) -> usize {
            let mut damage = 0;
            self.store.verify(&mut |_| {}, &mut |_| damage += 1).unwrap();
            damage
        }
    }

    fn needed(views: &[ViewId], generations: &[GenerationId]) -> Needed {
        Needed { views: views.iter().copied().collect(), generations: generations.iter().copied().collect() }
    }

    #[test]
    fn what_a_pin_or_a_reference_needs_stays_and_all_else_goes() {
        let home = Home::new();
        let (pinned, head, gone) = (home.stage("pinned"), home.stage("head"), home.stage("gone"));
        let needed = needed(&[pinned.1], &[head.0]);
        let would = home.collect(&needed, 1, true);
        assert_eq!((would.generations, would.objects), (1, 1), "a dry run counts and removes nothing");
        assert!(would.freed > 0);
        assert!(home.store.generation(gone.0).is_ok());
        let collected = home.collect(&needed, 1, false);
        assert_eq!(collected, would);
        assert_eq!((collected.stacks, collected.generations, collected.objects), (2, 1, 1));
        assert!(home.store.generation(gone.0).is_err() && home.store.stack(gone.1).is_err());
        assert_eq!(home.verify(), 0);
        assert_eq!(home.collect(&needed, 1, false), Collected::default());
    }

    #[test]
    fn what_is_freed_is_room_on_the_disk_and_holes_are_none() {
        const LENGTH: u64 = 64 << 20;
        let home = Home::new();
        let source = home.home.path().join("source");
        fs::create_dir_all(&source).unwrap();
        let holes = File::create(source.join("holes")).unwrap();
        holes.set_len(LENGTH).unwrap();
        std::os::unix::fs::FileExt::write_at(&holes, b"end", LENGTH - 3).unwrap();
        let mut stage = Stage::begin(&home.store, |_| {}).unwrap();
        stage.directory(&source).unwrap();
        let finished = stage.finish().unwrap();
        let index = finished.index;
        let object = (1..=index.inodes()).find_map(|number| index.inode(number)?.object()).unwrap();
        let taken = disk_space(&home.store.object(object).unwrap().metadata().unwrap());
        assert!((1..LENGTH / 8).contains(&taken), "{taken}: this file system keeps holes");
        assert_eq!((finished.progress.new_bytes, finished.progress.new_on_disk), (LENGTH, taken));
        for dry in [true, false] {
            let collected = home.collect(&Needed::default(), 1, dry);
            assert!((taken..LENGTH / 4).contains(&collected.freed), "{taken}: {collected:?}");
        }
    }

    #[test]
    fn what_is_young_stays_whoever_needs_it() {
        let home = Home::new();
        let (generation, _) = home.stage("young");
        assert_eq!(home.collect(&Needed::default(), 0, false), Collected::default());
        assert!(home.store.generation(generation).is_ok());
        // Used again after a long time, without being written.
        let later = SystemTime::now() - Duration::from_secs(1_000_000);
        for path in walk(home.store.path()) {
            fs::File::open(&path).unwrap().set_modified(later).unwrap();
        }
        assert!(home.store.keep_generation(generation));
        home.collect(&Needed::default(), 0, false);
        assert!(home.store.generation(generation).is_ok());
        assert_eq!(home.verify(), 0, "its objects stayed with it");
    }

    #[test]
    fn a_stage_that_finds_an_old_object_there_keeps_it() {
        let home = Home::new();
        home.stage("old");
        let long_ago = SystemTime::now() - Duration::from_secs(1_000_000);
        for path in walk(home.store.path()) {
            fs::File::open(&path).unwrap().set_modified(long_ago).unwrap();
        }
        // It shares an object with the old one, and a collection runs before it names its index.
        let mut stage = Stage::begin(&home.store, |_| {}).unwrap();
        stage.directory(&home.home.path().join("source")).unwrap();
        home.collect(&Needed::default(), 0, false);
        stage.finish().unwrap();
        assert_eq!(home.verify(), 0);
    }

    #[test]
    fn what_a_killed_collection_had_moved_aside_goes_back() {
        let home = Home::new();
        let (generation, _) = home.stage("x");
        let mut moved = 0;
        for path in walk(home.store.path())
            .into_iter()
            .filter(|path| path.file_name().is_some_and(|name| name.len() > 30))
        {
            fs::rename(&path, path.with_extension(ASIDE)).unwrap();
            moved += 1;
        }
        assert!(moved >= 4, "two objects, an index, a stack");
        home.collect(&needed(&[], &[generation]), 0, false);
        assert_eq!(home.verify(), 0);
        assert!(home.store.generation(generation).is_ok());
    }

    #[test]
    fn what_became_young_since_it_was_looked_at_goes_back() {
        let home = Home::new();
        let (generation, _) = home.stage("x");
        let path = home.store.path().join("generations").join(generation.to_string());
        let minutes_ago = SystemTime::now() - Duration::from_secs(600);
        assert_eq!(home.store.remove(&path, minutes_ago, false).unwrap(), None);
        assert!(home.store.generation(generation).is_ok());
        let later = SystemTime::now() + Duration::from_secs(600);
        assert!(home.store.remove(&path, later, false).unwrap().is_some());
        assert!(home.store.generation(generation).is_err());
    }

    #[test]
    fn what_is_aside_for_a_moment_can_be_read_all_the_same() {
        let home = Home::new();
        let (generation, view) = home.stage("x");
        for path in walk(home.store.path())
            .into_iter()
            .filter(|path| path.file_name().is_some_and(|name| name.len() > 30))
        {
            fs::rename(&path, path.with_extension(ASIDE)).unwrap();
        }
        let index = home.store.generation(generation).unwrap();
        for object in (1..=index.inodes()).filter_map(|number| index.inode(number)?.object()) {
            home.store.object(object).unwrap();
        }
        assert_eq!(home.store.stack(view).unwrap(), [generation]);
        assert_eq!(home.verify(), 0);
    }

    #[test]
    fn a_view_that_is_needed_and_not_there_stops_a_collection() {
        let home = Home::new();
        let (generation, _) = home.stage("x");
        let lost = needed(&[ViewId([9; 16])], &[]);
        let now = SystemTime::now() + Duration::from_secs(86_400);
        assert!(home.store.collect(&lost, SHORTEST_GRACE, now, false).is_err());
        assert!(home.store.generation(generation).is_ok());
    }

    fn walk(directory: &Path) -> Vec<PathBuf> {
        let mut all = Vec::new();
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { all.extend(walk(&path)) } else { all.push(path) }
        }
        all
    }
}
