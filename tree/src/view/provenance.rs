//! Which layers have a word on a path: where what is seen comes from, and what it hides.

use super::{Level, View};
use crate::index::ROOT;
use crate::node::{Kind, TreePath};

/// One layer's word on a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The layer's place in the stack; 0 is the bottom.
    pub layer: u16,
    /// What it says.
    pub presence: Presence,
    /// Whether a higher layer keeps it from being seen.
    pub hidden: bool,
}

/// What a layer says of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is this: the inode's number in the layer's index, and its kind.
    Is(u32, Kind),
    /// It is gone: a whiteout of the path, or of a directory on the way.
    Gone,
    /// Something on the way is no directory here.
    InTheWay,
    /// A directory on the way is opaque here, and does not have it.
    Opaque,
}

impl View {
    /// What each layer says of a path, top first. Layers that say nothing are left out. Of directories that several
    /// layers have, all are seen: they are merged.
    #[must_use]
    pub fn origins(&self, path: &TreePath<'_>) -> Vec<Origin> {
        let mut claims: Vec<Origin> = Vec::new();
        let mut hidden = false;
        for layer in (0..=self.top.place()).rev() {
            let Some((presence, ends)) = self.top.at(layer).and_then(|level| word(level, path)) else {
                continue;
            };
            // A directory covers what is none below it, and with it all that is lower still.
            let directory = matches!(presence, Presence::Is(_, kind) if kind.is_directory());
            hidden |= !claims.is_empty() && !directory;
            claims.push(Origin { layer, presence, hidden });
            hidden |= ends;
        }
        claims
    }
}

/// A layer's word, and whether it hides what lower layers say.
fn word(level: &Level, path: &TreePath<'_>) -> Option<(Presence, bool)> {
    let index = &level.index;
    let (mut at, mut opaque) = (ROOT, false);
    let names = path.names();
    for (depth, name) in names.iter().enumerate() {
        opaque |= index.inode(at)?.kind() == Kind::OpaqueDirectory;
        let Some(entry) = index.find(at, name).and_then(|place| index.entry(place)) else {
            return opaque.then_some((Presence::Opaque, true));
        };
        at = entry.inode;
        match index.inode(at)?.kind() {
            Kind::Whiteout => return Some((Presence::Gone, true)),
            Kind::Directory | Kind::OpaqueDirectory => {}
            _ if depth + 1 < names.len() => return Some((Presence::InTheWay, true)),
            _ => {}
        }
    }
    let kind = index.inode(at)?.kind();
    Some((Presence::Is(at, kind), opaque || kind != Kind::Directory))
}
