//! `oneroot export`: a tree out of the store, for other programs.

use std::fs;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use indicatif::HumanBytes;
use oneroot_bootconf::Site;
use oneroot_machines::planner::renderer::Renderer;
use oneroot_tree::stage::Progress;
use oneroot_tree::{NewFile, export};
use serde::Serialize;

use super::inspect::look_into;
use super::progress::spinner;
use crate::print::{Document, Page};

/// Bytes gathered before a write: tar writes 512 at a time.
const BUFFER: usize = 1 << 20;

/// A tree that was written.
#[derive(Serialize)]
pub struct Exported {
    what: String,
    to: PathBuf,
    entries: u64,
    bytes: u64,
}

impl Document for Exported {
    fn page(&self) -> Page {
        // Standard output is the archive's then.
        if is_stdout(&self.to) {
            return Page::default();
        }
        let Self { what, to, entries, bytes } = self;
        Page::of_line(format_args!("{what}: {entries} entries, {} in {}", HumanBytes(*bytes), to.display()))
    }
}

fn is_stdout(to: &Path) -> bool {
    to == Path::new("-")
}

/// `oneroot export WHAT TO`.
pub fn export(
    site: &Site,
    what: &str,
    to: &Path,
    force: bool,
    json: bool,
    renderer: &Arc<dyn Renderer>,
) -> Result<Exported> {
    let (view, store) = look_into(site, what, renderer)?;
    let on_stdout = is_stdout(to);
    ensure!(!(on_stdout && json), "the archive goes to stdout, and so would the JSON; export to a file");
    let bar = spinner(&format!("export {what}"), on_stdout || json);
    let mut report = |progress: Progress| {
        bar.set_message(format!("{} entries, {}", progress.entries, HumanBytes(progress.bytes)));
    };
    let told = if on_stdout {
        export::archive(&view, &store, BufWriter::with_capacity(BUFFER, io::stdout().lock()), &mut report)?
    } else if to.extension().is_some_and(|ending| ending == "tar") {
        let new = NewFile::begin(to, force)?;
        let written =
            export::archive(&view, &store, BufWriter::with_capacity(BUFFER, new.file()), &mut report);
        let told = written.with_context(|| format!("cannot write {}", to.display()))?;
        new.keep()?;
        told
    } else if let Some(program) = compressed_by(to) {
        bail!(
            "{} would be a directory: archives are not compressed here; `oneroot export {what} - | {program} >{}` makes one",
            to.display(),
            to.display()
        );
    } else {
        ensure!(
            rustix::process::geteuid().is_root(),
            "only root can give files their owners; run this as root, or export to a file that ends in .tar"
        );
        make_empty(to)?;
        export::directory(&view, &store, to, &mut report)?.progress
    };
    bar.finish_and_clear();
    let Progress { entries, bytes, .. } = told;
    Ok(Exported { what: what.to_owned(), to: to.to_owned(), entries, bytes })
}

/// The program that makes a file of this name out of an archive: nobody means a directory by it.
fn compressed_by(to: &Path) -> Option<&'static str> {
    let ending = to.extension()?.to_str()?.to_ascii_lowercase();
    match ending.as_str() {
        "tgz" | "gz" | "taz" => Some("gzip"),
        "txz" | "xz" => Some("xz"),
        "tzst" | "zst" => Some("zstd"),
        "tbz" | "tbz2" | "bz2" => Some("bzip2"),
        "lz4" => Some("lz4"),
        _ => None,
    }
}

fn make_empty(directory: &Path) -> Result<()> {
    match fs::read_dir(directory) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => bail!("{} is not empty; export to a new directory", directory.display()),
        },
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            fs::create_dir(directory).with_context(|| format!("cannot create {}", directory.display()))
        }
        Err(cause) => Err(cause).with_context(|| format!("cannot list {}", directory.display())),
    }
}
