//! Changes of the mapping: one at a time, checked whole, durable before they are answered.

use std::collections::BTreeSet;
use std::sync::Arc;

use oneroot_bootconf::asked::{Asked, Catalogue};
use oneroot_bootconf::assignment::{Adoption, Assignment, Mapped, Signed};
use oneroot_bootconf::decision::decide;
use oneroot_bootconf::gives::{Boots, Gives};
use oneroot_bootconf::identity::recognise;
use oneroot_bootconf::mounts::Mounts;
use oneroot_bootconf::outside::too_long;
use oneroot_bootconf::{MachineRecord, Site};
use oneroot_ids::{Mac, MachineId};

use crate::error::{Error, MappingRefused, Result};
use crate::machines::Machines;
use crate::mapping::generations::Stored;
use crate::mapping::request::{MappedMachine, Request, Taken};
use crate::mapping::write::{AT_ONCE, Draft, Wanted};

impl Machines {
    /// Changes the mapping, as `by` asks: the machines that it was about, as they are now.
    ///
    /// # Errors
    /// [`MappingRefused`], and the state's. Nothing has changed then, but for a list of many machines, of which the first may be there.
    pub async fn change_mapping(self: &Arc<Self>, request: &Request, by: &str) -> Result<Vec<MappedMachine>> {
        let by_whom = cleaned(by);
        let by = Signed { by: by_whom.clone(), at: self.host.now() };
        let stored = self.stored(request).await?;
        let _one_at_a_time = self.mapping.lock().await;
        let changed = match request {
            Request::Adopt { machines, dry_run } => self.adopt(machines, &by, *dry_run).await,
            Request::AdoptNext { names, gives, dry_run } => {
                self.adopt_next((names, gives), by, *dry_run).await
            }
            Request::StopAdopting => self.stop_adopting(&by).await,
            Request::ForgetExamined { machine } => self.forget_examined(machine).await,
            request => self.change_each(request, &by, &stored).await,
        }?;
        // Who has said what boots where is asked later, when somebody wonders.
        for MappedMachine { name, .. } in &changed {
            tracing::info!(machine = name, by = by_whom, "the mapping was changed: {}", request.in_words());
        }
        Ok(changed)
    }

    /// The same change of each machine that a request is about.
    async fn change_each(
        self: &Arc<Self>,
        request: &Request,
        by: &Signed,
        stored: &Stored,
    ) -> Result<Vec<MappedMachine>> {
        let mut asked = request.machines();
        let are_many = asked.len() > 1;
        let wanted = |machines: &Self, machine: &String| -> Result<Wanted> {
            machines.wanted((request, stored), machine, by).map_err(|cause| match cause {
                Error::Mapping(MappingRefused::Words(words)) if are_many => {
                    MappingRefused::Words(format!("{machine}: {words}")).into()
                }
                cause => cause,
            })
        };
        // All of it is looked at before any of it is written. One may be named twice, by its name and by its MAC.
        let names: Vec<String> =
            asked.iter().map(|machine| Ok(wanted(self, machine)?.name)).collect::<Result<_>>()?;
        let (mut names, mut seen) = (names.into_iter(), BTreeSet::new());
        asked.retain(|_| names.next().is_some_and(|name| seen.insert(name)));
        let mut names = Vec::new();
        for some in asked.chunks(AT_ONCE) {
            let draft = |machines: &Self| {
                let wanted = some.iter().map(|machine| wanted(machines, machine)).collect::<Result<_>>()?;
                Ok(Draft { machines: wanted, adopting: None })
            };
            names.extend(self.write_mapping(by, &draft).await?);
        }
        Ok(names.iter().map(|name| self.mapped(name)).collect())
    }

    /// What a request comes to for one of its machines.
    fn wanted(&self, (request, stored): (&Request, &Stored), machine: &str, by: &Signed) -> Result<Wanted> {
        let site = self.site();
        match request {
            Request::Assign { .. } => self.assigned(&site, (request, stored), machine, by),
            Request::Unassign { taken, .. } => {
                let (name, macs, mapped) = self.known_as(&site, machine)?;
                let left = |old: &Option<Assignment>| left_of(old.as_ref()?, taken.as_ref(), by);
                let left = Mapped {
                    assigned: left(&mapped.assigned),
                    for_now: left(&mapped.for_now),
                    ..mapped.clone()
                };
                if left == mapped {
                    return Err(MappingRefused::NotAssigned(name).into());
                }
                Ok(Wanted::of(&name, macs, left))
            }
            Request::Rename { name, .. } => self.renamed(&site, machine, name, by),
            Request::Replace { macs, .. } => self.replaced_by(&site, machine, macs, by),
            Request::Forget { .. } => self.forgotten(&site, machine),
            Request::Adopt { .. }
            | Request::AdoptNext { .. }
            | Request::StopAdopting
            | Request::ForgetExamined { .. } => Err(MappingRefused::NotAdopting.into()),
        }
    }

