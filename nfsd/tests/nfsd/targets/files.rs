//! What NFS and NFSACL must say about the test world, procedure by procedure (RFC 1813 §3.3; docs/security.md).

use std::collections::HashMap;
use std::sync::LazyLock;

use nfs3_types::nfs3::{
    ACCESS3res, COMMIT3res, CREATE3res, FSINFO3res, FSSTAT3res, GETATTR3res, LINK3res, LOOKUP3res, MKDIR3res,
    MKNOD3res, PATHCONF3res, READ3res, READDIR3res, READDIRPLUS3res, READLINK3res, REMOVE3res, RENAME3res,
    RMDIR3res, SETATTR3res, SYMLINK3res, WRITE3res,
};
use oneroot_nfsd::{Attr, FileKind, FileRange, MAX_LISTING, MAX_READ, NodeId, Tree, ViewId};

use super::model::{Arg, Who};
use super::verdict::{Door, WORLD, decoded};
use crate::wire::{fattr, opaque, u32s};
use crate::world::{DROPPED, OTHER, OWN, handle};

/// Handles of nodes that no view has, and whose tags are good all the same.
pub(crate) const ABSENT: [NodeId; 4] = [
    NodeId { layer: 2, ino: 0 },
    NodeId { layer: 2, ino: 9999 },
    NodeId { layer: 3, ino: 1 },
    NodeId { layer: u16::MAX, ino: u64::MAX },
];

pub(crate) static NODES: LazyLock<Vec<NodeId>> = LazyLock::new(|| {
    (1..).map(|ino| NodeId { layer: 2, ino }).take_while(|node| WORLD.attr(*node).is_some()).collect()
});

/// Every handle there is. Whatever else a message holds was never sealed.
static SEALED: LazyLock<HashMap<Vec<u8>, (ViewId, NodeId)>> = LazyLock::new(|| {
    let nodes = NODES.iter().chain(&ABSENT);
    nodes.flat_map(|node| [OWN, OTHER, DROPPED].map(|view| (handle(view, *node), (view, *node)))).collect()
});

const NOENT: u32 = 2;
const IO: u32 = 5;
const ACCES: u32 = 13;
const NOTDIR: u32 = 20;
const ISDIR: u32 = 21;
const INVAL: u32 = 22;
const ROFS: u32 = 30;
const NAMETOOLONG: u32 = 63;
const STALE: u32 = 70;
const BADHANDLE: u32 = 10_001;
const TOOSMALL: u32 = 10_005;
const JUKEBOX: u32 = 10_008;

/// A node that a handle names, if the peer may have it.
#[derive(Clone, Copy)]
struct Named {
    view: ViewId,
    node: NodeId,
    attr: Attr,
}

fn open(door: &Door, arg: &Arg) -> Result<Named, u32> {
    let Arg::Opaque(bytes) = arg else { panic!("no handle") };
    let (view, node) = *SEALED.get(bytes).ok_or(BADHANDLE)?;
    match (door.ip().to_string().as_str(), view) {
        (_, DROPPED) => return Err(STALE),
        ("10.0.0.7", OWN) | ("10.0.0.8", OTHER) => {}
        ("10.0.0.7" | "10.0.0.8", _) => return Err(ACCES),
        _ => return Err(JUKEBOX),
    }
    WORLD.attr(node).map(|attr| Named { view, node, attr }).ok_or(STALE)
}

fn post_op(of: Option<&Named>) -> Vec<u8> {
    of.map_or(u32s(&[0]), |named| [u32s(&[1]), fattr(&WORLD, &named.attr)].concat())
}

fn wcc(of: Option<&Named>) -> Vec<u8> {
    [u32s(&[0]), post_op(of)].concat()
}

/// Mode bits, 4 2 1, that speak for a caller.
fn class(who: &Who, attr: &Attr) -> u32 {
    if who.uid == attr.uid {
        attr.mode >> 6 & 7
    } else if who.gid == attr.gid || who.gids.contains(&attr.gid) {
        attr.mode >> 3 & 7
    } else {
        attr.mode & 7
    }
}

fn may(who: &Who, attr: &Attr, bit: u32) -> bool {
    who.uid == 0 || class(who, attr) & bit != 0
}

