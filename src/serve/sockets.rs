//! What is listened on: all of it, or the start fails; but for IPv6 and for what machines boot without.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use oneroot_bootconf::Site;
use oneroot_nfsd::{PortTable, Ports};
use socket2::Socket;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, UdpSocket, UnixListener};

use crate::control;
use crate::net::ipv6::Ipv6Sockets;
use crate::net::keeper::Keeper;
use crate::net::{self, Place, router_advert};
use crate::nfs::rpcbind::Registration;

pub const PORTMAP: u16 = 111;
const TFTP: u16 = 69;

/// Everything that is listened on: all of it, or the start fails.
pub struct Sockets {
    pub nfs: Vec<TcpListener>,
    pub portmap: Portmap,
    pub http: Vec<TcpListener>,
    pub https: Vec<TcpListener>,
    pub tftp: Vec<UdpSocket>,
    pub solicited: Vec<AsyncFd<Socket>>,
    pub control: UnixListener,
}

impl Sockets {
    pub fn bind(site: &Site, keeper: &Keeper, control: Socket) -> Result<Self> {
        let addresses = site.server_addresses();
        let six = site.server.ipv6.then(|| Ipv6Sockets::new(keeper, &site.server.interfaces));
        let tcp = |port: u16, service: &str| -> Result<Vec<TcpListener>> {
            let listen = |address: &IpAddr| {
                net::listen(SocketAddr::new(*address, port), Place::of(site, *address), service)
            };
            let mut sockets = addresses.iter().map(listen).collect::<Result<Vec<_>>>()?;
            if let Some(six) = &six {
                sockets.extend(six.listen(&sockets, port, service));
            }
            Ok(sockets)
        };
        let udp = |port: u16, service: &str| -> Result<Vec<UdpSocket>> {
            let bind = |address: &IpAddr| {
                net::datagrams(SocketAddr::new(*address, port), Place::of(site, *address), service)
            };
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
            https: site.server.https.as_ref().map_or(Ok(Vec::new()), |https| tcp(https.port, "HTTPS"))?,
            tftp: udp(TFTP, "TFTP")?,
            solicited: site.server.interfaces.iter().filter_map(solicited).collect(),
            control: control::listen(&site.server.state, control)?,
        })
    }
}

/// Who answers on port 111, which Debian's initramfs asks for the others.
pub enum Portmap {
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
pub fn nfs_ports(site: &Site) -> Ports {
    let port = site.server.nfs_port;
    Ports { nfs: port, mount: port, portmap_tcp: None, portmap_udp: None }
}

/// The TCP ports that a site's server listens on.
pub fn tcp_ports(site: &Site) -> Vec<u16> {
    let https = site.server.https.as_ref().map(|https| https.port);
    [site.server.nfs_port, site.server.http_port, PORTMAP].into_iter().chain(https).collect()
}
