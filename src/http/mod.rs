//! HTTP/1.1 boot files, over TCP and over TLS: `oneroot_http` says what is answered, [`Machines`] what a name stands for, and here are the sockets.
//!
//! No path ever reaches a file system: a name is looked up in the asking machine's boot plans, or it is not there. Names
//! are plain ASCII, so nothing of them is percent-decoded and nothing can hide in an encoding. A query is what a machine tells of
//! its hardware (`oneroot_bootconf::hardware`).
//!
//! A connection holds what it has been sent and nobody has answered, up to a head, and an answer of at most [`sending::SMALL`]
//! bytes: files go from the page cache to the socket (docs/decisions/0016-http-responder.md), or through one buffer where TLS seals
//! them (docs/decisions/0019-https-and-access-tokens.md).

mod plain;
mod reads;
mod report;
mod secured;
mod sending;
mod streams;
mod sync;
mod wire;

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, UNIX_EPOCH};

use oneroot_bootconf::again::Ask;
use oneroot_http::{Answer, File, Inbox, Method, Refusal, Request};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use reads::Reads;
use sending::Sending;
use streams::Streams;
use wire::Wire;

use crate::clock;
use crate::net::accept::Slot;
use crate::tls::Https;
use oneroot_machines::{Lookup, Machines, Via};

/// Time for a whole request head, the wait for it included; what takes longer is a slow loris.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Time for a whole handshake: it is two or three packets of each side.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Bytes of a body that are passed over before a connection ends, and the time for that. One that is closed with bytes unread
/// is reset, and its peer may lose the answer (RFC 9112 §9.6).
const PASSED: usize = 256 * 1024;
const PASSING: Duration = Duration::from_secs(2);

/// What all connections share.
pub struct Http {
    machines: Arc<Machines>,
    streams: Streams,
    reads: Reads,
    /// Those of trees' contents.
    tree_reads: Reads,
}

impl Http {
    /// With nobody connected yet.
    pub fn new(machines: Arc<Machines>) -> Arc<Self> {
        let (reads, tree_reads) = (Reads::default(), Reads::of_trees());
        Arc::new(Self { machines, streams: Streams::default(), reads, tree_reads })
    }
}

/// Serves one connection to its end.
pub async fn serve(http: Arc<Http>, stream: TcpStream, peer: SocketAddr, slot: Arc<Slot>) {
    over(Wire::Plain(stream), http, peer, slot).await;
}

/// The same over TLS, once its handshake is made.
pub async fn serve_secured(
    http: Arc<Http>,
    https: Arc<Https>,
    stream: TcpStream,
    peer: SocketAddr,
    slot: Arc<Slot>,
) {
    // The loop closes it when this has passed, whatever it says meanwhile.
    slot.expect_within(HANDSHAKE);
    let Some(config) = https.config() else { return };
    // In a box, which is let go of before the conversation begins.
    let handshake = TlsAcceptor::from(config)
        .accept_with(stream, |session| session.set_buffer_limit(Some(secured::SEALED)));
    match Box::pin(handshake).await {
        Ok(stream) => over(Wire::Tls(Box::new(stream)), http, peer, slot).await,
        Err(cause) => tracing::debug!(%peer, %cause, "a TLS handshake was not made"),
    }
}

async fn over(wire: Wire, http: Arc<Http>, peer: SocketAddr, slot: Arc<Slot>) {
    let mut connection = Connection { http, wire, peer, slot, inbox: Inbox::default() };
    let ended = match connection.converse().await {
        Ok(()) => connection.end().await,
        ended => ended,
    };
    if let Err(cause) = ended {
        tracing::debug!(%peer, %cause, "an HTTP connection ended");
    }
}

/// A peer's connection.
struct Connection {
    http: Arc<Http>,
    wire: Wire,
    peer: SocketAddr,
    slot: Arc<Slot>,
    inbox: Inbox,
}

/// What comes after an answer.
enum Next {
    /// The next request, once a head of so many bytes is forgotten.
    Request(usize),
    /// The end.
    End,
    /// The end, before which bytes may come that are no request.
    Pass,
}

impl Connection {
    async fn converse(&mut self) -> io::Result<()> {
        loop {
            if !self.head().await? {
                return Ok(());
            }
            // From here on it is ours to be quick; whether the peer takes the answer is the sending's to see.
            self.slot.expect_within(Duration::MAX);
            match self.answer().await? {
                Next::Request(length) => self.inbox.pass(length),
                Next::End => return Ok(()),
                Next::Pass => return self.pass_over().await,
            }
            // One that sends requests without a pause gives way to others now and then.
            tokio::task::consume_budget().await;
        }
    }

