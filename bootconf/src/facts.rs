//! What templates may say of a machine: frozen in its boot plan, so that what was rendered can be rendered again.
//!
//! No clock, no random source and nothing of the environment is among them: the same facts give the same files.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::decision::Decision;
use crate::site::{Site, Vars};
use oneroot_ids::Mac;

/// A machine's facts, by the names that templates use.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Facts {
    /// Its name; its MAC with dashes, where the site has no name for it.
    pub name: String,
    /// The MAC of the NIC that boots, `52:54:00:00:00:0a`.
    pub mac: String,
    /// All its MACs.
    pub macs: Vec<String>,
    /// The address of the NIC that boots; not there where another DHCP server gives it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<IpAddr>,
    /// Its profile.
    pub profile: String,
    /// Its workloads, bottom first.
    pub workloads: Vec<String>,
    /// Variables: the site's, its profiles', its workloads', its own; the later word counts.
    pub vars: Vars,
    /// What is the same for all machines of its network.
    pub site: SiteFacts,
}

/// A network's facts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SiteFacts {
    /// The server's address, as the machine is told it.
    pub server: IpAddr,
    /// Domain name, where the network has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub domain: Option<String>,
    /// Name servers.
    #[serde(default)]
    pub dns: Vec<Ipv4Addr>,
    /// Time servers.
    #[serde(default)]
    pub ntp: Vec<Ipv4Addr>,
}

impl Facts {
    /// The facts of the machine that boots from `mac` at `address`.
    #[must_use]
    pub fn of(site: &Site, decision: &Decision, mac: Mac, address: IpAddr) -> Self {
        let machine = site.machine(mac).map(|(_, machine)| machine);
        let network = if let IpAddr::V4(address) = address { site.network(address) } else { None };
        Self {
            name: decision.name.clone().unwrap_or_else(|| mac.dashed()),
            mac: mac.to_string(),
            macs: machine
                .map_or(vec![mac.to_string()], |machine| machine.macs.iter().map(Mac::to_string).collect()),
            address: Some(address).filter(|_| !network.is_some_and(|network| network.proxy)),
            profile: decision.profile.clone(),
            workloads: decision.workloads.clone(),
            vars: decision.vars.clone(),
            site: SiteFacts {
                server: site.server_for(address),
                domain: network.and_then(|network| network.domain.clone()),
                dns: network.map_or(Vec::new(), |network| network.dns.clone()),
                ntp: network.map_or(Vec::new(), |network| network.ntp.clone()),
            },
        }
    }

    /// The facts of a machine before it boots, for `check`: the address kept for it, else one that it could get.
    #[must_use]
    pub fn expected(site: &Site, decision: &Decision, mac: Mac) -> Self {
        let kept = site.machine(mac).and_then(|(_, machine)| machine.address_of(mac));
        let first = || {
            site.networks.first().map(|network| network.pool.map_or(network.subnet.ip(), |(first, _)| first))
        };
        let address = kept.or_else(first).map_or(site.server.address, IpAddr::V4);
        Self::of(site, decision, mac, address)
    }
}
