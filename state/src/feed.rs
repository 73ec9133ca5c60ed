//! A watch of a mirror: what its writer publishes, for as long as whoever watches keeps up.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::broadcast;

use crate::error::Error;
use crate::kv::Change;
use crate::mirror::Mirror;
use crate::watch::{Event, Events};

/// First what is there, then every change.
pub(crate) struct Feed {
    mirror: Arc<Mirror>,
    prefix: String,
    pending: VecDeque<Change>,
    changes: broadcast::Receiver<Change>,
}

impl Feed {
    pub(crate) fn new(mirror: Arc<Mirror>, prefix: &str) -> Result<Self, Error> {
        let (pending, changes) = mirror.subscribe(prefix)?;
        Ok(Self { mirror, prefix: prefix.to_owned(), pending, changes })
    }

    async fn take(&mut self) -> Result<Event, Error> {
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

impl Events for Feed {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Event, Error>> + Send + '_>> {
        Box::pin(self.take())
    }
}
