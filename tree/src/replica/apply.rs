//! A directory becomes what the plan says, a name at a time: whoever opens a file of it sees the old one or the new one, whole.
//!
//! A file is described before it gets its name. Every name is looked up below the directory and through no link
//! ([`crate::confine`]), so a link that somebody has put into the tree leads nowhere.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use super::incoming::{self, Incoming};
use super::plan::{Plan, Removed};
use super::user::User;
use crate::confine::Dir;
use crate::disk::{self, Lacks};
use crate::error::{Error, Result};
use crate::index::{Index, Inode};
use crate::node::{Content, Kind, Meta};
use crate::objects::ObjectMap;
use crate::parallel::each;
use crate::stage::Survey;
use crate::store::stat_cache::Mark;
use oneroot_ids::ObjectId;

/// Names that a thread takes at once: those of one directory lie one behind the other.
pub(super) const RUN: usize = 32;

/// How far it is: names that were done, of so many.
pub type Steps<'r> = &'r mut dyn FnMut(u64, u64);

/// The directory under work.
pub(super) struct Hands<'h> {
    home: Dir,
    /// The directory of the name before: most have the same.
    parent: Option<(Vec<u8>, Dir)>,
    /// `incoming/`, where things are made.
    bench: Dir,
    /// What is being made there, before it has its name.
    made: Vec<u8>,
    wanted: &'h Index,
    incoming: &'h Incoming,
    /// Files that are still to be made of each object. What is not there is made once.
    uses: ObjectMap<u64>,
    /// Objects that have another place by now.
    pub moved: Vec<ObjectId>,
    /// Whether a content is moved out of `incoming/` with its last use, or stays there until the whole tree is done.
    takes: bool,
    /// Whether it comes into every directory, whatever its mode says.
    enters_all: bool,
    pub lacks: Lacks,
    done: u64,
    pub of: u64,
}

/// A path's directory and its own name.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..).unwrap_or_default()),
        None => (b"", path),
    }
}

fn here<'p>(home: &Dir, path: &'p [u8]) -> impl Fn() -> std::path::PathBuf + use<'p> {
    use std::os::unix::ffi::OsStrExt as _;
    let home = home.path().to_owned();
    move || home.join(std::ffi::OsStr::from_bytes(path))
}

impl<'h> Hands<'h> {
    pub(super) fn on(
        root: &Path,
        wanted: &'h Index,
        incoming: &'h Incoming,
        mut uses: ObjectMap<u64>,
        takes: bool,
    ) -> Result<Self> {
        uses.retain(|_, uses| *uses > 1);
        let bench = Dir::open(incoming.place()).map_err(Error::io("open", incoming.place()))?;
        let home = Dir::open(root).map_err(Error::io("open", root))?;
        Ok(Self {
            home,
            parent: None,
            bench,
            made: incoming::MADE.into(),
            wanted,
            incoming,
            uses,
            moved: Vec::new(),
            takes,
            enters_all: User::own().enters_all(),
            lacks: Lacks::default(),
            done: 0,
            of: 0,
        })
    }

    /// Another pair of hands, for what needs none of these alone.
    fn another(&self, number: usize) -> Result<Self> {
        let mut other =
            Self::on(self.home.path(), self.wanted, self.incoming, ObjectMap::default(), self.takes)?;
        // The directory that was opened, whatever has its name by now.
        other.home = self.home.again().map_err(Error::io("open", self.home.path()))?;
        other.made = format!("{}-{number}", incoming::MADE).into_bytes();
        Ok(other)
    }

    /// Does the same with each of many, by as many hands as there are processors: nothing of one may be needed for another.
    pub(super) fn with_all<T: Sync>(
        &mut self,
        all: &[T],
        steps: Steps<'_>,
        work: impl Fn(&mut Self, &T) -> Result<()> + Sync,
    ) -> Result<()> {
        let (number, here, before) = (AtomicUsize::new(0), &*self, self.done);
        let begin = || here.another(number.fetch_add(1, Ordering::Relaxed));
        let (hands, done) = each(all, RUN, begin, work, |at| steps(before + at as u64, here.of));
        let ends: Vec<_> = hands.into_iter().map(|hands| (hands.lacks, hands.moved)).collect();
        self.done += all.len() as u64;
        for (lacks, mut moved) in ends {
            self.lacks.add(lacks);
            self.moved.append(&mut moved);
        }
        done
    }

