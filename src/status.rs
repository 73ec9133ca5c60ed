//! What `oneroot status` shows, as one document: of the machines, of this server, and of what it hears around it.

use oneroot_machines::{Copy, DecideStatus, MachineStatus, Machines, OtherServer};
use oneroot_state::{Backend as _, Health};
use serde::{Deserialize, Serialize};

use crate::net::interfaces::{InterfaceStatus, Interfaces};
use crate::tls::{Https, HttpsStatus};
use crate::{clock, confine};

/// The whole answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Seconds since 1970 at the server, by its wall clock.
    pub now: u64,
    /// Seconds since 1970 at which it was started, by the same clock.
    #[serde(default)]
    pub began: u64,
    /// Seconds by which that clock is ahead of the time that has really passed; negative when it is behind. Leases and
    /// boots go by the latter.
    #[serde(default)]
    pub clock_ahead: i64,
    /// Version of the server's binary.
    pub version: String,
    /// What the server has taken from itself; none from a server that knows nothing of that.
    #[serde(default)]
    pub confinement: Option<confine::Report>,
    /// Whether the state can be written; a server that says nothing of that is taken to be well.
    #[serde(default)]
    pub state: Health,
    /// How the site's program has done; none where the site has none.
    #[serde(default)]
    pub decide: Option<DecideStatus>,
    /// Every machine that the site names or that was seen.
    pub machines: Vec<MachineStatus>,
    /// The site's interfaces, in its order.
    #[serde(default)]
    pub interfaces: Vec<InterfaceStatus>,
    /// Addresses that machines are told and that this host does not have: nothing can be reached there.
    #[serde(default)]
    pub missing_addresses: Vec<String>,
    /// Other DHCP servers that machines took offers of, where this one gives the addresses.
    #[serde(default)]
    pub other_servers: Vec<OtherServer>,
    /// Copies of trees that were heard of since the start.
    #[serde(default)]
    pub copies: Vec<Copy>,
    /// What clients can check the server by; none where the site has no HTTPS.
    #[serde(default)]
    pub https: Option<HttpsStatus>,
}

impl Status {
    /// Right now. Blocks on the disk.
    pub fn of(machines: &Machines, interfaces: &Interfaces, https: &Https) -> Self {
        let site = machines.site();
        Self {
            now: clock::shown(clock::now()),
            began: machines.began(),
            clock_ahead: clock::ahead(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            confinement: confine::report(),
            state: machines.state.health(),
            decide: machines.decided(),
            machines: machines.status(),
            interfaces: interfaces.status(&site),
            missing_addresses: interfaces.missing(&site).iter().map(ToString::to_string).collect(),
            other_servers: machines.other_servers(),
            copies: machines.copies(),
            https: https.status(),
        }
    }
}

/// What people are told of a program that does not answer.
pub fn silence(decide: &DecideStatus, now: u64) -> Option<String> {
    let (cause, at) = (decide.last_error.as_ref()?, decide.last_failed_at?);
    Some(format!(
        "the decide program gave no answer in {} of {} runs since the start, the last time {} s ago: it {cause}",
        decide.failed,
        decide.asked,
        now.saturating_sub(at)
    ))
}

/// What people are told of a state that is not well.
pub fn trouble(state: &Health) -> Option<String> {
    match state {
        Health::Durable => None,
        Health::Degraded { cause, refused } => Some(format!(
            "the state cannot be written ({cause}; {refused} changes refused): no new lease and no new boot is given until it can; \
             free space or mend the disk"
        )),
        Health::Unreachable { cause } => Some(format!(
            "the shared state cannot be reached ({cause}): machines that run are served on, and no new lease and no new boot is \
             given until it can"
        )),
    }
}
