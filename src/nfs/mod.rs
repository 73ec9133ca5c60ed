//! The NFS export: `nfsd`'s service over the machines' views, on real sockets.
//!
//! MOUNT and NFS share one port; the portmapper's port, which Debian's initramfs insists on, answers the same service.

mod buffers;
pub mod connection;
pub mod in_flight;
pub mod rpcbind;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use oneroot_nfsd::{Exports, MountError, MountGrant, NodeId, Refusal, Replies, Service, Step, Transport};
use tokio::net::UdpSocket;

use crate::net::Backoff;
use in_flight::InFlight;
use oneroot_machines::{MachineTree, Machines};

/// The machines, as nfsd asks about them.
pub struct Views(pub Arc<Machines>);

impl Exports for Views {
    type Tree = MachineTree;

    fn tree(&self, peer: IpAddr, view: oneroot_nfsd::ViewId) -> Result<Arc<MachineTree>, Refusal> {
        self.0.tree(peer, oneroot_ids::ViewId(view))
    }

    fn missed(&self, peer: SocketAddr, tree: &MachineTree, dir: NodeId, name: &[u8]) {
        if let Some(report) = tree.said(peer, dir, name) {
            drop(self.0.heard(&report));
        }
    }

    fn mounts(&self, peer: IpAddr) -> Vec<Vec<u8>> {
        self.0.mounts(peer)
    }
}

/// What every connection uses.
pub struct Server {
    pub service: Service<Views>,
    pub machines: Arc<Machines>,
    pub waiting: InFlight,
}

impl Server {
    async fn mount(&self, peer: SocketAddr, path: &[u8]) -> Result<MountGrant, MountError> {
        self.machines.mount(peer, path).await
    }
}

/// Answers the portmapper's datagrams. One reply for one call, never larger than a few hundred bytes.
pub async fn portmap_datagrams(server: Arc<Server>, socket: UdpSocket) {
    let mut datagram = vec![0; 2048];
    let mut replies = Replies::new();
    let mut backoff = Backoff::default();
    loop {
        let (count, peer) = match socket.recv_from(&mut datagram).await {
            Ok(received) => received,
            Err(cause) => {
                backoff.after(&cause, "portmap's datagrams").await;
                continue;
            }
        };
        backoff.reset();
        let who = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let call = datagram.get(..count).unwrap_or_default();
        replies.clear();
        if let Step::Answered = server.service.call(who, Transport::Udp, call, &mut replies) {
            // Sent to the address as the socket gave it: one for both families takes no plain IPv4 address. A client that is
            // gone, or an interface that is down, asks again.
            let _ = socket.send_to(replies.bytes(), peer).await;
        }
    }
}
