//! Everything that the servers share, and what is asked of it on every packet and call. What changes it is in [`crate::boots`], who
//! may have what in [`crate::access`], what people see of it in [`crate::status`].

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use oneroot_bootconf::Site;
use oneroot_bootconf::access::Verdict;
use oneroot_bootconf::assignment::Conflict;
use oneroot_ids::{Mac, MachineId, ViewId};
use oneroot_state::{Applied, Backend as _, State};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

use crate::around::Around;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::index::MachineIndex;
use crate::index::claims::Claim;
use crate::index::copies::Copies;
use crate::index::others::Others;
use crate::index::refusals::Refusals;
use crate::index::sightings::Sightings;
use crate::index::steps::{BootSteps, Moment};
use crate::index::tables::nothing_applied;
use crate::index::timelines::Timelines;
use crate::objects::Objects;
use crate::order::gate::Gate;
use crate::order::rooms::Rooms;
use crate::order::turns::{Thing, Turns};
use crate::order::unwritten::Unwritten;
use crate::planner::Planner;
use crate::planner::asking::{Asking, DecideStatus};
use crate::planner::decider::Decider;
use crate::planner::renderer::Renderer;
use crate::secrets::open::Secrets;
use crate::tokens::boot_tokens::BootTokens;
use crate::tokens::keys::HandleKeys;
use crate::tokens::seals::Cookies;
use crate::views::cache::Epoch;
use crate::views::flats::Flats;
use crate::views::tree::MachineTree;

/// Loaders that are looked for at once. Anybody may ask for one, by a datagram with a made-up sender, and whoever has given up
/// waiting has not ended the look: while a disk hangs there is a thread for each of these, and for no more.
const LOADERS_AT_ONCE: usize = 16;
/// Threads that read views at the start; more gain nothing on one disk.
const MOST_LOADERS: usize = 8;

/// Everything that the servers share.
pub struct Machines {
    /// The site in force, with the mapping laid over it; those who keep something of it watch for the next.
    pub(crate) site: watch::Sender<Arc<Site>>,
    /// The same as its files have it.
    pub(crate) files: Mutex<Arc<Site>>,
    /// Changes of the mapping, and of the files under it, come one at a time.
    pub(crate) mapping: tokio::sync::Mutex<()>,
    /// What of the mapping does not count.
    pub(crate) conflicts: Mutex<Vec<Conflict>>,
    /// What must survive a crash.
    pub state: Arc<State>,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) planner: Planner,
    /// As they were when this server began: what it seals with.
    pub(crate) keys: HandleKeys,
    pub(crate) boot_tokens: BootTokens,
    pub(crate) cookies: Cookies,
    pub(crate) objects: Objects,
    /// What machines may ask for beside their trees.
    pub(crate) secrets: Secrets,
    /// Who has which of them.
    pub(crate) copies: Mutex<Copies>,
    /// Trees as other hosts are told them.
    pub(crate) flats: Flats,
    pub(crate) loaders: Vec<PathBuf>,
    pub(crate) looking_for_loaders: Arc<Semaphore>,
    pub(crate) index: RwLock<MachineIndex>,
    /// Which changes of the state `index` has.
    pub(crate) applied: Mutex<Applied>,
    /// Of `index` and `trees`.
    pub(crate) epoch: Epoch,
    pub(crate) trees: RwLock<HashMap<ViewId, Arc<MachineTree>>>,
    /// Views that are being read right now, so that a hundred calls start one load.
    pub(crate) loading: Mutex<Vec<ViewId>>,
    pub(crate) turns: Arc<Turns<Thing>>,
    pub(crate) gate: Gate,
    /// The site's program.
    pub(crate) asking: Arc<Asking>,
    pub(crate) rooms: Arc<Mutex<Rooms>>,
    /// Words of boots that are to be written.
    pub(crate) unwritten: Mutex<Unwritten>,
    /// How far each boot has come; apart from the tables, for it decides nothing.
    pub(crate) steps: Mutex<BootSteps>,
    /// What became of each machine's last boots.
    pub(crate) timelines: Mutex<Timelines>,
    /// Some of that is to be written.
    pub(crate) timelines_due: Notify,
    /// It was said that they can't be written.
    pub(crate) has_complained_of_timelines: AtomicBool,
    /// The last refusal of each machine's root.
    pub(crate) refusals: Mutex<Refusals>,
    /// What is told of each NIC that wants to boot.
    pub(crate) sightings: Mutex<Sightings>,
    /// Other DHCP servers.
    pub(crate) others: Mutex<Others>,
    /// Seconds since 1970 at which this server began to listen.
    pub(crate) began: u64,
    /// There from the moment at which the server has its sockets.
    pub(crate) around: OnceLock<Arc<dyn Around>>,
}

