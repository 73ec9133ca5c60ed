//! Debian, Ubuntu and their like, by mmdebstrap(1).

use std::process::Command;

use oneroot_bootconf::Packages;

use super::Install;

/// Debian, Ubuntu and their like.
pub struct Mmdebstrap;

impl Mmdebstrap {
    /// What every root needs: an init, a kernel's tools, an initramfs that can mount NFS, and something to read `ip` with.
    const BASE: &str = "systemd,systemd-sysv,udev,kmod,initramfs-tools,zstd,iproute2";
    /// Put in place before any package is configured, so that the first initramfs is a good one already.
    const INITRAMFS: &str = r#"mkdir -p "$1/etc/initramfs-tools/conf.d" && printf 'BOOT=nfs\nMODULES=most\n' >"$1/etc/initramfs-tools/conf.d/oneroot""#;
    /// What is one machine's and not the tree's: each has its own by its layer, or by what it boots with.
    const NOBODYS: &str = r#": >"$1/etc/machine-id"; rm -f "$1/etc/hostname"; : >"$1/etc/resolv.conf"; rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*"#;
}

impl Install for Mmdebstrap {
    fn programs(&self) -> &'static [&'static str] {
        &["mmdebstrap"]
    }

    fn packages(&self) -> &'static str {
        "the package mmdebstrap (and uidmap, where you are not root)"
    }

    fn command(&self, wanted: &Packages, _: u32) -> Command {
        let mut include = format!("--include={}", Self::BASE);
        for package in &wanted.include {
            include.push(',');
            include.push_str(package);
        }
        let included = said(&wanted.options, "include");
        let mut packages = wanted.include.iter().map(String::as_str).chain(included);
        // Whoever names a kernel wants that one, and no second beside it.
        if !packages.any(|package| package.starts_with("linux-image-")) {
            // The first architecture is the tree's own; the others are those of which packages may be installed as well.
            let architecture = said(&wanted.options, "architectures").next().unwrap_or(HOST);
            include.push_str(",linux-image-");
            include.push_str(kernel_of(architecture));
        }
        let mut program = Command::new("mmdebstrap");
        program.args(["--variant=minbase", "--format=tar", &include]);
        program.arg(format!("--essential-hook={}", Self::INITRAMFS));
        program.arg(format!("--customize-hook={}", Self::NOBODYS));
        program.args(wanted.keyring.iter().map(|keyring| format!("--keyring={}", keyring.display())));
        program.args(&wanted.options);
        program.args([wanted.release.as_str(), "-"]);
        program.args(&wanted.mirrors);
        program
    }
}

/// What the options say to one of mmdebstrap's that takes a list. As it reads them: the name may be cut short and in
/// capitals, and an option that comes twice adds to its list.
fn said<'o>(options: &'o [String], option: &'static str) -> impl Iterator<Item = &'o str> {
    let values = options.iter().filter_map(move |said| {
        let (name, value) = said.strip_prefix("--")?.split_once('=')?;
        (!name.is_empty() && option.starts_with(&name.to_ascii_lowercase())).then_some(value)
    });
    values.flat_map(|value| value.split([',', ' ', '\t', '\n'])).filter(|word| !word.is_empty())
}

/// dpkg's name for this host's architecture.
const HOST: &str = match std::env::consts::ARCH.as_bytes() {
    b"x86_64" => "amd64",
    b"aarch64" => "arm64",
    b"x86" => "i386",
    b"arm" => "armhf",
    b"powerpc64" => "ppc64el",
    b"loongarch64" => "loong64",
    _ => std::env::consts::ARCH,
};

/// What Debian calls the kernel of an architecture of dpkg's: some are named after a processor.
fn kernel_of(architecture: &str) -> &str {
    match architecture {
        "i386" => "686",
        "armhf" => "armmp",
        "ppc64el" => "powerpc64le",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::tests::{wanted, words};
    use oneroot_bootconf::Installer;

    #[test]
    fn mmdebstrap_hears_all_that_the_site_says_and_a_kernel_of_the_admins_is_the_only_one() {
        let said = words(&Mmdebstrap.command(&wanted(Installer::Mmdebstrap, &["vim"]), 0));
        for word in ["--keyring=/k.gpg", "--components=main,universe"] {
            assert!(said.iter().any(|other| other == word), "{word}: {said:?}");
        }
        assert_eq!(said.get(said.len() - 4..).unwrap(), ["noble", "-", "http://a/x", "http://b/y"]);
        assert!(said.iter().any(|word| word.contains(",vim,linux-image-")), "{said:?}");
        let said = words(&Mmdebstrap.command(&wanted(Installer::Mmdebstrap, &["linux-image-generic"]), 0));
        assert!(said.iter().any(|word| word.ends_with(",linux-image-generic")), "{said:?}");
    }

    #[test]
    fn a_tree_for_another_architecture_gets_a_kernel_of_that_one() {
        let kernel = |options: &[&str]| {
            let mut wanted = wanted(Installer::Mmdebstrap, &["vim"]);
            wanted.options = options.iter().map(|option| (*option).to_owned()).collect();
            let said = words(&Mmdebstrap.command(&wanted, 0));
            let include = said.iter().find(|word| word.starts_with("--include=systemd")).unwrap();
            include.split(',').find_map(|package| package.strip_prefix("linux-image-")).map(str::to_owned)
        };
        assert_eq!(kernel(&["--components=main"]).unwrap(), kernel_of(HOST));
        for (options, expected) in [
            (["--architectures=arm64", "--components=main"], "arm64"),
            (["--architecture=riscv64,amd64", "--architectures=amd64"], "riscv64"),
            (["--Arch= ppc64el armhf", "--aptopt=arm64"], "powerpc64le"),
            (["--architectures=", "--architectures=i386"], "686"),
        ] {
            assert_eq!(kernel(&options).unwrap(), expected, "{options:?}");
        }
        assert_eq!(kernel(&["--include=x,linux-image-generic"]), None, "the admin's is the only one");
    }
}
