//! What goes into an initrd, looked for in a view: the kernel's tables, modules, firmware. Bounded, for a tree is somebody's.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::sync::Arc;

use oneroot_bootconf::drivers::Chosen;
use oneroot_bootconf::kernels::Own;
use oneroot_ids::ObjectId;
use oneroot_initrd::firmware::{Machine, Said, said};
use oneroot_initrd::modules::{self, Narrowed, Tables, bare, conf};
use oneroot_tree::{Store, View};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::Wanted;
use super::firmware;
use super::microcode::{self, Maker};
use super::program::{HERE, Program, Programs};
use super::taken::{plain, taken};
use super::unpacked::Unpacked;
use crate::error::{Error, Result};

/// Bytes of a module, unpacked: the largest of a distribution has some 20 MiB, of which a NIC's has 5.
pub const LARGEST_MODULE: u64 = 64 << 20;
/// Bytes of all of an initrd, before it is packed: it is made in memory.
pub const LARGEST: u64 = 256 << 20;
/// Bytes of a kernel's configuration.
const LARGEST_CONFIG: u64 = 4 << 20;
/// Modules in one initrd: all drivers of Ethernet of a distribution's kernel are some 400.
const MOST_MODULES: usize = 1024;
/// Troubles that are told of.
const MOST_TROUBLES: usize = 64;
/// Bytes of what is remembered of modules.
const REMEMBERED: u64 = 16 << 20;
/// About as many modules as that is.
const USUAL: usize = 4_000;
/// Programs of which every tree has one; what it runs on, its kernel does.
const PROGRAMS: [&str; 4] = ["/sbin/init", "/lib/systemd/systemd", "/bin/busybox", "/bin/sh"];

/// A kernel's tables, as its tree has them.
pub struct Texts {
    pub dep: String,
    pub alias: String,
    pub softdep: String,
    pub builtin: String,
    /// What the tree's admin says of modules.
    pub conf: String,
}

/// Names of the tables.
const TEXTS: [&str; 4] = ["dep", "alias", "softdep", "builtin"];
/// Where files of modprobe.d(5) lie; of two with one name the first counts.
const CONF: [&str; 5] = [
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
    "/lib/modprobe.d",
];
/// Such files of one tree.
const MOST_CONF: usize = 256;

impl Texts {
    /// Which objects they are: the same ones say the same.
    pub fn objects(view: &View, modules: &str) -> [Option<ObjectId>; 4] {
        TEXTS.map(|name| object(view, &format!("{modules}/modules.{name}")))
    }

    /// Reads them from a directory of modules; one that is not there is empty.
    pub fn read(store: &Store, view: &View, modules: &str) -> Result<Self> {
        let text = |name: &str| -> Result<String> {
            let path = format!("{modules}/modules.{name}");
            let Some(object) = object(view, &path) else { return Ok(String::new()) };
            let bytes = plain(store, object, modules::LARGEST as u64 + 1)?;
            String::from_utf8(bytes).map_err(|_| Error::Initrd(format!("{path} is no text")))
        };
        let [dep, alias, softdep, builtin] = TEXTS;
        let conf = conf_text(store, view)?;
        let [dep, alias, softdep, builtin] = [text(dep)?, text(alias)?, text(softdep)?, text(builtin)?];
        Ok(Self { dep, alias, softdep, builtin, conf })
    }

    /// What they say.
    pub fn tables(&self) -> Result<Tables<'_>> {
        let tables = Tables::parse(&self.dep, &self.alias, &self.softdep, &self.builtin);
        tables.and_then(|tables| tables.told(&self.conf)).map_err(|cause| Error::Initrd(cause.to_string()))
    }
}

/// The files of modprobe.d by their names, in the order in which kmod reads them; one that hides another may itself be none, as a
/// link to `/dev/null` is.
fn conf_files(view: &View) -> BTreeMap<String, Option<(String, ObjectId)>> {
    let mut found = BTreeMap::new();
    for directory in CONF {
        for name in view.listed(directory).into_iter().filter(|name| name.ends_with(".conf")) {
            let path = format!("{directory}/{name}");
            let object = object(view, &path);
            found.entry(name).or_insert_with(|| object.map(|object| (path, object)));
        }
    }
    found
}

/// The same for the same files.
pub fn conf_digest(view: &View) -> [u8; 32] {
    let mut digest = blake3::Hasher::new();
    for (_, object) in conf_files(view).values().flatten() {
        digest.update(&object.0);
    }
    *digest.finalize().as_bytes()
}

