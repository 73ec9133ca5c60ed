//! A small tree, three views and four peers: everything that the tests talk about.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use oneroot_nfsd::{
    Attr, Exports, FileKind, Handle, Keyring, NodeId, Policy, PortTable, Ports, Refusal, Service, Time,
    Totals, Tree, ViewId,
};

/// The view that 10.0.0.7 booted.
pub(crate) const OWN: ViewId = *b"view of machine7";
/// A view that another machine booted.
pub(crate) const OTHER: ViewId = *b"view of machine8";
/// A view that no pin holds any more.
pub(crate) const DROPPED: ViewId = *b"view of nobody!!";

/// A name at which every directory of the world panics when it is looked up.
pub(crate) const CURSED: &[u8] = b"cursed, and nowhere else";

struct Node {
    attr: Attr,
    parent: NodeId,
    children: Vec<(Vec<u8>, NodeId)>,
    target: Vec<u8>,
}

/// A tree in memory; inode numbers count up from 1 in the order of building.
pub(crate) struct World {
    nodes: Vec<Node>,
    paths: HashMap<String, NodeId>,
}

impl World {
    /// A root directory and nothing in it.
    pub(crate) fn empty() -> Self {
        let mut world = World { nodes: Vec::new(), paths: HashMap::new() };
        world.add("/", FileKind::Directory, 0o755, (0, 0));
        world
    }

    /// The tree that the conversations are about.
    pub(crate) fn new() -> Self {
        use FileKind::{BlockDevice, CharDevice, Directory, Fifo, Socket};
        let mut world = World::empty();
        world.add("/etc", Directory, 0o755, (0, 0));
        world.file("/etc/passwd", 0o644, (0, 0), 1001);
        world.file("/etc/shadow", 0o640, (0, 42), 700);
        world.add("/bin", Directory, 0o755, (0, 0));
        world.file("/bin/sh", 0o755, (0, 0), 3 * 1024 * 1024);
        world.file("/bin/su", 0o4711, (0, 0), 60_000);
        world.add("/home", Directory, 0o711, (0, 0));
        world.add("/home/ann", Directory, 0o700, (1000, 1000));
        world.file("/home/ann/diary", 0o000, (1000, 1000), 10);
        world.add("/dev", Directory, 0o755, (0, 0));
        world.add("/dev/null", CharDevice, 0o666, (0, 0)).rdev = (1, 3);
        world.add("/dev/sda", BlockDevice, 0o660, (0, 6)).rdev = (8, 0);
        world.add("/dev/pipe", Fifo, 0o600, (0, 0));
        world.add("/dev/log", Socket, 0o666, (0, 0));
        world.symlink("/lib", "usr/lib");
        world.file("/empty", 0o644, (0, 0), 0);
        world.add("/void", Directory, 0o755, (0, 0));
        world.link("/void/sh", "/bin/sh");
        world.file(&format!("/void/{}", "n".repeat(255)), 0o644, (0, 0), 1);
        world.file("/lost", 0o644, (0, 0), 9);
        world.symlink("/endless", &"x".repeat(4097));
        world
    }

    pub(crate) fn add(&mut self, path: &str, kind: FileKind, mode: u32, (uid, gid): (u32, u32)) -> &mut Attr {
        let ino = self.nodes.len() as u64 + 1;
        let id = NodeId { layer: 2, ino };
        let (mtime, ctime) =
            (Time { secs: 1000 + ino as i64, nanos: ino as u32 }, Time { secs: 2000 + ino as i64, nanos: 7 });
        let parent = self.enter(path, id).unwrap_or(id);
        let attr = Attr {
            kind,
            mode,
            nlink: 1,
            uid,
            gid,
            size: 0,
            used: 0,
            rdev: (0, 0),
            fileid: 100 + ino,
            mtime,
            ctime,
        };
        self.nodes.push(Node { attr, parent, children: Vec::new(), target: Vec::new() });
        &mut self.node_mut(id).attr
    }

    pub(crate) fn file(&mut self, path: &str, mode: u32, owner: (u32, u32), size: u64) {
        let attr = self.add(path, FileKind::Regular, mode, owner);
        (attr.size, attr.used) = (size, size.next_multiple_of(4096));
    }

    fn symlink(&mut self, path: &str, target: &str) {
        self.add(path, FileKind::Symlink, 0o777, (0, 0)).size = target.len() as u64;
        let link = self.find(path);
        self.node_mut(link).target = target.as_bytes().to_vec();
    }

