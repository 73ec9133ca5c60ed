//! What an admin should hear of a generation before a machine boots it: what NFSv3 will lose, what everybody could read, and
//! which kernels it has.

use std::collections::BTreeMap;

use oneroot_bootconf::boot_files::Versions;
use oneroot_ids::ObjectId;
use oneroot_nfsd::{Unseen, unseen};
use oneroot_tree::Index;
use oneroot_tree::index::Inode;
use oneroot_tree::node::Kind;

use super::secrets::{is_private_key, may_be_key};

/// Paths that are named for each finding; the rest is counted.
const MOST_NAMED: usize = 10;

/// The findings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Files with capabilities, which clients do not see.
    pub capabilities: Paths,
    /// Files with ACLs, which clients do not see.
    pub acls: Paths,
    /// All other attributes that clients do not see: how many nodes have each. Of a name that many trees make up, a few.
    pub attributes: BTreeMap<String, usize>,
    /// Private keys that every user of the machine may read.
    pub open_keys: Paths,
    /// Directories that every user of a machine goes through, and that only their owner may enter here.
    pub closed: Paths,
    /// The kernels, and what belongs to them.
    pub versions: Versions,
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

/// Looks through a generation. `head` gives the first [`KEY_HEAD`](super::secrets::KEY_HEAD) bytes of an object; it is asked for
/// few files.
pub fn survey(index: &Index, head: &dyn Fn(ObjectId) -> Option<Vec<u8>>) -> Survey {
    let mut found = Survey::default();
    index.each(&mut |path, inode| match inode.kind() {
        Kind::Directory | Kind::OpaqueDirectory => found.directory(path, inode),
        Kind::Regular => found.file(path, inode, head),
        _ => {}
    });
    found
}

impl Survey {
    fn directory(&mut self, path: &[u8], inode: &Inode<'_>) {
        self.attributes_of(inode, path);
        if inode.mode() & 0o001 == 0 && is_everybodys(path) {
            self.closed.add(path);
        }
        if let Ok(path) = std::str::from_utf8(path) {
            self.versions.note_directory(&format!("/{path}"));
        }
    }

    fn file(&mut self, path: &[u8], inode: &Inode<'_>, head: &dyn Fn(ObjectId) -> Option<Vec<u8>>) {
        self.attributes_of(inode, path);
        if let Ok(path) = std::str::from_utf8(path) {
            self.versions.note_file(&format!("/{path}"));
        }
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let is_readable = inode.mode() & 0o004 != 0 && may_be_key(name);
        let is_key = || inode.object().and_then(head).is_some_and(|bytes| is_private_key(&bytes));
        if is_readable && is_key() {
            self.open_keys.add(path);
        }
    }

    fn attributes_of(&mut self, inode: &Inode<'_>, path: &[u8]) {
        for (name, _) in inode.xattrs() {
            match unseen(&name) {
                Unseen::Capabilities => self.capabilities.add(path),
                Unseen::Acl => self.acls.add(path),
                Unseen::Attribute => {
                    let name = name.escape_ascii().to_string();
                    if self.attributes.len() < MOST_NAMED || self.attributes.contains_key(&name) {
                        *self.attributes.entry(name).or_default() += 1;
                    }
                }
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use oneroot_tree::IndexBuilder;
    use oneroot_tree::node::{Content, Meta, TreePath};

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
            (found.versions.kernels, found.versions.initrds, found.versions.modules),
            (
                vec!["6.1".to_owned(), "6.2".to_owned(), "6.4".to_owned()],
                vec!["6.3".to_owned(), "6.1".to_owned(), "6.4".to_owned()],
                vec!["6.1".to_owned()]
            )
        );
    }
}
