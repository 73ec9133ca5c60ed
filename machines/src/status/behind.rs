//! Whether a machine runs what it would boot now. Asked of every machine at once, so nothing is rendered, stacked or written
//! for it: the generations that its view is a stack of are compared with the heads, and what its boot was told with what the
//! site says. A rendered generation is the same where its template's layer and the facts are.
//!
//! What is not compared: which file of the same view is the kernel, where the site names another.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use oneroot_bootconf::Site;
use oneroot_bootconf::args::{Boot, arguments};
use oneroot_bootconf::asked::{Asked, Catalogue};
use oneroot_bootconf::decided::Decided;
use oneroot_bootconf::decision::{Decision, Part};
use oneroot_bootconf::differences::chosen_otherwise;
use oneroot_bootconf::export::Export;
use oneroot_bootconf::facts::Facts;
use oneroot_bootconf::given::Given;
use oneroot_bootconf::hardware::Claims;
use oneroot_bootconf::mounts::Mounts;
use oneroot_bootconf::root::{Initramfs, Root};
use oneroot_ids::{GenerationId, Mac, ViewId};

use crate::access::claims::claims_of;
use crate::machines::Machines;
use crate::mapping::MappedMachine;
use crate::planner::shown;
use crate::status::outlook::{Outlook, located};
use crate::status::rows::Booted;

/// What was looked up so far: the same for many machines.
#[derive(Default)]
pub struct Looked {
    heads: BTreeMap<Part, Option<GenerationId>>,
    stacks: HashMap<ViewId, Option<Vec<GenerationId>>>,
    /// What the mapping has of machines, by name.
    pub mapped: HashMap<String, MappedMachine>,
    /// What was decided for it so far.
    #[cfg(test)]
    pub decisions: usize,
}

impl Looked {
    /// Nothing yet but what the mapping has of machines, by name.
    pub fn with(mapped: HashMap<String, MappedMachine>) -> Self {
        Self { mapped, ..Self::default() }
    }

    /// Counts a decision: a test holds that there is one for each machine.
    pub fn decides(&mut self) {
        #[cfg(test)]
        {
            self.decisions += 1;
        }
    }
}

/// A place of the stack that a machine would boot.
enum Place {
    /// This generation, of this part.
    Is(GenerationId, String),
    /// What this part's templates become, another profile's kernel or tree, or the machine's own files: made at a boot.
    Made,
}

impl Machines {
    /// Why a machine would boot something else now; nothing where it would not, none where that is not known. `now` is what it
    /// would boot by what it tells now. Blocks on the disk.
    pub(crate) fn behind(
        &self,
        site: &Site,
        looked: &mut Looked,
        (mac, booted): (Mac, &Booted),
        now: &Outlook,
    ) -> Option<Vec<String>> {
        let address = planned_at(booted);
        // By what it told then: what it will tell at its next boot nobody knows. What it has found out since is on record.
        let claims = booted.facts.clone().map(claims_of).unwrap_or_default();
        let claims = Claims { examined: self.index().examined_of(site, mac), ..claims };
        let asked = located(site, Asked::at(mac, address).telling(Arc::new(claims)));
        let otherwise;
        let Outlook { asked, said, decided, .. } = if (&now.asked, &now.choice) == (&asked, &booted.choice) {
            now
        } else {
            otherwise = self.outlook(site, looked, asked, booted.choice.as_deref());
            &otherwise
        };
        let catalogue = Catalogue::of(site).at(self.host.now());
        let catalogue = said.as_ref()?.as_ref().map_or(catalogue, |gives| catalogue.told(gives));
        let decision = match decided {
            Ok(Decided::Profile(decision)) => decision,
            Ok(Decided::Other(other)) => {
                return Some(vec![format!("at its next boot it {}", other.way.in_words())]);
            }
            Err(cause) => return Some(vec![cause.to_string()]),
        };
        let view = booted.pin.view;
        let stack =
            looked.stacks.entry(view).or_insert_with(|| self.planner.store().stack(view).ok()).clone()?;
        let (places, renders) = self.places(site, looked, decision, booted)?;
        let anew = |before: &Facts| chosen_otherwise((&before.profile, &before.workloads), decision);
        let words = booted.facts.as_ref().map(anew).unwrap_or_default();
        // What is decided otherwise makes another stack, and there is no more to say of that.
        let mut reasons = if words.is_empty() { differences(&places, &stack) } else { words };
        let facts = Facts::of(&catalogue, decision, asked);
        if booted.facts.as_ref().is_some_and(|before| self.render_otherwise(&renders, before, &facts)) {
            reasons.push("what its templates are rendered from has changed".to_owned());
        }
        let is_given = decision.root == Root::Nfs;
        if !is_given || decision.mounts == booted.mounts {
            reasons.extend(self.mounted_otherwise(site, looked, decision, booted)?);
        }
        if is_given {
            reasons.extend(given_otherwise(decision, booted, &facts));
        }
        let kept = site.machine(mac).and_then(|(_, machine)| machine.address_of(mac)).map(IpAddr::V4);
        if kept.is_some_and(|kept| kept != address) {
            reasons.push("the site keeps another address for it".to_owned());
        }
        // Before paths named the boot, a boot was told another path.
        if booted.pin.named && booted.args != self.told(site, decision, address, booted) {
            reasons.push("its kernel arguments have changed".to_owned());
        }
        Some(reasons)
    }

