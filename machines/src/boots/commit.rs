//! One change of the tables: durable first, shown second, all of it or nothing.

use std::sync::Arc;

use crate::error::Result;
use oneroot_bootconf::MachineRecord;
use oneroot_bootconf::pins::PinChange;
use oneroot_bootconf::plan::BootPlan;
use oneroot_state::{Backend as _, Error as StateError, Expect, Txn};

use crate::index::claims::Rested;
use crate::machines::{MACHINES, Machines, PINS, PLANS};
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
}
impl Machines {
    /// Writes changes of one machine, then shows them. `false` when another server was quicker.
    ///
    /// In a task of its own, which has the turn until both are done: who asked may be gone by then, for a connection can end
    /// at any moment, and what is on the disk must be what is known.
    pub(crate) async fn commit(self: &Arc<Self>, turn: Turn<Thing>, change: Changed) -> Result<bool> {
        let machines = self.clone();
        let written = tokio::spawn(async move {
            let _turn = turn;
            machines.write(&change).await
        });
        written.await?
    }

    async fn write(&self, Changed { records, place, plan, pins: made }: &Changed) -> Result<bool> {
        let forgotten = place.as_ref().map_or(&[][..], Place::forgotten);
        let mut txn = Txn::new();
        let rested = Rested::of(&self.known(), &self.site(), made, self.host.now());
        {
            let known = self.known();
            let expected = |revision: Option<_>| revision.map_or(Expect::Absent, Expect::At);
            for record in records {
                let old = known.machines.get(&record.id).map(|(_, revision)| *revision);
                txn = MACHINES.put(MACHINES.expect(txn, record.id, expected(old)), record.id, record)?;
            }
            for machine in forgotten {
                let old = known.machines.get(machine).map(|(_, revision)| *revision);
                txn = MACHINES.delete(MACHINES.expect(txn, machine, expected(old)), machine);
            }
            if let Some(plan) = plan {
                if !records.iter().any(|record| record.id == plan.machine) {
                    // Another server may have forgotten it; a pin must not be nobody's.
                    let old = known.machines.get(&plan.machine).map(|(_, revision)| *revision);
                    txn = MACHINES.expect(txn, plan.machine, expected(old));
                }
                txn = PLANS.put(txn, plan.boot, plan)?;
            }
            for change in made {
                let boot = match change {
                    PinChange::Put(pin) => pin.boot,
                    PinChange::Delete(boot) => *boot,
                };
                txn = PINS.expect(txn, boot, expected(known.pins.get(&boot).map(|(_, revision)| *revision)));
                txn = match change {
                    PinChange::Put(pin) => PINS.put(txn, boot, pin)?,
                    PinChange::Delete(boot) => PLANS.delete(PINS.delete(txn, boot), boot),
                };
            }
        }
        let revision = match self.state.commit(rested.write(txn)?).await {
            Ok(revision) => revision,
            Err(StateError::Conflict { .. }) => return Ok(false),
            Err(cause) => return Err(cause.into()),
        };
        let (mut idle, mut gone, mut nics) = (Vec::new(), Vec::new(), Vec::new());
        {
            let mut known = self.known_mut();
            for record in records {
                known.put_machine(record.clone(), revision);
            }
            if let Some(plan) = plan {
                known.plans.insert(plan.boot, plan.clone());
            }
            for change in made {
                match change {
                    PinChange::Put(pin) => known.put_pin(pin.clone(), revision),
                    PinChange::Delete(boot) => {
                        gone.extend(known.pins.get(boot).map(|(pin, _)| pin.machine));
                        idle.extend(known.drop_pin(*boot));
                    }
                }
            }
            gone.retain(|machine| known.pins_of(*machine).next().is_none());
            rested.show(&mut known);
            nics.extend(forgotten.iter().flat_map(|machine| known.drop_machine(*machine)));
            // A view that went with one machine's pin may have come back with another's.
            idle.retain(|view| !known.is_held(*view));
        }
        idle.into_iter().for_each(|view| self.unload(view));
        gone.into_iter().for_each(|machine| self.refusals().forget(machine));
        nics.into_iter().for_each(|mac| self.steps().forget(mac));
        Ok(true)
    }
}
