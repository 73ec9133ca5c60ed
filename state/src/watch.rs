//! Watches: first what is there, then every change, each once and in order of revision.
//!
//! A watcher may be slow, and memory is bounded, so one that falls too far behind is told to start over and given
//! everything again. It is never left to believe that it has seen a change that it has not.

use std::pin::Pin;

use crate::error::Error;
use crate::kv::Change;

/// What a watch has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A key has this value now, or is gone.
    Changed(Change),
    /// Changes were missed. Forget what you have: what is there now follows, then what changes.
    StartOver,
}

/// Where a backend's events come from; a backend in another crate has one of its own.
pub trait Events: Send {
    /// Waits for the next event. Cancel-safe: a call that is dropped has taken nothing.
    ///
    /// # Errors
    /// [`Error::Closed`], after all that was durable has been told; [`Error::Unavailable`], after which it may be asked again.
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Event, Error>> + Send + '_>>;
}

/// First what is there, then every change.
pub struct Watch(Box<dyn Events>);

impl Watch {
    /// A watch that tells these.
    #[must_use]
    pub fn new(events: impl Events + 'static) -> Self {
        Self(Box::new(events))
    }

    /// Waits for the next event. Cancel-safe: a call that is dropped has taken nothing.
    ///
    /// # Errors
    /// As [`Events::next`].
    pub async fn next(&mut self) -> Result<Event, Error> {
        self.0.next().await
    }
}
