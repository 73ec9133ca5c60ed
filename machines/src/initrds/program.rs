//! `oneroot-init` for each processor: as the build has put it into this binary (`build.rs`), or as a file beside the loaders that
//! firmware is sent, for a processor that the build had no compiler for.

//!
//! A file is read when it is another one than before, and not for each who asks; so is one that is none, and that there is none.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oneroot_ids::ObjectId;
use oneroot_initrd::firmware::{Machine, runs_alone_on};
use oneroot_initrd::is_of_this_build;
use oneroot_tree::confine::open_file;
use oneroot_tree::store::FileMark;

use crate::error::{Error, Result};

/// Bytes of the program; it has some 1.5 MB.
const LARGEST: u64 = 16 << 20;
/// Processors that there is a program for.
const PROCESSORS: [Machine; 2] = [Machine::X86_64, Machine::AARCH64];

/// The processor that this server runs on: a kernel without a module says nothing of its own.
pub const HERE: Machine = if cfg!(target_arch = "aarch64") { Machine::AARCH64 } else { Machine::X86_64 };

/// Where programs are looked for, and those that were found.
#[derive(Debug)]
pub struct Programs {
    /// Directories.
    places: Vec<PathBuf>,
    /// What the build has for a processor; nothing where it has none.
    built: fn(Machine) -> &'static [u8],
    kept: Mutex<Kept>,
}

/// What was found: one outcome for each of [`PROCESSORS`] at most.
#[derive(Debug, Default)]
struct Kept {
    round: u64,
    /// What the files were; nothing where there was none.
    marks: Vec<Option<FileMark>>,
    found: Vec<(Machine, std::result::Result<Arc<Program>, String>)>,
}

/// A program.
#[derive(Debug)]
pub struct Program {
    /// It.
    pub bytes: Cow<'static, [u8]>,
    /// Its name by its content.
    pub object: ObjectId,
    /// Where it is from, for people.
    pub from: String,
}

impl Program {
    fn new(bytes: Cow<'static, [u8]>, from: String) -> Self {
        Self { object: ObjectId(*blake3::hash(&bytes).as_bytes()), bytes, from }
    }
}

impl Default for Programs {
    fn default() -> Self {
        Self::beside(&[])
    }
}

impl Programs {
    /// In this binary, and in the site's directories of loaders: the first that has one counts.
    #[must_use]
    pub fn beside(loaders: &[PathBuf]) -> Self {
        Self::of_build(loaders, built)
    }

    /// The same for another build.
    pub(super) fn of_build(loaders: &[PathBuf], built: fn(Machine) -> &'static [u8]) -> Self {
        Self { places: loaders.to_vec(), built, kept: Mutex::default() }
    }

    /// The program for a processor.
    ///
    /// # Errors
    /// [`Error::NoProgram`], where there is none, or a file that is none, for as long as [`Self::round`] is the same; the disk's.
    pub fn of(&self, machine: Machine) -> Result<Arc<Program>> {
        self.known(&mut self.looked_at(), machine)
    }

    /// A number that is another one as soon as a file is: what came of the files counts until then. Reads what is new.
    pub fn round(&self) -> u64 {
        let mut kept = self.looked_at();
        for machine in PROCESSORS.into_iter().filter(|machine| (self.built)(*machine).is_empty()) {
            // Whoever wants it is told.
            let _ = self.known(&mut kept, machine);
        }
        kept.round
    }

