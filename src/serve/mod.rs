//! `oneroot serve`: the order in which everything comes up, and how it goes down.
//!
//! State, store and views first, then **all** sockets, then service: either everything is there or nothing has started.

mod secrets_key;
mod services;
mod sockets;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use oneroot_bootconf::Site;
use oneroot_machines::{HandleKeys, handle_keys};
use oneroot_nfsd::Keyring;
use oneroot_state::{Disk, State};
use oneroot_tree::Store;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::Socket;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::clock::ThisHost;
use crate::decide::Lanes;
use crate::net::keeper::Keeper;
use crate::net::probe::Prober;
use crate::reload::{Ask, Reread, reload};
use crate::tls::Https;
use crate::{clock, confine, dhcp, systemd};
use oneroot_machines::Machines;
use oneroot_machines::guest;
use oneroot_machines::initrds::Programs;
use oneroot_machines::planner::renderer::Renderer;
use oneroot_machines::planner::{Planner, template_check};

use services::{Aside, Services};
use sockets::Sockets;
pub use sockets::tcp_ports;

/// Time that connections have to end by themselves after SIGTERM.
const DRAIN: Duration = Duration::from_secs(5);

/// Descriptors of the full listeners, trees on their way, the objects that are kept open, TFTP's transfers, and all else.
const DESCRIPTORS: u64 = 19 * 1024 + 512;

/// Shells and systemd start programs with 1,024 descriptors at first, and let them have many more.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(DESCRIPTORS, |most| most.min(DESCRIPTORS));
    if limit.current.is_some_and(|current| current < wanted)
        && let Err(cause) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit })
    {
        tracing::debug!(%cause, "the limit of descriptors stays");
    }
    if wanted < DESCRIPTORS {
        tracing::warn!(
            descriptors = wanted,
            "connections are closed early when many come: raise the limit of open files (LimitNOFILE=, ulimit -Hn)"
        );
    }
}

/// Has the site's programs run by those who may start them.
fn run_by(machines: &Machines, [decide, make_secrets]: [Option<Lanes>; 2]) -> Result<()> {
    if let Some(program) = decide {
        machines.decide_by(Arc::new(program.open()?));
    }
    if let Some(program) = make_secrets {
        machines.make_secrets_by(Arc::new(program.open()?));
    }
    Ok(())
}

/// Serves until SIGTERM or SIGINT; a second signal ends it at once. SIGHUP reads the site at `path` again. `control` is
/// the control socket, which has no name yet; `programs` run the site's, the one that decides and the one that makes secrets; `needs` is what the host lacks for this site, and is no reason not to start.
pub async fn run(
    site: Site,
    path: PathBuf,
    control: Socket,
    programs: [Option<Lanes>; 2],
    needs: &[String],
    renderer: Arc<dyn Renderer>,
) -> Result<()> {
    raise_descriptors();
    let site = Arc::new(site);
    let (machines, keyring) = domain(&site, renderer.clone()).await?;
    run_by(&machines, programs)?;
    let https = Arc::new(Https::open(&site).map_err(|problem| anyhow::anyhow!("{problem}"))?);
    let keeper = Keeper::open(&site)?;
    let sockets = Sockets::bind(&site, &keeper, control)?;
    systemd::close_the_rest();
    machines.ask_by(Arc::new(Prober::open()?));
    let leasing = dhcp::Leasing::open(machines.clone()).await?;
    let dhcp_thread = Aside::new()?;
    let dhcp_server = {
        let _inside = dhcp_thread.enter();
        dhcp::Server::open(machines.clone(), leasing, &keeper)?
    };
    keeper.tell(&site);

    // One at a time: who asks while a reload runs waits for its own.
    let (reloads, mut asked) = mpsc::channel(1);
    let mut services = Services::new(machines.clone());
    let registration = services.boot(&site, sockets, keyring, keeper.interfaces(), https.clone(), reloads);
    services.spawn_aside("dhcp", dhcp_thread, dhcp_server.serve())?;
    services.spawn(keeper.watch(machines.sites()));
    services.machines();
    tracing::info!(
        address = %site.server.address,
        interfaces = site.server.interfaces.join(","),
        "ready: DHCP, TFTP, HTTP and NFS are served"
    );
    https.tell();
    needs.iter().for_each(|need| tracing::warn!("{need}"));
    systemd::ready("serving");
    // A broken template is one machine's trouble at its next boot: the others do not wait until every layer was read.
    tokio::task::spawn_blocking(move || {
        let problems = template_check::problems(&site, renderer.as_ref());
        problems.iter().for_each(|problem| tracing::error!(reason = %problem));
    });

    until_told(&mut services, Rereads { machines: &machines, https: &https, path: &path }, &mut asked)
        .await?;
    tracing::info!("stopping; machines wait for the next start");
    systemd::stopping();
    // Machines that boot now should ask the next start, not a port where nobody is.
    drop(registration);
    drain(&mut services, &machines).await?;
    if let Ok(Err(cause)) = tokio::time::timeout(DRAIN, machines.state.settle()).await {
        tracing::error!(%cause, "the state is not where the next start looks for it");
    }
    Ok(())
}

