//! A call about files, whatever version of the protocol it came in: who calls, and the opening of the handle that every
//! procedure begins with.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::access::Caller;
use crate::handle::{Handle, Keyring};
use crate::ops::{self, Fault, NodeAttr};
use crate::{Exports, Tree, ViewId};

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
pub(crate) struct Opened<T> {
    pub(crate) tree: Arc<T>,
    pub(crate) view: ViewId,
    pub(crate) found: NodeAttr,
}

impl<E: Exports> Request<'_, E> {
    /// Every procedure starts here: is the handle ours, may this peer use the view, is the node in it? In
    /// that order, so that a forged handle learns nothing about views.
    pub(crate) fn open(&self, handle: &[u8]) -> Result<Opened<E::Tree>, Fault> {
        let Handle { view, node } = self.keyring.open(handle).ok_or(Fault::BadHandle)?;
        let tree = self.exports.tree(self.peer.ip(), view)?;
        let found = ops::find(&*tree, node)?;
        Ok(Opened { tree, view, found })
    }
}

impl<T: Tree> Opened<T> {
    pub(crate) fn fsid(&self) -> u64 {
        self.tree.fsid()
    }
}
