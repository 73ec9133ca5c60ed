//! References: which generation a profile, layer or machine has now, and which it had before.
//!
//! One text file each, newest generation first, replaced as a whole: a crash leaves the old head or the new one.

use std::fmt;
use std::io::ErrorKind;

use super::history::{History, Placed, Staged};
use super::{Store, staging};
use crate::confine::open_file;
use crate::error::{Error, Result};
use crate::lock::Lock;

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
        Ok(self.history(name)?.head())
    }

    /// All that a reference remembers, newest first.
    ///
    /// # Errors
    /// [`Error::BadRef`], or the system's.
    pub fn history(&self, name: &Ref) -> Result<History> {
        let path = self.path.join("refs").join(name.to_string());
        let text = match open_file(&path).and_then(std::io::read_to_string) {
            Ok(text) => text,
            Err(cause) if cause.kind() == ErrorKind::NotFound => {
                return self
                    .below
                    .as_ref()
                    .map_or_else(|| Ok(History::default()), |below| below.history(name));
            }
            Err(cause) => return Err(Error::io("read", &path)(cause)),
        };
        History::parse(&text).ok_or_else(|| Error::BadRef(name.to_string()))
    }

    /// Every reference of the store, as `kind/name`, with all that it remembers, newest first.
    ///
    /// # Errors
    /// [`Error::BadRef`], or the system's.
    pub fn references(&self) -> Result<Vec<(String, History)>> {
        let mut all = Vec::new();
        for kind in [RefKind::Profile, RefKind::Layer, RefKind::Machine, RefKind::Builtin] {
            let directory = self.path.join("refs").join(kind.directory());
            for name in super::gc::names(&directory)? {
                let Some(name) = Ref::new(kind, &name) else { continue };
                all.push((name.to_string(), self.history(&name)?));
            }
        }
        Ok(all)
    }

    /// Takes in a generation that was staged, and says where it went and which head there was. It becomes the head, unless
    /// it is that already, or a rollback holds.
    ///
    /// # Errors
    /// [`Error::NoGeneration`] when it is gone by now, [`Error::BadRef`], or the system's.
    pub fn stage_head(&self, name: &Ref, staged: Staged) -> Result<(Placed, Option<Staged>)> {
        self.change(name, staged, &|history| {
            let before = history.head();
            (history.stage(staged), before)
        })
    }

    /// Takes in a generation that was staged and is to wait: the head stays, if there is one.
    ///
    /// # Errors
    /// As [`stage_head`](Self::stage_head).
    pub fn stage_held(&self, name: &Ref, staged: Staged) -> Result<(Placed, Option<Staged>)> {
        self.change(name, staged, &|history| {
            let before = history.head();
            (history.hold(staged), before)
        })
    }

    /// Makes a generation the head, if the head is still `from`; says whether it was.
    ///
    /// # Errors
    /// As [`stage_head`](Self::stage_head).
    pub fn move_head(&self, name: &Ref, from: Staged, staged: Staged) -> Result<bool> {
        self.change(name, staged, &|history| {
            let is_there = history.head() == Some(from);
            if is_there && from.generation != staged.generation {
                history.put(staged);
            }
            is_there
        })
    }

    /// Nobody else can change a reference between the look at its head and the change.
    fn change<T>(&self, name: &Ref, staged: Staged, change: &dyn Fn(&mut History) -> T) -> Result<T> {
        self.in_place()?;
        let refs = self.path.join("refs");
        // Two that change one reference at once would each forget what the other has made the head.
        let _lock = staging::gate(&refs, Lock::alone)?;
        // It may be an old one that is gone back to, while a collection looks at what no reference names.
        if !self.keep_generation(staged.generation) {
            return Err(Error::NoGeneration(staged.generation));
        }
        let path = refs.join(name.to_string());
        let parent = path.parent().unwrap_or(&refs);
        let before = self.history(name)?;
        let mut history = before.clone();
        let told = change(&mut history);
        if history == before {
            // Whoever made it that may have been killed before the name was synced.
            return if parent.exists() { self.sync_names(parent).map(|()| told) } else { Ok(told) };
        }
        if !parent.exists() {
            super::make_directory(parent).map_err(Error::io("create", parent))?;
            self.sync_names(&refs)?;
        }
        self.write_whole(&path, history.to_string().as_bytes()).map(|()| told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Stage;
    use crate::store::How;
    use oneroot_ids::GenerationId;

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
                        store.stage_head(name, Staged { generation, at: 0, how: How::Staged }).unwrap();
                    }
                });
            }
        });
        assert_eq!(store.history(&name).unwrap().all().len(), 40);
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
        assert_eq!(store.stage_head(&name, first).unwrap(), (Placed::Head, None));
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
        assert_eq!((moved, store.history(&name).unwrap().all().len()), (1, 2));
        let head = store.head(&name).unwrap();
        assert!(!store.move_head(&name, first, second).unwrap());
        assert_eq!(store.head(&name).unwrap(), head);
        assert_eq!(store.stage_head(&name, third).unwrap(), (Placed::Head, head), "what it has replaced");
    }

    #[test]
    fn a_generation_that_is_gone_is_made_no_head() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("store")).unwrap();
        let name = Ref::new(RefKind::Profile, "small").unwrap();
        let gone = Staged { generation: GenerationId([9; 32]), at: 0, how: How::Staged };
        assert!(matches!(store.stage_head(&name, gone), Err(Error::NoGeneration(_))));
        assert_eq!(store.head(&name).unwrap(), None);
    }
}
