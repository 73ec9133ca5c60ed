//! Mounts: who is at an address, and which root may be mounted from there (rules: `oneroot_bootconf::admission`).
//!
//! Where oneroot gives the addresses, a lease or a running pin says who is at one. Where another server does, the export
//! path carries a pass ([`crate::tokens::boot_tokens`]), and the links around say whether whoever shows it can be that machine.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use oneroot_bootconf::Site;
use oneroot_bootconf::admission::{Admitted, Proxied, Question, Refused, Seen, admit};
use oneroot_bootconf::export::Export;
use oneroot_bootconf::pins::{Event, Pin};
use oneroot_ids::{Mac, MachineId, ViewId};
use oneroot_nfsd::{FileKind, MountError, MountGrant, NodeId, Tree as _};
use oneroot_tree::node::TreePath;

use crate::error::Error;
use crate::index::MachineIndex;
use crate::machines::{Machines, Read, reader_at};
use crate::secrets::export::boot_in;
use crate::tokens::boot_tokens::BootTokens;
use crate::views::tree::MachineTree;

/// Who asks for a NIC's boot script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A lease of ours or the neighbour table says that it is that NIC.
    Vouched,
    /// It says so itself, from behind a router.
    OnItsWord,
}

impl Machines {
    /// Whether the boot script of `mac` may go to `peer`, and who that is.
    ///
    /// | the address is | the script goes there |
    /// |---|---|
    /// | given by us | if its lease is that NIC's |
    /// | given by another server, and on a link of ours | if the neighbour table has that NIC there |
    /// | given by another server, behind a router | if the site names that NIC, and no other machine runs with the address |
    pub(crate) fn asker(&self, site: &Site, peer: IpAddr, mac: Mac) -> Option<Asker> {
        let vouched = |is: bool| is.then_some(Asker::Vouched);
        if !site.is_proxied(peer) {
            return vouched(self.index().mac_at(peer) == Some(mac));
        }
        match self.seen(peer) {
            Seen::Neighbour(seen) => vouched(seen == mac.bytes()),
            Seen::Unheard => None,
            // Nothing says who it is but its own word. It may be a machine of the site, which are as many as they are; a
            // name for every made-up NIC would fill the state.
            Seen::Remote => {
                let index = self.index();
                let is_free =
                    index.running_at(peer).is_none_or(|pin| index.machine_of(mac) == Some(pin.machine));
                (site.machine(mac).is_some() && is_free).then_some(Asker::OnItsWord)
            }
        }
    }

    /// MNT. A root that is mounted for the first time runs, durably, before the answer; one that runs already waits for
    /// neither the disk nor anybody's turn.
    pub async fn mount(self: &Arc<Self>, peer: SocketAddr, path: &[u8]) -> Result<MountGrant, MountError> {
        if let Some(boot) = boot_in(path) {
            return self.mount_secrets(peer, boot).await;
        }
        let (peer, (export, below)) = (peer.ip(), Export::parse(path).ok_or(MountError::NoEnt)?);
        let view = export.view;
        let (pin, event) = self.admitted(peer, &export).await?;
        // Before anything is written: a view that can't be read, or has no such directory, must not make the boot run.
        let read = self.ready(peer, view).await?;
        let root = start_of(read.tree(), below)?;
        let mac = match &event {
            Some(Event::Mounted { mac, .. } | Event::Moved { mac, .. }) => *mac,
            _ => pin.mac,
        };
        let changed = match &event {
            Some(event) => self.apply(pin.machine, event).await,
            None => Ok(false),
        };
        match changed {
            Ok(true) => {
                self.end_assignments_soon();
                tracing::info!(machine = self.name_of(mac), %mac, %peer, boot = %pin.boot, %view, "mounts its root");
            }
            // It was let go of while its view was read.
            Ok(false) if !self.index().pins.contains_key(&pin.boot) => return Err(MountError::NoEnt),
            Ok(false) => {
                tracing::debug!(machine = self.name_of(mac), %mac, %peer, %view, "mounts its root again");
            }
            Err(cause) => {
                tracing::error!(%mac, %cause, "cannot write that a root is mounted");
                return Err(MountError::ServerFault);
            }
        }
        if event.is_some() {
            self.refusals().forget(pin.machine);
        }
        self.step(mac, "root", false);
        self.seen_in_boot(&pin, mac, false);
        Ok(MountGrant { view: view.0, root })
    }

