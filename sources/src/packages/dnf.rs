//! Fedora and its relatives, by dnf(8).

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;

use oneroot_bootconf::Packages;

use super::Install;

/// Fedora and its relatives.
pub struct Dnf;

impl Dnf {
    /// As for Debian; dracut's module `nfs` asks for mount.nfs and rpcbind, which nfs-utils brings.
    const BASE: [&str; 6] = ["systemd", "kmod", "dracut-network", "nfs-utils", "iproute", "kernel"];
    /// dnf has no archive to write and no namespace to work in, so a script gives it both.
    const INSIDE: &str = include_str!("dnf.sh");
}

impl Install for Dnf {
    fn programs(&self) -> &'static [&'static str] {
        &["unshare", "dnf", "tar"]
    }

    fn packages(&self) -> &'static str {
        "the packages util-linux, dnf and tar (and uidmap, where you are not root)"
    }

    fn command(&self, wanted: &Packages, uid: u32) -> Command {
        let mut program = Command::new("unshare");
        if uid != 0 {
            program.args(["--user", "--map-root-user", "--map-auto"]);
        }
        program.args(["--mount", "--pid", "--fork", "--kill-child", "--", "sh", "-ec", Self::INSIDE, "dnf"]);
        program.arg(format!("--releasever={}", wanted.release));
        let mut ours = String::new();
        for (number, mirror) in wanted.mirrors.iter().enumerate() {
            let name = format!("oneroot{number}");
            // What comes behind a second comma would be an address of its own.
            program.arg(format!("--repofrompath={name},{}", mirror.replace(',', "%2C")));
            program.arg(format!("--setopt={name}.gpgcheck={}", u8::from(!wanted.insecure)));
            program.args(
                wanted
                    .keyring
                    .iter()
                    .map(|keyring| format!("--setopt={name}.gpgkey={}", file_address(keyring))),
            );
            ours.push_str(if ours.is_empty() { "--repo=" } else { "," });
            ours.push_str(&name);
        }
        // This host's own repositories are another release's, or another distribution's.
        program.args(Some(ours).filter(|ours| !ours.is_empty()));
        // For a release without mirrors of the site's, whose repositories are not named here.
        if wanted.insecure {
            program.arg("--nogpgcheck");
        }
        program.args(&wanted.options);
        program.arg("install").args(Self::BASE).args(&wanted.include);
        program
    }
}

/// A file's address. dnf reads a list there, so that a space or a comma in a path would part it, and passes over what has
/// two signs of equality.
fn file_address(path: &Path) -> String {
    use std::fmt::Write as _;

    let mut address = "file://".to_owned();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(byte) {
            address.push(char::from(*byte));
        } else {
            // A String takes everything.
            let _ = write!(address, "%{byte:02X}");
        }
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::tests::{wanted, words};
    use oneroot_bootconf::Installer;

    #[test]
    fn dnf_takes_nothing_unsigned_and_no_repository_but_the_sites_unless_it_is_told_so() {
        let mut wanted = wanted(Installer::Dnf, &["@core"]);
        let said = words(&Dnf.command(&wanted, 0));
        for word in [
            "--releasever=noble",
            "--repofrompath=oneroot1,http://b/y",
            "--setopt=oneroot1.gpgcheck=1",
            "--setopt=oneroot0.gpgkey=file:///k.gpg",
            "--repo=oneroot0,oneroot1",
            "@core",
        ] {
            assert!(said.iter().any(|other| other == word), "{word}: {said:?}");
        }
        assert!(!said.iter().any(|word| word == "--nogpgcheck"), "{said:?}");
        wanted.insecure = true;
        wanted.mirrors.clear();
        let said = words(&Dnf.command(&wanted, 0));
        assert!(said.iter().any(|word| word == "--nogpgcheck"), "{said:?}");
        assert!(!said.iter().any(|word| word.starts_with("--repo")), "this host's own then: {said:?}");
    }

    #[test]
    fn a_comma_in_an_address_is_no_second_address_to_dnf() {
        let mut wanted = wanted(Installer::Dnf, &[]);
        wanted.mirrors = vec!["file:///srv/a,b%20c/x".to_owned()];
        wanted.keyring = Some("/srv/50% k,e=y".into());
        let said = words(&Dnf.command(&wanted, 0));
        for word in [
            "--repofrompath=oneroot0,file:///srv/a%2Cb%20c/x",
            "--setopt=oneroot0.gpgkey=file:///srv/50%25%20k%2Ce%3Dy",
        ] {
            assert!(said.iter().any(|other| other == word), "{word}: {said:?}");
        }
    }
}
