//! Mounts: which machine an address is, and which root it may mount (rules: `oneroot_bootconf::{access, pins}`).
//!
//! Where oneroot gives the addresses, a lease or a running pin says who is at one. Where another server does, nothing
//! does, so the export path carries a pass: a keyed hash of boot and view. Whoever shows a good one was given that boot's
//! script, and its address is bound to that machine, durably.

use std::net::IpAddr;
use std::sync::Arc;

use oneroot_bootconf::access::Verdict;
use oneroot_bootconf::export::{Export, Pass};
use oneroot_bootconf::pins::{Event, Pin};
use oneroot_bootconf::{BootId, Mac, Site};
use oneroot_nfsd::{FileKind, MountError, MountGrant, NodeId, Tree as _};
use oneroot_tree::ViewId;
use oneroot_tree::node::TreePath;

use super::seals::{same, seal};
use super::{Known, Machines};
use crate::clock;
use crate::net::neighbours;
use crate::nfs::tree::MachineTree;

/// Makes passes and knows its own again.
pub struct Passes {
    key: [u8; 32],
}

impl Passes {
    /// `secret` is the handle key: what a restored or shared state has, so passes outlive the server that made them.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self { key: blake3::derive_key("oneroot 2026 export pass", secret) }
    }

    /// The pass of a boot to its view.
    pub fn make(&self, boot: BootId, view: ViewId) -> Pass {
        let seal = seal(&self.key, &format!("{boot}.{view}"));
        Pass { boot, seal }
    }

    fn is_good(&self, pass: &Pass, view: ViewId) -> bool {
        same(&self.make(pass.boot, view).seal, &pass.seal)
    }
}

impl Machines {
    /// Whether the boot script of `mac` may go to `peer`.
    ///
    /// | the address is | the script goes there |
    /// |---|---|
    /// | given by us | if its lease is that NIC's |
    /// | given by another server, and a neighbour of ours | if the neighbour table has that NIC there |
    /// | given by another server, behind a router | if the site names that NIC, and no other machine runs with the address |
    pub(super) fn may_boot(&self, site: &Site, peer: IpAddr, mac: Mac) -> bool {
        if !site.is_proxied(peer) {
            return self.known().mac_at(peer) == Some(mac);
        }
        match neighbours::mac_of(peer) {
            Some(seen) => seen == mac.bytes(),
            // Nothing says who it is but its own word. It may be a machine of the site, which are as many as they are; a
            // name for every made-up NIC would fill the state.
            None => {
                let known = self.known();
                site.machine(mac).is_some()
                    && known.running_at(peer).is_none_or(|pin| known.machine_of(mac) == Some(pin.machine))
            }
        }
    }

    /// MNT: the machine at `peer` mounts a view that one of its pins holds. The pin runs, durably, before the answer.
    pub async fn mount(self: &Arc<Self>, peer: IpAddr, path: &[u8]) -> Result<MountGrant, MountError> {
        let (export, below) = Export::parse(path).ok_or(MountError::NoEnt)?;
        let view = export.view;
        let (pin, event) = self.admitted(peer, &export)?;
        let loader = self.clone();
        let loaded = tokio::task::spawn_blocking(move || loader.read(view)).await;
        let read = match loaded.map_err(anyhow::Error::from).and_then(|read| read) {
            Ok(read) => read,
            Err(cause) => {
                tracing::error!(%peer, %view, cause = format!("{cause:#}"), "cannot serve a pinned view");
                return Err(MountError::Io);
            }
        };
        let root = start_of(&read.tree, below)?;
        let mac = pin.mac;
        match self.apply(pin.machine, &event).await {
            Ok(true) => tracing::info!(machine = self.name_of(mac), %mac, %view, "mounts its root"),
            // It was let go of while its view was read.
            Ok(false) if !self.known().pins.contains_key(&pin.boot) => return Err(MountError::NoEnt),
            Ok(false) => tracing::debug!(machine = self.name_of(mac), %mac, %view, "mounts its root again"),
            Err(cause) => {
                tracing::error!(%mac, cause = format!("{cause:#}"), "cannot write that a root is mounted");
                return Err(MountError::ServerFault);
            }
        }
        self.step(mac, "root", false);
        Ok(MountGrant { view: view.0, root })
    }

