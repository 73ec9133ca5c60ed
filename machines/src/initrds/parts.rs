//! An initrd's bytes: one archive of program, modules and firmware, packed as its kernel can unpack it.

use std::collections::BTreeSet;

use oneroot_initrd::cpio::Archive;
use oneroot_initrd::modules::Narrowed;
use oneroot_tree::Store;
use oneroot_tree::packed::{gzip, zstd};

use super::Ingredient;
use super::contents::{File, LARGEST, Parts, is_ours, note};
use super::taken::taken;
use super::unpacked::Unpacked;
use crate::error::{Error, Result};

/// zstd's level for an archive of a few drivers, and for one of more than [`MANY`] bytes: packing waits for the first boot.
const LEVELS: (i32, i32) = (9, 6);
/// Bytes from which an archive is packed faster.
const MANY: usize = 16 << 20;
/// What the kernel itself makes first, and what a program that runs alone needs.
const DIRECTORIES: [&str; 6] = ["dev", "proc", "sys", "run", "oneroot", "root"];
/// The device that a kernel opens for the first program.
const CONSOLE: (u32, u32) = (5, 1);
const NULL: (u32, u32) = (1, 3);

/// An archive.
pub struct Packed {
    /// It.
    pub bytes: Vec<u8>,
    /// What it is made of.
    pub made_of: Vec<Ingredient>,
    /// In words: what could not be read, and needs not be.
    pub missing: Vec<String>,
}

/// Makes the archive and packs it.
pub fn packed(
    store: &Store,
    parts: &Parts,
    tables: &Narrowed,
    builtin: &str,
    kept: &Unpacked,
) -> Result<Packed> {
    let mut archive = Archive::new(Vec::new());
    let mut made = BTreeSet::new();
    for path in DIRECTORIES {
        directories(&mut archive, &mut made, &format!("{path}/x"))?;
    }
    archive.device("dev/console", 0o600, CONSOLE)?;
    // A kernel without a working console starts init with no descriptor, and Rust's runtime opens this for each, or aborts.
    archive.device("dev/null", 0o666, NULL)?;
    archive.file("init", 0o755, &parts.program.bytes)?;
    // What the kernel runs when it wants a module, for as long as that is the program's.
    archive.link("oneroot/modprobe", "/init")?;
    let home = format!("lib/modules/{}", parts.version);
    directories(&mut archive, &mut made, &format!("{home}/x"))?;
    let texts = [
        ("dep", &*tables.dep),
        ("alias", &tables.alias),
        ("softdep", &tables.softdep),
        ("builtin", builtin),
        ("conf", &tables.conf),
    ];
    for (name, text) in texts {
        archive.file(&format!("{home}/modules.{name}"), 0o644, text.as_bytes())?;
    }
    let mut left = LARGEST;
    let (mut modules, mut firmware) = (0, 0);
    let (mut files, mut missing) = (0, Vec::new());
    for (_, module) in &parts.modules {
        let bytes = read_once(store, module, &mut left, kept)?.map_err(Error::Initrd)?;
        modules += add(&mut archive, &mut made, module, &bytes)?;
    }
    for file in &parts.firmware {
        match read(store, file, &mut left)? {
            Ok(bytes) => {
                firmware += add(&mut archive, &mut made, file, &bytes)?;
                files += 1;
            }
            // Its driver may do without it, or with an older one.
            Err(trouble) => note(&mut missing, trouble),
        }
    }
    let (packed, how) = made_small(&archive.finish()?, parts.zstd)?;
    let ingredient = |what: &str, bytes: u64, why: String| Ingredient { what: what.to_owned(), bytes, why };
    let mut made_of = vec![
        ingredient("init", parts.program.bytes.len() as u64, parts.program.from.clone()),
        ingredient("modules", modules, format!("{}: {}", parts.modules.len(), parts.why)),
    ];
    made_of
        .extend(firmware_told(files, parts.firmware_named).map(|why| ingredient("firmware", firmware, why)));
    made_of.push(ingredient("packed", packed.len() as u64, how.to_owned()));
    Ok(Packed { bytes: packed, made_of, missing })
}

/// In words: which firmware goes in, of so many files that modules name. Nothing where they name none.
fn firmware_told(files: usize, named: usize) -> Option<String> {
    match (files, named) {
        (0, 0) => None,
        (0, _) => Some(format!("none of the {named} that those modules name is in the tree")),
        _ => Some(format!("{files}, which those modules name")),
    }
}

/// The archive as its kernel can unpack it, and how that is.
fn made_small(bytes: &[u8], unpacks_zstd: bool) -> Result<(Vec<u8>, &'static str)> {
    if !unpacks_zstd {
        return Ok((gzip(bytes)?, "gzip, for the kernel does not say that it unpacks zstd"));
    }
    let level = if bytes.len() > MANY { LEVELS.1 } else { LEVELS.0 };
    Ok((zstd(bytes, level)?, "zstd"))
}

/// A module, unpacked now unless it was a moment ago.
fn read_once(
    store: &Store,
    module: &File,
    left: &mut u64,
    kept: &Unpacked,
) -> Result<std::result::Result<Vec<u8>, String>> {
    let most = module.most.min(*left);
    match kept.take(module.object).filter(|bytes| bytes.len() as u64 <= most) {
        Some(bytes) => {
            *left -= bytes.len() as u64;
            Ok(Ok(bytes))
        }
        None => read(store, module, left),
    }
}

/// A file of the tree, unpacked; or in words why it can't be read.
pub fn read(store: &Store, file: &File, left: &mut u64) -> Result<std::result::Result<Vec<u8>, String>> {
    let most = file.most.min(*left);
    match taken(store, file.object, most)? {
        Ok(bytes) => {
            *left -= bytes.len() as u64;
            Ok(Ok(bytes))
        }
        Err(cause) if is_ours(&cause) => Err(cause.into()),
        Err(cause) => {
            // How far it came nobody says.
            *left -= most;
            Ok(Err(format!("{} can't be read: {cause}", file.path)))
        }
    }
}

/// Adds a file, and says how many bytes it has.
fn add(
    archive: &mut Archive<Vec<u8>>,
    made: &mut BTreeSet<String>,
    file: &File,
    bytes: &[u8],
) -> Result<u64> {
    directories(archive, made, &file.path)?;
    archive.file(&file.path, 0o644, bytes)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_that_nobody_names_is_not_told_of_and_what_the_tree_lacks_is() {
        assert_eq!(firmware_told(0, 0), None);
        assert_eq!(firmware_told(0, 3).unwrap(), "none of the 3 that those modules name is in the tree");
        assert_eq!(firmware_told(2, 3).unwrap(), "2, which those modules name");
    }
}
