//! What the links around the server say of an address. The domain asks through a trait: it opens no socket, and a test
//! says itself who is where.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;

use oneroot_bootconf::admission::Seen;
use oneroot_ids::{Mac, MachineId};

use crate::Machines;
use crate::access::mounts::macs_of;

/// What a probe has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A host on a link of ours, with this hardware address: the first that answered.
    Mac(Mac),
    /// A host, and no way to tell which: it is behind a router, or is this one.
    Answered,
    /// Nobody, within about a second.
    Silent,
    /// Nobody was asked, so nothing is known.
    Unable(Reason),
}

/// Why nobody was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Too many others are being asked for.
    Busy,
    /// This host has no way to it, or it is no host's address.
    NoRoute,
    /// No question could be sent: an interface is down or gone, or the kernel has no memory.
    NotSent(io::ErrorKind),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => write!(f, "too many other addresses are being asked for"),
            Self::NoRoute => write!(f, "there is no route to it"),
            Self::NotSent(cause) => write!(f, "nothing could be sent to it: {cause}"),
        }
    }
}

/// A probe under way.
pub type Probing<'a> = Pin<Box<dyn Future<Output = Found> + Send + 'a>>;

/// The links around the server.
pub trait Around: Send + Sync {
    /// Who is at an address, as far as is known without asking.
    fn seen(&self, address: Ipv4Addr) -> Seen;

    /// Asks whether anybody is there, and who. Takes about a second where nobody is.
    fn probe(&self, address: Ipv4Addr) -> Probing<'_>;
}

impl Machines {
    /// Takes what the links are asked by, once.
    pub fn ask_by(&self, around: Arc<dyn Around>) {
        // A second one would know no more.
        let _ = self.around.set(around);
    }

    /// Whether a host is at an address, and which; known after about a second. A hint, for anybody on the segment can answer.
    pub async fn probe(&self, address: Ipv4Addr) -> Found {
        match self.around.get() {
            Some(around) => around.probe(address).await,
            None => Found::Unable(Reason::NotSent(io::ErrorKind::NotConnected)),
        }
    }

    /// Who is at an address, without asking. Nobody of another family is a machine.
    pub(crate) fn seen(&self, address: IpAddr) -> Seen {
        match (self.around.get(), address) {
            (Some(around), IpAddr::V4(address)) => around.seen(address),
            _ => Seen::Unheard,
        }
    }

    /// Whether a machine may still be at an address from which it has mounted a root. Whoever can't be asked is there: it is
    /// silent for hours, for it believes what it has read for a day.
    pub(crate) async fn is_there(&self, machine: MachineId, address: IpAddr) -> bool {
        let IpAddr::V4(address) = address else { return true };
        match self.probe(address).await {
            Found::Mac(seen) => macs_of(&self.known(), machine).contains(&seen),
            Found::Answered | Found::Unable(_) => true,
            Found::Silent => false,
        }
    }
}

/// Links of a test's own.
#[cfg(test)]
pub(crate) mod made_up {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// Who is at every address, what a probe finds there, and where it has asked.
    pub struct Links {
        pub seen: Seen,
        pub found: Mutex<Found>,
        pub asked: Mutex<Vec<Ipv4Addr>>,
    }

    impl Links {
        pub fn of(seen: Seen, found: Found) -> Arc<Self> {
            Arc::new(Self { seen, found: Mutex::new(found), asked: Mutex::default() })
        }
    }

    impl Around for Links {
        fn seen(&self, _: Ipv4Addr) -> Seen {
            self.seen
        }

        fn probe(&self, address: Ipv4Addr) -> Probing<'_> {
            self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(address);
            let found = *self.found.lock().unwrap_or_else(PoisonError::into_inner);
            Box::pin(async move { found })
        }
    }
}
