//! HTTP/1.1 boot files: `oneroot_http` says what is answered, [`Machines`] what a name stands for, and here are the sockets.
//!
//! No path ever reaches a file system: a name is looked up in the asking machine's boot plans, or it is not there. Names
//! are plain ASCII, so nothing of them is percent-decoded and nothing can hide in an encoding. A query is what a machine tells of
//! its hardware (`oneroot_bootconf::hardware`).
//!
//! A connection holds what it has been sent and nobody has answered, up to a head, and an answer of at most [`sending::SMALL`]
//! bytes: files go from the page cache to the socket (docs/decisions/0016-http-responder.md).

mod sending;

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, UNIX_EPOCH};

use oneroot_bootconf::again::Ask;
use oneroot_http::{Answer, File, Inbox, Method, Refusal, Request};
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

use sending::Sending;

use crate::clock;
use crate::net::accept::Slot;
use oneroot_machines::{Lookup, Machines, Via};

/// Time for a whole request head, the wait for it included; what takes longer is a slow loris.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Bytes taken from a connection at a time. So what is sent before its turn waits in the socket.
const INPUT: usize = 4 * 1024;
/// Bytes of a body that are passed over before a connection ends, and the time for that. One that is closed with bytes unread
/// is reset, and its peer may lose the answer (RFC 9112 §9.6).
const PASSED: usize = 256 * 1024;
const PASSING: Duration = Duration::from_secs(2);

/// Serves one connection to its end.
pub async fn serve(machines: Arc<Machines>, stream: TcpStream, peer: SocketAddr, slot: Arc<Slot>) {
    let mut connection = Connection { machines, stream, peer: peer.ip(), slot, inbox: Inbox::default() };
    if let Err(cause) = connection.converse().await {
        tracing::debug!(%peer, %cause, "an HTTP connection ended");
    }
}

/// A peer's connection.
struct Connection {
    machines: Arc<Machines>,
    stream: TcpStream,
    peer: IpAddr,
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

    /// Takes in what has arrived, and only then room for it: how many bytes there were, 0 when the peer has closed.
    fn arrived(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(self.stream.poll_read_ready(cx))?;
        let mut input = [0; INPUT];
        let room = self.inbox.room().min(INPUT);
        let mut input = ReadBuf::new(input.get_mut(..room).unwrap_or_default());
        // Not try_read: this one knows that a socket which gave less than was asked for is empty, and saves a call to hear it.
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut input))?;
        self.inbox.push(input.filled());
        Poll::Ready(Ok(input.filled().len()))
    }

    /// Answers the first request.
    async fn answer(&self) -> io::Result<Next> {
        let sending = Sending { to: &self.stream, slot: &self.slot };
        let mut head = Vec::with_capacity(512);
        let date = httpdate::fmt_http_date(UNIX_EPOCH + clock::since_1970());
        let request = match self.inbox.first() {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(Next::End),
            Err(cause) => {
                cause.write(&date, &mut head);
                sending.head(head).await?;
                return Ok(Next::Pass);
            }
        };
        let next = |keeps: bool| match (keeps, request.has_body()) {
            (true, _) => Next::Request(request.head_length()),
            (false, true) => Next::Pass,
            (false, false) => Next::End,
        };
        let resource = match self.resource(&request).await {
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

    async fn resource(&self, request: &Request<'_>) -> Lookup {
        let ask = match (request.method, request.conditions.range) {
            (Method::Other, _) => return Ok(None),
            (Method::Head, _) => Ask::Length,
            (Method::Get, Some(_)) => Ask::Part,
            (Method::Get, None) => Ask::Whole,
        };
        let (path, query) = (request.target.path(), request.target.query());
        // In a box, which is let go of before a file is sent: a boot that is planned takes more room than a connection.
        Box::pin(self.machines.resource(self.peer, path, query, Via::Http(ask))).await
    }

    /// Ends our half, and passes over what the peer still sends.
    async fn pass_over(&mut self) -> io::Result<()> {
        self.stream.shutdown().await?;
        self.slot.expect_within(PASSING);
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
}

/// UEFI firmware chooses by the type before it looks at the name's ending.
fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("efi") => "application/efi",
        Some("ipxe") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
