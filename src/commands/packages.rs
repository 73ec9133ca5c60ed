//! A distribution's packages as a source: a program installs them, and what it makes is staged as it streams by.
//!
//! Owners and devices are in the archive and never on this host's disk as this host's, so none of it needs root: the
//! program runs in a user namespace with the subordinate ids of whoever calls (`/etc/subuid`).

use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use indicatif::ProgressBar;
use oneroot_bootconf::{Installer, Packages};
use oneroot_tree::Stage;

use super::process_group::{apart, is_here};
use super::sources::{IN_ONE, tail, told};

/// A program that installs packages into a new root. To add one: this, and its name in [`Installer`].
trait Install {
    /// What must be there on this host.
    const PROGRAMS: &'static [&'static str];
    /// What has to be installed, for the message where one is not.
    const NEEDS: &'static str;

    /// The command that writes the root as a tar archive to its standard output.
    fn command(wanted: &Packages) -> Command;
}

/// What has to be installed on this host for these packages, where a program of theirs is missing.
pub fn missing(wanted: &Packages) -> Option<String> {
    fn of<I: Install>() -> Option<String> {
        let missing = I::PROGRAMS.iter().find(|program| !is_here(program))?;
        Some(format!("there is no {missing} here; install {}", I::NEEDS))
    }
    match wanted.with {
        Installer::Mmdebstrap => of::<Mmdebstrap>(),
        Installer::Dnf => of::<Dnf>(),
    }
}

/// Installs and stages.
pub fn stage(stage: &mut Stage<'_>, wanted: &Packages, bar: &ProgressBar) -> Result<()> {
    match wanted.with {
        Installer::Mmdebstrap => install::<Mmdebstrap>(stage, wanted, bar),
        Installer::Dnf => install::<Dnf>(stage, wanted, bar),
    }
}

fn install<I: Install>(stage: &mut Stage<'_>, wanted: &Packages, bar: &ProgressBar) -> Result<()> {
    if let Some(missing) = missing(wanted) {
        bail!(missing);
    }
    let program = I::command(wanted);
    let name = program.get_program().to_string_lossy().into_owned();
    let mut said: File = tempfile::tempfile()?;
    let mut program = apart(&program);
    // Its hooks are an admin's own programs, as a command's are.
    program.env(IN_ONE, stage.store().path());
    program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(said.try_clone()?);
    let mut child = program.spawn().context("cannot run setpriv; install the package util-linux")?;
    let archive = child.stdout.take().with_context(|| format!("{name} has no output"))?;
    let (staged, done) = told(&said, bar, || (stage.archive(archive), child.wait()));
    let done = done?;
    match staged {
        Err(cause) if !matches!(cause, oneroot_tree::Error::Archive(_)) => {
            // The program ended because nobody read on, and what it says of that is not the cause.
            return Err(cause).with_context(|| format!("what {name} made"));
        }
        _ => {}
    }
    if !done.success() {
        bail!("{name} ended with {done}; it said:\n{}", tail(&mut said)?);
    }
    Ok(staged?)
}

/// Debian, Ubuntu and their like.
struct Mmdebstrap;

impl Mmdebstrap {
    /// What every root needs: an init, a kernel's tools, an initramfs that can mount NFS, and something to read `ip` with.
    const BASE: &str = "systemd,systemd-sysv,udev,kmod,initramfs-tools,zstd,iproute2";
    /// Put in place before any package is configured, so that the first initramfs is a good one already.
    const INITRAMFS: &str = r#"mkdir -p "$1/etc/initramfs-tools/conf.d" && printf 'BOOT=nfs\nMODULES=most\n' >"$1/etc/initramfs-tools/conf.d/oneroot""#;
    /// What is one machine's and not the tree's: each has its own by its layer, or by what it boots with.
    const NOBODYS: &str = r#": >"$1/etc/machine-id"; rm -f "$1/etc/hostname"; : >"$1/etc/resolv.conf"; rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*"#;
}

