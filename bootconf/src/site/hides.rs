//! What of the tables `mounts`, `lasts` and `secrets` hides another part of them: a mount comes after what is in memory and after secrets
//! have their names (docs/decisions/0022, 0024, 0025).

use std::ops::Bound::{Excluded, Unbounded};
use std::path::Path;

use crate::site::mounts::{HOMES, Mount, Mounts, What};
use crate::site::secrets::{PUBLIC, SecretKind, Secrets};

/// What one table says.
pub(crate) type Said<'d> = (&'d Mounts, &'d Secrets);

/// Something that would be hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hidden {
    /// The secret that it is, where it is one.
    pub(crate) secret: Option<String>,
    /// By what, and what to do.
    pub(crate) told: String,
}

/// What is hidden where these tables count, the nearest last. Two places of which one table says both were told with that.
pub(crate) fn hidden_together(tables: &[Said<'_>]) -> Vec<Hidden> {
    let mounts: Mounts = tables.iter().flat_map(|(mounts, _)| (*mounts).clone()).collect();
    let secrets: Secrets = tables.iter().flat_map(|(_, secrets)| (*secrets).clone()).collect();
    // A table that says one of them as `none` has no such two.
    let has_both =
        |both: &(String, String), mounts: &Mounts| conflicts(mounts).iter().any(|(places, _)| places == both);
    let together = conflicts(&mounts).into_iter();
    let together = together.filter(|(places, _)| !tables.iter().any(|(mounts, _)| has_both(places, mounts)));
    let together = together.map(|(_, told)| Hidden { secret: None, told });
    let named = hidden_secrets(&mounts, &secrets).into_iter();
    together.chain(named.map(|(secret, told)| Hidden { secret: Some(secret), told })).collect()
}

/// Whether a mount comes over what is at its place without anybody asking for it.
fn comes_by_itself(mount: &Mount) -> bool {
    !mount.options.iter().any(|word| word == "noauto")
}

/// Whether it says more than that nothing is there.
fn is_there(mount: &Mount) -> bool {
    mount.what != What::Nothing
}

/// Places that can't be had together, with why. What is in memory is there before anything is mounted, and parts of the view are below
/// both.
pub(crate) fn conflicts(mounts: &Mounts) -> Vec<((String, String), String)> {
    let mut found = Vec::new();
    for (at, mount) in mounts {
        let above = at.match_indices('/').filter_map(|(end, _)| mounts.get_key_value(at.get(..end)?));
        for (place, over) in above {
            let told = match (&over.what, &mount.what) {
                (What::Nfs(_) | What::Device { .. } | What::Server(_), What::Copied(_) | What::Empty(_))
                    if comes_by_itself(over) =>
                {
                    format!(
                        "{at} would be hidden: it is in memory before {over} is mounted on {place}; say one of the two",
                        over = over.what
                    )
                }
                (What::Empty(_), What::Profile(_)) => {
                    format!(
                        "{place} would hide what is at {at}, {}, which is a part of the tree; say one of the two",
                        mount.what
                    )
                }
                _ if at.strip_suffix(HOMES) == Some(place) && is_there(over) && is_there(mount) => {
                    format!(
                        "{place} and {at} are the same place, and it can be mounted by one of the two alone; say the other as \"none\""
                    )
                }
                _ => continue,
            };
            found.push(((place.clone(), at.clone()), told));
        }
        let others = mounts.range::<str, _>((Excluded(at.as_str()), Unbounded));
        found.extend(others.filter_map(|(other, second)| {
            let told = shared((at, mount), (other, second))?;
            Some(((at.clone(), other.clone()), told))
        }));
    }
    found
}

/// Why two directories of a file server's can't both begin as the tree's: whichever is made first makes the other one, which then counts
/// as made. Each lies by its own path below what is said.
fn shared((at, first): (&str, &Mount), (other, second): (&str, &Mount)) -> Option<String> {
    let (What::Server(one), What::Server(two)) = (&first.what, &second.what) else { return None };
    let lies = |source: &str, place: &str| format!("{}{place}", source.trim_end_matches('/'));
    let (one, two) = (lies(one, at), lies(two, other));
    (Path::new(&one).starts_with(&two) || Path::new(&two).starts_with(&one)).then(|| {
        format!("{two} of {other} and {one} of {at} lie one in the other, and what is in a directory that lasts does, too; say one of the two")
    })
}

/// The secrets that programs would not find where they look, with why: what is mounted there comes later.
fn hidden_secrets(mounts: &Mounts, secrets: &Secrets) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let given = secrets.iter().filter(|(_, secret)| secret.kind != SecretKind::None);
    for (name, at) in given.filter_map(|(name, secret)| Some((name, secret.at.as_ref()?))) {
        let over = mounts.iter().find(|(place, mount)| {
            let place = place.strip_suffix(HOMES).unwrap_or(place);
            let is_below = at.strip_prefix(place).is_some_and(|rest| rest.starts_with('/'));
            mount.what.outlives()
                && comes_by_itself(mount)
                && (is_below || at == place || format!("{at}{PUBLIC}") == *place)
        });
        if let Some((place, mount)) = over {
            let told = format!(
                "secret {name} would be hidden at {at}: {} is mounted on {place} later; give it another place with `at`",
                mount.what
            );
            found.push((name.clone(), told));
        }
    }
    found
}