    fn link(&mut self, path: &str, to: &str) {
        let node = self.find(to);
        self.enter(path, node);
        self.node_mut(node).attr.nlink += 1;
    }

    /// Puts a name into its directory, which it returns; the root has none.
    fn enter(&mut self, path: &str, node: NodeId) -> Option<NodeId> {
        self.paths.insert(path.to_owned(), node);
        let (dir, name) = path.rsplit_once('/').unwrap();
        if name.is_empty() {
            return None;
        }
        let dir = self.find(if dir.is_empty() { "/" } else { dir });
        self.node_mut(dir).children.push((name.as_bytes().to_vec(), node));
        Some(dir)
    }

    pub(crate) fn find(&self, path: &str) -> NodeId {
        *self.paths.get(path).unwrap_or_else(|| panic!("the world has no {path}"))
    }

    /// A directory's name by its number.
    pub(crate) fn entry(&self, dir: NodeId, number: u64) -> Option<(&[u8], NodeId)> {
        let (name, node) = self.node(dir)?.children.get(usize::try_from(number).ok()?)?;
        Some((name, *node))
    }

    fn node(&self, id: NodeId) -> Option<&Node> {
        if id.layer != 2 {
            return None;
        }
        self.nodes.get(usize::try_from(id.ino).ok()?.checked_sub(1)?)
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.ino as usize - 1]
    }
}

/// The byte at one place of an object: contents that show from where they were taken.
pub(crate) fn content(object: [u8; 32], offset: u64) -> u8 {
    object[0].wrapping_add((offset % 251) as u8)
}

impl Tree for World {
    fn fsid(&self) -> u64 {
        0xf51d_0000_0000_0007
    }
    fn root(&self) -> NodeId {
        self.find("/")
    }
    fn attr(&self, node: NodeId) -> Option<Attr> {
        self.node(node).map(|node| node.attr)
    }
    fn lookup(&self, dir: NodeId, name: &[u8]) -> Option<NodeId> {
        assert!(
            !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/'),
            "a tree is asked for real names only"
        );
        assert!(name != CURSED, "a mistake in a tree");
        self.node(dir)?.children.iter().find(|(known, _)| known == name).map(|(_, node)| *node)
    }
    fn parent(&self, dir: NodeId) -> Option<NodeId> {
        self.node(dir).map(|node| node.parent)
    }
    fn target(&self, node: NodeId) -> Option<&[u8]> {
        self.node(node).map(|node| &node.target[..])
    }
    fn entries(&self, dir: NodeId, from: u64) -> impl Iterator<Item = (&[u8], NodeId)> {
        (from..).map_while(move |number| self.entry(dir, number))
    }
    /// `/lost` has none: what a damaged store looks like.
    fn object(&self, node: NodeId) -> Option<[u8; 32]> {
        (self.paths.get("/lost") != Some(&node)).then_some([node.ino as u8; 32])
    }
    fn totals(&self) -> Totals {
        Totals { bytes: 123_456_789, files: 4321 }
    }
}

/// 10.0.0.7 has the world, 10.0.0.8 is another machine, whoever else is not known yet.
pub(crate) struct Site(pub(crate) Arc<World>);

impl Exports for Site {
    type Tree = World;

    fn tree(&self, peer: IpAddr, view: ViewId) -> Result<Arc<World>, Refusal> {
        match (peer.to_string().as_str(), view) {
            (_, DROPPED) => Err(Refusal::Stale),
            ("10.0.0.7", OWN) | ("10.0.0.8", OTHER) => Ok(Arc::clone(&self.0)),
            ("10.0.0.7" | "10.0.0.8", _) => Err(Refusal::Acces),
            _ => Err(Refusal::Jukebox),
        }
    }

    fn mounts(&self, peer: IpAddr) -> Vec<Vec<u8>> {
        if peer.to_string() == "10.0.0.7" { vec![b"/v/own".to_vec(), b"/v/old".to_vec()] } else { Vec::new() }
    }
}

pub(crate) fn keyring() -> Keyring {
    Keyring::new(1, &[0x11; 32])
}

pub(crate) fn handle(view: ViewId, node: NodeId) -> Vec<u8> {
    keyring().seal(Handle { view, node }).to_vec()
}

pub(crate) fn service(world: &Arc<World>, policy: Policy) -> Service<Site> {
    let ports = Ports { nfs: 2049, mount: 20048, portmap_tcp: Some(111), portmap_udp: Some(111) };
    Service::new(Site(Arc::clone(world)), keyring(), PortTable::new(ports), policy)
}
