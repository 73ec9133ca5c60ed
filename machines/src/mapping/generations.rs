//! What the store says of generations that are assigned. It is on a disk, which may hang, so it is read away from the threads that
//! serve, and before anybody is kept waiting for the mapping: a machine that is adopted as it comes would be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use oneroot_bootconf::decision::Part;
use oneroot_ids::GenerationId;

use crate::error::Result;
use crate::machines::Machines;
use crate::mapping::request::Request;

/// What the store had when a request came.
#[derive(Default)]
pub(super) struct Stored {
    /// The heads of the profiles of which generations are asked for.
    pub(super) heads: BTreeMap<String, GenerationId>,
    /// What of those generations it does not have, a sentence for each.
    pub(super) gone: Vec<String>,
}

impl Machines {
    /// What the store says of the generations of a request.
    pub(super) async fn stored(self: &Arc<Self>, request: &Request) -> Result<Stored> {
        let Request::Assign { generations, .. } = request else { return Ok(Stored::default()) };
        if generations.is_empty() {
            return Ok(Stored::default());
        }
        let (machines, wanted) = (self.clone(), generations.clone());
        let read = move || {
            let is_gone = |id: &GenerationId| machines.planner.store().generation(*id).is_err();
            let gone = wanted.iter().filter(|(_, id)| is_gone(id));
            let gone =
                gone.map(|(profile, id)| format!("the store has no generation {id} of {profile}")).collect();
            Stored { heads: machines.heads_of(wanted.into_keys()), gone }
        };
        Ok(tokio::task::spawn_blocking(read).await?)
    }

    /// The heads of these profiles, as far as they can be read.
    pub(super) async fn heads(
        self: &Arc<Self>,
        profiles: BTreeSet<String>,
    ) -> BTreeMap<String, GenerationId> {
        if profiles.is_empty() {
            return BTreeMap::new();
        }
        let machines = self.clone();
        // What cannot be read now is asked again at the next tick.
        tokio::task::spawn_blocking(move || machines.heads_of(profiles)).await.unwrap_or_default()
    }

    fn heads_of(&self, profiles: impl IntoIterator<Item = String>) -> BTreeMap<String, GenerationId> {
        let home = self.site().home.clone();
        let head = |name: String| {
            let part = Part::Profile { name: name.clone() };
            Some((name, self.planner.head(&home, &part).ok()?))
        };
        profiles.into_iter().filter_map(head).collect()
    }
}