    /// What is assigned for a time or once lies over what is assigned for good, and each is added to by itself.
    fn assigned(
        &self,
        site: &Site,
        (request, stored): (&Request, &Stored),
        machine: &str,
        by: &Signed,
    ) -> Result<Wanted> {
        let Request::Assign { gives, generations, lasts, once, .. } = request else {
            return Err(MappingRefused::NotAdopting.into());
        };
        let (name, macs, mut mapped) = self.known_as(site, machine)?;
        let until = lasts.map(|lasts| by.at.saturating_add(lasts));
        let place = if until.is_none() && !once { &mut mapped.assigned } else { &mut mapped.for_now };
        // What is over may not have been taken away yet, and must not come back with what is added.
        let old = place.take().filter(|old| !old.is_over(by.at));
        let mut assigned = old.unwrap_or_else(|| Assignment::empty(by.clone()));
        add(&mut assigned.gives, gives);
        refuse(&stored.gone)?;
        assigned.add_generations(generations, |profile, generation| {
            stored.heads.get(profile) == Some(&generation)
        });
        refuse(&assigned.gives.problems(site))?;
        refuse(never_ends(&assigned, *once).as_slice())?;
        *place = Some(Assignment { signed: by.clone(), until, once: *once, ..assigned });
        refuse(line_of(site, &mapped).as_slice())?;
        Ok(Wanted::of(&name, macs, mapped))
    }

    fn renamed(&self, site: &Site, machine: &str, name: &str, by: &Signed) -> Result<Wanted> {
        let (old, macs, mapped) = self.known_as(site, machine)?;
        if self.files().machines.contains_key(&old) {
            return Err(MappingRefused::InFiles(old).into());
        }
        refuse(site.refuses_name(name).as_slice())?;
        if site.machines.contains_key(name) {
            return Err(MappingRefused::NameTaken(name.to_owned()).into());
        }
        let adopted = mapped.adopted.map(|adopted| Adoption { signed: by.clone(), ..adopted });
        let mapped = Mapped { name: name.to_owned(), adopted, ..mapped };
        Ok(Wanted { was: Some(old), renames: true, ..Wanted::of(name, macs, mapped) })
    }

    fn replaced_by(&self, site: &Site, machine: &str, macs: &[Mac], by: &Signed) -> Result<Wanted> {
        let (name, _, mapped) = self.known_as(site, machine)?;
        let mut problems: Vec<String> = macs.iter().filter_map(|mac| site.refuses_nic(&name, *mac)).collect();
        problems.extend(counted(macs));
        refuse(&problems)?;
        // So that the files count again once somebody gives the machine other NICs there.
        let instead_of =
            self.files().machines.get(&name).map(|machine| machine.macs.clone()).unwrap_or_default();
        let adopted = Adoption { macs: macs.to_vec(), instead_of, signed: by.clone() };
        Ok(Wanted::of(&name, macs.to_vec(), Mapped { adopted: Some(adopted), ..mapped }))
    }

    fn forgotten(&self, site: &Site, machine: &str) -> Result<Wanted> {
        // One that the files have no more can be forgotten by its name too.
        let rests = || {
            let index = self.index();
            let (id, (mapped, _)) = index.mapped.iter().find(|(_, (mapped, _))| mapped.name == machine)?;
            let macs = index.machines.get(id).map(|(record, _)| record.macs.clone());
            Some((mapped.name.clone(), macs.unwrap_or_default(), mapped.clone()))
        };
        let (name, macs, mapped) = match self.known_as(site, machine) {
            Ok(known) => known,
            Err(cause) => rests().ok_or(cause)?,
        };
        let index = self.index();
        let record =
            index.machines.values().find(|(record, _)| record.name.as_deref() == Some(name.as_str()));
        let runs = record.is_some_and(|(record, _)| index.pins_of(record.id).next().is_some());
        let is_in_files = self.files().machines.contains_key(&name);
        if runs && (!is_in_files || mapped.says_nothing()) {
            return Err(MappingRefused::Runs(name).into());
        }
        if record.is_none() && mapped.says_nothing() {
            return Err(MappingRefused::NothingKept(name).into());
        }
        // One that the files have goes on by their word, and its record with it while it runs.
        Ok(Wanted { mapped: None, forgets: !runs, ..Wanted::of(&name, macs, mapped) })
    }

