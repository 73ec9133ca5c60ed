//! How people name what is staged, and how it is shown to them.

use std::path::Path;

use oneroot_bootconf::decision::Part;
use oneroot_ids::GenerationId;
use oneroot_machines::planner::shown;

/// Whether an admin means this part by a name.
pub fn is(part: &Part, name: &str) -> bool {
    match part {
        Part::Profile { name: profile } => profile == name,
        Part::Machine { name: machine, .. } => machine == name,
        Part::Layer { path } => path == Path::new(name) || path.ends_with(name),
        Part::Kernel { .. } | Part::Mounted { .. } => false,
    }
}

/// By what name `is` finds it.
pub fn called(part: &Part) -> String {
    match part {
        Part::Profile { name }
        | Part::Machine { name, .. }
        | Part::Kernel { profile: name, .. }
        | Part::Mounted { profile: name, .. } => name.clone(),
        Part::Layer { path } => path.display().to_string(),
    }
}

/// What it is called in a sentence.
pub fn titled(part: &Part) -> String {
    match part {
        Part::Profile { .. } | Part::Kernel { .. } | Part::Mounted { .. } => shown(part),
        Part::Machine { name, .. } => format!("machine {name}"),
        Part::Layer { path } => format!("layer {}", path.display()),
    }
}

/// The first characters of a generation's name.
pub fn short(id: GenerationId) -> String {
    first(&id.to_string())
}

/// The same where it is written out.
pub fn first(id: &str) -> String {
    const SHOWN: usize = 12;
    id.chars().take(SHOWN).collect()
}
