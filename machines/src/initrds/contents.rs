//! What goes into an initrd, looked for in a view: the kernel's tables, modules, firmware. Bounded, for a tree is somebody's.

use std::collections::BTreeSet;
use std::io::{self, Read as _};

use oneroot_bootconf::drivers::Chosen;
use oneroot_ids::ObjectId;
use oneroot_initrd::firmware::{Machine, Said, said};
use oneroot_initrd::modules::{self, Narrowed, bare};
use oneroot_tree::packed::unpacked;
use oneroot_tree::{Store, View};
use quick_cache::sync::Cache;

use super::Wanted;
use super::program::{HERE, program};
use crate::error::{Error, Result};

/// Bytes of a module, unpacked: the largest of a distribution has some 20 MiB, of which a NIC's has 5.
pub const LARGEST_MODULE: u64 = 64 << 20;
/// Bytes of a firmware file, unpacked.
const LARGEST_FIRMWARE: u64 = 32 << 20;
/// Bytes of all of an initrd, before it is packed: it is made in memory.
pub const LARGEST: u64 = 256 << 20;
/// Bytes of a kernel's configuration.
const LARGEST_CONFIG: u64 = 4 << 20;
/// Files of firmware in one initrd.
const MOST_FIRMWARE: usize = 512;
/// Where firmware lies in a tree, and how a file there may be packed (Linux, firmware_class).
const FIRMWARE: &str = "/lib/firmware";
const PACKED: [&str; 3] = ["", ".zst", ".xz"];

/// A kernel's tables, as its tree has them.
pub struct Texts {
    pub dep: String,
    pub alias: String,
    pub softdep: String,
    pub builtin: String,
}

impl Texts {
    /// Reads them from a directory of modules; one that is not there is empty.
    pub fn read(store: &Store, view: &View, modules: &str) -> Result<Self> {
        let text = |name: &str| -> Result<String> {
            let path = format!("{modules}/modules.{name}");
            let Some(object) = object(view, &path) else { return Ok(String::new()) };
            let mut bytes = Vec::new();
            let most = modules::LARGEST as u64 + 1;
            store.object(object)?.take(most).read_to_end(&mut bytes)?;
            String::from_utf8(bytes).map_err(|_| Error::Initrd(format!("{path} is no text")))
        };
        Ok(Self {
            dep: text("dep")?,
            alias: text("alias")?,
            softdep: text("softdep")?,
            builtin: text("builtin")?,
        })
    }
}

/// A file of an initrd that the tree has.
pub struct File {
    /// Its path in the initrd.
    pub path: String,
    /// What the tree has, packed or not.
    pub object: ObjectId,
    /// Bytes that it may have, unpacked.
    pub most: u64,
}

/// What an initrd is made of.
pub struct Parts {
    /// The program.
    pub program: &'static [u8],
    /// The kernel's version.
    pub version: String,
    /// Paths of modules as the tables name them, of those that are there, and the modules.
    pub modules: Vec<(String, File)>,
    /// Firmware.
    pub firmware: Vec<File>,
    /// Whether the kernel unpacks zstd.
    pub zstd: bool,
    /// Why these modules.
    pub why: String,
    /// What was not there.
    pub missing: Vec<String>,
}

impl Parts {
    /// Paths of the modules as the tables name them.
    pub fn loadable(&self) -> Vec<&str> {
        self.modules.iter().map(|(path, _)| path.as_str()).collect()
    }

    /// The name of all that goes in: what has the same name is the same initrd.
    pub fn name(&self, tables: &Narrowed, builtin: &str) -> [u8; 32] {
        let mut name = blake3::Hasher::new();
        let mut add = |bytes: &[u8]| {
            name.update(&(bytes.len() as u64).to_le_bytes());
            name.update(bytes);
        };
        add(self.program);
        add(self.version.as_bytes());
        add(&[u8::from(self.zstd)]);
        [&tables.dep, &tables.alias, &tables.softdep].into_iter().for_each(|text| add(text.as_bytes()));
        add(builtin.as_bytes());
        for file in self.modules.iter().map(|(_, file)| file).chain(&self.firmware) {
            add(file.path.as_bytes());
            add(file.object.to_string().as_bytes());
        }
        *name.finalize().as_bytes()
    }
}

