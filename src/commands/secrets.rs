//! Secrets in layers that more than one machine sees: whoever is root on one of them has what is the others'.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use oneroot_bootconf::Site;
use oneroot_bootconf::asked::Catalogue;
use oneroot_bootconf::decided::profiles_of;
use oneroot_bootconf::decision::Part;
use oneroot_tree::confine::open_file;

use oneroot_machines::planner::template_check::files;

/// Bytes of a file that are looked at for a private key's first line.
pub const KEY_HEAD: usize = 128;
/// Files with password hashes, and the field that has them.
const HASHES: [&str; 4] = ["etc/shadow", "etc/shadow-", "etc/gshadow", "etc/gshadow-"];
/// Bytes of such a file that are looked at.
const LARGEST: u64 = 1 << 20;

/// A line for each secret: where it is, what it is, and how many machines see it.
pub fn warnings(site: &Site) -> Vec<String> {
    let mut seen: BTreeMap<PathBuf, BTreeSet<&str>> = BTreeMap::new();
    // What machines that nobody has named see: they are any number.
    let mut open: BTreeSet<PathBuf> = BTreeSet::new();
    let catalogue = Catalogue::of(site);
    for (name, asked) in catalogue.everybody() {
        let Ok(decisions) = profiles_of(&catalogue, &asked) else { continue };
        for layer in decisions.iter().flat_map(|decision| &decision.parts).filter_map(layer) {
            match name {
                Some(name) => drop(seen.entry(layer).or_default().insert(name)),
                None => drop(open.insert(layer)),
            }
        }
    }
    let mut warnings = Vec::new();
    for layer in seen.keys().chain(&open).collect::<BTreeSet<_>>() {
        let whom = match seen.get(layer).map_or(0, BTreeSet::len) {
            _ if open.contains(layer) => "any machine sees".to_owned(),
            // What one machine alone sees is where it belongs.
            0 | 1 => continue,
            count => format!("{count} machines see"),
        };
        files(layer, &mut |path| {
            if let Some(what) = secret(layer, path) {
                warnings.push(format!(
                    "{} has {what}, which {whom}; say it in `secrets` for each of them, or put it into each machine's own layer",
                    path.display()
                ));
            }
        });
    }
    warnings
}

fn layer(part: &Part) -> Option<PathBuf> {
    if let Part::Layer { path } = part { Some(path.clone()) } else { None }
}

fn secret(layer: &Path, path: &Path) -> Option<&'static str> {
    if HASHES.iter().any(|hashes| layer.join(hashes) == path) {
        let text = head(path, LARGEST)?;
        let hash = |line: &[u8]| {
            // A locked account has `!` or `*` there, and one without a password nothing.
            line.split(|byte| *byte == b':').nth(1).is_some_and(|field| field.starts_with(b"$"))
        };
        return text.split(|byte| *byte == b'\n').any(hash).then_some("a password's hash");
    }
    let name = path.file_name()?.as_encoded_bytes();
    (may_be_key(name) && is_private_key(&head(path, KEY_HEAD as u64)?)).then_some("a private key")
}

fn head(path: &Path, most: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    open_file(path).ok()?.take(most).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Names that private keys have. Looking into every file would read the whole tree again.
pub fn may_be_key(name: &[u8]) -> bool {
    [b"_key".as_slice(), b".key", b".pem", b"_rsa", b"_ed25519", b"_ecdsa"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// Whether a file that begins so is a private key, in PEM.
pub fn is_private_key(bytes: &[u8]) -> bool {
    bytes.starts_with(b"-----BEGIN ") && bytes.windows(16).any(|window| window == b"PRIVATE KEY-----")
}
