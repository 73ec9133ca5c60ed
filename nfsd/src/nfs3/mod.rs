//! NFS v3 (RFC 1813 §3.3): one codec over the version-free file operations.
//!
//! Each procedure decodes its arguments whole, runs one operation, and writes the result structure of its
//! section. `query` holds what looks at one object, `listing` the directory pages, `readonly` the ten
//! procedures that would change something and here answer ROFS, `acl` the side protocol that overlayfs needs,
//! `encode` the types that they share.

pub(crate) mod acl;
mod encode;
mod listing;
mod query;
mod readonly;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::access::Caller;
use crate::handle::{Handle, Keyring};
use crate::ops::{self, Fault, Found};
use crate::replies::Replies;
use crate::rpc::Rejection;
use crate::xdr::{Malformed, Reader, Writer};
use crate::{Exports, Tree, ViewId};

pub(crate) const PROGRAM: u32 = 100_003;
pub(crate) const VERSION: u32 = 3;

/// The most bytes that one READ gives (rtmax): Linux's own maximum for rsize.
pub const MAX_READ: u32 = 1024 * 1024;

/// The most bytes of a READDIR or READDIRPLUS result (READDIR3resok), whatever the client allows. With the
/// record mark, the RPC head and the status before it, one reply stays within 64 KiB.
pub const MAX_LISTING: u32 = 64 * 1024 - 32;

/// What all procedures need to know of a call.
#[derive(Debug)]
pub(crate) struct Request<'a, E> {
    pub(crate) exports: &'a E,
    pub(crate) keyring: &'a Keyring,
    /// Never an IPv4-mapped IPv6 address.
    pub(crate) peer: SocketAddr,
    pub(crate) caller: Caller,
}

/// A handle that was opened, in a view that the caller may use, on a node that is there.
#[derive(Debug)]
struct Opened<T> {
    tree: Arc<T>,
    view: ViewId,
    found: Found,
}

impl<E: Exports> Request<'_, E> {
    /// Every procedure starts here: is the handle ours, may this peer use the view, is the node in it? In
    /// that order, so that a forged handle learns nothing about views.
    fn open(&self, handle: &[u8]) -> Result<Opened<E::Tree>, Fault> {
        let Handle { view, node } = self.keyring.open(handle).ok_or(Fault::BadHandle)?;
        let tree = self.exports.tree(self.peer.ip(), view)?;
        let found = ops::find(&*tree, node)?;
        Ok(Opened { tree, view, found })
    }
}

impl<T: Tree> Opened<T> {
    fn fsid(&self) -> u64 {
        self.tree.fsid()
    }
}

/// The result of a READ whose contents can't be had.
pub(crate) fn contents_lost(out: &mut Writer<'_>) {
    out.u32(encode::status(Fault::Io));
    out.boolean(false);
}

/// Answers one procedure other than NULL, after the accepted-reply head. On an error what has been written is
/// meaningless and the caller takes it back.
pub(crate) fn answer<E: Exports>(
    request: &Request<'_, E>,
    procedure: u32,
    args: Reader<'_>,
    out: &mut Replies,
) -> Result<(), Rejection> {
    let result: Result<(), Malformed> = match procedure {
        1 => query::getattr(request, args, out),
        3 => query::lookup(request, args, out),
        4 => query::access(request, args, out),
        5 => query::readlink(request, args, out),
        6 => query::read(request, args, out),
        // SETATTR; WRITE; CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR; COMMIT: one object first, and one
        // answer.
        2 | 7 | 8..=13 | 21 => readonly::one_object(request, args, out),
        14 => readonly::rename(request, args, out),
        15 => readonly::link(request, args, out),
        16 => listing::readdir(request, args, out),
        17 => listing::readdirplus(request, args, out),
        18 => query::fsstat(request, args, out),
        19 => query::fsinfo(request, args, out),
        20 => query::pathconf(request, args, out),
        _ => return Err(Rejection::ProcUnavail),
    };
    Ok(result?)
}
