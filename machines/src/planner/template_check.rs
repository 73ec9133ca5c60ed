//! Templates tried before any machine boots: each for every machine that has it, as it lies on the disk now.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use oneroot_bootconf::asked::Catalogue;
use oneroot_bootconf::decided::profiles_of;
use oneroot_bootconf::decision::Part;
use oneroot_bootconf::facts::Facts;
use oneroot_bootconf::render::{LARGEST, RenderError, SUFFIX, is_kept};
use oneroot_bootconf::{Problem, Site};
use oneroot_tree::confine::open_file;

use super::renderer::Renderer;

/// Directories below a layer that are looked into; a loop of bind mounts ends here.
const DEEPEST: usize = 64;

/// Templates that some machine could not be given, each fault once, with a machine that it would hit.
pub fn problems(site: &Site, renderer: &dyn Renderer) -> Vec<Problem> {
    // A layer is tried for all of its machines at once: one question for many is much cheaper than many.
    let mut layers: BTreeMap<PathBuf, (Vec<&str>, Vec<Facts>)> = BTreeMap::new();
    let mut faults: BTreeMap<(String, usize, String), (String, usize)> = BTreeMap::new();
    let catalogue = Catalogue::of(site);
    for (name, asked) in catalogue.everybody() {
        let Ok(decisions) = profiles_of(&catalogue, &asked) else { continue };
        let name = name.unwrap_or("an unknown machine");
        for decision in &decisions {
            let facts = Facts::of(&catalogue, decision, &asked);
            for part in &decision.parts {
                let (Part::Layer { path } | Part::Machine { path, .. }) = part else { continue };
                let machines = layers.entry(path.clone()).or_default();
                // As if the conditions of its layers were true it has those that it had, and the others.
                if asked.supposed.layers && machines.0.last() == Some(&name) {
                    continue;
                }
                machines.0.push(name);
                machines.1.push(facts.clone());
            }
        }
    }
    for (path, (names, facts)) in &layers {
        let mut templates = Vec::new();
        collect(path, &mut templates);
        for (file, text) in &templates {
            for (name, fault) in names.iter().zip(renderer.faults(file, text, facts)) {
                let Some(RenderError { file, line, reason }) = fault else { continue };
                let hit = faults.entry((file, line, reason)).or_insert_with(|| ((*name).to_owned(), 0));
                hit.1 += 1;
            }
        }
    }
    let told = faults.into_iter().map(|((file, line, reason), (name, count))| {
        let others = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
        let key = format!("for {name}{others}");
        Problem { file, line, column: usize::from(line > 0), key, reason, hint: None }
    });
    told.collect()
}

/// Every template below a directory. What can't be read is `stage`'s to tell.
fn collect(directory: &Path, found: &mut Vec<(String, String)>) {
    files(directory, &mut |path| {
        let name = path.as_os_str().as_encoded_bytes();
        if name.ends_with(SUFFIX.as_bytes()) && !is_kept(name) {
            let mut text = String::new();
            // One byte more than a template may have, so that the renderer finds it too long and does not render a part.
            let read =
                open_file(path).and_then(|file| file.take(LARGEST as u64 + 1).read_to_string(&mut text));
            if read.is_ok() {
                found.push((path.display().to_string(), text));
            }
        }
    });
}

/// Every regular file below a directory, in order, without following links.
pub fn files(directory: &Path, visit: &mut dyn FnMut(&Path)) {
    below(directory, 0, visit);
}

fn below(directory: &Path, depth: usize, visit: &mut dyn FnMut(&Path)) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
        if kind.is_dir() && depth < DEEPEST {
            below(&path, depth + 1, visit);
        } else if kind.is_file() {
            visit(&path);
        }
    }
}
