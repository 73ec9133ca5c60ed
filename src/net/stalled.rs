//! Whether a peer takes anything of what it is sent.
//!
//! A full socket can be written to again when a third of its buffer is free, which may be more than a megabyte: a slow peer
//! takes longer for that than anybody should wait for a dead one. So what counts is how much the peer has not acknowledged.
//! As long as that gets less, somebody is there; what all who are waited for hold together has a bound of its own.

use std::future::{Future as _, poll_fn};
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::ffi::c_int;
use rustix::ioctl::{Getter, Opcode, ioctl};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use super::accept::Slot;
use crate::clock;

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
    /// Of the looks since the peer was seen to take something. The first after a piece of work that it has taken is no look.
    in_vain: u32,
    taken: bool,
    next: Pin<Box<Sleep>>,
}

impl Stall {
    /// Begins now. Each time that the peer is found to have taken something, its connection counts as used.
    pub fn new(slot: &Arc<Slot>, patience: Duration) -> Self {
        let pause = patience / LOOKS;
        Self {
            slot: slot.clone(),
            pause,
            unacknowledged: None,
            in_vain: 0,
            taken: false,
            next: Box::pin(sleep(pause)),
        }
    }

    /// The peer has taken something: the wait begins anew, by the clock that runs already. One is cheaper than another for each
    /// wait.
    pub fn took(&mut self) {
        (self.unacknowledged, self.in_vain, self.taken) = (None, 0, true);
    }

    /// Ready when the peer has taken nothing for as long as it may, or less than is asked of it. `socket` is the same each time.
    pub fn poll(&mut self, socket: impl AsFd, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.next.as_mut().poll(cx));
            let now = unacknowledged(&socket);
            let queued = now.and_then(|now| u64::try_from(now).ok()).unwrap_or(0);
            if self.slot.throughput.is_too_slow(queued, self.pause, clock::coarse_ms()) {
                return Poll::Ready(());
            }
            let before = std::mem::replace(&mut self.unacknowledged, now);
            if now.zip(before).is_some_and(|(now, before)| now < before) {
                self.slot.touch();
                self.in_vain = 0;
            } else if !std::mem::take(&mut self.taken) {
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

/// Waits until a socket has room again.
///
/// # Errors
/// `TimedOut` when its peer has taken nothing for as long as it may.
pub async fn room(socket: &TcpStream, stall: &mut Stall) -> io::Result<()> {
    let slot = stall.slot.clone();
    slot.throughput.waits(clock::coarse_ms());
    let room = tokio::select! {
        biased;
        room = socket.writable() => room,
        () = poll_fn(|cx| stall.poll(socket, cx)) => Err(io::ErrorKind::TimedOut.into()),
    };
    slot.throughput.has_waited(clock::coarse_ms());
    room
}

/// Does something that sends bytes as soon as a socket that was full has room.
///
/// # Errors
/// That of `send`, and those of [`room`].
pub async fn patiently(
    socket: &TcpStream,
    slot: &Arc<Slot>,
    mut send: impl FnMut() -> io::Result<usize>,
) -> io::Result<usize> {
    let mut stall = Stall::new(slot, STALLED);
    loop {
        room(socket, &mut stall).await?;
        match socket.try_io(Interest::WRITABLE, &mut send) {
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::throughput::Least;
    use socket2::{Domain, Socket, Type};
    use std::io::Read as _;
    use std::net::TcpListener;

    const PATIENCE: Duration = Duration::from_millis(600);

    /// Our end, and a peer's with hardly a buffer.
    fn pair() -> (TcpStream, Arc<Slot>, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        peer.set_recv_buffer_size(4096).unwrap();
        peer.connect(&listener.local_addr().unwrap().into()).unwrap();
        let (stream, address) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        // As large as it grows for a fast peer: room for more comes late.
        socket2::SockRef::from(&stream).set_send_buffer_size(1 << 20).unwrap();
        let slot = Arc::new(Slot::new(address, clock::coarse_ms()));
        (TcpStream::from_std(stream).unwrap(), slot, peer.into())
    }

    /// Writes until the peer's end of patience, which is returned with what was written before.
    async fn pour(ours: &TcpStream, slot: &Arc<Slot>) -> (io::Error, usize) {
        let (piece, mut sent) = (vec![7; 64 << 10], 0);
        let mut stall = Stall::new(slot, PATIENCE);
        loop {
            match ours.try_write(&piece) {
                Ok(count) => {
                    sent += count;
                    stall.took();
                }
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(cause) = room(ours, &mut stall).await {
                        return (cause, sent);
                    }
                }
                Err(cause) => return (cause, sent),
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (ours, slot, _peer) = pair();
        let begun = Instant::now();
        let (cause, _) = pour(&ours, &slot).await;
        assert_eq!(cause.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= PATIENCE, "{:?}", begun.elapsed());
        assert!(begun.elapsed() < 10 * PATIENCE, "{:?}", begun.elapsed());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_peer_of_which_more_is_asked_than_it_takes_is_given_up_though_it_always_takes_a_little() {
        let (ours, slot, mut peer) = pair();
        slot.throughput.ask(Least { bytes: 1 << 30, within: 2 * PATIENCE }, clock::coarse_ms());
        let slow = std::thread::spawn(move || {
            let mut some = [0; 4096];
            while peer.read(&mut some).is_ok_and(|count| count > 0) {
                std::thread::sleep(PATIENCE / 10);
            }
        });
        let (cause, _) = pour(&ours, &slot).await;
        assert_eq!(cause.kind(), io::ErrorKind::TimedOut);
        drop(ours);
        slow.join().unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_peer_that_takes_a_little_now_and_then_is_not() {
        let (ours, slot, mut peer) = pair();
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
        let (cause, sent) = pour(&ours, &slot).await;
        let given_up = begun.elapsed();
        let (_peer, taken, read_for) = slow.join().unwrap();
        assert_eq!(cause.kind(), io::ErrorKind::TimedOut);
        assert!(given_up >= read_for, "given up after {given_up:?}, with {taken} bytes taken");
        assert!(taken < sent / 3, "so little ({taken} of {sent}) that the socket was full all the time");
    }
}
