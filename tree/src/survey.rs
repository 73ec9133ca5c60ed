//! What an admin should hear of a generation before a machine boots it: what NFSv3 will lose, what everybody could read,
//! and which kernels it has.

use std::collections::BTreeMap;

use crate::index::{Index, ROOT};
use crate::node::Kind;
use oneroot_ids::ObjectId;

/// Bytes of a file that are looked at for a private key's first line.
pub const KEY_HEAD: usize = 128;
/// Ends of names in `/boot` that begin as kernels do and are none that firmware or iPXE can start: packed, signed apart, left
/// over by `make install`.
pub const NO_KERNELS: [&str; 8] = [".gz", ".xz", ".zst", ".bz2", ".old", ".sig", ".hmac", ".map"];
/// Paths that are named for each finding; the rest is counted.
const MOST_NAMED: usize = 10;

/// The findings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Files with capabilities, which NFSv3 can't carry: `ping` and its like lose what they are allowed.
    pub capabilities: Paths,
    /// Files with POSIX ACLs, which are not served (docs/decisions/0005).
    pub acls: Paths,
    /// All other attributes that clients do not see: how many nodes have each. Of a name that many trees make up, a few.
    pub attributes: BTreeMap<String, usize>,
    /// Private keys that every user of the machine may read.
    pub open_keys: Paths,
    /// Directories that every user of a machine goes through, and that only their owner may enter here.
    pub closed: Paths,
    /// Versions of the kernels, in all places where they are looked for.
    pub kernels: Vec<String>,
    /// Versions that have an initrd there.
    pub initrds: Vec<String>,
    /// Versions that have modules in `/usr/lib/modules` or `/lib/modules`.
    pub modules: Vec<String>,
}

/// Some paths, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paths {
    /// The first of them.
    pub named: Vec<String>,
    /// All of them.
    pub count: usize,
}

impl Paths {
    fn add(&mut self, path: &[u8]) {
        self.count += 1;
        if self.named.len() < MOST_NAMED {
            self.named.push(format!("/{}", path.escape_ascii()));
        }
    }
}

/// Looks through a generation. `head` gives the first [`KEY_HEAD`] bytes of an object; it is asked for few files.
#[must_use]
pub fn survey(index: &Index, head: &dyn Fn(ObjectId) -> Option<Vec<u8>>) -> Survey {
    let mut found = Survey::default();
    let mut todo = vec![(ROOT, Vec::new())];
    while let Some((directory, path)) = todo.pop() {
        let (first, count) = index.inode(directory).map_or((0, 0), |inode| inode.run());
        for entry in (first..first.saturating_add(count)).filter_map(|place| index.entry(place)) {
            let Some(inode) = index.inode(entry.inode) else { continue };
            let below = if path.is_empty() {
                entry.name.to_vec()
            } else {
                [&path, b"/".as_slice(), entry.name].concat()
            };
            match inode.kind() {
                Kind::Directory | Kind::OpaqueDirectory => {
                    found.attributes_of(&inode.xattrs(), &below);
                    if inode.mode() & 0o001 == 0 && is_everybodys(&below) {
                        found.closed.add(&below);
                    }
                    if matches!(path.as_slice(), b"usr/lib/modules" | b"lib/modules") {
                        found.modules.push(String::from_utf8_lossy(entry.name).into_owned());
                    }
                    todo.push((entry.inode, below));
                }
                Kind::Regular => {
                    found.kernel_or_initrd(&path, entry.name);
                    found.attributes_of(&inode.xattrs(), &below);
                    let readable = inode.mode() & 0o004 != 0 && may_be_key(entry.name);
                    let key = || head(inode.object()?).filter(|bytes| is_private_key(bytes));
                    if readable && key().is_some() {
                        found.open_keys.add(&below);
                    }
                }
                _ => {}
            }
        }
    }
    found.kernels.sort();
    found.kernels.dedup();
    found
}