    /// The pin by which a peer may mount an export, and what the mount does to it. A machine that may has been heard of.
    fn admitted(&self, peer: IpAddr, export: &Export) -> Result<(Pin, Event), MountError> {
        let site = self.site();
        let known = self.known();
        let (pin, event) = admitted(&known, &self.passes, &site, peer, export)?;
        known.hear(pin.machine, clock::now());
        Ok((pin.clone(), event))
    }

    /// The paths that the machine at `peer` can mount.
    pub fn mounts(&self, peer: IpAddr) -> Vec<Vec<u8>> {
        let known = self.known();
        let Some(machine) = known.machine_at(peer) else { return Vec::new() };
        let exports = known.pins_of(machine).map(|(pin, _)| Export { view: pin.view, pass: None });
        exports.map(|export| export.to_string().into_bytes()).collect()
    }
}

/// Beside another DHCP server a pass admits whoever shows it; without one, the address must be a machine's that holds the
/// view.
pub(super) fn admitted<'k>(
    known: &'k Known,
    passes: &Passes,
    site: &Site,
    peer: IpAddr,
    export: &Export,
) -> Result<(&'k Pin, Event), MountError> {
    let view = export.view;
    // Where we give the addresses, they say who is there, and a pass says nothing.
    if let Some(pass) = export.pass.as_ref().filter(|_| site.is_proxied(peer)) {
        let pin = known.pins.get(&pass.boot).map(|(pin, _)| pin);
        return match pin.filter(|pin| pin.view == view) {
            Some(pin) if passes.is_good(pass, view) => Ok((pin, Event::MountedFrom(pass.boot, peer))),
            Some(_) => {
                tracing::warn!(%peer, boot = %pass.boot, "refused a mount with a pass that was never given");
                Err(MountError::Acces)
            }
            None => Err(MountError::NoEnt),
        };
    }
    let machine = known.machine_at(peer);
    match known.verdict(machine, view) {
        Verdict::Allow => {}
        Verdict::Gone => return Err(MountError::NoEnt),
        Verdict::Refuse | Verdict::Later => {
            tracing::warn!(%peer, %view, "refused to mount a view that this address does not hold");
            return Err(MountError::Acces);
        }
    }
    let machine = machine.ok_or(MountError::Acces)?;
    let pins = known.holders(view).filter(|pin| pin.machine == machine);
    let pin = pins.max_by_key(|pin| (pin.made, pin.boot)).ok_or(MountError::Acces)?;
    Ok((pin, Event::Mounted(view)))
}

/// The directory of a view that a mount begins at: a client may mount a part. No link is followed.
fn start_of(tree: &MachineTree, below: &[u8]) -> Result<NodeId, MountError> {
    let path = TreePath::parse(below).map_err(|_| MountError::Inval)?;
    let start = path.names().iter().try_fold(tree.root(), |dir, name| tree.lookup(dir, name));
    let start = start.ok_or(MountError::NoEnt)?;
    match tree.attr(start).map(|attr| attr.kind) {
        Some(FileKind::Directory) => Ok(start),
        Some(_) => Err(MountError::NotDir),
        None => Err(MountError::NoEnt),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oneroot_bootconf::export::SEAL;

    #[test]
    fn a_pass_is_good_for_its_boot_and_view_and_every_bit_of_it_counts() {
        let passes = Passes::new(&[7; 32]);
        let (boot, view) = (BootId::from_random([1; 8]), ViewId([2; 16]));
        let pass = passes.make(boot, view);
        assert!(passes.is_good(&pass, view));
        assert!(!passes.is_good(&pass, ViewId([3; 16])));
        assert!(!passes.is_good(&Pass { boot: BootId::from_random([9; 8]), ..pass }, view));
        assert!(!Passes::new(&[8; 32]).is_good(&pass, view));
        for bit in 0..SEAL * 8 {
            let mut seal = pass.seal;
            seal[bit / 8] ^= 1 << (bit % 8);
            assert!(!passes.is_good(&Pass { boot, seal }, view), "bit {bit}");
        }
    }
}
