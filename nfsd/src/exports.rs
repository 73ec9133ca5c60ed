//! Who may use which view (docs/security.md). The rule is the shell's; this crate only asks, on
//! every call.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::{NodeId, Tree, ViewId};

/// Why a peer does not get a view whose handle is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The peer is known to be another machine: `EACCES`, for good.
    Acces,
    /// No pin holds the view any more: `ESTALE`.
    Stale,
    /// The peer is not known yet, or the view is still being loaded: the client waits some seconds and asks
    /// again, and no process on it sees an error.
    Jukebox,
}

/// Who may use what. Asked on every call, so a pin that is dropped ends access at once; must not block.
pub trait Exports: Send + Sync {
    /// The merged trees.
    type Tree: Tree;

    /// The tree of a view, if this peer may use it. `peer` is never an IPv4-mapped IPv6 address.
    ///
    /// # Errors
    /// A [`Refusal`], which becomes the NFS status of the call.
    fn tree(&self, peer: IpAddr, view: ViewId) -> Result<Arc<Self::Tree>, Refusal>;

    /// The paths that this peer, and no other, could mount: all that MOUNT's EXPORT and DUMP will tell it.
    fn mounts(&self, peer: IpAddr) -> Vec<Vec<u8>>;

    /// A name was looked up that is not there, by a caller who may search the directory. To some shells that says
    /// something; it must not block. `peer` is as above, with the port that the call came from.
    fn missed(&self, peer: SocketAddr, tree: &Self::Tree, dir: NodeId, name: &[u8]) {
        let _ = (peer, tree, dir, name);
    }
}
