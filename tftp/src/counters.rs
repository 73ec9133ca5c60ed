//! What happened, by reason, since the engine was made. Hostile traffic is counted, never logged line by line.

use crate::Outcome;

/// Counts; they only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Read requests that were understood.
    pub requests: u64,
    /// Requests answered with an ERROR from port 69: malformed, a bad name or mode, a write.
    pub bad_requests: u64,
    /// Datagrams to port 69 that are no request, and got silence.
    pub not_requests: u64,
    /// Requests that repeated one in progress.
    pub repeated: u64,
    /// Requests dropped because of a cap, with nobody to evict.
    pub busy: u64,
    /// Packets for a transfer that came from somewhere else.
    pub strangers: u64,
    /// Packets of the right peer that changed nothing: old, repeated or future ACKs, and garbage.
    pub ignored: u64,
    /// Times that a packet or window was sent again.
    pub resends: u64,
    /// Bytes of completed files.
    pub bytes: u64,
    /// [`Outcome::Completed`].
    pub completed: u64,
    /// [`Outcome::Probed`].
    pub probed: u64,
    /// [`Outcome::ClientError`].
    pub client_errors: u64,
    /// [`Outcome::Refused`].
    pub refused: u64,
    /// [`Outcome::TimedOut`].
    pub timed_out: u64,
    /// [`Outcome::ReadFailed`].
    pub read_failed: u64,
    /// [`Outcome::Evicted`].
    pub evicted: u64,
    /// [`Outcome::Replaced`].
    pub replaced: u64,
    /// [`Outcome::NeverOpened`].
    pub never_opened: u64,
}

impl Counters {
    pub(crate) fn ended(&mut self, outcome: Outcome) {
        let count = match outcome {
            Outcome::Completed { bytes } => {
                self.bytes = self.bytes.saturating_add(bytes);
                &mut self.completed
            }
            Outcome::Probed => &mut self.probed,
            Outcome::ClientError { .. } => &mut self.client_errors,
            Outcome::Refused(_) => &mut self.refused,
            Outcome::TimedOut { .. } => &mut self.timed_out,
            Outcome::ReadFailed => &mut self.read_failed,
            Outcome::Evicted => &mut self.evicted,
            Outcome::Replaced => &mut self.replaced,
            Outcome::NeverOpened => &mut self.never_opened,
        };
        *count += 1;
    }
}
