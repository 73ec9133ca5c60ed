//! Links to directories that a layer would replace by directories of its own: `lib/modules/x.ko` in a layer over a tree whose
//! `/lib` is a link to `usr/lib`. The merge is overlayfs', so the layer's `/lib` hides the link, and the machine has no other
//! modules, and no dynamic linker. Nobody means that who does not say it: an opaque directory, or a whiteout beside it, does.

use crate::index::{Index, ROOT};
use crate::node::{Kind, TreePath};

/// Links that are followed to say where one leads.
const MOST_LINKS: usize = 16;

/// A directory of a layer in the place of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// The link: `lib`.
    pub link: String,
    /// The directory that it leads to, where the layer's files belong: `usr/lib`.
    pub leads_to: String,
}

/// What there is at a path.
enum AtPath {
    Directory,
    Link(Vec<u8>),
    Other,
}

/// The links below that a layer's directories would replace; `below` has the layers under it, the lowest first.
#[must_use]
pub fn replaced(layer: &Index, below: &[&Index]) -> Vec<Replaced> {
    let mut all = Vec::new();
    let mut todo = vec![(ROOT, Vec::new())];
    while let Some((directory, path)) = todo.pop() {
        let (first, count) = layer.inode(directory).map_or((0, 0), |inode| inode.run());
        for entry in (first..first.saturating_add(count)).filter_map(|place| layer.entry(place)) {
            if layer.inode(entry.inode).map(|inode| inode.kind()) != Some(Kind::Directory) {
                continue;
            }
            let path: Vec<Vec<u8>> = [path.as_slice(), &[entry.name.to_vec()]].concat();
            match find(below, &path) {
                Some(AtPath::Directory) => todo.push((entry.inode, path)),
                Some(AtPath::Link(_)) => {
                    let leads_to = follow(below, &path);
                    let shown = |path: &[Vec<u8>]| path.join(&b'/').escape_ascii().to_string();
                    all.extend(leads_to.map(|to| Replaced { link: shown(&path), leads_to: shown(&to) }));
                }
                Some(AtPath::Other) | None => {}
            }
        }
    }
    all.sort_by(|a, b| a.link.cmp(&b.link));
    all
}

/// The topmost thing at a path, its last name not followed.
fn find(stack: &[&Index], path: &[Vec<u8>]) -> Option<AtPath> {
    'layers: for index in stack.iter().rev() {
        let mut at = ROOT;
        let mut hides = false;
        for (depth, name) in path.iter().enumerate() {
            let Some(entry) = index.find(at, name).and_then(|place| index.entry(place)) else {
                if hides {
                    return None;
                }
                continue 'layers;
            };
            let inode = index.inode(entry.inode)?;
            let is_last = depth + 1 == path.len();
            match inode.kind() {
                Kind::Whiteout => return None,
                Kind::Directory | Kind::OpaqueDirectory if is_last => return Some(AtPath::Directory),
                Kind::Symlink if is_last => return Some(AtPath::Link(inode.target()?.to_vec())),
                _ if is_last => return Some(AtPath::Other),
                Kind::OpaqueDirectory => hides = true,
                Kind::Directory => {}
                _ => return None,
            }
            at = entry.inode;
        }
    }
    None
}

/// Where a path leads, if that is a directory.
fn follow(stack: &[&Index], path: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    let mut rest: Vec<Vec<u8>> = path.iter().rev().cloned().collect();
    let mut at: Vec<Vec<u8>> = Vec::new();
    let mut links = 0;
    while let Some(name) = rest.pop() {
        at.push(name);
        match find(stack, &at)? {
            AtPath::Directory => {}
            AtPath::Other => return None,
            AtPath::Link(text) => {
                links += 1;
                at.pop();
                if links > MOST_LINKS {
                    return None;
                }
                if text.starts_with(b"/") {
                    at.clear();
                }
                // `..` is the directory above, and what is above the root is the root.
                let up = text.split(|byte| *byte == b'/').take_while(|name| *name == b"..").count();
                at.truncate(at.len().saturating_sub(up));
                let down: Vec<&[u8]> = text.split(|byte| *byte == b'/').skip(up).collect();
                let down = down.join(&b'/');
                let down = TreePath::parse(&down).ok()?;
                rest.extend(down.names().iter().rev().map(|name| name.to_vec()));
            }
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::IndexBuilder;
    use crate::node::{Content, Meta};

    /// Directories end in `/`, links say where they lead; all else is a pipe.
    fn index(paths: &[&str]) -> Index {
        let mut builder = IndexBuilder::new();
        for path in paths {
            let (path, content) = match path.split_once(" -> ") {
                Some((path, to)) => (path, Content::Symlink(to.as_bytes().to_vec())),
                None if path.ends_with('/') => (*path, Content::Directory { opaque: false }),
                None => (*path, Content::Fifo),
            };
            builder.insert(&TreePath::parse(path.as_bytes()).unwrap(), Meta::default(), content).unwrap();
        }
        builder.finish().unwrap()
    }

    fn told(layer: &[&str], below: &[&[&str]]) -> Vec<(String, String)> {
        let below: Vec<Index> = below.iter().map(|paths| index(paths)).collect();
        let below: Vec<&Index> = below.iter().collect();
        replaced(&index(layer), &below).into_iter().map(|one| (one.link, one.leads_to)).collect()
    }

    #[test]
    fn a_directory_over_a_link_to_one_is_told_with_the_path_to_write_instead() {
        let merged: &[&str] = &[
            "lib -> usr/lib",
            "usr/lib/",
            "var/run -> ../run",
            "run/",
            "etc/",
            "var/lock -> /var/run/lock",
            "run/lock/",
        ];
        let pair = |link: &str, to: &str| (link.to_owned(), to.to_owned());
        assert_eq!(told(&["lib/modules/x", "etc/x"], &[merged]), [pair("lib", "usr/lib")]);
        assert_eq!(
            told(&["var/run/a", "var/lock/b", "usr/lib/c"], &[merged]),
            [pair("var/lock", "run/lock"), pair("var/run", "run")]
        );
        assert_eq!(
            told(&["lib/x"], &[merged, &["etc/y"]]),
            [pair("lib", "usr/lib")],
            "through a layer between"
        );
    }

    #[test]
    fn what_replaces_no_link_or_says_that_it_does_is_not() {
        let merged: &[&str] = &["lib -> usr/lib", "usr/lib/", "gone -> nowhere", "file -> usr/x", "usr/x"];
        assert_eq!(told(&[".wh.lib", "lib/x"], &[merged]), [], "a whiteout says that it is meant");
        assert_eq!(told(&["lib/.wh..wh..opq", "lib/x"], &[merged]), []);
        assert_eq!(told(&["gone/x", "file/x", "lib"], &[merged]), [], "no directory is lost");
        assert_eq!(told(&["lib/x"], &[merged, &[".wh.lib", "lib/y"]]), [], "a layer between has replaced it");
        assert_eq!(told(&["lib/x"], &[&["lib/"]]), []);
        assert_eq!(told(&["lib/x"], &[&["lib -> lib"]]), [], "a link to itself");
    }
}
