//! Whether a peer takes anything of what it is sent.
//!
//! A full socket can be written to again when a third of its buffer is free, which may be more than a megabyte: a slow peer
//! takes longer for that than anybody should wait for a dead one. So what counts is how much the peer has not acknowledged.
//! As long as that gets less, somebody is there; what all who are waited for hold together has a bound of its own.

use std::future::Future as _;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::ffi::c_int;
use rustix::ioctl::{Getter, Opcode, ioctl};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use super::accept::Slot;

/// A peer that takes no byte for so long is gone.
pub const STALLED: Duration = Duration::from_secs(30);
/// Looks at the queue in that time.
const LOOKS: u32 = 6;
/// `linux/sockios.h`. The few architectures that number it otherwise answer with an error, which counts as no progress.
const SIOCOUTQ: Opcode = 0x5411;

/// A wait for a peer whose socket is full.
pub struct Stall {
    slot: Arc<Slot>,
    pause: Duration,
    /// At the last look; most waits end before the first, and pay for none.
    unacknowledged: Option<c_int>,
    in_vain: u32,
    next: Pin<Box<Sleep>>,
}

impl Stall {
    /// Begins now. Each time that the peer is found to have taken something, its connection counts as used.
    pub fn new(slot: &Arc<Slot>, patience: Duration) -> Self {
        let pause = patience / LOOKS;
        Self { slot: slot.clone(), pause, unacknowledged: None, in_vain: 0, next: Box::pin(sleep(pause)) }
    }

    /// Ready when the peer has taken nothing for as long as it may. `socket` is the same each time.
    pub fn poll(&mut self, socket: impl AsFd, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.next.as_mut().poll(cx));
            let now = unacknowledged(&socket);
            let before = std::mem::replace(&mut self.unacknowledged, now);
            if now.zip(before).is_some_and(|(now, before)| now < before) {
                self.slot.touch();
                self.in_vain = 0;
            } else {
                self.in_vain += 1;
                if self.in_vain >= LOOKS {
                    return Poll::Ready(());
                }
            }
            self.next.as_mut().reset(Instant::now() + self.pause);
        }
    }
}

/// Bytes written to a TCP socket that its peer has not acknowledged. Nothing is written during a wait, so it only shrinks.
fn unacknowledged(socket: impl AsFd) -> Option<c_int> {
    // SAFETY: the opcode is SIOCOUTQ, which writes one int (tcp(7)) and reads nothing; where it is another architecture's
    // number for something, that is a number of tty_ioctl(2), which no socket carries out.
    unsafe { ioctl(socket, Getter::<SIOCOUTQ, c_int>::new()) }.ok()
}

/// A stream that fails when its peer has taken nothing for too long.
pub struct Patient {
    stream: TcpStream,
    slot: Arc<Slot>,
    patience: Duration,
    stall: Option<Stall>,
}

impl Patient {
    /// Waits for so long.
    pub fn new(stream: TcpStream, slot: Arc<Slot>, patience: Duration) -> Self {
        Self { stream, slot, patience, stall: None }
    }

    fn unless_stalled(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let stall = self.stall.get_or_insert_with(|| Stall::new(&self.slot, self.patience));
        stall.poll(&self.stream, cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, to)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.unless_stalled(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.unless_stalled(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use socket2::{Domain, Socket, Type};
    use std::io::Read as _;
    use std::net::TcpListener;
    use tokio::io::AsyncWriteExt as _;

    const PATIENCE: Duration = Duration::from_millis(600);

    /// Our end, and a peer's with hardly a buffer.
    fn pair() -> (Patient, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        peer.set_recv_buffer_size(4096).unwrap();
        peer.connect(&listener.local_addr().unwrap().into()).unwrap();
        let (stream, address) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        // As large as it grows for a fast peer: room for more comes late.
        socket2::SockRef::from(&stream).set_send_buffer_size(1 << 20).unwrap();
        let slot = Arc::new(Slot::new(address, clock::coarse_ms()));
        (Patient::new(TcpStream::from_std(stream).unwrap(), slot, PATIENCE), peer.into())
    }

    /// Writes until the peer's end of patience, which is returned with what was written before.
    async fn pour(ours: &mut Patient) -> (io::Error, usize) {
        let (piece, mut sent) = (vec![7; 64 << 10], 0);
        loop {
            match ours.write(&piece).await {
                Ok(count) => sent += count,
                Err(cause) => return (cause, sent),
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (mut ours, _peer) = pair();
        let begun = Instant::now();
        let (cause, _) = pour(&mut ours).await;
        assert_eq!(cause.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= PATIENCE, "{:?}", begun.elapsed());
        assert!(begun.elapsed() < 10 * PATIENCE, "{:?}", begun.elapsed());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_peer_that_takes_a_little_now_and_then_is_not() {
        let (mut ours, mut peer) = pair();
        let slow = std::thread::spawn(move || {
            let begun = std::time::Instant::now();
            let mut taken = 0;
            while begun.elapsed() < 5 * PATIENCE {
                let mut some = [0; 4096];
                taken += peer.read(&mut some).unwrap();
                std::thread::sleep(PATIENCE / 10);
            }
            // From here on it takes nothing, and stays.
            (peer, taken, begun.elapsed())
        });
        let begun = Instant::now();
        let (cause, sent) = pour(&mut ours).await;
        let given_up = begun.elapsed();
        let (_peer, taken, read_for) = slow.join().unwrap();
        assert_eq!(cause.kind(), io::ErrorKind::TimedOut);
        assert!(given_up >= read_for, "given up after {given_up:?}, with {taken} bytes taken");
        assert!(taken < sent / 3, "so little ({taken} of {sent}) that the socket was full all the time");
    }
}
