//! The names that the crates share: of NICs ([`Mac`]), machines, boots, and of what the store holds.
//!
//! Each is a type of its own, so that no number is taken for another; each has one way to be written, which is also how
//! it stands in the state and on the wire. Nothing here knows what is named. Beside them: which characters of another's
//! text are shown ([`is_plain`]).

mod mac;
mod machine;
mod plain;
mod stored;
mod text;

pub use mac::Mac;
pub use machine::{BootId, MachineId};
pub use plain::is_plain;
pub use stored::{GenerationId, ObjectId, ViewId};
pub use text::{BadId, hex, same};
