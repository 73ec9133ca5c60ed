//! A site file becomes a checked [`Site`], or all that is wrong with it at once.
//!
//! From text to tables with places (`section`, `table`), table by table (`tables`, `networks`, `sources`, `group_tables`), the
//! tables against each other (`validate`, `paths`), and then the types that the rest of the program uses (`types`, `groups`,
//! `gives`). What the state holds over them is laid on last (`assignment`).

pub mod assignment;
pub(crate) mod check;
mod directories;
mod draft;
pub mod gives;
mod group_tables;
pub mod groups;
mod hides;
pub mod history;
mod lasts;
pub mod layers;
pub mod log_place;
mod menu_tables;
pub mod menus;
pub mod mounts;
pub mod name_row;
mod networks;
pub mod outside;
mod paths;
mod program;
mod replies;
pub(crate) mod report;
mod rule_checks;
pub mod rules;
pub mod secrets;
mod section;
mod sources;
mod table;
mod tables;
mod types;
pub(crate) mod validate;
pub mod when;

pub use program::Program;
pub use sources::{Installer, Packages, Registry, Source};
pub(crate) use types::Lookup;
pub use types::{Certificate, Confinement, Https, Machine, Network, Profile, Server, Site, Vars, Workload};