impl Install for Mmdebstrap {
    const PROGRAMS: &'static [&'static str] = &["mmdebstrap"];
    const NEEDS: &'static str = "the package mmdebstrap (and uidmap, where you are not root)";

    fn command(wanted: &Packages) -> Command {
        let mut include = format!("--include={}", Self::BASE);
        for package in &wanted.include {
            include.push(',');
            include.push_str(package);
        }
        let included = said(&wanted.options, "include");
        let mut packages = wanted.include.iter().map(String::as_str).chain(included);
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

/// Fedora and its relatives.
struct Dnf;

impl Dnf {
    /// As for Debian; dracut's module `nfs` asks for mount.nfs and rpcbind, which nfs-utils brings.
    const BASE: [&str; 6] = ["systemd", "kmod", "dracut-network", "nfs-utils", "iproute", "kernel"];
    /// dnf has no archive to write and no namespace to work in, so a script gives it both.
    const INSIDE: &str = include_str!("dnf.sh");
}

impl Install for Dnf {
    const PROGRAMS: &'static [&'static str] = &["unshare", "dnf", "tar"];
    const NEEDS: &'static str = "the packages util-linux, dnf and tar (and uidmap, where you are not root)";

    fn command(wanted: &Packages) -> Command {
        let mut program = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
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

    fn words(program: &Command) -> Vec<String> {
        program.get_args().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    fn wanted(with: Installer, include: &[&str]) -> Packages {
        Packages {
            with,
            release: "noble".to_owned(),
            mirrors: vec!["http://a/x".to_owned(), "http://b/y".to_owned()],
            keyring: Some("/k.gpg".into()),
            insecure: false,
            include: include.iter().map(|name| (*name).to_owned()).collect(),
            options: vec!["--components=main,universe".to_owned()],
        }
    }

    #[test]
    fn mmdebstrap_hears_all_that_the_site_says_and_a_kernel_of_the_admins_is_the_only_one() {
        let said = words(&Mmdebstrap::command(&wanted(Installer::Mmdebstrap, &["vim"])));
        for word in ["--keyring=/k.gpg", "--components=main,universe"] {
            assert!(said.iter().any(|other| other == word), "{word}: {said:?}");
        }
        assert_eq!(said.get(said.len() - 4..).unwrap(), ["noble", "-", "http://a/x", "http://b/y"]);
        assert!(said.iter().any(|word| word.contains(",vim,linux-image-")), "{said:?}");
        let said = words(&Mmdebstrap::command(&wanted(Installer::Mmdebstrap, &["linux-image-generic"])));
        assert!(said.iter().any(|word| word.ends_with(",linux-image-generic")), "{said:?}");
    }

    #[test]
    fn a_tree_for_another_architecture_gets_a_kernel_of_that_one() {
        let kernel = |options: &[&str]| {
            let mut wanted = wanted(Installer::Mmdebstrap, &["vim"]);
            wanted.options = options.iter().map(|option| (*option).to_owned()).collect();
            let said = words(&Mmdebstrap::command(&wanted));
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

    #[test]
    fn dnf_takes_nothing_unsigned_and_no_repository_but_the_sites_unless_it_is_told_so() {
        let mut wanted = wanted(Installer::Dnf, &["@core"]);
        let said = words(&Dnf::command(&wanted));
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
        let said = words(&Dnf::command(&wanted));
        assert!(said.iter().any(|word| word == "--nogpgcheck"), "{said:?}");
        assert!(!said.iter().any(|word| word.starts_with("--repo")), "this host's own then: {said:?}");
    }

    #[test]
    fn a_comma_in_an_address_is_no_second_address_to_dnf() {
        let mut wanted = wanted(Installer::Dnf, &[]);
        wanted.mirrors = vec!["file:///srv/a,b%20c/x".to_owned()];
        wanted.keyring = Some("/srv/50% k,e=y".into());
        let said = words(&Dnf::command(&wanted));
        for word in [
            "--repofrompath=oneroot0,file:///srv/a%2Cb%20c/x",
            "--setopt=oneroot0.gpgkey=file:///srv/50%25%20k%2Ce%3Dy",
        ] {
            assert!(said.iter().any(|other| other == word), "{word}: {said:?}");
        }
    }
}