    /// Does all of a plan in place.
    pub(super) fn carry_out(&mut self, plan: &Plan, found: &Survey, steps: Steps<'_>) -> Result<()> {
        self.of = (plan.in_the_way.len()
            + plan.directories.len()
            + plan.make.len()
            + plan.describe.len()
            + plan.link.len()
            + plan.remove.len()
            + plan.settle.len()) as u64;
        for removed in plan.in_the_way.iter().rev() {
            self.remove(removed)?;
            self.step(steps);
        }
        for path in &plan.directories {
            self.directory(path)?;
            self.step(steps);
        }
        self.make_all(plan, steps)?;
        for (path, was, inode) in &plan.describe {
            let others = plan.others.get(inode).map_or(&[][..], Vec::as_slice);
            self.describe(path, (found, *was), *inode, others)?;
            self.step(steps);
        }
        for (path, first) in &plan.link {
            self.link(path, first)?;
            self.step(steps);
        }
        for removed in plan.remove.iter().rev() {
            self.remove(removed)?;
            self.step(steps);
        }
        let settle: Vec<(&Vec<u8>, u32)> =
            plan.settle.iter().rev().map(|(path, inode)| (path, *inode)).collect();
        self.settle_all(&settle, steps)
    }

    /// Describes directories in which all is done, those below before those above them.
    pub(super) fn settle_all(&mut self, all: &[(&Vec<u8>, u32)], steps: Steps<'_>) -> Result<()> {
        if self.enters_all {
            return self.with_all(all, steps, |hands, (path, inode)| hands.settle(path, *inode));
        }
        // An ordinary user comes to none below one that he may not enter.
        for (path, inode) in all {
            self.settle(path, *inode)?;
            self.step(steps);
        }
        Ok(())
    }

    /// Makes all that is to be made: what several files are made of by one pair of hands, for the last of them takes it.
    pub(super) fn make_all(&mut self, plan: &Plan, steps: Steps<'_>) -> Result<()> {
        let object = |inode: u32| self.wanted.inode(inode).and_then(|inode| inode.object());
        let is_shared = |inode: u32| object(inode).is_some_and(|object| self.uses.contains_key(&object));
        let (shared, alone): (Vec<&(Vec<u8>, u32)>, Vec<_>) =
            plan.make.iter().partition(|(_, inode)| is_shared(*inode));
        self.with_all(&alone, steps, |hands, (path, inode)| hands.make(path, *inode))?;
        for (path, inode) in shared {
            self.make(path, *inode)?;
            self.step(steps);
        }
        Ok(())
    }

    pub(super) fn step(&mut self, steps: Steps<'_>) {
        self.done += 1;
        if self.done.is_multiple_of(256) {
            steps(self.done, self.of);
        }
    }

