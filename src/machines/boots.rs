//! Boots: a plan is made once, when the boot script is fetched, and is durable before the first byte leaves; a mount or a
//! word moves its pin (rules: `oneroot_bootconf::pins`).

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Result, bail};
use oneroot_bootconf::args::{Boot, arguments};
use oneroot_bootconf::export::Export;
use oneroot_bootconf::facts::Facts;
use oneroot_bootconf::identity::{disowned, recognise};
use oneroot_bootconf::pins::{Event, Phase, Pin, PinChange, changes};
use oneroot_bootconf::plan::{BootPlan, Decision, Root, decide};
use oneroot_bootconf::strangers::Full;
use oneroot_bootconf::{BootId, Mac, MachineId, MachineRecord, Site, script};
use oneroot_state::{Backend as _, Error as StateError, Expect, Txn};
use tokio::sync::OwnedMutexGuard;

use super::{MACHINES, Machines, PINS, PLANS};
use crate::clock;
use crate::planner::Stacked;

/// Times that a change is tried again after another server was quicker.
const TRIES: u32 = 8;

/// What is written together, or not at all.
#[derive(Default)]
struct Changed {
    records: Vec<MachineRecord>,
    /// Machines whose records go; their pins are among `pins`.
    forgotten: Vec<MachineId>,
    plan: Option<BootPlan>,
    pins: Vec<PinChange>,
}

impl Machines {
    /// The boot script for the machine at `peer` with this MAC: a plan, a pin, and the words that start it.
    ///
    /// `None` when the address is not this MAC's: nobody gets another machine's script by guessing.
    pub(super) async fn boot_script(self: &Arc<Self>, peer: IpAddr, mac: Mac) -> Option<String> {
        let site = self.site();
        if !self.may_boot(&site, peer, mac) {
            tracing::warn!(%peer, %mac, "refused a boot script to an address that this machine does not have");
            return None;
        }
        let base = script::http_base(site.server_for(peer), site.server.http_port);
        match self.plan(peer, mac).await {
            Ok(plan) => {
                tracing::info!(machine = plan.name, %mac, boot = %plan.boot, profile = plan.profile, view = %plan.view, "boots");
                Some(script::boot(&base, plan.boot, &plan.name, &plan.args, plan.initrd.is_some()))
            }
            Err(cause) => {
                // Whoever makes MACs up would fill the log.
                if !cause.is::<Full>() || self.is_full_said_now() {
                    tracing::warn!(machine = self.name_of(mac), %mac, cause = format!("{cause:#}"), "has nothing to boot");
                }
                let url = format!("{base}/boot/{}.ipxe", mac.dashed());
                Some(script::refused(&url, &format!("{cause:#}")))
            }
        }
    }

    async fn plan(self: &Arc<Self>, peer: IpAddr, mac: Mac) -> Result<BootPlan> {
        // One site for the whole plan, whatever is reloaded meanwhile.
        let site = self.site();
        let decision = decide(&site, mac)?;
        // Before anything is made for it.
        self.has_room(&site, mac, clock::now())?;
        let facts = Facts::of(&site, &decision, mac, peer);
        let (machines, wanted, frozen, home) =
            (self.clone(), decision.clone(), facts.clone(), site.home.clone());
        let stacked = tokio::task::spawn_blocking(move || -> Result<_> {
            let stacked = machines.planner.stack(&home, &wanted, &frozen)?;
            let read = machines.read(stacked.id)?;
            Ok((stacked, read))
        });
        let (stacked, _read) = stacked.await??;
        self.pinned(&site, peer, mac, &decision, facts, stacked).await
    }

