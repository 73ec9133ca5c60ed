//! File operations on a tree, with no protocol version in them.
//!
//! A codec opens a handle, calls one of these, and writes what comes back in its own shape. Permission is
//! checked here, so that no codec can forget it.

use crate::access::{self, Caller, Rights};
use crate::{Attr, FileKind, FileRange, NodeId, Refusal, Tree};

/// The longest name in a directory, as on Linux.
pub(crate) const MAX_NAME: usize = 255;

/// The longest link text, as on Linux (PATH_MAX). A longer one can't have been staged from a real tree, and
/// would break the bound on a reply.
const MAX_TARGET: usize = 4096;

/// Why an operation fails, by cause; each codec has its own numbers for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    NoEnt,
    /// The tree promises what it can't give (a file without an object): staging or the store is broken.
    Io,
    Acces,
    NotDir,
    IsDir,
    Inval,
    NameTooLong,
    ReadOnly,
    /// The handle is good, but what it names is gone.
    Stale,
    /// The handle was never ours.
    BadHandle,
    /// The reply buffer that the client allows can't hold a single entry.
    TooSmall,
    /// Ask again in a few seconds.
    Jukebox,
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Acces => Fault::Acces,
            Refusal::Stale => Fault::Stale,
            Refusal::Jukebox => Fault::Jukebox,
        }
    }
}

/// A node that is there, with its attributes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NodeAttr {
    pub(crate) node: NodeId,
    pub(crate) attr: Attr,
}

impl NodeAttr {
    fn is_dir(&self) -> bool {
        self.attr.kind == FileKind::Directory
    }
}

pub(crate) fn find<T: Tree>(tree: &T, node: NodeId) -> Result<NodeAttr, Fault> {
    tree.attr(node).map(|attr| NodeAttr { node, attr }).ok_or(Fault::Stale)
}

/// Looks a name up. The name rules are RFC 1813 §3.2's: empty is ACCES, `.` and `..` work everywhere and end
/// at the root, 256 bytes and more are NAMETOOLONG. A slash or NUL can't be in any name of a tree: INVAL.
pub(crate) fn lookup<T: Tree>(
    tree: &T,
    caller: &Caller,
    dir: &NodeAttr,
    name: &[u8],
) -> Result<NodeAttr, Fault> {
    if !dir.is_dir() {
        return Err(Fault::NotDir);
    }
    if name.is_empty() || !access::rights(caller, &dir.attr).contains(Rights::LOOKUP) {
        return Err(Fault::Acces);
    }
    if name.len() > MAX_NAME {
        return Err(Fault::NameTooLong);
    }
    if name.iter().any(|byte| matches!(byte, b'/' | 0)) {
        return Err(Fault::Inval);
    }
    match name {
        b"." => Ok(*dir),
        b".." => find(tree, tree.parent(dir.node).ok_or(Fault::Io)?),
        _ => find(tree, tree.lookup(dir.node, name).ok_or(Fault::NoEnt)?),
    }
}

/// The text of a symbolic link. No permission is asked for: a link's mode means nothing.
pub(crate) fn readlink<'t, T: Tree>(tree: &'t T, link: &NodeAttr) -> Result<&'t [u8], Fault> {
    if link.attr.kind != FileKind::Symlink {
        return Err(Fault::Inval);
    }
    tree.target(link.node).filter(|target| target.len() <= MAX_TARGET).ok_or(Fault::Io)
}

/// What a read gives: contents, if there are any at that place, and whether they reach the end of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) range: Option<FileRange>,
    pub(crate) eof: bool,
}

/// The part of a file that a read of `count` bytes at `offset` gives: cut to `max` and to the size in the
/// attributes, so that a range never asks for what is not there. At and past the end it is empty.
pub(crate) fn read<T: Tree>(
    tree: &T,
    caller: &Caller,
    file: &NodeAttr,
    offset: u64,
    count: u32,
    max: u32,
) -> Result<Extent, Fault> {
    match file.attr.kind {
        FileKind::Regular => {}
        FileKind::Directory => return Err(Fault::IsDir),
        _ => return Err(Fault::Inval),
    }
    if !access::may_read_contents(caller, &file.attr) {
        return Err(Fault::Acces);
    }
    let left = file.attr.size.saturating_sub(offset);
    let wanted = count.min(max);
    // `left` fits whenever it is the smaller of the two.
    let len = u32::try_from(left).map_or(wanted, |left| left.min(wanted));
    let eof = u64::from(len) == left;
    if len == 0 {
        return Ok(Extent { range: None, eof });
    }
    let object = tree.object(file.node).ok_or(Fault::Io)?;
    Ok(Extent { range: Some(FileRange { object, offset, len }), eof })
}

/// One name in a directory. Its attributes are [`find`]'s.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'t> {
    /// Where the next page begins, if this is the last entry of this one.
    pub(crate) cookie: u64,
    pub(crate) name: &'t [u8],
    pub(crate) node: NodeId,
}

/// The names of a directory from a cookie on.
///
/// Place 0 is `.`, 1 is `..`, and entry `i` of the tree has place `i + 2`; an entry's cookie is the place
/// after it, so cookie 0 is the start and no entry has it. Cookies are dense and belong to the directory for
/// ever, hence there is nothing for a cookie verifier to guard. A cookie that was never given lies past the
/// end, where there is no entry.
pub(crate) fn list<'t, T: Tree>(
    tree: &'t T,
    caller: &Caller,
    dir: &NodeAttr,
    cookie: u64,
) -> Result<impl Iterator<Item = Entry<'t>> + use<'t, T>, Fault> {
    if !dir.is_dir() {
        return Err(Fault::NotDir);
    }
    if !access::rights(caller, &dir.attr).contains(Rights::READ) {
        return Err(Fault::Acces);
    }
    let dots = match cookie {
        0 => [Some((&b"."[..], dir.node)), Some((&b".."[..], tree.parent(dir.node).ok_or(Fault::Io)?))],
        1 => [None, Some((&b".."[..], tree.parent(dir.node).ok_or(Fault::Io)?))],
        _ => [None, None],
    };
    let names = dots.into_iter().flatten().chain(tree.entries(dir.node, cookie.saturating_sub(2)));
    let mut place = cookie;
    Ok(names.map(move |(name, node)| {
        place = place.saturating_add(1);
        Entry { cookie: place, name, node }
    }))
}
