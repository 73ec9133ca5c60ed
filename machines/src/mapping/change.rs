//! Changes of the mapping: one at a time, checked whole, durable before they are answered.

use std::collections::BTreeSet;
use std::sync::Arc;

use oneroot_bootconf::assignment::{Adopting, Adoption, Assignment, Mapped, Signed};
use oneroot_bootconf::gives::Gives;
use oneroot_bootconf::identity::{disowned, recognise};
use oneroot_bootconf::name_row::NameRow;
use oneroot_bootconf::{MachineRecord, Site};
use oneroot_ids::{Mac, MachineId};

use crate::boots::commit::{Changed, TRIES};
use crate::error::{Error, MappingRefused, Result};
use crate::host::random;
use crate::index::MachineIndex;
use crate::machines::Machines;
use crate::mapping::request::{MappedMachine, Newcomer, Request, Taken};
use crate::order::turns::Thing;

/// Machines that are written in one transaction: each has a record, NICs and a mapping, and a transaction has
/// [`oneroot_state::MAX_OPERATIONS`].
const AT_ONCE: usize = 16;
/// NICs of one machine.
const MOST_NICS: usize = 4;

/// What the mapping is to say of one machine.
struct Wanted {
    name: String,
    macs: Vec<Mac>,
    mapped: Option<Mapped>,
    /// Whether its record is to have this name and these NICs now, and not only when it boots.
    renames: bool,
    /// Whether its record goes too.
    forgets: bool,
}

impl Machines {
    /// Changes the mapping, as `by` asks: the machines that it was about, as they are now.
    ///
    /// # Errors
    /// [`Refused`], and the state's. Nothing has changed then, but for a list of many machines, of which the first may be there.
    pub async fn change_mapping(self: &Arc<Self>, request: &Request, by: &str) -> Result<Vec<MappedMachine>> {
        let by = Signed { by: cleaned(by), at: self.host.now() };
        let _one_at_a_time = self.mapping.lock().await;
        match request {
            Request::Adopt(newcomers) => self.adopt(newcomers, &by).await,
            Request::AdoptNext { names, gives } => self.adopt_next(names, gives, by).await,
            Request::StopAdopting => self.stop_adopting().await,
            request => {
                let name =
                    self.write_mapping(&|machines| Ok(vec![machines.wanted(request, &by)?]), None).await?;
                Ok(name.iter().map(|name| self.mapped(name)).collect())
            }
        }
    }

    async fn adopt(self: &Arc<Self>, newcomers: &[Newcomer], by: &Signed) -> Result<Vec<MappedMachine>> {
        // All of it is looked at before any of it is written.
        adoptable(&self.site(), newcomers)?;
        let mut names = Vec::new();
        for some in newcomers.chunks(AT_ONCE) {
            let wanted = |machines: &Self| {
                adoptable(&machines.site(), some)?;
                Ok(some.iter().map(|one| adopted(one, by)).collect())
            };
            names.extend(self.write_mapping(&wanted, None).await?);
        }
        Ok(names.iter().map(|name| self.mapped(name)).collect())
    }

    async fn adopt_next(
        self: &Arc<Self>,
        names: &str,
        gives: &Gives,
        signed: Signed,
    ) -> Result<Vec<MappedMachine>> {
        let row = NameRow::parse(names).map_err(MappingRefused::Words)?;
        let site = self.site();
        let problems = gives.problems(&site).into_iter();
        let first = row.name(0).and_then(|name| site.refuses_name(&name));
        refuse(&problems.chain(first).collect::<Vec<_>>())?;
        let under_way = self.index().adopting.as_ref().map(|(adopting, _)| adopting.clone());
        if let Some(Adopting { names, signed, .. }) = under_way {
            return Err(MappingRefused::IsAdopting { names, by: signed.by }.into());
        }
        let adopting = Adopting { names: names.to_owned(), used: 0, gives: gives.clone(), signed };
        self.write_mapping(&|_| Ok(Vec::new()), Some(Some(adopting))).await?;
        tracing::info!(names, "machines that nobody has named are adopted as they come");
        Ok(Vec::new())
    }

    async fn stop_adopting(self: &Arc<Self>) -> Result<Vec<MappedMachine>> {
        if self.index().adopting.is_none() {
            return Err(MappingRefused::NotAdopting.into());
        }
        self.write_mapping(&|_| Ok(Vec::new()), Some(None)).await?;
        tracing::info!("machines that nobody has named stay so again");
        Ok(Vec::new())
    }

