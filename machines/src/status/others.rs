//! What is said of other DHCP servers, in the log and in the status.

use std::net::Ipv4Addr;

use crate::index::others::{OtherServer, Sign};
use crate::machines::Machines;

impl Machines {
    /// Another server shows where we give the addresses. It is not one of this host's other addresses, which a relay or a
    /// client may name.
    pub fn other_server(&self, sign: Sign) {
        let site = self.site();
        // Ours, that another host has now.
        if site.server_addresses().contains(&sign.server.into()) {
            return;
        }
        let (mac, now) = (sign.mac, self.host.now());
        let is_named = site.machine(mac).is_some();
        if self.others().note(sign, is_named, now) {
            let other = self.described(sign, now);
            tracing::warn!(
                machine = other.machine,
                %mac,
                "{}; switch that one off, or say `proxy = true` in the [[network]]",
                other.in_words()
            );
        }
    }

    /// All that were seen since the server started.
    pub fn other_servers(&self) -> Vec<OtherServer> {
        let seen: Vec<(Sign, u64)> = self.others().seen.values().copied().collect();
        seen.into_iter().map(|(sign, at)| self.described(sign, at)).collect()
    }

    fn described(&self, sign: Sign, at: u64) -> OtherServer {
        OtherServer {
            server: sign.server.to_string(),
            what: sign.what,
            machine: self.name_of(sign.mac),
            mac: sign.mac.to_string(),
            address: sign.address.map(|address| address.to_string()),
            at: self.host.shown(at),
        }
    }

    /// The other server that was seen last, where one was.
    pub(crate) fn latest_other_server(&self) -> Option<Ipv4Addr> {
        self.others().latest()
    }
}
