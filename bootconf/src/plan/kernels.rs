//! Which kernel and which initrd of a tree boot.
//!
//! What the site names is taken as it is: a path, or a pattern in `/boot` whose `*` stands for anything in a kernel's name, of
//! which the newest counts, and for the kernel's version in an initrd's. Else kernels are looked for in these places:
//!
//! | place | whose | its initrd |
//! |---|---|---|
//! | `/boot/vmlinuz-VERSION` | nearly everybody's | `/boot/initrd.img-VERSION`, `/boot/initramfs-VERSION.img`, `/boot/initrd-VERSION`, `/boot/initramfs-VERSION` |
//! | `/boot/kernel-VERSION` | Gentoo's | the same |
//! | `/boot/vmlinux-VERSION` | ppc64's, s390's | the same |
//! | `/boot/TOKEN/VERSION/linux` | systemd's kernel-install, Boot Loader Specification | `initrd` or `initrd.img-VERSION` beside it |
//! | `/usr/lib/modules/VERSION/vmlinuz` | bootc's, ostree's; Fedora's, Arch's, openSUSE's as well | `initramfs.img` beside it, or in `/boot` as above |
//! | `/vmlinuz`, `/boot/vmlinuz` | links | `/initrd.img`, `/boot/initrd.img`, `/boot/initramfs.img`, `/boot/initrd` |
//!
//! and this is the order:
//!
//! 1. Unless the kernel mounts its root itself, only a kernel counts that has an initrd of its own version; with
//!    `initramfs = "oneroot"`, one that has its modules. Where the site says nothing of it and no kernel has an initrd, it is as if
//!    it said that. So an upgrade that
//!    left a kernel without one does not make the machine unbootable; it boots the one before.
//! 2. Kernels for debugging, of real time and for rescue (`+debug`, `-rt`, `-rescue-`) come behind all others: who wants one
//!    says so.
//! 3. The newest version; of one version, the first place above.
//! 4. The links come last, for they name no version: the modules and the initrd are only known to be the kernel's by it.
//!
//! Where the root does not come from here (`root = "none"`), a kernel that the site names has the initrds that it names, and none
//! that it does not.
//!
//! What a boot loader is told never counts: neither `/boot/loader/entries` and its default, nor GRUB's menu. They name the disk's
//! root and arguments, and an installer that has no boot loader writes none; the files that they name are in the places above.

use crate::boot_files::{
    BESIDE_MODULES, BOOT, INITRD_LINKS, KERNEL_LINKS, KERNELS, MODULES, TOKEN_KERNEL, in_boot, initrds_of,
    kernel_version, may_be_kernel, name_in_boot, token_initrds,
};
use crate::decide::decision::{Decision, NoPlan};
use crate::plan::version;
use crate::root::{Initramfs, Root};

/// Words in a version that say what a kernel is for.
const SPECIAL: [&str; 6] = ["debug", "dbg", "rt", "realtime", "rescue", "kdump"];
/// Directories of `/boot` and of the modules that are looked into.
const MOST_LISTED: usize = 256;

/// Where modules lie: in some trees `/lib` is no link to the other.
const MODULE_PLACES: [&str; 2] = [MODULES, "/lib/modules"];
/// What tells that a kernel's modules are there.
const TABLES: [&str; 2] = ["modules.dep", "modules.builtin"];

/// A view, as far as kernels are concerned.
pub struct Tree<'t> {
    /// The names in a directory.
    pub names: &'t dyn Fn(&str) -> Vec<String>,
    /// Whether a path leads to a regular file.
    pub exists: &'t dyn Fn(&str) -> bool,
}

/// A kernel that was found.
struct Kernel {
    path: String,
    version: Option<String>,
    /// Where its initrd may be.
    initrds: Vec<String>,
}

/// What a machine loads of its view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The kernel's path.
    pub kernel: String,
    /// The initrds' paths, in the order in which the kernel unpacks them.
    pub initrds: Vec<String>,
    /// What mounts the root: what the site says; where it says nothing and no kernel has an initrd, oneroot's own.
    pub initramfs: Initramfs,
    /// What an initrd of oneroot's own is made of, where it gets one.
    pub own: Option<Own>,
}

