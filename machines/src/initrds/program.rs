//! `oneroot-init` for each processor: as the build has put it into this binary (`build.rs`), or as a file beside the loaders that
//! firmware is sent, for a processor that the build had no compiler for.

use std::borrow::Cow;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use oneroot_ids::ObjectId;
use oneroot_initrd::firmware::{Machine, runs_alone_on};

use crate::error::{Error, Result};

/// Bytes of the program; it has some 1.5 MB.
const LARGEST: u64 = 16 << 20;

/// The processor that this server runs on: a kernel without a module says nothing of its own.
pub const HERE: Machine = if cfg!(target_arch = "aarch64") { Machine::AARCH64 } else { Machine::X86_64 };

/// Where programs are looked for.
#[derive(Debug)]
pub struct Programs {
    /// Directories.
    pub(super) places: Vec<PathBuf>,
    /// What the build has for a processor; nothing where it has none.
    pub(super) built: fn(Machine) -> &'static [u8],
}

/// A program.
#[derive(Debug)]
pub struct Program {
    /// It.
    pub bytes: Cow<'static, [u8]>,
    /// Where it is from, for people.
    pub from: String,
}

impl Program {
    /// Its name by its content.
    #[must_use]
    pub fn object(&self) -> ObjectId {
        ObjectId(*blake3::hash(&self.bytes).as_bytes())
    }
}

impl Default for Programs {
    fn default() -> Self {
        Self { places: Vec::new(), built }
    }
}

impl Programs {
    /// In this binary, and in the site's directories of loaders: the first that has one counts.
    #[must_use]
    pub fn beside(loaders: &[PathBuf]) -> Self {
        Self { places: loaders.to_vec(), built }
    }

    /// The program for a processor.
    ///
    /// # Errors
    /// [`Error::NoProgram`], where there is none, or a file that is none.
    pub fn of(&self, machine: Machine) -> Result<Program> {
        let built = (self.built)(machine);
        if !built.is_empty() {
            return Ok(Program { bytes: Cow::Borrowed(built), from: "oneroot's own".to_owned() });
        }
        let (name, processor) = names(machine);
        let paths: Vec<PathBuf> = self.places.iter().map(|directory| directory.join(name)).collect();
        for path in paths.iter().filter(|_| !name.is_empty()) {
            if let Some(bytes) = read(path, machine)? {
                return Ok(Program { bytes: Cow::Owned(bytes), from: path.display().to_string() });
            }
        }
        Err(Error::NoProgram(lacking(processor, name, &paths)))
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
    let target = name.rsplit('.').next().unwrap_or_default();
    let looked: Vec<String> = looked.iter().map(|path| path.display().to_string()).collect();
    format!(
        "this build of oneroot has no init for {processor}, and {} is not there: build it with `scripts/build-init {target}` of its sources, or {other}",
        looked.join(" or ")
    )
}

/// A file that is the program; none where there is no file.
fn read(path: &Path, machine: Machine) -> Result<Option<Vec<u8>>> {
    let trouble = |cause: String| Error::NoProgram(format!("{}: {cause}", path.display()));
    let file = match File::open(path) {
        Ok(file) => file,
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(trouble(cause.to_string())),
    };
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).map_err(|cause| trouble(cause.to_string()))?;
    if runs_alone_on(&bytes) != Some(machine) {
        let (_, processor) = names(machine);
        return Err(trouble(format!(
            "this is no program for {processor} that runs alone: build it anew with `scripts/build-init`"
        )));
    }
    Ok(Some(bytes))
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
    }
}