    /// Writes the plan of a boot with its pin.
    async fn pinned(
        self: &Arc<Self>,
        site: &Site,
        peer: IpAddr,
        mac: Mac,
        decision: &Decision,
        facts: Facts,
        stacked: Stacked,
    ) -> Result<BootPlan> {
        let (view, (kernel, initrd)) = (stacked.id, stacked.kernel?);
        let boot = BootId::from_random(clock::random()?);
        let fresh = MachineId::from_random(clock::random()?);
        for _ in 0..TRIES {
            let turn = self.changing.clone().lock_owned().await;
            let now = clock::now();
            let (record, new_record, pins) = self.recognised(site, mac, fresh, now);
            let name = decision.name.clone().unwrap_or_else(|| mac.to_string());
            let pass = site.is_proxied(peer).then(|| self.passes.make(boot, view));
            let args = arguments(&Boot {
                initramfs: decision.initramfs,
                server: site.server_for(peer),
                port: site.server.nfs_port,
                export: Export { view, pass },
                mac,
                machine: record.id,
                boot,
                extra: &decision.args,
            });
            let plan = BootPlan {
                boot,
                machine: record.id,
                mac,
                name,
                profile: decision.profile.clone(),
                workloads: decision.workloads.clone(),
                view,
                kernel: kernel.clone(),
                initrd: initrd.clone(),
                args,
                root: Root::Nfs,
                facts: Some(facts.clone()),
                why: decision.why.clone(),
            };
            let pin = Pin {
                machine: record.id,
                boot,
                view,
                phase: Phase::Booting,
                mac,
                address: peer,
                made: now,
                since: now,
            };
            let (forgotten, mut made) = self.room_for(&self.site(), &record, now)?;
            made.extend(changes(&pins, &Event::Planned(pin), &|pin| self.in_use(pin), now));
            let records = if new_record { self.with_disowned(&record) } else { Vec::new() };
            let change = Changed { records, forgotten, plan: Some(plan.clone()), pins: made };
            if self.commit(turn, change).await? {
                return Ok(plan);
            }
        }
        bail!("another server keeps changing this machine's boots")
    }

    /// The machine's record as it is or has to be, and its pins.
    fn recognised(
        &self,
        site: &Site,
        mac: Mac,
        fresh: MachineId,
        now: u64,
    ) -> (MachineRecord, bool, Vec<Pin>) {
        let known = self.known();
        let site = site.machine(mac).map(|(name, machine)| (name, machine.macs.as_slice()));
        let records = known.machines.values().map(|(record, _)| record);
        let (record, new) = recognise(mac, site, records, fresh, now);
        let pins = known.pins_of(record.id).map(|(pin, _)| pin.clone()).collect();
        (record, new, pins)
    }

    /// A record, and those that lose a NIC to it: written together, or a NIC would be two machines' after a restart.
    fn with_disowned(&self, record: &MachineRecord) -> Vec<MachineRecord> {
        let known = self.known();
        let mut records = disowned(record, known.machines.values().map(|(record, _)| record));
        records.push(record.clone());
        records
    }

    /// Writes changes of one machine, then shows them. `false` when another server was quicker.
    ///
    /// In a task of its own, which has the turn until both are done: who asked may be gone by then, for a connection can end
    /// at any moment, and what is on the disk must be what is known.
    async fn commit(self: &Arc<Self>, turn: OwnedMutexGuard<()>, change: Changed) -> Result<bool> {
        let machines = self.clone();
        let written = tokio::spawn(async move {
            let _turn = turn;
            machines.write(&change).await
        });
        written.await?
    }

    async fn write(&self, Changed { records, forgotten, plan, pins: made }: &Changed) -> Result<bool> {
        let mut txn = Txn::new();
        {
            let known = self.known();
            let expected = |revision: Option<_>| revision.map_or(Expect::Absent, Expect::At);
            for record in records {
                let old = known.machines.get(&record.id).map(|(_, revision)| *revision);
                txn = MACHINES.put(MACHINES.expect(txn, record.id, expected(old)), record.id, record)?;
            }
            for machine in forgotten {
                let old = known.machines.get(machine).map(|(_, revision)| *revision);
                txn = MACHINES.delete(MACHINES.expect(txn, machine, expected(old)), machine);
            }
            if let Some(plan) = plan {
                txn = PLANS.put(txn, plan.boot, plan)?;
            }
            for change in made {
                let boot = match change {
                    PinChange::Put(pin) => pin.boot,
                    PinChange::Delete(boot) => *boot,
                };
                txn = PINS.expect(txn, boot, expected(known.pins.get(&boot).map(|(_, revision)| *revision)));
                txn = match change {
                    PinChange::Put(pin) => PINS.put(txn, boot, pin)?,
                    PinChange::Delete(boot) => PLANS.delete(PINS.delete(txn, boot), boot),
                };
            }
        }
        let revision = match self.state.commit(txn).await {
            Ok(revision) => revision,
            Err(StateError::Conflict { .. }) => return Ok(false),
            Err(cause) => return Err(cause.into()),
        };
        let mut idle = Vec::new();
        {
            let mut known = self.known_mut();
            for record in records {
                known.put_machine(record.clone(), revision);
            }
            if let Some(plan) = plan {
                known.plans.insert(plan.boot, plan.clone());
            }
            for change in made {
                match change {
                    PinChange::Put(pin) => known.put_pin(pin.clone(), revision),
                    PinChange::Delete(boot) => idle.extend(known.drop_pin(*boot)),
                }
            }
            forgotten.iter().for_each(|machine| known.drop_machine(*machine));
            // A view that went with one machine's pin may have come back with another's.
            idle.retain(|view| !known.is_held(*view));
        }
        idle.into_iter().for_each(|view| self.unload(view));
        Ok(true)
    }

