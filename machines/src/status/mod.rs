//! How far each machine is, as `oneroot status` shows it.

mod behind;
mod boots;
mod one;
mod others;
mod outlook;
mod rows;

use std::net::IpAddr;

use oneroot_bootconf::Site;
use oneroot_bootconf::asked::Asked;
use oneroot_bootconf::assignment::{Assignment, Signed};
use oneroot_bootconf::decided::Decided;
use oneroot_bootconf::hardware::Claims;
use oneroot_bootconf::pins::Pin;
use oneroot_bootconf::plan::{INITRD, KERNEL};
use oneroot_bootconf::root::Root;
use oneroot_ids::Mac;
use serde::{Deserialize, Serialize};

pub use boots::{BootStatus, BootsStatus, FailedBoot};
pub use one::{ExaminedFact, OneMachine};

use crate::index::refusals::Refusal;
use crate::index::stalls::{LOADED, Stalled, is_without_boot};
use crate::index::steps::BootStep;
use crate::machines::Machines;
use crate::status::behind::Looked;
use crate::status::outlook::Outlook;
use crate::status::rows::{Booted, Row, Tables};

/// One machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MachineStatus {
    /// Its name, or its MAC.
    pub name: String,
    /// The NIC that booted last, or its first.
    pub mac: String,
    /// All its NICs.
    #[serde(default)]
    pub macs: Vec<String>,
    /// Its address: of its boot, else of its lease, else the one that the site keeps for it.
    pub address: Option<String>,
    /// The domain of the network that this is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Its profile: of its boot, else the one that it would boot.
    pub profile: Option<String>,
    /// What it gets that is no profile, when it boots: `local`, `menu NAME` or `held`.
    #[serde(default)]
    pub other: Option<String>,
    /// Whether the site names it, or somebody has adopted it.
    #[serde(default)]
    pub named: bool,
    /// The workloads that it would boot with.
    #[serde(default)]
    pub workloads: Vec<String>,
    /// The groups that it is in.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Who has adopted it or replaced its NIC, and when, seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<Signed>,
    /// What is assigned to it over what the site says: that for now, else that for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned: Option<Assignment>,
    /// What is told of it, by itself and on its way here.
    #[serde(default)]
    pub claims: Claims,
    /// Its newest boot whose root is mounted; where there is none, its newest plan.
    pub boot: Option<String>,
    /// The view of that boot.
    pub view: Option<String>,
    /// The kernel of that boot: a path in its view.
    pub kernel: Option<String>,
    /// `booting`, `running` or `up`; `loaded` where its root does not come from here, and all that does was fetched; none before
    /// the first boot.
    pub phase: Option<String>,
    /// When that phase began, seconds since 1970.
    pub since: Option<u64>,
    /// A plan that is newer than that boot and whose root was never mounted: it boots again, or somebody has fetched its
    /// script.
    #[serde(default)]
    pub planned: Option<Planned>,
    /// When the machine was last heard of, seconds since 1970; none where it has not been since the server started.
    #[serde(default)]
    pub seen: Option<u64>,
    /// Why it would boot something else now than it did: empty where it would not, none where that is not known.
    #[serde(default)]
    pub behind: Option<Vec<String>>,
    /// The steps of the present boot.
    pub steps: Vec<BootStep>,
    /// The last boot script or mount of a root that it was refused, until it gets one.
    #[serde(default)]
    pub refused: Option<Refusal>,
    /// That its boot does not go on, and what usually causes that.
    #[serde(default)]
    pub stalled: Option<Stalled>,
    /// What its init can't get past.
    #[serde(default)]
    pub failed: Option<FailedBoot>,
}

/// The domain of the network that an address is in.
fn domain(site: &Site, address: Option<IpAddr>) -> Option<String> {
    match address? {
        IpAddr::V4(address) => site.network(address)?.domain.clone(),
        IpAddr::V6(_) => None,
    }
}

/// A plan whose root was never mounted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Planned {
    /// Its boot.
    pub boot: String,
    /// Its view.
    pub view: String,
    /// When it was made, seconds since 1970.
    pub since: u64,
    /// Its profile, where that is a kernel alone: no root is ever mounted then.
    #[serde(default)]
    pub kernel_of: Option<String>,
}

