//! Who is at an address, by what the links around the server say.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use oneroot_bootconf::admission::Seen;
use oneroot_ids::MachineId;

use super::mounts::macs_of;
use crate::around::{Around, ProbeResult, Reason};
use crate::machines::Machines;

impl Machines {
    /// Takes what the links are asked by, once.
    pub fn ask_by(&self, around: Arc<dyn Around>) {
        // A second one would know no more.
        let _ = self.around.set(around);
    }

    /// Whether a host is at an address, and which; known after about a second. A hint, for anybody on the segment can answer.
    pub async fn probe(&self, address: Ipv4Addr) -> ProbeResult {
        match self.around.get() {
            Some(around) => around.probe(address).await,
            None => ProbeResult::Unable(Reason::NotSent(io::ErrorKind::NotConnected)),
        }
    }

    /// Who is at an address, without asking. Nobody of another family is a machine.
    pub(crate) fn seen(&self, address: IpAddr) -> Seen {
        match (self.around.get(), address) {
            (Some(around), IpAddr::V4(address)) => around.seen(address),
            _ => Seen::Unheard,
        }
    }

    /// Whether who is at an address is this machine by its NIC, where another server gives the addresses: a machine may be given
    /// another one by and by, and its root, of which a mount would say where it is, is not mounted yet.
    pub(crate) fn is_neighbour(&self, address: IpAddr, machine: MachineId) -> bool {
        let is_its = |seen: &[u8; 6]| macs_of(&self.index(), machine).iter().any(|mac| mac.bytes() == *seen);
        self.site().is_proxied(address)
            && matches!(self.seen(address), Seen::Neighbour(seen) if is_its(&seen))
    }

    /// Whether a machine may still be at an address from which it has mounted a root. Whoever can't be asked is there: it is
    /// silent for hours, for it believes what it has read for a day.
    pub(crate) async fn is_there(&self, machine: MachineId, address: IpAddr) -> bool {
        let IpAddr::V4(address) = address else { return true };
        match self.probe(address).await {
            ProbeResult::Mac(seen) => macs_of(&self.index(), machine).contains(&seen),
            ProbeResult::Answered | ProbeResult::Unable(_) => true,
            ProbeResult::Silent => false,
        }
    }
}