    /// Whether layers' templates may become something else by these facts. Few look at what a machine has found out, and that may be
    /// other from boot to boot.
    fn render_otherwise(&self, layers: &[GenerationId], before: &Facts, now: &Facts) -> bool {
        let alike = Facts { examined: before.examined.clone(), ..now.clone() };
        let examine = |layer: &GenerationId| {
            self.planner.templates.examine(self.planner.store(), *layer).unwrap_or_default()
        };
        !layers.is_empty() && (alike != *before || (*now != *before && layers.iter().any(examine)))
    }

    /// The arguments of this boot, were it planned now.
    fn told(&self, site: &Site, decision: &Decision, address: IpAddr, booted: &Booted) -> Vec<String> {
        let pin = &booted.pin;
        let seal = site.is_proxied(address).then(|| self.boot_tokens.make(pin.boot, pin.view));
        arguments(&Boot {
            root: decision.root,
            initramfs: told_by(decision, booted),
            server: site.server_for(address),
            port: site.server.nfs_port,
            export: Export::of(pin.view, pin.boot, seal),
            mac: booted.mac,
            machine: pin.machine,
            boot: pin.boot,
            overlay: decision.own.overlay,
            restart: decision.own.restart,
            extra: &decision.args,
        })
    }

    /// The profiles among its mounts that have other generations now, in words; none where one is not staged.
    fn mounted_otherwise(
        &self,
        site: &Site,
        looked: &mut Looked,
        decision: &Decision,
        booted: &Booted,
    ) -> Option<Vec<String>> {
        let mut words = Vec::new();
        for part in &decision.parts {
            let Part::Mounted { at, parts, .. } = part else { continue };
            let now: Option<Vec<GenerationId>> =
                parts.iter().map(|part| self.generation_now(site, looked, decision, part)).collect();
            if booted.mounted.get(at) != Some(&now?) {
                words.push(format!("{} is another", shown(part)));
            }
        }
        Some(words)
    }

    /// The generation that a part has for a machine now; none where it is not staged.
    fn generation_now(
        &self,
        site: &Site,
        looked: &mut Looked,
        decision: &Decision,
        part: &Part,
    ) -> Option<GenerationId> {
        let assigned = match part {
            Part::Profile { name } => decision.generations.get(name).copied(),
            _ => None,
        };
        let head = looked.heads.entry(part.clone());
        let head = *head.or_insert_with(|| self.planner.head(&site.home, part).ok());
        assigned.or(head)
    }

