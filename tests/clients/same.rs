//! What others' clients see of a root, path for path and byte for byte.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::io::{Cursor, Read as _, empty};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nfs3_client::Nfs3ConnectionBuilder;
use nfs3_client::nfs3_types::nfs3::{
    GETATTR3args, LOOKUP3args, Nfs3Result, READ3args, READDIRPLUS3args, READLINK3args, cookieverf3,
    diropargs3, fattr3, filename3, ftype3, nfs_fh3, nfsstat3,
};
use nfs3_client::tokio::TokioConnector;
use oneroot_testkit::Boot;
use tar::{Builder, EntryType, Header};

use super::{Client, SERVER, as_machine, lookup, mount, on_tokio, run, site, some, url};

/// READ's largest count here: no multiple of anything.
const PIECE: u32 = 7001;
/// What a tree has at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    kind: u32,
    mode: u32,
    uid: u32,
    gid: u32,
    /// Of files that have several.
    names: u32,
    size: u64,
    rdev: (u32, u32),
    mtime: (u32, u32),
    /// Contents of a file, text of a link.
    content: Vec<u8>,
}

/// One entry of the archive that a test stages.
struct Entry<'e> {
    kind: EntryType,
    path: &'e [u8],
    mode: u32,
    owner: (u64, u64),
    content: &'e [u8],
}

impl Entry<'_> {
    fn append(&self, to: &mut Builder<impl std::io::Write>, mtime: &str) {
        to.append_pax_extensions([("mtime", mtime.as_bytes())]).unwrap();
        let mut header = Header::new_gnu();
        header.set_entry_type(self.kind);
        header.set_mode(self.mode);
        header.set_uid(self.owner.0);
        header.set_gid(self.owner.1);
        header.set_mtime(mtime.split('.').next().unwrap().parse().unwrap());
        header.set_size(0);
        let path = Path::new(OsStr::from_bytes(self.path));
        match self.kind {
            EntryType::Regular => {
                header.set_size(self.content.len() as u64);
                to.append_data(&mut header, path, self.content).unwrap();
            }
            EntryType::Symlink | EntryType::Link => {
                to.append_link(&mut header, path, Path::new(OsStr::from_bytes(self.content))).unwrap();
            }
            EntryType::Char | EntryType::Block => {
                header.set_device_major(u32::from(self.content[0])).unwrap();
                header.set_device_minor(u32::from(self.content[1])).unwrap();
                to.append_data(&mut header, path, empty()).unwrap();
            }
            _ => to.append_data(&mut header, path, empty()).unwrap(),
        }
    }
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// A root with everything in it that a root may have.
fn everything() -> Vec<u8> {
    use EntryType::{Block, Char, Directory, Fifo, Link, Regular, Symlink};
    let mut archive = Builder::new(Vec::new());
    let mut number = 0;
    let mut put = |kind, path: &[u8], mode, owner, content: &[u8]| {
        number += 1;
        let mtime = format!("{}.{:09}", 1_000_000_000 + number * 86_400, number * 1_000_003);
        Entry { kind, path, mode, owner, content }.append(&mut archive, &mtime);
    };
    for directory in ["boot", "bin", "etc", "dev", "home", "tmp", "names", "empty"] {
        put(Directory, directory.as_bytes(), if directory == "tmp" { 0o1777 } else { 0o755 }, (0, 0), b"");
    }
    put(Directory, b"home/ann", 0o2700, (1000, 100), b"");
    put(Regular, b"home/ann/diary", 0o000, (1000, 100), b"dear\n");
    put(Regular, b"boot/vmlinuz-1", 0o600, (0, 0), b"kernel");
    put(Regular, b"boot/initrd.img-1", 0o600, (0, 0), b"initrd");
    for (path, length) in
        [("zero", 0), ("one", 1), ("piece", PIECE as usize), ("page", 4096), ("more", 3_000_001)]
    {
        put(Regular, format!("bin/{path}").as_bytes(), 0o4755, (0, 4_000_000_000), &bytes(length));
    }
    put(Link, b"bin/again", 0o755, (0, 0), b"bin/page");
    put(Link, b"etc/once more", 0o755, (0, 0), b"bin/page");
    put(Symlink, b"lib", 0o777, (0, 0), b"usr/lib");
    put(Symlink, b"etc/far", 0o777, (7, 8), [b"../".repeat(1300).as_slice(), b"x"].concat().as_slice());
    put(Symlink, b"etc/bytes", 0o777, (0, 0), b"\xff\xfe/\x80");
    put(Char, b"dev/null", 0o666, (0, 0), &[1, 3]);
    put(Block, b"dev/sda", 0o660, (0, 6), &[8, 0]);
    put(Fifo, b"dev/pipe", 0o600, (0, 0), b"");
    put(Regular, [b"names/".as_slice(), &[b'n'; 255]].concat().as_slice(), 0o644, (0, 0), b"long");
    put(Regular, b"names/\xff\xfe\x80", 0o644, (0, 0), b"no UTF-8");
    for name in ["Case", "case", "cas\u{e9}", "case\u{301}", " ", "a b", "*", "-", "...", "%2f", "\\"] {
        put(Regular, format!("names/{name}").as_bytes(), 0o644, (0, 0), name.as_bytes());
    }
    let mut deep = b"deep".to_vec();
    for depth in 0..60 {
        put(Directory, &deep, 0o755, (0, 0), b"");
        deep.extend(format!("/{depth:02}-{}", "d".repeat(40)).bytes());
    }
    put(Regular, &deep, 0o644, (0, 0), b"at the bottom");
    // What the machine's own layer takes away, and what it replaces.
    put(Regular, b"etc/gone", 0o644, (0, 0), b"never seen");
    put(Regular, b"etc/hostname", 0o644, (0, 0), b"nobody");
    for number in 0..700 {
        put(Regular, format!("names/many-{number}").as_bytes(), 0o644, (number, 0), b"");
    }
    archive.into_inner().unwrap()
}

