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

/// Reply bytes gathered before they are written, file contents included. A READ adds 1 MiB at most.
const BATCH: u64 = 256 * 1024;
/// File bytes read and written at a time, where they are copied.
const CHUNK: usize = 256 * 1024;
/// File contents from this size on are not copied through this process.
const UNCOPIED: usize = 32 * 1024;
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

/// Sends a batch of replies. Small ones leave in one write, with the file bytes between them; large file contents go from
/// the page cache to the socket by themselves.
async fn send(
    server: &Server,
    to: &TcpStream,
    replies: &mut Replies,
    output: &mut Vec<u8>,
) -> io::Result<()> {
    if replies.is_empty() {
        return Ok(());
    }
    output.clear();
    let objects = server.machines.objects();
    for segment in replies.segments() {
        match segment {
            Segment::Bytes(bytes) => output.extend_from_slice(bytes),
            Segment::File(range) => {
                let object = ObjectId(range.object);
                let (mut offset, mut left) = (range.offset, range.len as usize);
                if left >= UNCOPIED
                    && let Some(file) = objects.open_if_cached(object, offset, left)?
                {
                    write(to, output, SendFlags::MORE).await?;
                    send_file(to, &file, offset, left).await?;
                    continue;
                }
                while left > 0 {
                    let length = left.min(CHUNK);
                    objects.read(object, offset, length, output).await?;
                    offset += length as u64;
                    left -= length;
                    if output.len() >= CHUNK {
                        write(to, output, SendFlags::MORE).await?;
                    }
                }
            }
        }
    }
    replies.clear();
    write(to, output, SendFlags::empty()).await
}

/// Sends all of `output` and empties it. With [`SendFlags::MORE`], the kernel waits for what follows to fill a segment.
async fn write(to: &TcpStream, output: &mut Vec<u8>, flags: SendFlags) -> io::Result<()> {
    let mut rest = output.as_slice();
    while !rest.is_empty() {
        let count = moved(to, || Ok(rustix::net::send(to, rest, flags | SendFlags::NOSIGNAL)?)).await?;
        rest = rest.get(count..).unwrap_or_default();
    }
    output.clear();
    Ok(())
}

/// Sends `length` bytes of a file from `offset`, without copying them through this process.
///
/// # Errors
/// `UnexpectedEof` when the object is shorter than its index says: the disk lost bytes.
async fn send_file(to: &TcpStream, file: &File, mut offset: u64, length: usize) -> io::Result<()> {
    let mut left = length;
    while left > 0 {
        let count = moved(to, || Ok(rustix::fs::sendfile(to, file, Some(&mut offset), left)?)).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= count;
    }
    Ok(())
}

/// Does something that moves bytes into the socket, as soon as there is room; a peer that makes none is gone.
async fn moved(to: &TcpStream, mut step: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match to.try_io(Interest::WRITABLE, &mut step) {
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                timeout(STALLED, to.writable()).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            }
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
