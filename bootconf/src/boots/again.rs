//! When a request for a boot script makes a boot, and when it is answered with the one that there is.
//!
//! Anybody may ask for a machine's script as often as it likes: its firmware after an error, a user who is logged in on it.
//! Each plan is a durable write, and pushes an older one out; so a request makes one only where it changes something.
//!
//! | asked for | the NIC's newest boot of which nothing was mounted | the answer | written |
//! |---|---|---|---|
//! | the whole script | says the same, and is younger than [`YOUNG`] | that boot | nothing |
//! | the whole script | anything else, or there is none | a new boot | its plan and pin |
//! | a part of it | says the same, however old | that boot | nothing |
//! | a part of it | anything else, or there is none | a new boot | its plan and pin |
//! | its length | whatever | as long as the script would be | nothing, ever |
//!
//! Behind another server's router nothing but its own word says who asks. So it does not make a plan for a NIC that has a young
//! one at another address: whoever says to be a machine of the site makes one in [`YOUNG`] seconds, and that one pushes out
//! none that the machine itself is loading ([`Request::waits_for`]).
//!
//! *Says the same*: if the boot were planned now, with its own id, each field of its [`BootPlan`] would be what it is, and it
//! went to the address that asks now. The boot's id, and what is made of it (the words of the kernel's arguments that
//! carry it, a pass), so are compared with themselves. A boot does not count when its machine has mounted the root of a later
//! one, by whichever NIC: the later boot would be the older one's to end.

use std::net::IpAddr;

use crate::boots::pins::{Phase, Pin};
use crate::plan::BootPlan;
use oneroot_ids::{BootId, Mac};

/// Seconds for which a boot answers every request for its script. Firmware that fails asks again within a minute; a boot that
/// was given up is not kept for long.
pub const YOUNG: u64 = 600;

/// How much of a script is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// All of it: HTTP's GET, a file by TFTP.
    Whole,
    /// Some bytes of it: a GET with a Range.
    Part,
    /// How long it is: HEAD.
    Length,
}

/// A request for a boot script.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// The NIC whose script it is.
    pub mac: Mac,
    /// Where it goes.
    pub address: IpAddr,
    /// How much of it.
    pub ask: Ask,
    /// Seconds since 1970.
    pub now: u64,
    /// Whether a lease or a link says that it is that NIC; else it is its own word alone.
    pub is_vouched_for: bool,
}

impl Request {
    /// Where the NIC boots already, as far as anybody can tell: one who is not vouched for has to wait for that.
    pub fn waits_for(&self, pins: &[Pin]) -> Option<IpAddr> {
        // By when it began: `made` may be ahead of the clock, for it only says which of two plans is the later.
        let young = |pin: &&Pin| self.now.saturating_sub(pin.since) < YOUNG;
        let newest = self.newest(pins).filter(young).filter(|_| !self.is_vouched_for)?;
        (newest.address != self.address).then_some(newest.address)
    }

    /// The NIC's newest boot of which nothing was mounted.
    fn newest<'p>(&self, pins: &'p [Pin]) -> Option<&'p Pin> {
        let booting = pins.iter().filter(|pin| pin.phase == Phase::Booting && pin.mac == self.mac);
        booting.max_by_key(|pin| order(pin))
    }

    /// The boot that answers it. `pins` are the machine's, in any order; `told` is what a boot was told, `wanted` what it would
    /// be told now.
    pub fn answered_by(
        &self,
        pins: &[Pin],
        told: &dyn Fn(BootId) -> Option<BootPlan>,
        wanted: &dyn Fn(BootId) -> BootPlan,
    ) -> Option<BootPlan> {
        let newest = self.newest(pins)?;
        let superseded = |pin: &Pin| pin.phase != Phase::Booting && order(pin) > order(newest);
        // A clock that was set back makes no boot old.
        let old = self.ask != Ask::Part && self.now.saturating_sub(newest.since) >= YOUNG;
        if old || newest.address != self.address || pins.iter().any(superseded) {
            return None;
        }
        told(newest.boot).filter(|told| *told == wanted(newest.boot))
    }
}

fn order(pin: &Pin) -> (u64, BootId) {
    (pin.made, pin.boot)
}
