//! How many boots are planned at a time: a stack is looked for on the disk, in a thread of its own, and whoever asks again and
//! again must not take all of those.
//!
//! | who asks | how many of its requests are planned at a time |
//! |---|---|
//! | one address | one; the next waits, and its connections are bounded (`net/accept.rs`) |
//! | all machines that the site names | [`NAMED`] |
//! | all others | [`OTHERS`], which are none of those: strangers make no named machine wait |

use std::net::IpAddr;
use std::sync::Arc;

use crate::error::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::order::turns::{Turn, Turns};

/// Plans under way for machines that the site names. More gain nothing on one disk; a thread of each waits for it.
pub const NAMED: usize = 32;
/// Plans under way for all others.
pub const OTHERS: usize = 8;

/// Lets plans begin.
pub struct Gate {
    peers: Arc<Turns<IpAddr>>,
    named: Arc<Semaphore>,
    others: Arc<Semaphore>,
}

/// A plan that is under way. It goes with the thread that works on it: who asked may be gone long before that.
pub struct Slot {
    peer: Turn<IpAddr>,
    _place: OwnedSemaphorePermit,
}

impl Slot {
    /// Gives the place to the next, and keeps the peer's own turn.
    pub fn leave(self) -> Turn<IpAddr> {
        self.peer
    }
}

impl Gate {
    /// Nothing is under way.
    pub fn new() -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self { peers: Arc::default(), named: places(NAMED), others: places(OTHERS) }
    }

    /// Waits until a plan for a peer may begin.
    pub async fn enter(&self, peer: IpAddr, is_named: bool) -> Result<Slot> {
        // First the peer's own turn: of those that wait for a place, each is another's.
        let turn = self.peers.take([peer]).await;
        let places = if is_named { &self.named } else { &self.others };
        let place = places.clone().acquire_owned().await.map_err(|_| Error::Ending)?;
        Ok(Slot { peer: turn, _place: place })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future as _;
    use std::task::{Context as Asked, Poll, Waker};

    fn enter(gate: &Gate, peer: u8, is_named: bool) -> Option<Slot> {
        let mut entering = Box::pin(gate.enter(IpAddr::from([10, 0, 0, peer]), is_named));
        match entering.as_mut().poll(&mut Asked::from_waker(Waker::noop())) {
            Poll::Ready(slot) => slot.ok(),
            Poll::Pending => None,
        }
    }

    #[test]
    fn one_address_has_one_plan_under_way_and_strangers_take_no_named_machines_place() {
        let gate = Gate::new();
        let first = enter(&gate, 1, true).unwrap();
        assert!(enter(&gate, 1, true).is_none() && enter(&gate, 1, false).is_none());
        let strangers: Vec<Slot> = (100..200).filter_map(|peer| enter(&gate, peer, false)).collect();
        assert_eq!(strangers.len(), OTHERS);
        let named: Vec<Slot> = (2..100).filter_map(|peer| enter(&gate, peer, true)).collect();
        assert_eq!(named.len(), NAMED - 1, "the first is one of them");
        let turn = first.leave();
        assert!(enter(&gate, 1, true).is_none(), "its first request is not written yet");
        drop((turn, enter(&gate, 99, true).unwrap()));
        assert!(enter(&gate, 1, true).is_some());
        assert!(enter(&gate, 250, false).is_none());
        drop(strangers);
        assert!(enter(&gate, 250, false).is_some());
    }
}