    /// A machine that nobody has named has come, and is adopted if somebody has asked for that: whether it was.
    pub(crate) async fn adopt_who_comes(self: &Arc<Self>, mac: Mac) -> Result<bool> {
        if self.index().adopting.is_none() {
            return Ok(false);
        }
        let _one_at_a_time = self.mapping.lock().await;
        let Some((adopting, _)) = self.index().adopting.clone() else { return Ok(false) };
        let site = self.site();
        if site.machine(mac).is_some() {
            // It has asked twice.
            return Ok(true);
        }
        let row = NameRow::parse(&adopting.names).map_err(MappingRefused::Words)?;
        let is_taken = |name: &str| site.machines.contains_key(name) || site.refuses_name(name).is_some();
        let Some((name, used)) = row.free(adopting.used, &is_taken) else {
            tracing::info!(
                names = adopting.names,
                "every name is given; machines that nobody has named stay so"
            );
            self.write_mapping(&|_| Ok(Vec::new()), Some(None)).await?;
            return Ok(false);
        };
        let newcomer = Newcomer { macs: vec![mac], name: name.clone(), gives: adopting.gives.clone() };
        let signed = Signed { by: adopting.signed.by.clone(), at: self.host.now() };
        let next = Adopting { used, ..adopting };
        self.write_mapping(&|_| Ok(vec![adopted(&newcomer, &signed)]), Some(Some(next))).await?;
        tracing::info!(machine = name, %mac, "adopted");
        Ok(true)
    }

    /// Takes assignments away whose time is over, and those for one boot that has its root now.
    pub(crate) async fn end_assignments(self: &Arc<Self>) -> Result<()> {
        let ended: Vec<MachineId> = {
            let index = self.index();
            let ended = index.mapped.keys().filter(|id| self.has_ended(&index, **id));
            ended.copied().collect()
        };
        if ended.is_empty() {
            return Ok(());
        }
        let _one_at_a_time = self.mapping.lock().await;
        for id in ended {
            let without = |machines: &Self| {
                let (site, index) = (machines.site(), machines.index());
                let found = index.mapped.get(&id).filter(|_| machines.has_ended(&index, id));
                let Some((mapped, _)) = found else { return Ok(Vec::new()) };
                let macs = site.machines.get(&mapped.name).map(|machine| machine.macs.clone());
                let mapped = Mapped { assigned: None, ..mapped.clone() };
                Ok(vec![Wanted::of(&mapped.name.clone(), macs.unwrap_or_default(), mapped)])
            };
            for name in self.write_mapping(&without, None).await? {
                tracing::info!(machine = name, "what was assigned to it is over");
            }
        }
        Ok(())
    }

    /// The same, by somebody else and soon: whoever waits for an answer does not wait for this.
    pub(crate) fn end_assignments_soon(self: &Arc<Self>) {
        let any = self
            .index()
            .mapped
            .values()
            .any(|(mapped, _)| mapped.assigned.as_ref().is_some_and(|at| at.once));
        if !any {
            return;
        }
        let machines = self.clone();
        tokio::spawn(async move {
            if let Err(cause) = machines.end_assignments().await {
                tracing::error!(%cause, "cannot end an assignment; it is tried again in a moment");
            }
        });
    }

    /// Whether what is assigned to a machine is over, or was for one boot whose root is mounted.
    fn has_ended(&self, index: &MachineIndex, id: MachineId) -> bool {
        let Some((mapped, _)) = index.mapped.get(&id) else { return false };
        let Some(assigned) = &mapped.assigned else { return false };
        let by_it =
            |boot| index.plans.get(boot).is_some_and(|plan| plan.assigned.as_ref() == Some(&assigned.signed));
        let was_used = || index.pins_of(id).any(|(pin, _)| pin.is_mounted() && by_it(&pin.boot));
        assigned.is_over(self.host.now()) || assigned.once && was_used()
    }

