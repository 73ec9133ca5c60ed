//! How kernels, their initrds and their modules are called, and where they lie: by these names they are looked for, and told of.
//! `plan/kernels.rs` says whose each place is, and which of several boots.

/// Where nearly everybody's kernels and initrds lie.
pub const BOOT: &str = "/boot";
/// Where modules lie, in a directory of their version; bootc, ostree, Fedora and others have the kernel there as well.
pub const MODULES: &str = "/usr/lib/modules";
/// Links to a kernel, without a version in their names.
pub const KERNEL_LINKS: [&str; 2] = ["/vmlinuz", "/boot/vmlinuz"];
/// The initrds that go with those.
pub const INITRD_LINKS: [&str; 4] =
    ["/initrd.img", "/boot/initrd.img", "/boot/initramfs.img", "/boot/initrd"];
/// Kernel and initrd in a directory of their version below [`MODULES`].
pub const BESIDE_MODULES: [&str; 2] = ["vmlinuz", "initramfs.img"];
/// A kernel in `/boot/TOKEN/VERSION`.
pub const TOKEN_KERNEL: &str = "linux";

/// What a kernel's name in `/boot` begins with, before its version. The first counts before the others.
pub const KERNELS: [&str; 3] = ["vmlinuz-", "kernel-", "vmlinux-"];
/// Ends of names in `/boot` that begin as kernels do and are none that firmware or iPXE can start: packed, signed apart, left
/// over by `make install`.
const NO_KERNELS: [&str; 8] = [".gz", ".xz", ".zst", ".bz2", ".old", ".sig", ".hmac", ".map"];
/// What stands before and behind the version in an initrd's name in `/boot`: Debian's, dracut's, SUSE's and Alpine's.
const INITRDS: [(&str, &str); 4] =
    [("initrd.img-", ""), ("initramfs-", ".img"), ("initrd-", ""), ("initramfs-", "")];

/// A path in [`BOOT`].
#[must_use]
pub fn in_boot(name: &str) -> String {
    format!("{BOOT}/{name}")
}

/// The name of what lies right in [`BOOT`].
#[must_use]
pub fn name_in_boot(path: &str) -> Option<&str> {
    path.strip_prefix(BOOT)?.strip_prefix('/').filter(|name| !name.contains('/'))
}

/// The version of a kernel with this name in `/boot`; none for what is no kernel.
#[must_use]
pub fn kernel_version(name: &str) -> Option<&str> {
    let version = KERNELS.iter().find_map(|begin| name.strip_prefix(begin))?;
    (!NO_KERNELS.iter().any(|end| version.ends_with(end))).then_some(version)
}

/// Whether a name is a kernel's, with or without a version.
#[must_use]
pub fn may_be_kernel(name: &str) -> bool {
    name.starts_with("vmlinuz")
}

/// Where in `/boot` the initrd of a version may be, in the order in which they count.
#[must_use]
pub fn initrds_of(version: &str) -> [String; 4] {
    INITRDS.map(|(begin, end)| in_boot(&format!("{begin}{version}{end}")))
}

/// Names of an initrd in `/boot/TOKEN/VERSION`.
#[must_use]
pub fn token_initrds(version: &str) -> [String; 2] {
    ["initrd".to_owned(), format!("initrd.img-{version}")]
}

fn initrd_version(name: &str) -> Option<&str> {
    INITRDS.iter().find_map(|(begin, end)| name.strip_prefix(begin)?.strip_suffix(end))
}

