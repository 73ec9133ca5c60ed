//! A source that an admin's own program makes.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use indicatif::ProgressBar;
use oneroot_tree::Stage;

use super::process_group::{fresh, is_here};
use crate::escape;

/// Lines of a failed program that are shown.
const TAIL: usize = 15;
/// How often it is looked at what a program says.
const GLANCE: Duration = Duration::from_millis(300);
/// Bytes of its end that are looked at.
const LINE: u64 = 1024;
/// Characters of a line that are shown.
const SHOWN: usize = 70;

/// The store that is staged into, for what a source's program calls.
pub const IN_ONE: &str = "ONEROOT_STAGES";

/// Whether this was called by the program of a source that is being staged into this store.
pub fn is_in_one(store: &Path) -> bool {
    let same = |stages: &Path| {
        stages.canonicalize().ok().is_some_and(|stages| store.canonicalize().ok() == Some(stages))
    };
    std::env::var_os(IN_ONE).is_some_and(|stages| same(Path::new(&stages)))
}

/// Runs an admin's program in the site's directory, with an empty directory as its last argument, and stages what is in
/// there then. Owners are those that the program could give: as root, any.
pub fn command(stage: &mut Stage<'_>, home: &Path, words: &[String], bar: &ProgressBar) -> Result<()> {
    let directory = tempfile::tempdir().context("cannot make a directory for the command")?;
    let (program, arguments) = words.split_first().context("the command is empty")?;
    if !is_there(home, program) {
        bail!(
            "there is no program {program}: a name is looked for in PATH, and a path from {}",
            home.display()
        );
    }
    let mut said = tempfile::tempfile()?;
    let mut runs = fresh(program);
    runs.args(arguments).arg(directory.path()).current_dir(home).stdin(Stdio::null());
    runs.env(IN_ONE, stage.store().path());
    runs.stdout(said.try_clone()?).stderr(said.try_clone()?);
    let done = told(&said, bar, || runs.status()).with_context(|| format!("cannot run {program}"))?;
    if !done.success() {
        bail!("{program} ended with {done}; it said:\n{}", tail(&mut said)?);
    }
    Ok(stage.directory(directory.path())?)
}

/// `env` has no error of its own for what is not there, but an exit code.
fn is_there(home: &Path, program: &str) -> bool {
    if program.contains('/') { home.join(program).exists() } else { is_here(program) }
}

/// Shows the last line of what a program says meanwhile: installing packages takes minutes.
pub fn told<T>(said: &File, bar: &ProgressBar, work: impl FnOnce() -> T) -> T {
    if bar.is_hidden() {
        return work();
    }
    let (done, is_done) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while is_done.recv_timeout(GLANCE) == Err(RecvTimeoutError::Timeout) {
                if let Some(line) = last_line(said) {
                    bar.set_message(escape::line(&line).into_owned());
                }
            }
        });
        // The watch ends with this, however the work does.
        let _done = done;
        work()
    })
}

/// The last whole line, if it is not the longest ever. What is read has its own place, for the program writes at the file's.
fn last_line(said: &File) -> Option<String> {
    let length = said.metadata().ok()?.len();
    let from = length.saturating_sub(LINE);
    let mut bytes = vec![0; usize::try_from(length - from).ok()?];
    said.read_exact_at(&mut bytes, from).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().take(SHOWN).collect())
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn the_last_line_that_has_anything_in_it_is_shown_while_the_program_goes_on_writing() {
        let mut said = tempfile::tempfile().unwrap();
        assert_eq!(last_line(&said), None);
        let long = "x".repeat(5000);
        write!(said, "I: installing\n{long}\nI: configuring  \n\n").unwrap();
        assert_eq!(last_line(&said).unwrap(), "I: configuring");
        write!(said, "{long}").unwrap();
        assert_eq!(last_line(&said).unwrap().len(), SHOWN);
        assert_eq!(said.metadata().unwrap().len(), 10_033, "nothing was written over");
    }
}
