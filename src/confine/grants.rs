//! Which paths a server with a site touches: one list, for the fence at the start and for the question at a reload whether
//! it still holds.

use std::path::{Path, PathBuf};

use oneroot_bootconf::Site;

/// Directories in which a site file may lie, and of which a server may not see all for that reason.
const SHARED: [&str; 17] = [
    "/",
    "/boot",
    "/dev",
    "/etc",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/private",
    "/etc/ssl/certs",
    "/etc/ssl/private",
    "/home",
    "/proc",
    "/root",
    "/run",
    "/sys",
    "/tmp",
    "/usr",
    "/var",
    "/var/lib",
];

/// All that is read: what the site is made of, the templates in layers, iPXE's binaries.
pub fn read_by(site: &Site, file: &Path) -> Vec<PathBuf> {
    let mut paths = site_files(file);
    let layers = site.shared_layers().map(|layer| &layer.path);
    paths.extend(layers.chain(site.machines.values().filter_map(|machine| machine.layer.as_ref())).cloned());
    // Often links to where a distribution has put them.
    for directory in &site.server.loaders {
        let loaders = std::fs::read_dir(directory).into_iter().flatten().flatten();
        paths.extend(loaders.filter_map(|loader| led_to(&loader.path())));
        paths.push(directory.clone());
    }
    // What renews a certificate puts another file in its place, often by a link to one elsewhere.
    let named = site.server.https.iter().filter_map(|https| https.certificate.as_ref());
    let named = named.flat_map(|named| [&named.certificate, &named.key]);
    paths.extend(named.flat_map(|file| [around(file), led_to(file)]).flatten());
    paths.sort();
    paths.dedup();
    paths
}

/// The site's directory, and where its links lead. A file that an editor has saved is another file of the same name, so
/// directories and not files. Of a directory that others share the file alone: then its successor takes a restart.
pub fn site_files(file: &Path) -> Vec<PathBuf> {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let beside = file.with_file_name("machines.d");
    let more = std::fs::read_dir(&beside).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = std::iter::once(file.clone()).chain(more);
    let mut paths: Vec<PathBuf> = files.flat_map(|file| [around(&file), led_to(&file)]).flatten().collect();
    paths.push(beside);
    paths
}

fn led_to(file: &Path) -> Option<PathBuf> {
    around(&file.canonicalize().ok()?)
}

/// The directory of a file, or the file.
fn around(file: &Path) -> Option<PathBuf> {
    let directory = file.parent()?;
    let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    Some(if is_shared(&directory) { file.to_owned() } else { directory })
}

/// Whether a directory has much in it that is not the site's.
fn is_shared(directory: &Path) -> bool {
    SHARED.iter().any(|shared| directory == Path::new(shared)) || directory.join(".ssh").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_in_a_directory_of_its_own_may_be_saved_anew_and_one_in_a_shared_directory_opens_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("site.toml");
        std::fs::write(&file, "").unwrap();
        assert_eq!(site_files(&file)[0], home.path().canonicalize().unwrap());
        // Somebody's home directory.
        std::fs::create_dir(home.path().join(".ssh")).unwrap();
        let paths = site_files(&file);
        assert!(paths.iter().all(|path| path != home.path()), "{paths:?}");
        assert!(paths.contains(&file) && paths.contains(&home.path().join("machines.d")), "{paths:?}");
        let paths = site_files(Path::new("/etc/site.toml"));
        assert!(!paths.contains(&PathBuf::from("/etc")), "{paths:?}");
    }

    #[test]
    fn what_a_sites_links_lead_to_is_read_too() {
        let (home, git) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(git.path().join("lab.toml"), "").unwrap();
        std::fs::create_dir(home.path().join("machines.d")).unwrap();
        std::os::unix::fs::symlink(git.path().join("lab.toml"), home.path().join("machines.d/lab.toml"))
            .unwrap();
        assert!(site_files(&home.path().join("site.toml")).contains(&git.path().canonicalize().unwrap()));
    }

    #[test]
    fn what_renews_a_certificate_may_put_another_in_its_place_and_the_keys_of_others_are_not_read() {
        let (home, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(archive.path().join("chain1.pem"), "").unwrap();
        std::os::unix::fs::symlink(archive.path().join("chain1.pem"), home.path().join("chain.pem")).unwrap();
        let text = r#"
            [server]
            address = "192.168.77.1"
            interface = "lab0"
            https_port = 443
            certificate = "chain.pem"
            key = "/etc/ssl/private/key.pem"
            [[network]]
            subnet = "192.168.77.0/24"
        "#;
        let site = oneroot_bootconf::load_str("site.toml", text, home.path()).unwrap();
        let read = read_by(&site, &home.path().join("site.toml"));
        for directory in [home.path(), archive.path()] {
            assert!(read.contains(&directory.canonicalize().unwrap()), "{read:?}");
        }
        assert!(read.contains(&PathBuf::from("/etc/ssl/private/key.pem")), "{read:?}");
        assert!(!read.contains(&PathBuf::from("/etc/ssl/private")), "{read:?}");
    }

    #[test]
    fn every_table_that_has_layers_has_them_read_wherever_they_lie() {
        let home = tempfile::tempdir().unwrap();
        let text = r#"
            [server]
            address = "192.168.77.1"
            interface = "lab0"
            store = "store"
            state = "state"
            [[network]]
            subnet = "192.168.77.0/24"
            [profile.debian]
            source = { directory = "tree" }
            layers = ["/srv/by-profile"]
            [workload.render]
            layers = ["/srv/by-workload"]
            [group.seats]
            machines = "seat-*"
            profile = "debian"
            layers = ["/srv/by-group"]
            [[rule]]
            when = { product = "X" }
            profile = "debian"
            layers = ["/srv/by-rule"]
            [machine.alpha]
            mac = "52:54:00:00:00:0a"
            profile = "debian"
            layer = "/srv/by-machine"
        "#;
        let file = home.path().join("site.toml");
        let site = oneroot_bootconf::load_str("site.toml", text, home.path()).unwrap();
        let read = read_by(&site, &file);
        for by in ["profile", "workload", "group", "rule", "machine"] {
            assert!(read.contains(&PathBuf::from(format!("/srv/by-{by}"))), "{by}: {read:?}");
        }
    }
}
