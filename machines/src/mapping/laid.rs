//! The mapping laid over the site's files: what every decision is made of. Worked out anew when one of the two changes, and
//! put in force at once.

use std::sync::{Arc, MutexGuard, PoisonError};

use oneroot_bootconf::Site;
use oneroot_bootconf::assignment::{Assignment, Conflict, Mapped, Signed};
use oneroot_bootconf::history::Change;
use oneroot_ids::Mac;

use crate::host::Host;
use crate::index::MachineIndex;
use crate::machines::Machines;
use crate::mapping::request::{MappedMachine, Mapping, MappingRecords};

impl Machines {
    /// The site as its files have it.
    pub(crate) fn files(&self) -> MutexGuard<'_, Arc<Site>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the site's files in force with the mapping laid over them.
    pub(crate) fn lay(&self) {
        // Held until it is in force, or an older mapping could follow a newer one.
        let files = self.files();
        let index = self.index();
        let laid = (!index.mapped.is_empty()).then(|| laid(&files, &index));
        let (site, conflicts) = laid.map_or((None, Vec::new()), |(site, conflicts)| (Some(site), conflicts));
        drop(index);
        let before = self.conflicts();
        // Each is said once: all are found again with every change of the mapping, until somebody ends them.
        for conflict in conflicts.iter().filter(|conflict| !before.contains(conflict)) {
            tracing::error!(reason = %conflict, "what the state says of a machine does not count");
        }
        *self.conflicts.lock().unwrap_or_else(PoisonError::into_inner) = conflicts;
        // Where nothing is laid over them, they are the site: it is large, and is not kept twice.
        self.site.send_replace(site.map_or_else(|| files.clone(), Arc::new));
        drop(files);
    }

    /// What the mapping and a site have against each other: a site is not put in force over it.
    pub fn conflicts_with(&self, files: &Site) -> Vec<Conflict> {
        laid(files, &self.index()).1
    }

    /// A site's files with the mapping laid over them.
    pub(crate) fn laid_over(&self, files: &Site) -> Site {
        laid(files, &self.index()).0
    }

    fn conflicts(&self) -> Vec<Conflict> {
        self.conflicts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All that the state says over the site's files; times are seconds since 1970.
    pub fn mapping(&self) -> Mapping {
        let (site, files, index) = (self.site(), self.files().clone(), self.index());
        let shown =
            index.mapped.values().map(|(mapped, _)| shown((&files, &site), self.host.as_ref(), mapped));
        let mut machines: Vec<MappedMachine> = shown.collect();
        machines.sort_by(|a, b| a.name.cmp(&b.name));
        let adopting = index.adopting.as_ref().map(|(adopting, _)| adopting.clone());
        let conflicts = self.conflicts().iter().map(ToString::to_string).collect();
        Mapping { machines, adopting, conflicts }
    }

    /// The mapping as it is kept.
    pub fn mapping_records(&self) -> MappingRecords {
        let index = self.index();
        let macs = |id| index.machines.get(id).map(|(record, _)| record.macs.clone()).unwrap_or_default();
        let mapped = index.mapped.iter().map(|(id, (mapped, _))| (mapped.clone(), macs(id))).collect();
        MappingRecords { mapped, now: self.host.now() }
    }

    /// One machine as the mapping has it now.
    pub(crate) fn mapped(&self, name: &str) -> MappedMachine {
        let (site, files, index) = (self.site(), self.files().clone(), self.index());
        let found = index.mapped.values().find(|(mapped, _)| mapped.name == name);
        let mapped = found.map_or_else(|| Mapped::of(name), |(mapped, _)| mapped.clone());
        shown((&files, &site), self.host.as_ref(), &mapped)
    }
}

fn laid(files: &Site, index: &MachineIndex) -> (Site, Vec<Conflict>) {
    let macs = |id| index.machines.get(id).map_or(&[][..], |(record, _): &(_, _)| macs_of(record));
    files.mapped(index.mapped.iter().map(|(id, (mapped, _))| (mapped, macs(id))))
}

fn macs_of(record: &oneroot_bootconf::MachineRecord) -> &[Mac] {
    &record.macs
}

/// A record as people see it, with times of the wall clock.
fn shown((files, site): (&Site, &Site), host: &dyn Host, mapped: &Mapped) -> MappedMachine {
    let known = site.machines.get(&mapped.name);
    let adopted = mapped.adopted.as_ref();
    let macs = known.map(|machine| &machine.macs).or_else(|| adopted.map(|adopted| &adopted.macs));
    let signed = |signed: &Signed| Signed { at: host.shown(signed.at), ..signed.clone() };
    let assigned = |assigned: &Assignment| Assignment {
        signed: signed(&assigned.signed),
        until: assigned.until.map(|until| host.shown(until)),
        ..assigned.clone()
    };
    let change = |change: &Change| Change { signed: signed(&change.signed), ..change.clone() };
    MappedMachine {
        history: mapped.history.iter().map(change).collect(),
        name: mapped.name.clone(),
        macs: macs.cloned().unwrap_or_default(),
        adopted: adopted.map(|adopted| signed(&adopted.signed)),
        assigned: mapped.assigned.as_ref().map(assigned),
        for_now: mapped.for_now.as_ref().map(assigned),
        known: known.is_some(),
        in_files: files.machines.contains_key(&mapped.name),
    }
}
