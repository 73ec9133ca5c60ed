//! One TCP connection: records in, replies out, in batches. All that has arrived is answered with one write.
//!
//! Bounds: a record is at most 64 KiB before it is copied anywhere (nfsd), replies of one batch at most [`BATCH`] and one
//! reply more, nothing is read while a peer does not take its replies, and what all such peers hold together is bounded
//! ([`super::in_flight`]). The accept loop closes those who are silent for too long; a timer there is only for a peer that is
//! waited for while it takes its replies.

use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use oneroot_ids::ObjectId;
use oneroot_nfsd::{FileRange, RecordStream, Replies, Segment, Step, Transport};
use rustix::net::SendFlags;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::Server;
use super::buffers::{self, Buffers, Out};
use crate::net::accept::Slot;
use crate::net::stalled::patiently;
use oneroot_machines::objects::{self, Objects};

/// Reply bytes gathered before they are written, file contents included. A READ adds 1 MiB at most.
const BATCH: u64 = 128 * 1024;
/// File contents up to this length are copied into the batch, which costs less than a call of their own.
const COPIED: u32 = 32 * 1024;
/// Bytes put together before they are written.
const OUTPUT: usize = 128 * 1024;
/// A peer that says nothing whole for so long after connecting, or after it has begun to, is no client.
const RECORD: Duration = Duration::from_secs(10);
/// Linux closes an idle connection after five minutes by itself; this is for clients that vanished.
const IDLE: Duration = Duration::from_secs(1800);

/// Serves a connection until the peer closes it, breaks a bound, or has vanished.
pub async fn serve(server: Arc<Server>, mut stream: TcpStream, peer: SocketAddr, slot: Arc<Slot>) {
    if let Err(cause) = converse(&server, &mut stream, peer, &slot).await {
        match cause.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::TimedOut => {
                tracing::debug!(%peer, %cause, "an NFS connection ended");
            }
            _ => tracing::warn!(%peer, %cause, "closed an NFS connection"),
        }
    }
}

async fn converse(
    server: &Server,
    stream: &mut TcpStream,
    peer: SocketAddr,
    slot: &Arc<Slot>,
) -> io::Result<()> {
    let mut records = RecordStream::new();
    slot.expect_within(RECORD);
    loop {
        let (mut buffers, count) = poll_fn(|cx| buffers::arrived(stream, cx)).await?;
        if count == 0 {
            return Ok(());
        }
        let begun = !records.is_idle();
        let Buffers { input, out } = &mut buffers;
        let sending = Sending { server, to: stream, slot };
        let mut rest = input.get(..count).unwrap_or_default();
        let mut whole = false;
        let ends = loop {
            let record = match records.next(&mut rest) {
                Ok(Some(record)) => record,
                Ok(None) => break None,
                Err(cause) => break Some(cause),
            };
            // From here on it is ours to be quick.
            if !std::mem::replace(&mut whole, true) {
                slot.expect_within(IDLE);
            }
            match server.service.call(peer, Transport::Tcp, record, &mut out.replies) {
                Step::Answered | Step::Ignore => {}
                Step::Mount(call) => {
                    let granted = server.mount(call.peer, &call.path).await;
                    server.service.mounted(&call, granted, &mut out.replies);
                }
                Step::Close(cause) => break Some(cause),
            }
            if out.replies.len() >= BATCH {
                sending.batch(out).await?;
            }
        };
        sending.batch(out).await?;
        if let Some(cause) = ends {
            return Err(io::Error::new(io::ErrorKind::InvalidData, cause));
        }
        // A peer that sends a byte now and then, and nothing whole, gains no time by it.
        if !records.is_idle() && (whole || !begun) {
            slot.expect_within(RECORD);
        }
        buffers.give();
    }
}

/// The way of replies to a peer.
struct Sending<'a> {
    server: &'a Server,
    to: &'a TcpStream,
    slot: &'a Arc<Slot>,
}

