//! What to do when receiving fails: wait, and longer each time, so that a socket that is dead for good is no busy loop.

use std::io;
use std::time::Duration;

/// The first pause. Most errors are of one moment: an interface that went down, an earlier reply that was refused.
const FIRST: Duration = Duration::from_millis(10);
/// The longest. Whoever waits meanwhile asks again after about as long.
const LONGEST: Duration = Duration::from_secs(1);

/// Errors in a row.
#[derive(Debug, Default)]
pub struct Backoff(u32);

impl Backoff {
    /// It went well again.
    pub fn reset(&mut self) {
        self.0 = 0;
    }

    /// Waits after an error of what is named.
    pub async fn after(&mut self, cause: &io::Error, what: &str) {
        tracing::debug!(%cause, "cannot receive {what}");
        tokio::time::sleep(self.next()).await;
    }

    /// The pause after one more error.
    pub fn next(&mut self) -> Duration {
        self.0 = self.0.saturating_add(1);
        // Beyond seven doublings it is the longest in any case.
        (FIRST * (1 << (self.0 - 1).min(7))).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_to_its_longest_and_begins_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..9).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        backoff.reset();
        assert_eq!(backoff.next(), FIRST);
        backoff.0 = u32::MAX;
        assert_eq!(backoff.next(), LONGEST);
    }
}
