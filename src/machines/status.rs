//! How far each machine is, as `oneroot status` shows it.

use std::collections::HashMap;

use oneroot_bootconf::Mac;
use oneroot_bootconf::pins::Pin;
use serde::{Deserialize, Serialize};

use super::{Known, Machines};
use super::refusals::Refusal;
use super::stalls::Stalled;
use super::steps::{Step, Steps};
use crate::control::Held;
use crate::net::interfaces::InterfaceStatus;
use crate::{clock, confine};

/// The whole answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Seconds since 1970 at the server, by its wall clock.
    pub now: u64,
    /// Seconds by which that clock is ahead of the time that has really passed; negative when it is behind. Leases and
    /// boots go by the latter.
    #[serde(default)]
    pub clock_ahead: i64,
    /// Version of the server's binary.
    pub version: String,
    /// What the server has taken from itself; none from a server that knows nothing of that.
    #[serde(default)]
    pub confinement: Option<confine::Report>,
    /// Every machine that the site names or that was seen.
    pub machines: Vec<MachineStatus>,
    /// The site's interfaces, in its order.
    #[serde(default)]
    pub interfaces: Vec<InterfaceStatus>,
    /// Addresses that machines are told and that this host does not have: nothing can be reached there.
    #[serde(default)]
    pub missing_addresses: Vec<String>,
}

/// One NIC's machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MachineStatus {
    /// Its name, or its MAC.
    pub name: String,
    /// Its MAC.
    pub mac: String,
    /// Its address, while it has one.
    pub address: Option<String>,
    /// Its profile in the present boot.
    pub profile: Option<String>,
    /// Its newest boot.
    pub boot: Option<String>,
    /// The view of that boot.
    pub view: Option<String>,
    /// The kernel of that boot: a path in its view.
    pub kernel: Option<String>,
    /// `booting`, `running` or `up`; none before the first boot.
    pub phase: Option<String>,
    /// When that phase began, seconds since 1970.
    pub since: Option<u64>,
    /// The steps of the present boot.
    pub steps: Vec<Step>,
    /// The last mount of its root that was refused, until it mounts one.
    #[serde(default)]
    pub refused: Option<Refusal>,
    /// That its boot does not go on, and what usually causes that.
    #[serde(default)]
    pub stalled: Option<Stalled>,
}

impl Machines {
    /// What is known of every machine right now.
    pub fn status(&self) -> Status {
        let (known, steps) = (self.known(), self.steps());
        let mut macs: Vec<Mac> = known.macs().chain(steps.macs()).collect();
        macs.extend(self.site().machines.values().flat_map(|machine| machine.macs.iter().copied()));
        macs.sort_unstable();
        macs.dedup();
        // Everybody who changes something waits meanwhile, so no pin is looked at for every machine.
        let mut newest: HashMap<Mac, &Pin> = HashMap::new();
        for (pin, _) in known.pins.values() {
            let of_mac = newest.entry(pin.mac).or_insert(pin);
            if (pin.made, pin.boot) > (of_mac.made, of_mac.boot) {
                *of_mac = pin;
            }
        }
        let mut machines: Vec<MachineStatus> = Vec::new();
        for mac in macs {
            let newest = newest.get(&mac);
            let plan = newest.and_then(|pin| known.plans.get(&pin.boot));
            machines.push(MachineStatus {
                name: self.name_of(mac),
                mac: mac.to_string(),
                address: newest.map(|pin| pin.address.to_string()),
                profile: plan.map(|plan| plan.profile.clone()),
                boot: newest.map(|pin| pin.boot.to_string()),
                view: newest.map(|pin| pin.view.to_string()),
                kernel: plan.map(|plan| plan.kernel.clone()),
                phase: newest.map(|pin| format!("{:?}", pin.phase).to_lowercase()),
                since: newest.map(|pin| clock::shown(pin.since)),
                steps: steps.of(mac).to_vec(),
                refused: newest.and_then(|pin| self.refusals().of(pin.machine)),
                stalled: self.stalled(&known, &steps, mac),
            });
        }
        machines.sort_by(|a, b| (&a.name, &a.mac).cmp(&(&b.name, &b.mac)));
        let (site, interfaces) = (self.site(), self.interfaces.get());
        let missing = interfaces.map_or_else(Vec::new, |interfaces| interfaces.missing(&site));
        Status {
            now: clock::shown(clock::now()),
            clock_ahead: clock::ahead(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            confinement: confine::report(),
            machines,
            interfaces: interfaces.map_or_else(Vec::new, |interfaces| interfaces.status(&site)),
            missing_addresses: missing.iter().map(ToString::to_string).collect(),
        }
    }

    fn stalled(&self, known: &Known, steps: &Steps, mac: Mac) -> Option<Stalled> {
        let machine = known.machine_of(mac);
        let mut pins = machine.into_iter().flat_map(|machine| known.pins_of(machine));
        let runs = pins.any(|(pin, _)| pin.is_mounted());
        let is_ours = machine.is_some() || self.site().machine(mac).is_some();
        steps.stalled(mac, runs, clock::now()).filter(|_| is_ours)
    }

    /// When a pin's machine last gave a sign, seconds since 1970. What was before this server began is not known, so that
    /// counts as a sign too: nobody is let go of too early.
    pub(super) fn last_sign(&self, pin: &Pin, heard: Option<u64>) -> u64 {
        heard.unwrap_or(0).max(pin.since).max(self.began)
    }

    /// Every pin, with its machine's name.
    pub fn held(&self) -> Vec<Held> {
        let known = self.known();
        let pins: Vec<(Pin, Option<u64>)> =
            known.pins.values().map(|(pin, _)| (pin.clone(), known.heard(pin.machine))).collect();
        drop(known);
        let one = |(pin, heard): &(Pin, Option<u64>)| Held {
            quiet: Some(clock::now().saturating_sub(self.last_sign(pin, *heard))),
            ..Held::of(pin, Some(self.name_of(pin.mac)))
        };
        let mut held: Vec<Held> = pins.iter().map(one).collect();
        held.sort_by(|a, b| (&a.machine, &a.view).cmp(&(&b.machine, &b.view)));
        held
    }
}
