//! `oneroot serve`: the order in which everything comes up, and how it goes down.
//!
//! State, store and views first, then **all** sockets, then service: either everything is there or nothing has started.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use oneroot_bootconf::Site;
use oneroot_nfsd::{Keyring, Policy, PortTable, Ports, Service};
use oneroot_state::{Backend, Disk, State, handle_keys};
use oneroot_tree::Store;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::Socket;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, UdpSocket, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::clock::ThisHost;
use crate::follow::Follower;
use crate::net::ipv6::Ipv6Sockets;
use crate::net::keeper::Keeper;
use crate::net::probe::Prober;
use crate::net::{self, Place, accept, router_advert};
use crate::nfs::in_flight::{IN_FLIGHT, InFlight};
use crate::nfs::rpcbind::Registration;
use crate::nfs::{self, Server, Views};
use crate::reload::{Refusal, reload};
use crate::{clock, confine, control, dhcp, http, systemd, tftp};
use oneroot_machines::Machines;
use oneroot_machines::guest;
use oneroot_machines::planner::renderer::Renderer;
use oneroot_machines::planner::{Planner, dry};

const PORTMAP: u16 = 111;
const TFTP: u16 = 69;
/// Words of machines that wait to be heard.
const SAYINGS: usize = 1024;
/// Time that connections have to end by themselves after SIGTERM.
const DRAIN: Duration = Duration::from_secs(5);
/// How often boots are looked at that have not said `up`.
const TICK: Duration = Duration::from_secs(30);

/// Everything that is listened on: all of it, or the start fails.
struct Sockets {
    nfs: Vec<TcpListener>,
    portmap: Portmap,
    http: Vec<TcpListener>,
    tftp: Vec<UdpSocket>,
    solicited: Vec<AsyncFd<Socket>>,
    control: UnixListener,
}

impl Sockets {
    fn bind(site: &Site, keeper: &Keeper, control: Socket) -> Result<Self> {
        let addresses = site.server_addresses();
        let six = site.server.ipv6.then(|| Ipv6Sockets::new(keeper, &site.server.interfaces));
        let tcp = |port: u16, service: &str| -> Result<Vec<TcpListener>> {
            let listen =
                |address: &IpAddr| net::listen(SocketAddr::new(*address, port), Place::of(site), service);
            let mut sockets = addresses.iter().map(listen).collect::<Result<Vec<_>>>()?;
            if let Some(six) = &six {
                sockets.extend(six.listen(&sockets, port, service));
            }
            Ok(sockets)
        };
        let udp = |port: u16, service: &str| -> Result<Vec<UdpSocket>> {
            let bind =
                |address: &IpAddr| net::datagrams(SocketAddr::new(*address, port), Place::of(site), service);
            let mut sockets = addresses.iter().map(bind).collect::<Result<Vec<_>>>()?;
            if let Some(six) = &six {
                sockets.extend(six.datagrams(&sockets, port, service));
            }
            Ok(sockets)
        };
        // Machines boot without it, only later.
        let solicited = |interface: &String| match router_advert::open(keeper, interface) {
            Ok(socket) => Some(socket),
            Err(cause) => {
                tracing::debug!("{cause:#}");
                None
            }
        };
        Ok(Self {
            nfs: tcp(site.server.nfs_port, "NFS")?,
            portmap: Portmap::bind(&tcp, &udp, nfs_ports(site))?,
            http: tcp(site.server.http_port, "HTTP")?,
            tftp: udp(TFTP, "TFTP")?,
            solicited: site.server.interfaces.iter().filter_map(solicited).collect(),
            control: control::listen(&site.server.state, control)?,
        })
    }
}

/// Who answers on port 111, which Debian's initramfs asks for the others.
enum Portmap {
    Ours(Vec<TcpListener>, Vec<UdpSocket>),
    /// The host's rpcbind, which has our entries for as long as this lives.
    Host(Registration),
}

impl Portmap {
    fn bind(
        tcp: &dyn Fn(u16, &str) -> Result<Vec<TcpListener>>,
        udp: &dyn Fn(u16, &str) -> Result<Vec<UdpSocket>>,
        host: Ports,
    ) -> Result<Self> {
        let ours = tcp(PORTMAP, "portmap").and_then(|tcp| Ok(Self::Ours(tcp, udp(PORTMAP, "portmap")?)));
        match ours {
            Err(cause) if net::is_taken(&cause) => {
                let registration = Registration::enter(&PortTable::new(host));
                let registration =
                    registration.context("port 111 is taken, and oneroot cannot be registered there")?;
                tracing::info!("port 111 is rpcbind's: registered NFS and MOUNT with it");
                Ok(Self::Host(registration))
            }
            ours => ours,
        }
    }
}

