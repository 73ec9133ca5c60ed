//! All that is known of one machine: how far it is, what it would boot now and who says so, what it has told of itself, and what
//! was changed of it by whom.

use std::sync::PoisonError;

use oneroot_bootconf::asked::{Asked, Catalogue};
use oneroot_bootconf::decided::Decided;
use oneroot_bootconf::decision::{Provenance, decide};
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
    /// The trees that it keeps copies of, as it has said since the server started.
    #[serde(default)]
    pub copies: Vec<Copy>,
}

impl Machines {
    /// A machine by its name or one of its MACs. Blocks on the disk.
    pub fn one(&self, machine: &str) -> Option<OneMachine> {
        // However it is written, with colons or dashes.
        let mac = machine.parse::<Mac>().ok();
        let row = self.rows().into_iter().find(|row| {
            row.name.as_deref() == Some(machine)
                || mac.is_some_and(|mac| row.mac == mac || row.macs.contains(&mac))
        })?;
        let (asked, macs) = (self.asks(&row), row.macs.clone());
        let (decision, trouble) = self.decision_of(&asked);
        let mut looked = self.nothing_looked_up();
        let status = self.shown(&self.site(), &mut looked, row);
        let mut told = self.sightings();
        told.retain(|sighting| macs.contains(&sighting.mac));
        Some(OneMachine {
            now: self.host.shown(self.host.now()),
            copies: self.copies_of(&status.name),
            mapped: looked.mapped.remove(&status.name),
            status,
            decision,
            trouble,
            told,
        })
    }

    fn copies_of(&self, name: &str) -> Vec<Copy> {
        let copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let its =
            copies.all().filter(|copy| matches!(&copy.holder, Holder::Machine(machine) if machine == name));
        its.map(|copy| Copy { at: self.host.shown(copy.at), ..copy.clone() }).collect()
    }

    /// What is decided right now, with the last word of the site's program; and why it is nothing.
    fn decision_of(&self, asked: &Asked) -> (Vec<Provenance>, Option<String>) {
        let site = self.site();
        let catalogue = Catalogue::of(&site).at(self.host.now());
        let said = self.program_said(&catalogue, asked).flatten();
        let catalogue = said.as_ref().map_or(catalogue, |gives| catalogue.told(gives));
        match decide(&catalogue, asked) {
            Ok(Decided::Profile(decision)) => (decision.why, None),
            Ok(Decided::Other(other)) => (other.why, None),
            Err(cause) => (Vec::new(), Some(cause.to_string())),
        }
    }
}