/// What a path of a tree is by its name, and of which version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootFile<'p> {
    /// A kernel.
    Kernel(&'p str),
    /// An initrd.
    Initrd(&'p str),
}

/// What a file is by its path in the tree; none for all else, and for the links, which have no version.
#[must_use]
pub fn of_path(path: &str) -> Option<BootFile<'_>> {
    if let Some(name) = name_in_boot(path) {
        let initrd = || initrd_version(name).map(BootFile::Initrd);
        return kernel_version(name).map(BootFile::Kernel).or_else(initrd);
    }
    let (directory, name) = path.rsplit_once('/')?;
    let (above, version) = directory.rsplit_once('/')?;
    let [kernel, initrd] = BESIDE_MODULES;
    if above == MODULES {
        return match name {
            _ if name == kernel => Some(BootFile::Kernel(version)),
            _ if name == initrd => Some(BootFile::Initrd(version)),
            _ => None,
        };
    }
    name_in_boot(above)?;
    match name {
        TOKEN_KERNEL => Some(BootFile::Kernel(version)),
        _ if token_initrds(version).iter().any(|initrd| initrd == name) => Some(BootFile::Initrd(version)),
        _ => None,
    }
}

/// The version of modules that lie in this directory, in `/usr/lib` or, where that is one of its own, in `/lib`.
#[must_use]
pub fn modules_version(directory: &str) -> Option<&str> {
    let path = directory.strip_prefix("/usr").unwrap_or(directory);
    path.strip_prefix("/lib/modules/").filter(|version| !version.contains('/'))
}

/// The versions that a tree has of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Versions {
    /// Of kernels.
    pub kernels: Vec<String>,
    /// Of initrds.
    pub initrds: Vec<String>,
    /// Of modules.
    pub modules: Vec<String>,
}

impl Versions {
    /// Takes in a regular file.
    pub fn note_file(&mut self, path: &str) {
        match of_path(path) {
            Some(BootFile::Kernel(version)) => {
                // A version may have its kernel in several places.
                if let Err(place) = self.kernels.binary_search_by(|known| known.as_str().cmp(version)) {
                    self.kernels.insert(place, version.to_owned());
                }
            }
            Some(BootFile::Initrd(version)) => self.initrds.push(version.to_owned()),
            None => {}
        }
    }

    /// Takes in a directory.
    pub fn note_directory(&mut self, path: &str) {
        self.modules.extend(modules_version(path).map(str::to_owned));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_for_by_a_name_is_known_by_it() {
        for version in ["6.1", "6.1.0-9-amd64", "6.12.0+rpt-rpi-v8", "5.15_1"] {
            for begin in KERNELS {
                let path = in_boot(&format!("{begin}{version}"));
                assert_eq!(of_path(&path), Some(BootFile::Kernel(version)), "{path}");
            }
            let [kernel, initrd] = BESIDE_MODULES.map(|name| format!("{MODULES}/{version}/{name}"));
            assert_eq!(of_path(&kernel), Some(BootFile::Kernel(version)));
            let token = in_boot(&format!("token/{version}"));
            assert_eq!(of_path(&format!("{token}/{TOKEN_KERNEL}")), Some(BootFile::Kernel(version)));
            let beside = token_initrds(version).map(|name| format!("{token}/{name}"));
            for path in initrds_of(version).into_iter().chain(beside).chain([initrd]) {
                assert_eq!(of_path(&path), Some(BootFile::Initrd(version)), "{path}");
            }
        }
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        for path in [
            "/boot/vmlinuz-6.1.old",
            "/boot/vmlinux-6.1.gz",
            "/boot/System.map-6.1",
            "/boot/vmlinuz",
            "/boot/a/b/c/linux",
            "/boot/6.1/linux",
            "/boot/token/6.2/initrd.img-6.1",
            "/srv/boot/vmlinuz-6.1",
            "/lib/modules/6.1/vmlinuz",
            "/usr/lib/modules/vmlinuz",
            "/usr/lib/modules/6.1/kernel/vmlinuz",
        ] {
            assert_eq!(of_path(path), None, "{path}");
        }
        assert_eq!(modules_version("/usr/lib/modules/6.1"), Some("6.1"));
        assert_eq!(modules_version("/lib/modules/6.1"), Some("6.1"));
        assert_eq!(modules_version("/lib/modules/6.1/kernel"), None);
        assert_eq!(modules_version("/lib/modules"), None);
    }
}