/// What an initrd of oneroot's own is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// The kernel's version, as it calls itself.
    pub version: String,
    /// The directory of its modules.
    pub modules: String,
    /// Where its configuration may be, the likeliest first.
    pub configs: Vec<String>,
    /// Paths of its parts in the view, once they are made.
    pub parts: Vec<String>,
}

impl Loaded {
    /// A kernel, and initrds that its tree has.
    #[must_use]
    pub fn of(kernel: &str, initrds: &[&str], initramfs: Initramfs) -> Self {
        let initrds = initrds.iter().map(|path| (*path).to_owned()).collect();
        Self { kernel: kernel.to_owned(), initrds, initramfs, own: None }
    }
}

/// Kernel and initrds of a view.
///
/// # Errors
/// [`NoPlan::NoKernel`], [`NoPlan::NoInitrd`].
pub fn kernel_and_initrds(decision: &Decision, tree: &Tree<'_>) -> Result<Loaded, NoPlan> {
    let no_kernel =
        |wanted: &str| NoPlan::NoKernel { profile: decision.profile.clone(), wanted: wanted.to_owned() };
    let kernels = candidates(decision.kernel.as_deref(), tree);
    let Some(newest) = kernels.first().map(|kernel| kernel.path.clone()) else {
        let wanted = decision.kernel.as_ref().map(|wanted| format!(": {wanted} is not there"));
        return Err(no_kernel(&wanted.unwrap_or_default()));
    };
    let initramfs = decision.initramfs.unwrap_or_default();
    if decision.root == Root::Nfs && initramfs == Initramfs::Oneroot {
        let found = kernels.iter().find_map(|kernel| kernel.with_own(&decision.initrds, tree));
        return found.ok_or(NoPlan::NoModules { profile: decision.profile.clone(), kernel: newest });
    }
    let needs_none = match decision.root {
        Root::Nfs => initramfs == Initramfs::None,
        // What is named without an initrd needs none, as memtest does.
        Root::None => decision.kernel.is_some(),
    };
    if needs_none && decision.initrds.is_empty() {
        return Ok(Loaded { kernel: newest, initrds: Vec::new(), initramfs, own: None });
    }
    let whole = kernels.iter().find_map(|kernel| {
        let initrds = kernel.initrds(&decision.initrds, tree)?;
        Some(Loaded { kernel: kernel.path.clone(), initrds, initramfs, own: None })
    });
    // Where the site says nothing of it, a tree needs none of its own.
    let says_nothing =
        decision.root == Root::Nfs && decision.initramfs.is_none() && decision.initrds.is_empty();
    let own = || kernels.iter().filter(|_| says_nothing).find_map(|kernel| kernel.with_own(&[], tree));
    whole.or_else(own).ok_or_else(|| NoPlan::NoInitrd { profile: decision.profile.clone(), kernel: newest })
}

/// Whether a tree has what the site names as a kernel or an initrd: a path, or anything that fits a pattern.
#[must_use]
pub fn has_named(named: &str, tree: &Tree<'_>) -> bool {
    if version::is_pattern(named) { !fitting(tree, named).is_empty() } else { (tree.exists)(named) }
}

/// The initrds of all kernels that may boot, those of the best first: `kernel` and `wanted` are what the site says, if it does.
#[must_use]
pub fn initrds(kernel: Option<&str>, wanted: &[String], tree: &Tree<'_>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for initrd in candidates(kernel, tree).iter().filter_map(|kernel| kernel.initrds(wanted, tree)).flatten()
    {
        // A link and the kernel that it leads to have one each by name, and the site may give all of them one.
        if !found.contains(&initrd) {
            found.push(initrd);
        }
    }
    found
}

