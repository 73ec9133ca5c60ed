//! What the engine asks, answered from the site and from the machines' pins.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use oneroot_bootconf::{Site, script};
use oneroot_dhcp::{BootFile, Claim, Client, Mac, Policy, Reservation, Subnet};

use crate::machines::{self, Machines};

/// Largest IP datagram that every Ethernet takes; replies are far smaller.
const ETHERNET_MTU: u16 = 1500;

/// The same address in policy's words; a MAC that the wire accepts is one that policy accepts.
pub fn policy_mac(mac: Mac) -> Option<oneroot_bootconf::Mac> {
    oneroot_bootconf::Mac::new(mac.bytes())
}

/// The other way round.
pub fn wire_mac(mac: oneroot_bootconf::Mac) -> Option<Mac> {
    Mac::new(mac.bytes()).ok()
}

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

/// The loader for a kind of firmware: of all that it names, the first for which there is one.
fn loader(client: &Client) -> Option<&'static str> {
    if client.is_bios() {
        return Some("undionly.kpxe");
    }
    let one = |architecture: &u16| match (client.http, architecture) {
        (true, 0x10) => Some("ipxe.efi"),
        // Some x64 firmware says EBC, 9 (RFC 4578, erratum).
        (false, 7 | 9) => Some("ipxe.efi"),
        _ => None,
    };
    client.architectures.iter().find_map(one)
}

/// What firmware says that it is, in words (IANA, "Processor Architecture Types").
fn firmware(client: &Client) -> String {
    let name = |architecture: &u16| match architecture {
        0 => "BIOS".to_owned(),
        6 => "32-bit x86 UEFI".to_owned(),
        7 | 9 => "x64 UEFI".to_owned(),
        10 => "32-bit ARM UEFI".to_owned(),
        11 => "arm64 UEFI".to_owned(),
        15 => "32-bit x86 UEFI HTTP".to_owned(),
        16 => "x64 UEFI HTTP".to_owned(),
        18 => "32-bit ARM UEFI HTTP".to_owned(),
        19 => "arm64 UEFI HTTP".to_owned(),
        25 => "riscv32 UEFI".to_owned(),
        27 => "riscv64 UEFI".to_owned(),
        28 => "riscv64 UEFI HTTP".to_owned(),
        39 => "loongarch64 UEFI".to_owned(),
        40 => "loongarch64 UEFI HTTP".to_owned(),
        other => format!("architecture {other}"),
    };
    let names: Vec<_> = client.architectures.iter().take(4).map(name).collect();
    if names.is_empty() { "unnamed".to_owned() } else { names.join(", ") }
}

/// The rules in force for one packet.
pub struct Rules<'a>(pub &'a Machines, pub Arc<Site>);

impl Policy for Rules<'_> {
    fn reservation(&self, mac: Mac) -> Option<Reservation> {
        let (name, machine) = self.1.machine(policy_mac(mac)?)?;
        Some(Reservation { address: machine.address_of(policy_mac(mac)?), hostname: Some(name.to_owned()) })
    }

    fn reserved(&self, address: Ipv4Addr) -> Option<Mac> {
        self.1.reserved(address).and_then(wire_mac)
    }

    fn serve_unknown(&self) -> bool {
        true
    }

    fn boot(&self, client: &Client, server: Ipv4Addr) -> Option<BootFile> {
        let base = script::http_base(IpAddr::V4(server), self.1.server.http_port);
        // iPXE never gets a loader: it would load itself for ever. But one that can't do HTTP gets ours, which
        // can, and asks again.
        if client.ipxe && !client.without_http {
            let file = format!("{base}/boot/{}.ipxe", policy_mac(client.mac)?.dashed());
            return Some(BootFile { server, file });
        }
        if !client.boots() {
            return None;
        }
        let file =
            loader(client).map(|name| if client.http { format!("{base}/{name}") } else { name.to_owned() });
        if file.is_none() {
            let (mac, firmware) = (client.mac, firmware(client));
            tracing::warn!(%mac, firmware, "{firmware} firmware asked for a loader, and there is none for it");
        }
        file.map(|file| BootFile { server, file })
    }

    fn claim(&self, address: Ipv4Addr) -> Option<Claim> {
        match self.0.claim(IpAddr::V4(address))? {
            machines::Claim::Runs(mac) => wire_mac(mac).map(Claim::Runs),
            machines::Claim::Kept(mac, until) => wire_mac(mac).map(|mac| Claim::Kept(mac, until)),
        }
    }

    fn moved(&self) -> Vec<Ipv4Addr> {
        self.0.moved().into_iter().filter_map(v4).collect()
    }

    fn held_by(&self, mac: Mac) -> Option<Ipv4Addr> {
        self.0.held_by(policy_mac(mac)?).and_then(v4)
    }

    fn replaced(&self, old: Mac, new: Mac) -> bool {
        policy_mac(old).zip(policy_mac(new)).is_some_and(|(old, new)| self.0.replaced(&self.1, old, new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(pxe: bool, http: bool, architectures: &[u16]) -> Client {
        let mac = Mac::new([2, 0, 0, 0, 0, 1]).unwrap();
        let (ipxe, without_http) = (false, false);
        Client { mac, pxe, http, ipxe, without_http, architectures: architectures.to_vec() }
    }

    #[test]
    fn firmware_gets_the_loader_of_the_first_that_it_names_and_uefi_never_a_bios_one() {
        let pxe = |list: &[u16]| loader(&client(true, false, list));
        assert_eq!((pxe(&[]), pxe(&[0])), (Some("undionly.kpxe"), Some("undionly.kpxe")));
        assert_eq!(
            (pxe(&[7]), pxe(&[9]), pxe(&[6, 7])),
            (Some("ipxe.efi"), Some("ipxe.efi"), Some("ipxe.efi"))
        );
        assert_eq!((pxe(&[0, 7]), pxe(&[0, 6]), pxe(&[27])), (Some("ipxe.efi"), None, None));
        let http = |list: &[u16]| loader(&client(false, true, list));
        assert_eq!(
            (http(&[15, 16]), http(&[7]), http(&[0]), http(&[])),
            (Some("ipxe.efi"), None, None, None)
        );
    }

    #[test]
    fn firmware_without_a_loader_is_named() {
        assert_eq!(firmware(&client(true, false, &[27])), "riscv64 UEFI");
        assert_eq!(firmware(&client(true, false, &[6, 99])), "32-bit x86 UEFI, architecture 99");
    }
}
