//! Boots: a mount, a word or time moves a machine's pins (rules: `oneroot_bootconf::pins`). What makes a pin is a plan
//! (`plans.rs`).

#[cfg(test)]
mod asked;
pub(crate) mod commit;
mod complaints;
mod examined;
mod plans;
pub(crate) mod programs;
pub(crate) mod reports;
#[cfg(test)]
pub(crate) mod tests_on;
pub(crate) mod unknown;
pub(crate) mod words;

use std::net::IpAddr;
use std::sync::Arc;

use crate::error::{Error, Result};
use oneroot_bootconf::pins::{Event, Pin, PinChange, changes};
use oneroot_ids::{BootId, MachineId};
use tokio::task::JoinSet;

use crate::boots::commit::{Changed, Prepared, TRIES};
use crate::machines::Machines;
use crate::order::turns::Thing;

/// Addresses that are asked at once whether anybody is there.
const ASKED_AT_ONCE: usize = 32;

impl Machines {
    /// Applies an event to one machine's pins, durably. One that changes nothing waits for nobody: neither for whatever is
    /// being written for that machine nor for the disk.
    pub(crate) async fn apply(self: &Arc<Self>, machine: MachineId, event: &Event) -> Result<bool> {
        // Nobody has been asked, so whoever may be somewhere else is there. A tick asks.
        self.apply_but(machine, event, &|pin| self.is_elsewhere(pin)).await
    }

    /// The same; of the pins that would end, those that `stays` says are not let go of.
    async fn apply_but(
        self: &Arc<Self>,
        machine: MachineId,
        event: &Event,
        stays: &(dyn Fn(&Pin) -> bool + Sync),
    ) -> Result<bool> {
        for _ in 0..TRIES {
            if self.due(machine, event, stays).is_empty() {
                return Ok(false);
            }
            let turn = self.turns.take([Thing::Machine(machine)]).await;
            let Some(prepared) = self.due_change(machine, event, stays)? else { return Ok(false) };
            if self.commit(turn, prepared).await? {
                return Ok(true);
            }
        }
        Err(Error::Contended)
    }

    /// The same as a change, for who has the machine's turn.
    fn due_change(
        &self,
        machine: MachineId,
        event: &Event,
        stays: &dyn Fn(&Pin) -> bool,
    ) -> Result<Option<Prepared>> {
        let known = self.applied();
        let pins = self.due(machine, event, stays);
        if pins.is_empty() {
            return Ok(None);
        }
        self.prepared(&known, Changed { pins, ..Changed::default() }).map(Some)
    }

    /// What an event would change as things are.
    fn due(&self, machine: MachineId, event: &Event, stays: &dyn Fn(&Pin) -> bool) -> Vec<PinChange> {
        let pins: Vec<Pin> = self.index().pins_of(machine).map(|(pin, _)| pin.clone()).collect();
        changes(&pins, event, &|pin| self.in_use(pin) || stays(pin), self.host.now())
    }

    /// Whether a root is mounted at another address than its machine's newest, where another server gives the addresses: a
    /// mount from elsewhere ends nothing for as long as somebody answers there.
    fn is_elsewhere(&self, pin: &Pin) -> bool {
        let (site, index) = (self.site(), self.index());
        let mounted = index.pins_of(pin.machine).map(|(pin, _)| pin).filter(|pin| pin.is_mounted());
        let newest = mounted.max_by_key(|pin| (pin.made, pin.boot));
        // Either address may be one of which only a pass says whose it is.
        let is_doubtful = |at: &Pin| site.is_proxied(at.address) || site.is_proxied(pin.address);
        pin.is_mounted() && newest.is_some_and(|at| at.address != pin.address && is_doubtful(at))
    }

    /// Whether an NFS client has used a pin's view of late; a client that is only idle closes after five minutes.
    pub(crate) fn in_use(&self, pin: &Pin) -> bool {
        let trees = self.trees.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        trees.get(&pin.view).is_some_and(|tree| tree.used_lately(self.host.coarse()))
    }

    /// The admin lets go of a machine, by anything that the status prints of it: how many pins ended.
    pub async fn release(self: &Arc<Self>, machine: &str) -> Result<usize> {
        let Some(id) = self.called(machine)? else { return Ok(0) };
        let held = self.index().pins_of(id).count();
        self.apply(id, &Event::Released).await?;
        tracing::info!(machine, pins = held, "released");
        Ok(held)
    }

