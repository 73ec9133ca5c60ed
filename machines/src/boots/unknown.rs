//! Machines that nobody has named, kept below a bound: made-up MACs must not fill the state (rules:
//! `oneroot_bootconf::unknown`).

use std::sync::{MutexGuard, PoisonError};

use oneroot_bootconf::pins::PinChange;
use oneroot_bootconf::unknown::{Full, MOST, UnknownMachine, is_unknown, room};
use oneroot_bootconf::{MachineRecord, Site};
use oneroot_ids::{Mac, MachineId};

use crate::machines::Machines;
use crate::order::rooms::{Place, Rooms};
use crate::order::turns::Thing;

/// Strangers that are forgotten for a new one in one transaction: each has a record, and up to four pins with their plans,
/// and a transaction has [`oneroot_state::MAX_OPERATIONS`].
const AT_ONCE: usize = 8;

impl Machines {
    /// Whether a NIC may boot as far as the number of strangers goes: it is known, or there is room. Costs nothing yet;
    /// what counts is what [`Self::room_for`] says when the boot is written.
    pub(crate) fn has_room(&self, site: &Site, mac: Mac, now: u64) -> Result<(), Full> {
        if site.machine(mac).is_some() || self.index().machine_of(mac).is_some() {
            return Ok(());
        }
        let mut rooms = self.rooms();
        self.surplus(&rooms, site, now, &mut |_| true)?;
        // From here on something is put into the store for it.
        rooms.newcomers.admit(now)
    }

    /// A place for a new record, if it needs one, and the pins of those who give way to it.
    pub(crate) fn room_for(
        &self,
        site: &Site,
        record: &MachineRecord,
        now: u64,
    ) -> Result<(Option<Place>, Vec<PinChange>), Full> {
        if !is_unknown(record, site) || self.index().machines.contains_key(&record.id) {
            return Ok((None, Vec::new()));
        }
        let mut rooms = self.rooms();
        let mut turns = Vec::new();
        // Without a wait, for whoever asks has turns already; a stranger that is being changed right now is passed over.
        let mut have = |id| {
            turns.len() < AT_ONCE
                && self.turns.take_now(Thing::Machine(id)).map(|turn| turns.push(turn)).is_some()
        };
        let forgotten = self.surplus(&rooms, site, now, &mut have)?;
        rooms.coming.insert(record.id);
        rooms.leaving.extend(&forgotten);
        drop(rooms);
        let index = self.index();
        let pins = forgotten.iter().flat_map(|id| index.pins_of(*id));
        let pins = pins.map(|(pin, _)| PinChange::Delete(pin.boot)).collect();
        let place = Place::new(self.rooms.clone(), record.id, forgotten, turns);
        Ok((Some(place), pins))
    }

