//! The domain, no sockets, no printing, no clock of its own. Where protocols meet policy: who is at an address, what it boots, what it may read, and how far it has come.
//!
//! Every change is made durable first and shown second: a script, a grant or a word leaves only after the pin behind it
//! is on the disk.

mod access;
mod around;
mod boots;
mod credentials;
mod error;
mod feed;
mod granting;
pub mod guest;
mod handing;
mod host;
mod index;
pub mod initrds;
mod keys;
mod machines;
mod mapping;
pub mod objects;
mod order;
pub mod planner;
pub mod secrets;
mod status;
pub mod sync;
mod tokens;
mod views;

pub use access::resource::{Lookup, Resource, Unreadable, Via};
pub use around::{Around, ProbeResult, Probing, Reason};
pub use boots::reports::{ReportRefused, Reporter};
pub use credentials::record::{Granted, TokenRefused};
pub use credentials::view::TokenView;
pub use error::{Error, MappingRefused, Result, SecretRefused, TokenChangeRefused};
pub use granting::{TokenStatus, TokenWanted};
pub use handing::keeping::{SecretChange, SecretStatus};
pub use host::{Host, Passing};
pub use index::claims::{Claim, RESTS, Rest};
pub use index::copies::{Copy, Holder};
pub use index::others::{OtherServer, Sign, What};
pub use index::refusals::Refusal;
pub use index::sightings::Sighting;
pub use index::stalls::Stalled;
pub use index::steps::BootStep;
pub use index::tables::{ADOPTING, ASSIGNMENTS, EXAMINED, MACHINES, PINS, PLANS};
pub use index::timelines::PhaseDone;
pub use keys::KeyStatus;
pub use machines::Machines;
pub use mapping::{MachineChange, MappedMachine, Mapping, MappingRecords, Newcomer, Request, Taken};
pub use order::blocking::blocking;
pub use planner::asking::DecideStatus;
pub use status::{
    BootStatus, BootsStatus, ExaminedFact, FailedBoot, MachineStatus, OneMachine, PinStatus, Planned,
};
pub use tokens::keys::{HandleKeys, handle_keys};
pub use views::flats::Objects;
pub use views::tree::{MachineTree, ProgressReport};
