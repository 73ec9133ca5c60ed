//! `oneroot initrd`: the initrd that a machine would load now, as a file, and what it is made of.

use std::io::{self, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use indicatif::HumanBytes;
use oneroot_bootconf::Site;
use oneroot_bootconf::plan::BootFile;
use oneroot_machines::initrds::{Composed, Ingredient, settings};
use oneroot_machines::planner::renderer::Renderer;
use oneroot_tree::NewFile;
use serde::Serialize;

use super::look::Look;
use super::preview::{Preview, preview};
use crate::cli::InitrdAsked;
use crate::print::{Document, Page};

/// A kernel takes an archive only where it begins at a multiple of this.
const ARCHIVE: u64 = 4;

/// The initrd of a machine.
#[derive(Serialize)]
pub struct Initrd {
    machine: String,
    kernel: String,
    /// Where it was written, if it was.
    to: Option<PathBuf>,
    bytes: u64,
    /// What one of oneroot's own is made of.
    made_of: Vec<Ingredient>,
    /// In words: what is not there, or can't be read, and needs not be.
    missing: Vec<String>,
}

impl Document for Initrd {
    fn page(&self) -> Page {
        let mut page = Page::default();
        // Standard output is the initrd's then.
        if self.to.as_deref() == Some(Path::new("-")) {
            return page;
        }
        let to = self.to.as_ref().map_or(String::new(), |to| format!(" in {}", to.display()));
        page.line(format_args!("{}: {} for {}{to}", self.machine, HumanBytes(self.bytes), self.kernel));
        page.rows(&ingredients(&self.made_of));
        self.missing.iter().for_each(|trouble| page.trouble(format_args!("warning: {trouble}")));
        page
    }
}

/// What it is made of, as a table.
pub fn ingredients(made_of: &[Ingredient]) -> Vec<[String; 3]> {
    let heading = (!made_of.is_empty()).then(|| ["PART", "BYTES", "WHICH"].map(str::to_owned));
    let row = |one: &Ingredient| [one.what.clone(), one.bytes.to_string(), one.why.clone()];
    heading.into_iter().chain(made_of.iter().map(row)).collect()
}

/// `oneroot initrd MACHINE`.
pub fn initrd(site: &Site, asked: &InitrdAsked, renderer: &Arc<dyn Renderer>) -> Result<Initrd> {
    let InitrdAsked { machine, to, force, supposed, output } = asked;
    let on_stdout = to.as_deref() == Some(Path::new("-"));
    ensure!(
        !(on_stdout && output.json),
        "the initrd goes to stdout, and so would the JSON; write it to a file"
    );
    let look = Look::into_store_of(site)?;
    let preview = preview(site, &look, machine, &supposed.facts, renderer)?;
    let loaded = match &preview.stacked.loaded {
        Ok(loaded) => loaded,
        Err(cause) => bail!("{cause}"),
    };
    let initrds = preview.plan(site, loaded).initrds;
    if initrds.is_empty() {
        bail!("{machine} loads no initrd: its kernel mounts the root itself");
    }
    let bytes = match to.as_deref() {
        None => written(&preview, &initrds, &mut io::sink())?,
        Some(_) if on_stdout => written(&preview, &initrds, &mut io::stdout().lock())?,
        Some(to) => {
            let new = NewFile::begin(to, *force)?;
            let mut out = BufWriter::new(new.file());
            let bytes = written(&preview, &initrds, &mut out)?;
            out.flush().with_context(|| format!("cannot write {}", to.display()))?;
            drop(out);
            new.keep()?;
            bytes
        }
    };
    let composed = preview.stacked.composed.as_deref();
    let Composed { made_of, missing, .. } = composed.cloned().unwrap_or_else(Composed::nothing);
    Ok(Initrd {
        machine: preview.facts.name.clone(),
        kernel: loaded.kernel.clone(),
        to: to.clone(),
        bytes,
        made_of,
        missing,
    })
}

/// Writes initrds as a kernel has them in memory, one behind the other, and says how many bytes that are.
fn written(preview: &Preview, initrds: &[BootFile], out: &mut dyn Write) -> Result<u64> {
    let (view, store) = (&preview.stacked.view, preview.planner.store());
    let mut bytes = 0_u64;
    let mut add = |from: &mut dyn io::Read| -> Result<()> {
        let gap = bytes.next_multiple_of(ARCHIVE) - bytes;
        bytes += io::copy(&mut io::repeat(0).take(gap), out)? + io::copy(from, out)?;
        Ok(())
    };
    for initrd in initrds {
        let (paths, behind) = match initrd {
            BootFile::View(path) => (std::slice::from_ref(path), None),
            BootFile::Joined { parts, settings } => (parts.as_slice(), Some(settings)),
        };
        for path in paths {
            let object = view.follow(path.as_bytes()).and_then(|node| view.object(node));
            let object = object.with_context(|| format!("there is no {path}"))?;
            add(&mut store.object(object).with_context(|| format!("the store has lost {path}"))?)?;
        }
        if let Some(text) = behind {
            add(&mut settings(text)?.as_slice())?;
        }
    }
    Ok(bytes)
}
