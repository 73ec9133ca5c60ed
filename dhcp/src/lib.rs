//! DHCPv4 (RFC 2131, 2132): bytes in, bytes out; lease rules.
//!
//! No socket, no clock, no disk: [`Engine::handle`] is given a datagram and the time, asks a [`Policy`] about machines,
//! and answers with [`Step`]s. An ACK comes in two: [`Step::Commit`] says what must be durable, and only
//! [`Engine::committed`] brings the reply.
//!
//! The MAC finds the machine, always (docs/decisions/0003): client-id and option 82 are echoed, never keyed on, for one
//! box shows up as many DHCP clients on its way from firmware to running system.

mod allocator;
mod client;
mod commits;
mod context;
mod declined;
mod encode;
mod engine;
mod found;
pub mod frame;
mod later;
mod lease;
mod now;
mod offers;
mod options;
mod overheard;
mod policy;
mod pool;
mod probes;
mod proxy;
mod ranges;
mod rates;
mod replies;
mod states;
mod step;
mod subnets;
mod wire;
mod writes;

pub use client::Client;
pub use engine::Engine;
pub use lease::{Lease, LeaseChange, Revision};
pub use now::Now;
pub use overheard::{Overheard, ReplyType};
pub use policy::{BootFile, Claim, Policy, Reservation};
pub use step::{CommitError, DropReason, Found, Received, Reply, Route, Step};
pub use subnets::Subnet;
pub use wire::{MessageType, Refused, Request};
