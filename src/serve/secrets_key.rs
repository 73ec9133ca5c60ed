//! The key file of the site's secrets: `secrets.key` in the state's directory, made at the first start. A backup of the state does
//! not have it, so that nobody has both by having one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use oneroot_machines::secrets::seal::{KEY, SiteSeal};
use rustix::fs::OFlags;

use crate::clock;

/// Its name.
const NAME: &str = "secrets.key";
/// Permissions that nobody but its owner may have.
const OTHERS: u32 = 0o077;

/// What secrets are sealed with. Where the state `has_secrets` already, no key is made: they are sealed with another.
pub fn seal(state: &Path, has_secrets: bool) -> Result<SiteSeal> {
    let path = state.join(NAME);
    let key = key(state, &path, has_secrets).with_context(|| path.display().to_string())?;
    SiteSeal::of(&key).context("is no key")
}

fn key(state: &Path, path: &Path, has_secrets: bool) -> Result<[u8; KEY]> {
    let nofollow = OFlags::NOFOLLOW.bits().cast_signed();
    let mut file = match OpenOptions::new().read(true).custom_flags(nofollow).open(path) {
        Ok(file) => file,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            ensure!(
                !has_secrets,
                "is not there, and the state has secrets that were sealed with it: put it back and start again; where it is lost, \
                 `oneroot secret remove` each that `oneroot secret list` names, and start again"
            );
            return make(state, path);
        }
        Err(cause) => return Err(cause.into()),
    };
    let mode = file.metadata()?.mode();
    ensure!(
        mode & OTHERS == 0,
        "others than its owner may read it: `chmod 0600` it and start again; where somebody may have read it, remove the secrets \
         and the file first, for what is made anew is sealed with it too"
    );
    let mut bytes = Vec::new();
    (&mut file).take(KEY as u64 + 1).read_to_end(&mut bytes)?;
    bytes.try_into().ok().context(
        "is no key: put back the one that this site had; without it secrets have to be set and made anew",
    )
}

/// Under another name first: half a key would be taken for one.
fn make(state: &Path, path: &Path) -> Result<[u8; KEY]> {
    let key = clock::random()?;
    let next = path.with_extension("key.next");
    let _ = std::fs::remove_file(&next);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
    file.write_all(&key)?;
    file.sync_all()?;
    std::fs::rename(&next, path)?;
    File::open(state)?.sync_all()?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_is_made_once_is_nobody_elses_to_read_and_one_that_is_not_whole_is_none() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(NAME);
        let first = key(home.path(), &path, false).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(key(home.path(), &path, false).unwrap(), first);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(key(home.path(), &path, false).unwrap_err().to_string().contains("chmod"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, &first[..31]).unwrap();
        assert!(key(home.path(), &path, false).unwrap_err().to_string().contains("put back"));
        std::fs::remove_file(&path).unwrap();
        let lost = key(home.path(), &path, true).unwrap_err().to_string();
        assert!(lost.contains("put it back") && !path.exists(), "another one would open nothing: {lost}");
        std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
        assert!(key(home.path(), &path, false).is_err(), "a link is followed nowhere");
    }
}
