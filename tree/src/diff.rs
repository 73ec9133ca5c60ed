//! What differs between two generations: names that came and went, and what changed under those that stayed.

use std::cmp::Ordering;

use crate::index::{Entry, Index, Inode, ROOT};
use crate::node::Kind;

/// One path that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The path from the root, without a leading slash; empty for the root itself.
    pub path: Vec<u8>,
    /// Added, removed, or changed and in what.
    pub what: Change,
}

/// What happened to a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is new. What is below a new directory is told too.
    Added(Kind),
    /// It is gone, and what was below it.
    Removed(Kind),
    /// It is there in both.
    Changed(Vec<Aspect>),
}

/// What of a node differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aspect {
    /// It is of another kind.
    Kind,
    /// A file's bytes, a link's text, a device's number.
    Content,
    /// Permission bits.
    Mode,
    /// Owner or group.
    Owner,
    /// Modification time.
    Time,
    /// Extended attributes.
    Attributes,
}

/// How many of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// New paths.
    pub added: usize,
    /// Paths that are there in both.
    pub changed: usize,
    /// Paths that are gone.
    pub removed: usize,
}

impl Counts {
    /// Counts differences.
    #[must_use]
    pub fn of(differences: &[Difference]) -> Self {
        let mut counts = Self::default();
        for difference in differences {
            *match difference.what {
                Change::Added(_) => &mut counts.added,
                Change::Changed(_) => &mut counts.changed,
                Change::Removed(_) => &mut counts.removed,
            } += 1;
        }
        counts
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} added, {} removed, {} changed", self.added, self.removed, self.changed)
    }
}

/// All differences from `old` to `new`, in order of their paths.
#[must_use]
pub fn diff(old: &Index, new: &Index) -> Vec<Difference> {
    let mut found = Vec::new();
    if let (Some(a), Some(b)) = (old.inode(ROOT), new.inode(ROOT)) {
        found.extend(changed(&a, &b).map(|what| Difference { path: Vec::new(), what }));
    }
    let mut todo = vec![(Vec::new(), Some(ROOT), Some(ROOT))];
    while let Some((path, a, b)) = todo.pop() {
        directory(old, new, &path, a, b, &mut found, &mut todo);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// A directory that is in one of the two, or in both: its path, and its inode on each side.
type Pair = (Vec<u8>, Option<u32>, Option<u32>);

fn directory(
    old: &Index,
    new: &Index,
    path: &[u8],
    a: Option<u32>,
    b: Option<u32>,
    found: &mut Vec<Difference>,
    todo: &mut Vec<Pair>,
) {
    let mut left = entries(old, a).peekable();
    let mut right = entries(new, b).peekable();
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.name.cmp(b.name),
        };
        let a = if order == Ordering::Greater { None } else { left.next() };
        let b = if order == Ordering::Less { None } else { right.next() };
        let Some(name) = a.or(b).map(|entry| entry.name) else { return };
        let before = a.and_then(|entry| old.inode(entry.inode));
        let after = b.and_then(|entry| new.inode(entry.inode));
        let what = match (&before, &after) {
            (Some(before), None) => Some(Change::Removed(before.kind())),
            (None, Some(after)) => Some(Change::Added(after.kind())),
            (Some(before), Some(after)) => changed(before, after),
            (None, None) => None,
        };
        let is_directory = |inode: Option<&Inode<'_>>| inode.is_some_and(|inode| inode.kind().is_directory());
        let a = a.filter(|_| is_directory(before.as_ref())).map(|entry| entry.inode);
        let b = b.filter(|_| is_directory(after.as_ref())).map(|entry| entry.inode);
        // Most names are files that are the same in both, and no path is needed for those.
        if what.is_none() && a.is_none() && b.is_none() {
            continue;
        }
        let below = if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() };
        if let Some(what) = what {
            found.push(Difference { path: below.clone(), what });
        }
        if a.is_some() || b.is_some() {
            todo.push((below, a, b));
        }
    }
}

fn entries(index: &Index, directory: Option<u32>) -> impl Iterator<Item = Entry<'_>> {
    let run = directory.and_then(|number| index.inode(number)).map_or((0, 0), |inode| inode.run());
    (run.0..run.0.saturating_add(run.1)).filter_map(|place| index.entry(place))
}

/// What of a node that is there in both differs.
fn changed(a: &Inode<'_>, b: &Inode<'_>) -> Option<Change> {
    // A directory's content is its names, which are told one by one.
    let content = !a.kind().is_directory() && a.content() != b.content();
    let aspects = [
        (Aspect::Kind, a.kind() != b.kind()),
        (Aspect::Content, a.kind() == b.kind() && content),
        (Aspect::Mode, a.mode() != b.mode()),
        (Aspect::Owner, (a.uid(), a.gid()) != (b.uid(), b.gid())),
        (Aspect::Time, a.mtime() != b.mtime()),
        (Aspect::Attributes, a.xattrs() != b.xattrs()),
    ];
    let differs: Vec<Aspect> =
        aspects.into_iter().filter(|(_, differs)| *differs).map(|(aspect, _)| aspect).collect();
    (!differs.is_empty()).then_some(Change::Changed(differs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::IndexBuilder;
    use crate::node::{Content, Meta, TreePath};
    use oneroot_ids::ObjectId;

    /// `d path mode` or `f path text`.
    fn index(lines: &[&str]) -> Index {
        let mut builder = IndexBuilder::new();
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let path = TreePath::parse(words[1].as_bytes()).unwrap();
            let (mode, content) = match words[0] {
                "d" => (u16::from_str_radix(words[2], 8).unwrap(), Content::Directory { opaque: false }),
                _ => {
                    let object = ObjectId(*blake3::hash(words[2].as_bytes()).as_bytes());
                    (0o644, Content::Regular { object, size: words[2].len() as u64 })
                }
            };
            builder.insert(&path, Meta { mode, ..Meta::default() }, content).unwrap();
        }
        builder.finish().unwrap()
    }

    fn told(old: &[&str], new: &[&str]) -> Vec<String> {
        let line = |difference: Difference| {
            let path = String::from_utf8(difference.path).unwrap();
            match difference.what {
                Change::Added(_) => format!("+{path}"),
                Change::Removed(_) => format!("-{path}"),
                Change::Changed(aspects) => format!("{path} {aspects:?}"),
            }
        };
        diff(&index(old), &index(new)).into_iter().map(line).collect()
    }

    #[test]
    fn a_generation_differs_from_itself_in_nothing() {
        let lines = ["d etc 755", "f etc/a x", "d usr 755"];
        assert_eq!(told(&lines, &lines), [""; 0]);
    }

    #[test]
    fn what_came_what_went_and_what_changed_is_told_in_order_of_paths() {
        let old = [
            "d etc 755",
            "f etc/a x",
            "f etc/gone x",
            "f etc/same x",
            "d old 755",
            "f old/file x",
            "f turns x",
        ];
        let new = ["d etc 700", "f etc/a y", "f etc/new x", "f etc/same x", "d turns 755", "f turns/in x"];
        assert_eq!(
            told(&old, &new),
            [
                "etc [Mode]",
                "etc/a [Content]",
                "-etc/gone",
                "+etc/new",
                "-old",
                "-old/file",
                "turns [Kind, Mode]",
                "+turns/in"
            ]
        );
        assert_eq!(told(&new, &old).len(), 8, "and the other way round");
    }
}
