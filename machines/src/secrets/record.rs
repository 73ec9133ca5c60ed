//! What the state has of a machine's secrets: one record under its name, so that a box that takes another's place has its keys.

use std::collections::BTreeMap;

use oneroot_bootconf::assignment::Signed;
use oneroot_bootconf::secrets::SecretKind;
use oneroot_ids::BootId;
use oneroot_state::Table;
use serde::{Deserialize, Serialize};

/// Secrets by the names of machines.
pub const SECRETS: Table<MachineSecrets> = Table::new("secrets");
/// Boots whose close is remembered: more than a machine has at once.
const MOST_CLOSED: usize = 8;

/// A machine's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineSecrets {
    /// By their names.
    pub kept: BTreeMap<String, Kept>,
    /// Boots that have said that they have them, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<BootId>,
}

/// One.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// As [`super::seal::SiteSeal`] seals it.
    pub sealed: String,
    /// How it came about.
    pub kind: SecretKind,
    /// The half of it that is no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<String>,
    /// Who has set it or had it made, and when.
    pub made: Signed,
}

impl MachineSecrets {
    /// The same once a boot is over with them.
    pub fn closed_by(mut self, boot: BootId) -> Self {
        self.closed.retain(|closed| *closed != boot);
        self.closed.push(boot);
        let over = self.closed.len().saturating_sub(MOST_CLOSED);
        self.closed.drain(..over);
        self
    }
}