/// A pin, for people.
#[derive(Debug, Serialize, Deserialize)]
pub struct PinStatus {
    /// Whose it is: a name, or a MAC.
    pub machine: String,
    /// `booting`, `running` or `up`.
    pub phase: String,
    /// What it holds.
    pub view: String,
    /// Seconds for which its machine has given no sign; none where no server runs that would know.
    #[serde(default)]
    pub quiet: Option<u64>,
}

impl PinStatus {
    /// A pin under the name that its machine has.
    pub fn of(pin: &Pin, name: Option<String>) -> Self {
        Self {
            machine: name.unwrap_or_else(|| pin.mac.to_string()),
            phase: pin.phase.to_string(),
            view: pin.view.to_string(),
            quiet: None,
        }
    }
}

/// How far a boot is. One whose root does not come from here is done with us once it has fetched its last file; after a restart
/// of the server nobody knows whether it has.
fn phase(boot: &Booted, steps: &[BootStep]) -> String {
    let fetches = |step: &BootStep| matches!(step.step.as_str(), "script" | KERNEL | INITRD);
    if boot.root == Root::None && !steps.last().is_some_and(fetches) {
        return LOADED.to_owned();
    }
    boot.pin.phase.to_string()
}

impl Machines {
    /// What is known of every machine right now, in the order of their names. Blocks on the disk.
    pub fn status(&self) -> Vec<MachineStatus> {
        let site = self.site();
        let mut looked = self.nothing_looked_up();
        let mut machines: Vec<MachineStatus> = self
            .rows()
            .into_iter()
            .map(|row| {
                let now = self.outlook(&site, &mut looked, self.asks(&row), None);
                self.shown(&site, &mut looked, row, &now)
            })
            .collect();
        machines.sort_by(|a, b| (&a.name, &a.mac).cmp(&(&b.name, &b.mac)));
        machines
    }

    /// Every machine as the tables have it.
    fn rows(&self) -> Vec<Row> {
        let site = self.site();
        // Everybody who changes something waits meanwhile: nothing but memory is looked at here.
        let (index, steps) = (self.index(), self.steps());
        let (now, refusals) = (self.host.now(), self.refusals());
        let timelines = self.timelines();
        let (steps, refusals, timelines) = (&*steps, &*refusals, &*timelines);
        Tables { site: &site, index: &index, steps, refusals, timelines, now }.rows()
    }

    /// Where the looking up for many machines begins.
    fn nothing_looked_up(&self) -> Looked {
        let mapped = self.mapping().machines.into_iter().map(|machine| (machine.name.clone(), machine));
        Looked::with(mapped.collect())
    }

    /// What a machine would ask for now, as far as that is known.
    fn asks(&self, row: &Row) -> Asked {
        Asked { address: row.address, ..Asked::by(row.mac) }.telling(self.claims(row.mac, None))
    }

    /// Seconds since 1970 at which this server began to serve, by the wall clock.
    pub fn began(&self) -> u64 {
        self.host.shown(self.began)
    }