/// What `oneroot export` writes, by path.
fn exported(archive: &[u8]) -> BTreeMap<Vec<u8>, Node> {
    let (mut nodes, mut first) = (BTreeMap::<Vec<u8>, Node>::new(), HashMap::<Vec<u8>, Vec<Vec<u8>>>::new());
    for entry in tar::Archive::new(Cursor::new(archive)).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path_bytes().into_owned();
        let path = path.strip_suffix(b"/").unwrap_or(&path).to_vec();
        let path = if path == b"." { Vec::new() } else { path };
        let kind = entry.header().entry_type();
        let link = entry.link_name_bytes().map(|name| name.into_owned()).unwrap_or_default();
        if kind == EntryType::Link {
            first.entry(link).or_default().push(path);
            continue;
        }
        let mut fraction = 0;
        for record in entry.pax_extensions().unwrap().into_iter().flatten() {
            let record = record.unwrap();
            if record.key_bytes() == b"mtime" {
                fraction =
                    record.value().unwrap().split_once('.').map_or(0, |(_, digits)| digits.parse().unwrap());
            }
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let header = entry.header();
        let (kind, content) = match kind {
            EntryType::Regular => (1, content),
            EntryType::Directory => (2, content),
            EntryType::Block => (3, content),
            EntryType::Char => (4, content),
            EntryType::Symlink => (5, link),
            EntryType::Fifo => (7, content),
            other => panic!("{other:?} in an export"),
        };
        let number = |of: std::io::Result<Option<u32>>| of.unwrap().unwrap();
        let rdev = match kind {
            3 | 4 => (number(header.device_major()), number(header.device_minor())),
            _ => (0, 0),
        };
        let node = Node {
            kind,
            mode: header.mode().unwrap(),
            uid: u32::try_from(header.uid().unwrap()).unwrap(),
            gid: u32::try_from(header.gid().unwrap()).unwrap(),
            names: 1,
            size: content.len() as u64,
            rdev,
            mtime: (u32::try_from(header.mtime().unwrap()).unwrap(), fraction),
            content,
        };
        nodes.insert(path, node);
    }
    for (path, others) in first {
        let names = 1 + u32::try_from(others.len()).unwrap();
        nodes.get_mut(&path).unwrap().names = names;
        for other in others {
            nodes.insert(other, nodes[&path].clone());
        }
    }
    nodes
}

/// Everything that is told of a node must be the same wherever it is told: what differs here would differ there.
fn same(one: &fattr3, other: &fattr3) {
    assert_eq!(format!("{one:?}"), format!("{other:?}"));
}

struct Walk {
    client: Client,
    seen: BTreeMap<Vec<u8>, Node>,
    /// Paths by fileid.
    ids: HashMap<u64, Vec<Vec<u8>>>,
    fsid: u64,
}

impl Walk {
    async fn attributes(&mut self, handle: &nfs_fh3) -> fattr3 {
        self.client.getattr(&GETATTR3args { object: handle.clone() }).await.unwrap().unwrap().obj_attributes
    }

    /// All of a file, in pieces.
    async fn read(&mut self, file: &nfs_fh3) -> Vec<u8> {
        let mut whole = Vec::new();
        loop {
            let place = READ3args { file: file.clone(), offset: whole.len() as u64, count: PIECE };
            let part = self.client.read(&place).await.unwrap().unwrap();
            assert_eq!(part.count as usize, part.data.len());
            whole.extend_from_slice(part.data.as_ref());
            if part.eof {
                return whole;
            }
            assert_eq!(part.count, PIECE, "only the last piece is short");
        }
    }

