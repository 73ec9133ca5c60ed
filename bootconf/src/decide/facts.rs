//! What templates may say of a machine: frozen in its boot plan, so that what was rendered can be rendered again.
//!
//! No clock, no random source and nothing of the environment is among them: the same facts give the same files.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::decide::asked::{Asked, Catalogue, Who};
use crate::decide::decision::Decision;
use crate::hardware::{Examined, Hardware, Location};
use crate::site::Vars;
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
    /// The groups that it is in, in the order of the site.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Variables: the site's, its profiles', its workloads', its own; the later word counts.
    pub vars: Vars,
    /// What is the same for all machines of its network.
    pub site: SiteFacts,
    /// What it tells of itself: nobody vouches for it.
    #[serde(default)]
    pub hardware: Hardware,
    /// From where it asks.
    #[serde(default)]
    pub location: Location,
    /// What it has found out about itself when it came up last.
    #[serde(default)]
    pub examined: Examined,
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

/// What stands for the MAC of a machine that there is not yet: text that no NIC can have, for it is a group's address.
const NO_MAC: &str = "01:00:00:00:00:00";

impl Facts {
    /// The facts of who asks. One that has not asked yet has the address that is kept for it, else one that it could get.
    #[must_use]
    pub fn of(catalogue: &Catalogue<'_>, decision: &Decision, asked: &Asked) -> Self {
        let (site, machine) = (catalogue.site(), catalogue.machine(asked.who).map(|(_, machine)| machine));
        let address = catalogue.address_of(asked);
        let network = if let IpAddr::V4(address) = address { site.network(address) } else { None };
        let (mac, dashed) = match asked.who {
            Who::Nic(mac) => (mac.to_string(), mac.dashed()),
            Who::Unknown => (NO_MAC.to_owned(), NO_MAC.replace(':', "-")),
        };
        Self {
            name: decision.name.clone().unwrap_or(dashed),
            macs: machine
                .map_or(vec![mac.clone()], |machine| machine.macs.iter().map(Mac::to_string).collect()),
            mac,
            address: Some(address).filter(|_| !network.is_some_and(|network| network.proxy)),
            profile: decision.profile.clone(),
            workloads: decision.workloads.clone(),
            groups: decision.groups.clone(),
            vars: decision.vars.clone(),
            site: SiteFacts {
                server: site.server_for(address),
                domain: network.and_then(|network| network.domain.clone()),
                dns: network.map_or(Vec::new(), |network| network.dns.clone()),
                ntp: network.map_or(Vec::new(), |network| network.ntp.clone()),
            },
            hardware: asked.claims.hardware.clone(),
            location: site.located(asked.claims.location.clone(), address),
            examined: asked.claims.examined.clone(),
        }
    }
}