    fn surplus(
        &self,
        rooms: &Rooms,
        site: &Site,
        now: u64,
        have: &mut dyn FnMut(MachineId) -> bool,
    ) -> Result<Vec<MachineId>, Full> {
        let index = self.index();
        // Who is shown already counts there, though its place is still held.
        let coming = rooms.coming.iter().filter(|id| !index.machines.contains_key(*id)).count();
        if index.machines.len() + coming < MOST {
            return Ok(Vec::new());
        }
        let records = index.machines.values().map(|(record, _)| record);
        let strangers: Vec<UnknownMachine<'_>> = records
            .filter(|record| is_unknown(record, site) && !rooms.leaving.contains(&record.id))
            .map(|record| UnknownMachine {
                record,
                pins: index.pins_of(record.id).map(|(pin, _)| pin).collect(),
                heard: index.heard(record.id),
            })
            .collect();
        room(&strangers, coming, (self.began, now), have)
    }

    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::guest;
    use crate::host::still::{NOW, Still};
    use crate::index::tables::{MACHINES, PINS, PLANS};
    use crate::planner::Planner;
    use crate::planner::renderer::Here;
    use oneroot_bootconf::again::Ask;
    use oneroot_bootconf::load_str;
    use oneroot_bootconf::pins::{Phase, Pin};
    use oneroot_bootconf::unknown::BURST;
    use oneroot_ids::{BootId, ViewId};
    use oneroot_state::{Backend as _, Disk, State, Txn};
    use oneroot_tree::store::{How, Staged};
    use oneroot_tree::{Ref, RefKind, Stage, Store};
    use std::net::IpAddr;
    use std::path::Path;
    use std::sync::Arc;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 10));

    /// A site that boots whoever comes, staged.
    pub fn site(home: &Path, kernel: bool) -> Arc<Site> {
        site_with(home, kernel, "")
    }

    /// The same with more tables.
    pub fn site_with(home: &Path, kernel: bool, more: &str) -> Arc<Site> {
        std::fs::create_dir_all(home.join("root/boot")).unwrap();
        if kernel {
            std::fs::write(home.join("root/boot/vmlinuz-1"), "kernel").unwrap();
            std::fs::write(home.join("root/boot/initrd.img-1"), "initrd").unwrap();
        }
        let text = "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\nstore = \"store\"\nstate = \"state\"\n\
            [[network]]\nsubnet = \"10.0.0.0/8\"\n[unknown]\nprofile = \"a\"\n\
            [profile.a]\nsource = { directory = \"root\" }\n\
            [machine.alpha]\nmac = \"52:54:00:00:00:0a\"\nprofile = \"a\"\n";
        let site = load_str("site.toml", &format!("{text}{more}"), home).unwrap();
        let store = Store::open(&site.server.store).unwrap();
        let mut stage = Stage::begin(&store, |_| {}).unwrap();
        stage.directory(&home.join("root")).unwrap();
        let generation = stage.finish().unwrap().generation;
        let name = Ref::new(RefKind::Profile, "a").unwrap();
        store.stage_head(&name, Staged { generation, at: NOW, how: How::Staged }).unwrap();
        Arc::new(site)
    }

    pub async fn open(site: &Arc<Site>) -> Arc<Machines> {
        let state = Arc::new(State::from(Disk::open(&site.server.state).unwrap()));
        let store = Store::open(&site.server.store).unwrap();
        let guest = guest::stage(&store, NOW).unwrap();
        let planner = Planner::new(store, guest, Arc::new(Here));
        Machines::open(site.clone(), state, Still::new(), planner, crate::HandleKeys::of([7; 32]))
            .await
            .unwrap()
    }

    pub fn mac(number: usize) -> Mac {
        let [.., a, b] = number.to_be_bytes();
        Mac::new([2, 0, 0, 0, a, b]).unwrap()
    }

    fn id(number: usize) -> MachineId {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        MachineId::from_random(bytes)
    }

    fn boot_of(number: usize) -> BootId {
        BootId::from_random(number.to_be_bytes())
    }

    /// So many strangers, each the quieter the smaller its number; `pin` is what one holds, since when.
    pub async fn fill(site: &Site, count: usize, pin: impl Fn(usize) -> Option<(Phase, u64)>) {
        let state = Disk::open(&site.server.state).unwrap();
        for first in (0..count).step_by(60) {
            let mut txn = Txn::new();
            for number in first..count.min(first + 60) {
                let macs = vec![mac(number)];
                let record = MachineRecord {
                    id: id(number),
                    macs,
                    name: None,
                    claimed: None,
                    first_seen: number as u64,
                };
                txn = MACHINES.put(txn, record.id, &record).unwrap();
                let Some((phase, since)) = pin(number) else { continue };
                let boot = boot_of(number);
                let pin = Pin {
                    machine: record.id,
                    boot,
                    view: ViewId([9; 16]),
                    phase,
                    mac: mac(number),
                    address: IpAddr::from([10, 9, 0, 1]),
                    made: since,
                    since,
                    named: true,
                };
                txn = PINS.put(txn, boot, &pin).unwrap();
            }
            state.commit(txn).await.unwrap();
        }
    }

    async fn boots(machines: &Arc<Machines>, mac: Mac) -> bool {
        machines.leased(ADDRESS, mac);
        machines.boot_script(ADDRESS, mac, None, Ask::Whole).await.unwrap().contains("/kernel")
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_new_stranger_takes_the_place_of_the_quietest_for_good() {
        let home = tempfile::tempdir().unwrap();
        let site = site(home.path(), true);
        // The quietest of all runs; the next has fetched a script long ago and mounted nothing.
        let pin = |number| match number {
            0 => Some((Phase::Running, NOW - 3600)),
            1 => Some((Phase::Booting, 1)),
            _ => None,
        };
        fill(&site, MOST, pin).await;
        let machines = open(&site).await;
        machines.step(mac(1), "address", true);
        let new = mac(60_000);
        assert!(boots(&machines, new).await);
        assert!(boots(&machines, new).await, "it has its place now");
        assert!(boots(&machines, mac(MOST - 1)).await, "and takes nobody's who had one");
        assert!(
            boots(&machines, "52:54:00:00:00:0a".parse().unwrap()).await,
            "nor does a machine of the site"
        );
        assert!(machines.index().machine_of(mac(1)).is_none(), "forgotten");
        assert!(machines.steps().of(mac(1)).is_empty(), "with its steps");
        drop(machines);

        let state = Disk::open(&site.server.state).unwrap();
        let (records, _) = MACHINES.list(&state).await.unwrap();
        let seen: Vec<Mac> = records.iter().flat_map(|(_, at)| at.value.macs.clone()).collect();
        assert_eq!(seen.len(), MOST + 1, "all strangers, and alpha");
        assert!(
            seen.contains(&new)
                && seen.contains(&mac(0))
                && seen.contains(&mac(2))
                && !seen.contains(&mac(1))
        );
        assert!(PINS.get(&state, boot_of(0)).await.unwrap().is_some());
        assert!(PINS.get(&state, boot_of(1)).await.unwrap().is_none(), "its pin goes with it");
        let (plans, _) = PLANS.list(&state).await.unwrap();
        let (pins, _) = PINS.list(&state).await.unwrap();
        assert_eq!(
            (plans.len(), pins.len()),
            (3, 4),
            "a boot of each machine that asked here, and the pin from before"
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_new_stranger_is_refused_when_each_may_run_and_all_others_boot() {
        let home = tempfile::tempdir().unwrap();
        let site = site(home.path(), true);
        let begun = NOW;
        fill(&site, MOST, |number| Some((if number % 2 == 0 { Phase::Up } else { Phase::Booting }, begun)))
            .await;
        let machines = open(&site).await;
        let new = mac(60_000);
        machines.leased(ADDRESS, new);
        let told = machines.boot_script(ADDRESS, new, None, Ask::Whole).await.unwrap();
        assert!(told.contains("nobody has named") && told.contains("sleep 30"), "{told}");
        assert_eq!(machines.index().machine_of(new), None);
        assert_eq!(machines.index().machines.len(), MOST);
        assert!(boots(&machines, mac(7)).await, "one that is known");
        assert!(boots(&machines, "52:54:00:00:00:0a".parse().unwrap()).await, "a machine of the site");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn made_up_macs_without_end_put_no_more_into_the_store_than_a_burst_of_them() {
        let home = tempfile::tempdir().unwrap();
        let site = site(home.path(), true);
        let machines = open(&site).await;
        let stacks = || std::fs::read_dir(site.server.store.join("stacks")).unwrap().count();
        let before = stacks();
        // All but three places of the burst are taken, at one and the same moment.
        (0..BURST - 3).for_each(|_| machines.rooms().newcomers.admit(NOW).unwrap());
        let mut booted = 0;
        for number in 0..20 {
            booted += usize::from(boots(&machines, mac(number)).await);
        }
        assert_eq!((booted, stacks() - before), (3, 3));
        assert!(boots(&machines, mac(0)).await, "who is known by then boots on");
        assert!(boots(&machines, "52:54:00:00:00:0a".parse().unwrap()).await, "a machine of the site");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_view_that_is_read_again_is_as_lately_used_as_it_was() {
        let home = tempfile::tempdir().unwrap();
        let machines = open(&site(home.path(), true)).await;
        assert!(boots(&machines, mac(1)).await);
        let (view, tree) =
            machines.trees_mut().iter().next().map(|(view, tree)| (*view, tree.clone())).unwrap();
        tree.touch(NOW);
        assert!(boots(&machines, mac(2)).await, "another machine, the same view");
        assert!(machines.load(view).unwrap().used_lately(NOW));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_boot_that_comes_to_nothing_leaves_no_tree_in_memory() {
        let home = tempfile::tempdir().unwrap();
        let machines = open(&site(home.path(), false)).await;
        assert!(!boots(&machines, mac(1)).await, "there is no kernel");
        assert!(machines.trees_mut().is_empty());
    }
}
