//! Bytes and files to a peer over TLS: a file goes through one buffer, for the kernel does not seal.
//!
//! What the page cache has is read here, and the rest off the event loop.

use std::fs;
use std::future::poll_fn;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use oneroot_machines::objects::read_cached;
use tokio::io::AsyncWrite as _;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::reads::Reads;
use super::sending::{TURN, complain, length};
use crate::clock;
use crate::net::accept::Slot;
use crate::net::stalled::{STALLED, Stall};

/// Bytes of a file that are held for a peer: two records.
const PIECE: u64 = 32 * 1024;
/// Bytes that are sealed and that the peer has not taken.
pub const SEALED: usize = 32 * 1024;

/// A peer, and its place in the accept loop.
pub struct Secured<'a> {
    to: &'a mut TlsStream<TcpStream>,
    slot: &'a Arc<Slot>,
    reads: &'a Reads,
    /// The wait for the peer, once there was one.
    stall: Option<Stall>,
}

impl<'a> Secured<'a> {
    /// Nothing is waited for yet.
    pub fn new(to: &'a mut TlsStream<TcpStream>, slot: &'a Arc<Slot>, reads: &'a Reads) -> Self {
        Self { to, slot, reads, stall: None }
    }

    /// Sends these; unless `more` come right behind them, the socket has them all when this returns.
    pub async fn bytes(&mut self, mut rest: &[u8], more: bool) -> io::Result<()> {
        while !rest.is_empty() {
            let count = self.patiently(|to, cx| to.poll_write(cx, rest)).await?;
            self.slot.throughput.sent(count);
            rest = rest.get(count..).unwrap_or_default();
        }
        if more { Ok(()) } else { self.patiently(|to, cx| to.poll_flush(cx)).await }
    }

    /// Sends a file from `at` to before `end`, and then what `more` says.
    pub async fn file(&mut self, file: &Arc<fs::File>, mut at: u64, end: u64) -> io::Result<()> {
        let (mut piece, mut sent) = (Vec::new(), 0);
        while at < end {
            piece.resize(length(at, end.min(at + PIECE)), 0);
            piece = read(self.reads, file, at, piece).await.inspect_err(complain)?;
            self.bytes(&piece, true).await?;
            at += piece.len() as u64;
            sent += piece.len() as u64;
            if sent >= TURN && at < end {
                sent = 0;
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// Does something that sends bytes, for as long as the peer takes some.
    async fn patiently<T>(
        &mut self,
        mut send: impl FnMut(Pin<&mut TlsStream<TcpStream>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        let Self { to, slot, stall, .. } = self;
        let mut waits = false;
        let sent = poll_fn(|cx| {
            if let Poll::Ready(sent) = send(Pin::new(&mut **to), cx) {
                return Poll::Ready(sent);
            }
            if !std::mem::replace(&mut waits, true) {
                slot.throughput.waits(clock::coarse_ms());
            }
            let stall = stall.get_or_insert_with(|| Stall::new(slot, STALLED));
            stall.poll(to.get_ref().0, cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
        });
        let sent = sent.await?;
        if waits {
            slot.throughput.has_waited(clock::coarse_ms());
        }
        stall.iter_mut().for_each(Stall::took);
        // A long download is no idle connection.
        slot.touch();
        Ok(sent)
    }
}

/// Fills a piece of a file: here, or off the event loop where that takes the disk.
async fn read(reads: &Reads, file: &Arc<fs::File>, at: u64, mut piece: Vec<u8>) -> io::Result<Vec<u8>> {
    if read_cached(file, at, &mut piece)? {
        return Ok(piece);
    }
    let file = file.clone();
    reads.wait(move || file.read_exact_at(&mut piece, at).map(|()| piece)).await
}