/// Looks for all that was chosen. What modules say of themselves is remembered in `known`.
pub fn gathered(
    store: &Store,
    wanted: &Wanted<'_>,
    chosen: &Chosen<'_>,
    known: &Cache<ObjectId, std::sync::Arc<Said>>,
) -> Result<Parts> {
    let (view, own) = (wanted.view, wanted.own);
    let (mut modules, mut missing) = (Vec::new(), Vec::new());
    let (mut machine, mut names) = (None, BTreeSet::new());
    for path in &chosen.modules {
        let from = format!("{}/{path}", own.modules);
        let Some(object) = object(view, &from) else {
            missing.push(from);
            continue;
        };
        let said = match known.get(&object) {
            Some(said) => said,
            None => {
                let said = std::sync::Arc::new(read_module(store, object, &from)?);
                known.insert(object, said.clone());
                said
            }
        };
        machine = machine.or(Some(said.machine));
        names.extend(said.firmware.iter().cloned());
        let path_there = format!("lib/modules/{}/{}", own.version, bare(path));
        modules.push(((*path).to_owned(), File { path: path_there, object, most: LARGEST_MODULE }));
    }
    let machine = machine.unwrap_or(HERE);
    let program = program(machine).ok_or_else(|| no_program(machine))?;
    let firmware = firmware(view, &names);
    let zstd = unpacks_zstd(store, view, own)?;
    let why = chosen.why.clone();
    Ok(Parts { program, version: own.version.clone(), modules, firmware, zstd, why, missing })
}

fn no_program(machine: Machine) -> Error {
    let processor = match machine {
        Machine::AARCH64 => "64-bit ARM",
        Machine::X86_64 => "64-bit x86",
        _ => "this kernel's processor",
    };
    Error::Initrd(format!(
        "this build of oneroot has no init for {processor}: write `initramfs = \"initramfs-tools\"` or `\"dracut\"` in the profile, with an initrd in the tree"
    ))
}

fn read_module(store: &Store, object: ObjectId, path: &str) -> Result<Said> {
    let wrong = |cause: &dyn std::fmt::Display| {
        Error::Initrd(format!(
            "{path} can't be read as a module: {cause}; install the kernel's package in the tree anew"
        ))
    };
    let bytes = unpacked(store.object(object)?, LARGEST_MODULE).map_err(|cause| wrong(&cause))?;
    said(&bytes).map_err(|cause| wrong(&cause))
}

/// The firmware of these names that the tree has. What is not there is not told of: drivers name all that any card may want.
fn firmware(view: &View, names: &BTreeSet<String>) -> Vec<File> {
    let mut found = Vec::new();
    for name in names {
        let packed = PACKED.iter().find_map(|end| object(view, &format!("{FIRMWARE}/{name}{end}")));
        if let Some(object) = packed.filter(|_| found.len() < MOST_FIRMWARE) {
            found.push(File { path: format!("lib/firmware/{name}"), object, most: LARGEST_FIRMWARE });
        }
    }
    found
}

/// Whether the kernel says that it unpacks an initrd of zstd (since Linux 5.9). Each unpacks gzip.
fn unpacks_zstd(store: &Store, view: &View, own: &oneroot_bootconf::kernels::Own) -> io::Result<bool> {
    let places = [format!("/boot/config-{}", own.version), format!("{}/config", own.modules)];
    let Some(object) = places.iter().find_map(|path| object(view, path)) else { return Ok(false) };
    let mut config = Vec::new();
    store.object(object)?.take(LARGEST_CONFIG).read_to_end(&mut config)?;
    Ok(config.split(|byte| *byte == b'\n').any(|line| line == b"CONFIG_RD_ZSTD=y"))
}

fn object(view: &View, path: &str) -> Option<ObjectId> {
    view.object(view.follow(path.as_bytes())?)
}