impl Machines {
    /// Reads the tables and the views that pins hold. Of `keys` passes and cookies are made too.
    pub async fn open(
        site: Arc<Site>,
        state: Arc<State>,
        host: Arc<dyn Host>,
        planner: Planner,
        keys: HandleKeys,
    ) -> Result<Arc<Self>> {
        let (mut index, mut applied) = (MachineIndex::default(), nothing_applied());
        let listed = applied.listed(state.list("").await?);
        index.take_in(&listed);
        let mut timelines = Timelines::default();
        timelines.take_in(&listed, &index, &site);
        let began = host.now();
        let asking = Arc::new(Asking::new(host.clone()));
        let machines = Arc::new(Self {
            objects: Objects::new(planner.store().clone()),
            secrets: Secrets::default(),
            copies: Mutex::default(),
            flats: Flats::new(),
            loaders: site.server.loaders.clone(),
            looking_for_loaders: Arc::new(Semaphore::new(LOADERS_AT_ONCE)),
            site: watch::Sender::new(site.clone()),
            files: Mutex::new(site),
            mapping: tokio::sync::Mutex::default(),
            conflicts: Mutex::default(),
            state,
            host,
            planner,
            boot_tokens: BootTokens::new(keys.secrets().map(|(_, secret)| secret)),
            // Of the current key alone, for a cookie is good for two minutes at most.
            cookies: Cookies::new(&keys.secret().copied().unwrap_or_default()),
            keys,
            index: RwLock::new(index),
            applied: Mutex::new(applied),
            epoch: Epoch::new(),
            trees: RwLock::default(),
            loading: Mutex::default(),
            turns: Arc::default(),
            gate: Gate::new(),
            asking,
            rooms: Arc::default(),
            unwritten: Mutex::default(),
            steps: Mutex::default(),
            timelines: Mutex::new(timelines),
            timelines_due: Notify::new(),
            has_complained_of_timelines: AtomicBool::new(false),
            refusals: Mutex::default(),
            sightings: Mutex::default(),
            others: Mutex::default(),
            began,
            around: OnceLock::new(),
        });
        machines.lay();
        machines.sweep_rests().await;
        machines.load_held().await?;
        Ok(machines)
    }