    /// A machine of the site by its name or a MAC, with its NICs and what the state says of it.
    fn known_as(&self, site: &Site, machine: &str) -> Result<(String, Vec<Mac>, Mapped)> {
        let by_mac = |mac: Mac| site.machine(mac).map(|(name, _)| name).ok_or(MappingRefused::Unnamed(mac));
        let name = match machine.parse::<Mac>() {
            _ if site.machines.contains_key(machine) => machine,
            Ok(mac) => by_mac(mac)?,
            Err(_) => return Err(MappingRefused::NoSuchMachine(machine.to_owned()).into()),
        };
        let macs = site.machines.get(name).map(|machine| machine.macs.clone()).unwrap_or_default();
        let index = self.index();
        // With an id that no record has: a machine that has never booted has none, and nothing is mapped under it.
        let id = self.record_of(name, &macs, MachineId::from_random([0; 16])).0.id;
        let mapped = index.mapped.get(&id).map(|(mapped, _)| mapped.clone());
        let mapped = mapped.unwrap_or_else(|| Mapped::of(name));
        Ok((name.to_owned(), macs, Mapped { name: name.to_owned(), ..mapped }))
    }

    /// The record of a machine with this name and these NICs, and whether it would have to be written.
    pub(super) fn record_of(&self, name: &str, macs: &[Mac], fresh: MachineId) -> (MachineRecord, bool) {
        let index = self.index();
        let records = || index.machines.values().map(|(record, _)| record);
        let nobody = MachineRecord {
            id: fresh,
            macs: macs.to_vec(),
            name: Some(name.to_owned()),
            claimed: None,
            first_seen: self.host.now(),
        };
        let Some(first) = macs.first() else {
            let found = records().find(|record| record.name.as_deref() == Some(name));
            return (found.cloned().unwrap_or(nobody), false);
        };
        recognise(*first, Some((name, macs)), records(), fresh, self.host.now())
    }
}

/// NICs of one machine.
const MOST_NICS: usize = 4;

pub(super) fn counted(macs: &[Mac]) -> Option<String> {
    match macs.len() {
        0 => Some("a machine is known by its MAC address".to_owned()),
        1..=MOST_NICS => None,
        more => Some(format!("has {more} MACs, and {MOST_NICS} are the most")),
    }
}

pub(super) fn refuse(problems: &[String]) -> Result<(), MappingRefused> {
    if problems.is_empty() { Ok(()) } else { Err(MappingRefused::Words(problems.join("; "))) }
}

/// Why an assignment for one boot would last for ever: what begins no boot of ours ends none.
fn never_ends(assigned: &Assignment, once: bool) -> Option<String> {
    let begins_none = matches!(assigned.gives.boots, Some(Boots::Local | Boots::Hold));
    (once && begins_none).then(|| {
        "for one boot only what is booted from here can be assigned; say for how long instead, `--until 2h`".to_owned()
    })
}

/// Why a machine's whole command line would not fit with what is assigned to it.
fn line_of(site: &Site, mapped: &Mapped) -> Option<String> {
    let trial = site.with_assigned(mapped);
    let mac = *trial.machines.get(&mapped.name)?.macs.first()?;
    let decided = decide(&Catalogue::of(&trial), &Asked::by(mac)).ok()?;
    too_long(&decided.into_profile()?.args)
}

/// What is left of an assignment once some of it is taken away; nothing where all of it is.
fn left_of(old: &Assignment, taken: Option<&Taken>, by: &Signed) -> Option<Assignment> {
    let taken = taken?;
    let gives = without(&old.gives, taken);
    let mut left = Assignment { gives, ..old.clone() };
    if taken.generations {
        left.generations.clear();
        left.until_head.clear();
    }
    if left != *old {
        left.signed = by.clone();
    }
    Some(left).filter(|left| !left.is_empty())
}

/// Adds what is given to what was: of what is booted and of a variable the new word counts.
fn add(all: &mut Gives, more: &Gives) {
    all.boots = more.boots.clone().or_else(|| all.boots.take());
    let is_new = |list: &[String], word: &String| !list.contains(word);
    let workloads: Vec<String> =
        more.workloads.iter().filter(|name| is_new(&all.workloads, name)).cloned().collect();
    all.workloads.extend(workloads);
    let args: Vec<String> = more.args.iter().filter(|word| is_new(&all.args, word)).cloned().collect();
    all.args.extend(args);
    all.vars.extend(more.vars.clone());
}

fn without(all: &Gives, taken: &Taken) -> Gives {
    let kept = |list: &[String], taken: &[String]| -> Vec<String> {
        list.iter().filter(|word| !taken.contains(word)).cloned().collect()
    };
    Gives {
        boots: all.boots.clone().filter(|_| !taken.boots),
        workloads: kept(&all.workloads, &taken.workloads),
        layers: Vec::new(),
        mounts: Mounts::new(),
        secrets: oneroot_bootconf::secrets::Secrets::new(),
        args: kept(&all.args, &taken.args),
        vars: all
            .vars
            .iter()
            .filter(|(name, _)| !taken.vars.contains(name))
            .map(|(a, b)| (a.clone(), b.clone()))
            .collect(),
    }
}

/// A user's name as it is kept: a word of the admin's system, and shown to others.
fn cleaned(by: &str) -> String {
    const LONGEST: usize = 64;
    by.chars().filter(|char| !char.is_control()).take(LONGEST).collect()
}
