//! A watch of a mirror: what its writer publishes, for as long as whoever watches keeps up.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::broadcast;

use crate::error::Error;
use crate::kv::{Change, Listing};
use crate::mirror::{Mirror, Piece};
use crate::watch::{Event, Events};

/// First all that is there, then every change.
pub(crate) struct Feed {
    mirror: Arc<Mirror>,
    prefixes: Vec<String>,
    /// What is told before the changes.
    snapshot: Option<Listing>,
    changes: broadcast::Receiver<Piece>,
    /// What was published last, and how much of it has been told.
    piece: Option<(Piece, usize)>,
}

impl Feed {
    pub(crate) fn new(mirror: Arc<Mirror>, prefixes: &[String]) -> Result<Self, Error> {
        let (snapshot, changes) = mirror.subscribe(prefixes)?;
        Ok(Self { mirror, prefixes: prefixes.to_vec(), snapshot: Some(snapshot), changes, piece: None })
    }

    /// What the next transaction has changed, of those that were published last.
    fn next_of_piece(&mut self) -> Option<Vec<Change>> {
        let (piece, told) = self.piece.as_mut()?;
        let rest = piece.get(*told..).unwrap_or_default();
        let transaction = rest.chunk_by(|one, next| one.revision == next.revision).next();
        let changes = transaction.map(<[Change]>::to_vec);
        match &changes {
            Some(changes) => *told += changes.len(),
            None => self.piece = None,
        }
        changes
    }

    async fn take(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(snapshot) = self.snapshot.take() {
                return Ok(Event::Snapshot(snapshot));
            }
            if let Some(changes) = self.next_of_piece() {
                return Ok(Event::Changed(changes));
            }
            match self.changes.recv().await {
                Ok(piece) => self.piece = Some((piece, 0)),
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::debug!(
                        prefixes = self.prefixes.join(","),
                        missed,
                        "a watch fell behind and starts over"
                    );
                    let (snapshot, changes) = self.mirror.subscribe(&self.prefixes)?;
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
