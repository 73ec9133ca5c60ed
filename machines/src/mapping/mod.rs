//! The central mapping: who is adopted as what, and what somebody has assigned to whom. Every change is held to the rules of
//! the site's files, written durably, and laid over the site before it is answered.
//!
//! | asked | and | then |
//! |---|---|---|
//! | assign | the site has the machine | it counts before all that the files say; what is named is added to what was assigned |
//! | adopt | the name and the NICs are free | it is a machine of the site, with the id that it was seen with |
//! | rename | it was adopted, and the name is free | it has another name, and its id |
//! | rename | the files name it | refused: the name is theirs |
//! | replace | the NIC is nobody's | the machine has that NIC for its own, and everything else that it had |
//! | forget | it holds no root | nothing is kept of it but what the files say |
//! | forget | it holds a root | refused: release it first |

mod adopt;
mod change;
mod ended;
mod forgetting;
mod generations;
mod laid;
mod plan;
pub(crate) mod request;
#[cfg(test)]
mod tests;
mod write;

pub use plan::MachineChange;
pub use request::{MappedMachine, Mapping, MappingRecords, Newcomer, Request, Taken};
