//! Directories that must not lie in one another, as they are written, without a look at the file system: a link can still
//! lead from one to another.

use std::path::{Component, Path, PathBuf};

use crate::site::report::Span;
use crate::site::section::{Diagnostics, Located};

/// A directory of the `[server]` table: its path, and where a file says it.
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    pub(crate) span: Option<Span>,
}

impl Directory {
    pub(crate) fn new(said: Option<Located<PathBuf>>, default: PathBuf) -> Self {
        match said {
            Some(Located { value, span }) => Self { path: value, span: Some(span) },
            None => Self { path: default, span: None },
        }
    }
}

/// Without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            _ => plain.push(part),
        }
    }
    plain
}

/// Whether one directory is the other, or has it below.
pub(crate) fn has(outer: &Path, inner: &Path) -> bool {
    plain(inner).starts_with(plain(outer))
}

/// Notes a store or state that can't be one, `whole` being the table's own place.
pub(crate) fn apart(store: &Directory, state: &Directory, whole: &Span, diagnostics: &mut Diagnostics) {
    for (name, directory) in [("store", store), ("state", state)] {
        if plain(&directory.path) == Path::new("/") {
            let span = directory.span.as_ref().unwrap_or(whole);
            diagnostics.note(
                span,
                format!("is the root of the host's own files; name a directory for it alone, such as \"/var/lib/oneroot/{name}\""),
            );
            return;
        }
    }
    let span = state.span.as_ref().or(store.span.as_ref()).unwrap_or(whole);
    let (store, state) = (&store.path, &state.path);
    let how = if plain(store) == plain(state) {
        "are one directory"
    } else if has(store, state) {
        "lie one in the other: the state is in the store"
    } else if has(state, store) {
        "lie one in the other: the store is in the state"
    } else {
        return;
    };
    diagnostics.note(
        span,
        format!(
            "store {} and state {} {how}; give each a directory of its own, side by side",
            store.display(),
            state.display()
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_itself_and_what_is_below_it_however_it_is_written() {
        let yes = [
            ("/a", "/a"),
            ("/a", "/a/b"),
            ("/a/", "/a/./b/"),
            ("/a/x/..", "/a/b"),
            ("/", "/a"),
            ("/a", "/b/../a/c"),
        ];
        assert!(yes.iter().all(|(outer, inner)| has(Path::new(outer), Path::new(inner))));
        let no = [("/a", "/ab"), ("/a/b", "/a"), ("/a", "/a/../b")];
        assert!(!no.iter().any(|(outer, inner)| has(Path::new(outer), Path::new(inner))));
    }
}
