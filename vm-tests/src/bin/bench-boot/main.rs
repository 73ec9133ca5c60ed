//! `make bench-boot`: a Debian that comes up by its own initrd, initramfs-tools' or dracut's, beside the same tree by oneroot's.
//! What the figures mean is said in docs/benchmarks.md.
#![allow(clippy::print_stdout, reason = "it is a program that shows something")]

mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use oneroot_testkit::wire::Wire;
use oneroot_testkit::{INTERFACE, Lab, SERVER, Server, SiteFiles};
use oneroot_vm_tests::{Guest, Hardware, artifacts};
use report::{Boot, Report, Row};
use serde_json::Value;

/// MiB: dracut's initrd needs more than the cases have.
const MEMORY: u32 = 1024;
const POOL: &str = "192.168.77.100-192.168.77.199";
const STEP: Duration = Duration::from_secs(400);

/// The machines of the site, with how each comes up and the last byte of its MAC.
const MACHINES: [(&str, &str, &str); 2] = [("alpha", "its own", "0a"), ("beta", "oneroot's", "0b")];
/// The machine that never boots: its initrd has the common drivers.
const COMMON: &str = "gamma";

/// A common NIC of the last years, Intel's I225.
const INTEL: &str = "nic=8086:15f3";

/// A tree with an initrd of its own.
struct Tree {
    /// As the site calls what made that initrd.
    initramfs: &'static str,
    made: fn() -> Result<PathBuf>,
}

const TREES: [Tree; 2] = [
    Tree { initramfs: "initramfs-tools", made: artifacts::debian },
    Tree { initramfs: "dracut", made: artifacts::debian_with_dracut },
];

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(cause) => {
            eprintln!("bench-boot: {cause:#}");
            ExitCode::FAILURE
        }
    }
}

/// Usage: `bench-boot [initramfs-tools | dracut | sizes | all [ROUNDS]]`
fn run() -> Result<bool> {
    const USAGE: &str = "usage: bench-boot [initramfs-tools | dracut | sizes | all [ROUNDS]]";
    let mut words = std::env::args().skip(1);
    let which = words.next().unwrap_or_else(|| "all".to_owned());
    let rounds: usize = words.next().map_or(Ok(1), |rounds| rounds.parse()).context(USAGE)?;
    let trees: Vec<&Tree> = TREES.iter().filter(|tree| which == "all" || which == tree.initramfs).collect();
    let is_sized = which == "all" || which == "sizes";
    if trees.is_empty() && !is_sized {
        bail!("{USAGE}");
    }
    artifacts::tools("bench-boot")?;
    // There is no mirror in a lab.
    let made = trees.iter().map(|tree| (tree.made)()).collect::<Result<Vec<PathBuf>>>()?;
    let all_drivers = is_sized.then(artifacts::bare_with_all_drivers).transpose()?;
    let lab = Lab::new()?;
    let mut report = Report::new(rounds);
    for (tree, tar) in trees.into_iter().zip(made) {
        eprintln!("staging a Debian with {}", tree.initramfs);
        let server = Server::start(site(Some(tree), &tar)?)?;
        for _ in 0..rounds {
            // One right after the other: what else the host does disturbs them alike.
            for (name, by, mac) in MACHINES {
                let boot = boot(&lab, &server, name, mac)?;
                let bytes = initrd(&server, name, &[])?;
                let row = Row { tree: tree.initramfs, by, bytes, boot };
                eprintln!("{}", row.line());
                report.add(row);
            }
        }
        report.size(tree.initramfs, "common drivers", initrd(&server, COMMON, &[])?);
    }
    if let Some(tar) = all_drivers {
        sizes(&tar, &mut report)?;
    }
    print!("{}", report.text());
    Ok(report.goals().iter().all(|goal| goal.is_reached))
}

