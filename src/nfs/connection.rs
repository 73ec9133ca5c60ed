//! One TCP connection: records in, replies out, in batches. All that has arrived is answered with one write.
//!
//! Bounds: a record is at most 64 KiB before it is copied anywhere (nfsd), replies of one batch at most [`BATCH`] and one
//! reply more, and nothing is read while a peer does not take its replies.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use oneroot_nfsd::{RecordStream, Replies, Segment, Step, Transport};
use oneroot_tree::ObjectId;
use rustix::net::SendFlags;
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Server;
use crate::net::accept::Slot;
use crate::objects;

/// Reply bytes gathered before they are written, file contents included. A READ adds 1 MiB at most.
const BATCH: u64 = 256 * 1024;
/// File contents up to this length are copied into the batch, which costs less than a call of their own.
const COPIED: u32 = 32 * 1024;
/// File bytes sent at a time, once they are known to be in memory.
const CHUNK: usize = 256 * 1024;
/// A peer that says nothing whole for so long after connecting is no client.
const FIRST_RECORD: Duration = Duration::from_secs(10);
/// Linux closes an idle connection after five minutes by itself; this is for clients that vanished.
const IDLE: Duration = Duration::from_secs(1800);
/// A peer that takes no byte of its replies for so long is gone.
const STALLED: Duration = Duration::from_secs(30);

/// Serves a connection until the peer closes it, breaks a bound, or has vanished.
pub async fn serve(server: Arc<Server>, mut stream: TcpStream, peer: SocketAddr, slot: Arc<Slot>) {
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    if let Err(cause) = converse(&server, &mut stream, peer, &slot).await {
        match cause.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::TimedOut => {
                tracing::debug!(%peer, %cause, "an NFS connection ended");
            }
            _ => tracing::warn!(%peer, %cause, "closed an NFS connection"),
        }
    }
}

async fn converse(server: &Server, stream: &mut TcpStream, peer: SocketAddr, slot: &Slot) -> io::Result<()> {
    let mut records = RecordStream::new();
    let mut replies = Replies::new();
    let mut input = vec![0; 64 * 1024];
    let mut output = Vec::new();
    let mut patience = FIRST_RECORD;
    loop {
        let count = match timeout(patience, stream.read(&mut input)).await {
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(Ok(0)) => return Ok(()),
            Ok(count) => count?,
        };
        slot.touch();
        let mut rest = input.get(..count).unwrap_or_default();
        while let Some(record) = records.next(&mut rest).map_err(bad_record)? {
            patience = IDLE;
            match server.service.call(peer, Transport::Tcp, record, &mut replies) {
                Step::Answered | Step::Ignore => {}
                Step::Mount(call) => {
                    let granted = server.mount(peer.ip(), &call.path).await;
                    server.service.mounted(&call, granted, &mut replies);
                }
                Step::Close(reason) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, reason.to_string()));
                }
            }
            if replies.len() >= BATCH {
                send(server, stream, &mut replies, &mut output).await?;
            }
        }
        send(server, stream, &mut replies, &mut output).await?;
    }
}

fn bad_record(cause: oneroot_nfsd::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, cause)
}

/// Writes a batch of replies. Small ones leave in one write, with the file bytes between them; contents of more than
/// [`COPIED`] bytes go from the page cache to the socket by sendfile(2).
async fn send(
    server: &Server,
    to: &TcpStream,
    replies: &mut Replies,
    output: &mut Vec<u8>,
) -> io::Result<()> {
    if replies.ranges().is_empty() {
        write(to, replies.bytes(), SendFlags::empty()).await?;
        replies.clear();
        return Ok(());
    }
    output.clear();
    let objects = server.machines.objects();
    for segment in replies.segments() {
        match segment {
            Segment::Bytes(bytes) => output.extend_from_slice(bytes),
            Segment::File(range) if range.len <= COPIED => {
                objects.read(ObjectId(range.object), range.offset, range.len as usize, output).await?;
            }
            Segment::File(range) => {
                // MSG_MORE: head and contents are one reply, and leave in full segments.
                write(to, output, SendFlags::MORE).await?;
                output.clear();
                let file = objects.open(ObjectId(range.object))?;
                send_file(to, &file, range.offset, range.len as usize).await?;
            }
        }
        if output.len() >= CHUNK {
            write(to, output, SendFlags::empty()).await?;
            output.clear();
        }
    }
    replies.clear();
    write(to, output, SendFlags::empty()).await
}

/// Sends `left` bytes of a file from `offset` on.
async fn send_file(to: &TcpStream, file: &Arc<File>, mut offset: u64, mut left: usize) -> io::Result<()> {
    while left > 0 {
        let chunk = left.min(CHUNK);
        objects::warm(file, offset, chunk).await?;
        let end = offset + chunk as u64;
        while offset < end {
            let rest = usize::try_from(end - offset).unwrap_or(chunk);
            // The kernel moves its own copy of the offset only as far as the socket takes it.
            let mut at = offset;
            let sent = moved(to, || Ok(rustix::fs::sendfile(to, file, Some(&mut at), rest)?)).await?;
            if sent == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            offset += sent as u64;
        }
        left -= chunk;
    }
    Ok(())
}

async fn write(to: &TcpStream, mut rest: &[u8], flags: SendFlags) -> io::Result<()> {
    while !rest.is_empty() {
        let count = moved(to, || Ok(rustix::net::send(to, rest, flags | SendFlags::NOSIGNAL)?)).await?;
        rest = rest.get(count..).unwrap_or_default();
    }
    Ok(())
}

/// Does something that sends bytes as soon as the peer takes some. It is tried before anything is waited for, and so
/// before there is a timer.
async fn moved(to: &TcpStream, send: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    timeout(STALLED, to.async_io(Interest::WRITABLE, send))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}