/// The kernels that may boot, best first.
fn candidates(wanted: Option<&str>, tree: &Tree<'_>) -> Vec<Kernel> {
    match wanted {
        Some(pattern) if version::is_pattern(pattern) => matching(tree, pattern),
        Some(path) => Some(Kernel::at(path)).filter(|_| (tree.exists)(path)).into_iter().collect(),
        None => all(tree),
    }
}

/// The kernels in all places, best first.
fn all(tree: &Tree<'_>) -> Vec<Kernel> {
    let mut found = Vec::new();
    let boot = (tree.names)(BOOT);
    for begin in KERNELS {
        let kernels = boot.iter().filter(|name| name.starts_with(begin) && kernel_version(name).is_some());
        let paths = kernels.map(|name| in_boot(name)).filter(|path| (tree.exists)(path));
        found.extend(paths.map(|path| Kernel::at(&path)));
    }
    // A token is a machine-id or any word of the admin's (kernel-install(8)), so each name is tried.
    for token in boot.iter().take(MOST_LISTED) {
        let token = in_boot(token);
        for version in (tree.names)(&token).into_iter().take(MOST_LISTED) {
            let beside = format!("{token}/{version}");
            let initrds = token_initrds(&version).map(|initrd| format!("{beside}/{initrd}")).into();
            found.extend(Kernel::beside(&beside, TOKEN_KERNEL, version, initrds, tree));
        }
    }
    let [kernel, initrd] = BESIDE_MODULES;
    for version in (tree.names)(MODULES).into_iter().take(MOST_LISTED) {
        let beside = format!("{MODULES}/{version}");
        let mut initrds = vec![format!("{beside}/{initrd}")];
        initrds.extend(initrds_of(&version));
        found.extend(Kernel::beside(&beside, kernel, version, initrds, tree));
    }
    sort(&mut found);
    let links = KERNEL_LINKS.into_iter().filter(|path| (tree.exists)(path));
    found.extend(links.map(Kernel::at));
    found
}

/// The kernels in `/boot` that fit a pattern, best first.
fn matching(tree: &Tree<'_>, pattern: &str) -> Vec<Kernel> {
    let names = fitting(tree, pattern);
    let mut found: Vec<Kernel> = names.iter().map(|path| Kernel::at(path)).collect();
    sort(&mut found);
    found
}

/// The paths of `/boot` that fit a pattern, newest first.
fn fitting(tree: &Tree<'_>, pattern: &str) -> Vec<String> {
    let Some(pattern) = name_in_boot(pattern) else { return Vec::new() };
    let mut names: Vec<String> =
        (tree.names)(BOOT).into_iter().filter(|name| version::fits(name, pattern)).collect();
    names.sort_by(|a, b| version::compare(b, a));
    names.into_iter().map(|name| in_boot(&name)).filter(|path| (tree.exists)(path)).collect()
}

/// Best first; the order of places stays where versions are the same.
fn sort(kernels: &mut [Kernel]) {
    kernels.sort_by(|a, b| {
        let by_version = || match (&a.version, &b.version) {
            (Some(a), Some(b)) => version::compare(b, a),
            (a, b) => b.is_some().cmp(&a.is_some()),
        };
        a.is_special().cmp(&b.is_special()).then_with(by_version)
    });
}

/// Links that have a kernel's name and lead to no file; they are passed over. `is_link` says whether a path itself is one.
#[must_use]
pub fn dangling(tree: &Tree<'_>, is_link: &dyn Fn(&str) -> bool) -> Vec<String> {
    let named = (tree.names)(BOOT).into_iter().filter(|name| may_be_kernel(name)).map(|name| in_boot(&name));
    let [root, _] = KERNEL_LINKS;
    let lost = named.chain([root.to_owned()]).filter(|path| !(tree.exists)(path));
    lost.filter(|path| is_link(path)).collect()
}

impl Kernel {
    /// A kernel whose name says its version, or no version.
    fn at(path: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or_default();
        let version = name.split_once('-').map(|(_, version)| version.to_owned());
        let initrds = match &version {
            Some(version) => initrds_of(version).into(),
            None => INITRD_LINKS.map(str::to_owned).into(),
        };
        Self { path: path.to_owned(), version, initrds }
    }

