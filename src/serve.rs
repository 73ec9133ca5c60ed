//! `oneroot serve`: the order in which everything comes up, and how it goes down.
//!
//! State, store and views first, then **all** sockets, then service: either everything is there or nothing has started.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use oneroot_bootconf::Site;
use oneroot_nfsd::{Keyring, Policy, PortTable, Ports, Service};
use oneroot_state::{Disk, handle_keys};
use oneroot_tree::Store;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::machines::Machines;
use crate::net::{self, accept};
use crate::nfs::{self, Server, Views};
use crate::planner::Planner;
use crate::{clock, control, dhcp, guest, http, tftp};

const PORTMAP: u16 = 111;
const TFTP: u16 = 69;
/// Words of machines that wait to be heard.
const SAYINGS: usize = 1024;
/// Time that connections have to end by themselves after SIGTERM.
const DRAIN: Duration = Duration::from_secs(5);
/// How often boots are looked at that have not said `up`.
const TICK: Duration = Duration::from_secs(30);

/// Serves until SIGTERM or SIGINT. A second signal ends it at once.
pub async fn run(site: Site) -> Result<()> {
    let site = Arc::new(site);
    let state = Arc::new(Disk::open(&site.server.state)?);
    let store = Store::open(&site.server.store)?;
    let guest = guest::stage(&store, clock::now())?;
    let keys = handle_keys(state.as_ref(), clock::random()?).await?;
    let secret = keys.secret().context("the state has handle keys, and none of them is the current one")?;
    let mut keyring = Keyring::new(keys.current, secret);
    for (id, secret) in keys.keys.iter().filter(|(id, _)| *id != keys.current) {
        keyring = keyring.with_old(*id, secret)?;
    }
    let (said, mut heard) = mpsc::channel(SAYINGS);
    let machines = Machines::open(site.clone(), state, Planner::new(store, guest), said).await?;

    let address = site.server.address;
    let on = |port| SocketAddr::new(address, port);
    let (nfs_port, http_port) = (site.server.nfs_port, site.server.http_port);
    let nfs_socket = net::listen(on(nfs_port), "NFS")?;
    let portmap_socket = net::listen(on(PORTMAP), "portmap")?;
    let portmap_datagrams = net::datagrams(on(PORTMAP), "portmap")?;
    let http_socket = net::listen(on(http_port), "HTTP")?;
    let tftp_socket = net::datagrams(on(TFTP), "TFTP")?;
    let control_socket = control::listen(&site.server.state)?;
    let dhcp_server = dhcp::Server::open(machines.clone()).await?;

    let ports = PortTable::new(Ports {
        nfs: nfs_port,
        mount: nfs_port,
        portmap_tcp: Some(PORTMAP),
        portmap_udp: Some(PORTMAP),
    });
    let policy = Policy { allow_unprivileged_ports: site.server.unprivileged_nfs_ports };
    let service = Service::new(Views(machines.clone()), keyring, ports, policy);
    let server = Arc::new(Server { service, machines: machines.clone() });

    let (stop, stopped) = watch::channel(false);
    let until = || {
        let mut stopped = stopped.clone();
        async move { drop(stopped.wait_for(|stop| *stop).await) }
    };
    let mut tasks = JoinSet::new();
    for (socket, name) in [(nfs_socket, "nfs"), (portmap_socket, "portmap")] {
        let server = server.clone();
        tasks.spawn(accept::accept(socket, name, until(), move |stream, peer, slot| {
            nfs::connection::serve(server.clone(), stream, peer, slot)
        }));
    }
    let for_http = machines.clone();
    tasks.spawn(accept::accept(http_socket, "http", until(), move |stream, peer, slot| {
        http::serve(for_http.clone(), stream, peer, slot)
    }));
    tasks.spawn(until_then(until(), nfs::portmap_datagrams(server, portmap_datagrams)));
    tasks.spawn(tftp::serve(machines.clone(), tftp_socket, stopped.clone()));
    tasks.spawn(until_then(until(), dhcp_server.serve()));
    tasks.spawn(until_then(until(), control::serve(control_socket, machines.clone())));
    let listener = machines.clone();
    tasks.spawn(until_then(until(), async move {
        while let Some(saying) = heard.recv().await {
            listener.heard(&saying).await;
        }
    }));
    tasks.spawn(until_then(until(), async move {
        loop {
            tokio::time::sleep(TICK).await;
            machines.tick().await;
        }
    }));
    tracing::info!(%address, interfaces = site.server.interfaces.join(","), "ready: DHCP, TFTP, HTTP and NFS are served");

    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        // A service only ends when it is told to; one that ends by itself takes the others with it, loudly.
        ended = tasks.join_next() => anyhow::bail!("a service has ended by itself: {ended:?}"),
    }
    tracing::info!("stopping; machines wait for the next start");
    let _ = stop.send(true);
    let drained = async { while tasks.join_next().await.is_some() {} };
    tokio::select! {
        () = drained => {}
        () = tokio::time::sleep(DRAIN) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Runs work until it is time to stop.
async fn until_then(stop: impl Future<Output = ()>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = stop => {}
        () = work => {}
    }
}
