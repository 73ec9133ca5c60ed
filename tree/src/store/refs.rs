//! References: which generation a profile, layer or machine has now, and which it had before.
//!
//! One text file each, newest generation first, replaced as a whole: a crash leaves the old head or the new one.

use std::fmt;
use std::fs;
use std::io::ErrorKind;

use super::{Store, write_whole};
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
    /// [`Error::BadRef`], or the system's.
    pub fn head(&self, name: &Ref) -> Result<Option<Staged>> {
        Ok(self.history(name)?.first().copied())
    }

    /// All that a reference remembers, newest first.
    ///
    /// # Errors
    /// [`Error::BadRef`], or the system's.
    pub fn history(&self, name: &Ref) -> Result<Vec<Staged>> {
        let path = self.path.join("refs").join(name.to_string());
        let text = match fs::read_to_string(&path) {
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

    /// Makes a generation the head. The one that is the head already stays it, with its time.
    ///
    /// # Errors
    /// [`Error::BadRef`], or the system's.
    pub fn set_head(&self, name: &Ref, staged: Staged) -> Result<()> {
        let mut history = self.history(name)?;
        if history.first().is_some_and(|head| head.generation == staged.generation) {
            return Ok(());
        }
        history.insert(0, staged);
        history.truncate(HISTORY);
        let line = |staged: &Staged| format!("{} {} {}\n", staged.generation, staged.at, staged.how.as_str());
        let text: String = history.iter().map(line).collect();
        let path = self.path.join("refs").join(name.to_string());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        }
        write_whole(&path, text.as_bytes())
    }
}