impl Survey {
    fn attributes_of(&mut self, attributes: &[(Vec<u8>, Vec<u8>)], path: &[u8]) {
        for (name, _) in attributes {
            match name.as_slice() {
                b"security.capability" => self.capabilities.add(path),
                // A directory's default ACL counts for what is made in it, and nothing is made here.
                b"system.posix_acl_access" | b"SCHILY.acl.access" => self.acls.add(path),
                name => {
                    let name = name.escape_ascii().to_string();
                    if self.attributes.len() < MOST_NAMED || self.attributes.contains_key(&name) {
                        *self.attributes.entry(name).or_default() += 1;
                    }
                }
            }
        }
    }

    /// The places of `bootconf/src/plan/kernels.rs`.
    fn kernel_or_initrd(&mut self, directory: &[u8], name: &[u8]) {
        let (Ok(directory), Ok(name)) = (std::str::from_utf8(directory), std::str::from_utf8(name)) else {
            return;
        };
        let version = directory.rsplit('/').next().unwrap_or_default();
        let steps = directory.split('/').count();
        match (directory, name) {
            ("boot", _) => self.boot_file(name),
            (_, "linux") if directory.starts_with("boot/") && steps == 3 => {
                self.kernels.push(version.to_owned());
            }
            (_, initrd)
                if directory.starts_with("boot/")
                    && steps == 3
                    && (initrd == "initrd" || initrd.strip_prefix("initrd.img-") == Some(version)) =>
            {
                self.initrds.push(version.to_owned());
            }
            (_, "vmlinuz") if directory.starts_with("usr/lib/modules/") && steps == 4 => {
                self.kernels.push(version.to_owned());
            }
            (_, "initramfs.img") if directory.starts_with("usr/lib/modules/") && steps == 4 => {
                self.initrds.push(version.to_owned());
            }
            _ => {}
        }
    }

    fn boot_file(&mut self, name: &str) {
        let kernel = ["vmlinuz-", "kernel-", "vmlinux-"].iter().find_map(|prefix| name.strip_prefix(prefix));
        self.kernels.extend(
            kernel.filter(|version| !NO_KERNELS.iter().any(|end| version.ends_with(end))).map(str::to_owned),
        );
        let initramfs = name.strip_prefix("initramfs-").map(|rest| rest.strip_suffix(".img").unwrap_or(rest));
        let initrd =
            initramfs.or_else(|| name.strip_prefix("initrd.img-")).or_else(|| name.strip_prefix("initrd-"));
        self.initrds.extend(initrd.map(str::to_owned));
    }
}

/// Directories that nobody closes on purpose: with `/etc` at 0700, a machine's services can't read `/etc/passwd`. It is what
/// umask 077 makes of a layer written by hand, and a layer's directory gives the machine's its mode.
fn is_everybodys(path: &[u8]) -> bool {
    const NAMES: [&str; 17] = [
        "bin",
        "etc",
        "home",
        "lib",
        "lib64",
        "opt",
        "run",
        "sbin",
        "srv",
        "tmp",
        "usr",
        "usr/bin",
        "usr/lib",
        "usr/local",
        "usr/sbin",
        "usr/share",
        "var",
    ];
    NAMES.iter().any(|name| name.as_bytes() == path)
}

