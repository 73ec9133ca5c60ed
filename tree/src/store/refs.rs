//! References: which generation a profile, layer or machine has now, and which it had before.
//!
//! One text file each, newest generation first, replaced as a whole: a crash leaves the old head or the new one.

use std::fmt;
use std::io::ErrorKind;

use rustix::fs::FlockOperation;

use super::{Store, staging};
use crate::confine::open_file;
use crate::error::{Error, Result};
use crate::id::GenerationId;

/// Generations that a reference remembers; older ones are only in the stacks that use them.
const HISTORY: usize = 100;

/// What a reference names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RefKind {
    /// A profile's own source.
    Profile,
    /// A directory laid over profiles or workloads, by its path's hash.
    Layer,
    /// A machine's own layer.
    Machine,
    /// What the binary brings: `/.oneroot`.
    Builtin,
}

impl RefKind {
    fn directory(self) -> &'static str {
        match self {
            Self::Profile => "profile",
            Self::Layer => "layer",
            Self::Machine => "machine",
            Self::Builtin => "builtin",
        }
    }
}

/// A reference: kind and name. The name has been checked to be a file name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ref {
    kind: RefKind,
    name: String,
}

/// One line of a reference's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Staged {
    /// The generation.
    pub generation: GenerationId,
    /// When it became the head, seconds since 1970.
    pub at: u64,
    /// By which command.
    pub how: How,
}

/// How a generation became the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Its source was staged.
    Staged,
    /// A command changed the one before; its source does not know of that.
    Edited,
    /// It had been the head before.
    RolledBack,
}

impl How {
    /// As it is written in the reference, and for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Edited => "edited",
            Self::RolledBack => "rolled-back",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Staged, Self::Edited, Self::RolledBack].into_iter().find(|how| how.as_str() == word)
    }
}

impl Ref {
    /// `None` for a name that can't be a file's: empty, too long, with `/`, NUL or a leading dot.
    #[must_use]
    pub fn new(kind: RefKind, name: &str) -> Option<Self> {
        let bad = name.is_empty() || name.len() > 200 || name.starts_with('.') || name.contains(['/', '\0']);
        (!bad).then(|| Self { kind, name: name.to_owned() })
    }
}

impl fmt::Display for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.directory(), self.name)
    }
}

impl Store {
    /// The generation that a reference has now.
    ///
    /// # Errors
    /// [`Error::BadRef`], [`Error::StoreMoved`], or the system's.
    pub fn head(&self, name: &Ref) -> Result<Option<Staged>> {
        // References are looked up by their path, and what they name in the directories that were opened.
        self.in_place()?;
        Ok(self.history(name)?.first().copied())
    }

    /// All that a reference remembers, newest first.
    ///
    /// # Errors
    /// [`Error::BadRef`], or the system's.
    pub fn history(&self, name: &Ref) -> Result<Vec<Staged>> {
        let path = self.path.join("refs").join(name.to_string());
        let text = match open_file(&path).and_then(std::io::read_to_string) {
            Ok(text) => text,
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(cause) => return Err(Error::io("read", &path)(cause)),
        };
        let line = |line: &str| {
            let mut words = line.split(' ');
            let (generation, at) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            Some(Staged { generation, at, how: words.next().map_or(Some(How::Staged), How::parse)? })
        };
        text.lines().map(|text| line(text).ok_or_else(|| Error::BadRef(name.to_string()))).collect()
    }

    /// Every reference of the store, as `kind/name`, with all that it remembers, newest first.
    ///
    /// # Errors
    /// [`Error::BadRef`], or the system's.
    pub fn references(&self) -> Result<Vec<(String, Vec<Staged>)>> {
        let mut all = Vec::new();
        for kind in [RefKind::Profile, RefKind::Layer, RefKind::Machine, RefKind::Builtin] {
            let directory = self.path.join("refs").join(kind.directory());
            for name in super::verify::names(&directory)? {
                let Some(name) = Ref::new(kind, &name) else { continue };
                all.push((name.to_string(), self.history(&name)?));
            }
        }
        Ok(all)
    }

    /// Makes a generation the head, and says which one it has replaced. The one that is the head already stays it, with its
    /// time.
    ///
    /// # Errors
    /// [`Error::NoGeneration`] when it is gone by now, [`Error::BadRef`], or the system's.
    pub fn set_head(&self, name: &Ref, staged: Staged) -> Result<Option<Staged>> {
        self.change_head(name, staged, &|_| true)
    }

    /// [`set_head`](Self::set_head), if the head is still the one that `staged` was made from; says whether it was.
    ///
    /// # Errors
    /// As [`set_head`](Self::set_head).
    pub fn move_head(&self, name: &Ref, from: Staged, staged: Staged) -> Result<bool> {
        Ok(self.change_head(name, staged, &|head| head == Some(from))? == Some(from))
    }

