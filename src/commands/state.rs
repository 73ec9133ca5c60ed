//! `oneroot state backup` and `oneroot state restore`.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use oneroot_state::Disk;
use serde_json::json;

use super::tell;
use crate::cli::Exit;
use crate::{backup, clock, control};

/// Writes a backup to a file that only its owner can read; it has its name when it is whole and on the disk.
pub fn backup(state: &Path, to: &Path, json: bool) -> Result<Exit> {
    let fresh = beside(to);
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh);
    let mut file = BufWriter::new(file.with_context(|| format!("cannot write {}", fresh.display()))?);
    // A running server has the state locked, and knows more than its file: it is asked.
    let count = match control::ask_backup(state)? {
        Some(bytes) => {
            file.write_all(&bytes)?;
            bytes.iter().filter(|byte| **byte == b'\n').count().saturating_sub(1)
        }
        None => {
            let disk = Disk::open(state)?;
            runtime()?.block_on(backup::write(&disk, clock::now(), &mut file))?
        }
    };
    file.into_inner()?.sync_all()?;
    fs::rename(&fresh, to)?;
    sync_name(to)?;
    let words = format!(
        "{}: {count} records. It has the keys of all file handles: keep it as safe as the server.",
        to.display()
    );
    tell(json, &json!({ "file": to, "records": count }), words)
}

/// Fills a new state directory from a backup.
pub fn restore(state: &Path, from: &Path, json: bool) -> Result<Exit> {
    let file = File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
    let disk = Disk::open(state)?;
    let count = runtime()?
        .block_on(backup::read(&disk, BufReader::new(file)))
        .with_context(|| format!("cannot restore {}", from.display()))?;
    let words = format!("{}: {count} records restored", state.display());
    tell(json, &json!({ "state": state, "records": count }), words)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn sync_name(path: &Path) -> Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all().context("cannot sync the directory")
}
