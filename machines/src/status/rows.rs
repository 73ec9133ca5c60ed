//! The rows of `oneroot status`: one for each machine, whichever of its NICs has booted.
//!
//! | a row is | its MACs |
//! |---|---|
//! | a machine of the site, also one that has never booted | the site's; a NIC that was replaced is no row of its own |
//! | a machine that is on record and not in the site | its record's |
//! | a NIC that has taken a step and is nobody's | that one |
//!
//! Made under the tables' lock, so nothing here is looked up by going through all of them, and nothing waits for a disk.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use oneroot_bootconf::Site;
use oneroot_bootconf::facts::Facts;
use oneroot_bootconf::log_place::LogPlace;
use oneroot_bootconf::mounts::Mounts;
use oneroot_bootconf::pins::Pin;
use oneroot_bootconf::plan::Mounted;
use oneroot_bootconf::root::{Initramfs, Root};
use oneroot_bootconf::secrets::Secrets;
use oneroot_ids::{Mac, MachineId};

use crate::index::MachineIndex;
use crate::index::refusals::{Refusal, Refusals};
use crate::index::stalls::Stalled;
use crate::index::steps::{BootStep, BootSteps};
use crate::index::timelines::{BootFailure, Timelines};

/// What a boot was told, as far as the status asks.
pub struct Booted {
    pub pin: Pin,
    /// The NIC that its script went to; the root may be mounted by another.
    pub mac: Mac,
    pub profile: Option<String>,
    /// What somebody has chosen in its menu.
    pub choice: Option<String>,
    pub kernel: Option<String>,
    pub args: Vec<String>,
    pub facts: Option<Facts>,
    /// Where its root comes from.
    pub root: Root,
    /// What mounts it.
    pub initramfs: Option<Initramfs>,
    /// What it mounts besides, and what it has of the profiles among that.
    pub mounts: Mounts,
    /// Where its log goes.
    pub log: Option<LogPlace>,
    /// Which secrets it may ask for.
    pub secrets: Secrets,
    pub mounted: Mounted,
}

/// One machine.
pub struct Row {
    /// Its record; none where it has never booted.
    pub id: Option<MachineId>,
    /// Its name in the site, or by a rule.
    pub name: Option<String>,
    /// Whether it is the site's.
    pub is_named: bool,
    /// The NIC that booted last, or the first that it has.
    pub mac: Mac,
    /// All its NICs.
    pub macs: Vec<Mac>,
    pub address: Option<IpAddr>,
    /// Its newest boot whose root is mounted, else its newest plan.
    pub boot: Option<Booted>,
    /// A plan that is newer than that.
    pub planned: Option<Booted>,
    pub steps: Vec<BootStep>,
    pub refused: Option<Refusal>,
    pub stalled: Option<Stalled>,
    /// What the init of its newest boot can't get past.
    pub failed: Option<BootFailure>,
    /// Site time at which it was last heard of.
    pub seen: Option<u64>,
}

impl Row {
    /// What people call it: its name, or its MAC.
    pub fn called(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.mac.to_string())
    }

    /// Whether somebody means it by this name or MAC, however that is written, with colons or dashes.
    pub fn is(&self, asked: &str) -> bool {
        let mac = asked.parse::<Mac>().ok();
        self.name.as_deref() == Some(asked)
            || mac.is_some_and(|mac| self.mac == mac || self.macs.contains(&mac))
    }
}

/// All that rows are made of.
pub struct Tables<'a> {
    pub site: &'a Site,
    pub index: &'a MachineIndex,
    pub steps: &'a BootSteps,
    pub refusals: &'a Refusals,
    pub timelines: &'a Timelines,
    /// Site time.
    pub now: u64,
}

