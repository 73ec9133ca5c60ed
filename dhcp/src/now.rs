//! What time it is, as the engine is told with each message.

/// The time, twice: leases must make sense after a restart, offers must not depend on a clock that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Site time: seconds since 1970.
    pub wall: u64,
    /// The site time from which on every duration is sure. A lease that began before it may run on though it looks ended.
    pub sure_since: u64,
    /// Milliseconds since any fixed moment.
    pub mono: u64,
}
