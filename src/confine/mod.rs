//! What `oneroot serve` takes from itself before it does anything else: privileges, files, system calls
//! (docs/decisions/0008-confinement.md).
//!
//! Whoever takes over a thread of the server through a fault in it has what that thread has. Each of these steps binds the
//! thread that takes it and all that it starts later, and none reaches a thread that runs already (Landlock could not
//! before Linux 7.0). So [`enforce`] runs on the main thread while that is the only one: before the log's writer, the
//! state's, and the runtime. State and sockets are opened from inside.
//!
//! `serve` starts no program. Those that a site names (installers, commands) are started by `stage` and `edit`, which are
//! processes of the admin's own, so nothing here has to leave a way to start one.

mod calls;
mod files;
mod grants;
#[cfg(debug_assertions)]
pub mod hook;
mod privileges;
pub mod rendering;

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail};
use oneroot_bootconf::{Confinement, Site};
use serde::{Deserialize, Serialize};

use files::Fence;

/// What this process has taken from itself. A process is confined once and for all, so there is one of these.
static CONFINED: OnceLock<Confined> = OnceLock::new();

struct Confined {
    report: Report,
    /// Where Landlock is in force.
    fence: Option<Fence>,
}

/// What is in force, as `status` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// `auto`, `require` or `off`: what the site asks for.
    pub asked: String,
    /// What this kernel could not take, and why; nothing while all of it is in force.
    pub lacking: Vec<String>,
}

impl Report {
    /// What is missing, for people; `None` while nothing is.
    pub fn words(&self) -> Option<String> {
        if self.asked == Confinement::Off.as_str() {
            return Some("the server is not confined: the site has confinement = \"off\"".to_owned());
        }
        let lacking = self.lacking.join("; ");
        (!lacking.is_empty()).then(|| format!("the server is not confined in full: {lacking}"))
    }
}

/// Whether a server may do what it has to: said once, and not by each socket in its own words.
pub fn has_what_it_keeps() -> Result<()> {
    let lacking = privileges::lacking();
    if !lacking.is_empty() {
        let lacking = lacking.join(" and ");
        bail!(
            "oneroot serve needs {lacking}: run it as root, or give it these (`AmbientCapabilities=CAP_NET_BIND_SERVICE \
             CAP_NET_RAW` in its unit, or `setcap cap_net_bind_service,cap_net_raw+ep` on the program)"
        );
    }
    Ok(())
}

/// Takes all that a server with this site, read from `file`, has no need of. Before any other thread runs.
/// `ports` are those that it listens on for TCP.
///
/// # Errors
/// Store or state can't be made; or something can't be taken, and the site requires it.
pub fn enforce(site: &Site, file: &Path, ports: &[u16]) -> Result<()> {
    let asked = site.server.confinement;
    // What is fenced in has to be there.
    for directory in [&site.server.store, &site.server.state] {
        make(directory).map_err(explain)?;
    }
    let mut confined =
        Confined { report: Report { asked: asked.as_str().to_owned(), lacking: Vec::new() }, fence: None };
    if asked != Confinement::Off {
        let lacking = &mut confined.report.lacking;
        if let Err(cause) = alone() {
            lacking.push(format!("{cause:#}"));
        }
        confined.fence = take_all(site, file, ports, lacking);
    }
    let lacking = confined.report.lacking.join("; ");
    if asked == Confinement::Require && !lacking.is_empty() {
        bail!("the site has confinement = \"require\", and this host can't do all of it: {lacking}");
    }
    if CONFINED.set(confined).is_err() {
        bail!("this process is confined already");
    }
    Ok(())
}

/// Each step for itself: what one can't do is no reason to leave out another.
fn take_all(site: &Site, file: &Path, ports: &[u16], lacking: &mut Vec<String>) -> Option<Fence> {
    if let Err(cause) = privileges::give_up() {
        lacking.push(format!("privileges: {cause:#}"));
    }
    let fence =
        Fence::put_up(site, file, ports).map_err(|cause| lacking.push(format!("files: {cause:#}"))).ok();
    // Last, for it forbids the calls that the others make.
    if let Err(cause) = calls::filter() {
        lacking.push(format!("system calls: {cause:#}"));
    }
    fence
}

/// Only threads that start later are bound.
fn alone() -> Result<()> {
    let threads = std::fs::read_dir("/proc/self/task").context("cannot count threads in /proc")?.count();
    if threads != 1 {
        bail!("{} threads were running already, and are not confined", threads.saturating_sub(1));
    }
    Ok(())
}

fn make(directory: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.with_context(|| format!("cannot make {}", directory.display()))
}

/// A confined server, and one that the packaged unit starts, can do less than the admin who looks at its files: she should
/// not have to guess why.
pub fn explain(cause: anyhow::Error) -> anyhow::Error {
    let said = format!("{cause:#}");
    if said.contains("Read-only file system") {
        return cause.context(
            "under systemd, a store or state outside /var/lib/oneroot takes ReadWritePaths= in a drop-in",
        );
    }
    if said.contains("Permission denied") {
        return cause.context(
            "a server keeps no right over files of others (CAP_DAC_OVERRIDE), as root neither: chown them to the user that it \
             runs as",
        );
    }
    cause
}

/// Says once in the log what is in force.
pub fn tell() {
    let Some(Confined { report, fence }) = CONFINED.get() else { return };
    if let Some(words) = report.words() {
        tracing::warn!("{words}");
    }
    if let Some(note) = fence.as_ref().and_then(Fence::note) {
        tracing::info!("{note}");
    }
}

/// What is in force; `None` in a process that is no server.
pub fn report() -> Option<Report> {
    CONFINED.get().map(|confined| confined.report.clone())
}

/// What a site, read from `file`, has this server read that it can't any more: a reason for each, with its path.
pub fn out_of_reach(site: &Site, file: &Path) -> Vec<String> {
    let Some(fence) = CONFINED.get().and_then(|confined| confined.fence.as_ref()) else { return Vec::new() };
    fence.outside(grants::read_by(site, file))
}

/// The same for the site's file, before it is read.
pub fn site_is_out_of_reach(file: &Path) -> Vec<String> {
    let Some(fence) = CONFINED.get().and_then(|confined| confined.fence.as_ref()) else { return Vec::new() };
    fence.outside(grants::site_files(file))
}
