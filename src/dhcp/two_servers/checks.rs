//! What has to be true after every step, and when everything has come to rest.

use super::*;

impl World {
    /// Both servers know what the state has.
    pub(super) async fn agree(&mut self) {
        let (pins, _) = PINS.list(self.state.as_ref()).await.unwrap();
        let mut due: Vec<(String, String)> =
            pins.iter().map(|(_, pin)| (pin.value.view.to_string(), pin.value.phase.to_string())).collect();
        due.sort();
        for at in [0, 1] {
            let held = self.servers[at].machines.held();
            let mut held: Vec<_> = held.into_iter().map(|held| (held.view, held.phase)).collect();
            held.sort();
            if held != due {
                self.fail(&format!("server {at} has {held:?}, the state {due:?}"));
            }
        }
        for number in 0..NICS {
            let addresses = self.servers.each_ref().map(|server| {
                let address = self.seen.leases.get(&mac(number)).map(|lease| IpAddr::V4(lease.address));
                address.map(|address| {
                    (server.machines.mounts(address).len(), server.machines.has_address(mac(number)))
                })
            });
            if addresses[0] != addresses[1] {
                self.fail(&format!("of NIC {number} the servers know {addresses:?}"));
            }
        }
        self.renewals_are_known();
    }

    /// A lease that has just been given is renewed by either server, without a write.
    pub(super) fn renewals_are_known(&mut self) {
        let fresh = |lease: &&Lease| lease.expires > self.now() + LEASE * 3 / 4;
        let leases: Vec<Lease> = self.seen.leases.values().filter(fresh).cloned().collect();
        for (at, lease) in [0, 1].into_iter().flat_map(|at| leases.iter().map(move |lease| (at, lease))) {
            let Nic { held, xid, .. } = self.nics[usize::from(lease.mac.bytes()[5] - 10)];
            if held.is_none_or(|(address, _)| address != lease.address) {
                continue;
            }
            let renewal = packet(lease.mac, xid, Some(lease.address), &[(53, &[3])]);
            match self.handle(at, &renewal) {
                Step::Reply(reply) if reply.address == Some(lease.address) => self.hears(&reply),
                other => self.fail(&format!("server {at} does not know {lease:?}: {other:?}")),
            }
        }
    }

    /// Takes in what has happened in the state, each transaction by itself.
    pub(super) fn observe(&mut self) {
        let was = self.memory().is_unreachable();
        self.memory().set_unreachable(false);
        while let Some(event) = ready(&mut self.observer) {
            match event {
                Event::Snapshot(listing) => {
                    assert!(listing.records.is_empty(), "the observer missed something");
                }
                Event::Changed(changes) => self.transaction(&changes),
            }
        }
        self.memory().set_unreachable(was);
    }

    pub(super) fn transaction(&mut self, changes: &[Change]) {
        for change in
            changes.iter().filter(|change| change.key.starts_with("leases") || change.key.starts_with("addr"))
        {
            let text = change.value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned());
            self.note("state", &format!("{} {:?} {text:?}", change.key, change.revision));
        }
        let before = self.seen.pins.clone();
        for change in changes {
            if let Some((_, machine)) = MACHINES.changed(change).unwrap() {
                let id = change.key.split_once('/').unwrap().1.parse().unwrap();
                match machine {
                    Some(machine) => drop(self.seen.machines.insert(id, machine)),
                    None => drop(self.seen.machines.remove(&id)),
                }
            } else if let Some((boot, pin)) = PINS.changed(change).unwrap() {
                match pin {
                    Some(pin) => {
                        self.seen.ever[usize::from(pin.is_mounted())].insert(pin.boot);
                        self.seen.pins.insert(pin.boot, pin);
                    }
                    None => drop(self.seen.pins.remove(&boot.parse().unwrap())),
                }
            } else if let Some((mac, lease)) = LEASES.changed(change).unwrap() {
                match lease {
                    Some(lease) => drop(self.seen.leases.insert(mac.parse().unwrap(), lease)),
                    None => drop(self.seen.leases.remove(&mac.parse().unwrap())),
                }
            }
        }
        self.holds(&before);
    }

    pub(super) fn holds(&self, before: &BTreeMap<BootId, Pin>) {
        let mut addresses = BTreeMap::new();
        for lease in self.seen.leases.values() {
            if let Some(other) = addresses.insert(lease.address, lease.mac) {
                self.fail(&format!("{} is leased to {other} and to {}", lease.address, lease.mac));
            }
        }
        let mut owners = BTreeMap::new();
        for (mac, id) in
            self.seen.machines.values().flat_map(|record| record.macs.iter().map(|mac| (mac, record.id)))
        {
            if let Some(other) = owners.insert(mac, id) {
                self.fail(&format!("{mac} is in the machines {other} and {id}"));
            }
        }
        let mut of: BTreeMap<MachineId, Vec<&Pin>> = BTreeMap::new();
        self.seen.pins.values().for_each(|pin| of.entry(pin.machine).or_default().push(pin));
        for (machine, pins) in &of {
            let mounted = pins.iter().filter(|pin| pin.is_mounted()).count();
            let made: BTreeSet<u64> = pins.iter().map(|pin| pin.made).collect();
            if mounted > MOST || pins.len() > MOST.max(mounted + 1) {
                self.fail(&format!("{machine} has {} pins, {mounted} of them mounted", pins.len()));
            }
            if made.len() < pins.len() {
                self.fail(&format!("two plans of {machine} have one time: neither is the later"));
            }
            if !self.seen.machines.contains_key(machine) {
                self.fail(&format!("{machine} has pins and no record"));
            }
        }
        for (boot, pin) in
            before.iter().filter(|(boot, pin)| pin.is_mounted() && !self.seen.pins.contains_key(*boot))
        {
            let mounted = of.get(&pin.machine).into_iter().flatten().filter(|pin| pin.is_mounted());
            if mounted.count() == 0 && !self.seen.released.contains(&pin.machine) {
                self.fail(&format!("the mounted root of {boot} is lost, and nobody let go of it"));
            }
        }
    }
}
