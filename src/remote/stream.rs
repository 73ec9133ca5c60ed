//! One conversation: a request, the head of its answer, and a body that can be read while it comes.

use std::io::{self, Read};
use std::net::TcpStream as Blocking;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Pieces of a body that wait for whoever reads it; the connection waits with more.
const WAITING: usize = 16;
/// Time in which a server has to say something; a debug build, which tests wait for, has less.
const PATIENCE: Duration = Duration::from_secs(if cfg!(debug_assertions) { 15 } else { 60 });

/// Bytes that have to come while that time is waited for them: one that drips is left.
const LEAST: usize = 16 * 1024;

/// Hardly anything comes.
#[derive(Debug, thiserror::Error)]
#[error("the server sends less than {LEAST} bytes in {} s", PATIENCE.as_secs())]
pub struct Slow;

/// An answer whose body is still to come.
pub struct Answer {
    pub status: StatusCode,
    headers: HeaderMap,
    pub stream: Stream,
}

impl Answer {
    /// A field of its head, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A body.
pub struct Stream {
    pieces: Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Stream {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.recv() {
                Ok(piece) => self.piece = piece?,
                // The conversation has ended with the body.
                Err(_) => return Ok(0),
            }
        }
        let count = self.piece.len().min(to.len());
        let bytes = self.piece.split_to(count);
        to.get_mut(..count).unwrap_or_default().copy_from_slice(&bytes);
        Ok(count)
    }
}

/// What a conversation is sealed with: by whom the server has to be known, and its name.
pub type Seal = (Arc<ClientConfig>, ServerName<'static>);

/// Sends a request, and returns with the head of its answer.
pub fn converse(connection: Blocking, seal: Option<Seal>, request: Request<Full<Bytes>>) -> Result<Answer> {
    let (heads, head) = sync_channel(1);
    let (to, pieces) = sync_channel(WAITING);
    connection.set_nonblocking(true)?;
    let talk = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(talk(connection, seal, request, &heads, &to)),
            // Nobody waits for anything else yet.
            Err(cause) => drop(heads.send(Err(cause.into()))),
        }
    };
    std::thread::Builder::new().name("remote".to_owned()).spawn(talk)?;
    let response: Response<()> = head.recv().context("the conversation ended without an answer")??;
    let (parts, ()) = response.into_parts();
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        stream: Stream { pieces, piece: Bytes::new() },
    })
}

async fn talk(
    connection: Blocking,
    seal: Option<Seal>,
    request: Request<Full<Bytes>>,
    heads: &SyncSender<Result<Response<()>>>,
    to: &SyncSender<io::Result<Bytes>>,
) {
    let begun = async {
        let connection = TcpStream::from_std(connection)?;
        let Some((config, name)) = seal else { return ask(connection, request).await };
        let sealed =
            tokio::time::timeout(PATIENCE, TlsConnector::from(config).connect(name, connection)).await;
        ask(sealed.context("the server makes no TLS handshake")??, request).await
    };
    let (head, body) = match begun.await {
        Ok(response) => response.into_parts(),
        // Whoever has asked may be gone.
        Err(cause) => return drop(heads.send(Err(cause))),
    };
    drop(heads.send(Ok(Response::from_parts(head, ()))));
    pass_on(body, to).await;
}

async fn ask(
    connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(connection)).await?;
    tokio::spawn(connection);
    let answer = tokio::time::timeout(PATIENCE, sender.send_request(request)).await;
    Ok(answer.context("the server says nothing")??)
}

async fn pass_on(mut body: Incoming, to: &SyncSender<io::Result<Bytes>>) {
    // Of the time in which somebody reads and nothing is there: whoever reads slowly is no fault of the server's.
    let (mut waited, mut came) = (Duration::ZERO, 0);
    loop {
        let since = Instant::now();
        let next = match tokio::time::timeout(PATIENCE, body.frame()).await {
            Ok(None) => return,
            Ok(Some(frame)) => frame.map_err(io::Error::other),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the server says nothing more")),
        };
        waited += since.elapsed();
        came += next.as_ref().ok().and_then(|frame| frame.data_ref()).map_or(0, Bytes::len);
        let is_slow = waited >= PATIENCE && came < LEAST;
        if waited >= PATIENCE {
            (waited, came) = (Duration::ZERO, 0);
        }
        let next = if is_slow { next.and(Err(io::Error::new(io::ErrorKind::TimedOut, Slow))) } else { next };
        let failed = next.is_err();
        let piece = next.map(|frame| frame.into_data().unwrap_or_default());
        // This thread has nothing else to do than to wait for whoever reads.
        if to.send(piece).is_err() || failed {
            return;
        }
    }
}
