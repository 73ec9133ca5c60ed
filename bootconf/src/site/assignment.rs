//! What the state holds over the site's files: the central mapping. Somebody has adopted a machine, or said at the command
//! line what one boots; both are kept by machine id, so they stay with a machine through a new name and a new NIC.
//!
//! | the state says of a machine | and the site's files | then |
//! |---|---|---|
//! | its name and NICs | have neither | it is a machine of the site |
//! | its name and NICs | have the name with those NICs that they had when this was said | its NICs are those of the state |
//! | its name and NICs | have the name with other NICs | the files count: they are newer |
//! | its name and NICs | have one of the NICs in another machine | the files count, and this is a conflict |
//! | what it boots | have the machine | it is the first word of its decision |
//! | what it boots | have it no more | it waits: the machine may come back |

use std::collections::{BTreeMap, BTreeSet};

use oneroot_ids::{GenerationId, Mac};
use serde::{Deserialize, Serialize};

use crate::site::gives::Gives;
use crate::site::history::Change;
use crate::site::types::{Lookup, Site};

/// What somebody has said that a machine boots, over all that the site's files say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// What it gives.
    #[serde(flatten)]
    pub gives: Gives,
    /// Of profiles, generations that it boots whatever is their head: what others get later.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub generations: BTreeMap<String, GenerationId>,
    /// Those of them that were not the head when they were assigned: tried before others get them, so they end with being the
    /// head. One that was the head is kept, whatever follows it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub until_head: BTreeSet<String>,
    /// Who has said it last, and when.
    #[serde(flatten)]
    pub signed: Signed,
    /// When it ends, seconds of site time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// Whether it ends with the first boot that has its root.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
}

/// Who has done something, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// The user.
    pub by: String,
    /// Seconds of site time.
    pub at: u64,
}

/// A machine that somebody has given its name, or other NICs than the site's files say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adoption {
    /// Its NICs.
    pub macs: Vec<Mac>,
    /// The NICs that the site's files gave it when this was said; none where they did not name it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instead_of: Vec<Mac>,
    /// Who has said so last, and when.
    #[serde(flatten)]
    pub signed: Signed,
}

/// All that the state says of one machine. A record of the state.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mapped {
    /// Its name.
    pub name: String,
    /// That it was adopted, or has other NICs than the site's files say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<Adoption>,
    /// What it boots until somebody says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned: Option<Assignment>,
    /// What it boots for a time, or once, over that: when this ends, that is there again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_now: Option<Assignment>,
    /// Its last changes, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Change>,
}

/// A standing order: whoever comes and has no name gets the next of a row. A record of the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopting {
    /// The names, as they were asked for: `seat-{01..40}`.
    pub names: String,
    /// How many of them have been looked at: given to somebody, or somebody's already.
    pub used: u32,
    /// What each is assigned.
    pub gives: Gives,
    /// Who has asked for it, and when.
    #[serde(flatten)]
    pub signed: Signed,
}

/// Why what the state says of a machine does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// A NIC is another machine's.
    #[error(
        "{mac} is machine {owner}'s by the site's files, and was adopted as {name}; run `oneroot forget {name}`, or take it out of the files"
    )]
    Nic {
        /// The NIC.
        mac: Mac,
        /// Whose it is.
        owner: String,
        /// Whose it was to be.
        name: String,
    },
    /// What it was assigned is not there.
    #[error(
        "{name} is assigned {kind} {wanted}, which this site does not have; run `oneroot unassign {name}`, or keep it"
    )]
    Missing {
        /// The machine.
        name: String,
        /// `profile`, `menu` or `workload`.
        kind: &'static str,
        /// Its name.
        wanted: String,
    },
}

impl Assignment {
    /// An assignment of nothing.
    #[must_use]
    pub fn empty(signed: Signed) -> Self {
        Self {
            gives: Gives::default(),
            generations: BTreeMap::new(),
            until_head: BTreeSet::new(),
            signed,
            until: None,
            once: false,
        }
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.gives == Gives::default() && self.generations.is_empty()
    }

    /// Assigns generations, of which these profiles have another head now.
    pub fn add_generations(
        &mut self,
        generations: &BTreeMap<String, GenerationId>,
        is_head: impl Fn(&str, GenerationId) -> bool,
    ) {
        for (profile, generation) in generations {
            self.generations.insert(profile.clone(), *generation);
            if is_head(profile, *generation) {
                self.until_head.remove(profile);
            } else {
                self.until_head.insert(profile.clone());
            }
        }
    }

