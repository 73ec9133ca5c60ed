//! Machines that get names: one, many of a list, or whoever comes.

use std::collections::BTreeSet;
use std::sync::Arc;

use oneroot_bootconf::Site;
use oneroot_bootconf::assignment::{Adopting, Adoption, Assignment, Mapped, Signed};
use oneroot_bootconf::gives::Gives;
use oneroot_bootconf::name_row::NameRow;
use oneroot_ids::Mac;

use crate::error::{MappingRefused, Result};
use crate::machines::Machines;
use crate::mapping::change::{counted, refuse};
use crate::mapping::request::{MappedMachine, Newcomer};
use crate::mapping::write::{AT_ONCE, Draft, Wanted};

impl Machines {
    pub(super) async fn adopt(
        self: &Arc<Self>,
        newcomers: &[Newcomer],
        by: &Signed,
        dry_run: bool,
    ) -> Result<Vec<MappedMachine>> {
        // A list that one keeps is read again and again: who is on it as it was is done, also one whose answer was lost.
        let left = |machines: &Self, some: &[Newcomer]| -> Vec<Newcomer> {
            some.iter().filter(|one| !machines.is_adopted(one)).cloned().collect()
        };
        // All of it is looked at before any of it is written.
        adoptable(&self.site(), &left(self, newcomers))?;
        if dry_run {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for some in newcomers.chunks(AT_ONCE) {
            let draft = |machines: &Self| {
                let left = left(machines, some);
                adoptable(&machines.site(), &left)?;
                Ok(Draft { machines: left.iter().map(|one| adopted(one, by)).collect(), adopting: None })
            };
            self.write_mapping(by, &draft).await?;
            names.extend(some.iter().map(|one| &one.name));
        }
        Ok(names.into_iter().map(|name| self.mapped(name)).collect())
    }

    /// Whether a machine was adopted just so before.
    fn is_adopted(&self, newcomer: &Newcomer) -> bool {
        let index = self.index();
        let found = index.mapped.values().find(|(mapped, _)| mapped.name == newcomer.name);
        found.is_some_and(|(mapped, _)| {
            let gives = mapped.assigned.as_ref().map(|assigned| assigned.gives.clone()).unwrap_or_default();
            gives == newcomer.gives
                && mapped.adopted.as_ref().is_some_and(|adopted| adopted.macs == newcomer.macs)
        })
    }

    pub(super) async fn adopt_next(
        self: &Arc<Self>,
        (names, gives): (&str, &Gives),
        signed: Signed,
        dry_run: bool,
    ) -> Result<Vec<MappedMachine>> {
        let row = NameRow::parse(names).map_err(MappingRefused::Words)?;
        let site = self.site();
        let problems = gives.problems(&site).into_iter();
        let first = row.name(0).and_then(|name| site.refuses_name(&name));
        refuse(&problems.chain(first).collect::<Vec<_>>())?;
        let adopting = Adopting { names: names.to_owned(), used: 0, gives: gives.clone(), signed };
        let draft = |machines: &Self| {
            let under_way = machines.index().adopting.as_ref().map(|(adopting, _)| adopting.clone());
            match under_way.filter(|under_way| *under_way != adopting) {
                Some(Adopting { names, signed, .. }) => {
                    Err(MappingRefused::IsAdopting { names, by: signed.by }.into())
                }
                None => Ok(Draft { machines: Vec::new(), adopting: Some(Some(adopting.clone())) }),
            }
        };
        if dry_run {
            return draft(self).map(|_| Vec::new());
        }
        self.write_mapping(&adopting.signed, &draft).await?;
        tracing::info!(names, "machines that nobody has named are adopted as they come");
        Ok(Vec::new())
    }

    pub(super) async fn stop_adopting(self: &Arc<Self>, by: &Signed) -> Result<Vec<MappedMachine>> {
        if self.index().adopting.is_none() {
            return Err(MappingRefused::NotAdopting.into());
        }
        self.write_mapping(by, &|_| Ok(no_more())).await?;
        tracing::info!("machines that nobody has named stay so again");
        Ok(Vec::new())
    }

    /// A machine has come: if nobody has named it, and somebody has asked for that, it is adopted. One that can't be boots as
    /// any that nobody has named.
    pub(crate) async fn adopt_who_comes(self: &Arc<Self>, mac: Mac) {
        let by = self.index().adopting.as_ref().map(|(adopting, _)| adopting.signed.by.clone());
        // Nearly always there is nothing to do, which is seen without the lock; `next_of_row` looks once more under it.
        let Some(by) = by.filter(|_| self.site().machine(mac).is_none()) else { return };
        let signed = Signed { by, at: self.host.now() };
        let _one_at_a_time = self.mapping.lock().await;
        match self.write_mapping(&signed, &|machines| machines.next_of_row(mac, &signed)).await {
            Ok(names) => names.iter().for_each(|machine| tracing::info!(machine, %mac, "adopted")),
            Err(cause) => tracing::error!(%mac, %cause, "cannot adopt a machine"),
        }
    }

    /// What comes of a machine that comes while whoever comes is adopted.
    fn next_of_row(&self, mac: Mac, signed: &Signed) -> Result<Draft> {
        let site = self.site();
        let adopting = self.index().adopting.as_ref().map(|(adopting, _)| adopting.clone());
        let Some(adopting) = adopting.filter(|_| site.machine(mac).is_none()) else {
            return Ok(Draft::default());
        };
        let row = NameRow::parse(&adopting.names).map_err(MappingRefused::Words)?;
        let is_taken = |name: &str| site.machines.contains_key(name) || site.refuses_name(name).is_some();
        let Some((name, used)) = row.free(adopting.used, &is_taken) else {
            tracing::info!(
                names = adopting.names,
                "every name is given; machines that nobody has named stay so"
            );
            return Ok(no_more());
        };
        refuse(site.lacks_room(1).as_slice())?;
        let newcomer = Newcomer { macs: vec![mac], name, gives: adopting.gives.clone() };
        let next = Adopting { used, ..adopting };
        Ok(Draft { machines: vec![adopted(&newcomer, signed)], adopting: Some(Some(next)) })
    }
}

/// The end of adopting whoever comes.
fn no_more() -> Draft {
    Draft { machines: Vec::new(), adopting: Some(None) }
}

/// A machine that is adopted, with what it is assigned.
fn adopted(newcomer: &Newcomer, by: &Signed) -> Wanted {
    let Newcomer { macs, name, gives } = newcomer;
    let adopted = Adoption { macs: macs.clone(), instead_of: Vec::new(), signed: by.clone() };
    let assigned = Assignment { gives: gives.clone(), ..Assignment::empty(by.clone()) };
    let mapped = Mapped {
        adopted: Some(adopted),
        assigned: Some(assigned).filter(|assigned| !assigned.is_empty()),
        ..Mapped::of(name)
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
    problems.extend(site.lacks_room(newcomers.iter().map(|newcomer| newcomer.macs.len()).sum()));
    refuse(&problems)
}