    /// Applies an event to one machine's pins, durably.
    pub(super) async fn apply(self: &Arc<Self>, machine: MachineId, event: &Event) -> Result<bool> {
        for _ in 0..TRIES {
            let turn = self.changing.clone().lock_owned().await;
            let pins: Vec<Pin> = self.known().pins_of(machine).map(|(pin, _)| pin.clone()).collect();
            let made = changes(&pins, event, &|pin| self.in_use(pin), clock::now());
            if made.is_empty() {
                return Ok(false);
            }
            if self.commit(turn, Changed { pins: made, ..Changed::default() }).await? {
                return Ok(true);
            }
        }
        bail!("another server keeps changing this machine's boots")
    }

    /// Whether an NFS client has used a pin's view of late; a client that is only idle closes after five minutes.
    fn in_use(&self, pin: &Pin) -> bool {
        let trees = self.trees.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        trees.get(&pin.view).is_some_and(|tree| tree.used_lately())
    }

    /// A machine has said a word: `BOOT.WORD`, looked up under `/.oneroot/say`.
    pub async fn heard(self: &Arc<Self>, saying: &str) {
        let Some((boot, word)) = saying.split_once('.') else { return };
        let Ok(boot) = boot.parse::<BootId>() else { return };
        let known = self.known().pins.get(&boot).map(|(pin, _)| (pin.machine, pin.mac));
        let Some((machine, mac)) = known else { return };
        if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return;
        }
        tracing::info!(machine = self.name_of(mac), %mac, %boot, "says it has come to: {word}");
        self.step(mac, word, false);
        if word == "up"
            && let Err(cause) = self.apply(machine, &Event::Up(boot)).await
        {
            tracing::error!(%mac, cause = format!("{cause:#}"), "cannot write that a machine is up");
        }
    }

    /// The admin lets go of a machine, by its name or a MAC: how many pins ended.
    pub async fn release(self: &Arc<Self>, machine: &str) -> Result<usize> {
        let id = {
            let known = self.known();
            let named = known.machines.values().find(|(record, _)| record.name.as_deref() == Some(machine));
            let by_mac = || known.machine_of(machine.parse().ok()?);
            named.map(|(record, _)| record.id).or_else(by_mac)
        };
        let Some(id) = id else { bail!("no machine {machine:?} has ever booted here") };
        let held = self.known().pins_of(id).count();
        self.apply(id, &Event::Released).await?;
        tracing::info!(machine, pins = held, "released");
        Ok(held)
    }

    /// Lets go of all machines that have given no sign for so many seconds: how many pins ended.
    pub async fn release_quiet(self: &Arc<Self>, seconds: u64) -> Result<usize> {
        let quiet: Vec<(MachineId, usize)> = {
            let known = self.known();
            let mut latest: std::collections::BTreeMap<MachineId, (u64, usize)> =
                std::collections::BTreeMap::new();
            for (pin, _) in known.pins.values() {
                let sign = self.last_sign(pin, known.heard(pin.machine));
                let (last, pins) = latest.entry(pin.machine).or_default();
                (*last, *pins) = ((*last).max(sign), *pins + 1);
            }
            let now = clock::now();
            let silent = latest.into_iter().filter(|(_, (last, _))| now.saturating_sub(*last) >= seconds);
            silent.map(|(machine, (_, pins))| (machine, pins)).collect()
        };
        let mut ended = 0;
        for (machine, pins) in quiet {
            self.apply(machine, &Event::Released).await?;
            tracing::info!(%machine, pins, "released: it has given no sign for {seconds} s");
            ended += pins;
        }
        Ok(ended)
    }

    /// Time has passed: boots that never said `up` count as up, and what they replaced is let go.
    pub async fn tick(self: &Arc<Self>) {
        let mut machines: Vec<MachineId> = self.known().pins.values().map(|(pin, _)| pin.machine).collect();
        machines.sort_unstable();
        machines.dedup();
        for machine in machines {
            if let Err(cause) = self.apply(machine, &Event::Tick).await {
                tracing::error!(%machine, cause = format!("{cause:#}"), "cannot let go of old boots");
            }
        }
    }
}