    /// One directory by READDIRPLUS, in pages of this size.
    async fn list(&mut self, dir: &nfs_fh3, page: u32) -> Vec<(Vec<u8>, u64, fattr3, nfs_fh3)> {
        let (mut all, mut cookie, mut cookieverf) = (Vec::new(), 0, cookieverf3([0; 8]));
        loop {
            let args =
                READDIRPLUS3args { dir: dir.clone(), cookie, cookieverf, dircount: page, maxcount: page };
            let told = self.client.readdirplus(&args).await.unwrap().unwrap();
            cookieverf = told.cookieverf;
            let entries = told.reply.entries.into_inner();
            assert!(told.reply.eof || !entries.is_empty(), "an empty page that is not the end");
            for entry in entries {
                cookie = entry.cookie;
                let (attributes, handle) = (some(entry.name_attributes), some(entry.name_handle));
                all.push((entry.name.0.to_vec(), entry.fileid, attributes, handle));
            }
            if told.reply.eof {
                return all;
            }
        }
    }

    async fn visit(&mut self, path: Vec<u8>, handle: nfs_fh3, above: nfs_fh3) {
        let attributes = self.attributes(&handle).await;
        assert_eq!(attributes.fsid, self.fsid);
        let content = match attributes.type_ {
            ftype3::NF3REG => self.read(&handle).await,
            ftype3::NF3LNK => {
                let args = READLINK3args { symlink: handle.clone() };
                self.client.readlink(&args).await.unwrap().unwrap().data.0.to_vec()
            }
            _ => Vec::new(),
        };
        let directory = attributes.type_ == ftype3::NF3DIR;
        if !directory {
            assert_eq!(attributes.size, content.len() as u64, "{}", path.escape_ascii());
        }
        self.ids.entry(attributes.fileid).or_default().push(path.clone());
        let node = Node {
            kind: attributes.type_ as u32,
            mode: attributes.mode,
            uid: attributes.uid,
            gid: attributes.gid,
            names: if directory { 1 } else { attributes.nlink },
            size: content.len() as u64,
            rdev: (attributes.rdev.specdata1, attributes.rdev.specdata2),
            mtime: (attributes.mtime.seconds, attributes.mtime.nseconds),
            content,
        };
        assert!(self.seen.insert(path.clone(), node).is_none(), "{} twice", path.escape_ascii());
        if !directory {
            return;
        }
        let listed = self.list(&handle, 8192).await;
        let names: BTreeSet<&[u8]> = listed.iter().map(|(name, ..)| name.as_slice()).collect();
        assert_eq!(names.len(), listed.len(), "each name once in {}", path.escape_ascii());
        let subdirectories = listed.iter().filter(|(_, _, of, _)| of.type_ == ftype3::NF3DIR).count();
        assert_eq!(attributes.nlink as usize, subdirectories, "links of {}", path.escape_ascii());
        for (name, fileid, told, child) in listed {
            assert_eq!(told.fileid, fileid);
            let (found, looked_up) = lookup(&mut self.client, &handle, &name).await;
            assert_eq!(found, child);
            same(&looked_up, &told);
            match name.as_slice() {
                b"." => same(&told, &attributes),
                b".." => assert_eq!(child, above),
                _ => {
                    let below = if path.is_empty() { name } else { [&path, b"/".as_slice(), &name].concat() };
                    Box::pin(self.visit(below, child, handle.clone())).await;
                }
            }
        }
    }
}

/// The whole root as `nfs3_client` sees it.
async fn walk(boot: &Boot) -> Walk {
    let client = mount(boot).await;
    let root = client.root_nfs_fh3();
    let mut walk = Walk { client, seen: BTreeMap::new(), ids: HashMap::new(), fsid: 0 };
    walk.fsid = walk.attributes(&root).await.fsid;
    walk.visit(Vec::new(), root.clone(), root).await;
    walk
}

/// A line of nfs-ls: type and mode, links, uid, gid, size, path. Of directories links and size are left out, which an
/// archive does not have.
fn row(line: &[u8]) -> (Vec<u8>, String) {
    let mut rest = line;
    let mut words = Vec::new();
    for _ in 0..5 {
        rest = rest.trim_ascii_start();
        let end = rest.iter().position(|byte| *byte == b' ').unwrap();
        words.push(String::from_utf8(rest[..end].to_vec()).unwrap());
        rest = &rest[end..];
    }
    if words[0].starts_with('d') {
        (words[1], words[4]) = (String::new(), String::new());
    }
    (rest[1..].to_vec(), words.join(" "))
}

