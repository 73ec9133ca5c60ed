//! Places that the site mounts something on and that are links in the tree, or have one on their way: nothing is mounted there. systemd
//! takes no such place, other inits would mount wherever the link leads, and what was to last would be gone.

use std::collections::{BTreeMap, BTreeSet};

use oneroot_bootconf::mounts::{HOMES, What};
use oneroot_bootconf::root::Root;
use oneroot_tree::View;
use oneroot_tree::node::TreePath;

use super::lacks::Tree;
use super::over::tree_of;

/// Places that are named in a line.
const MOST_NAMED: usize = 5;

/// A line for each link that stands in the way.
pub fn of(tree: &Tree<'_>) -> Vec<String> {
    let mut linked: BTreeMap<(String, String), BTreeSet<&str>> = BTreeMap::new();
    for decision in tree.over.widest() {
        if tree_of(decision) != Some(tree.name) || decision.root != Root::Nfs {
            continue;
        }
        // Parts of the view were looked at when the boot was planned.
        let is_mounted = |what: &What| !matches!(what, What::Profile(_) | What::Nothing);
        for (at, _) in decision.mounts.iter().filter(|(_, mount)| is_mounted(&mount.what)) {
            if let Some(link) = first_link(tree.view, at.strip_suffix(HOMES).unwrap_or(at)) {
                linked.entry(link).or_default().insert(at);
            }
        }
    }
    linked.iter().map(|((link, target), places)| told(link, target, places)).collect()
}

fn told(link: &str, target: &str, places: &BTreeSet<&str>) -> String {
    let named: Vec<&str> = places.iter().take(MOST_NAMED).copied().collect();
    let more = places.len() - named.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(
        "{link} is a link to {target} in the tree, and nothing can be mounted on {}{more}: say where it leads",
        named.join(", ")
    )
}

/// The first link on the way to a place, itself included, and where it leads.
fn first_link(view: &View, at: &str) -> Option<(String, String)> {
    let ends = at.match_indices('/').map(|(end, _)| end).skip(1).chain([at.len()]);
    ends.filter_map(|end| at.get(..end)).find_map(|way| {
        let path = TreePath::parse(way.trim_start_matches('/').as_bytes()).ok()?;
        let target = view.target(view.resolve(&path)?)?;
        // A name of any bytes is shown as what can be shown of it.
        let target: String = String::from_utf8_lossy(target).chars().flat_map(char::escape_default).collect();
        Some((way.to_owned(), target))
    })
}
