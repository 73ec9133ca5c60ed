//! The buffers with which a connection is served: taken when something has arrived, given back when it is answered, so
//! that a connection which is silent has none.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use oneroot_nfsd::Replies;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;

/// Bytes taken from a connection at a time: two hundred calls.
const INPUT: usize = 32 * 1024;
/// Desks that a thread keeps for the next connection. It answers one at a time; others are at desks only while they wait.
const KEPT: usize = 8;

/// Room to read calls into and to answer them.
pub struct Buffers {
    /// What has arrived.
    pub input: Vec<u8>,
    /// What leaves.
    pub out: Out,
}

/// Room to put replies together in, and to put file contents between them.
#[derive(Default)]
pub struct Out {
    /// Replies that have not been sent.
    pub replies: Replies,
    /// Bytes on their way to the socket.
    pub bytes: Vec<u8>,
}

impl Out {
    /// Bytes of memory that the buffers which this is part of takes up, but for `bytes`, which grows on the way.
    pub fn weight(&self) -> usize {
        INPUT + self.replies.capacity()
    }
}

thread_local! {
    static FREE: RefCell<Vec<Buffers>> = const { RefCell::new(Vec::new()) };
}

impl Buffers {
    /// A buffers with nothing on it.
    pub fn take() -> Self {
        FREE.with_borrow_mut(Vec::pop).unwrap_or_else(|| Self { input: vec![0; INPUT], out: Out::default() })
    }

    /// Gives it back, for the next who takes one.
    pub fn give(mut self) {
        self.out.replies.clear();
        self.out.bytes.clear();
        FREE.with_borrow_mut(|free| {
            if free.len() < KEPT {
                free.push(self);
            }
        });
    }
}

/// Waits until something has arrived, and only then takes a buffers for it: how many bytes there are; 0 when the peer has
/// closed.
pub fn arrived(stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<(Buffers, usize)>> {
    ready!(stream.poll_read_ready(cx))?;
    let mut buffers = Buffers::take();
    let mut input = ReadBuf::new(&mut buffers.input);
    // Not try_read: this one knows that a socket which gave less than was asked for is empty, and saves a call to hear it.
    match Pin::new(stream).poll_read(cx, &mut input) {
        Poll::Ready(read) => {
            let count = input.filled().len();
            read?;
            Poll::Ready(Ok((buffers, count)))
        }
        Poll::Pending => {
            buffers.give();
            Poll::Pending
        }
    }
}
