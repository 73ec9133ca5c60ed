//! What the engine asks, answered from the site and from the machines' pins.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use oneroot_bootconf::firmware;
use oneroot_bootconf::{Site, script};
use oneroot_dhcp::{BootFile, Claim, Client, Policy, Reservation, Subnet};
use oneroot_ids::Mac;

use oneroot_machines::Machines;

/// Largest IP datagram that every Ethernet takes; replies are far smaller.
const ETHERNET_MTU: u16 = 1500;

/// IPv4, which all of this is.
pub fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

/// The site's networks, as the engine takes them.
pub fn subnets(site: &Site) -> Vec<Subnet> {
    let reserved: Vec<Ipv4Addr> = site.all_reserved().collect();
    let subnet = |network: &oneroot_bootconf::Network| {
        let server = network.server.or_else(|| v4(site.server.address))?;
        Some(Subnet {
            network: network.subnet,
            server,
            router: network.router,
            dns: network.dns.clone(),
            ntp: network.ntp.clone(),
            domain: network.domain.clone(),
            pool: network.pool,
            exclude: network.exclude.clone(),
            reserved: reserved.iter().filter(|address| network.subnet.contains(**address)).copied().collect(),
            named: u32::try_from(site.without_address()).unwrap_or(u32::MAX),
            lease_secs: network.lease,
            mtu: ETHERNET_MTU,
            authoritative: network.authoritative,
            proxy: network.proxy,
        })
    };
    site.networks.iter().filter_map(subnet).collect()
}

/// The rules in force for one packet.
pub struct Rules<'a>(pub &'a Machines, pub Arc<Site>);

impl Policy for Rules<'_> {
    fn reservation(&self, mac: Mac) -> Option<Reservation> {
        let (name, machine) = self.1.machine(mac)?;
        Some(Reservation { address: machine.address_of(mac), hostname: Some(name.to_owned()) })
    }

    fn reserved(&self, address: Ipv4Addr) -> Option<Mac> {
        self.1.reserved(address)
    }

    fn serve_unknown(&self) -> bool {
        true
    }

    fn boot(&self, client: &Client, server: Ipv4Addr) -> Option<BootFile> {
        if !client.boots() {
            return None;
        }
        let base = script::http_base(IpAddr::V4(server), self.1.server.http_port);
        // iPXE never gets a loader: it would load itself for ever. But one that can't do HTTP gets ours, which
        // can, and asks again.
        if client.ipxe && !client.without_http {
            let file = format!("{base}/boot/{}.ipxe", client.mac.dashed());
            return Some(BootFile { server, file });
        }
        let Some(loader) = firmware::loader(&client.architectures, client.is_bios(), client.http) else {
            let (mac, firmware) = (client.mac, firmware::named(&client.architectures));
            tracing::warn!(%mac, firmware, "{firmware} firmware asked for a loader, and there is none for it");
            return None;
        };
        let name = loader.file;
        Some(BootFile { server, file: if client.http { format!("{base}/{name}") } else { name.to_owned() } })
    }

    fn mtu(&self, mac: Mac) -> Option<u16> {
        self.0.mtu(&self.1, mac)
    }

    fn claim(&self, address: Ipv4Addr) -> Option<Claim> {
        Some(match self.0.claim(IpAddr::V4(address))? {
            oneroot_machines::Claim::Runs(mac) => Claim::Runs(mac),
            oneroot_machines::Claim::Kept(mac, until) => Claim::Kept(mac, until),
        })
    }

    fn moved(&self) -> Vec<Ipv4Addr> {
        self.0.moved().into_iter().filter_map(v4).collect()
    }

    fn held_by(&self, mac: Mac) -> Option<Ipv4Addr> {
        self.0.held_by(mac).and_then(v4)
    }

    fn replaced(&self, old: Mac, new: Mac) -> bool {
        self.0.replaced(&self.1, old, new)
    }
}
