//! Trees as files for hosts that keep a copy (docs/decisions/0020-sync.md): who may have which (`offer`).

mod offer;
mod what;

pub use crate::index::copies::Holder;
pub use offer::{Asker, Given, Offered, SyncRefused, Wanted};
pub use what::{NoWhat, What, Which};
