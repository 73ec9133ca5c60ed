//! What is told of machines: who tells it, and what a boot is decided by.

use std::net::IpAddr;
use std::sync::Arc;

use oneroot_bootconf::Site;
use oneroot_bootconf::asked::{Asked, Catalogue};
use oneroot_bootconf::decided::Decided;
use oneroot_bootconf::decision::decide;
use oneroot_bootconf::facts::Facts;
use oneroot_bootconf::hardware::{Claims, Hardware};
use oneroot_bootconf::identity::may_claim;
use oneroot_bootconf::root::{Drivers, Initramfs, Root};
use oneroot_ids::Mac;

use crate::index::sightings::Sighting;
use crate::machines::Machines;

impl Machines {
    /// Whether a NIC's machine is asked for the facts of its hardware before it is told what to boot. One that nobody has named
    /// always is, for whoever looks at it wants to know what it is.
    pub(crate) fn asks_for_facts(&self, site: &Site, mac: Mac) -> bool {
        site.server.facts
            || site.goes_by_facts()
            || site.machine(mac).is_none()
            || self.wants_its_driver(site, mac)
    }

    /// What the link of a NIC's machine carries, where the site says it; by all that the machine has told, as its boot is decided. A
    /// profile says it of the link to the root, so a machine with more NICs than one is told nothing: this may be another.
    pub fn mtu(&self, site: &Site, mac: Mac) -> Option<u16> {
        let has_others = site.machine(mac).is_some_and(|(_, machine)| machine.macs.len() > 1);
        if !site.says_mtu() || has_others {
            return None;
        }
        let asked = Asked::by(mac).telling(self.claims(mac, None));
        match decide(&Catalogue::of(site).at(self.host.now()), &asked) {
            Ok(Decided::Profile(decision)) => decision.own.mtu,
            _ => None,
        }
    }

    /// Whether a NIC's machine gets an initrd with the driver of its NIC alone: then it is asked which that is, each time, for a
    /// virtual machine may have another one of the same MAC.
    fn wants_its_driver(&self, site: &Site, mac: Mac) -> bool {
        let Ok(Decided::Profile(decision)) =
            decide(&Catalogue::of(site).at(self.host.now()), &Asked::by(mac))
        else {
            return false;
        };
        let goes_by_nic = decision.own.drivers.unwrap_or_default() == Drivers::Nic;
        decision.root == Root::Nfs
            && goes_by_nic
            && match decision.initramfs {
                Some(initramfs) => initramfs == Initramfs::Oneroot,
                // Its tree says it, once that was looked into. Until then one question too many costs less than a machine without
                // its driver.
                None => self.planner.may_make_initrds_for(&decision.profile),
            }
    }

    /// DHCP has heard of a NIC that wants to boot.
    pub fn heard_of(&self, mac: Mac, claims: Claims) {
        self.sighted().heard(mac, claims, self.host.now());
    }

    /// A NIC's machine asks for its boot script, and may say this of its hardware.
    pub(crate) fn hears(&self, mac: Mac, peer: IpAddr, told: Option<Hardware>) {
        self.sighted().told(mac, peer, told, self.host.now());
    }

    /// What a NIC's boot is decided by: what is told now, where somebody asks now, else what was told last.
    pub(crate) fn claims(&self, mac: Mac, told: Option<Hardware>) -> Arc<Claims> {
        // Before the sightings are locked, for it takes the tables' lock.
        let before = self.last_facts(mac).map(claims_of);
        let site = self.site();
        let examined = self.index().examined_of(&site, mac);
        Arc::new(Claims { examined, ..self.sighted().claims(mac, told, before) })
    }

    /// What is told of a NIC, for whoever looks at what it would boot, and from where it last asked for a script.
    pub fn known_of(&self, mac: Mac) -> (Claims, Option<IpAddr>) {
        let address = self.sighted().all_of(mac).and_then(|seen| seen.address);
        (Claims::clone(&self.claims(mac, None)), address)
    }

    /// What a NIC's last boot was told.
    fn last_facts(&self, mac: Mac) -> Option<Facts> {
        let index = self.index();
        // Of this NIC alone: another one of the same machine is at another port of a switch.
        let pins = index.pins_of(index.machine_of(mac)?).map(|(pin, _)| pin).filter(|pin| pin.mac == mac);
        let newest = pins.max_by_key(|pin| (pin.made, pin.boot))?;
        index.plans.get(&newest.boot)?.facts.clone()
    }

    /// Whether nobody else has a name that a rule gives to a NIC's machine.
    pub(crate) fn may_be_called(&self, site: &Site, name: &str, mac: Mac) -> bool {
        let index = self.index();
        let records = index.machines.values().map(|(record, _)| record);
        !site.machines.contains_key(name) && may_claim(name, index.machine_of(mac), records)
    }

    /// Every NIC that has wanted to boot since the server started, with all that is told of it, in the order in which they came.
    /// Those of the site are among them.
    pub fn sightings(&self) -> Vec<Sighting> {
        // Copied and let go of, for `claims` takes the same lock for each of them.
        let seen: Vec<_> = {
            let sighted = self.sighted();
            sighted.all().map(|(mac, seen)| (mac, seen.clone())).collect()
        };
        let site = self.site();
        let mut all: Vec<Sighting> = seen
            .into_iter()
            .map(|(mac, seen)| {
                let mut claims = Claims::clone(&self.claims(mac, None));
                if let Some(address) = seen.address {
                    claims.location = site.located(claims.location, address);
                }
                let named = site.machine(mac).map(|(name, _)| name.to_owned());
                Sighting {
                    mac,
                    named: named.is_some(),
                    name: named.or_else(|| self.claimed_by(mac)),
                    address: seen.address,
                    claims,
                    first: self.host.shown(seen.first),
                    last: self.host.shown(seen.last),
                    times: seen.times,
                }
            })
            .collect();
        all.sort_by_key(|sighting| (sighting.first, sighting.mac));
        all
    }

    fn claimed_by(&self, mac: Mac) -> Option<String> {
        let index = self.index();
        index.machines.get(&index.machine_of(mac)?)?.0.claimed.clone()
    }
}

/// What a boot's facts have of what was told.
pub(crate) fn claims_of(facts: Facts) -> Claims {
    Claims { hardware: facts.hardware, location: facts.location, examined: facts.examined }
}

#[cfg(test)]
mod tests {
    use crate::boots::tests_on::two;
    use crate::boots::unknown::tests::site_with;

    /// What a profile says is of the link to the root: another NIC may be in a network that carries less.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_mtu_is_told_to_a_machine_of_one_nic_and_not_to_one_of_two() {
        let home = tempfile::tempdir().unwrap();
        let ([one, _], _) = two(home.path()).await;
        let more = "[profile.jumbo]\nextends = \"a\"\nmtu = 9000\n\
            [machine.beta]\nmac = \"52:54:00:00:00:0b\"\nprofile = \"jumbo\"\n\
            [machine.gamma]\nmac = [\"52:54:00:00:00:0c\", \"52:54:00:00:00:0d\"]\nprofile = \"jumbo\"\n";
        let site = site_with(home.path(), true, more);
        let told = ["0a", "0b", "0c", "0d"]
            .map(|last| one.machines.mtu(&site, format!("52:54:00:00:00:{last}").parse().unwrap()));
        assert_eq!(told, [None, Some(9000), None, None]);
    }
}
