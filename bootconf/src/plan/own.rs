//! The settings of a boot by an initrd of oneroot's own: what `oneroot-init` is told, made of what the site says and of the
//! boot's frozen facts. They are frozen with the plan as text, so what reads them is of the same build as what wrote them.

use std::net::{IpAddr, Ipv4Addr};

use oneroot_initrd::settings::{Address, MOST_SERVERS, Overlay, Server, Settings, Size};

use crate::plan::Terms;
use crate::plan::export::Export;

/// Seconds that a machine waits for its NIC and for the NIC's carrier: a switch that looks for loops (802.1D) keeps a port
/// closed for 30 s.
const PATIENCE: u32 = 45;
/// What takes what a machine writes, where the site says nothing: as large as tmpfs makes itself.
const OVERLAY: Overlay = Overlay::Tmpfs(Size::Percent(50));
/// What a kernel starts first of all; a site can't name another (`init=` is none of its words).
const INIT: &str = "/sbin/init";

/// What a machine's init is told on these terms.
pub(super) fn settings(terms: &Terms<'_>) -> Settings {
    let Terms { site, decision, facts, .. } = *terms;
    let all = servers(facts.site.server, &site.server.more_addresses);
    let at = |address| Server { address, nfs: site.server.nfs_port, http: site.server.http_port };
    Settings {
        boot: terms.boot,
        machine: terms.machine,
        name: facts.name.clone(),
        mac: terms.mac,
        servers: all.map(at).collect(),
        export: Export::of(terms.view, terms.boot, terms.seal).to_string(),
        address: leased(terms),
        mtu: decision.own.mtu,
        vlan: decision.own.vlan,
        patience: PATIENCE,
        overlay: decision.own.overlay.unwrap_or(OVERLAY),
        init: INIT.to_owned(),
        restart: decision.own.restart,
    }
}

/// Where a machine finds servers: the one that it is told of first, and the site's others.
pub(super) fn servers(first: IpAddr, more: &[Ipv4Addr]) -> impl Iterator<Item = IpAddr> {
    let more = more.iter().map(|address| IpAddr::V4(*address));
    [first].into_iter().chain(more.filter(move |address| *address != first)).take(MOST_SERVERS)
}

/// The address, where it is ours to give.
fn leased(terms: &Terms<'_>) -> Option<Address> {
    let Some(IpAddr::V4(address)) = terms.facts.address else { return None };
    let network = terms.site.network(address)?;
    Some(Address {
        address,
        prefix: network.subnet.prefix(),
        router: network.router,
        mtu: None,
        lease: network.lease,
    })
}
