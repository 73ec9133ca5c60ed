//! Policy, no sockets: site files to a checked [`Site`]; which machine gets which boot plan, and why.
//!
//! Everything here is a pure function: of text ([`load`]), of the catalogue and of who asks ([`decision`]), of pins and events
//! ([`pins`]), of who asks and who holds ([`access`]). What it decides, `src/` does. The rooms, each of which names only those
//! above it:
//!
//! | room | what happens there |
//! |---|---|
//! | `boot_files.rs` | how kernels, initrds and modules are called, and where they lie |
//! | `root.rs` | where a root comes from, and what mounts it |
//! | `hardware/` | what a machine tells of itself, and from where it asks, becomes facts |
//! | `site/` | a site file becomes a checked site |
//! | `decide/` | who boots what, and why; the facts of it |
//! | `render.rs` | a template and facts become a file |
//! | `plan/` | a decision becomes what a machine is told: kernel, initrds, arguments, script, files of its own |
//! | `boots/` | what becomes of boots: pins, addresses, who may have what |

pub mod boot_files;
mod boots;
mod decide;
pub mod hardware;
pub mod plan;
pub mod render;
pub mod root;
mod site;

pub use boots::identity::MachineRecord;
pub use boots::{access, admission, again, binding, identity, pins, unknown};
pub use decide::stacks::stacks;
pub use decide::{answer, asked, decided, decision, differences, facts, question};
pub use plan::{args, drivers, export, firmware, given, initrd, kernels, microcode, screens, script};
pub use site::check::{load, load_str, state_of};
pub use site::report::{Problem, Report, nearest};
pub use site::{
    Certificate, Confinement, Https, Installer, Machine, Network, Packages, Profile, Program, Registry,
    Server, Site, Source, Vars, Workload, assignment, gives, groups, history, log_place, menus, mounts,
    name_row, outside, rules, secrets, when,
};

/// The site that `oneroot init` prints: every key, explained.
pub const EXAMPLE: &str = include_str!("../../examples/site.toml");
