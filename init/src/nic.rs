//! The NIC that booted: its driver is loaded, it is found by its address whatever it is called, and its carrier is waited for.
//!
//! Where several have that address, it is the first that has a carrier. A NIC may come late (USB), and so may what it is
//! plugged into: devices are looked at anew until it is there.

use std::collections::BTreeSet;
use std::time::Duration;

use oneroot_ids::Mac;
use oneroot_initrd::report::Phase;
use oneroot_initrd::settings::Overlay;

use crate::devices;
use crate::kernel::{Errno, Kernel, Link};
use crate::machine::{Halt, Machine, Over};
use crate::modules::Modules;
use crate::trouble::Trouble;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// The same, once nobody hopes for it any second.
const LATER: Duration = Duration::from_secs(1);
/// A link's name has so many bytes at most (`IFNAMSIZ`).
const LONGEST_NAME: usize = 15;
/// What init needs of a kernel beside the NIC's driver: the root is mounted with the first, and laid over with the second.
const NEEDED: [&str; 2] = ["nfsv3", "overlay"];

/// Loads what the machine's devices and this boot need, until the NIC is there.
///
/// # Errors
/// When the machine is to be started again.
pub fn find(machine: &mut Machine<'_>, modules: &Modules<'_>) -> Result<(), Over> {
    machine.teller.begin(Phase::Drivers);
    let kernel = machine.kernel;
    let begun = kernel.now();
    let mut looks = Looks::new(machine);
    loop {
        let is_new = looks.load(kernel, modules);
        let found = matching(kernel, machine.settings.mac);
        if !found.is_empty() {
            machine.gets_on();
            machine.teller.done(&format!("{}, {} modules", names(&found), modules.count()));
            return Ok(());
        }
        let waited = kernel.now().saturating_sub(begun);
        if waited < machine.patience() {
            // A driver of a bus has devices of its own: those are looked at at once.
            kernel.sleep(if is_new { Duration::ZERO } else { LOOK });
            continue;
        }
        let trouble = looks.why(machine);
        machine.waits(&trouble, LATER)?;
    }
}

/// What was seen and tried so far.
struct Looks<'m> {
    seen: BTreeSet<String>,
    /// By name, at the first look.
    needed: BTreeSet<&'m str>,
    wrong: Vec<Trouble>,
}

impl Looks<'static> {
    fn new(machine: &Machine<'_>) -> Self {
        let mut needed = BTreeSet::from(NEEDED);
        needed.extend(machine.settings.vlan.map(|_| "8021q"));
        if matches!(machine.settings.overlay, Overlay::Zram(..)) {
            needed.insert("zram");
        }
        Self { seen: BTreeSet::new(), needed, wrong: Vec::new() }
    }

    /// Loads the drivers of devices that were not there before; whether there are any.
    fn load(&mut self, kernel: &dyn Kernel, modules: &Modules<'_>) -> bool {
        let now = devices::modaliases(kernel);
        let new: BTreeSet<String> = now.difference(&self.seen).cloned().collect();
        let mut names: BTreeSet<&str> = modules.matching(&new);
        names.extend(std::mem::take(&mut self.needed));
        let wrong = modules.load(kernel, &names);
        // A driver that finds none of its devices says so, and that is nothing wrong.
        let is_wrong = |trouble: &Trouble| !matches!(trouble, Trouble::Module { errno: Errno::NODEV, .. });
        self.wrong.extend(wrong.into_iter().filter(is_wrong));
        self.seen = now;
        !names.is_empty()
    }

    /// Why there is no NIC, the most telling first.
    fn why(&self, machine: &Machine<'_>) -> Trouble {
        let kernel = machine.kernel;
        if let Some((driver, file)) = devices::missing_firmware(kernel).into_iter().next() {
            return Trouble::Firmware { driver, file };
        }
        let needless = |trouble: &&Trouble| !matches!(trouble, Trouble::Module { module, .. } if NEEDED.contains(&module.as_str()));
        // That a module is in use says least.
        let (busy, others): (Vec<&Trouble>, Vec<&Trouble>) =
            self.wrong.iter().filter(needless).partition(|trouble| trouble.is_busy());
        if let Some(trouble) = others.first() {
            return (*trouble).clone();
        }
        let without: Vec<String> = devices::without_driver(kernel).into_iter().collect();
        if !without.is_empty() {
            return Trouble::NoDriver { devices: without.join(", "), release: kernel.release() };
        }
        if let Some(trouble) = busy.first() {
            return (*trouble).clone();
        }
        let there: Vec<String> =
            kernel.links().unwrap_or_default().iter().filter(|link| !link.made).map(named).collect();
        let seen = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        Trouble::NoNic { mac: machine.settings.mac, patience: machine.settings.patience, seen }
    }
}

