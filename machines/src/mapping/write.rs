//! How a change of the mapping is written: with the records of its machines, all at once or not at all.

use std::collections::BTreeSet;
use std::sync::Arc;

use oneroot_bootconf::assignment::{Adopting, Mapped, Signed};
use oneroot_bootconf::identity::disowned;
use oneroot_ids::{Mac, MachineId};

use crate::boots::commit::{Changed, Prepared, TRIES};
use crate::error::{Error, Result};
use crate::host::random;
use crate::machines::Machines;
use crate::order::turns::Thing;

/// Machines that are written in one transaction: each has a record, NICs and a mapping, and a transaction has
/// [`oneroot_state::MAX_OPERATIONS`].
pub(super) const AT_ONCE: usize = 16;

/// A change before it is written.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) machines: Vec<Wanted>,
    /// The standing order to adopt whoever comes, where that changes.
    pub(super) adopting: Option<Option<Adopting>>,
}

/// What the mapping is to say of one machine.
pub(super) struct Wanted {
    pub(super) name: String,
    /// The name that its record has, where it gets another.
    pub(super) was: Option<String>,
    pub(super) macs: Vec<Mac>,
    pub(super) mapped: Option<Mapped>,
    /// Whether its record is to have this name and these NICs now, and not only when it boots.
    pub(super) renames: bool,
    /// Whether its record goes too.
    pub(super) forgets: bool,
}

/// What a draft comes to for who has its turns.
enum Written {
    /// All that it says is so already.
    Nothing,
    /// It touches something else by now.
    NotInTurn,
    /// This is written.
    Change(Box<Prepared>),
}

impl Draft {
    /// A change of one machine.
    pub(super) fn of(machine: Wanted) -> Self {
        Self { machines: vec![machine], adopting: None }
    }
}

impl Wanted {
    pub(super) fn of(name: &str, macs: Vec<Mac>, mapped: Mapped) -> Self {
        Self { name: name.to_owned(), was: None, macs, mapped: Some(mapped), renames: false, forgets: false }
    }
}

impl Machines {
    /// Writes what the mapping is to say, in one transaction; the names of its machines. `draft` is asked again where another
    /// server was quicker, for what it was made of may be another by then.
    pub(super) async fn write_mapping(
        self: &Arc<Self>,
        by: &Signed,
        draft: &(dyn Fn(&Self) -> Result<Draft> + Sync),
    ) -> Result<Vec<String>> {
        for _ in 0..TRIES {
            let mut ids = Vec::new();
            let wanted = things(&self.drafted(by, draft, &mut ids)?.1);
            let turn = self.turns.take(wanted.clone()).await;
            // A boot that had one of these turns before may have given a NIC its first record meanwhile, so it is drafted anew.
            let (names, written) = self.written(by, draft, &mut ids, &wanted)?;
            match written {
                Written::Nothing => return Ok(names),
                Written::NotInTurn => {}
                Written::Change(prepared) => {
                    if self.commit(turn, *prepared).await? {
                        return Ok(names);
                    }
                }
            }
        }
        Err(Error::Contended)
    }

    /// The draft that is written by who has the turns for `wanted`, and the names of its machines.
    fn written(
        &self,
        by: &Signed,
        draft: &(dyn Fn(&Self) -> Result<Draft> + Sync),
        ids: &mut Vec<MachineId>,
        wanted: &BTreeSet<Thing>,
    ) -> Result<(Vec<String>, Written)> {
        let known = self.applied();
        let (names, changed) = self.drafted(by, draft, ids)?;
        let written = if changed.mapped.is_empty() && changed.adopting.is_none() {
            Written::Nothing
        } else if !things(&changed).is_subset(wanted) {
            Written::NotInTurn
        } else {
            Written::Change(Box::new(self.prepared(&known, changed)?))
        };
        Ok((names, written))
    }

    /// A draft with its records, and the names of its machines. One that has no record yet gets an id, the same one each time.
    fn drafted(
        &self,
        by: &Signed,
        draft: &(dyn Fn(&Self) -> Result<Draft> + Sync),
        ids: &mut Vec<MachineId>,
    ) -> Result<(Vec<String>, Changed)> {
        let draft = draft(self)?;
        let names = draft.machines.iter().map(|one| one.name.clone()).collect();
        let mut changed = Changed { adopting: draft.adopting, ..Changed::default() };
        for (place, one) in draft.machines.into_iter().enumerate() {
            let fresh = match ids.get(place) {
                Some(id) => *id,
                None => random(self.host.as_ref()).map(MachineId::from_random).map_err(Error::Random)?,
            };
            if place == ids.len() {
                ids.push(fresh);
            }
            self.add_change(&mut changed, one, by, fresh);
        }
        Ok((names, changed))
    }

    fn add_change(&self, changed: &mut Changed, wanted: Wanted, by: &Signed, fresh: MachineId) {
        let Wanted { name, was, macs, mapped, renames, forgets } = wanted;
        let (mut record, _) = self.record_of(was.as_ref().unwrap_or(&name), &macs, fresh);
        let index = self.index();
        if was.is_some() {
            // Found by the name that it had: its NIC may have been replaced, and its record has the old one until it boots.
            if let Some((old, _)) = index.machines.get(&record.id) {
                record.macs.clone_from(&old.macs);
            }
            record.name = Some(name);
        }
        let old = index.machines.get(&record.id).map(|(old, _)| old);
        if forgets {
            changed.forgotten.extend(old.map(|old| old.id));
        } else if old.is_none() || renames && old != Some(&record) {
            // One that has booted gets other NICs in its record when it boots from one, as after a change of the files.
            changed.records.extend(disowned(&record, index.machines.values().map(|(record, _)| record)));
            changed.records.push(record.clone());
        }
        let was = index.mapped.get(&record.id).map(|(was, _)| was);
        changed.mapped.push((record.id, mapped.map(|mapped| mapped.following(was, by))));
    }
}

/// All that a change touches.
fn things(changed: &Changed) -> BTreeSet<Thing> {
    let records = changed.records.iter().flat_map(|record| {
        let macs = record.macs.iter().map(|mac| Thing::Nic(*mac));
        macs.chain(record.name.clone().map(Thing::Name)).chain([Thing::Machine(record.id)])
    });
    let mapped = changed.mapped.iter().map(|(id, _)| Thing::Machine(*id));
    records.chain(mapped).chain(changed.forgotten.iter().map(|id| Thing::Machine(*id))).collect()
}