/// Names that private keys have. Looking into every file would read the whole tree again.
#[must_use]
pub fn may_be_key(name: &[u8]) -> bool {
    [b"_key".as_slice(), b".key", b".pem", b"_rsa", b"_ed25519", b"_ecdsa"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// Whether a file that begins so is a private key, in PEM.
#[must_use]
pub fn is_private_key(bytes: &[u8]) -> bool {
    bytes.starts_with(b"-----BEGIN ") && bytes.windows(16).any(|window| window == b"PRIVATE KEY-----")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::IndexBuilder;
    use crate::node::{Content, Meta, TreePath};

    #[test]
    fn a_directory_that_everybody_goes_through_and_nobody_may_enter_is_found_and_one_that_is_private_is_not()
    {
        let mut builder = IndexBuilder::new();
        for (path, mode) in [
            ("etc", 0o700),
            ("etc/ssl", 0o700),
            ("root", 0o700),
            ("usr", 0o755),
            ("usr/lib", 0o750),
            ("var", 0o711),
        ] {
            let meta = Meta { mode, ..Meta::default() };
            builder
                .insert(
                    &TreePath::parse(path.as_bytes()).unwrap(),
                    meta,
                    Content::Directory { opaque: false },
                )
                .unwrap();
        }
        let mut found = survey(&builder.finish().unwrap(), &|_| None);
        found.closed.named.sort();
        assert_eq!(found.closed.named, ["/etc", "/usr/lib"]);
    }

    #[test]
    fn what_is_lost_open_or_unmatched_is_found_and_what_is_in_order_is_not() {
        const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n";
        let mut builder = IndexBuilder::new();
        let mut file = |path: &str, mode: u16, text: &str, xattr: &[u8]| {
            let object = ObjectId(*blake3::hash(text.as_bytes()).as_bytes());
            let xattrs = if xattr.is_empty() { Vec::new() } else { vec![(xattr.to_vec(), vec![1])] };
            let meta = Meta { mode, xattrs, ..Meta::default() };
            let content = Content::Regular { object, size: text.len() as u64 };
            builder.insert(&TreePath::parse(path.as_bytes()).unwrap(), meta, content).unwrap();
        };
        file("bin/ping", 0o755, "x", b"security.capability");
        file("bin/other", 0o755, "x", b"user.note");
        file("bin/another", 0o755, "x", b"user.note");
        file("srv/shared", 0o664, "x", b"system.posix_acl_access");
        file("srv/shared-in-a-tar", 0o664, "x", b"SCHILY.acl.access");
        file("srv/sub", 0o664, "x", b"SCHILY.acl.default");
        file("etc/ssh/ssh_host_ed25519_key", 0o644, KEY, b"");
        file("etc/ssh/ssh_host_rsa_key", 0o600, KEY, b"");
        file("etc/ssl/public.pem", 0o644, "-----BEGIN CERTIFICATE-----\n", b"");
        file("usr/share/doc/key.txt", 0o644, KEY, b"");
        file("boot/vmlinuz-6.1", 0o644, "x", b"");
        file("boot/initrd.img-6.1", 0o644, "x", b"");
        file("boot/vmlinuz-6.2", 0o644, "x", b"");
        file("boot/initramfs-6.3.img", 0o644, "x", b"");
        file("boot/token/6.4/linux", 0o644, "x", b"");
        file("boot/token/6.4/initrd.img-6.4", 0o644, "x", b"");
        file("usr/lib/modules/6.1/x.ko", 0o644, "x", b"");
        let index = builder.finish().unwrap();
        let head = |id: ObjectId| {
            let texts = [KEY, "-----BEGIN CERTIFICATE-----\n", "x"];
            let text =
                texts.into_iter().find(|text| id == ObjectId(*blake3::hash(text.as_bytes()).as_bytes()))?;
            Some(text.as_bytes().to_vec())
        };
        let found = survey(&index, &head);
        assert_eq!(found.capabilities, Paths { named: vec!["/bin/ping".to_owned()], count: 1 });
        assert_eq!(found.acls.named, ["/srv/shared", "/srv/shared-in-a-tar"]);
        let attributes = [("user.note".to_owned(), 2), ("SCHILY.acl.default".to_owned(), 1)];
        assert_eq!(found.attributes, BTreeMap::from(attributes));
        assert_eq!(found.open_keys.named, ["/etc/ssh/ssh_host_ed25519_key"]);
        assert_eq!(
            (found.kernels, found.initrds, found.modules),
            (
                vec!["6.1".to_owned(), "6.2".to_owned(), "6.4".to_owned()],
                vec!["6.3".to_owned(), "6.1".to_owned(), "6.4".to_owned()],
                vec!["6.1".to_owned()]
            )
        );
    }
}
