//! SIGHUP and `oneroot reload`: the site is read again, and comes into force whole or not at all.
//!
//! What is in force already (sockets, store, state) can't change under running machines; a site that changes it waits for
//! a restart, which is a pause to them and nothing more.

use std::path::Path;
use std::sync::Arc;

use oneroot_bootconf::{Program, Server, Site, load};

use crate::confine;
use crate::tls::{self, Https, Shown};
use oneroot_machines::planner::template_check;
use oneroot_machines::{MachineChange, Machines};

/// Why a site did not come into force: each reason with its place where it has one.
pub type Refusal = Vec<String>;
/// What became of reading a site again.
pub type Reread = Result<Vec<MachineChange>, Refusal>;

/// What is asked of a server about its site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Put it in force.
    Reload,
    /// Say what that would change.
    Plan,
}

/// Reads the site at `path` and, if that is asked, puts it in force for new boots: what changes for whom. Blocks on the disk.
///
/// # Errors
/// Everything that is wrong with it; the old site stays in force then.
pub fn reload(machines: &Machines, https: &Https, path: &Path, ask: Ask) -> Reread {
    let unreachable = confine::site_is_out_of_reach(path);
    if !unreachable.is_empty() {
        return Err(unreachable);
    }
    let new =
        load(path).map_err(|report| report.problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let unreachable = confine::out_of_reach(&new, path);
    if !unreachable.is_empty() {
        return Err(unreachable);
    }
    let problems = template_check::problems(&new, machines.renderer().as_ref());
    if !problems.is_empty() {
        return Err(problems.iter().map(ToString::to_string).collect());
    }
    let fixed = fixed(&machines.site(), &new);
    if !fixed.is_empty() {
        return Err(fixed.iter().map(|key| format!("{key} has changed, which takes a restart")).collect());
    }
    let shown = match ask {
        Ask::Reload => Shown::of(&new),
        // A question makes no certificate.
        Ask::Plan => tls::problems(&new).into_iter().next().map_or(Ok(None), Err),
    };
    let shown = shown.map_err(|problem| vec![problem.to_string()])?;
    // From here on until it is in force nobody assigns what it does not have.
    let _held = machines.hold_mapping();
    let conflicts = machines.conflicts_with(&new);
    if !conflicts.is_empty() {
        return Err(conflicts.iter().map(ToString::to_string).collect());
    }
    let changes = machines.changes_with(&new);
    if ask == Ask::Reload {
        machines.put_site(Arc::new(new));
        https.put(shown);
    }
    Ok(changes)
}

/// What differs of that which a running server can't change.
fn fixed(old: &Site, new: &Site) -> Vec<&'static str> {
    let (a, b) = (&old.server, &new.server);
    let modes = |site: &Site| -> Vec<_> {
        site.networks.iter().filter(|network| network.proxy).map(|network| network.subnet).collect()
    };
    let program = |site: &Site| site.decide.as_ref().map(|program| Program { cache: 0, ..program.clone() });
    let port = |server: &Server| server.https.as_ref().map(|https| https.port);
    let checks = [
        ("server.address", a.address != b.address || old.server_addresses() != new.server_addresses()),
        ("server.interface", a.interfaces != b.interfaces),
        ("server.store", a.store != b.store),
        ("server.state", a.state != b.state),
        ("server.http_port", a.http_port != b.http_port),
        ("server.https_port", port(a) != port(b)),
        ("server.nfs_port", a.nfs_port != b.nfs_port),
        ("server.ipv6", a.ipv6 != b.ipv6),
        ("server.confinement", a.confinement != b.confinement),
        ("server.wait_for_interfaces", a.wait_for_interfaces != b.wait_for_interfaces),
        ("server.loaders", a.loaders != b.loaders),
        ("server.allow_unprivileged_nfs_ports", a.unprivileged_nfs_ports != b.unprivileged_nfs_ports),
        ("network.proxy", modes(old) != modes(new)),
        // What starts it was told which it is before the server confined itself.
        ("decide", new.decide.is_some() && program(old) != program(new)),
        ("make_secrets", old.make_secrets != new.make_secrets),
    ];
    checks.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}
