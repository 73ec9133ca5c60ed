//! The modules that lie in the initrd: which are for which device, and how they get into the kernel.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::thread;

use oneroot_initrd::modules::{BadTables, Tables, conf};

use crate::kernel::{Errno, Kernel};
use crate::trouble::Trouble;

/// Modules that are loaded side by side: what takes long in one is its device.
const MOST_AT_ONCE: usize = 8;

/// The texts of the tables, as `depmod` writes them.
#[derive(Debug, Default)]
pub struct Texts {
    home: String,
    dep: String,
    alias: String,
    softdep: String,
    builtin: String,
    /// What the tree's admin says of modules, and behind it what the command line says.
    conf: String,
}

impl Texts {
    /// Those of the running kernel. A table that is not there is empty.
    #[must_use]
    pub fn read(kernel: &dyn Kernel) -> Self {
        let home = format!("/lib/modules/{}", kernel.release());
        let text = |name| {
            let bytes = kernel.read(&format!("{home}/modules.{name}")).unwrap_or_default();
            String::from_utf8(bytes).unwrap_or_default()
        };
        let (dep, alias, softdep, builtin) = (text("dep"), text("alias"), text("softdep"), text("builtin"));
        let line = kernel.read("/proc/cmdline").unwrap_or_default();
        let conf = text("conf") + &conf::of_command_line(&String::from_utf8_lossy(&line));
        Self { home, dep, alias, softdep, builtin, conf }
    }
}

/// The modules.
pub struct Modules<'t> {
    home: &'t str,
    tables: Tables<'t>,
    /// Paths of those that are in the kernel, and of those that can't be.
    tried: Mutex<BTreeSet<&'t str>>,
}

impl<'t> Modules<'t> {
    /// What the tables say.
    ///
    /// # Errors
    /// Tables that are not believed.
    pub fn of(texts: &'t Texts) -> Result<Self, BadTables> {
        let tables =
            Tables::parse(&texts.dep, &texts.alias, &texts.softdep, &texts.builtin)?.told(&texts.conf)?;
        Ok(Self { home: &texts.home, tables, tried: Mutex::default() })
    }

    /// The modules that are for devices that say this of themselves.
    pub fn matching(&self, modaliases: &BTreeSet<String>) -> BTreeSet<&'t str> {
        modaliases.iter().flat_map(|modalias| self.tables.matching(modalias)).collect()
    }

    /// Loads these, by names or aliases, with what each needs, side by side. What went wrong.
    pub fn load(&self, kernel: &dyn Kernel, names: &BTreeSet<&str>) -> Vec<Trouble> {
        let chains: Vec<Vec<&'t str>> = names
            .iter()
            .map(|name| self.tables.order(name))
            .filter(|chain| chain.iter().any(|path| !self.tried().contains(path)))
            .collect();
        let wrong = Mutex::new(Vec::new());
        for some in chains.chunks(MOST_AT_ONCE) {
            let load = |chain: &[&'t str]| {
                let found = self.load_chain(kernel, chain);
                wrong.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
            };
            thread::scope(|scope| {
                let (last, others) = some.split_last().unwrap_or((const { &Vec::new() }, &[]));
                for chain in others {
                    // A machine that has no memory for a thread loads one after the other.
                    if thread::Builder::new().spawn_scoped(scope, || load(chain)).is_err() {
                        load(chain);
                    }
                }
                load(last);
            });
        }
        once(wrong.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Loads modules in order. One that another thread loads just now is waited for by the kernel, which since 6.2 says of it that it is
    /// busy where that one fails: so it is tried once more, and what is wrong with it is told.
    fn load_chain(&self, kernel: &dyn Kernel, chain: &[&'t str]) -> Vec<Trouble> {
        let mut wrong = Vec::new();
        for path in chain {
            if self.tried().contains(path) {
                continue;
            }
            let load = || kernel.load(&format!("{}/{path}", self.home), &self.tables.options(path));
            let loaded = match load() {
                Err(Errno::BUSY) => load(),
                loaded => loaded,
            };
            match loaded {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => {
                    let module = oneroot_initrd::modules::name_of(path).into_owned();
                    wrong.push(Trouble::Module { module, errno });
                }
            }
            self.tried().insert(path);
        }
        wrong
    }

    /// How many were tried.
    pub fn count(&self) -> usize {
        self.tried().len()
    }

    fn tried(&self) -> std::sync::MutexGuard<'_, BTreeSet<&'t str>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Each of these once: threads may have met the same. That a module was busy tells less than whatever else is wrong with it.
fn once(all: Vec<Trouble>) -> Vec<Trouble> {
    let is_of_one = |one: &Trouble, other: &Trouble| match (one, other) {
        (Trouble::Module { module, .. }, Trouble::Module { module: other, .. }) => module == other,
        _ => false,
    };
    let (busy, others): (Vec<Trouble>, Vec<Trouble>) = all.into_iter().partition(Trouble::is_busy);
    let mut told: Vec<Trouble> = Vec::new();
    for trouble in others.into_iter().chain(busy) {
        if told.iter().all(|known| *known != trouble && !(trouble.is_busy() && is_of_one(known, &trouble))) {
            told.push(trouble);
        }
    }
    told
}

/// What the kernel asks for when it runs this program as its modprobe: `modprobe -q -- NAME`, by name or alias, and nothing else.
/// Whether it is there.
pub fn modprobe(kernel: &dyn Kernel, arguments: &[String]) -> bool {
    let texts = Texts::read(kernel);
    let Ok(modules) = Modules::of(&texts) else { return false };
    let names = arguments.iter().map(String::as_str).filter(|word| !word.starts_with('-'));
    let names: BTreeSet<&str> = names.filter(|name| modules.tables.may_load(name)).collect();
    !names.is_empty() && modules.load(kernel, &names).is_empty()
}
