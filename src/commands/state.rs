//! `oneroot state backup` and `oneroot state restore`.

use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use oneroot_state::Disk;
use oneroot_tree::NewFile;
use oneroot_tree::confine::open_file;
use serde::Serialize;

use crate::print::{Document, Page};
use crate::{backup, clock, control};

/// A backup that was written.
#[derive(Serialize)]
pub struct BackedUp {
    file: PathBuf,
    records: usize,
    /// Records of tables that this oneroot does not have: the key of one, and how many they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<(String, usize)>,
}

impl Document for BackedUp {
    fn page(&self) -> Page {
        let Self { file, records, unknown } = self;
        let mut page = Page::default();
        if let Some((key, count)) = unknown {
            page.trouble(format_args!(
                "warning: {count} of the {records} records are of no table that this oneroot has ({key:?}): it will not restore this backup"
            ));
        }
        page.line(format_args!(
            "{}: {records} records. It has the keys of all file handles: keep it as safe as the server.",
            file.display()
        ));
        page
    }
}

/// A state that was filled.
#[derive(Serialize)]
pub struct Restored {
    state: PathBuf,
    records: usize,
}

impl Document for Restored {
    fn page(&self) -> Page {
        Page::of_line(format_args!("{}: {} records restored", self.state.display(), self.records))
    }
}

/// Writes a backup to a file that only its owner can read; it has its name when it is whole and on the disk.
pub fn backup(state: &Path, to: &Path, replace: bool) -> Result<BackedUp> {
    let new = NewFile::begin(to, replace)?;
    let mut file = BufWriter::new(new.file());
    // A running server has the state locked, and knows more than its file: it is asked.
    let checked = match control::ask_backup(state)? {
        Some(stream) => {
            let written = backup::take(BufReader::new(stream), |line| Ok(file.write_all(line)?));
            written.context("the running server did not send a complete backup")?
        }
        None => offline(state, &mut file)?,
    };
    file.flush()?;
    drop(file);
    new.keep()?;
    Ok(BackedUp { file: to.to_owned(), records: checked.records, unknown: checked.strange })
}

/// Of a state that no server has open.
fn offline(state: &Path, to: &mut impl std::io::Write) -> Result<backup::Checked> {
    let disk = Disk::open(state)?;
    let pieces = runtime()?.block_on(backup::Pieces::of(&disk, clock::now()))?;
    backup::take(BufReader::new(pieces), |line| Ok(to.write_all(line)?))
}

/// Fills a new state directory from a backup, or from standard input; nothing is made before all of it was looked at.
pub fn restore(state: &Path, from: &Path, unverified: bool) -> Result<Restored> {
    let cannot = || format!("cannot restore {}", from.display());
    let records = if from == Path::new("-") {
        backup::parse(std::io::stdin().lock(), unverified)
    } else {
        let file = open_file(from).with_context(|| format!("cannot read {}", from.display()))?;
        backup::parse(BufReader::new(file), unverified)
    };
    let records = records.with_context(cannot)?;
    let disk = Disk::open(state)?;
    let count = runtime()?.block_on(backup::restore(&disk, records)).with_context(cannot)?;
    Ok(Restored { state: state.to_owned(), records: count })
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")
}
