//! How long is waited for something that will come. A limit is there so that what hangs ends with its name; on a host that
//! others keep busy it may be longer, and no promise is any weaker for it.

use std::time::Duration;

/// A limit, as often as `ONEROOT_PATIENCE` says.
#[must_use]
pub fn patient(limit: Duration) -> Duration {
    let times = std::env::var("ONEROOT_PATIENCE").ok().and_then(|times| times.parse().ok());
    limit.saturating_mul(times.unwrap_or(1))
}
