//! What the site's program is asked of a machine (docs/decide.md): all that a rule could look at, as one JSON document.

use std::net::IpAddr;

use serde::Serialize;

use crate::decide::asked::{Asked, Catalogue, Who};
use crate::hardware::{Claims, Examined, Hardware, Location};
use crate::site::Program;
use oneroot_ids::Mac;

/// The document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Question<'q> {
    /// The NIC that boots.
    pub mac: String,
    /// All its NICs that the site knows.
    pub macs: Vec<String>,
    /// Its name, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'q str>,
    /// The address that it asks from, or would get.
    pub address: IpAddr,
    /// The groups that it is in, in the order of the site.
    pub groups: Vec<&'q str>,
    /// What it tells of itself.
    pub hardware: &'q Hardware,
    /// From where it asks.
    pub location: &'q Location,
    /// What it has found out about itself when it came up last.
    pub examined: &'q Examined,
}

/// What the program that makes secrets is asked for: one secret of one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SecretWanted<'q> {
    /// The machine's name.
    pub machine: &'q str,
    /// The secret's.
    pub secret: &'q str,
    /// The machine's NICs.
    pub macs: Vec<String>,
}

impl SecretWanted<'_> {
    /// As the program is given it.
    #[must_use]
    pub fn document(&self) -> Vec<u8> {
        written(self)
    }
}

/// All of it is text and numbers, which JSON has.
fn written(question: &impl Serialize) -> Vec<u8> {
    let mut document = serde_json::to_vec(question).unwrap_or_default();
    document.push(b'\n');
    document
}

impl<'c> Catalogue<'c> {
    /// The program that is to be asked about somebody: there is one, and neither what was assigned nor the machine's own table says
    /// what it boots. Nobody whom these name waits for a program.
    #[must_use]
    pub fn program_for(&self, asked: &Asked) -> Option<&'c Program> {
        let program = self.site().decide.as_ref()?;
        let is_said = self.nearer(asked).iter().any(|voice| voice.boots().is_some());
        (!is_said).then_some(program)
    }
}

impl<'q> Question<'q> {
    /// About who asks; none where nobody has asked yet.
    #[must_use]
    pub fn of(
        catalogue: &Catalogue<'q>,
        asked: &Asked,
        claims: &'q Claims,
        location: &'q Location,
    ) -> Option<Self> {
        let Who::Nic(mac) = asked.who else { return None };
        let machine = catalogue.machine(asked.who);
        Some(Self {
            mac: mac.to_string(),
            macs: machine.map_or(vec![mac.to_string()], |(_, machine)| {
                machine.macs.iter().map(Mac::to_string).collect()
            }),
            name: machine.map(|(name, _)| name),
            address: catalogue.address_of(asked),
            groups: catalogue.groups_of(asked).map(|(name, _)| name).collect(),
            hardware: &claims.hardware,
            location,
            examined: &claims.examined,
        })
    }

    /// As the program is given it.
    #[must_use]
    pub fn document(&self) -> Vec<u8> {
        written(self)
    }
}
