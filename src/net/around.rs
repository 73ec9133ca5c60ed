//! The links around this host, as the domain asks about them.

use std::net::Ipv4Addr;

use oneroot_bootconf::admission::Seen;
use oneroot_machines::{Around, Probing};

use super::neighbours;
use super::probe::Prober;
use super::routing::Way;

impl Around for Prober {
    fn seen(&self, address: Ipv4Addr) -> Seen {
        match self.way(address) {
            // The table may have an address of behind a router too, for whoever asks for ours says what is his.
            Ok(Way::Routed) => Seen::Remote,
            // A link without hardware addresses, such as a tunnel, is as good as a router.
            Ok(Way::OnLink(link, _)) if !link.asks => Seen::Remote,
            Ok(Way::OnLink(..)) => neighbours::mac_of(address.into()).map_or(Seen::Unheard, Seen::Neighbour),
            // Whoever is behind a router is believed more, so who is not is whoever may not be.
            Ok(Way::Ours | Way::Nowhere) | Err(_) => Seen::Unheard,
        }
    }

    fn probe(&self, address: Ipv4Addr) -> Probing<'_> {
        Box::pin(Prober::probe(self, address))
    }
}