/// All of them as one text.
fn conf_text(store: &Store, view: &View) -> Result<String> {
    let files: Vec<(String, ObjectId)> = conf_files(view).into_values().flatten().collect();
    if files.len() > MOST_CONF {
        let many = files.len();
        return Err(Error::Initrd(format!(
            "modprobe.d has {many} files, more than the {MOST_CONF} that are read"
        )));
    }
    let (mut texts, mut left) = (Vec::new(), conf::LARGEST as u64);
    for (path, object) in files {
        let bytes = plain(store, object, left + 1)?;
        left = left.checked_sub(bytes.len() as u64).ok_or_else(|| {
            Error::Initrd(format!("with {path}, modprobe.d has more than {} KiB", conf::LARGEST >> 10))
        })?;
        // A comment in another encoding is no reason for a machine not to boot.
        texts.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    Ok(conf::joined(texts.iter().map(String::as_str)))
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
    pub program: Arc<Program>,
    /// The kernel's version.
    pub version: String,
    /// Paths of modules as the tables name them, of those that are there, and the modules.
    pub modules: Vec<(String, File)>,
    /// Firmware.
    pub firmware: Vec<File>,
    /// How many files of firmware the modules name, of which a tree has those for the cards that it is for.
    pub firmware_named: usize,
    /// What the processors of the machine may load, by the file that it goes into.
    pub microcode: Vec<(Maker, File)>,
    /// Whether the kernel unpacks zstd.
    pub zstd: bool,
    /// Why these modules.
    pub why: String,
    /// In words: what is not there, or can't be read, and needs not be.
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
        add(&self.program.object.0);
        add(self.version.as_bytes());
        add(&[u8::from(self.zstd)]);
        [&tables.dep, &tables.alias, &tables.softdep, &tables.conf]
            .into_iter()
            .for_each(|text| add(text.as_bytes()));
        add(builtin.as_bytes());
        for file in self.modules.iter().map(|(_, file)| file).chain(&self.firmware) {
            add(file.path.as_bytes());
            add(file.object.to_string().as_bytes());
        }
        for (maker, file) in &self.microcode {
            add(maker.path().as_bytes());
            add(file.object.to_string().as_bytes());
        }
        self.missing.iter().for_each(|trouble| add(trouble.as_bytes()));
        *name.finalize().as_bytes()
    }
}

