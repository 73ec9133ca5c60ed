//! One change of the tables: durable first, shown second, all of it or nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::Result;
use oneroot_bootconf::MachineRecord;
use oneroot_bootconf::assignment::{Adopting, Mapped};
use oneroot_bootconf::pins::PinChange;
use oneroot_bootconf::plan::BootPlan;
use oneroot_ids::{BootId, Mac, MachineId};
use oneroot_state::{Applied, Backend as _, Error as StateError, Expect, Revision, Txn};

use crate::index::MachineIndex;
use crate::index::claims::Rested;
use crate::index::tables::{ADOPTING, ASSIGNMENTS, EXAMINED, MACHINES, NEXT, NICS, NicOwner, PINS, PLANS};
use crate::machines::Machines;
use crate::order::rooms::Place;
use crate::order::turns::{Thing, Turn};

/// Times that a change is tried again after another server was quicker.
pub(crate) const TRIES: u32 = 8;

/// What is written together, or not at all.
#[derive(Default)]
pub(crate) struct Changed {
    pub records: Vec<MachineRecord>,
    /// A new stranger's place. The records of those who give way to it go; their pins are among `pins`.
    pub place: Option<Place>,
    pub plan: Option<BootPlan>,
    pub pins: Vec<PinChange>,
    /// What the mapping says of machines from now on; none where it says nothing.
    pub mapped: Vec<(MachineId, Option<Mapped>)>,
    /// The standing order to adopt whoever comes, where that changes.
    pub adopting: Option<Option<Adopting>>,
    /// Machines whose records go, and hold nothing.
    pub forgotten: Vec<MachineId>,
}

impl Changed {
    /// All machines whose records go.
    fn all_forgotten(&self) -> impl Iterator<Item = &MachineId> + Clone {
        let gives_way = self.place.as_ref().map_or(&[][..], Place::forgotten);
        gives_way.iter().chain(&self.forgotten)
    }
}

/// A change, and the transaction that writes it.
pub(crate) struct Prepared {
    change: Changed,
    txn: Txn,
}

impl Machines {
    /// A change that can be written: its transaction expects all that it was made of to be as it was then.
    ///
    /// `known` is held from before the tables were looked at. What another server changes is shown under that lock too, so
    /// nothing comes in between: it would be expected, though the change knows nothing of it and overwrites it.
    pub(crate) fn prepared(&self, known: &Applied, change: Changed) -> Result<Prepared> {
        let txn = self.transaction(known, &change)?;
        Ok(Prepared { change, txn })
    }

    /// Writes changes of one machine, then shows them. `false` when another server was quicker, or may have been: then what
    /// is there by now was read.
    ///
    /// In a task of its own, which has the turn until both are done: who asked may be gone by then, for a connection can end
    /// at any moment, and what is on the disk must be what is known.
    pub(crate) async fn commit(self: &Arc<Self>, turn: Turn<Thing>, prepared: Prepared) -> Result<bool> {
        let machines = self.clone();
        let written = tokio::spawn(async move {
            // A stranger's place is part of the change, and others count it until the record is shown.
            let (_turn, _change) = (turn, prepared.change);
            machines.write(prepared.txn).await
        });
        written.await?
    }

    async fn write(&self, txn: Txn) -> Result<bool> {
        // The backend takes the transaction, and what stands in it has to be shown in memory afterwards.
        match self.state.commit(txn.clone()).await {
            Ok(revision) => {
                self.committed(&txn, revision);
                Ok(true)
            }
            // Whoever tries again finds what is there by now: what another server has changed, or one's own change.
            Err(StateError::Conflict { .. } | StateError::OutcomeUnknown(_)) => {
                self.read_anew().await?;
                Ok(false)
            }
            Err(cause) => Err(cause.into()),
        }
    }