    /// The machine that somebody means by its name, a MAC, an address or a boot; none where the site has it and it has never
    /// booted.
    pub(crate) fn called(&self, text: &str) -> Result<Option<MachineId>> {
        let (site, index) = (self.site(), self.index());
        if let Some((record, _)) = index
            .machines
            .values()
            .find(|(record, _)| record.name.as_deref().or(record.claimed.as_deref()) == Some(text))
        {
            return Ok(Some(record.id));
        }
        if let Some(machine) = site.machines.get(text) {
            return Ok(machine.macs.iter().find_map(|mac| index.machine_of(*mac)));
        }
        if let Ok(mac) = text.parse() {
            // A NIC that was replaced is on no record any more, and its machine may still run by it.
            let pinned = || index.pin_of(mac).map(|pin| pin.machine);
            let found = index.machine_of(mac).or_else(pinned);
            if found.is_some() || site.machine(mac).is_some() {
                return Ok(found);
            }
            return Err(Error::UnknownMac(mac));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            let Some(found) = index.machine_at(address) else {
                return Err(Error::UnknownAddress(address));
            };
            return Ok(Some(found));
        }
        if let Ok(boot) = text.parse::<BootId>() {
            let pin = index.pins.get(&boot).map(|(pin, _)| pin.machine);
            return pin.map(Some).ok_or(Error::UnknownBoot(boot));
        }
        Err(Error::UnknownMachine(text.to_owned()))
    }

    /// Lets go of all machines that have given no sign for so many seconds: how many pins ended.
    pub async fn release_quiet(self: &Arc<Self>, seconds: u64) -> Result<usize> {
        let quiet: Vec<(MachineId, usize)> = {
            let index = self.index();
            let mut latest: std::collections::BTreeMap<MachineId, (u64, usize)> =
                std::collections::BTreeMap::new();
            for (pin, _) in index.pins.values() {
                let sign = self.last_sign(pin, index.heard(pin.machine));
                let (last, pins) = latest.entry(pin.machine).or_default();
                (*last, *pins) = ((*last).max(sign), *pins + 1);
            }
            let now = self.host.now();
            let silent = latest.into_iter().filter(|(_, (last, _))| now.saturating_sub(*last) >= seconds);
            silent.map(|(machine, (_, pins))| (machine, pins)).collect()
        };
        let mut ended = 0;
        for (machine, pins) in quiet {
            self.apply(machine, &Event::Released).await?;
            tracing::info!(%machine, pins, "released: not seen for {seconds} s");
            ended += pins;
        }
        Ok(ended)
    }

    /// Time has passed: boots that never said `up` count as up, and what they replaced is let go.
    pub async fn tick(self: &Arc<Self>) {
        self.forget_secrets();
        self.write_heard();
        if let Err(cause) = self.end_assignments().await {
            tracing::error!(%cause, "cannot end an assignment");
        }
        let mut machines: Vec<MachineId> = self.index().pins.values().map(|(pin, _)| pin.machine).collect();
        machines.sort_unstable();
        machines.dedup();
        let mut asked = JoinSet::new();
        for machine in machines {
            if let Err(cause) = self.apply(machine, &Event::Tick { sure_since: self.host.sure_since() }).await
            {
                tracing::error!(%machine, %cause, "cannot end old boots");
            }
            // What is left stays for roots that are mounted elsewhere. Whether anybody is there takes a second to know, and
            // the other machines don't wait for that.
            if self.due(machine, &Event::Tick { sure_since: self.host.sure_since() }, &|_| false).is_empty() {
                continue;
            }
            if asked.len() >= ASKED_AT_ONCE {
                asked.join_next().await;
            }
            let machines = self.clone();
            asked.spawn(async move { machines.let_go_elsewhere(machine).await });
        }
        while asked.join_next().await.is_some() {}
    }