    /// Reads the views that pins hold, so that the first call of each machine is answered.
    async fn load_held(self: &Arc<Self>) -> Result<()> {
        let held = Arc::new(Mutex::new(self.index().views()));
        let mut loaders = JoinSet::new();
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from).min(MOST_LOADERS) {
            let (machines, held) = (self.clone(), held.clone());
            loaders.spawn_blocking(move || {
                let next = || held.lock().unwrap_or_else(PoisonError::into_inner).pop();
                while let Some(view) = next() {
                    // A view that can't be read must not keep the others from being served.
                    if let Err(cause) = machines.read(view) {
                        tracing::error!(%view, %cause, "a pinned view cannot be served");
                    }
                }
            });
        }
        while let Some(loaded) = loaders.join_next().await {
            loaded?;
        }
        Ok(())
    }

    /// Who renders templates.
    pub fn renderer(&self) -> Arc<dyn Renderer> {
        self.planner.templates.renderer.clone()
    }

    /// Has the site's program run by somebody who may start it; the first to be handed in counts.
    pub fn decide_by(&self, decider: Arc<dyn Decider>) {
        self.asking.by(decider);
    }

    /// How the site's program has done; none where it has none.
    pub fn decided(&self) -> Option<DecideStatus> {
        self.site().decide.as_ref().map(|_| self.asking.status())
    }

    /// The site in force.
    pub fn site(&self) -> Arc<Site> {
        self.site.borrow().clone()
    }

    /// Wakes when another site comes into force.
    pub fn sites(&self) -> watch::Receiver<Arc<Site>> {
        self.site.subscribe()
    }

    /// Puts another site in force, for new boots, with the mapping laid over it; running machines keep what they booted.
    pub fn put_site(&self, site: Arc<Site>) {
        *self.files() = site;
        self.lay();
        self.asking.forget();
    }

    /// Nobody changes the mapping, or puts a site in force, for as long as this is held. Blocks.
    pub fn hold_mapping(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.mapping.blocking_lock()
    }

    /// The store's objects.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    pub(crate) fn index(&self) -> RwLockReadGuard<'_, MachineIndex> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn index_mut(&self) -> RwLockWriteGuard<'_, MachineIndex> {
        let index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        self.epoch.turn();
        index
    }

    /// The same, for a change on which no answer to a reader depends: none that is remembered ends with it.
    pub(crate) fn index_of_no_reader(&self) -> RwLockWriteGuard<'_, MachineIndex> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn trees_mut(&self) -> RwLockWriteGuard<'_, HashMap<ViewId, Arc<MachineTree>>> {
        let trees = self.trees.write().unwrap_or_else(PoisonError::into_inner);
        self.epoch.turn();
        trees
    }

    /// What this peer may do with a view. A machine that may use it has been heard of.
    pub(crate) fn verdict(&self, peer: IpAddr, view: ViewId) -> Verdict {
        let site = self.site();
        let index = self.index();
        let machine = reader_at(&index, &site, peer);
        let verdict = index.verdict(machine, view);
        if let (Verdict::Allow, Some(machine)) = (verdict, machine) {
            index.hear(machine, self.host.now());
        }
        verdict
    }

    /// The tree of a view, for a peer that may see it. Asked on every NFS call.
    pub fn tree(
        self: &Arc<Self>,
        peer: IpAddr,
        view: ViewId,
    ) -> Result<Arc<MachineTree>, oneroot_nfsd::Refusal> {
        let second = self.host.coarse();
        let moment = self.epoch.at(second);
        if let Some(tree) = crate::views::cache::find(moment, peer, view) {
            tree.touch(second);
            return Ok(tree);
        }
        if let Some(found) = self.secrets_in(peer, view) {
            return found;
        }
        match self.verdict(peer, view) {
            Verdict::Allow => {}
            Verdict::Refuse => return Err(oneroot_nfsd::Refusal::Acces),
            Verdict::Gone => return Err(oneroot_nfsd::Refusal::Stale),
            Verdict::Later => return Err(oneroot_nfsd::Refusal::Jukebox),
        }
        if let Some(tree) = self.in_memory(view) {
            tree.touch(second);
            crate::views::cache::keep(moment, peer, view, &tree);
            return Ok(tree);
        }
        self.load_soon(view);
        Err(oneroot_nfsd::Refusal::Jukebox)
    }

    /// A view, if it needs no reading.
    pub(crate) fn in_memory(&self, view: ViewId) -> Option<Arc<MachineTree>> {
        self.trees.read().unwrap_or_else(PoisonError::into_inner).get(&view).cloned()
    }

    pub(crate) fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn timelines(&self) -> MutexGuard<'_, Timelines> {
        self.timelines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn sighted(&self) -> MutexGuard<'_, Sightings> {
        self.sightings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn others(&self) -> MutexGuard<'_, Others> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a view in the background, unless somebody does already.
    pub(crate) fn load_soon(self: &Arc<Self>, view: ViewId) {
        let mut loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if loading.contains(&view) {
            return;
        }
        loading.push(view);
        let machines = self.clone();
        tokio::task::spawn_blocking(move || {
            // Its pin may have ended since: then nobody else would ever take it out of memory again.
            if let Err(cause) = machines.read(view) {
                tracing::error!(%view, %cause, "a pinned view cannot be served");
            }
            machines.loading.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| *other != view);
        });
    }

    /// Reads a view, ready to be served. Blocks on the disk.
    pub(crate) fn load(&self, view: ViewId) -> Result<Arc<MachineTree>> {
        let merged = self.planner.views.load(view).map_err(|cause| Error::View { view, cause })?;
        // One that is there knows when it was used last, and that keeps pins.
        let mut trees = self.trees_mut();
        let tree = trees.entry(view).or_insert_with(|| Arc::new(MachineTree::new(merged)));
        Ok(tree.clone())
    }

    pub(crate) fn unload(&self, view: ViewId) {
        self.trees_mut().remove(&view);
    }

    /// The same, for whoever can't be sure that a pin holds it when it is read.
    pub(crate) fn read(self: &Arc<Self>, view: ViewId) -> Result<Read> {
        let tree = self.load(view)?;
        Ok(Read { machines: self.clone(), view, tree })
    }

    /// Notes a step of a boot, for `status`.
    pub fn step(&self, mac: Mac, step: &str, first: bool) {
        self.steps().note(mac, step, first, present(self.host.as_ref()));
    }

    /// A client that is no firmware asks for an address, or is answered.
    pub fn asked_for_address(&self, mac: Mac) {
        self.steps().asked(mac, present(self.host.as_ref()));
    }

    /// Says which boots do not go on, each once.
    pub fn tell_of_stalls(&self, now: u64) {
        // Copied: the status takes the tables' lock before that of the steps, and in the other order each could wait for
        // the other.
        let macs: Vec<Mac> = self.steps().macs().collect();
        for mac in macs {
            let (is_ours, runs) = {
                let index = self.index();
                let machine = index.machine_of(mac);
                let mut pins = machine.into_iter().flat_map(|machine| index.pins_of(machine));
                (machine.is_some(), pins.any(|(pin, _)| pin.is_mounted()))
            };
            // Anybody's computer may ask for an address and boot from its disk.
            if !is_ours && self.site().machine(mac).is_none() {
                continue;
            }
            let stalled = self.steps().stalls(mac, runs, now);
            if let Some(stalled) = stalled {
                tracing::warn!(machine = self.name_of(mac), %mac, "{stalled} (see troubleshooting.md)");
            }
        }
    }

    pub(crate) fn steps(&self) -> MutexGuard<'_, BootSteps> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What people call the machine with this MAC.
    pub fn name_of(&self, mac: Mac) -> String {
        self.site().machine(mac).map_or_else(|| mac.to_string(), |(name, _)| name.to_owned())
    }
}