    /// What is known of the files as they are now.
    fn looked_at(&self) -> MutexGuard<'_, Kept> {
        let lacking = PROCESSORS.into_iter().filter(|machine| (self.built)(*machine).is_empty());
        let paths = lacking.flat_map(|machine| self.paths(machine));
        let marks = paths.map(|path| FileMark::at(&path).ok()).collect();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.marks != marks {
            *kept = Kept { round: kept.round.wrapping_add(1), marks, found: Vec::new() };
        }
        kept
    }

    fn known(&self, kept: &mut Kept, machine: Machine) -> Result<Arc<Program>> {
        let known = kept.found.iter().find(|(of, _)| *of == machine);
        let found = match known {
            Some((_, found)) => found.clone(),
            None => {
                let found = match self.looked_for(machine) {
                    Ok(program) => Ok(Arc::new(program)),
                    Err(Error::NoProgram(cause)) => Err(cause),
                    Err(other) => return Err(other),
                };
                if PROCESSORS.contains(&machine) {
                    kept.found.push((machine, found.clone()));
                }
                found
            }
        };
        found.map_err(Error::NoProgram)
    }

    fn looked_for(&self, machine: Machine) -> Result<Program> {
        let built = (self.built)(machine);
        if !built.is_empty() {
            return Ok(Program::new(Cow::Borrowed(built), "oneroot's own".to_owned()));
        }
        let paths = self.paths(machine);
        for path in &paths {
            match read(path, machine) {
                Ok(Some(bytes)) => return Ok(Program::new(Cow::Owned(bytes), path.display().to_string())),
                Ok(None) => {}
                Err(cause) => {
                    // Who gets no program for it may come up all the same, and says nothing of why.
                    tracing::warn!("{cause}");
                    return Err(cause);
                }
            }
        }
        let (name, processor) = names(machine);
        Err(Error::NoProgram(lacking(processor, name, &paths)))
    }

    /// Where the program for a processor may lie.
    fn paths(&self, machine: Machine) -> Vec<PathBuf> {
        let (name, _) = names(machine);
        self.places.iter().filter(|_| !name.is_empty()).map(|directory| directory.join(name)).collect()
    }
}

fn built(machine: Machine) -> &'static [u8] {
    match machine {
        Machine::X86_64 => include_bytes!(concat!(env!("OUT_DIR"), "/init.x86_64")),
        Machine::AARCH64 => include_bytes!(concat!(env!("OUT_DIR"), "/init.aarch64")),
        _ => &[],
    }
}

/// The name of the file for a processor, where there is a program for it at all; and the processor in words.
fn names(machine: Machine) -> (&'static str, &'static str) {
    match machine {
        Machine::X86_64 => ("oneroot-init.x86_64", "64-bit x86"),
        Machine::AARCH64 => ("oneroot-init.aarch64", "64-bit ARM"),
        _ => ("", "this kernel's processor"),
    }
}

/// In words: there is none, and what to do.
fn lacking(processor: &str, name: &str, looked: &[PathBuf]) -> String {
    let other =
        "write `initramfs = \"initramfs-tools\"` or `\"dracut\"` in the profile, with an initrd in the tree";
    if name.is_empty() {
        return format!("oneroot has no init for {processor}: {other}");
    }
    let build = command(looked.first().map_or(Path::new(name), PathBuf::as_path));
    let looked: Vec<String> = looked.iter().map(|path| path.display().to_string()).collect();
    format!(
        "this build of oneroot has no init for {processor}, and {} is not there: run `{build}` in its sources, or {other}",
        looked.join(" or ")
    )
}

/// A file that is the program; none where there is no file.
fn read(path: &Path, machine: Machine) -> Result<Option<Vec<u8>>> {
    let trouble = |cause: &str| Error::NoProgram(format!("{}: {cause}", path.display()));
    let mut bytes = Vec::new();
    let read = open_file(path).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes));
    if let Err(cause) = read {
        return match cause.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => Ok(None),
            ErrorKind::PermissionDenied | ErrorKind::InvalidInput => Err(trouble(&refused(&cause))),
            // It may pass, and nobody remembers it.
            kind => Err(io::Error::new(kind, format!("{}: {cause}", path.display())).into()),
        };
    }
    let ((_, processor), build) = (names(machine), command(path));
    if runs_alone_on(&bytes) != Some(machine) {
        return Err(trouble(&format!(
            "this is no program for {processor} that runs alone: build it anew, by `{build}`"
        )));
    }
    // What server and program tell each other is the same within one build alone.
    if !is_of_this_build(&bytes) {
        return Err(trouble(&format!(
            "built for another oneroot than this server: build it anew, by `{build}` in this server's sources"
        )));
    }
    Ok(Some(bytes))
}