impl Tables<'_> {
    /// Every row, in no order.
    pub fn rows(&self) -> Vec<Row> {
        let by_name: HashMap<&str, MachineId> = self
            .index
            .machines
            .values()
            .filter_map(|(record, _)| Some((record.name.as_deref()?, record.id)))
            .collect();
        let (mut rows, mut taken, mut shown) = (Vec::new(), HashSet::new(), HashSet::new());
        for (name, machine) in &self.site.machines {
            let by_mac = || machine.macs.iter().find_map(|mac| self.index.machine_of(*mac));
            // A record is one row's alone, though a NIC that has moved may lead two names to it.
            let id = by_name.get(name.as_str()).copied().or_else(by_mac).filter(|id| taken.insert(*id));
            shown.extend(id.into_iter().flat_map(|id| self.macs_of(id)));
            shown.extend(&machine.macs);
            rows.extend(self.row(Some(name), machine.macs.clone(), id));
        }
        for (record, _) in self.index.machines.values() {
            if taken.insert(record.id) {
                let mut macs = self.macs_of(record.id);
                macs.retain(|mac| shown.insert(*mac));
                rows.extend(self.row(None, macs, Some(record.id)));
            }
        }
        let others: Vec<Mac> = self.steps.macs().filter(|mac| !shown.contains(mac)).collect();
        rows.extend(others.into_iter().filter_map(|mac| self.row(None, vec![mac], None)));
        rows
    }

    /// The NICs of a record and of its pins.
    fn macs_of(&self, id: MachineId) -> Vec<Mac> {
        let own = self.index.machines.get(&id).map(|(record, _)| record.macs.clone()).unwrap_or_default();
        let pinned = self.index.pins_of(id).map(|(pin, _)| pin.mac);
        own.into_iter().chain(pinned).collect()
    }

    fn row(&self, name: Option<&String>, macs: Vec<Mac>, id: Option<MachineId>) -> Option<Row> {
        let pins = || id.into_iter().flat_map(|id| self.index.pins_of(id)).map(|(pin, _)| pin);
        let newest = pins().max_by_key(|pin| (pin.made, pin.boot));
        let mounted = pins().filter(|pin| pin.is_mounted()).max_by_key(|pin| (pin.made, pin.boot));
        let counts = mounted.or(newest);
        let planned = newest.filter(|pin| !pin.is_mounted() && counts != Some(*pin));
        let stepped = macs.iter().filter_map(|mac| Some((self.steps.seen(*mac)?, *mac))).max();
        let booted = counts.map(|pin| pin.mac).filter(|mac| macs.contains(mac));
        let mac = stepped.map(|(_, mac)| mac).or(booted).or_else(|| macs.first().copied())?;
        let heard = id.and_then(|id| self.index.heard(id));
        let lease = || macs.iter().find_map(|mac| self.index.address(*mac));
        let kept = || macs.iter().find_map(|mac| self.site.machine(*mac)?.1.address_of(*mac)).map(IpAddr::V4);
        let is_ours = name.is_some() || id.is_some();
        let told = id.zip(newest).and_then(|(id, newest)| self.timelines.boot(id, newest.boot));
        let refused = id.and_then(|id| self.refusals.of(id)).into_iter().chain(self.steps.refused(mac));
        Some(Row {
            id,
            is_named: name.is_some(),
            name: name.cloned().or_else(|| self.index.machines.get(&id?)?.0.claimed.clone()),
            mac,
            address: counts.map(|pin| pin.address).or_else(lease).or_else(kept),
            boot: counts.map(|pin| self.booted(pin)),
            planned: planned.map(|pin| self.booted(pin)),
            steps: self.steps.of(mac).to_vec(),
            refused: refused.max_by_key(|refused| refused.at),
            stalled: self.steps.stalled(mac, mounted.is_some(), self.now).filter(|_| is_ours),
            failed: told.and_then(|timeline| timeline.failed()).cloned(),
            seen: heard.max(stepped.map(|(seen, _)| seen)),
            macs,
        })
    }

    fn booted(&self, pin: &Pin) -> Booted {
        let plan = self.index.plans.get(&pin.boot);
        Booted {
            pin: pin.clone(),
            mac: plan.map_or(pin.mac, |plan| plan.mac),
            profile: plan.map(|plan| plan.profile.clone()),
            choice: plan.and_then(|plan| plan.choice.clone()),
            kernel: plan.map(|plan| plan.kernel.to_string()),
            args: plan.map(|plan| plan.args.clone()).unwrap_or_default(),
            facts: plan.and_then(|plan| plan.facts.clone()),
            root: plan.map(|plan| plan.root).unwrap_or_default(),
            initramfs: plan.and_then(|plan| plan.initramfs),
            mounts: plan.map(|plan| plan.mounts.clone()).unwrap_or_default(),
            log: plan.and_then(|plan| plan.log.clone()),
            secrets: plan.map(|plan| plan.secrets.clone()).unwrap_or_default(),
            mounted: plan.map(|plan| plan.mounted.clone()).unwrap_or_default(),
        }
    }
}