/// One tree, which comes up by its own initrd, by oneroot's for the machine's NIC, and by oneroot's for common NICs.
fn site(tree: Option<&Tree>, tar: &Path) -> Result<SiteFiles> {
    let mut site = SiteFiles::new(tar, POOL, "1h")?;
    if let Some(tree) = tree {
        let own = format!("[profile.debian]\ninitramfs = \"{}\"\n", tree.initramfs);
        let text = site.text().replace("[profile.debian]\n", &own);
        site.set_text(&text);
    }
    let ours = "extends = \"debian\"\ninitramfs = \"oneroot\"\n";
    site.add(&format!("[profile.ours]\n{ours}[profile.common]\n{ours}drivers = \"common\"\n"));
    let machines = [("alpha", "0a", "debian"), ("beta", "0b", "ours"), (COMMON, "0c", "common")];
    for (name, last, profile) in machines {
        site.add(&format!("[machine.{name}]\nmac = \"52:54:00:00:00:{last}\"\nprofile = \"{profile}\"\n"));
    }
    Ok(site)
}

/// Switches a machine on, waits until it is up, and asks it and the server how it went.
fn boot(lab: &Lab, server: &Server, name: &str, mac: &str) -> Result<Boot> {
    let mut wire = Wire::listen(INTERFACE)?;
    let mut guest = Hardware::new(name, mac).memory(MEMORY).power_on(lab)?;
    server.wait_for_step(name, "up", STEP)?;
    let calls = wire.calls(SERVER.parse()?)?.all();
    guest.log_in()?;
    let begun = kernel_begun(&mut guest)?;
    guest.wait_until_settled();
    let used = "awk '/^MemTotal/ { all = $2 } /^MemAvailable/ { print all - $2 }' /proc/meminfo";
    let used_kib = guest.ok(used)?.parse()?;
    let machine = server.machine(name)?;
    wire.stop()?;
    guest.power_cut()?;
    let after = |step| Ok::<_, anyhow::Error>(step_at(&machine, step)? - begun);
    Ok(Boot { to_root: after("root")?, to_up: after("up")?, used_kib, calls })
}

/// When the guest's kernel began, in seconds by this host's clock, by which the server's is told too. What the console takes
/// only makes it later, so that of several tries the first moment counts.
fn kernel_begun(guest: &mut Guest) -> Result<f64> {
    let mut first = f64::INFINITY;
    for _ in 0..5 {
        let up: f64 = guest.ok("read up idle </proc/uptime; echo $up")?.parse()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        first = first.min(now - up);
    }
    Ok(first)
}

/// When a machine came to a step of its boot, in seconds.
fn step_at(machine: &Value, step: &str) -> Result<f64> {
    let steps = machine.get("steps").and_then(Value::as_array).context("no steps in the status")?;
    let found = steps.iter().find(|seen| seen.get("step").and_then(Value::as_str) == Some(step));
    let at = found.and_then(|found| found.get("at_ms")?.as_u64());
    let at = at.with_context(|| format!("no step {step} in {machine:#}"))?;
    Ok(Duration::from_millis(at).as_secs_f64())
}

/// Sizes out of a kernel that has drivers for more than clouds; nothing boots.
fn sizes(tar: &Path, report: &mut Report) -> Result<()> {
    eprintln!("staging a Debian with drivers for all machines");
    let server = Server::new(site(None, tar)?)?;
    server.stage()?;
    report.size("all drivers", "a known NIC", initrd(&server, "beta", &["--fact", INTEL])?);
    report.size("all drivers", "common drivers", initrd(&server, COMMON, &[])?);
    Ok(())
}

/// Bytes of a machine's initrd, for the NIC that it has told or that is told here.
fn initrd(server: &Server, name: &str, facts: &[&str]) -> Result<u64> {
    let to = server.site.path().join("initrd");
    let path = to.to_str().context("a temporary directory has a plain name")?;
    server.run(&[&["initrd", name, "--force", "-o", path], facts].concat())?;
    Ok(to.metadata()?.len())
}
