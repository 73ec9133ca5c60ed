//! The services: each a task that runs until it is time to stop. One that ends by itself ends the process.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use oneroot_bootconf::Site;
use oneroot_machines::Machines;
use oneroot_nfsd::{Keyring, Policy, PortTable, Ports, Service};
use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::{EnterGuard, Runtime};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinSet};

use super::sockets::{PORTMAP, Portmap, Sockets, nfs_ports};
use crate::follow::Follower;
use crate::net::interfaces::Interfaces;
use crate::net::{accept, router_advert};
use crate::nfs::in_flight::{IN_FLIGHT, InFlight};
use crate::nfs::rpcbind::Registration;
use crate::nfs::{self, Server, Views};
use crate::tls::Https;
use crate::{clock, control, http, tftp};

/// How often boots are looked at that have not said `up`.
const TICK: Duration = Duration::from_secs(30);

/// Time for which what became of boots is gathered before it is written: what a server that is killed may not have written.
const GATHER: Duration = Duration::from_millis(300);

const HTTP: accept::Service = accept::Service::named("http");
const HTTPS: accept::Service = accept::Service::sealed("https");

/// All that runs.
pub struct Services {
    machines: Arc<Machines>,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

/// What runs a service's tasks on one thread.
pub struct Aside(Option<Runtime>);

impl Aside {
    /// Without its thread yet.
    pub fn new() -> Result<Self> {
        Ok(Self(Some(tokio::runtime::Builder::new_current_thread().enable_all().build()?)))
    }

    /// Inside of which its sockets are made.
    pub fn enter(&self) -> Option<EnterGuard<'_>> {
        self.0.as_ref().map(Runtime::enter)
    }
}

impl Drop for Aside {
    /// A task may not wait for a runtime to end, and one in which nothing has run has nothing to wait for.
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

impl Services {
    /// None yet.
    pub fn new(machines: Arc<Machines>) -> Self {
        Self { machines, tasks: JoinSet::new(), stop: watch::Sender::new(false) }
    }

    /// Ends when it is time to stop.
    fn until(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stopped = self.stop.subscribe();
        async move { drop(stopped.wait_for(|stop| *stop).await) }
    }

    /// Runs work until it is time to stop.
    pub fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.until();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop => {}
                () = work => {}
            }
        });
    }

    /// The same on a thread of its own: each of its messages would wake a second thread otherwise, to see whether there is more
    /// to do.
    pub fn spawn_aside(
        &mut self,
        name: &str,
        mut aside: Aside,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Result<()> {
        let stop = self.until();
        let (ends, ended) = oneshot::channel::<()>();
        let runtime = aside.0.take();
        let run = move || {
            let until = async {
                tokio::select! {
                    () = stop => {}
                    () = work => {}
                }
            };
            if let Some(runtime) = &runtime {
                runtime.block_on(until);
            }
            drop(ends);
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
        // It is dropped when the thread panics, too.
        self.spawn(async move { drop(ended.await) });
        Ok(())
    }

    /// What machines boot by, and what people ask. What is returned is this server's entry with the host's rpcbind.
    pub fn boot(
        &mut self,
        site: &Site,
        sockets: Sockets,
        keyring: Keyring,
        interfaces: Arc<Interfaces>,
        https: Arc<Https>,
        reloads: control::Reloads,
    ) -> Option<Registration> {
        let (portmap, datagrams, registration) = match sockets.portmap {
            Portmap::Ours(tcp, udp) => (tcp, udp, None),
            Portmap::Host(registration) => (Vec::new(), Vec::new(), Some(registration)),
        };
        let own = registration.is_none().then_some(PORTMAP);
        let ports = Ports { portmap_tcp: own, portmap_udp: own, ..nfs_ports(site) };
        self.nfs(site, keyring, ports, sockets.nfs, portmap, datagrams);
        let served = http::Http::new(self.machines.clone());
        for socket in sockets.http {
            let (served, stop) = (served.clone(), self.until());
            self.tasks.spawn(accept::accept(socket, HTTP, stop, move |stream, peer, slot| {
                http::serve(served.clone(), stream, peer, slot)
            }));
        }
        for socket in sockets.https {
            let (served, https, stop) = (served.clone(), https.clone(), self.until());
            self.tasks.spawn(accept::accept(socket, HTTPS, stop, move |stream, peer, slot| {
                http::serve_secured(served.clone(), https.clone(), stream, peer, slot)
            }));
        }
        for socket in sockets.tftp {
            self.tasks.spawn(tftp::serve(self.machines.clone(), socket, self.stop.subscribe()));
        }
        for socket in sockets.solicited {
            self.spawn(router_advert::serve(socket, self.machines.clone()));
        }
        let answers = control::Answers { machines: self.machines.clone(), interfaces, https, reloads };
        self.spawn(control::serve(sockets.control, answers));
        registration
    }

    /// NFS and MOUNT, and who says where they are, unless that is the host's rpcbind.
    fn nfs(
        &mut self,
        site: &Site,
        keyring: Keyring,
        ports: Ports,
        nfs: Vec<TcpListener>,
        portmap: Vec<TcpListener>,
        datagrams: Vec<UdpSocket>,
    ) {
        let policy = Policy { allow_unprivileged_ports: site.server.unprivileged_nfs_ports };
        let machines = self.machines.clone();
        let service = Service::new(Views(machines.clone()), keyring, PortTable::new(ports), policy);
        let server = Arc::new(Server { service, machines, waiting: InFlight::new(IN_FLIGHT) });
        let named = |name| move |socket| (socket, name);
        for (socket, name) in
            nfs.into_iter().map(named("nfs")).chain(portmap.into_iter().map(named("portmap")))
        {
            let (server, stop) = (server.clone(), self.until());
            self.tasks.spawn(accept::accept(
                socket,
                accept::Service::named(name),
                stop,
                move |stream, peer, slot| nfs::connection::serve(server.clone(), stream, peer, slot),
            ));
        }
        for socket in datagrams {
            self.spawn(nfs::portmap_datagrams(server.clone(), socket));
        }
    }

    /// What keeps the machines up to date: what other servers write, what time does.
    pub fn machines(&mut self) {
        let machines = self.machines.clone();
        self.spawn(async move {
            let mut changes = Follower::new(machines.state.clone(), machines.watched());
            while let Some(event) = changes.next().await {
                machines.state_changed(event);
            }
            // The state is closed: the process is about to end.
            std::future::pending::<()>().await;
        });
        let machines = self.machines.clone();
        self.spawn(async move {
            loop {
                machines.timelines_due().await;
                while !machines.write_timelines().await {
                    tokio::time::sleep(TICK).await;
                }
                // The first of some is written at once: it may be the failure that ends a boot. The others are gathered.
                tokio::time::sleep(GATHER).await;
            }
        });
        let machines = self.machines.clone();
        self.spawn(async move {
            let mut noted = 0;
            loop {
                noted = clock::watch(machines.state.as_ref(), noted).await;
                tokio::time::sleep(TICK).await;
                machines.tick().await;
                machines.tell_of_stalls(clock::now());
            }
        });
    }

    /// One that has ended by itself.
    pub async fn ended(&mut self) -> Option<Result<(), JoinError>> {
        self.tasks.join_next().await
    }

    /// Tells all of them to stop, and waits until they have.
    pub async fn stop(&mut self) {
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
    }
}