/// Compares the results after the RPC head with what the world says they are.
pub(crate) fn judge(
    door: &Door,
    acl: bool,
    procedure: u32,
    args: &[Arg],
    who: &Who,
    results: &[u8],
    range: Option<FileRange>,
) {
    if !acl {
        decode(procedure, results);
    }
    let opened = open(door, &args[0]);
    let named = opened.as_ref().ok();
    let is_read = !acl && procedure == 6;
    if range.is_some() {
        assert!(is_read && opened.is_ok(), "contents for no READ");
    }
    let due = match (acl, procedure) {
        (false, 14) => two(opened, open(door, &args[2]), true),
        (false, 15) => two(opened, open(door, &args[1]), false),
        (false, 2 | 7..=13 | 21) => [u32s(&[*opened.as_ref().err().unwrap_or(&ROFS)]), wcc(named)].concat(),
        (true, 2) => [u32s(&[*opened.as_ref().err().unwrap_or(&ROFS)]), post_op(named)].concat(),
        (false, 1) => match opened {
            Ok(named) => [u32s(&[0]), fattr(&WORLD, &named.attr)].concat(),
            Err(status) => u32s(&[status]),
        },
        _ => match opened {
            Err(status) => [u32s(&[status]), post_op(None)].concat(),
            Ok(named) => match query(acl, procedure, args, who, &named, results, range) {
                Ok(due) => due,
                Err(status) => [u32s(&[status]), post_op(Some(&named))].concat(),
            },
        },
    };
    assert_eq!(results, due, "procedure {procedure} with {args:?}");
}

/// RENAME and LINK: the first handle that fails decides, and what is there is told.
fn two(first: Result<Named, u32>, second: Result<Named, u32>, rename: bool) -> Vec<u8> {
    let status = first.as_ref().err().or(second.as_ref().err()).copied().unwrap_or(ROFS);
    let first = first.ok();
    let front = if rename { wcc(first.as_ref()) } else { post_op(first.as_ref()) };
    [u32s(&[status]), front, wcc(second.ok().as_ref())].concat()
}

/// The results of what only looks; a status where it fails.
fn query(
    acl: bool,
    procedure: u32,
    args: &[Arg],
    who: &Who,
    of: &Named,
    results: &[u8],
    range: Option<FileRange>,
) -> Result<Vec<u8>, u32> {
    let ok = [u32s(&[0]), post_op(Some(of))].concat();
    let number = |at: usize| match args[at] {
        Arg::Number(number) => number,
        Arg::Opaque(_) => panic!("no number"),
    };
    let rest = match (acl, procedure) {
        (true, _) => u32s(&[number(1) as u32 & 0x0f, 0, 0, 0, 0]),
        (_, 3) => {
            let Arg::Opaque(name) = &args[1] else { panic!("no name") };
            let child = lookup(who, of, name)?;
            let attr = WORLD.attr(child).unwrap();
            let child = Named { view: of.view, node: child, attr };
            let object = opaque(&handle(child.view, child.node));
            return Ok([u32s(&[0]), object, post_op(Some(&child)), post_op(Some(of))].concat());
        }
        (_, 4) => u32s(&[rights(who, &of.attr) & number(1) as u32]),
        (_, 5) => {
            if of.attr.kind != FileKind::Symlink {
                return Err(INVAL);
            }
            let target = WORLD.target(of.node).unwrap();
            opaque(if target.len() <= 4096 { target } else { return Err(IO) })
        }
        (_, 6) => read(who, of, number(1), number(2) as u32, range)?,
        (_, 16) => return listing(who, of, number(1), [number(3), u64::MAX], false, results),
        (_, 17) => return listing(who, of, number(1), [number(4), number(3)], true, results),
        // FSSTAT: the totals, nothing free, and for ever.
        (_, 18) => {
            let totals = WORLD.totals();
            let words = [totals.bytes, 0, 0, totals.files, 0, 0];
            [&words.map(u64::to_be_bytes).concat()[..], &u32::MAX.to_be_bytes()].concat()
        }
        // FSINFO, PATHCONF: fixed; the numbers stand in the conversations.
        _ => {
            assert!(results.starts_with(&ok));
            return Ok(results.to_vec());
        }
    };
    Ok([ok, rest].concat())
}

fn lookup(who: &Who, dir: &Named, name: &[u8]) -> Result<NodeId, u32> {
    match name {
        _ if dir.attr.kind != FileKind::Directory => Err(NOTDIR),
        _ if name.is_empty() || !may(who, &dir.attr, 1) => Err(ACCES),
        _ if name.len() > 255 => Err(NAMETOOLONG),
        _ if name.contains(&b'/') || name.contains(&0) => Err(INVAL),
        b"." => Ok(dir.node),
        b".." => Ok(WORLD.parent(dir.node).unwrap()),
        _ => WORLD.lookup(dir.node, name).ok_or(NOENT),
    }
}

fn rights(who: &Who, attr: &Attr) -> u32 {
    let directory = attr.kind == FileKind::Directory;
    let stored = directory || matches!(attr.kind, FileKind::Regular | FileKind::Symlink);
    let runs = if who.uid == 0 { attr.mode & 0o111 != 0 } else { may(who, attr, 1) };
    let all = [
        (0x01, may(who, attr, 4)),
        (0x02, directory && may(who, attr, 1)),
        (0x0c, !stored && may(who, attr, 2)),
        (0x20, !directory && runs),
    ];
    all.iter().filter(|(_, granted)| *granted).map(|(right, _)| right).sum()
}