impl Sending<'_> {
    /// Writes a batch of replies. Small ones leave in one write, with the file bytes between them; contents of more than
    /// [`COPIED`] bytes go from the page cache to the socket by sendfile(2).
    async fn batch(&self, out: &mut Out) -> io::Result<()> {
        let weight = out.weight();
        let Out { replies, bytes: output } = out;
        output.clear();
        if replies.ranges().is_empty() {
            self.write(replies.bytes(), SendFlags::empty(), weight).await?;
            replies.clear();
            return Ok(());
        }
        let (mut number, mut skipped) = (0, 0);
        for segment in replies.segments() {
            let range = match segment {
                Segment::Bytes(bytes) => {
                    output.extend_from_slice(bytes.get(std::mem::take(&mut skipped)..).unwrap_or_default());
                    continue;
                }
                Segment::File(range) => range,
            };
            if let Err(cause) = self.contents(&range, output, weight).await {
                if !objects::is_lost(&cause) {
                    return Err(cause);
                }
                Objects::complain(ObjectId(range.object), &cause);
                // Nothing of this reply has left yet.
                let head = output.split_off(output.len().saturating_sub(replies.head(number)));
                output.extend(oneroot_nfsd::lost(&head).bytes());
                skipped = Replies::padding(&range);
            }
            number += 1;
            if output.len() >= OUTPUT {
                self.write(output, SendFlags::empty(), weight + output.capacity()).await?;
                output.clear();
            }
        }
        self.write(output, SendFlags::empty(), weight + output.capacity()).await?;
        replies.clear();
        Ok(())
    }

    /// Adds a range's bytes to the output, or sends both.
    ///
    /// # Errors
    /// One that [`objects::is_lost`] has sent and added nothing.
    async fn contents(&self, range: &FileRange, output: &mut Vec<u8>, weight: usize) -> io::Result<()> {
        let objects = self.server.machines.objects();
        let (id, length) = (ObjectId(range.object), range.len as usize);
        if range.len <= COPIED {
            if let Some(from) = objects.append(id, range.offset, length, output)? {
                let _held = self.server.waiting.hold(self.slot, weight + output.capacity());
                objects.append_from_disk(from, range.offset, length, output).await?;
            }
            return Ok(());
        }
        let file = objects.open_to(id, range.offset + u64::from(range.len))?;
        // All of it, before the head leaves: what the disk can't give must be an answer of its own.
        if !objects::is_cached(&file, range.offset, length)? {
            let _held = self.server.waiting.hold(self.slot, weight + output.capacity());
            objects::cache(&file, range.offset, length).await?;
        }
        // MSG_MORE: head and contents are one reply, and leave in full segments.
        let whole = async {
            self.write(output, SendFlags::MORE, weight + output.capacity()).await?;
            self.file(&file, range.offset, length, weight + output.capacity()).await
        };
        // Whatever it is, it is no other answer any more.
        whole.await.map_err(|cause: io::Error| io::Error::new(io::ErrorKind::BrokenPipe, cause))?;
        output.clear();
        Ok(())
    }

    /// Sends `left` bytes of a file from `offset` on, which are in the page cache now.
    async fn file(
        &self,
        file: &Arc<File>,
        mut offset: u64,
        mut left: usize,
        weight: usize,
    ) -> io::Result<()> {
        while left > 0 {
            // The kernel moves its own copy of the offset only as far as the socket takes it.
            let mut at = offset;
            let send = || Ok(rustix::fs::sendfile(self.to, file, Some(&mut at), left)?);
            let sent = self.moved(weight, send).await?;
            if sent == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            offset += sent as u64;
            left = left.saturating_sub(sent);
            // While the peer was waited for, some of it may have left the page cache.
            if left > 0 && !objects::is_cached(file, offset, left)? {
                let _held = self.server.waiting.hold(self.slot, weight);
                objects::cache(file, offset, left).await?;
            }
        }
        Ok(())
    }

    async fn write(&self, mut rest: &[u8], flags: SendFlags, weight: usize) -> io::Result<()> {
        let flags = flags | SendFlags::NOSIGNAL;
        while !rest.is_empty() {
            let count = self.moved(weight, || Ok(rustix::net::send(self.to, rest, flags)?)).await?;
            rest = rest.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Does something that sends bytes as soon as the peer takes some. Until then the buffers, of so many bytes, is held.
    async fn moved(&self, weight: usize, mut send: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
        match self.to.try_io(Interest::WRITABLE, &mut send) {
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
        let _held = self.server.waiting.hold(self.slot, weight);
        // Its patience is the stall's now, which knows whether the peer takes anything.
        self.slot.expect_within(Duration::MAX);
        let sent = patiently(self.to, self.slot, send).await;
        self.slot.expect_within(IDLE);
        sent
    }
}