    /// A kernel in a directory of its version.
    fn beside(
        directory: &str,
        name: &str,
        version: String,
        initrds: Vec<String>,
        tree: &Tree<'_>,
    ) -> Option<Self> {
        let path = format!("{directory}/{name}");
        let is_there = (tree.exists)(&path);
        is_there.then_some(Self { path, version: Some(version), initrds })
    }

    fn is_special(&self) -> bool {
        let version = self.version.as_deref().unwrap_or_default();
        version.split(['-', '+', '.', '_']).any(|word| SPECIAL.contains(&word))
    }

    /// The initrds that it boots with: all that the site names, or the one that is its own.
    fn initrds(&self, wanted: &[String], tree: &Tree<'_>) -> Option<Vec<String>> {
        if wanted.is_empty() {
            return self.initrds.iter().find(|path| (tree.exists)(path)).map(|path| vec![path.clone()]);
        }
        wanted.iter().map(|wanted| self.initrd(wanted, tree)).collect()
    }

    /// It with an initrd of oneroot's own, behind those that the site names; none where its modules are not there.
    fn with_own(&self, wanted: &[String], tree: &Tree<'_>) -> Option<Loaded> {
        let initrds = if wanted.is_empty() { Vec::new() } else { self.initrds(wanted, tree)? };
        let (modules, version) = self.modules(tree)?;
        let configs = self.configs(&version, &modules);
        let own = Own { version, modules, configs, parts: Vec::new() };
        Some(Loaded { kernel: self.path.clone(), initrds, initramfs: Initramfs::Oneroot, own: Some(own) })
    }

    /// Where its configuration may be: under its version, or as the kernel itself is called (Alpine's `config-lts`).
    fn configs(&self, version: &str, modules: &str) -> Vec<String> {
        let mut configs = vec![in_boot(&format!("config-{version}")), format!("{modules}/config")];
        let beside = self.path.rsplit_once('/').map(|(directory, _)| directory).zip(self.version.as_ref());
        let beside = beside.map(|(directory, called)| format!("{directory}/config-{called}"));
        configs.extend(beside.filter(|path| !configs.contains(path)));
        configs
    }

    /// Where its modules lie, and under which version. A kernel's name may say less than that (Alpine's `vmlinuz-lts`,
    /// `/vmlinuz`): then it is the only one that ends so, or the only one.
    fn modules(&self, tree: &Tree<'_>) -> Option<(String, String)> {
        MODULE_PLACES.iter().find_map(|place| {
            let listed = (tree.names)(place);
            let is_there = |version: &&String| {
                TABLES.iter().any(|table| (tree.exists)(&format!("{place}/{version}/{table}")))
            };
            let all: Vec<&String> = listed.iter().take(MOST_LISTED).filter(is_there).collect();
            let own = self.version.as_deref().unwrap_or_default();
            let only = |fits: &dyn Fn(&str) -> bool| {
                let mut fitting = all.iter().filter(|version| fits(version));
                fitting.next().filter(|_| fitting.next().is_none())
            };
            let ends = format!("-{own}");
            let numbered = own.starts_with(|char: char| char.is_ascii_digit());
            let found = only(&|version| version == own).or_else(|| {
                let by_end = only(&|version| !own.is_empty() && version.ends_with(&ends));
                by_end.or_else(|| only(&|_| true)).filter(|_| !numbered)
            });
            found.map(|version| (format!("{place}/{version}"), (*version).clone()))
        })
    }

    fn initrd(&self, wanted: &str, tree: &Tree<'_>) -> Option<String> {
        match &self.version {
            // In an initrd's pattern the `*` is the kernel's version and nothing else: 6.10's initrd is not 6.1's.
            Some(version) if version::is_pattern(wanted) => {
                Some(wanted.replace('*', version)).filter(|path| (tree.exists)(path))
            }
            None if version::is_pattern(wanted) => fitting(tree, wanted).into_iter().next(),
            _ => Some(wanted.to_owned()).filter(|path| (tree.exists)(path)),
        }
    }
}