/// This moment, by both clocks.
pub(crate) fn present(host: &dyn Host) -> Moment {
    Moment { now: host.now(), shown_ms: host.shown_ms() }
}

/// The machine whose views may be read from an address. Where another server gives the addresses, a script goes to whoever
/// seems to be there, and handles can be had on any machine: only a mounted root says whose an address is.
pub(crate) fn reader_at(index: &MachineIndex, site: &Site, peer: IpAddr) -> Option<MachineId> {
    let at = if site.is_proxied(peer) { index.mounted_at(peer) } else { index.nic_at(peer) };
    at.map(|(machine, _)| machine)
}

/// A view in memory that is let go of with this, unless a pin holds it by then: a boot may come to nothing, and whoever asked
/// for it may be gone at any moment.
pub(crate) struct Read {
    pub(crate) machines: Arc<Machines>,
    pub(crate) view: ViewId,
    pub(crate) tree: Arc<MachineTree>,
}

impl Drop for Read {
    fn drop(&mut self) {
        let held = self.machines.index().is_held(self.view);
        if !held {
            self.machines.unload(self.view);
        }
    }
}

/// What DHCP needs to know; the engine's policy is made of these.
impl Machines {
    /// A lease is on the disk.
    pub fn leased(&self, address: IpAddr, mac: Mac) {
        self.index_mut().leased(address, mac);
    }

    /// Whether a NIC has an address of ours.
    pub fn has_address(&self, mac: Mac) -> bool {
        self.index().address(mac).is_some()
    }

    /// Whether the site has `new` in the machine that had `old`, and `old` in no machine any more.
    pub fn replaced(&self, site: &Site, old: Mac, new: Mac) -> bool {
        let Some((name, _)) = site.machine(new).filter(|_| site.machine(old).is_none()) else { return false };
        let index = self.index();
        let record = index.machine_of(old).and_then(|id| index.machines.get(&id));
        // Once the machine has booted from the new NIC, its record has the old one no more; the pin of its last boot does.
        let pinned = || index.pin_of(old).map(|pin| pin.machine);
        record.is_some_and(|(record, _)| record.name.as_deref() == Some(name))
            || pinned().is_some_and(|machine| index.machine_of(new) == Some(machine))
    }

    /// Whether a NIC's messages are looked at before strangers': the site names it, or its machine runs.
    pub fn goes_first(&self, mac: Mac) -> bool {
        self.site.borrow().machine(mac).is_some() || self.held_by(mac).is_some()
    }

    /// The address that this NIC's machine runs with.
    pub fn held_by(&self, mac: Mac) -> Option<IpAddr> {
        self.index().pin_of(mac).map(|pin| pin.address)
    }

    /// Whose an address is by a pin that runs, boots, or has ended lately.
    pub fn claim(&self, address: IpAddr) -> Option<Claim> {
        self.index().claim(address, self.host.sure_since(), self.host.now())
    }

    /// Addresses of which [`Machines::claim`] may say something else than when this was asked last.
    pub fn moved(&self) -> BTreeSet<IpAddr> {
        self.index().moved.take()
    }
}