/// State, store, what every machine is given, keys; and who boots what, over all of them.
async fn domain(site: &Arc<Site>, renderer: Arc<dyn Renderer>) -> Result<(Arc<Machines>, Keyring)> {
    let disk = Disk::open(&site.server.state).map_err(|cause| confine::explain(cause.into()))?;
    // The one place that says which backend it is.
    let state = Arc::new(State::from(disk));
    // Before anything asks what time it is.
    clock::fix(state.as_ref()).await?;
    let store = Store::open(&site.server.store).map_err(|cause| confine::explain(cause.into()))?;
    let guest = guest::stage(&store, clock::now())?;
    let keys = handle_keys(state.as_ref(), clock::random()?).await?;
    let keyring = keyring(&keys)?;
    let planner = Planner::new(store, guest, renderer).with_programs(Programs::beside(&site.server.loaders));
    let machines = Machines::open(site.clone(), state, Arc::new(ThisHost), planner, keys).await?;
    match secrets_key::seal(&site.server.state, machines.has_secrets().await?) {
        Ok(seal) => machines.seal_by(seal),
        Err(cause) => {
            tracing::error!(cause = format!("{cause:#}"), "machines' secrets can neither be given nor set");
        }
    }
    Ok((machines, keyring))
}

/// Lets the services end by themselves, for as long as that may take; a signal cuts it short.
async fn drain(services: &mut Services, machines: &Arc<Machines>) -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        () = services.stop() => {}
        () = tokio::time::sleep(DRAIN) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // A state that hangs must not keep the process.
    let _ = tokio::time::timeout(DRAIN, machines.write_timelines()).await;
    Ok(())
}

/// What handles are sealed and opened with.
fn keyring(keys: &HandleKeys) -> Result<Keyring> {
    let mut secrets = keys.secrets();
    let (number, secret) = secrets.next().context("the state has no handle key that is the current one")?;
    secrets
        .try_fold(Keyring::new(number, secret), |ring, (number, secret)| Ok(ring.with_old(number, secret)?))
}

/// The site, and what a reload puts in force with it.
#[derive(Clone, Copy)]
struct Rereads<'a> {
    machines: &'a Arc<Machines>,
    https: &'a Arc<Https>,
    path: &'a Path,
}

/// Reads the site again, and says what became of that.
async fn again(of: Rereads<'_>, ask: Ask) -> Result<Reread> {
    let (machines, https, path) = (of.machines.clone(), of.https.clone(), of.path.to_owned());
    let read = tokio::task::spawn_blocking(move || reload(&machines, &https, &path, ask));
    if ask == Ask::Plan {
        return Ok(read.await?);
    }
    systemd::reloading();
    let done = read.await?;
    match &done {
        Ok(changes) => {
            tracing::info!(changes = changes.len(), "the site was read again and is in force for new boots");
        }
        Err(refusal) => {
            refusal.iter().for_each(|reason| tracing::error!(%reason));
            tracing::error!("the site was not taken over; the old one stays in force");
        }
    }
    systemd::ready("serving");
    Ok(done)
}

/// Waits for the signal to stop, and reloads on the way.
async fn until_told(
    services: &mut Services,
    of: Rereads<'_>,
    asked: &mut mpsc::Receiver<(Ask, oneshot::Sender<Reread>)>,
) -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            // A reload that was asked for before the stop is made before it.
            biased;
            _ = hangup.recv() => drop(again(of, Ask::Reload).await?),
            Some((ask, asker)) = asked.recv() => {
                let done = again(of, ask).await?;
                // Whoever asked may be gone by now.
                let _ = asker.send(done);
            }
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            // A service only ends when it is told to; one that ends by itself takes the others with it, loudly.
            ended = services.ended() => match ended {
                Some(Err(cause)) => return Err(cause).context("a service has ended by itself"),
                _ => anyhow::bail!("a service has ended by itself"),
            },
        }
    }
}
