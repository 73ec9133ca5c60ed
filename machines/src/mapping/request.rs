//! What is asked of the mapping, and what is answered: documents, whichever way they come.

use std::collections::BTreeMap;

use oneroot_bootconf::assignment::{Adopting, Assignment, Mapped, Signed};
use oneroot_bootconf::gives::Gives;
use oneroot_bootconf::history::Change;
use oneroot_bootconf::name_row::NameRow;
use oneroot_ids::{GenerationId, Mac};
use serde::{Deserialize, Serialize};

/// One change of the mapping.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Machines boot this from now on.
    Assign {
        /// Their names, rows of names, or MACs.
        machines: Vec<String>,
        /// What each is given, besides what was assigned before.
        gives: Gives,
        /// Of profiles, generations that it boots whatever is their head.
        #[serde(default)]
        generations: BTreeMap<String, GenerationId>,
        /// For how many seconds; none for as long as nobody says otherwise.
        lasts: Option<u64>,
        /// For one boot.
        once: bool,
    },
    /// Machines boot what the site's files say again.
    Unassign {
        /// Their names, rows of names, or MACs.
        machines: Vec<String>,
        /// What is taken away; none for all of it.
        taken: Option<Taken>,
    },
    /// These have names from now on.
    Adopt {
        /// All of them.
        machines: Vec<Newcomer>,
        /// Only look whether that can be done.
        #[serde(default)]
        dry_run: bool,
    },
    /// Whoever comes gets the next of these names.
    AdoptNext {
        /// The names, `seat-{01..40}`.
        names: String,
        /// What each is assigned.
        gives: Gives,
        /// Only look whether that can be done.
        #[serde(default)]
        dry_run: bool,
    },
    /// Whoever comes stays unnamed again.
    StopAdopting,
    /// An adopted machine has another name.
    Rename {
        /// Its name, or one of its MACs.
        machine: String,
        /// The new name.
        name: String,
    },
    /// A machine has other NICs.
    Replace {
        /// Its name, or one of its MACs.
        machine: String,
        /// All that it has from now on.
        macs: Vec<Mac>,
    },
    /// What a machine has found out about itself is not kept.
    ForgetExamined {
        /// Its name, or one of its MACs.
        machine: String,
    },
    /// Nothing is kept of a machine.
    Forget {
        /// Its name, or one of its MACs.
        machine: String,
    },
}

impl Request {
    /// The machines that it names, each by a name or a MAC: a row of names is all of them.
    pub(super) fn machines(&self) -> Vec<String> {
        match self {
            Self::Assign { machines, .. } | Self::Unassign { machines, .. } => {
                let each = |word: &String| match NameRow::parse(word) {
                    Ok(row) => row.names().collect(),
                    // A name or a MAC, to be looked up as such.
                    Err(_) => vec![word.clone()],
                };
                machines.iter().flat_map(each).collect()
            }
            Self::Rename { machine, .. } | Self::Replace { machine, .. } | Self::Forget { machine } => {
                vec![machine.clone()]
            }
            Self::Adopt { .. }
            | Self::AdoptNext { .. }
            | Self::StopAdopting
            | Self::ForgetExamined { .. } => Vec::new(),
        }
    }

    /// What is asked, in a word: the names in it are the log's to show as fields.
    #[must_use]
    pub fn in_words(&self) -> &'static str {
        match self {
            Self::Assign { .. } => "assigned",
            Self::Unassign { .. } => "unassigned",
            Self::Adopt { .. } | Self::AdoptNext { .. } => "adopted",
            Self::StopAdopting => "nobody is adopted any more",
            Self::Rename { .. } => "renamed",
            Self::Replace { .. } => "its NIC was replaced",
            Self::Forget { .. } => "forgotten",
            Self::ForgetExamined { .. } => "what it has found out about itself is forgotten",
        }
    }
}

/// A machine that gets a name.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Newcomer {
    /// Its NICs.
    pub macs: Vec<Mac>,
    /// Its name.
    pub name: String,
    /// What it is assigned.
    pub gives: Gives,
}

/// What is taken from an assignment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Taken {
    /// Whatever it says is booted.
    pub boots: bool,
    /// These workloads.
    pub workloads: Vec<String>,
    /// These arguments.
    pub args: Vec<String>,
    /// The variables of these names.
    pub vars: Vec<String>,
    /// The generations of all profiles.
    pub generations: bool,
}

/// A machine as the mapping has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappedMachine {
    /// Its name.
    pub name: String,
    /// Its NICs.
    pub macs: Vec<Mac>,
    /// Who has adopted it or replaced its NIC, and when (seconds since 1970).
    pub adopted: Option<Signed>,
    /// What is assigned to it until somebody says otherwise.
    pub assigned: Option<Assignment>,
    /// What is assigned to it for a time, or once, over that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_now: Option<Assignment>,
    /// Its last changes, the oldest first; times are seconds since 1970.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Change>,
    /// Whether it is a machine of the site: one that the files have no more is not.
    pub known: bool,
    /// Whether the site's files have a machine of this name.
    #[serde(default)]
    pub in_files: bool,
}

/// The mapping as it is kept, and the moment, seconds of site time: to be laid over a site ([`oneroot_bootconf::Site::mapped`]).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MappingRecords {
    /// Each with the NICs that its machine was last seen with.
    pub mapped: Vec<(Mapped, Vec<Mac>)>,
    /// When this is so.
    pub now: u64,
}

/// All that the state says over the site's files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// Machines with something of their own in it, in the order of their names.
    pub machines: Vec<MappedMachine>,
    /// The standing order to adopt whoever comes.
    pub adopting: Option<Adopting>,
    /// What of it does not count, and why.
    pub conflicts: Vec<String>,
}