    /// Nobody else can change a reference between the look at its head and the change.
    fn change_head(
        &self,
        name: &Ref,
        staged: Staged,
        may: &dyn Fn(Option<Staged>) -> bool,
    ) -> Result<Option<Staged>> {
        self.in_place()?;
        let refs = self.path.join("refs");
        // Two that change one reference at once would each forget what the other has made the head.
        let _lock = staging::gate(&refs, FlockOperation::LockExclusive)?;
        // It may be an old one that is gone back to, while a collection looks at what no reference names.
        if !self.keep_generation(staged.generation) {
            return Err(Error::NoGeneration(staged.generation));
        }
        let path = refs.join(name.to_string());
        let parent = path.parent().unwrap_or(&refs);
        let mut history = self.history(name)?;
        let before = history.first().copied();
        if !may(before) {
            return Ok(before);
        }
        if history.first().is_some_and(|head| head.generation == staged.generation) {
            // Whoever made it that may have been killed before the name was synced.
            return staging::sync_names(parent).map(|()| before);
        }
        if !parent.exists() {
            super::make_directory(parent).map_err(Error::io("create", parent))?;
            staging::sync_names(&refs)?;
        }
        history.insert(0, staged);
        history.truncate(HISTORY);
        let line = |staged: &Staged| format!("{} {} {}\n", staged.generation, staged.at, staged.how.as_str());
        let text: String = history.iter().map(line).collect();
        self.write_whole(&path, text.as_bytes()).map(|()| before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Stage;

    #[test]
    fn heads_that_are_set_at_once_are_all_remembered() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("store")).unwrap();
        let name = Ref::new(RefKind::Profile, "small").unwrap();
        std::thread::scope(|scope| {
            for writer in 0..4u8 {
                let (store, name) = (&store, &name);
                scope.spawn(move || {
                    for round in 0..10u8 {
                        let mut stage = Stage::begin(store, |_| {}).unwrap();
                        stage.object([writer, round].as_slice(), b"x").unwrap();
                        let meta = crate::node::Meta {
                            mtime: i64::from(writer) * 10 + i64::from(round),
                            ..Default::default()
                        };
                        let root = crate::node::TreePath::parse(b"").unwrap();
                        stage.insert(&root, meta, crate::node::Content::Directory { opaque: false }).unwrap();
                        let generation = stage.finish().unwrap().generation;
                        store.set_head(name, Staged { generation, at: 0, how: How::Staged }).unwrap();
                    }
                });
            }
        });
        assert_eq!(store.history(&name).unwrap().len(), 40);
    }

    #[test]
    fn a_head_is_moved_from_what_it_was_made_from_and_whoever_is_later_is_told() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("store")).unwrap();
        let name = Ref::new(RefKind::Profile, "small").unwrap();
        let made = |mode: u16| {
            let mut stage = Stage::begin(&store, |_| {}).unwrap();
            let meta = crate::node::Meta { mode, ..Default::default() };
            let root = crate::node::TreePath::parse(b"").unwrap();
            stage.insert(&root, meta, crate::node::Content::Directory { opaque: false }).unwrap();
            Staged { generation: stage.finish().unwrap().generation, at: u64::from(mode), how: How::Edited }
        };
        let [first, second, third] = [1, 2, 3].map(made);
        assert_eq!(store.set_head(&name, first).unwrap(), None);
        // Of many who begin with the same head, one moves it.
        let moved = std::thread::scope(|scope| {
            let each = (10..18).map(made).collect::<Vec<_>>().into_iter();
            let each: Vec<_> = each
                .map(|to| {
                    scope.spawn({
                        let (store, name) = (&store, &name);
                        move || store.move_head(name, first, to).unwrap()
                    })
                })
                .collect();
            each.into_iter().map(|one| one.join().unwrap()).filter(|moved| *moved).count()
        });
        assert_eq!((moved, store.history(&name).unwrap().len()), (1, 2));
        let head = store.head(&name).unwrap();
        assert!(!store.move_head(&name, first, second).unwrap());
        assert_eq!(store.head(&name).unwrap(), head);
        assert_eq!(store.set_head(&name, third).unwrap(), head, "what it has replaced");
    }

    #[test]
    fn a_generation_that_is_gone_is_made_no_head() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("store")).unwrap();
        let name = Ref::new(RefKind::Profile, "small").unwrap();
        let gone = Staged { generation: GenerationId([9; 32]), at: 0, how: How::Staged };
        assert!(matches!(store.set_head(&name, gone), Err(Error::NoGeneration(_))));
        assert_eq!(store.head(&name).unwrap(), None);
    }
}
