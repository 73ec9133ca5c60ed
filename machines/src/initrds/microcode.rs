//! Microcode for an initrd: all that a tree has of a maker's, in the one file where a kernel looks for it before it unpacks anything
//! (Linux, Documentation/arch/x86/microcode.rst). The processor takes what is for it, so each maker's is the same for all machines.

use oneroot_bootconf::microcode::Microcode;
use oneroot_initrd::cpio::Archive;
use oneroot_tree::{Store, View};

use super::contents::{File, note, object};
use super::firmware::{FIRMWARE, PACKED};
use super::parts::read;
use crate::error::Result;

/// Bytes of one file of it: the largest of a distribution has some 300 KiB.
const LARGEST: u64 = 4 << 20;
/// Bytes of all of it: Intel's of a distribution has some 12 MiB.
const MOST_BYTES: u64 = 32 << 20;
/// Files of a maker's: Intel's has some 160.
const MOST: usize = 512;

/// Who made a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    Amd,
    Intel,
}

impl Maker {
    /// Where the kernel looks.
    pub fn path(self) -> &'static str {
        match self {
            Self::Amd => "kernel/x86/microcode/AuthenticAMD.bin",
            Self::Intel => "kernel/x86/microcode/GenuineIntel.bin",
        }
    }

    /// Where a tree has it, below its firmware.
    fn home(self) -> &'static str {
        match self {
            Self::Amd => "amd-ucode",
            Self::Intel => "intel-ucode",
        }
    }

    fn called(self) -> &'static str {
        match self {
            Self::Amd => "AMD",
            Self::Intel => "Intel",
        }
    }

    /// Whether a file there, by its name without what it is packed with, is microcode: signatures and papers lie beside it.
    fn is_named(self, name: &str) -> bool {
        match self {
            Self::Amd => name.ends_with(".bin"),
            // Family, model, stepping; some are only for so early.
            Self::Intel => {
                let mut parts = name.trim_end_matches(".initramfs").split('-');
                let is_two = |part: Option<&str>| {
                    part.is_some_and(|part| {
                        part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit())
                    })
                };
                is_two(parts.next()) && is_two(parts.next()) && is_two(parts.next()) && parts.next().is_none()
            }
        }
    }

    /// Whether it begins as a container of AMD's or an update of Intel's (version 1) does: the kernel gives up at the first that does
    /// not.
    fn begins(self, bytes: &[u8]) -> bool {
        bytes.starts_with(match self {
            Self::Amd => b"DMA\0",
            Self::Intel => &[1, 0, 0, 0],
        })
    }
}

/// The files that a tree has.
pub fn found(view: &View, wanted: Microcode) -> Vec<(Maker, File)> {
    let mut found = Vec::new();
    for (maker, is_wanted) in [(Maker::Amd, wanted.amd), (Maker::Intel, wanted.intel)] {
        if !is_wanted {
            continue;
        }
        let home = format!("{FIRMWARE}/{}", maker.home());
        let mut names = view.listed(&home);
        names.sort_unstable();
        let bare = |name: &str| {
            let end =
                PACKED.iter().find(|end| !end.is_empty() && name.ends_with(**end)).map_or(0, |end| end.len());
            name.get(..name.len() - end).is_some_and(|name| maker.is_named(name))
        };
        let files = names.into_iter().filter(|name| bare(name)).take(MOST).filter_map(|name| {
            let path = format!("{home}/{name}");
            let object = object(view, &path)?;
            Some((maker, File { path, object, most: LARGEST }))
        });
        found.extend(files);
    }
    found
}

/// An archive that is not packed.
#[derive(Default)]
pub struct Early {
    /// None where the tree has no microcode.
    pub bytes: Option<Vec<u8>>,
    /// Whose, in words.
    pub why: String,
    /// In words: what could not be read.
    pub missing: Vec<String>,
}

/// Makes it.
pub fn packed(store: &Store, files: &[(Maker, File)]) -> Result<Early> {
    let (mut early, mut left) = (Early::default(), MOST_BYTES);
    let mut archive = Archive::new(Vec::new());
    let mut whose = Vec::new();
    for maker in [Maker::Amd, Maker::Intel] {
        let mut all = Vec::new();
        for (_, file) in files.iter().filter(|(of, _)| *of == maker) {
            match read(store, file, &mut left)? {
                Ok(bytes) if maker.begins(&bytes) => all.extend(bytes),
                Ok(_) => {
                    let trouble = format!("{} is no microcode of {}", file.path, maker.called());
                    note(&mut early.missing, trouble);
                }
                Err(trouble) => note(&mut early.missing, trouble),
            }
        }
        if all.is_empty() {
            continue;
        }
        if whose.is_empty() {
            for directory in ["kernel", "kernel/x86", "kernel/x86/microcode"] {
                archive.directory(directory, 0o755)?;
            }
        }
        archive.file(maker.path(), 0o644, &all)?;
        whose.push(maker.called());
    }
    if !whose.is_empty() {
        early.bytes = Some(archive.finish()?);
        early.why = format!("{}, before all else and not packed", whose.join(" and "));
    }
    Ok(early)
}
