//! The way of an answer to a peer: small ones in one write, files from the page cache to the socket by sendfile(2).
//!
//! What takes no disk is read here, and what does off the event loop: sendfile can't be told not to wait for one, so the page
//! cache is asked before each piece. A piece is small enough that nobody else waits long for the thread.

use std::fs;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use oneroot_machines::Resource;
use oneroot_machines::objects::{cache, is_cached};
use rustix::net::SendFlags;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::net::accept::Slot;
use crate::net::stalled::{STALLED, Stall, patiently, room};

/// Bytes of an answer, its head included, up to which it is put together in memory: a copy costs less than a call of its own.
pub const SMALL: u64 = 16 * 1024;
/// Bytes of a file that are sent before others have their turn.
const PIECE: u64 = 2 * 1024 * 1024;

/// A peer, and its place in the accept loop.
pub struct Sending<'a> {
    /// Its socket.
    pub to: &'a TcpStream,
    /// Its place.
    pub slot: &'a Arc<Slot>,
}

impl Sending<'_> {
    /// Sends a head, and the words that may be behind it.
    pub async fn head(&self, head: Vec<u8>) -> io::Result<()> {
        self.bytes(&head, SendFlags::empty()).await
    }

    /// Sends a head and a part of what there is behind it.
    ///
    /// # Errors
    /// When the peer takes no more, and when the part cannot be read: the client sees a short file, never a wrong one.
    pub async fn answer(&self, mut head: Vec<u8>, resource: Resource, part: Range<u64>) -> io::Result<()> {
        let most = part.end - part.start;
        if most == 0 {
            return self.head(head).await;
        }
        if head.len() as u64 + most <= SMALL {
            append(&mut head, resource, part).await.inspect_err(complain)?;
            return self.head(head).await;
        }
        // MSG_MORE: the head leaves in one segment with what comes behind it.
        self.bytes(&head, SendFlags::MORE).await?;
        drop(head);
        match resource {
            Resource::Bytes(bytes) => {
                let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
                let part = bytes.get(place(part.start)..place(part.end));
                self.bytes(part.ok_or(io::ErrorKind::UnexpectedEof)?, SendFlags::empty()).await
            }
            Resource::File { file, size, padding: _ } => {
                self.file(&file, part.start, part.end.min(size)).await?;
                let zeros = length(part.start.max(size), part.end);
                self.bytes(&vec![0; zeros], SendFlags::empty()).await
            }
        }
    }

    async fn bytes(&self, mut rest: &[u8], flags: SendFlags) -> io::Result<()> {
        let flags = flags | SendFlags::NOSIGNAL;
        while !rest.is_empty() {
            let send = || Ok(rustix::net::send(self.to, rest, flags)?);
            let count = match self.to.try_io(Interest::WRITABLE, send) {
                Err(cause) if is_full(&cause) => patiently(self.to, self.slot, send).await?,
                done => done?,
            };
            self.slot.touch();
            rest = rest.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Sends a file from `at` to before `end`.
    async fn file(&self, file: &Arc<fs::File>, mut at: u64, end: u64) -> io::Result<()> {
        // Up to where it was found in the page cache, what was sent since others had their turn, and the wait for the peer.
        let (mut found, mut sent, mut stall) = (at, 0, None::<Stall>);
        while at < end {
            if found <= at {
                found = end.min(at + PIECE);
                self.find(file, at, length(at, found)).await?;
            }
            // The kernel moves its own copy of the offset only as far as the socket takes it.
            let mut from = at;
            let send = || Ok(rustix::fs::sendfile(self.to, file, Some(&mut from), length(at, found))?);
            match self.to.try_io(Interest::WRITABLE, send) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    at += count as u64;
                    sent += count as u64;
                    stall.iter_mut().for_each(Stall::took);
                    // A long download is no idle connection.
                    self.slot.touch();
                }
                Err(cause) if is_full(&cause) => {
                    let stall = stall.get_or_insert_with(|| Stall::new(self.slot, STALLED));
                    room(self.to, stall).await?;
                    // Meanwhile it may have left the page cache; and others have had their turn.
                    (found, sent) = (at, 0);
                }
                Err(cause) => return Err(cause),
            }
            if sent >= PIECE && at < end {
                sent = 0;
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// Sees to it that a part of a file is in the page cache.
    async fn find(&self, file: &Arc<fs::File>, at: u64, length: usize) -> io::Result<()> {
        if is_cached(file, at, length).inspect_err(complain)? {
            return Ok(());
        }
        cache(file, at, length).await.inspect_err(complain)
    }
}

fn length(from: u64, to: u64) -> usize {
    usize::try_from(to.saturating_sub(from)).unwrap_or(0)
}

fn is_full(cause: &io::Error) -> bool {
    cause.kind() == io::ErrorKind::WouldBlock
}

fn complain(cause: &io::Error) {
    tracing::warn!(%cause, "cannot read a boot file");
}

/// Appends a part of what there is.
async fn append(to: &mut Vec<u8>, resource: Resource, part: Range<u64>) -> io::Result<()> {
    let (start, length) = (to.len(), length(part.start, part.end));
    to.resize(start + length, 0);
    if resource.fill_now(part.start, to.get_mut(start..).unwrap_or_default())? {
        return Ok(());
    }
    to.truncate(start);
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::with_capacity(length);
        resource.read_at(part.start, length, &mut bytes).map(|()| bytes)
    });
    to.extend(read.await.map_err(io::Error::other)??);
    Ok(())
}
