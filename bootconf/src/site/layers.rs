//! Layers of a table: directories, each for all machines or for those of which a condition is true.

use std::path::{Path, PathBuf};

use crate::site::section::{Diagnostics, Item, Section};
use crate::site::table::{Places, placed};
use crate::site::when::{When, when};

/// A directory that is laid over a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Where it is.
    pub path: PathBuf,
    /// For whom it is; none where it is for all.
    pub when: Option<When>,
}

impl From<PathBuf> for Layer {
    fn from(path: PathBuf) -> Self {
        Self { path, when: None }
    }
}

/// The layers of a table, whose places are kept.
pub(crate) fn layers(
    section: &mut Section<'_>,
    home: &Path,
    places: &mut Places,
    diagnostics: &mut Diagnostics,
) -> Vec<Layer> {
    let mut layers = Vec::new();
    for item in section.items(diagnostics, "layers", "a path, or { path = \"…\", when = { … } }") {
        let (path, when) = match item {
            Item::Text(path) => (Some(path), None),
            Item::Table(mut table) => {
                let path = table.string(diagnostics, "path");
                table.missing(diagnostics, "path", "the layer's directory");
                table.missing(
                    diagnostics,
                    "when",
                    "for which machines it is; of a layer for all say the path alone",
                );
                let when = when(&mut table, diagnostics);
                table.finish(diagnostics);
                (path, when)
            }
        };
        let Some(at) = path.and_then(|path| placed(path, home, diagnostics)) else { continue };
        places.0.insert(("layers", at.value.display().to_string()), at.span);
        layers.push(Layer { path: at.value, when: when.map(|at| at.value) });
    }
    layers
}