    /// What a request about one machine comes to.
    fn wanted(&self, request: &Request, by: &Signed) -> Result<Wanted> {
        let site = self.site();
        match request {
            Request::Assign { machine, gives, lasts, once } => {
                let (name, macs, mapped) = self.known_as(&site, machine)?;
                let until = lasts.map(|lasts| by.at.saturating_add(lasts));
                let old = mapped.assigned.clone().filter(|old| !old.is_over(by.at));
                let fresh =
                    Assignment { gives: Gives::default(), signed: by.clone(), until: None, once: false };
                let mut assigned = old.unwrap_or(fresh);
                add(&mut assigned.gives, gives);
                refuse(&assigned.gives.problems(&site))?;
                let assigned = Assignment { signed: by.clone(), until, once: *once, ..assigned };
                Ok(Wanted::of(&name, macs, Mapped { assigned: Some(assigned), ..mapped }))
            }
            Request::Unassign { machine, taken } => {
                let (name, macs, mut mapped) = self.known_as(&site, machine)?;
                let old = mapped.assigned.take().ok_or_else(|| MappingRefused::NotAssigned(name.clone()))?;
                if let Some(taken) = taken {
                    let gives = without(&old.gives, taken);
                    if gives == old.gives {
                        return Err(MappingRefused::NotAssigned(name).into());
                    }
                    let assigned = Assignment { gives, signed: by.clone(), ..old };
                    mapped.assigned = Some(assigned).filter(|assigned| assigned.gives != Gives::default());
                }
                Ok(Wanted::of(&name, macs, mapped))
            }
            Request::Rename { machine, name } => self.renamed(&site, machine, name, by),
            Request::Replace { machine, macs } => self.replaced_by(&site, machine, macs, by),
            Request::Forget { machine } => self.forgotten(&site, machine),
            Request::Adopt(_) | Request::AdoptNext { .. } | Request::StopAdopting => {
                Err(MappingRefused::NotAdopting.into())
            }
        }
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
        Ok(Wanted { renames: true, ..Wanted::of(name, macs, mapped) })
    }

    fn replaced_by(&self, site: &Site, machine: &str, macs: &[Mac], by: &Signed) -> Result<Wanted> {
        let (name, _, mapped) = self.known_as(site, machine)?;
        let mut problems: Vec<String> = macs.iter().filter_map(|mac| site.refuses_nic(&name, *mac)).collect();
        problems.extend(counted(macs));
        refuse(&problems)?;
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
        if record.is_some_and(|(record, _)| index.pins_of(record.id).next().is_some()) {
            return Err(MappingRefused::Runs(name).into());
        }
        if record.is_none() && mapped.is_empty() {
            return Err(MappingRefused::NothingKept(name).into());
        }
        Ok(Wanted { mapped: None, forgets: true, ..Wanted::of(&name, macs, mapped) })
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
        let id = self.record_of(name, &macs, MachineId::from_random([0; 16])).0.id;
        let mapped = index.mapped.get(&id).map(|(mapped, _)| mapped.clone());
        let mapped = mapped.unwrap_or(Mapped { name: name.to_owned(), adopted: None, assigned: None });
        Ok((name.to_owned(), macs, Mapped { name: name.to_owned(), ..mapped }))
    }

    /// The record of a machine with this name and these NICs, and whether it would have to be written.
    fn record_of(&self, name: &str, macs: &[Mac], fresh: MachineId) -> (MachineRecord, bool) {
        let index = self.index();
        let records = || index.machines.values().map(|(record, _)| record);
        let nobody = MachineRecord {
            id: fresh,
            macs: macs.to_vec(),
            name: Some(name.to_owned()),
            first_seen: self.host.now(),
        };
        let Some(first) = macs.first() else {
            let found = records().find(|record| record.name.as_deref() == Some(name));
            return (found.cloned().unwrap_or(nobody), false);
        };
        recognise(*first, Some((name, macs)), records(), fresh, self.host.now())
    }

    /// Writes what the mapping is to say of some machines, and what becomes of the standing order, in one transaction; the
    /// names of the machines. `wanted` is asked again where another server was quicker.
    async fn write_mapping(
        self: &Arc<Self>,
        wanted: &(dyn Fn(&Self) -> Result<Vec<Wanted>> + Sync),
        adopting: Option<Option<Adopting>>,
    ) -> Result<Vec<String>> {
        for _ in 0..TRIES {
            let wanted = wanted(self)?;
            let names = wanted.iter().map(|one| one.name.clone()).collect();
            let fresh = || random(self.host.as_ref()).map(MachineId::from_random).map_err(Error::Random);
            let mut changed = Changed { adopting: adopting.clone(), ..Changed::default() };
            for one in wanted {
                self.add_change(&mut changed, one, fresh()?);
            }
            if changed.mapped.is_empty() && changed.adopting.is_none() {
                return Ok(names);
            }
            let turn = self.turns.take(things(&changed)).await;
            if self.commit(turn, changed).await? {
                return Ok(names);
            }
        }
        Err(Error::Contended)
    }

