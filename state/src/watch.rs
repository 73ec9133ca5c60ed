//! Watches: first what is there, then every change, each once and in order of revision.
//!
//! A watcher may be slow, and memory is bounded, so one that falls too far behind is told to start over and given
//! everything again. It is never left to believe that it has seen a change that it has not.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::broadcast;

use crate::Error;
use crate::kv::Change;
use crate::mirror::Mirror;

/// What a watch has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A key has this value now, or is gone.
    Changed(Change),
    /// Changes were missed. Forget what you have: what is there now follows, then what changes.
    StartOver,
}

/// First what is there, then every change.
pub struct Watch {
    mirror: Arc<Mirror>,
    prefix: String,
    pending: VecDeque<Change>,
    changes: broadcast::Receiver<Change>,
}

impl Watch {
    pub(crate) fn new(mirror: Arc<Mirror>, prefix: &str) -> Result<Self, Error> {
        let (pending, changes) = mirror.subscribe(prefix)?;
        Ok(Self { mirror, prefix: prefix.to_owned(), pending, changes })
    }

    /// Waits for the next event. Cancel-safe: a call that is dropped has taken nothing.
    ///
    /// # Errors
    /// [`Error::Closed`], after all that was durable has been told.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(change) = self.pending.pop_front() {
                return Ok(Event::Changed(change));
            }
            match self.changes.recv().await {
                Ok(change) if change.key.starts_with(&self.prefix) => return Ok(Event::Changed(change)),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::debug!(prefix = self.prefix, missed, "a watch fell behind and starts over");
                    (self.pending, self.changes) = self.mirror.subscribe(&self.prefix)?;
                    return Ok(Event::StartOver);
                }
                Err(broadcast::error::RecvError::Closed) => return Err(Error::Closed),
            }
        }
    }
}
