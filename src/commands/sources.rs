//! A source that an admin's own program makes.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use oneroot_tree::Stage;

/// Lines of a failed program that are shown.
const TAIL: usize = 15;

/// Runs an admin's program in the site's directory, with an empty directory as its last argument, and stages what is in
/// there then. Owners are those that the program could give: as root, any.
pub fn command(stage: &mut Stage<'_>, home: &Path, words: &[String]) -> Result<()> {
    let directory = tempfile::tempdir().context("cannot make a directory for the command")?;
    let (program, arguments) = words.split_first().context("the command is empty")?;
    let mut said = tempfile::tempfile()?;
    let done = Command::new(program)
        .args(arguments)
        .arg(directory.path())
        .current_dir(home)
        .stdin(Stdio::null())
        .stdout(said.try_clone()?)
        .stderr(said.try_clone()?)
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    if !done.success() {
        bail!("{program} ended with {done}; it said:\n{}", tail(&mut said)?);
    }
    Ok(stage.directory(directory.path())?)
}

/// The last lines that a program said.
pub fn tail(said: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    said.rewind()?;
    said.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default().join("\n"))
}
