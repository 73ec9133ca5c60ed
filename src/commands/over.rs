//! Who has a profile's tree, and what is decided of them: what is said of a tree is said for these.

use oneroot_bootconf::Site;
use oneroot_bootconf::asked::Catalogue;
use oneroot_bootconf::decided::profiles_of;
use oneroot_bootconf::decision::{Decision, Part};

/// One that has a tree, or may have it.
pub struct Who {
    pub decision: Decision,
    /// Layers whose conditions may be true are among its parts; it has no more than these.
    pub is_widest: bool,
}

/// Everybody that has a tree.
pub struct Over {
    /// For each machine that boots it, or its kernel.
    pub booted: Vec<Who>,
    /// For each profile with it that nobody boots yet.
    pub idle: Vec<Who>,
}

impl Over {
    /// Of a profile's tree, by its root or by its kernel; machines that only mount it are none of these.
    pub fn of(site: &Site, tree: &str) -> Self {
        let is_under = |decision: &Decision| has_tree(decision, tree) || kernel_of(decision) == Some(tree);
        let booted: Vec<Who> = decisions(site).filter(|who| is_under(&who.decision)).collect();
        let is_booted = |profile: &&String| booted.iter().any(|who| who.decision.profile == profile.as_str());
        let idle = site.profiles.keys().filter(|name| !is_booted(name));
        let idle = idle.map(|name| (name, Decision::of_profile(site, name)));
        let idle = idle.filter(|(_, decision)| is_under(decision));
        let idle = idle.flat_map(|(name, decision)| with_conditions(site, name, decision)).collect();
        Self { booted, idle }
    }

    /// Each of them with all that it may have.
    pub fn widest(&self) -> impl Iterator<Item = &Decision> {
        let all = self.booted.iter().chain(&self.idle);
        all.filter(|who| who.is_widest).map(|who| &who.decision)
    }
}

/// What is decided of everybody, whatever they boot.
pub fn decisions(site: &Site) -> impl Iterator<Item = Who> {
    let catalogue = Catalogue::of(site);
    let has_conditions = site.shared_layers().any(|layer| layer.when.is_some());
    let everybody: Vec<_> = catalogue.everybody().map(|(_, asked)| asked).collect();
    everybody.into_iter().flat_map(move |asked| {
        let is_widest = asked.supposed.layers == has_conditions;
        let decided = profiles_of(&catalogue, &asked).unwrap_or_default();
        decided.into_iter().map(move |decision| Who { decision, is_widest })
    })
}

/// A profile as it is where none of its layers' conditions is true, and where all are.
fn with_conditions(site: &Site, profile: &str, decision: Decision) -> Vec<Who> {
    let layers = site.chain(profile).into_iter().flat_map(|(_, one)| &one.layers);
    let more: Vec<Part> = layers
        .filter(|layer| layer.when.is_some())
        .map(|layer| Part::Layer { path: layer.path.clone() })
        .collect();
    if more.is_empty() {
        return vec![Who { decision, is_widest: true }];
    }
    let mut widest = decision.clone();
    widest.parts.extend(more);
    vec![Who { decision, is_widest: false }, Who { decision: widest, is_widest: true }]
}

/// Whether a profile's tree is a part of what a decision's root is made of.
pub fn has_tree(decision: &Decision, tree: &str) -> bool {
    decision.parts.iter().any(|part| matches!(part, Part::Profile { name } if name == tree))
}

/// The profile whose tree is a decision's own: of several in a row, the topmost.
pub fn tree_of(decision: &Decision) -> Option<&str> {
    topmost(&decision.parts)
}

/// The profile whose tree has a decision's kernel: the topmost, or the one that lends it.
pub fn kernel_of(decision: &Decision) -> Option<&str> {
    decision.parts.iter().rev().find_map(|part| match part {
        Part::Profile { name } => Some(name.as_str()),
        Part::Kernel { parts, .. } => topmost(parts),
        _ => None,
    })
}

fn topmost(parts: &[Part]) -> Option<&str> {
    parts.iter().rev().find_map(|part| match part {
        Part::Profile { name } => Some(name.as_str()),
        _ => None,
    })
}

/// What is decided of each profile whose kernel is of this one's tree: of it first, and of who extends it or borrows its kernel.
pub fn booted_by(site: &Site, profile: &str) -> Vec<Decision> {
    let others = site.profiles.keys().map(String::as_str).filter(|name| *name != profile);
    let all = [profile].into_iter().chain(others).map(|name| Decision::of_profile(site, name));
    all.filter(|decision| kernel_of(decision) == Some(profile)).collect()
}
