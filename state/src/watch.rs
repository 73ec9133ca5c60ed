//! Watches: first all that is there, then every change, each once and in order of revision.
//!
//! A watcher may be slow, and memory is bounded, so one that falls too far behind is given all that is there again. It is
//! never left to believe that it has seen a change that it has not. What a backend tells of its own history (etcd compacts
//! it, and old versions lose events when they do) is never more than a reason to list again.

use std::pin::Pin;

use crate::error::Error;
use crate::kv::{Change, Listing};

/// What a watch has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// All that is there: told first, and again when changes were missed. What is not in it is gone.
    Snapshot(Listing),
    /// All that one transaction has changed under the prefix.
    Changed(Vec<Change>),
}

/// Where a backend's events come from; a backend in another crate has one of its own.
pub trait Events: Send {
    /// Waits for the next event. Cancel-safe: a call that is dropped has taken nothing.
    ///
    /// # Errors
    /// [`Error::Closed`], after all that was durable has been told; [`Error::Unavailable`], after which it may be asked again.
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Event, Error>> + Send + '_>>;
}

/// First all that is there, then every change.
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
