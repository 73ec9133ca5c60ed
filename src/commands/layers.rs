//! Layers whose directories would replace links of the trees under them, and with a link all that it leads to.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};
use oneroot_bootconf::decision::Part;
use oneroot_bootconf::{Problem, Site, stacks};
use oneroot_ids::GenerationId;
use oneroot_tree::confine::Dir;
use oneroot_tree::node::{Content, Meta, TreePath};
use oneroot_tree::{Index, IndexBuilder, Replaced, Store, replaced};

use oneroot_machines::planner::{reference, shown};

/// Directories below a layer that are looked into; a loop of bind mounts ends here.
const DEEPEST: usize = 64;

/// Refuses a part that would replace links, or whose links would be replaced, where it were the head.
pub fn refuse(store: &Store, site: &Site, part: &Part, generation: GenerationId) -> Result<()> {
    let told = told(site, &mut |of| {
        if of == part { Some(generation) } else { head(store, site, of) }
            .and_then(|id| store.generation(id).ok())
    });
    // What is wrong between two others was so before.
    match told.into_iter().find(|(layer, below, _)| layer == part || below.contains(part)) {
        Some((layer, _, reason)) => bail!("{}: {reason}", shown(&layer)),
        None => Ok(()),
    }
}

/// The same for `check`: layers as they lie on the disk, over the trees that are staged.
pub fn problems(store: &Store, site: &Site) -> Vec<Problem> {
    let told = told(site, &mut |of| match of {
        Part::Layer { path } | Part::Machine { path, .. } => directories(path),
        of => head(store, site, of).and_then(|id| store.generation(id).ok()),
    });
    let problem = |(part, _, reason): (Part, Vec<Part>, String)| Problem {
        file: shown(&part),
        line: 0,
        column: 0,
        key: String::new(),
        reason,
        hint: None,
    };
    told.into_iter().map(problem).collect()
}

fn head(store: &Store, site: &Site, part: &Part) -> Option<GenerationId> {
    Some(store.head(&reference(&site.home, part).ok()?).ok()??.generation)
}

/// Each layer with a fault, what lies under it, and the fault.
fn told(site: &Site, index: &mut dyn FnMut(&Part) -> Option<Index>) -> Vec<(Part, Vec<Part>, String)> {
    let mut known: BTreeMap<Part, Option<Index>> = BTreeMap::new();
    let mut all: BTreeMap<(Part, String), Vec<Part>> = BTreeMap::new();
    for stack in stacks(site) {
        for part in &stack {
            // What a borrowed kernel brings goes where the tree below looks for it, and a profile that is mounted where there
            // is a directory.
            let is_made = matches!(part, Part::Kernel { .. } | Part::Mounted { .. });
            let is_known = known.contains_key(part) || is_made;
            if !is_known {
                known.insert(part.clone(), index(part));
            }
        }
        for (place, part) in stack.iter().enumerate() {
            let Some(layer) = known.get(part).and_then(Option::as_ref) else { continue };
            let under = stack.get(..place).unwrap_or_default();
            let below: Vec<&Index> = under.iter().filter_map(|part| known.get(part)?.as_ref()).collect();
            for Replaced { link, leads_to } in replaced(layer, &below) {
                let reason = format!(
                    "has a directory {link}/, which would replace the link /{link} -> /{leads_to} of what is below it, and hide all \
                     that is there; put its files into {leads_to}/ instead (or a file {} beside it, if that is meant)",
                    whiteout(&link)
                );
                all.entry((part.clone(), reason)).or_insert_with(|| under.to_vec());
            }
        }
    }
    all.into_iter().map(|((part, reason), under)| (part, under, reason)).collect()
}

fn whiteout(link: &str) -> String {
    let (parents, name) = link.rsplit_once('/').map_or(("", link), |(parents, name)| (parents, name));
    if parents.is_empty() { format!(".wh.{name}") } else { format!("{parents}/.wh.{name}") }
}

/// A layer's directories, and the whiteouts in them, without the files.
fn directories(layer: &Path) -> Option<Index> {
    let mut builder = IndexBuilder::new();
    let mut todo = vec![(layer.to_owned(), Vec::new())];
    while let Some((directory, path)) = todo.pop() {
        for entry in std::fs::read_dir(&directory).ok()?.flatten() {
            let (name, kind) = (entry.file_name(), entry.file_type().ok()?);
            let below: Vec<Vec<u8>> = [path.as_slice(), &[name.as_encoded_bytes().to_vec()]].concat();
            let whole = below.join(&b'/');
            let is_whiteout = name.as_encoded_bytes().starts_with(b".wh.");
            if kind.is_dir() && !is_whiteout {
                let content = Content::Directory { opaque: is_opaque(&entry.path()) };
                builder.insert(&TreePath::parse(&whole).ok()?, Meta::default(), content).ok()?;
                if below.len() < DEEPEST {
                    todo.push((entry.path(), below));
                }
            } else if is_whiteout {
                // By its name it is a whiteout, whatever else it is.
                builder.insert(&TreePath::parse(&whole).ok()?, Meta::default(), Content::Fifo).ok()?;
            }
        }
    }
    builder.finish().ok()
}

fn is_opaque(directory: &Path) -> bool {
    let Ok(directory) = Dir::open(directory) else { return false };
    let is = |name: &str| {
        let mut value = [0u8; 2];
        rustix::fs::fgetxattr(&directory, name, &mut value)
            .is_ok_and(|length| value.get(..length) == Some(b"y"))
    };
    is("trusted.overlay.opaque") || is("user.overlay.opaque")
}