    fn add_change(&self, changed: &mut Changed, wanted: Wanted, fresh: MachineId) {
        let Wanted { name, macs, mapped, renames, forgets } = wanted;
        let (record, _) = self.record_of(&name, &macs, fresh);
        let index = self.index();
        let old = index.machines.get(&record.id).map(|(old, _)| old);
        if forgets {
            changed.forgotten.extend(old.map(|old| old.id));
        } else if old.is_none() || renames && old != Some(&record) {
            // One that has booted gets other NICs in its record when it boots from one, as after a change of the files.
            changed.records.extend(disowned(&record, index.machines.values().map(|(record, _)| record)));
            changed.records.push(record.clone());
        }
        changed.mapped.push((record.id, mapped.filter(|mapped| !mapped.is_empty())));
    }
}

impl Wanted {
    fn of(name: &str, macs: Vec<Mac>, mapped: Mapped) -> Self {
        Self { name: name.to_owned(), macs, mapped: Some(mapped), renames: false, forgets: false }
    }
}

/// A machine that is adopted, with what it is assigned.
fn adopted(newcomer: &Newcomer, by: &Signed) -> Wanted {
    let Newcomer { macs, name, gives } = newcomer;
    let adopted = Adoption { macs: macs.clone(), instead_of: Vec::new(), signed: by.clone() };
    let assigned = Assignment { gives: gives.clone(), signed: by.clone(), until: None, once: false };
    let mapped = Mapped {
        name: name.clone(),
        adopted: Some(adopted),
        assigned: Some(assigned).filter(|assigned| assigned.gives != Gives::default()),
    };
    Wanted { renames: true, ..Wanted::of(name, macs.clone(), mapped) }
}

/// Refuses machines that can't all be adopted.
fn adoptable(site: &Site, newcomers: &[Newcomer]) -> Result<(), MappingRefused> {
    let mut problems = Vec::new();
    let (mut names, mut nics) = (BTreeSet::new(), BTreeSet::new());
    for Newcomer { macs, name, gives } in newcomers {
        let about = |problem: String| format!("{name}: {problem}");
        problems.extend(site.refuses_name(name));
        if site.machines.contains_key(name) {
            problems.push(MappingRefused::NameTaken(name.clone()).to_string());
        }
        if !names.insert(name) {
            problems.push(format!("{name} is there twice"));
        }
        problems.extend(macs.iter().filter_map(|mac| site.refuses_nic(name, *mac)));
        let twice = macs.iter().filter(|mac| !nics.insert(**mac));
        problems.extend(twice.map(|mac| format!("MAC {mac} is there twice")));
        problems.extend(counted(macs).map(about));
        problems.extend(gives.problems(site).into_iter().map(about));
    }
    refuse(&problems)
}

fn counted(macs: &[Mac]) -> Option<String> {
    match macs.len() {
        0 => Some("a machine is known by its MAC address".to_owned()),
        1..=MOST_NICS => None,
        more => Some(format!("has {more} MACs, and {MOST_NICS} are the most")),
    }
}

fn refuse(problems: &[String]) -> Result<(), MappingRefused> {
    if problems.is_empty() { Ok(()) } else { Err(MappingRefused::Words(problems.join("; "))) }
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

/// All that a change touches.
fn things(changed: &Changed) -> BTreeSet<Thing> {
    let records = changed.records.iter().flat_map(|record| {
        let macs = record.macs.iter().map(|mac| Thing::Nic(*mac));
        macs.chain(record.name.clone().map(Thing::Name)).chain([Thing::Machine(record.id)])
    });
    let mapped = changed.mapped.iter().map(|(id, _)| Thing::Machine(*id));
    records.chain(mapped).chain(changed.forgotten.iter().map(|id| Thing::Machine(*id))).collect()
}
