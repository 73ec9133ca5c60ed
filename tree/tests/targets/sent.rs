//! Any bytes as what another host sends of a tree: an index on its way, and a list of wanted objects.
//!
//! Input: the stream before it is packed, which zstd frames as it is, for a fuzzer finds no checksum and no entropy table. What must
//! hold: what is no tree is refused; of the rest no name leads out, and the same comes again when it is packed and unpacked.

use std::sync::Arc;

use oneroot_ids::{GenerationId, ObjectId};
use oneroot_tree::node::{Content, Meta, TreePath};
use oneroot_tree::wants::Wants;
use oneroot_tree::{Error, Index, IndexBuilder, stream};

const NONE: GenerationId = GenerationId([0; 32]);

pub fn run(data: &[u8]) {
    list(data);
    // As it is, and against an index that is here.
    let _ = stream::unpack(data, NONE, |_| Ok(Arc::new(good())));
    let against = [&[2][..], &NONE.0, &framed(data)].concat();
    assert!(
        stream::unpack(against.as_slice(), NONE, |_| Ok(Arc::new(good()))).is_err(),
        "nothing has this name"
    );
    let sent = [vec![0], framed(data)].concat();
    let nobodys = |_| panic!("it was told against none");
    let Err(Error::OtherIndex { found, .. }) = stream::unpack(sent.as_slice(), NONE, nobodys) else { return };
    let index = stream::unpack(sent.as_slice(), found, nobodys).unwrap();
    index.each(&mut |path, _| {
        assert!(path.len() < 4096 && !path.contains(&0));
        for name in path.split(|byte| *byte == b'/') {
            assert!(!matches!(name, b"" | b"." | b"..") && name.len() <= 255, "{}", path.escape_ascii());
        }
    });
    for have in [None, Some(good())] {
        let packed = stream::pack(&index, have.as_ref()).unwrap();
        let read = stream::unpack(packed.as_slice(), found, |_| Ok(Arc::new(good()))).unwrap();
        assert_eq!(read.bytes(), index.bytes());
    }
}

fn list(data: &[u8]) {
    let Some((count, list)) = data.split_first() else { return };
    let objects: Vec<_> = (0..*count).map(|number| (ObjectId([number; 32]), u64::from(number))).collect();
    let Ok(wants) = Wants::parse(list, objects.len()) else { return };
    assert_eq!(wants.bytes(), list);
    assert!((objects.len()..objects.len() + 20).all(|place| !wants.has(place)));
    let all: u64 = objects.iter().map(|(_, size)| size).sum();
    assert!(wants.total(&objects).is_ok_and(|total| total <= all) || wants.skip() > 0);
}

/// A frame of one block that is not packed (RFC 8878, 3.1.1): no sizes, no checksum, a window of 128 KiB.
fn framed(data: &[u8]) -> Vec<u8> {
    let data = &data[..data.len().min(100_000)];
    let header = 1 | u32::try_from(data.len()).unwrap() << 3;
    [&0xfd2f_b528u32.to_le_bytes()[..], &[0, 0x38], &header.to_le_bytes()[..3], data].concat()
}

fn good() -> Index {
    let mut builder = IndexBuilder::new();
    let file = |text: &[u8]| {
        let object = ObjectId(*blake3::hash(text).as_bytes());
        Content::Regular { object, size: text.len() as u64 }
    };
    let meta = |mode| Meta { mode, mtime: 7, ..Meta::default() };
    for (path, content) in [
        ("a", file(b"x")),
        ("d/e", file(b"")),
        ("d/fifo", Content::Fifo),
        ("d/link", Content::Symlink(b"../a".to_vec())),
        ("null", Content::Character(1, 3)),
    ] {
        builder.insert(&TreePath::parse(path.as_bytes()).unwrap(), meta(0o644), content).unwrap();
    }
    let path = |path: &'static str| TreePath::parse(path.as_bytes()).unwrap();
    builder.link(&path("d/z"), &path("a")).unwrap();
    builder.finish().unwrap()
}

pub fn seeds() -> Vec<Vec<u8>> {
    let node = |kind: u8, more: &[u8]| [&[kind, 0xed, 1, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0], more, &[0]].concat();
    let (directory, fifo) = (node(2, &[]), node(7, &[]));
    let file = node(1, &[&[5][..], &[9; 32]].concat());
    let link = node(4, b"\x04../a");
    let one = |name: &[u8], what: &[u8]| {
        [&directory, &[1, u8::try_from(name.len()).unwrap()][..], name, &[0], what].concat()
    };
    vec![
        [directory.as_slice(), &[0]].concat(),
        one(b"a", &file),
        one(b"..", &file),
        one(b"l", &link),
        [one(b"d", &directory), vec![2, 1, b'f', 0], fifo, vec![1, b'g', 1]].concat(),
        [&[3][..], &[0; 8], &[7]].concat(),
        [&[3][..], &[1, 0, 0, 0, 0, 0, 0, 0], &[7]].concat(),
    ]
}
