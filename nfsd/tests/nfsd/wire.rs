//! An RPC encoder for tests, written from the RFCs and sharing nothing with the crate's.

use oneroot_nfsd::{Attr, FileKind, Replies, Segment, Tree};

use crate::world::{World, content};

pub(crate) fn u32s(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

pub(crate) fn opaque(bytes: &[u8]) -> Vec<u8> {
    let mut out = u32s(&[bytes.len() as u32]);
    out.extend(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// A credential: flavour and body.
#[derive(Clone)]
pub(crate) struct Cred(pub(crate) u32, pub(crate) Vec<u8>);

impl Cred {
    pub(crate) fn sys(uid: u32, gid: u32, gids: &[u32]) -> Self {
        let body =
            [u32s(&[99]), opaque(b"client7"), u32s(&[uid, gid, gids.len() as u32]), u32s(gids)].concat();
        Cred(1, body)
    }
}

pub(crate) fn call(xid: u32, [program, version, procedure]: [u32; 3], cred: &Cred, args: &[u8]) -> Vec<u8> {
    let head = u32s(&[xid, 0, 2, program, version, procedure, cred.0]);
    [head, opaque(&cred.1), u32s(&[0, 0]), args.to_vec()].concat()
}

pub(crate) fn fattr(world: &World, attr: &Attr) -> Vec<u8> {
    let kind = match attr.kind {
        FileKind::Regular => 1,
        FileKind::Directory => 2,
        FileKind::BlockDevice => 3,
        FileKind::CharDevice => 4,
        FileKind::Symlink => 5,
        FileKind::Socket => 6,
        FileKind::Fifo => 7,
    };
    let mut out = u32s(&[kind, attr.mode, attr.nlink, attr.uid, attr.gid]);
    out.extend(attr.size.to_be_bytes());
    out.extend(attr.used.to_be_bytes());
    out.extend(u32s(&[attr.rdev.0, attr.rdev.1]));
    out.extend(world.fsid().to_be_bytes());
    out.extend(attr.fileid.to_be_bytes());
    for time in [attr.mtime, attr.mtime, attr.ctime] {
        out.extend(u32s(&[u32::try_from(time.secs).unwrap(), time.nanos]));
    }
    out
}

/// What the shell would send: file ranges replaced by contents.
pub(crate) fn sent(replies: &Replies) -> Vec<u8> {
    let mut out = Vec::new();
    for segment in replies.segments() {
        match segment {
            Segment::Bytes(bytes) => out.extend(bytes),
            Segment::File(range) => {
                out.extend((0..u64::from(range.len)).map(|i| content(range.object, range.offset + i)));
            }
        }
    }
    assert_eq!(out.len() as u64, replies.len(), "len() is what goes on the wire");
    out
}

/// Cuts what was sent over TCP into reply bodies; each must be one last fragment that ends where its mark
/// says.
pub(crate) fn unmarked(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut replies = Vec::new();
    while let Some((mark, rest)) = bytes.split_first_chunk::<4>() {
        let mark = u32::from_be_bytes(*mark);
        assert_ne!(mark & 0x8000_0000, 0, "every reply is one last fragment");
        let (body, rest) = rest.split_at((mark & 0x7fff_ffff) as usize);
        assert_eq!(body.len() % 4, 0, "XDR comes in fours");
        replies.push(body.to_vec());
        bytes = rest;
    }
    assert!(bytes.is_empty());
    replies
}
