//! Who goes on when: one change of a machine at a time, so many plans at once, so many strangers; and work that keeps its place.

pub(crate) mod blocking;
pub(crate) mod gate;
pub(crate) mod rooms;
pub(crate) mod turns;
pub(crate) mod unwritten;
