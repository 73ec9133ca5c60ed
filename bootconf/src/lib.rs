//! Policy, no sockets: site files to a checked [`Site`]; which machine gets which boot plan, and why.
//!
//! Everything here is a pure function: of text ([`load`]), of the catalogue and of who asks ([`decision`]), of pins and events ([`pins`]), of
//! who asks and who holds ([`access`]). What it decides, `src/` does.

pub mod access;
pub mod admission;
pub mod again;
pub mod args;
pub mod asked;
pub mod binding;
mod check;
pub mod decision;
mod directories;
mod draft;
pub mod export;
pub mod facts;
pub mod firmware;
pub mod given;
mod group_tables;
pub mod groups;
pub mod identity;
pub mod initrd;
pub mod kernels;
mod networks;
mod paths;
pub mod pins;
pub mod plan;
pub mod render;
mod replies;
mod report;
pub mod root;
pub mod script;
mod section;
mod site;
mod sources;
mod stacks;
pub mod strangers;
mod table;
mod tables;
mod validate;
mod version;

pub use check::{load, load_str, state_of};
pub use identity::MachineRecord;
pub use report::{Problem, Report, nearest};
pub use site::{
    Confinement, Installer, Machine, Network, Packages, Profile, Registry, Server, Site, Source, Vars,
    Workload,
};
pub use stacks::stacks;

/// The site that `oneroot init` prints: every key, explained.
pub const EXAMPLE: &str = include_str!("../../examples/site.toml");