    /// It without the generations that others get by now.
    #[must_use]
    pub fn without_heads(mut self, heads: &BTreeMap<String, GenerationId>) -> Option<Self> {
        let is_head = |profile: &String| {
            self.generations.get(profile).is_some_and(|generation| heads.get(profile) == Some(generation))
        };
        let ended: Vec<String> = self.until_head.iter().filter(|profile| is_head(profile)).cloned().collect();
        for profile in ended {
            self.until_head.remove(&profile);
            self.generations.remove(&profile);
        }
        Some(self).filter(|left| !left.is_empty())
    }

    /// Whether it is there until somebody says otherwise.
    #[must_use]
    pub fn lasts(&self) -> bool {
        self.until.is_none() && !self.once
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_over(&self, now: u64) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

impl Mapped {
    /// Whether it says nothing of its machine, though it may tell what it once said.
    #[must_use]
    pub fn says_nothing(&self) -> bool {
        self.adopted.is_none() && self.assigned.is_none() && self.for_now.is_none()
    }

    /// A record of a machine of which nothing is said yet.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

impl Site {
    /// The site with what the state says laid over it; `mapped` are the records, each with the NICs that its machine was last
    /// seen with.
    #[must_use]
    pub fn mapped<'m>(
        &self,
        mapped: impl IntoIterator<Item = (&'m Mapped, &'m [Mac])>,
    ) -> (Self, Vec<Conflict>) {
        let (mut site, mut conflicts) = (self.clone(), Vec::new());
        // Those that were adopted first: an assignment may be one of theirs.
        let mapped: Vec<(&Mapped, &[Mac])> = mapped.into_iter().collect();
        for (record, _) in &mapped {
            if let Some(adopted) = &record.adopted {
                conflicts.extend(site.adopt(self, &record.name, adopted));
            }
        }
        // By which an assignment finds machines that were adopted just now.
        site.lookup = Lookup::of(&site.machines);
        for (record, macs) in mapped {
            if record.assigned.is_none() && record.for_now.is_none() {
                continue;
            }
            // One that the files call otherwise by now is found by its NICs.
            let by_mac = || macs.iter().find_map(|mac| site.machine(*mac)).map(|(name, _)| name.to_owned());
            let by_name = Some(&record.name).filter(|name| site.machines.contains_key(*name)).cloned();
            let Some(name) = by_name.or_else(by_mac) else { continue };
            for assigned in record.assigned.iter().chain(&record.for_now) {
                conflicts.extend(site.missing(&name, &assigned.gives));
            }
            if let Some(machine) = site.machines.get_mut(&name) {
                machine.assigned.clone_from(&record.assigned);
                machine.for_now.clone_from(&record.for_now);
            }
        }
        (site, conflicts)
    }

    /// The site with another assignment of one machine: what comes of it can be looked at before it is made.
    #[must_use]
    pub fn with_assigned(&self, mapped: &Mapped) -> Self {
        let mut site = self.clone();
        if let Some(machine) = site.machines.get_mut(&mapped.name) {
            machine.assigned.clone_from(&mapped.assigned);
            machine.for_now.clone_from(&mapped.for_now);
        }
        site
    }

    /// Lays one adoption over the machines of the files.
    fn adopt(&mut self, files: &Self, name: &str, adopted: &Adoption) -> Option<Conflict> {
        let own = files.machines.get(name);
        // The files were written anew since it was said, so theirs is the later word.
        if own.map_or(&[][..], |machine| &machine.macs) != adopted.instead_of {
            return None;
        }
        for mac in &adopted.macs {
            if let Some((owner, _)) = files.machine(*mac).filter(|(owner, _)| *owner != name) {
                return Some(Conflict::Nic { mac: *mac, owner: owner.to_owned(), name: name.to_owned() });
            }
        }
        let machine = self.machines.entry(name.to_owned()).or_default();
        machine.macs.clone_from(&adopted.macs);
        // An address is a NIC's by its place: the NIC that takes another's place takes its address too.
        machine.addresses.truncate(adopted.macs.len());
        machine.adopted = Some(adopted.signed.clone());
        None
    }

    /// What of an assignment the site does not have.
    fn missing(&self, name: &str, gives: &Gives) -> Vec<Conflict> {
        let missing =
            |kind, wanted: &str| Conflict::Missing { name: name.to_owned(), kind, wanted: wanted.to_owned() };
        let profile = gives.profile().filter(|profile| !self.profiles.contains_key(*profile));
        let menu = gives.menu().filter(|menu| !self.menus.contains_key(*menu));
        let workloads: BTreeSet<&String> =
            gives.workloads.iter().filter(|workload| !self.workloads.contains_key(*workload)).collect();
        let workloads = workloads.into_iter().map(|workload| missing("workload", workload));
        let profile = profile.map(|profile| missing("profile", profile));
        let menu = menu.map(|menu| missing("menu", menu));
        profile.into_iter().chain(menu).chain(workloads).collect()
    }
}
