//! What the links around the server say of an address. The domain asks through a trait: it opens no socket, and a test
//! says itself who is where.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;

use oneroot_bootconf::admission::Seen;
use oneroot_ids::Mac;

/// What a probe has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeResult {
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
pub type Probing<'a> = Pin<Box<dyn Future<Output = ProbeResult> + Send + 'a>>;

/// The links around the server.
pub trait Around: Send + Sync {
    /// Who is at an address, as far as is known without asking.
    fn seen(&self, address: Ipv4Addr) -> Seen;

    /// Asks whether anybody is there, and who. Takes about a second where nobody is.
    fn probe(&self, address: Ipv4Addr) -> Probing<'_>;
}

/// Links of a test's own.
#[cfg(test)]
pub(crate) mod made_up {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    /// Who is at every address, what a probe finds there, and where it has asked.
    pub struct Links {
        pub seen: Seen,
        pub found: Mutex<ProbeResult>,
        pub asked: Mutex<Vec<Ipv4Addr>>,
    }

    impl Links {
        pub fn of(seen: Seen, found: ProbeResult) -> Arc<Self> {
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
