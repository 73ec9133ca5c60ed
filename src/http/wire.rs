//! What a conversation goes over: TCP, or TLS over it. They differ in how bytes come and go, and in nothing else.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// Bytes taken from a connection at a time. So what is sent before its turn waits in the socket.
const INPUT: usize = 4 * 1024;

/// A peer's connection.
pub enum Wire {
    /// As it is.
    Plain(TcpStream),
    /// Once its handshake is made. In a box, for it is ten times as large as the other.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    /// What has arrived, up to so many bytes, is handed on: how many there were, 0 when the peer has closed. Only what has
    /// arrived has room made for it.
    pub fn poll_arrived(
        &mut self,
        cx: &mut Context<'_>,
        room: usize,
        take: impl FnOnce(&[u8]),
    ) -> Poll<io::Result<usize>> {
        if let Self::Plain(stream) = self {
            ready!(stream.poll_read_ready(cx))?;
        }
        let mut input = [0; INPUT];
        let mut input = ReadBuf::new(input.get_mut(..room.min(INPUT)).unwrap_or_default());
        match self {
            // Not try_read: this one knows that a socket which gave less than was asked for is empty, and saves a call to hear it.
            Self::Plain(stream) => ready!(Pin::new(stream).poll_read(cx, &mut input))?,
            Self::Tls(stream) => ready!(Pin::new(stream).poll_read(cx, &mut input))?,
        }
        take(input.filled());
        Poll::Ready(Ok(input.filled().len()))
    }

    /// Ends our half.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.shutdown().await,
            Self::Tls(stream) => stream.shutdown().await,
        }
    }

    /// Whether nobody on the way can read what is said.
    pub fn is_sealed(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Whether a peer has to be told that all was said: an end that anybody could have made is no end to TLS (RFC 8446 §6.1).
    pub fn says_goodbye(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}