    /// A machine, and what it would boot now by `now`.
    fn shown(&self, site: &Site, looked: &mut Looked, row: Row, now: &Outlook) -> MachineStatus {
        let (boot, mac) = (row.boot.as_ref(), row.mac);
        let profile = boot.and_then(|boot| boot.profile.clone());
        // A NIC that was replaced since boots no more: one that the machine has now says what it would boot.
        let booted = boot.map(|boot| if row.macs.contains(&boot.mac) { boot.mac } else { mac });
        let behind = boot.zip(booted).and_then(|(boot, mac)| self.behind(site, looked, (mac, boot), now));
        let pin = boot.map(|boot| &boot.pin);
        let is_asked = boot.is_none() || row.steps.last().is_some_and(|last| is_without_boot(&last.step));
        let (would, other, groups) = match &now.decided {
            Ok(Decided::Profile(decision)) => (Some(decision), None, &decision.groups[..]),
            Ok(Decided::Other(other)) => {
                (None, Some(other.way.shown()).filter(|_| is_asked), &other.groups[..])
            }
            Err(_) => (None, None, &[][..]),
        };
        let mapped = row.name.as_ref().and_then(|name| looked.mapped.get(name)).cloned();
        MachineStatus {
            profile: profile.or_else(|| Some(would.as_ref().filter(|_| is_asked)?.profile.clone())),
            other,
            named: row.is_named,
            workloads: would.as_ref().map(|decision| decision.workloads.clone()).unwrap_or_default(),
            groups: groups.to_vec(),
            adopted: mapped.as_ref().and_then(|mapped| mapped.adopted.clone()),
            assigned: mapped.and_then(|mapped| mapped.for_now.or(mapped.assigned)),
            name: row.called(),
            claims: Claims::clone(&now.asked.claims),
            mac: mac.to_string(),
            macs: row.macs.iter().map(Mac::to_string).collect(),
            address: row.address.map(|address| address.to_string()),
            domain: domain(site, row.address),
            boot: pin.map(|pin| pin.boot.to_string()),
            view: pin.map(|pin| pin.view.to_string()),
            kernel: boot.and_then(|boot| boot.kernel.clone()),
            phase: boot.map(|boot| phase(boot, &row.steps)),
            since: pin.map(|pin| self.host.shown(pin.since)),
            planned: row.planned.map(|Booted { pin, profile, root, .. }| Planned {
                boot: pin.boot.to_string(),
                view: pin.view.to_string(),
                since: self.host.shown(pin.made),
                kernel_of: profile.filter(|_| root == Root::None),
            }),
            seen: row.seen.map(|seen| self.host.shown(seen)),
            behind,
            steps: row.steps,
            refused: row.refused.map(|Refusal { told, at }| Refusal { told, at: self.host.shown(at) }),
            stalled: row.stalled,
            failed: row.failed.map(|failure| self.failed_boot(failure)),
        }
    }

    /// When a pin's machine last gave a sign, seconds since 1970. What was before this server began is not known, so that
    /// counts as a sign too: nobody is let go of too early.
    pub(crate) fn last_sign(&self, pin: &Pin, heard: Option<u64>) -> u64 {
        heard.unwrap_or(0).max(pin.since).max(self.began)
    }

    /// Every pin, with its machine's name.
    pub fn held(&self) -> Vec<PinStatus> {
        let index = self.index();
        let pins: Vec<(Pin, Option<u64>)> =
            index.pins.values().map(|(pin, _)| (pin.clone(), index.heard(pin.machine))).collect();
        drop(index);
        let one = |(pin, heard): &(Pin, Option<u64>)| PinStatus {
            quiet: Some(self.host.now().saturating_sub(self.last_sign(pin, *heard))),
            ..PinStatus::of(pin, Some(self.name_of(pin.mac)))
        };
        let mut held: Vec<PinStatus> = pins.iter().map(one).collect();
        held.sort_by(|a, b| (&a.machine, &a.view).cmp(&(&b.machine, &b.view)));
        held
    }
}

#[cfg(test)]
mod tests {
    use crate::boots::tests_on::two;
    use oneroot_bootconf::again::Ask;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_machine_is_decided_about_once_for_all_that_the_status_says_of_it() {
        let home = tempfile::tempdir().unwrap();
        let ([one, _], peer) = two(home.path()).await;
        let machines = &one.machines;
        let script = machines.boot_script(peer, one.mac, None, Ask::Whole).await.unwrap();
        assert!(script.contains("/b/"), "{script}");
        let (site, mut looked) = (machines.site(), machines.nothing_looked_up());
        let rows = machines.rows();
        let counts: Vec<(bool, usize)> = rows
            .into_iter()
            .map(|row| {
                let before = looked.decisions;
                let now = machines.outlook(&site, &mut looked, machines.asks(&row), None);
                let shown = machines.shown(&site, &mut looked, row, &now);
                (shown.behind == Some(Vec::new()), looked.decisions - before)
            })
            .collect();
        // One that has booted, of which is said whether it is behind, and one that the site names and that never has.
        assert_eq!(counts.len(), 2);
        assert!(counts.iter().any(|(is_current, _)| *is_current), "{counts:?}");
        assert!(counts.iter().all(|(_, decisions)| *decisions == 1), "{counts:?}");
    }
}