/// Where our programs are, without the portmapper.
fn nfs_ports(site: &Site) -> Ports {
    let port = site.server.nfs_port;
    Ports { nfs: port, mount: port, portmap_tcp: None, portmap_udp: None }
}

/// The TCP ports that a site's server listens on.
pub fn tcp_ports(site: &Site) -> [u16; 3] {
    [site.server.nfs_port, site.server.http_port, PORTMAP]
}

/// Descriptors of three full listeners, the objects that are kept open, TFTP's transfers, and all else.
const DESCRIPTORS: u64 = 18 * 1024;

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

/// Serves until SIGTERM or SIGINT; a second signal ends it at once. SIGHUP reads the site at `path` again. `control` is
/// the control socket, which has no name yet; `needs` is what the host lacks for this site, and is no reason not to start.
pub async fn run(
    site: Site,
    path: PathBuf,
    control: Socket,
    needs: &[String],
    renderer: Arc<dyn Renderer>,
) -> Result<()> {
    raise_descriptors();
    let site = Arc::new(site);
    let disk = Disk::open(&site.server.state).map_err(|cause| confine::explain(cause.into()))?;
    // The one place that says which backend it is.
    let state = Arc::new(State::from(disk));
    // Before anything asks what time it is.
    clock::fix(state.as_ref()).await?;
    let store = Store::open(&site.server.store).map_err(|cause| confine::explain(cause.into()))?;
    let guest = guest::stage(&store, clock::now())?;
    let (keyring, secret) = keys(state.as_ref()).await?;
    let (said, mut heard) = mpsc::channel(SAYINGS);
    let planner = Planner::new(store, guest, renderer.clone());
    let machines = Machines::open(site.clone(), state, Arc::new(ThisHost), planner, &secret, said).await?;

    let keeper = Keeper::open(&site)?;
    let sockets = Sockets::bind(&site, &keeper, control)?;
    systemd::close_the_rest();
    machines.ask_by(Arc::new(Prober::open()?));
    let dhcp_server = dhcp::Server::open(machines.clone(), &keeper).await?;
    let (portmap, portmap_datagrams, registration) = match sockets.portmap {
        Portmap::Ours(tcp, udp) => (tcp, udp, None),
        Portmap::Host(registration) => (Vec::new(), Vec::new(), Some(registration)),
    };
    let own = registration.is_none().then_some(PORTMAP);
    let ports = PortTable::new(Ports { portmap_tcp: own, portmap_udp: own, ..nfs_ports(&site) });
    let policy = Policy { allow_unprivileged_ports: site.server.unprivileged_nfs_ports };
    let service = Service::new(Views(machines.clone()), keyring, ports, policy);
    let server = Arc::new(Server { service, machines: machines.clone(), waiting: InFlight::new(IN_FLIGHT) });

    let (stop, stopped) = watch::channel(false);
    let until = || {
        let mut stopped = stopped.clone();
        async move { drop(stopped.wait_for(|stop| *stop).await) }
    };
    let mut tasks = JoinSet::new();
    let rpc = sockets.nfs.into_iter().map(|socket| (socket, "nfs"));
    for (socket, name) in rpc.chain(portmap.into_iter().map(|socket| (socket, "portmap"))) {
        let server = server.clone();
        tasks.spawn(accept::accept(socket, name, until(), move |stream, peer, slot| {
            nfs::connection::serve(server.clone(), stream, peer, slot)
        }));
    }
    for socket in sockets.http {
        let machines = machines.clone();
        tasks.spawn(accept::accept(socket, "http", until(), move |stream, peer, slot| {
            http::serve(machines.clone(), stream, peer, slot)
        }));
    }
    for socket in portmap_datagrams {
        tasks.spawn(until_then(until(), nfs::portmap_datagrams(server.clone(), socket)));
    }
    for socket in sockets.tftp {
        tasks.spawn(tftp::serve(machines.clone(), socket, stopped.clone()));
    }
    tasks.spawn(until_then(until(), dhcp_server.serve()));
    for socket in sockets.solicited {
        tasks.spawn(until_then(until(), router_advert::serve(socket, machines.clone())));
    }
    keeper.tell(&site);
    // One at a time: who asks while a reload runs waits for its own.
    let (reloads, mut asked) = mpsc::channel(1);
    let answers = control::Answers { machines: machines.clone(), interfaces: keeper.interfaces(), reloads };
    tasks.spawn(until_then(until(), control::serve(sockets.control, answers)));
    tasks.spawn(until_then(until(), keeper.watch(machines.sites())));
    let listener = machines.clone();
    tasks.spawn(until_then(until(), async move {
        while let Some(saying) = heard.recv().await {
            listener.heard(&saying).await;
        }
    }));
    let follower = machines.clone();
    tasks.spawn(until_then(until(), async move {
        let mut changes = Follower::new(follower.state.clone(), "");
        while let Some(event) = changes.next().await {
            follower.state_changed(event);
        }
        // The state is closed: the process is about to end.
        std::future::pending().await
    }));
    let ticker = machines.clone();
    tasks.spawn(until_then(until(), async move {
        let mut noted = 0;
        loop {
            noted = clock::watch(ticker.state.as_ref(), noted).await;
            tokio::time::sleep(TICK).await;
            ticker.tick().await;
            ticker.tell_of_stalls(clock::now());
        }
    }));
    tracing::info!(
        address = %site.server.address,
        interfaces = site.server.interfaces.join(","),
        "ready: DHCP, TFTP, HTTP and NFS are served"
    );
    needs.iter().for_each(|need| tracing::warn!("{need}"));
    systemd::ready("serving");
    // A broken template is one machine's trouble at its next boot: the others do not wait until every layer was read.
    let tried = site.clone();
    tokio::task::spawn_blocking(move || {
        let problems = dry::problems(&tried, renderer.as_ref());
        problems.iter().for_each(|problem| tracing::error!(reason = %problem));
    });

    until_told(&mut tasks, &machines, path, &mut asked).await?;
    tracing::info!("stopping; machines wait for the next start");
    systemd::stopping();
    // Machines that boot now should ask the next start, not a port where nobody is.
    drop(registration);
    let _ = stop.send(true);
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let drained = async { while tasks.join_next().await.is_some() {} };
    tokio::select! {
        () = drained => {}
        () = tokio::time::sleep(DRAIN) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    if let Ok(Err(cause)) = tokio::time::timeout(DRAIN, machines.state.settle()).await {
        tracing::error!(%cause, "the state is not where the next start looks for it");
    }
    Ok(())
}

/// The keys that handles are sealed with: made once, for ever. The current one is the secret of all other seals.
async fn keys(state: &impl Backend) -> Result<(Keyring, [u8; 32])> {
    let keys = handle_keys(state, clock::random()?).await?;
    let secret = keys.secret().context("the state has handle keys, and none of them is the current one")?;
    let mut keyring = Keyring::new(keys.current, secret);
    for (id, secret) in keys.keys.iter().filter(|(id, _)| *id != keys.current) {
        keyring = keyring.with_old(*id, secret)?;
    }
    Ok((keyring, *secret))
}

/// Reads the site again, and says what became of that.
async fn again(machines: &Arc<Machines>, path: &Path) -> Result<Result<(), Refusal>> {
    systemd::reloading();
    let (machines, path) = (machines.clone(), path.to_owned());
    let done = tokio::task::spawn_blocking(move || reload(&machines, &path)).await?;
    match &done {
        Ok(()) => tracing::info!("the site was read again and is in force for new boots"),
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
    tasks: &mut JoinSet<()>,
    machines: &Arc<Machines>,
    path: PathBuf,
    asked: &mut mpsc::Receiver<oneshot::Sender<Result<(), Refusal>>>,
) -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            // A reload that was asked for before the stop is made before it.
            biased;
            _ = hangup.recv() => drop(again(machines, &path).await?),
            Some(asker) = asked.recv() => {
                let done = again(machines, &path).await?;
                // Whoever asked may be gone by now.
                let _ = asker.send(done);
            }
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            // A service only ends when it is told to; one that ends by itself takes the others with it, loudly.
            ended = tasks.join_next() => anyhow::bail!("a service has ended by itself: {ended:?}"),
        }
    }
}

/// Runs work until it is time to stop.
async fn until_then(stop: impl Future<Output = ()>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = stop => {}
        () = work => {}
    }
}
