//! Plans: one is made when a boot script is fetched, and it is durable before the first byte leaves.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Result, bail};
use oneroot_bootconf::args::{Boot, arguments};
use oneroot_bootconf::export::Export;
use oneroot_bootconf::facts::Facts;
use oneroot_bootconf::identity::{disowned, recognise};
use oneroot_bootconf::pins::{Event, Phase, Pin, changes};
use oneroot_bootconf::plan::{BootPlan, Decision, Root, decide};
use oneroot_bootconf::{BootId, Mac, MachineId, MachineRecord, Site, script};

use super::Machines;
use super::commit::{Changed, TRIES};
use crate::clock;
use crate::planner::Stacked;

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
                tracing::warn!(machine = self.name_of(mac), %mac, reason = format!("{cause:#}"), "has nothing to boot");
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
}