/// What a module says of itself, or why it says nothing; and the bytes that reading it took of a budget.
#[derive(Clone)]
struct Read {
    said: std::result::Result<Said, String>,
    bytes: u64,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<ObjectId, Arc<Read>> for Bytes {
    fn weight(&self, _: &ObjectId, read: &Arc<Read>) -> u64 {
        let names = match &read.said {
            Ok(said) => said.firmware.iter().map(|name| name.len() + size_of::<String>()).sum(),
            Err(cause) => cause.len(),
        };
        names as u64 + 128
    }
}

/// What modules say of themselves, so that none is unpacked for each machine.
pub struct Known {
    said: Cache<ObjectId, Arc<Read>, Bytes>,
    /// Those that were unpacked for that just now.
    pub unpacked: Unpacked,
}

impl Default for Known {
    fn default() -> Self {
        Self { said: Cache::with_weighter(USUAL, REMEMBERED, Bytes), unpacked: Unpacked::default() }
    }
}

impl Known {
    /// What a module says, read with what is left of a budget. A store that can't be read is no fault of a tree's.
    fn said(&self, store: &Store, object: ObjectId, left: &mut u64) -> Result<Arc<Read>> {
        let read = match self.said.get(&object) {
            Some(read) => read,
            None => {
                let most = LARGEST_MODULE.min(*left);
                let read = Arc::new(read_module(store, object, most, &self.unpacked)?);
                // Where the budget was what held it up, nothing is known of the module.
                if read.said.is_ok() || most == LARGEST_MODULE {
                    self.said.insert(object, read.clone());
                }
                read
            }
        };
        let Some(less) = left.checked_sub(read.bytes) else {
            let said = Err(format!("an initrd has no room for more than {} MiB", LARGEST >> 20));
            return Ok(Arc::new(Read { said, bytes: 0 }));
        };
        *left = less;
        Ok(read)
    }
}

/// Takes note of something that a boot can do without.
pub fn note(missing: &mut Vec<String>, trouble: String) {
    match missing.len() {
        ..MOST_TROUBLES => missing.push(trouble),
        MOST_TROUBLES => missing.push("and more is not there or can't be read".to_owned()),
        _ => {}
    }
}

/// Looks for all that was chosen.
///
/// # Errors
/// [`Error::Initrd`] where something is not there, or can't be read, that no boot comes up without; and of the program.
pub fn gathered(
    store: &Store,
    wanted: &Wanted<'_>,
    chosen: &Chosen<'_>,
    known: &Known,
    programs: &Programs,
) -> Result<Parts> {
    let (view, own) = (wanted.view, wanted.own);
    if chosen.modules.len() > MOST_MODULES {
        let many = chosen.modules.len();
        return Err(Error::Initrd(format!("{many} modules are more than the {MOST_MODULES} of an initrd")));
    }
    let (mut modules, mut missing) = (Vec::new(), Vec::new());
    let mut names = firmware::of_the_kernel(store, view, &own.modules)?;
    let (mut machine, mut left) = (None, LARGEST);
    for path in &chosen.modules {
        let from = format!("{}/{path}", own.modules);
        let found = match object(view, &from) {
            Some(object) => {
                known.said(store, object, &mut left)?.said.clone().map(|said| (object, said)).map_err(|cause| {
                    format!("{from} can't be read as a module: {cause}; install the kernel's package in the tree anew")
                })
            }
            None => Err(absent(&from)),
        };
        let (object, said) = match found {
            Ok(found) => found,
            Err(trouble) if chosen.needed.contains(path) => return Err(Error::Initrd(trouble)),
            Err(trouble) => {
                note(&mut missing, trouble);
                continue;
            }
        };
        machine = machine.or(Some(said.machine));
        let room = firmware::MOST_NAMES.saturating_sub(names.len());
        names.extend(said.firmware.into_iter().take(room));
        let path_there = format!("lib/modules/{}/{}", own.version, bare(path));
        modules.push(((*path).to_owned(), File { path: path_there, object, most: LARGEST_MODULE }));
    }
    let machine = machine.map_or_else(|| processor(store, view), Ok)?;
    let program = programs.of(machine)?;
    let firmware = firmware::found(view, &own.version, &names);
    let zstd = unpacks_zstd(store, view, own)?;
    let why = chosen.why.clone();
    let microcode =
        if machine == Machine::X86_64 { microcode::found(view, wanted.microcode) } else { Vec::new() };
    Ok(Parts {
        program,
        version: own.version.clone(),
        modules,
        firmware,
        firmware_named: names.len(),
        microcode,
        zstd,
        why,
        missing,
    })
}

/// In words: a module that is not there.
fn absent(path: &str) -> String {
    format!(
        "{path} is not there, though its kernel's modules.dep names it: install the kernel's package anew"
    )
}

fn read_module(store: &Store, object: ObjectId, most: u64, kept: &Unpacked) -> Result<Read> {
    Ok(match taken(store, object, most)? {
        Ok(bytes) => {
            let read =
                Read { said: said(&bytes).map_err(|cause| cause.to_string()), bytes: bytes.len() as u64 };
            kept.keep(object, bytes);
            read
        }
        Err(cause) if is_ours(&cause) => return Err(cause.into()),
        // How far it came nobody says.
        Err(cause) => Read { said: Err(cause.to_string()), bytes: most },
    })
}

/// Whether this is a trouble of the disk's, and says nothing of what lies there.
pub fn is_ours(cause: &io::Error) -> bool {
    cause.raw_os_error().is_some()
}

/// What a tree runs on whose kernel has all that it takes in itself: what its programs run on.
fn processor(store: &Store, view: &View) -> io::Result<Machine> {
    for object in PROGRAMS.iter().filter_map(|path| object(view, path)) {
        let mut head = Vec::new();
        store.object(object)?.take(Machine::HEAD as u64).read_to_end(&mut head)?;
        if let Some(machine) = Machine::of_program(&head) {
            return Ok(machine);
        }
    }
    Ok(HERE)
}

/// Whether the kernel says that it unpacks an initrd of zstd (since Linux 5.9). Each unpacks gzip.
fn unpacks_zstd(store: &Store, view: &View, own: &Own) -> io::Result<bool> {
    let Some(object) = own.configs.iter().find_map(|path| object(view, path)) else { return Ok(false) };
    let mut config = Vec::new();
    store.object(object)?.take(LARGEST_CONFIG).read_to_end(&mut config)?;
    Ok(config.split(|byte| *byte == b'\n').any(|line| line == b"CONFIG_RD_ZSTD=y"))
}

pub fn object(view: &View, path: &str) -> Option<ObjectId> {
    view.object(view.follow(path.as_bytes())?)
}