    /// Ends what a machine holds at addresses at which nobody is any more.
    async fn let_go_elsewhere(self: &Arc<Self>, machine: MachineId) {
        let pins: Vec<Pin> = self.index().pins_of(machine).map(|(pin, _)| pin.clone()).collect();
        let mut there = Vec::new();
        for pin in pins.iter().filter(|pin| self.is_elsewhere(pin)) {
            if self.is_there(machine, pin.address).await {
                there.push(pin.boot);
            }
        }
        if let Err(cause) = self
            .apply_but(machine, &Event::Tick { sure_since: self.host.sure_since() }, &|pin| {
                there.contains(&pin.boot)
            })
            .await
        {
            tracing::error!(%machine, %cause, "cannot end old boots");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::around::made_up::Links;
    use crate::around::{ProbeResult, Reason};
    use crate::boots::tests_on::meanwhile;
    use crate::guest;
    use crate::host::still::{NOW, Still};
    use crate::index::steps::Moment;
    use crate::index::tables::{MACHINES, PINS};
    use crate::planner::Planner;
    use crate::planner::renderer::Here;
    use crate::views::tree::ProgressReport;
    use oneroot_bootconf::admission::Seen;
    use oneroot_bootconf::pins::Phase;
    use oneroot_bootconf::{MachineRecord, load_str};
    use oneroot_ids::{Mac, ViewId};
    use oneroot_state::{Backend as _, Disk, Event as StateEvent, State, Txn};
    use oneroot_tree::Store;
    use std::io::ErrorKind;
    use std::net::SocketAddr;
    use std::sync::Mutex;

    const OLD: [u8; 4] = [10, 0, 0, 1];
    const NEW: [u8; 4] = [10, 0, 0, 2];

    fn mac(number: u8) -> Mac {
        Mac::new([2, 0, 0, 0, 0, number]).unwrap()
    }

    fn pin(number: u8, phase: Phase, address: [u8; 4]) -> Pin {
        Pin {
            machine: MachineId::from_random([1; 16]),
            boot: BootId::from_random([number; 8]),
            view: ViewId([number; 16]),
            phase,
            mac: mac(1),
            address: address.into(),
            made: number.into(),
            since: NOW,
            named: true,
        }
    }

    /// A server with these pins of one machine, in a network where another one gives the addresses.
    async fn with(home: &std::path::Path, pins: &[Pin]) -> (Arc<Machines>, Arc<Links>) {
        let text = "[server]\naddress = \"10.0.0.250\"\ninterface = \"eth0\"\nstore = \"store\"\nstate = \"state\"\n\
            [[network]]\nsubnet = \"10.0.0.0/24\"\nproxy = true\n[profile.a]\nsource = { directory = \"root\" }\n";
        let site = Arc::new(load_str("site.toml", text, home).unwrap());
        let state = Arc::new(State::from(Disk::open(&site.server.state).unwrap()));
        let record = MachineRecord {
            id: MachineId::from_random([1; 16]),
            macs: vec![mac(1), mac(2)],
            name: None,
            claimed: None,
            first_seen: 0,
        };
        let mut txn = MACHINES.put(Txn::new(), record.id, &record).unwrap();
        for pin in pins {
            txn = PINS.put(txn, pin.boot, pin).unwrap();
        }
        state.commit(txn).await.unwrap();
        let store = Store::open(&site.server.store).unwrap();
        let guest = guest::stage(&store, 0).unwrap();
        let planner = Planner::new(store, guest, Arc::new(Here));
        let machines =
            Machines::open(site, state, Still::new(), planner, crate::HandleKeys::of([7; 32])).await.unwrap();
        let links = Links::of(Seen::Unheard, ProbeResult::Silent);
        machines.ask_by(links.clone());
        (machines, links)
    }

    fn held(machines: &Machines) -> Vec<BootId> {
        let mut boots: Vec<BootId> = machines.index().pins.keys().copied().collect();
        boots.sort();
        boots
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_root_elsewhere_ends_once_nobody_of_its_machine_answers_there() {
        let home = tempfile::tempdir().unwrap();
        let (old, new) = (pin(1, Phase::Up, OLD), pin(2, Phase::Running, NEW));
        let (machines, links) = with(home.path(), &[old.clone(), new.clone()]).await;
        let from = SocketAddr::new(new.address, 700);
        let up = ProgressReport { peer: from, view: new.view, text: format!("{}.up", new.boot) };
        machines.heard(&up).await;
        assert_eq!(machines.index().pins[&new.boot].0.phase, Phase::Up);
        assert_eq!(held(&machines), [old.boot, new.boot], "a word asks nobody, and ends nothing elsewhere");
        let there = [
            ProbeResult::Mac(mac(2)),
            ProbeResult::Answered,
            ProbeResult::Unable(Reason::NotSent(ErrorKind::Other)),
        ];
        for found in there {
            *links.found.lock().unwrap() = found;
            machines.tick().await;
            assert_eq!(held(&machines), [old.boot, new.boot], "{found:?}");
        }
        // Another machine has the address by now.
        *links.found.lock().unwrap() = ProbeResult::Mac(mac(9));
        machines.tick().await;
        assert_eq!(held(&machines), [new.boot]);
        assert!(links.asked.lock().unwrap().iter().all(|asked| IpAddr::from(*asked) == old.address));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn up_from_a_port_of_any_user_is_shown_and_ends_nothing() {
        let home = tempfile::tempdir().unwrap();
        let (old, new) = (pin(1, Phase::Up, NEW), pin(2, Phase::Running, NEW));
        let (machines, _) = with(home.path(), &[old.clone(), new.clone()]).await;
        let say = |port| {
            let peer = SocketAddr::new(new.address, port);
            ProgressReport { peer, view: new.view, text: format!("{}.up", new.boot) }
        };
        machines.heard(&say(1024)).await;
        assert_eq!(held(&machines), [old.boot, new.boot]);
        assert!(machines.steps().of(mac(1)).iter().any(|step| step.step == "up"));
        machines.heard(&say(1023)).await;
        assert_eq!(held(&machines), [new.boot]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_boot_is_not_up_because_one_before_it_of_that_nic_was() {
        let home = tempfile::tempdir().unwrap();
        // Firmware that boots by another NIC begins no steps of this one anew.
        let later = Pin { since: NOW + 100, ..pin(2, Phase::Running, NEW) };
        let (machines, _) = with(home.path(), &[pin(1, Phase::Running, NEW), later.clone()]).await;
        machines.step(later.mac, "up", false);
        let say = async |word: &str| {
            let peer = SocketAddr::new(later.address, 700);
            let text = format!("{}.{word}", later.boot);
            machines.heard(&ProgressReport { peer, view: later.view, text }).await;
        };
        let told =
            || machines.timelines().boot(later.machine, later.boot).map_or(0, |boot| boot.failures.len());
        say("hook-failed-one").await;
        assert_eq!(told(), 1, "it comes up");
        machines.steps().note(
            later.mac,
            "up-unknown",
            true,
            Moment { now: NOW + 400, shown_ms: (NOW + 400) * 1000 },
        );
        say("hook-failed-two").await;
        assert_eq!(told(), 1, "users are there, whether anybody knows it or not");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn after_another_server_has_changed_a_pin_the_machine_can_be_released_all_the_same() {
        let home = tempfile::tempdir().unwrap();
        let pin = pin(1, Phase::Running, NEW);
        let (machines, _) = with(home.path(), std::slice::from_ref(&pin)).await;
        let foreign = PINS.put(Txn::new(), pin.boot, &Pin { phase: Phase::Up, ..pin.clone() }).unwrap();
        machines.state.commit(foreign).await.unwrap();
        assert_eq!(machines.release(&pin.mac.to_string()).await.unwrap(), 1);
        assert!(held(&machines).is_empty());
        assert!(PINS.get(machines.state.as_ref(), pin.boot).await.unwrap().is_none());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_boot_that_another_server_lets_go_of_while_its_mount_is_being_written_does_not_come_back() {
        let home = tempfile::tempdir().unwrap();
        let pins = [pin(1, Phase::Up, NEW), pin(2, Phase::Up, NEW), pin(3, Phase::Booting, NEW)];
        let (machines, _) = with(home.path(), &pins).await;
        let gone = pins.iter().fold(Txn::new(), |txn, pin| PINS.delete(txn, pin.boot));
        let revision = machines.state.commit(gone.clone()).await.unwrap();
        let (machine, news) = (pins[2].machine, Mutex::new(Some(gone.changes(revision))));
        // Asked for each root that is mounted already. The look with the machine's turn is the one that is written.
        let hears = |_: &Pin| {
            let is_in_turn = machines.turns.take_now(Thing::Machine(machine)).is_none();
            if let Some(news) = news.lock().unwrap().take_if(|_| is_in_turn) {
                let hears = machines.clone();
                meanwhile(move || hears.state_changed(StateEvent::Changed(news)));
            }
            true
        };
        let mounted = Event::Mounted { boot: pins[2].boot, mac: mac(1), address: NEW.into() };
        assert!(!machines.apply_but(machine, &mounted, &hears).await.unwrap());
        assert!(news.lock().unwrap().is_none(), "it was told in between");
        assert!(held(&machines).is_empty());
        assert!(PINS.get(machines.state.as_ref(), pins[2].boot).await.unwrap().is_none());
    }
}
