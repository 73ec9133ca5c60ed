//! The tree that all servers serve: what the storm's recording needs, many small files, and a few large ones.
//!
//! Always the same for the same recording: names and sizes come from a generator with a fixed seed. Sizes are log-normal
//! with a median of 3 KiB, as on a Debian root; contents are noise, so that no two files share an object.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::nodes::{Kind, Node};

/// Directories of small files, below `many/`.
pub const DIRECTORIES: usize = 500;
/// Small files in each.
pub const FILES: usize = 100;
/// Files for large reads, below `big/`.
pub const BIG_FILES: usize = 4;
/// Bytes of each.
pub const BIG: usize = 64 << 20;

/// Numbers that look random and are the same in every run (xorshift64).
pub struct Noise(pub u64);

impl Noise {
    /// The next one.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Log-normal: exp(ln 3072 + 1.5 z), z by Box and Muller.
    fn size(&mut self) -> usize {
        let z = (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos();
        ((3072f64.ln() + 1.5 * z).exp() as usize).min(4 << 20)
    }

    fn write(&mut self, path: &Path, size: usize) -> Result<()> {
        let mut bytes = Vec::with_capacity(size + 8);
        while bytes.len() < size {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        let mut file = fs::File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(file.write_all(&bytes[..size])?)
    }
}

/// The tree in `work`; made if it is not there or is another recording's.
pub fn make(work: &Path, nodes: &BTreeMap<String, Node>) -> Result<PathBuf> {
    let root = work.join("tree");
    let made = work.join("tree.made");
    let stamp = format!("1 {DIRECTORIES} {FILES} {BIG_FILES} {BIG} {:?}", nodes);
    if fs::read_to_string(&made).is_ok_and(|found| found == stamp) {
        return Ok(root);
    }
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    eprintln!("making the tree in {}", root.display());
    let mut noise = Noise(0x6f6e_6572_6f6f_7401);
    for (path, node) in nodes {
        let place = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(place.parent().context("a node has a directory")?)?;
        match &node.kind {
            Kind::Directory => fs::create_dir_all(&place)?,
            Kind::Link(target) => symlink(target, &place)?,
            // What is only looked at needs a size and no contents.
            Kind::File(size) if !node.is_read => fs::File::create(&place)?.set_len(*size)?,
            Kind::File(size) => noise.write(&place, usize::try_from(*size)?)?,
        }
    }
    for directory in 0..DIRECTORIES {
        let directory = root.join(format!("many/{directory:03}"));
        fs::create_dir_all(&directory)?;
        for number in 0..FILES {
            let size = noise.size();
            let name = format!("file-{number:02}-{:04x}", noise.next() & 0xffff);
            noise.write(&directory.join(name), size)?;
        }
    }
    fs::create_dir_all(root.join("big"))?;
    for number in 0..BIG_FILES {
        noise.write(&root.join(format!("big/{number}")), BIG)?;
    }
    // oneroot plans a boot only of a root that has a kernel.
    fs::create_dir_all(root.join("boot"))?;
    for name in ["vmlinuz-6.1.0-bench", "initrd.img-6.1.0-bench"] {
        noise.write(&root.join("boot").join(name), 4096)?;
    }
    fs::write(made, stamp)?;
    Ok(root)
}