    /// A view to begin from: from memory, or read now.
    async fn ready(self: &Arc<Self>, peer: IpAddr, view: ViewId) -> Result<Ready, MountError> {
        if let Some(tree) = self.in_memory(view) {
            return Ok(Ready::Held(tree));
        }
        let loader = self.clone();
        let loaded = tokio::task::spawn_blocking(move || loader.read(view)).await;
        let read = loaded.map_err(Error::from).and_then(|read| read);
        read.map(Ready::Read).map_err(|cause| {
            tracing::error!(%peer, %view, %cause, "cannot serve a pinned view");
            MountError::Io
        })
    }

    /// The pin by which a peer may mount an export, and what the mount does to it. A machine that may has been heard of.
    async fn admitted(&self, peer: IpAddr, export: &Export) -> Result<(Pin, Option<Event>), MountError> {
        let asked = {
            // Before the tables are locked: the links may be a file to read.
            let shown = Shown::of(&self.boot_tokens, &self.site(), |peer| self.seen(peer), peer, export);
            let index = self.index();
            let question = question(&index, peer, export, shown);
            let admitted = admit(&question);
            // Copied out of the tables, which can't stay locked while addresses are probed for a second each.
            admitted
                .map(|Admitted { pin, event, vacant }| (pin.clone(), event, vacant))
                .map_err(|refused| (refused, question.named.map(|pin| (pin.machine, pin.mac))))
        };
        let (pin, event, vacant) =
            asked.map_err(|(refused, whose)| self.refuse(peer, export, refused, whose))?;
        for address in vacant {
            if self.is_there(pin.machine, address).await {
                let whose = Some((pin.machine, pin.mac));
                return Err(self.refuse(peer, export, Refused::Answers(address), whose));
            }
        }
        self.index().hear(pin.machine, self.host.now());
        Ok((pin, event))
    }

    /// Says who was refused whose root, in the log and in `status`.
    fn refuse(
        &self,
        peer: IpAddr,
        export: &Export,
        refused: Refused,
        whose: Option<(MachineId, Mac)>,
    ) -> MountError {
        if refused == Refused::Gone {
            return MountError::NoEnt;
        }
        let Some((machine, mac)) = whose else {
            let who = self.who_is(peer);
            tracing::warn!(
                %peer,
                view = %export.view,
                "refused a mount: {peer} ({who}) asked for a root by a path that names no boot, and has not mounted that root; \
                 the path of its boot is in its boot script"
            );
            return MountError::Acces;
        };
        let name = self.name_of(mac);
        // Where the address is one of ours, another DHCP server is not the likely cause.
        let is_given = self.index().mac_at(peer).is_some();
        let told = match refused {
            Refused::Nobody(_) if !is_given => {
                let seen = self.latest_other_server().map(|server| format!(" ({server} was seen)"));
                refused.told(peer, &name) + &seen.unwrap_or_default()
            }
            // A machine that has its address from us and has not booted yet is on no record.
            Refused::Nobody(_) | Refused::Other => {
                format!("{} ({})", Refused::Other.told(peer, &name), self.who_is(peer))
            }
            _ => refused.told(peer, &name),
        };
        if self.refusals().note(machine, told.clone(), self.host.now()) {
            tracing::warn!(machine = name, %mac, %peer, "refused a mount: {told}");
        }
        MountError::Acces
    }

    /// Whose an address is, for people: a name and a MAC.
    fn who_is(&self, peer: IpAddr) -> String {
        let mac = {
            let index = self.index();
            // A lease may be some NIC's that is in no machine yet.
            index.nic_at(peer).map(|(_, mac)| mac).or_else(|| index.mac_at(peer))
        };
        match (mac, self.seen(peer)) {
            (Some(mac), _) if self.site().machine(mac).is_some() => format!("{}, {mac}", self.name_of(mac)),
            (Some(mac), _) => mac.to_string(),
            (None, Seen::Neighbour([a, b, c, d, e, f])) => {
                format!(
                    "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}, no machine that has an address of ours"
                )
            }
            (None, _) => "no machine that has an address of ours".to_owned(),
        }
    }

