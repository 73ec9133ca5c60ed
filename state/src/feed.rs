//! A watch of a mirror: what its writer publishes, for as long as whoever watches keeps up.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::broadcast;

use crate::error::Error;
use crate::kv::{Change, Listing};
use crate::mirror::Mirror;
use crate::watch::{Event, Events};

/// First all that is there, then every change.
pub(crate) struct Feed {
    mirror: Arc<Mirror>,
    prefix: String,
    /// What is told before the changes.
    snapshot: Option<Listing>,
    changes: broadcast::Receiver<Arc<[Change]>>,
}

impl Feed {
    pub(crate) fn new(mirror: Arc<Mirror>, prefix: &str) -> Result<Self, Error> {
        let (snapshot, changes) = mirror.subscribe(prefix)?;
        Ok(Self { mirror, prefix: prefix.to_owned(), snapshot: Some(snapshot), changes })
    }

    async fn take(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(snapshot) = self.snapshot.take() {
                return Ok(Event::Snapshot(snapshot));
            }
            match self.changes.recv().await {
                Ok(changes) => {
                    let changes: Vec<Change> = changes
                        .iter()
                        .filter(|change| change.key.starts_with(&self.prefix))
                        .cloned()
                        .collect();
                    if !changes.is_empty() {
                        return Ok(Event::Changed(changes));
                    }
                }
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::debug!(prefix = self.prefix, missed, "a watch fell behind and starts over");
                    let (snapshot, changes) = self.mirror.subscribe(&self.prefix)?;
                    (self.snapshot, self.changes) = (Some(snapshot), changes);
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
