//! The durable tables, and how a change of one shows in memory: whoever has made it, this server or another on the same
//! state, and on whichever way it is heard of.

use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;

use oneroot_bootconf::MachineRecord;
use oneroot_bootconf::assignment::{Adopting, Mapped};
use oneroot_bootconf::hardware::ExaminedRecord;
use oneroot_bootconf::pins::Pin;
use oneroot_bootconf::plan::BootPlan;
use oneroot_ids::{BootId, Mac, MachineId, ViewId};
use oneroot_state::{Applied, Change, Error, Table};
use serde::{Deserialize, Serialize};

use crate::credentials::record::{TOKENS, TokenName};
use crate::index::MachineIndex;
use crate::index::claims::RESTS;
use crate::index::timelines::BOOTS;

/// Machines by id. A machine's record is written with every change of its pins, so that of two servers that change them at
/// once one is told of a conflict: a pin of a new boot has no key that the other expects anything of.
pub const MACHINES: Table<MachineRecord> = Table::new("machines");
/// Pins by boot.
pub const PINS: Table<Pin> = Table::new("pins");
/// Plans by boot.
pub const PLANS: Table<BootPlan> = Table::new("plans");

/// What the state says over the site's files, by machine.
pub const ASSIGNMENTS: Table<Mapped> = Table::new("assignments");
/// The standing order to adopt whoever comes: there is one at most, under the key `next`.
pub const ADOPTING: Table<Adopting> = Table::new("adopting");
/// See [`ADOPTING`].
pub(crate) const NEXT: &str = "next";

/// What machines have found out about themselves, by machine.
pub const EXAMINED: Table<ExaminedRecord> = Table::new("examined");

/// Whose a NIC is, by MAC. Nothing is read from it: it is written with the record of a machine that gets a NIC, so that two
/// servers that see a new one at once do not both make a machine of it. Records of before it have none.
pub(crate) const NICS: Table<NicOwner> = Table::new("nics");

/// See [`NICS`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NicOwner {
    pub machine: MachineId,
}

/// Of all these tables, nothing yet.
pub(crate) fn nothing_applied() -> Applied {
    Applied::new([
        MACHINES.prefix(),
        PINS.prefix(),
        PLANS.prefix(),
        RESTS.prefix(),
        NICS.prefix(),
        ASSIGNMENTS.prefix(),
        ADOPTING.prefix(),
        TOKENS.prefix(),
        BOOTS.prefix(),
        EXAMINED.prefix(),
    ])
}

/// What nobody has or needs any more after some changes.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    /// Views that no pin holds.
    pub views: Vec<ViewId>,
    /// Machines without a pin.
    pub machines: Vec<MachineId>,
    /// NICs that are no machine's.
    pub nics: Vec<Mac>,
    /// Whether the site in force is no more what the mapping makes of it.
    pub is_mapped_anew: bool,
}

impl MachineIndex {
    /// Shows changes that are durable and news. A record that can't be parsed is said in the log, and what is known stays:
    /// it may be a newer oneroot's, and a pin that is taken for gone takes a root away.
    pub(crate) fn take_in(&mut self, changes: &[Change]) -> Leftovers {
        let mut left = Leftovers::default();
        for change in changes {
            if let Err(cause) = self.take_one(change, &mut left) {
                tracing::error!(%cause, "ignored a record of the state that cannot be parsed");
            }
        }
        // A view that went with one machine's pin may have come back with another's.
        left.views.retain(|view| !self.is_held(*view));
        left.machines.retain(|machine| self.pins_of(*machine).next().is_none());
        left.nics.retain(|mac| self.machine_of(*mac).is_none());
        left
    }

    /// A token is good for nothing while nobody knows what its record says: it may have been revoked by a newer oneroot.
    fn take_token(&mut self, name: &str, change: &Change) -> Result<(), Error> {
        let Ok(name) = name.parse::<TokenName>() else { return Ok(()) };
        self.tokens.remove(&name);
        if let Some((_, Some(token))) = TOKENS.changed(change)? {
            self.tokens.insert(name, (token, change.revision));
        }
        Ok(())
    }

    fn take_one(&mut self, change: &Change, left: &mut Leftovers) -> Result<(), Error> {
        if let Some((id, machine)) = MACHINES.changed(change)? {
            match machine {
                Some(machine) => self.put_machine(machine, change.revision),
                None => left.nics.extend(id_of(&id).into_iter().flat_map(|id| self.drop_machine(id))),
            }
        } else if let Some((boot, pin)) = PINS.changed(change)? {
            match (pin, id_of::<BootId>(&boot)) {
                (Some(pin), _) => self.put_pin(pin, change.revision),
                (None, Some(boot)) => {
                    left.machines.extend(self.pins.get(&boot).map(|(pin, _)| pin.machine));
                    left.views.extend(self.drop_pin(boot));
                }
                (None, None) => {}
            }
        } else if let Some((boot, plan)) = PLANS.changed(change)? {
            match plan {
                Some(plan) => drop(self.plans.insert(plan.boot, plan)),
                None => drop(id_of(&boot).and_then(|boot| self.plans.remove(&boot))),
            }
        } else if let Some((id, mapped)) = ASSIGNMENTS.changed(change)? {
            left.is_mapped_anew = true;
            match (mapped, id_of::<MachineId>(&id)) {
                (Some(mapped), Some(id)) => drop(self.mapped.insert(id, (mapped, change.revision))),
                (None, Some(id)) => drop(self.mapped.remove(&id)),
                (_, None) => {}
            }
        } else if let Some((id, record)) = EXAMINED.changed(change)? {
            match (record, id_of::<MachineId>(&id)) {
                (Some(record), Some(id)) => drop(self.examined.insert(id, (record, change.revision))),
                (None, Some(id)) => drop(self.examined.remove(&id)),
                (_, None) => {}
            }
        } else if let Some((_, adopting)) = ADOPTING.changed(change)? {
            self.adopting = adopting.map(|adopting| (adopting, change.revision));
        } else if let Some(name) = TOKENS.record(&change.key) {
            self.take_token(name, change)?;
        } else if let Some((address, rest)) = RESTS.changed(change)? {
            match (rest, id_of::<IpAddr>(&address)) {
                (Some(rest), Some(address)) => self.put_rest(address, rest),
                (None, Some(address)) => self.drop_rest(address),
                (_, None) => {
                    tracing::error!(key = &*change.key, "ignored a rest of something that is no address");
                }
            }
        }
        Ok(())
    }
}

/// A key's own part. One that is no id was never shown, so nothing goes with it.
fn id_of<T: FromStr<Err: Display>>(text: &str) -> Option<T> {
    text.parse().ok()
}
