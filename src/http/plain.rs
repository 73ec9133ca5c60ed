//! Bytes and files to a peer over TCP alone: files go from the page cache to the socket by sendfile(2).
//!
//! sendfile can't be told not to wait for a disk, so the page cache is asked before each piece, and what takes a disk is read off
//! the event loop. A piece is small enough that nobody else waits long for the thread.

use std::fs;
use std::io;
use std::sync::Arc;

use oneroot_machines::objects::{is_cached, load};
use rustix::net::SendFlags;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::reads::Reads;
use super::sending::{TURN, complain, length};
use crate::net::accept::Slot;
use crate::net::stalled::{STALLED, Stall, patiently, room};

/// Bytes of a file that the page cache is asked for at once.
const PIECE: u64 = 2 * 1024 * 1024;

/// A peer, and its place in the accept loop.
pub struct Plain<'a> {
    /// Its socket.
    pub to: &'a TcpStream,
    /// Its place.
    pub slot: &'a Arc<Slot>,
    /// Where a disk is waited for.
    pub reads: &'a Reads,
}

impl Plain<'_> {
    /// Sends these; `more` says that others come right behind them, and may leave in the same segment.
    pub async fn bytes(&self, mut rest: &[u8], more: bool) -> io::Result<()> {
        let flags = SendFlags::NOSIGNAL | if more { SendFlags::MORE } else { SendFlags::empty() };
        while !rest.is_empty() {
            let send = || Ok(rustix::net::send(self.to, rest, flags)?);
            let count = match self.to.try_io(Interest::WRITABLE, send) {
                Err(cause) if is_full(&cause) => patiently(self.to, self.slot, send).await?,
                done => done?,
            };
            self.slot.touch();
            self.slot.throughput.sent(count);
            rest = rest.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Sends a file from `at` to before `end`.
    pub async fn file(&self, file: &Arc<fs::File>, mut at: u64, end: u64) -> io::Result<()> {
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
                    self.slot.throughput.sent(count);
                }
                Err(cause) if is_full(&cause) => {
                    let stall = stall.get_or_insert_with(|| Stall::new(self.slot, STALLED));
                    room(self.to, stall).await?;
                    // Meanwhile it may have left the page cache; and others have had their turn.
                    (found, sent) = (at, 0);
                }
                Err(cause) => return Err(cause),
            }
            if sent >= TURN && at < end {
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
        let file = file.clone();
        self.reads.wait(move || load(&file, at, length)).await.inspect_err(complain)
    }
}

fn is_full(cause: &io::Error) -> bool {
    cause.kind() == io::ErrorKind::WouldBlock
}
