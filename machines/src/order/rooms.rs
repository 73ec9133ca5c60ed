//! Places of strangers: who is being written, and who gives way to them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use oneroot_bootconf::unknown::Newcomers;
use oneroot_ids::MachineId;

use crate::order::turns::{Thing, Turn};

/// Strangers that are being written at this moment: a place is somebody's from when it is given, and not from when the record
/// is on the disk, or a hundred that come at once would all take the last one.
#[derive(Default)]
pub(crate) struct Rooms {
    pub coming: HashSet<MachineId>,
    pub leaving: HashSet<MachineId>,
    pub newcomers: Newcomers,
}

/// A new stranger's place, for as long as its record is being written.
pub(crate) struct Place {
    rooms: Arc<Mutex<Rooms>>,
    coming: MachineId,
    forgotten: Vec<MachineId>,
    /// Of those: nobody else changes them until they are gone.
    _turns: Vec<Turn<Thing>>,
}

impl Place {
    /// For one that is coming; `turns` are those of who gives way.
    pub fn new(
        rooms: Arc<Mutex<Rooms>>,
        coming: MachineId,
        forgotten: Vec<MachineId>,
        turns: Vec<Turn<Thing>>,
    ) -> Self {
        Self { rooms, coming, forgotten, _turns: turns }
    }

    /// Who gives way.
    pub fn forgotten(&self) -> &[MachineId] {
        &self.forgotten
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.coming.remove(&self.coming);
        rooms.leaving.retain(|id| !self.forgotten.contains(id));
    }
}
