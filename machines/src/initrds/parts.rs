//! An initrd's bytes: one archive of program, modules and firmware, packed as its kernel can unpack it.

use std::collections::BTreeSet;

use oneroot_initrd::cpio::Archive;
use oneroot_initrd::modules::Narrowed;
use oneroot_tree::Store;
use oneroot_tree::packed::{gzip, unpacked, zstd};

use super::Ingredient;
use super::contents::{File, LARGEST, Parts};
use crate::error::{Error, Result};

/// zstd's level for an archive of a few drivers, and for one of more than [`MANY`] bytes: packing waits for the first boot.
const LEVELS: (i32, i32) = (12, 6);
/// Bytes from which an archive is packed faster.
const MANY: usize = 16 << 20;
/// What the kernel itself makes first, and what a program that runs alone needs.
const DIRECTORIES: [&str; 6] = ["dev", "proc", "sys", "run", "oneroot", "root"];
/// The device that a kernel opens for the first program.
const CONSOLE: (u32, u32) = (5, 1);

/// An archive.
pub struct Packed {
    /// It.
    pub bytes: Vec<u8>,
    /// What it is made of.
    pub made_of: Vec<Ingredient>,
}

/// Makes the archive and packs it.
pub fn packed(store: &Store, parts: &Parts, tables: &Narrowed, builtin: &str) -> Result<Packed> {
    let mut archive = Archive::new(Vec::new());
    let mut made = BTreeSet::new();
    for path in DIRECTORIES {
        directories(&mut archive, &mut made, &format!("{path}/x"))?;
    }
    archive.device("dev/console", 0o600, CONSOLE)?;
    archive.file("init", 0o755, parts.program)?;
    // What the kernel runs when it wants a module, for as long as that is the program's.
    archive.link("oneroot/modprobe", "/init")?;
    let home = format!("lib/modules/{}", parts.version);
    directories(&mut archive, &mut made, &format!("{home}/x"))?;
    let texts =
        [("dep", &*tables.dep), ("alias", &tables.alias), ("softdep", &tables.softdep), ("builtin", builtin)];
    for (name, text) in texts {
        archive.file(&format!("{home}/modules.{name}"), 0o644, text.as_bytes())?;
    }
    let mut left = LARGEST;
    let (mut modules, mut firmware) = (0, 0);
    for (_, module) in &parts.modules {
        modules += add(store, &mut archive, &mut made, module, &mut left)?;
    }
    for file in &parts.firmware {
        firmware += add(store, &mut archive, &mut made, file, &mut left)?;
    }
    let bytes = archive.finish()?;
    let (packed, how) = if parts.zstd {
        let level = if bytes.len() > MANY { LEVELS.1 } else { LEVELS.0 };
        (zstd(&bytes, level)?, "zstd")
    } else {
        (gzip(&bytes)?, "gzip, for the kernel does not say that it unpacks zstd")
    };
    let ingredient = |what: &str, bytes: u64, why: String| Ingredient { what: what.to_owned(), bytes, why };
    let made_of = vec![
        ingredient("init", parts.program.len() as u64, "oneroot's own".to_owned()),
        ingredient("modules", modules, format!("{}: {}", parts.modules.len(), parts.why)),
        ingredient("firmware", firmware, format!("{}, which those modules name", parts.firmware.len())),
        ingredient("packed", packed.len() as u64, how.to_owned()),
    ];
    Ok(Packed { bytes: packed, made_of })
}

/// Adds a file of the tree, unpacked, and says how many bytes that has.
fn add(
    store: &Store,
    archive: &mut Archive<Vec<u8>>,
    made: &mut BTreeSet<String>,
    file: &File,
    left: &mut u64,
) -> Result<u64> {
    directories(archive, made, &file.path)?;
    let bytes = unpacked(store.object(file.object)?, file.most.min(*left))
        .map_err(|cause| Error::Initrd(format!("{} can't be read: {cause}", file.path)))?;
    archive.file(&file.path, 0o644, &bytes)?;
    *left -= bytes.len() as u64;
    Ok(bytes.len() as u64)
}

/// The directories above a path that are not there yet.
fn directories(archive: &mut Archive<Vec<u8>>, made: &mut BTreeSet<String>, path: &str) -> Result<()> {
    for (end, _) in path.match_indices('/') {
        let directory = path.get(..end).unwrap_or_default();
        if made.insert(directory.to_owned()) {
            archive.directory(directory, 0o755)?;
        }
    }
    Ok(())
}