/// What makes the program at this path.
fn command(path: &Path) -> String {
    let processor = path.extension().unwrap_or_default().display();
    format!("scripts/build-init {processor} {}", path.display())
}

/// In words: why a file that is there was not opened. A server that runs may read what it could name at its start (`src/confine`),
/// and a link leads elsewhere.
fn refused(cause: &io::Error) -> String {
    if cause.kind() == ErrorKind::PermissionDenied {
        return format!(
            "{cause}: no place that this server may read since it started, or no file for its user: restart it, and copy, do not link"
        );
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn trouble(read: Result<Option<Vec<u8>>>) -> String {
        read.map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn only_a_program_for_that_processor_which_needs_no_other_file_is_taken() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("oneroot-init.x86_64");
        assert!(read(&path, Machine::X86_64).unwrap().is_none());
        fs::write(&path, built(Machine::X86_64)).unwrap();
        assert_eq!(read(&path, Machine::X86_64).unwrap().unwrap(), built(Machine::X86_64));
        let told = trouble(read(&path, Machine::AARCH64));
        assert!(told.contains("no program for 64-bit ARM that runs alone"), "{told}");
        // What any program of a distribution is: it wants libraries of a root that is not there yet.
        fs::copy("/bin/sh", &path).unwrap();
        assert!(trouble(read(&path, Machine::X86_64)).contains("runs alone"));
        fs::write(&path, "#!/bin/sh\n").unwrap();
        assert!(trouble(read(&path, Machine::X86_64)).contains("runs alone"));
        // Neither waited for nor read without end.
        fs::remove_file(&path).unwrap();
        for odd in ["/dev/zero", "/tmp"] {
            std::os::unix::fs::symlink(odd, &path).unwrap();
            assert!(trouble(read(&path, Machine::X86_64)).contains("not a regular file"), "{odd}");
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_program_of_other_sources_than_the_servers_is_not_taken_for_it_would_not_understand_its_settings() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("oneroot-init.x86_64");
        let mut other = built(Machine::X86_64).to_vec();
        let is_build = |at: &usize| other[*at..].starts_with(oneroot_initrd::BUILD.as_bytes());
        let places: Vec<usize> = (0..other.len()).filter(is_build).collect();
        assert!(!places.is_empty(), "the program that is built along says of which sources it is");
        for at in places {
            let last = &mut other[at + oneroot_initrd::BUILD.len() - 1];
            *last = if *last == b'0' { b'1' } else { b'0' };
        }
        fs::write(&path, other).unwrap();
        let told = trouble(read(&path, Machine::X86_64));
        assert!(told.contains("built for another oneroot than this server"), "{told}");
        assert!(told.contains(&format!("`scripts/build-init x86_64 {}`", path.display())), "{told}");
    }

    #[test]
    fn where_a_server_may_not_read_what_to_do_is_said_and_a_disk_that_fails_is_not_remembered() {
        let told = refused(&io::Error::from(ErrorKind::PermissionDenied));
        assert!(told.contains("restart it, and copy, do not link"), "{told}");
        // A name that no file system takes.
        let long = "x".repeat(4000);
        assert!(matches!(read(Path::new(&long), Machine::X86_64), Err(Error::Io(_))));
    }

    #[test]
    fn what_came_of_a_file_counts_until_it_is_another_one() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("oneroot-init.x86_64");
        let programs = Programs::of_build(&[home.path().to_owned()], |_| &[]);
        let none = programs.round();
        assert!(programs.of(Machine::X86_64).is_err() && programs.round() == none);
        fs::write(&path, built(Machine::X86_64)).unwrap();
        let (first, round) = (programs.of(Machine::X86_64).unwrap(), programs.round());
        assert!(Arc::ptr_eq(&programs.of(Machine::X86_64).unwrap(), &first) && round != none);
        fs::write(&path, "none").unwrap();
        assert!(programs.of(Machine::X86_64).is_err() && programs.round() != round);
    }
}