    /// A change as one transaction, which expects all that it was made of to be as it is known.
    fn transaction(&self, applied: &Applied, change: &Changed) -> Result<Txn> {
        let (index, site) = (self.index(), self.site());
        let rested = Rested::of(&index, &site, &change.pins, self.host.now());
        let mut txn = nics_in(applied, &index, change, machines_in(&index, change)?)?;
        if let Some(plan) = &change.plan {
            txn = PLANS.put(txn, plan.boot, plan)?;
        }
        for pin in &change.pins {
            let boot = boot_of(pin);
            txn = PINS.expect(txn, boot, expected(index.pins.get(&boot).map(|(_, revision)| *revision)));
            txn = match pin {
                PinChange::Put(pin) => PINS.put(txn, boot, pin)?,
                PinChange::Delete(boot) => PLANS.delete(PINS.delete(txn, boot), boot),
            };
        }
        for (id, mapped) in &change.mapped {
            let known = index.mapped.get(id).map(|(_, revision)| *revision);
            txn = ASSIGNMENTS.expect(txn, id, expected(known));
            txn = match mapped {
                Some(mapped) => ASSIGNMENTS.put(txn, id, mapped)?,
                None => ASSIGNMENTS.delete(txn, id),
            };
        }
        if let Some(adopting) = &change.adopting {
            let known = index.adopting.as_ref().map(|(_, revision)| *revision);
            txn = ADOPTING.expect(txn, NEXT, expected(known));
            txn = match adopting {
                Some(adopting) => ADOPTING.put(txn, NEXT, adopting)?,
                None => ADOPTING.delete(txn, NEXT),
            };
        }
        rested.write(txn)
    }
}

/// The records that a change writes or removes, and those of all machines whose pins it changes: another server may have
/// forgotten one, and a pin must not be nobody's; or it may be changing the same machine's pins, and has to be told.
fn machines_in(index: &MachineIndex, change: &Changed) -> Result<Txn> {
    let revision = |id: &MachineId| index.machines.get(id).map(|(_, revision)| *revision);
    let forgotten: Vec<&MachineId> = change.all_forgotten().collect();
    let mut txn = Txn::new();
    for record in &change.records {
        let expected = expected(revision(&record.id));
        txn = MACHINES.put(MACHINES.expect(txn, record.id, expected), record.id, record)?;
    }
    for machine in &forgotten {
        txn = MACHINES.delete(MACHINES.expect(txn, machine, expected(revision(machine))), machine);
        // Whoever writes that expects the record to be there.
        txn = EXAMINED.delete(txn, machine);
    }
    let pinned = change.pins.iter().filter_map(|pin| match pin {
        PinChange::Put(pin) => Some(pin.machine),
        PinChange::Delete(boot) => index.pins.get(boot).map(|(pin, _)| pin.machine),
    });
    let mut touched: BTreeSet<MachineId> =
        pinned.chain(change.plan.iter().map(|plan| plan.machine)).collect();
    // Those are written or removed already. A transaction keeps the last write of a key, so their records as they were
    // would undo it.
    touched.retain(|id| !forgotten.contains(&id) && !change.records.iter().any(|record| record.id == *id));
    for id in touched {
        txn = MACHINES.expect(txn, id, expected(revision(&id)));
        if let Some((record, _)) = index.machines.get(&id) {
            txn = MACHINES.put(txn, id, record)?;
        }
    }
    Ok(txn)
}

/// Whose NICs are, where a change makes that another's.
fn nics_in(applied: &Applied, index: &MachineIndex, change: &Changed, mut txn: Txn) -> Result<Txn> {
    let as_known = |txn, mac: &Mac| NICS.expect(txn, mac, expected(applied.revision(&NICS.key(mac))));
    let old = |id| index.machines.get(id).map(|(record, _)| record.macs.as_slice()).unwrap_or_default();
    for record in &change.records {
        for mac in record.macs.iter().filter(|mac| index.machine_of(**mac) != Some(record.id)) {
            txn = NICS.put(as_known(txn, mac), mac, &NicOwner { machine: record.id })?;
        }
    }
    let forgotten = change.all_forgotten();
    let lost = change.records.iter().map(|record| &record.id).chain(forgotten).flat_map(old);
    let kept = |mac: &&Mac| change.records.iter().any(|record| record.macs.contains(mac));
    for mac in lost.filter(|mac| !kept(mac)) {
        // A record from before that table has nothing there that could be removed.
        if applied.revision(&NICS.key(mac)).is_some() {
            txn = NICS.delete(as_known(txn, mac), mac);
        }
    }
    Ok(txn)
}

fn expected(revision: Option<Revision>) -> Expect {
    revision.map_or(Expect::Absent, Expect::At)
}

fn boot_of(change: &PinChange) -> BootId {
    match change {
        PinChange::Put(pin) => pin.boot,
        PinChange::Delete(boot) => *boot,
    }
}