    /// The stack that a decision makes, and those of its layers that have templates; none where something of it is not staged.
    fn places(
        &self,
        site: &Site,
        looked: &mut Looked,
        decision: &Decision,
        booted: &Booted,
    ) -> Option<(Vec<Place>, Vec<GenerationId>)> {
        let (mut places, mut renders) = (Vec::new(), Vec::new());
        for part in &decision.parts {
            if matches!(part, Part::Kernel { .. } | Part::Mounted { .. }) {
                places.push(Place::Made);
                continue;
            }
            let head = self.generation_now(site, looked, decision, part)?;
            places.push(Place::Is(head, shown(part)));
            let store = self.planner.store();
            if !matches!(part, Part::Profile { .. })
                && !self.planner.templates.of(store, head).ok()?.templates.is_empty()
            {
                places.push(Place::Made);
                renders.push(head);
            }
        }
        if decision.root == Root::Nfs {
            places.push(Place::Made);
            places.push(Place::Is(self.planner.guest(), "oneroot's own init".to_owned()));
            if told_by(decision, booted) == Initramfs::Oneroot {
                places.push(Place::Made);
            }
        }
        Some((places, renders))
    }
}

/// The address that a boot was planned for: its root may be mounted from another.
fn planned_at(booted: &Booted) -> IpAddr {
    booted.facts.as_ref().and_then(|facts| facts.address).unwrap_or(booted.pin.address)
}

/// What a boot would be given otherwise beside its tree, in words.
fn given_otherwise(decision: &Decision, booted: &Booted, facts: &Facts) -> Vec<String> {
    let mut words = Vec::new();
    if decision.mounts != booted.mounts {
        words.extend(places_otherwise(&decision.mounts, &booted.mounts));
    }
    let initramfs = told_by(decision, booted);
    let given = |facts: &Facts| Given::of(facts, initramfs, &decision.mounts, decision.log.as_ref());
    let is_named_anew = booted.facts.as_ref().is_some_and(|before| given(before) != given(facts));
    let changed = [
        (decision.log != booted.log, "where its log goes has changed"),
        (decision.secrets != booted.secrets, "which secrets it has has changed"),
        (is_named_anew, "its name, NIC, domain, name servers or time servers have changed"),
    ];
    words.extend(changed.into_iter().filter(|(is, _)| *is).map(|(_, told)| told.to_owned()));
    words
}

/// What is mounted otherwise, in words: by `mounts`, by `lasts`, or both.
fn places_otherwise(now: &Mounts, then: &Mounts) -> Vec<String> {
    let of = |mounts: &'_ Mounts, lasting| {
        let some = mounts.iter().filter(|(_, mount)| mount.what.is_lasting() == lasting);
        some.map(|(at, mount)| (at.clone(), mount.clone())).collect::<Mounts>()
    };
    [(false, "what it mounts has changed"), (true, "what lasts of what it writes has changed")]
        .into_iter()
        .filter(|(lasting, _)| of(now, *lasting) != of(then, *lasting))
        .map(|(_, told)| told.to_owned())
        .collect()
}

/// What mounts its root: where the site says nothing, what its tree has had, or has not.
fn told_by(decision: &Decision, booted: &Booted) -> Initramfs {
    decision.initramfs.or(booted.initramfs).unwrap_or_default()
}

/// What differs, in words.
fn differences(places: &[Place], stack: &[GenerationId]) -> Vec<String> {
    let is = |place: &Place, at: &GenerationId| match place {
        Place::Is(head, _) => head == at,
        Place::Made => true,
    };
    if places.len() == stack.len() {
        let other = places.iter().zip(stack).filter(|(place, at)| !is(place, at));
        let name = |place: &Place| match place {
            Place::Is(_, name) => Some(format!("{name} is another")),
            Place::Made => None,
        };
        return other.filter_map(|(place, _)| name(place)).collect();
    }
    vec!["its profile, its layers or oneroot have changed".to_owned()]
}