    /// Waits for a head, or for what can be none; false when the peer has closed instead.
    async fn head(&mut self) -> io::Result<bool> {
        if matches!(self.inbox.first(), Ok(None)) {
            self.slot.expect_within(HEAD_TIME);
        }
        while matches!(self.inbox.first(), Ok(None)) {
            if poll_fn(|cx| self.arrived(cx)).await? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes in what has arrived: how many bytes there were, 0 when the peer has closed.
    fn arrived(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Self { wire, inbox, .. } = self;
        wire.poll_arrived(cx, inbox.room(), |bytes| inbox.push(bytes))
    }

    /// Answers the first request.
    async fn answer(&mut self) -> io::Result<Next> {
        let date = httpdate::fmt_http_date(UNIX_EPOCH + clock::since_1970());
        if let Ok(Some(request)) = self.inbox.first()
            && let Some(asked) = sync::asked(&request)
        {
            return match asked {
                // In a box as the report below: few connections ask so, and all would have the room for it.
                Ok(asked) => Box::pin(self.tree(asked, &date)).await,
                Err(refusal) => self.refuse(refusal, &date).await,
            };
        }
        if let Ok(Some(request)) = self.inbox.first()
            && let Some(coming) = report::asked(&request)
        {
            return match coming {
                Ok(coming) => Box::pin(self.report(coming, &date)).await,
                Err(refusal) => self.refuse(refusal, &date).await,
            };
        }
        let Self { http, wire, peer, slot, inbox } = self;
        let mut sending = Sending { to: wire, slot, reads: &http.reads };
        let mut head = Vec::with_capacity(512);
        let request = match inbox.first() {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(Next::End),
            Err(cause) => {
                cause.write(&date, &mut head);
                sending.head(head).await?;
                return Ok(Next::Pass);
            }
        };
        let next = |keeps: bool| following(&request, keeps);
        let resource = match resource(&http.machines, peer.ip(), &request).await {
            Ok(Some(resource)) => resource,
            none => {
                let unreadable = |_| Answer::Refused(Refusal::Unreadable);
                let answer = none.map_or_else(unreadable, |_| Answer::to(&request, None));
                let keeps = answer.write(&request, &date, &mut head);
                sending.head(head).await?;
                return Ok(next(keeps));
            }
        };
        let (length, tag) = (resource.len(), resource.tag());
        let file = File { length, tag: tag.as_deref(), kind: content_type(request.target.path()) };
        let answer = Answer::to(&request, Some(file));
        let keeps = answer.write(&request, &date, &mut head);
        let part = answer.part(&request);
        sending.answer(head, resource, part).await?;
        Ok(next(keeps))
    }

    /// The way back to the peer.
    fn sending(&mut self) -> Sending<'_> {
        Sending { to: &mut self.wire, slot: &self.slot, reads: &self.http.reads }
    }

    /// All of a body that comes behind a head of so many bytes, which is forgotten.
    async fn body(&mut self, head: usize, length: usize, within: Duration) -> io::Result<Vec<u8>> {
        let mut body = self.inbox.body(head);
        self.slot.expect_within(within);
        while body.len() < length {
            let (room, wire) = (length - body.len(), &mut self.wire);
            let came =
                poll_fn(|cx| wire.poll_arrived(cx, room, |bytes| body.extend_from_slice(bytes))).await?;
            if came == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.slot.expect_within(Duration::MAX);
        body.truncate(length);
        Ok(body)
    }

    /// Says no to the first request, with words.
    async fn refuse(&mut self, refusal: Refusal, date: &str) -> io::Result<Next> {
        let mut head = Vec::new();
        let Ok(Some(request)) = self.inbox.first() else { return Ok(Next::End) };
        let keeps = Answer::Refused(refusal).write(&request, date, &mut head);
        let next = following(&request, keeps);
        self.sending().head(head).await?;
        Ok(next)
    }

    /// Ends our half, and passes over what the peer still sends.
    async fn pass_over(&mut self) -> io::Result<()> {
        self.slot.expect_within(PASSING);
        self.wire.shutdown().await?;
        let mut passed = 0;
        while passed < PASSED {
            self.inbox = Inbox::default();
            match poll_fn(|cx| self.arrived(cx)).await? {
                0 => break,
                count => passed += count,
            }
        }
        Ok(())
    }

    /// Tells a peer that would not know that nothing is missing.
    async fn end(&mut self) -> io::Result<()> {
        if self.wire.says_goodbye() {
            self.slot.expect_within(PASSING);
            self.wire.shutdown().await?;
        }
        Ok(())
    }
}

/// What comes after the answer to a request.
fn following(request: &Request<'_>, keeps: bool) -> Next {
    match (keeps, request.has_body()) {
        (true, _) => Next::Request(request.head_length()),
        (false, true) => Next::Pass,
        (false, false) => Next::End,
    }
}

/// What is asked for.
async fn resource(machines: &Arc<Machines>, peer: IpAddr, request: &Request<'_>) -> Lookup {
    let ask = match (request.method, request.conditions.range) {
        (Method::Other | Method::Post, _) => return Ok(None),
        (Method::Head, _) => Ask::Length,
        (Method::Get, Some(_)) => Ask::Part,
        (Method::Get, None) => Ask::Whole,
    };
    let (path, query) = (request.target.path(), request.target.query());
    // In a box, which is let go of before a file is sent: a boot that is planned takes more room than a connection.
    Box::pin(machines.resource(peer, path, query, Via::Http(ask))).await
}

/// UEFI firmware chooses by the type before it looks at the name's ending.
fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("efi") => "application/efi",
        Some("ipxe") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    /// Bytes of the future that serves a connection, its conversation included.
    fn room<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    /// Thousands of connections that nobody reads have it each (`tests/downloads.rs`): what few ask for lies in boxes.
    #[test]
    fn a_connection_has_room_for_its_commonest_answers_and_not_for_all_that_could_be_asked() {
        let room = room(super::serve);
        assert!(room < 3 * 1024, "{room} bytes");
    }
}
