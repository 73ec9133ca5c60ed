//! Any bytes as an index file, which the store keeps and servers read in place.
//!
//! Input: a count of inodes and of names, then the tables and the heap. Magic, sizes and checksum are made right, for no fuzzer
//! would find those; the first byte says whether one of them is spoilt after all. What must hold: a file with a wrong one is
//! refused; of the others every access is of what is there, or of nothing, and ends.

use std::sync::Arc;

use oneroot_ids::ViewId;
use oneroot_testkit::Tape;
use oneroot_tree::IndexBuilder;
use oneroot_tree::index::{Index, ROOT};
use oneroot_tree::node::{Content, Meta, TreePath};
use oneroot_tree::view::{Level, View};

/// The format's fixed lengths (docs/decisions/0004).
const HEADER: usize = 96;
const INODE: usize = 88;
const NAME: usize = 12;

pub fn run(data: &[u8]) {
    let mut tape = Tape::new(data);
    let (spoilt, bits) = (tape.byte(), tape.byte());
    let (inodes, names) = (tape.byte(), tape.byte());
    let mut bytes = sealed(u32::from(inodes), u32::from(names), tape.rest());
    let is_good = inodes > 0 && bytes.len() >= least(inodes, names);
    if spoilt & 0x80 != 0 && bits != 0 {
        // Whatever byte of magic, sizes and checksum it is; byte 16 to 24 and the generation are not looked at here.
        let places: Vec<usize> = (0..16).chain(24..32).chain(64..bytes.len()).collect();
        let place = places[(usize::from(spoilt & 0x7f) * 37) % places.len()];
        bytes[place] ^= bits;
        assert!(Index::parse(bytes).is_err(), "byte {place} counts for nothing");
        return;
    }
    match Index::parse(bytes) {
        Ok(index) => {
            assert!(is_good, "tables that are longer than the file");
            walk(&index);
            view(index, &mut Tape::new(data));
        }
        Err(cause) => assert!(!is_good, "{cause}"),
    }
}

fn least(inodes: u8, names: u8) -> usize {
    HEADER + usize::from(inodes) * INODE + usize::from(names) * NAME
}

fn sealed(inodes: u32, names: u32, body: &[u8]) -> Vec<u8> {
    let tables = inodes as usize * INODE + names as usize * NAME;
    let heap = body.len().saturating_sub(tables) as u64;
    let mut bytes = b"1root\0\0\x01".to_vec();
    for word in [inodes, names, 0, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(heap.to_le_bytes());
    bytes.extend([7; 32]);
    bytes.extend(blake3::hash(body).as_bytes());
    bytes.extend(body);
    bytes
}

/// Everything that can be asked of each inode and each name, of those beyond the last ones, too.
fn walk(index: &Index) {
    let all = index.bytes().len();
    assert!(index.inodes() <= 255 && index.paths() <= 256);
    let _ = (index.content_bytes(), index.whiteouts(), index.generation());
    for number in [0, u32::MAX].into_iter().chain(1..=index.inodes() + 1) {
        let Some(inode) = index.inode(number) else { continue };
        assert!((1..=index.inodes()).contains(&number));
        let held: usize = inode.xattrs().iter().map(|(name, value)| name.len() + value.len()).sum();
        assert!(held <= all, "{held} bytes of attributes in {all}");
        for text in [inode.target(), inode.name()].into_iter().flatten() {
            assert!(text.len() <= all);
        }
        assert!(inode.object().is_none() || inode.target().is_none(), "a file that is a link");
        let _ = (inode.meta(), inode.content(), inode.nlink(), inode.rdev(), inode.parent());
        let (first, count) = inode.run();
        for place in first..first.saturating_add(count.min(300)) {
            let Some(entry) = index.entry(place) else { break };
            if let Some(found) = index.find(number, entry.name) {
                assert_eq!(index.entry(found).map(|entry| entry.name), Some(entry.name));
            }
        }
    }
    assert!(index.entry(u32::MAX).is_none());
}

/// The tree of it, alone and over a good layer: each directory's entries, its parent and its paths.
fn view(index: Index, tape: &mut Tape<'_>) {
    let bottom = Arc::new(Level::new(Arc::new(good()), Vec::new()));
    let index = Arc::new(index);
    for below in [Vec::new(), vec![bottom]] {
        let layer = u16::try_from(below.len()).unwrap();
        let view = View::new(ViewId([0; 16]), Arc::new(Level::new(index.clone(), below)));
        for inode in ROOT..=index.inodes() {
            let node = oneroot_tree::view::Node { layer, inode };
            let (_, _) = (view.stat(node), view.parent(node));
            for (number, entry) in view.entries(node).take(300).enumerate() {
                assert_eq!(view.entries_from(node, number as u64).next(), Some(entry));
            }
            for (name, child) in view.entries(node).take(300) {
                let _ = (view.lookup(node, name), view.stat(child), view.object(child));
            }
            assert!(
                [u64::MAX, u32::MAX.into()]
                    .iter()
                    .all(|from| view.entries_from(node, *from).next().is_none())
            );
        }
        let _ = (view.follow(tape.counted()), view.follow(b"/etc/../etc/x/y"));
    }
}

fn good() -> Index {
    let mut builder = IndexBuilder::new();
    let mut put = |path: &str, content| {
        builder.insert(&TreePath::parse(path.as_bytes()).unwrap(), Meta::default(), content).unwrap();
    };
    put("etc", Content::Directory { opaque: false });
    put("etc/x", Content::Symlink(b"/etc/y".to_vec()));
    put("etc/y", Content::Fifo);
    put("usr", Content::Directory { opaque: false });
    put("usr/null", Content::Character(1, 3));
    put("usr/gone", Content::Whiteout);
    builder.finish().unwrap()
}

/// Good indexes, whole and cut, with and without a spoilt byte.
pub fn seeds() -> Vec<Vec<u8>> {
    let index = good();
    let bytes = index.bytes();
    let (inodes, names) = (bytes[8], bytes[12]);
    let body = &bytes[HEADER..];
    let mut found = vec![];
    for spoilt in [0, 0x80, 0x85, 0x90, 0xff] {
        found.push([&[spoilt, 1, inodes, names], body].concat());
    }
    for (inodes, names) in [(0, 0), (1, 0), (inodes, 0), (255, 255), (1, names), (inodes - 1, names)] {
        found.push([&[0, 0, inodes, names], body].concat());
    }
    // Directories in a circle, runs beyond the end, a name in the heap's last bytes.
    for (at, value) in
        [(INODE + 80, 3), (2 * INODE + 80, 2), (32, 0xff), (35, 0xff), (36, 0xff), (39, 0xff), (41, 1)]
    {
        let mut bad = body.to_vec();
        bad[at] = value;
        found.push([&[0, 0, inodes, names], bad.as_slice()].concat());
    }
    found
}
