//! DHCPv4 (RFC 2131, 2132): bytes in, bytes out; lease rules.
//!
//! No socket, no clock, no disk: [`Engine::handle`] is given a datagram and the time, asks a [`Policy`] about machines,
//! and answers with [`Step`]s. An ACK comes in two: [`Step::Commit`] says what must be durable, and only
//! [`Engine::committed`] brings the reply.
//!
//! The MAC finds the machine, always (docs/decisions/0003): client-id and option 82 are echoed, never keyed on, for one
//! box shows up as many DHCP clients on its way from firmware to running system.
//!
//! The rooms, each of which names only those above it:
//!
//! | room | what happens there |
//! |---|---|
//! | `now.rs` | the time, as an argument |
//! | `wire/` | bytes to a request, a reply to bytes |
//! | `networks/` | which network a client is in |
//! | `leases/` | what must be durable; which addresses are free |
//! | `policy.rs`, `step.rs`, `context.rs` | what is asked of the site; what the engine wants done; a request with all that it depends on |
//! | `addresses/` | whose an address is, and how it becomes somebody's |
//! | `answers/` | a message becomes a decision |
//! | `engine.rs` | one message, one answer, one commit after the other |

mod addresses;
mod answers;
mod context;
mod engine;
mod leases;
mod networks;
mod now;
mod policy;
mod step;
mod wire;

pub use engine::Engine;
pub use leases::lease::{Lease, LeaseChange, Revision};
pub use networks::subnets::Subnet;
pub use now::Now;
pub use policy::{BootFile, Claim, Policy, Reservation};
pub use step::{CommitError, DropReason, ProbeResult, Received, Reply, Route, Step};
pub use wire::client::Client;
pub use wire::frame;
pub use wire::message::{MessageType, Refused, Request};
pub use wire::overheard::{Overheard, ReplyType};
