//! What these tests have in common: the kernel and initrds of a tree that is no more than its paths.

use oneroot_bootconf::decision::{Decision, NoPlan};
use oneroot_bootconf::kernels::{Loaded, Tree, kernel_and_initrds};

/// Chooses for a decision in a tree of these paths.
pub fn choose_among(paths: &[&str], decision: &Decision) -> Result<Loaded, NoPlan> {
    let names = |directory: &str| {
        let below = paths.iter().filter_map(|path| path.strip_prefix(directory)?.strip_prefix('/'));
        let mut names: Vec<String> =
            below.filter_map(|rest| rest.split('/').next()).map(str::to_owned).collect();
        names.dedup();
        names
    };
    kernel_and_initrds(decision, &Tree { names: &names, exists: &|path| paths.contains(&path) })
}