/// Waits until a NIC of the machine's address has a carrier.
///
/// # Errors
/// When the machine is to be started again.
pub fn carrier(machine: &mut Machine<'_>, modules: &Modules<'_>) -> Result<Link, Over> {
    machine.teller.begin(Phase::Carrier);
    let kernel = machine.kernel;
    let (begun, mut up) = (kernel.now(), BTreeSet::new());
    let mut looks = Looks::new(machine);
    loop {
        let found = matching(kernel, machine.settings.mac);
        let mut refused = None;
        for link in &found {
            match kernel.bring_up(link.index) {
                _ if up.contains(&link.index) => {}
                Ok(()) => drop(up.insert(link.index)),
                Err(errno) => {
                    refused = Some(Trouble::Link { link: link.name.clone(), what: "brought up", errno });
                }
            }
        }
        if let Some(link) = matching(kernel, machine.settings.mac).into_iter().find(|link| link.carrier) {
            machine.gets_on();
            machine.teller.done(&named(&link));
            return Ok(link);
        }
        let waited = kernel.now().saturating_sub(begun);
        if waited < machine.patience() {
            kernel.sleep(LOOK);
            continue;
        }
        // Its driver may have asked for a module of the PHY, or the NIC went and comes again.
        looks.load(kernel, modules);
        let firmware = || devices::missing_firmware(kernel).into_iter().next();
        let trouble = match refused {
            // Many a driver asks for firmware that it can do without, and a cable that is not in is no fault of that.
            Some(refused) => firmware().map_or(refused, |(driver, file)| Trouble::Firmware { driver, file }),
            None => Trouble::NoCarrier {
                link: found.iter().map(|link| link.name.as_str()).collect::<Vec<_>>().join(", "),
                mac: machine.settings.mac,
                seconds: machine.settings.patience.into(),
            },
        };
        machine.waits(&trouble, LATER)?;
    }
}

/// The link that the machine's frames go over: that of the VLAN, where there is one.
///
/// # Errors
/// When the machine is to be started again, or the NIC is gone.
pub fn tagged(machine: &mut Machine<'_>, link: Link) -> Result<Link, Halt> {
    let Some(vlan) = machine.settings.vlan else { return Ok(link) };
    let number = vlan.to_string();
    let room = LONGEST_NAME.saturating_sub(number.len() + 1);
    let name = format!("{}.{number}", link.name.get(..room.min(link.name.len())).unwrap_or("nic"));
    if let Some(mtu) = machine.settings.mtu {
        // A VLAN's frames are no longer than what is below carries; where that can't be had, its address tells of it.
        let _ = machine.kernel.set_mtu(link.index, mtu);
    }
    let mut tries = 0;
    loop {
        let made = machine.kernel.add_vlan(link.index, vlan, &name).and_then(|()| {
            let made =
                machine.kernel.links()?.into_iter().find(|link| link.name == name).ok_or(Errno::NODEV)?;
            machine.kernel.bring_up(made.index).map(|()| made)
        });
        match made {
            Ok(made) => return Ok(made),
            Err(errno) => {
                let trouble = Trouble::Link { link: name.clone(), what: "made for the VLAN", errno };
                let pause = machine.pause(tries);
                machine.waits_over(&link, &trouble, pause)?;
                tries += 1;
            }
        }
    }
}

/// NICs with this address, by the order of their numbers: those that have it now, else those that came with it.
fn matching(kernel: &dyn Kernel, mac: Mac) -> Vec<Link> {
    let mut links = kernel.links().unwrap_or_default();
    links.retain(|link| !link.made);
    let has = |of: fn(&Link) -> Option<Mac>| links.iter().filter(move |link| of(link) == Some(mac)).cloned();
    let now: Vec<Link> = has(|link| link.mac).collect();
    if now.is_empty() { has(|link| link.own_mac).collect() } else { now }
}

fn names(links: &[Link]) -> String {
    links.iter().map(named).collect::<Vec<_>>().join(", ")
}

fn named(link: &Link) -> String {
    match link.mac {
        Some(mac) => format!("{} {mac}", link.name),
        None => link.name.clone(),
    }
}