    /// The paths that the machine at `peer` can mount, of the boots whose root it has mounted. A path of any other is told
    /// in that boot's script alone: an automounter mounts whatever stands here, and must not make a plan a boot.
    pub fn mounts(&self, peer: IpAddr) -> Vec<Vec<u8>> {
        let (site, index) = (self.site(), self.index());
        let Some(machine) = reader_at(&index, &site, peer) else { return Vec::new() };
        let mounted = index.pins_of(machine).map(|(pin, _)| pin).filter(|pin| pin.is_mounted());
        mounted.map(|pin| Export::of(pin.view, pin.boot, None).to_string().into_bytes()).collect()
    }
}

/// A view that is in memory: held by a pin, or read for this mount.
enum Ready {
    Held(Arc<MachineTree>),
    Read(Read),
}

impl Ready {
    fn tree(&self) -> &MachineTree {
        match self {
            Self::Held(tree) => tree,
            Self::Read(read) => &read.tree,
        }
    }
}

/// What a pass is worth, and who shows it; none where we give the addresses, which say who is there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown {
    pub is_good: bool,
    pub seen: Seen,
}

impl Shown {
    /// Asks the links only where the pass is good.
    pub fn of(
        boot_tokens: &BootTokens,
        site: &Site,
        seen: impl FnOnce(IpAddr) -> Seen,
        peer: IpAddr,
        export: &Export,
    ) -> Option<Self> {
        site.is_proxied(peer).then(|| {
            let seal = export.named.and_then(|named| Some((named.boot, named.seal?)));
            let is_good = seal.is_some_and(|(boot, seal)| boot_tokens.is_good(seal, boot, export.view));
            Self { is_good, seen: if is_good { seen(peer) } else { Seen::Unheard } }
        })
    }
}

/// All that the tables say of a mount.
pub(crate) fn question<'k>(
    index: &'k MachineIndex,
    peer: IpAddr,
    export: &Export,
    shown: Option<Shown>,
) -> Question<'k> {
    let named = export.named.and_then(|named| index.pins.get(&named.boot)).map(|(pin, _)| pin);
    let at = if shown.is_some() { index.mounted_at(peer) } else { index.nic_at(peer) };
    let own = at.into_iter().flat_map(|(machine, _)| index.pins_of(machine)).map(|(pin, _)| pin);
    let proxied = shown.map(|Shown { is_good, seen }| Proxied {
        is_good,
        seen,
        macs: named.map(|pin| macs_of(index, pin.machine)).unwrap_or_default(),
        mounted_at: named.map(|pin| mounted_from(index, pin.machine)).unwrap_or_default(),
    });
    Question {
        export: *export,
        named,
        peer,
        at,
        own: own.collect(),
        held: index.is_held(export.view),
        proxied,
    }
}

/// A machine's MACs: those of its record, and those that its pins were made for, which may have been replaced since. Not one
/// that has gone into another machine.
pub(crate) fn macs_of(index: &MachineIndex, machine: MachineId) -> Vec<Mac> {
    let record = index.machines.get(&machine).map(|(record, _)| record.macs.clone());
    let mut macs = record.unwrap_or_default();
    macs.extend(index.pins_of(machine).map(|(pin, _)| pin.mac));
    macs.retain(|mac| index.machine_of(*mac).is_none_or(|owner| owner == machine));
    macs.sort_unstable();
    macs.dedup();
    macs
}

/// Where a machine has mounted roots, but for addresses from which another machine has since.
fn mounted_from(index: &MachineIndex, machine: MachineId) -> Vec<IpAddr> {
    let mounted = index.pins_of(machine).map(|(pin, _)| pin).filter(|pin| pin.is_mounted());
    let own = |address: &IpAddr| index.mounted_at(*address).is_some_and(|(at, _)| at == machine);
    let mut addresses: Vec<IpAddr> = mounted.map(|pin| pin.address).filter(own).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
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
