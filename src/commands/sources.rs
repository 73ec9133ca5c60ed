//! Sources that a program makes: a distribution's packages, or an admin's own script.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use oneroot_bootconf::Packages;
use oneroot_tree::Stage;

/// What every root needs: an init, a kernel's tools, an initramfs that can mount NFS, and something to read `ip` with.
const BASE: &str = "systemd,systemd-sysv,udev,kmod,initramfs-tools,zstd,iproute2";
/// Put in place before any package is configured, so that the first initramfs is a good one already.
const INITRAMFS: &str = r#"mkdir -p "$1/etc/initramfs-tools/conf.d" && printf 'BOOT=nfs\nMODULES=most\n' >"$1/etc/initramfs-tools/conf.d/oneroot""#;
/// What is one machine's and not the tree's: each has its own by its layer, or by what it boots with.
const NOBODYS: &str = r#": >"$1/etc/machine-id"; rm -f "$1/etc/hostname"; : >"$1/etc/resolv.conf"; rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*"#;
/// Lines of a failed program that are shown.
const TAIL: usize = 15;

/// Installs packages with mmdebstrap, which needs no root, and stages them as they stream by: owners and devices are in
/// the archive, and never on this host's disk.
pub fn packages(stage: &mut Stage<'_>, packages: &Packages) -> Result<()> {
    let mut include = format!("--include={BASE}");
    for package in &packages.include {
        include.push(',');
        include.push_str(package);
    }
    if !packages.include.iter().any(|package| package.starts_with("linux-image-")) {
        include.push_str(",linux-image-");
        include.push_str(architecture());
    }
    let mut program = Command::new("mmdebstrap");
    program.args(["--variant=minbase", "--format=tar", &include]);
    program.arg(format!("--essential-hook={INITRAMFS}"));
    program.arg(format!("--customize-hook={NOBODYS}"));
    program.args([packages.suite.as_str(), "-"]);
    program.args(&packages.mirror);
    let mut said = tempfile::tempfile()?;
    program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(said.try_clone()?);
    let mut child = program.spawn().context(
        "cannot run mmdebstrap; install the package mmdebstrap (and uidmap, where you are not root)",
    )?;
    let archive = child.stdout.take().context("mmdebstrap has no output")?;
    let staged = stage.archive(archive);
    let done = child.wait()?;
    if let Err(full @ oneroot_tree::Error::Full { .. }) = staged {
        // mmdebstrap ended because nobody read on.
        return Err(full.into());
    }
    if !done.success() {
        bail!("mmdebstrap ended with {done}; it said:\n{}", tail(&mut said)?);
    }
    Ok(staged?)
}

/// Debian's name for this host's architecture, as its kernels are called.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "powerpc64le",
        other => other,
    }
}

/// Runs an admin's program in the site's directory, with an empty directory as its last argument, and stages what is in
/// there then. Owners are those that the program could give: as root, any.
pub fn command(stage: &mut Stage<'_>, home: &Path, words: &[String]) -> Result<()> {
    let directory = tempfile::tempdir().context("cannot make a directory for the command")?;
    let (program, arguments) = words.split_first().context("the command is empty")?;
    let mut said = tempfile::tempfile()?;
    let done = Command::new(program)
        .args(arguments)
        .arg(directory.path())
        .current_dir(home)
        .stdin(Stdio::null())
        .stdout(said.try_clone()?)
        .stderr(said.try_clone()?)
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    if !done.success() {
        bail!("{program} ended with {done}; it said:\n{}", tail(&mut said)?);
    }
    Ok(stage.directory(directory.path())?)
}

fn tail(said: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    said.rewind()?;
    said.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default().join("\n"))
}
