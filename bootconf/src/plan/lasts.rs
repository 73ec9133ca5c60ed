//! What lasts of what a machine writes, as its init reads it (docs/decisions/0024): `/.oneroot/lasts`, a line for each with its number, its
//! place, whether the machine may come up without it, a kind, and what that needs.
//!
//! A directory at a file server is mounted as every other there (`plan/mounts.rs`). Before that it is made, where it is not there
//! yet: in the part of its path that is one for all machines.

use crate::plan::mounts::patient;
use crate::site::mounts::{Mount, NAME, What, own};

/// A directory at a file server, in two parts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// What there has to be: `nas:/state`.
    pub(super) share: String,
    /// What is made in it: `alpha/var/lib/db`.
    pub(super) directory: String,
}

impl Kept {
    /// What lasts of a place, by the directory that is said for it.
    pub(super) fn of(source: &str, at: &str, machine: &str) -> Self {
        let whole = source.trim_end_matches('/');
        let (share, below) = match whole.find(NAME) {
            // The name before the one that is this machine's.
            Some(name) => {
                whole.split_at(whole.get(..name).and_then(|before| before.rfind('/')).unwrap_or(name))
            }
            None => (whole, ""),
        };
        let directory = own(&format!("{below}{at}"), machine).trim_start_matches('/').to_owned();
        // The root of a server is a share like another.
        let share = if share.ends_with(':') { format!("{share}/") } else { share.to_owned() };
        Self { share, directory }
    }

    /// All of it, as mount(8) takes it.
    pub(super) fn source(&self) -> String {
        format!("{}/{}", self.share.trim_end_matches('/'), self.directory)
    }
}

/// The line of one; none for what is only mounted.
pub(super) fn line((number, at, mount): (usize, &str, &Mount), machine: &str) -> Option<String> {
    let needs = match &mount.what {
        What::Copied(size) => format!("copied {size}"),
        What::Empty(size) => format!("empty {size}"),
        What::Server(source) => {
            let Kept { share, directory } = Kept::of(source, at, machine);
            let options = patient("nfs", mount, mount.required);
            let options = if options.is_empty() { "defaults".to_owned() } else { options.join(",") };
            format!("server {share} {directory} {options}")
        }
        _ => return None,
    };
    let how = if mount.required { "required" } else { "wanted" };
    Some(format!("{number} {at} {how} {needs}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machines_directory_is_made_below_what_is_one_for_all_machines_by_its_places_own_path() {
        for (source, share, directory) in [
            ("nas:/state/{name}", "nas:/state", "alpha/var/db"),
            ("nas:/state/{name}/", "nas:/state", "alpha/var/db"),
            ("nas:/{name}", "nas:/", "alpha/var/db"),
            ("[fd00::1]:/s/of-{name}/disks", "[fd00::1]:/s", "of-alpha/disks/var/db"),
            ("nas:/state/alpha", "nas:/state/alpha", "var/db"),
            ("nas:/", "nas:/", "var/db"),
        ] {
            let kept = Kept::of(source, "/var/db", "alpha");
            assert_eq!((kept.share.as_str(), kept.directory.as_str()), (share, directory), "{source}");
            let whole = own(source, "alpha").trim_end_matches('/').to_owned() + "/var/db";
            assert_eq!(kept.source(), whole, "{source}");
        }
    }
}