    /// The open directory of a path, and its name in there.
    pub(super) fn at<'p>(&mut self, path: &'p [u8]) -> Result<(&Dir, &'p [u8])> {
        let (above, name) = split(path);
        if self.parent.as_ref().is_none_or(|(known, _)| known != above) {
            let dir = self.home.dir(if above.is_empty() { b"." } else { above });
            let dir = dir.map_err(|cause| Error::io("open", here(&self.home, above)())(cause))?;
            if !self.enters_all {
                writable(&dir).map_err(|cause| Error::io("open for writing", dir.path())(cause))?;
            }
            self.parent = Some((above.to_vec(), dir));
        }
        match &self.parent {
            Some((_, dir)) => Ok((dir, name)),
            None => Err(Error::Mistake("a directory is open and is not")),
        }
    }

    fn remove(&mut self, removed: &Removed) -> Result<()> {
        let path = &removed.path;
        let flags = if removed.is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        // It may be the one that is held open, and a name may come that is a directory again.
        if removed.is_directory {
            self.parent = None;
        }
        let (dir, name) = self.at(path)?;
        match rustix::fs::unlinkat(dir, name, flags) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Err(Error::Changed { path: here(&self.home, path)() }),
            Err(cause) => Err(Error::io("remove", here(&self.home, path)())(cause)),
        }
    }

    pub(super) fn directory(&mut self, path: &[u8]) -> Result<()> {
        let (dir, name) = self.at(path)?;
        let made = rustix::fs::mkdirat(dir, name, Mode::RWXU);
        made.map_err(|cause| Error::io("create", here(&self.home, path)())(cause))
    }

    pub(super) fn inode(&self, number: u32) -> Result<Inode<'h>> {
        self.wanted.inode(number).ok_or(Error::Mistake("a file of the plan is in no index"))
    }

    /// Makes a node and gives it its name.
    pub(super) fn make(&mut self, path: &[u8], number: u32) -> Result<()> {
        let inode = self.inode(number)?;
        let meta = inode.meta();
        match inode.content() {
            Content::Regular { object, size } if size > 0 && self.incoming.is_described(object) => {
                self.name_described(object, path)
            }
            Content::Regular { object, size } => {
                let takes = self
                    .content(object, size)
                    .map_err(|cause| Error::io("write", here(&self.home, path)())(cause))?;
                let name = if takes { incoming::name(object).into_bytes() } else { self.made.clone() };
                let file = self
                    .bench
                    .file(&name)
                    .map_err(|cause| Error::io("open", here(&self.home, path)())(cause))?;
                self.described(&file, &meta, path)?;
                self.put(&name, path)?;
                if takes {
                    self.moved.push(object);
                }
                Ok(())
            }
            content => self.special(path, inode.kind(), &content, &meta),
        }
    }

    /// Gives an object that is described already, and that one file is made of, its name.
    fn name_described(&mut self, object: ObjectId, path: &[u8]) -> Result<()> {
        let made = incoming::name(object);
        if self.takes {
            self.put(made.as_bytes(), path)?;
            self.moved.push(object);
            return Ok(());
        }
        // It stays until the whole tree has its name, and nobody looks at that one yet.
        self.at(path)?;
        let Some((_, dir)) = &self.parent else { return Ok(()) };
        rustix::fs::linkat(&self.bench, made, dir, split(path).1, AtFlags::empty())
            .map_err(|cause| Error::io("write", here(&self.home, path)())(cause))
    }

    /// Has a file of these bytes made in `incoming/`; whether it is the object's own.
    fn content(&mut self, object: ObjectId, size: u64) -> io::Result<bool> {
        let uses = self.uses.entry(object).or_insert(1);
        *uses = uses.saturating_sub(1);
        let is_last = *uses == 0;
        if size > 0 && is_last && self.takes {
            return Ok(true);
        }
        self.clear()?;
        if size > 0 && is_last {
            // Another name of the one that stays: nothing is copied, and it is described as whoever has this name.
            rustix::fs::linkat(
                &self.bench,
                incoming::name(object),
                &self.bench,
                &*self.made,
                AtFlags::empty(),
            )?;
            return Ok(false);
        }
        let made = self.bench.create_mode(&self.made, Mode::RUSR | Mode::WUSR)?;
        if size > 0 {
            copy(&self.bench.file(incoming::name(object).as_bytes())?, &made)?;
            self.settled(&made)?;
        }
        Ok(false)
    }

    /// A copy is made after all that came was written at once, so in place it is written by itself before it gets a name.
    fn settled(&self, made: &File) -> io::Result<()> {
        if self.takes { made.sync_data() } else { Ok(()) }
    }

    /// What a run before has left under the name.
    fn clear(&self) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.bench, &*self.made, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(cause) => Err(cause.into()),
        }
    }

    /// Gives what was made its name, over what has it.
    fn put(&mut self, made: &[u8], path: &[u8]) -> Result<()> {
        self.at(path)?;
        let Some((_, dir)) = &self.parent else { return Ok(()) };
        let (_, name) = split(path);
        rustix::fs::renameat(&self.bench, made, dir, name)
            .map_err(|cause| Error::io("write", here(&self.home, path)())(cause))
    }

    /// Describes a file. It may have attributes that it should not: by whom it was before, or by a run that was cut off here.
    fn described(&mut self, file: &File, meta: &Meta, path: &[u8]) -> Result<()> {
        let lacks = &mut self.lacks;
        let done = disk::describe(file.as_fd(), meta, true, &mut |lack| {
            lacks.note(lack, path);
            true
        });
        done.map_err(|cause| Error::io("set owner, mode or attributes of", here(&self.home, path)())(cause))
    }

    fn special(&mut self, path: &[u8], kind: Kind, content: &Content, meta: &Meta) -> Result<()> {
        let failed = |home: &Dir| {
            let at = here(home, path)();
            move |cause: io::Error| Error::io("create", at)(cause)
        };
        self.clear().map_err(failed(&self.home))?;
        match disk::make(&self.bench, &self.made, content) {
            Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied && is_device(kind) => {
                self.lacks.note(disk::Lack::Device, path);
                return Ok(());
            }
            made => made.map_err(failed(&self.home))?,
        }
        let lacks = &mut self.lacks;
        disk::describe_at(&self.bench, &self.made, kind, meta, &mut |lack| {
            lacks.note(lack, path);
            true
        })
        .map_err(failed(&self.home))?;
        self.put_made(path)
    }

    /// Gives a file whose bytes are right its owner, mode, time and attributes; `others` are its other names.
    fn describe(
        &mut self,
        path: &[u8],
        (found, was): (&Survey, u32),
        number: u32,
        others: &[Vec<u8>],
    ) -> Result<()> {
        let inode = self.inode(number)?;
        let (meta, names) = (inode.meta(), found.index.inode(was).map_or(1, |was| was.nlink()));
        let file = self.open(path)?;
        let looked = |cause: io::Error| Error::io("look at", here(&self.home, path)())(cause);
        let is = rustix::fs::fstat(&file).map_err(|cause| looked(cause.into()))?;
        let links = file.metadata().map_err(looked)?.nlink();
        if found.mark(was).is_some_and(|mark| mark != Mark::of(&is)) {
            return Err(Error::Changed { path: here(&self.home, path)() });
        }
        // A name outside of the tree is somebody else's: that file stays as it is, and these names get one of their own.
        if links > u64::from(names) {
            self.copied(&file, &inode, path)?;
            self.put_made(path)?;
            return others.iter().try_for_each(|other| self.link(other, path));
        }
        self.described(&file, &meta, path)
    }

    /// Makes a file with the bytes of another one, if they are what they are to be.
    pub(super) fn copied(&mut self, from: &File, inode: &Inode<'_>, path: &[u8]) -> Result<()> {
        let failed = |cause: io::Error| Error::io("copy", here(&self.home, path)())(cause);
        self.clear().map_err(failed)?;
        let made = self.bench.create_mode(&self.made, Mode::RUSR | Mode::WUSR).map_err(failed)?;
        copy(from, &made).map_err(failed)?;
        self.settled(&made).map_err(failed)?;
        let copied = self.bench.file(&self.made).map_err(failed)?;
        if inode.object() != Some(incoming::hash_of(&copied).map_err(failed)?) {
            return Err(Error::Changed { path: here(&self.home, path)() });
        }
        self.described(&made, &inode.meta(), path)
    }

    /// Gives what is made its name.
    pub(super) fn put_made(&mut self, path: &[u8]) -> Result<()> {
        let made = self.made.clone();
        self.put(&made, path)
    }

    /// Opens a file of the tree, also one that its owner may not read.
    fn open(&mut self, path: &[u8]) -> Result<File> {
        let enters_all = self.enters_all;
        let (dir, name) = self.at(path)?;
        let opened = match dir.file(name) {
            Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied && !enters_all => {
                disk::readable(dir, name).and_then(|()| dir.file(name))
            }
            opened => opened,
        };
        opened.map_err(|cause| Error::io("open", here(&self.home, path)())(cause))
    }

    /// Gives a file one more name, over what has it.
    pub(super) fn link(&mut self, path: &[u8], first: &[u8]) -> Result<()> {
        let failed = Error::io("link", here(&self.home, path)());
        self.clear().map_err(|cause| Error::io("remove", self.incoming.place())(cause))?;
        self.at(first)?;
        let Some((_, dir)) = &self.parent else { return Ok(()) };
        match rustix::fs::linkat(dir, split(first).1, &self.bench, &*self.made, AtFlags::empty()) {
            // A device that could not be made has no other names either.
            Err(Errno::NOENT) if !self.lacks.is_empty() => return Ok(()),
            linked => linked.map_err(failed)?,
        }
        self.put_made(path)
    }

    /// Describes a directory in which all is done.
    pub(super) fn settle(&mut self, path: &[u8], number: u32) -> Result<()> {
        let meta = self.inode(number)?.meta();
        let dir = self.home.dir(if path.is_empty() { b"." } else { path });
        let failed =
            |cause: io::Error| Error::io("set owner, mode or time of", here(&self.home, path)())(cause);
        let dir = dir.map_err(failed)?;
        let lacks = &mut self.lacks;
        let note = &mut |lack| {
            lacks.note(lack, path);
            true
        };
        disk::describe(dir.as_fd(), &meta, true, note).map_err(failed)
    }
}

fn is_device(kind: Kind) -> bool {
    matches!(kind, Kind::Character | Kind::Block)
}

/// Lets its owner write into a directory; it is described when all in it is done.
fn writable(dir: &Dir) -> io::Result<()> {
    let mode = Mode::from_raw_mode(rustix::fs::fstat(dir)?.st_mode & 0o7777);
    if mode.contains(Mode::RWXU) {
        return Ok(());
    }
    Ok(rustix::fs::fchmod(dir, mode | Mode::RWXU)?)
}

/// Copies a file's bytes: by reference where the file system can.
pub(super) fn copy(mut from: &File, mut to: &File) -> io::Result<()> {
    if from.metadata()?.len() > 0 && rustix::fs::ioctl_ficlone(to, from).is_err() {
        io::copy(&mut from, &mut to)?;
    }
    Ok(())
}