/// The same of what was exported. It shows groups as numbers with a sign, and no set-uid bit; a FIFO's type it does not know.
fn told_by_libnfs(node: &Node) -> String {
    let kind = ["", "-", "d", "b", "c", "l", "", ""][node.kind as usize];
    let bits = (0..9).map(|bit| if node.mode & (0o400 >> bit) == 0 { '-' } else { ['r', 'w', 'x'][bit % 3] });
    let (links, size) = match node.kind {
        2 => (String::new(), String::new()),
        _ => (node.names.to_string(), node.size.to_string()),
    };
    let (uid, gid) = (node.uid.cast_signed(), node.gid.cast_signed());
    format!("{kind}{} {links} {uid} {gid} {size}", bits.collect::<String>())
}

#[test]
fn others_clients_see_path_for_path_and_byte_for_byte_what_is_exported() {
    let site = site();
    fs::write(site.path().join("root.tar"), everything()).unwrap();
    site.file("alpha", "etc/.wh.gone", "").unwrap();
    site.file("alpha", "names/own", "alpha's\n").unwrap();
    as_machine(site, |server, _, boot| {
        server.run(&["export", "alpha", "alpha.tar"]).unwrap();
        let exported = exported(&fs::read(server.site.path().join("alpha.tar")).unwrap());
        assert!(exported.len() > 800 && exported.contains_key(b"names/own".as_slice()));
        assert!(!exported.contains_key(b"etc/gone".as_slice()));
        let seen = on_tokio(walk(boot));
        for (path, node) in &exported {
            assert_eq!(seen.seen.get(path), Some(node), "{}", path.escape_ascii());
        }
        for path in seen.seen.keys() {
            assert!(exported.contains_key(path), "{} is not in the export", path.escape_ascii());
        }
        for paths in seen.ids.values() {
            let names = exported[&paths[0]].names;
            assert_eq!(paths.len(), names as usize, "one fileid for the names of one file, and for no other");
        }

        // libnfs' own listing does not go as deep as our tree, so it is asked for parts of it.
        for top in ["", "bin", "dev", "etc", "home", "names", ".oneroot"] {
            let url = url(boot, &format!("/{top}"));
            let listed = if top.is_empty() { run("nfs-ls", &[&url]) } else { run("nfs-ls", &["-R", &url]) };
            let listed: BTreeMap<Vec<u8>, String> =
                listed.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n').map(row).collect();
            let below = |path: &Vec<u8>| -> Option<Vec<u8>> {
                let rest = path.strip_prefix(top.as_bytes())?;
                let rest = if top.is_empty() { rest } else { rest.strip_prefix(b"/")? };
                (!rest.is_empty() && (!top.is_empty() || !rest.contains(&b'/'))).then(|| rest.to_vec())
            };
            let expected: BTreeMap<Vec<u8>, String> = exported
                .iter()
                .filter_map(|(path, node)| Some((below(path)?, told_by_libnfs(node))))
                .collect();
            assert_eq!(listed, expected, "/{top}");
        }

        let home = server.site.path();
        for path in ["bin/zero", "bin/one", "bin/piece", "bin/page", "bin/more", "etc/hostname", "names/own"]
        {
            let content = &exported[path.as_bytes()].content;
            assert_eq!(&run("nfs-cat", &[&url(boot, &format!("/{path}"))]), content, "{path}");
            let copy = home.join("copy");
            run("nfs-cp", &[&url(boot, &format!("/{path}")), copy.to_str().unwrap()]);
            assert_eq!(&fs::read(&copy).unwrap(), content, "{path}");
            fs::remove_file(copy).unwrap();
        }
    });
}

#[test]
fn an_anonymous_client_is_held_to_the_modes_and_another_machine_to_its_own_root() {
    let site = site();
    fs::write(site.path().join("root.tar"), everything()).unwrap();
    as_machine(site, |_, _, boot| {
        on_tokio(async {
            let mut client =
                Nfs3ConnectionBuilder::new(TokioConnector, SERVER, &boot.export).mount().await.unwrap();
            let root = client.root_nfs_fh3();
            let mut look = async |dir: &nfs_fh3, name: &[u8]| {
                let what = diropargs3 { dir: dir.clone(), name: filename3::from(name) };
                client.lookup(&LOOKUP3args { what }).await.unwrap()
            };
            let home = look(&root, b"home").await.unwrap().object;
            let ann = look(&home, b"ann").await.unwrap().object;
            let Nfs3Result::Err((status, fail)) = look(&ann, b"diary").await else { panic!("it was found") };
            assert_eq!(status, nfsstat3::NFS3ERR_ACCES);
            assert_eq!(some(fail.dir_attributes).uid, 1000, "a refusal tells the directory's attributes");
            let Nfs3Result::Err((status, _)) = look(&root, b"nowhere").await else { panic!("it was found") };
            assert_eq!(status, nfsstat3::NFS3ERR_NOENT);
        });
    });
}