fn read(who: &Who, of: &Named, offset: u64, count: u32, range: Option<FileRange>) -> Result<Vec<u8>, u32> {
    match of.attr.kind {
        FileKind::Regular => {}
        FileKind::Directory => return Err(ISDIR),
        _ => return Err(INVAL),
    }
    if who.uid != of.attr.uid && !may(who, &of.attr, 4 | 1) {
        return Err(ACCES);
    }
    let left = of.attr.size.saturating_sub(offset);
    let len = left.min(count.min(MAX_READ).into()) as u32;
    let object = WORLD.object(of.node);
    if len > 0 && object.is_none() {
        return Err(IO);
    }
    assert_eq!(range, object.filter(|_| len > 0).map(|object| FileRange { object, offset, len }));
    Ok([u32s(&[len, u32::from(u64::from(len) == left)]), opaque(&vec![0; len as usize])].concat())
}

/// Builds the page anew: as many entries as fit, each in its place.
fn listing(
    who: &Who,
    dir: &Named,
    cookie: u64,
    [total, names]: [u64; 2],
    plus: bool,
    results: &[u8],
) -> Result<Vec<u8>, u32> {
    if dir.attr.kind != FileKind::Directory {
        return Err(NOTDIR);
    }
    if !may(who, &dir.attr, 4) {
        return Err(ACCES);
    }
    let total = total.min(MAX_LISTING.into());
    let mut page = [post_op(Some(dir)), vec![0; 8]].concat();
    // The end of the list and eof are still to come.
    if page.len() as u64 + 8 > total {
        return Err(TOOSMALL);
    }
    let (mut place, mut bare, mut told) = (cookie, 0, 0);
    let eof = loop {
        let (name, node) = match place {
            0 => (&b"."[..], dir.node),
            1 => (&b".."[..], WORLD.parent(dir.node).unwrap()),
            _ => match WORLD.entry(dir.node, place - 2) {
                Some(entry) => entry,
                None => break true,
            },
        };
        let named = Named { view: dir.view, node, attr: WORLD.attr(node).unwrap() };
        place += 1;
        let front = [&named.attr.fileid.to_be_bytes()[..], &opaque(name), &place.to_be_bytes()].concat();
        bare += front.len() as u64;
        let mut entry = [u32s(&[1]), front].concat();
        if plus {
            entry.extend([post_op(Some(&named)), u32s(&[1]), opaque(&handle(named.view, node))].concat());
        }
        if (page.len() + entry.len()) as u64 + 8 > total {
            break false;
        }
        // dircount ends a page, and never leaves one empty.
        if plus && told > 0 && bare > names.min(MAX_LISTING.into()) {
            break false;
        }
        page.extend(entry);
        told += 1;
    };
    if told == 0 && !eof {
        return Err(TOOSMALL);
    }
    page.extend(u32s(&[0, u32::from(eof)]));
    assert!(page.len() as u64 <= total && results.len() as u64 <= total + 4);
    Ok([u32s(&[0]), page].concat())
}

/// Each result as another's decoder reads it.
fn decode(procedure: u32, results: &[u8]) {
    match procedure {
        1 => drop(decoded::<GETATTR3res>(results)),
        2 => drop(decoded::<SETATTR3res>(results)),
        3 => drop(decoded::<LOOKUP3res>(results)),
        4 => drop(decoded::<ACCESS3res>(results)),
        5 => drop(decoded::<READLINK3res<'_>>(results)),
        6 => drop(decoded::<READ3res<'_>>(results)),
        7 => drop(decoded::<WRITE3res>(results)),
        8 => drop(decoded::<CREATE3res>(results)),
        9 => drop(decoded::<MKDIR3res>(results)),
        10 => drop(decoded::<SYMLINK3res>(results)),
        11 => drop(decoded::<MKNOD3res>(results)),
        12 => drop(decoded::<REMOVE3res>(results)),
        13 => drop(decoded::<RMDIR3res>(results)),
        14 => drop(decoded::<RENAME3res>(results)),
        15 => drop(decoded::<LINK3res>(results)),
        16 => drop(decoded::<READDIR3res<'_>>(results)),
        17 => drop(decoded::<READDIRPLUS3res<'_>>(results)),
        18 => drop(decoded::<FSSTAT3res>(results)),
        19 => drop(decoded::<FSINFO3res>(results)),
        20 => drop(decoded::<PATHCONF3res>(results)),
        21 => drop(decoded::<COMMIT3res>(results)),
        _ => panic!("no such procedure"),
    }
}
