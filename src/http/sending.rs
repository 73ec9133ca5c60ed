//! The way of an answer to a peer: small ones in one write, files as the connection can ([`super::plain`], [`super::secured`]).

use std::fs;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use oneroot_machines::Resource;

use super::plain::Plain;
use super::reads::Reads;
use super::secured::Secured;
use super::wire::Wire;
use crate::net::accept::Slot;

/// Bytes of an answer, its head included, up to which it is put together in memory: a copy costs less than a call of its own.
pub const SMALL: u64 = 16 * 1024;
/// Bytes of a file that are sent before others have their turn, to a peer that takes them as fast as they come.
pub const TURN: u64 = 4 * 1024 * 1024;

/// A peer, and its place in the accept loop.
pub struct Sending<'a> {
    /// Its connection.
    pub to: &'a mut Wire,
    /// Its place.
    pub slot: &'a Arc<Slot>,
    /// Where a disk is waited for.
    pub reads: &'a Reads,
}

impl Sending<'_> {
    /// Sends a head, and the words that may be behind it.
    pub async fn head(&mut self, head: Vec<u8>) -> io::Result<()> {
        self.bytes(&head, false).await
    }

    /// Sends a head and a part of what there is behind it.
    ///
    /// # Errors
    /// When the peer takes no more, and when the part cannot be read: the client sees a short file, never a wrong one.
    pub async fn answer(
        &mut self,
        mut head: Vec<u8>,
        resource: Resource,
        part: Range<u64>,
    ) -> io::Result<()> {
        let most = part.end - part.start;
        if most == 0 {
            return self.head(head).await;
        }
        if head.len() as u64 + most <= SMALL {
            append(self.reads, &mut head, resource, part).await.inspect_err(complain)?;
            return self.head(head).await;
        }
        // The head leaves in one segment with what comes behind it.
        self.bytes(&head, true).await?;
        drop(head);
        let pieces = resource.pieces(part);
        let last = pieces.len().saturating_sub(1);
        for (number, (piece, part)) in pieces.into_iter().enumerate() {
            self.piece(piece, part, number < last).await?;
        }
        Ok(())
    }

    /// Sends a part of what is not joined; `more` says whether anything comes behind it.
    async fn piece(&mut self, piece: &Resource, part: Range<u64>, more: bool) -> io::Result<()> {
        match piece {
            Resource::Bytes(bytes) => {
                let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
                let part = bytes.get(place(part.start)..place(part.end));
                self.bytes(part.ok_or(io::ErrorKind::UnexpectedEof)?, more).await
            }
            Resource::File { file, size, padding: _ } => {
                self.file(file, part.start, part.end.min(*size)).await?;
                let zeros = length(part.start.max(*size), part.end);
                self.bytes(&vec![0; zeros], more).await
            }
            // No piece is.
            Resource::Joined(_) => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Sends these; `more` says whether anything comes behind them.
    pub async fn bytes(&mut self, bytes: &[u8], more: bool) -> io::Result<()> {
        match self.to {
            Wire::Plain(to) => Plain { to, slot: self.slot, reads: self.reads }.bytes(bytes, more).await,
            Wire::Tls(to) => Secured::new(to, self.slot, self.reads).bytes(bytes, more).await,
        }
    }

    /// Sends a file from `at` to before `end`.
    pub async fn file(&mut self, file: &Arc<fs::File>, at: u64, end: u64) -> io::Result<()> {
        match self.to {
            Wire::Plain(to) => Plain { to, slot: self.slot, reads: self.reads }.file(file, at, end).await,
            Wire::Tls(to) => Secured::new(to, self.slot, self.reads).file(file, at, end).await,
        }
    }
}

/// Bytes from here to there.
pub fn length(from: u64, to: u64) -> usize {
    usize::try_from(to.saturating_sub(from)).unwrap_or(0)
}

/// Says that the store does not have what it should.
pub fn complain(cause: &io::Error) {
    tracing::warn!(%cause, "cannot read a boot file");
}

/// Appends a part of what there is.
async fn append(reads: &Reads, to: &mut Vec<u8>, resource: Resource, part: Range<u64>) -> io::Result<()> {
    let (start, length) = (to.len(), length(part.start, part.end));
    to.resize(start + length, 0);
    if resource.fill_now(part.start, to.get_mut(start..).unwrap_or_default())? {
        return Ok(());
    }
    to.truncate(start);
    let read = reads.wait(move || {
        let mut bytes = Vec::with_capacity(length);
        resource.read_at(part.start, length, &mut bytes).map(|()| bytes)
    });
    to.extend(read.await?);
    Ok(())
}
