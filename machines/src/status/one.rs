//! All that is known of one machine: how far it is, what it would boot now and who says so, what it has told of itself, and what
//! was changed of it by whom.

use std::sync::PoisonError;

use oneroot_bootconf::decided::Decided;
use oneroot_bootconf::decision::Provenance;
use oneroot_bootconf::hardware::Value;
use oneroot_ids::Mac;
use serde::{Deserialize, Serialize};

use crate::index::copies::{Copy, Holder};
use crate::index::sightings::Sighting;
use crate::machines::Machines;
use crate::mapping::MappedMachine;
use crate::status::MachineStatus;

/// One machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OneMachine {
    /// Seconds since 1970 at the server.
    pub now: u64,
    /// How far it is.
    pub status: MachineStatus,
    /// What it would boot now, and which table, rule, program or person says each part of it.
    pub decision: Vec<Provenance>,
    /// Why it would boot nothing.
    pub trouble: Option<String>,
    /// What the state says of it over the site's files, and its last changes.
    pub mapped: Option<MappedMachine>,
    /// What each of its NICs has told since the server started.
    pub told: Vec<Sighting>,
    /// What it has found out about itself when it came up last, by name.
    #[serde(default)]
    pub examined: Vec<ExaminedFact>,
    /// The trees that it keeps copies of, as it has said since the server started.
    #[serde(default)]
    pub copies: Vec<Copy>,
}

/// Something that a machine has found out about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExaminedFact {
    /// How it is called.
    pub name: String,
    /// What it is.
    pub value: Value,
    /// The program that has printed it.
    pub by: String,
    /// Since when that program prints what it does, seconds since 1970.
    pub since: u64,
}

impl Machines {
    /// A machine by its name or one of its MACs. Blocks on the disk.
    pub fn one(&self, machine: &str) -> Option<OneMachine> {
        let row = self.rows().into_iter().find(|row| row.is(machine))?;
        let (site, macs) = (self.site(), row.macs.clone());
        let mut looked = self.nothing_looked_up();
        let now = self.outlook(&site, &mut looked, self.asks(&row), None);
        let status = self.shown(&site, &mut looked, row, &now);
        let (decision, trouble) = match now.decided {
            Ok(Decided::Profile(decision)) => (decision.why, None),
            Ok(Decided::Other(other)) => (other.why, None),
            Err(cause) => (Vec::new(), Some(cause.to_string())),
        };
        let mut told = self.sightings();
        told.retain(|sighting| macs.contains(&sighting.mac));
        Some(OneMachine {
            now: self.host.shown(self.host.now()),
            examined: macs.first().map(|mac| self.found_out(*mac)).unwrap_or_default(),
            copies: self.copies_of(&status.name),
            mapped: looked.mapped.remove(&status.name),
            status,
            decision,
            trouble,
            told,
        })
    }

    fn found_out(&self, mac: Mac) -> Vec<ExaminedFact> {
        let index = self.index();
        let Some((record, _)) = index.machine_of(mac).and_then(|machine| index.examined.get(&machine)) else {
            return Vec::new();
        };
        let facts = record.facts();
        let each = facts.all().filter_map(|(key, value)| {
            let (by, since) = record.origin(key)?;
            let (name, value) = (key.to_string(), value.clone());
            Some(ExaminedFact { name, value, by: by.to_owned(), since: self.host.shown(since) })
        });
        each.collect()
    }

    fn copies_of(&self, name: &str) -> Vec<Copy> {
        let copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let its =
            copies.all().filter(|copy| matches!(&copy.holder, Holder::Machine(machine) if machine == name));
        its.map(|copy| Copy { at: self.host.shown(copy.at), ..copy.clone() }).collect()
    }
}
