//! Another oneroot, asked for trees: the client's side of `src/http/sync.rs`.
//!
//! Whoever copies files waits for disks, and does so on a thread of its own; a conversation has one too, and hands over what
//! comes as a stream that can be read. One request goes over one connection.

mod address;
mod stream;

use std::io;
use std::net::{SocketAddr, TcpStream as Blocking, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, ETAG, HOST, RETRY_AFTER};
use hyper::{Method, Request, StatusCode};
use oneroot_ids::GenerationId;
use oneroot_machines::sync::What;
use oneroot_tree::wants::Wants;
use rustls::pki_types::ServerName;

use crate::tls::{Trust, client};
pub use address::Address;
pub use stream::{Slow, Stream};

/// Time for a connection to be made.
const CONNECTING: Duration = Duration::from_secs(10);
/// Ports that only root may have, tried from here down: nobody's service is there.
const PRIVILEGED: std::ops::RangeInclusive<u16> = 665..=1023;

/// A server that has trees.
pub struct Remote {
    address: Address,
    token: Option<String>,
    seal: Option<stream::Seal>,
}

/// An index that was asked for.
pub enum Offered {
    /// The tree is the one that the asker has.
    Same(GenerationId),
    /// It is this one, whose packed index follows.
    Index(GenerationId, Stream),
}

/// The server has said no.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Not just now.
    #[error("{words}")]
    Busy {
        /// With these words.
        words: String,
        /// After so long, if it says so.
        after: Option<Duration>,
    },
    /// The tree is another one by now.
    #[error("{0}")]
    Changed(String),
    /// For good.
    #[error("the server says {status}: {words}")]
    Other {
        /// With this status.
        status: StatusCode,
        /// And these words.
        words: String,
    },
}

/// Nobody answers there.
#[derive(Debug, thiserror::Error)]
#[error("cannot reach {0}")]
pub struct Unreachable(String);

impl Remote {
    /// Nothing is asked yet. `trust` is for a server that is asked by HTTPS.
    ///
    /// # Errors
    /// This system trusts nobody; the server's name can be in no certificate.
    pub fn new(address: Address, token: Option<String>, trust: Trust) -> Result<Self> {
        let name = || {
            ServerName::try_from(address.name().to_owned())
                .context("the server's name can be in no certificate")
        };
        let seal = address
            .secured
            .then(|| Ok::<_, anyhow::Error>((Arc::new(client(trust)?), name()?)))
            .transpose()?;
        Ok(Self { address, token, seal })
    }

    /// Asks for the index of a tree, against the one that is here.
    pub fn index(&self, what: &What, have: Option<GenerationId>) -> Result<Offered> {
        let query = have.map(|have| format!("?have={have}")).unwrap_or_default();
        let answer = self.ask(Method::GET, &format!("/sync/1/{what}/index{query}"), Vec::new())?;
        let tag = answer
            .header(ETAG.as_str())
            .context("the server does not say which tree this is; is it a oneroot?")?;
        let generation =
            tag.trim_matches('"').parse().context("the server names the tree in a way that is none")?;
        // What is asked for by its name has that name: so nobody on the way can give another tree for it.
        ensure!(what.may_be(generation), "the server has another tree for {what}: {generation}");
        match answer.status {
            StatusCode::NOT_MODIFIED if have == Some(generation) => Ok(Offered::Same(generation)),
            StatusCode::NOT_MODIFIED => {
                bail!("the server says that this tree is here already, and it is not")
            }
            _ => Ok(Offered::Index(generation, answer.stream)),
        }
    }

    /// Asks for objects of a tree: their bytes, in the order of the list.
    pub fn objects(&self, what: &What, generation: GenerationId, wants: &Wants) -> Result<Stream> {
        let path = format!("/sync/1/{what}/objects/{generation}");
        Ok(self.ask(Method::POST, &path, wants.bytes())?.stream)
    }

    fn ask(&self, method: Method, path: &str, body: Vec<u8>) -> Result<stream::Answer> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, self.address.host());
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(body))).context("the request can't be written")?;
        let connection = self.connect().with_context(|| Unreachable(self.address.to_string()))?;
        let answer = stream::converse(connection, self.seal.clone(), request).map_err(|cause| {
            let remedy = remedy(&format!("{cause:#}"));
            cause.context(format!("asked {}{remedy}", self.address))
        })?;
        match answer.status {
            StatusCode::OK | StatusCode::NOT_MODIFIED => Ok(answer),
            status => {
                let after = answer.header(RETRY_AFTER.as_str()).and_then(|seconds| seconds.parse().ok());
                let words = words(answer.stream);
                Err(match status {
                    StatusCode::SERVICE_UNAVAILABLE => {
                        Refused::Busy { words, after: after.map(Duration::from_secs) }
                    }
                    StatusCode::CONFLICT => Refused::Changed(words),
                    status => Refused::Other { status, words },
                }
                .into())
            }
        }
    }

    fn connect(&self) -> Result<Blocking> {
        let mut last = None;
        for to in self.address.authority().to_socket_addrs()? {
            match self.connect_to(to) {
                Ok(connection) => return Ok(connection),
                Err(cause) => last = Some(cause),
            }
        }
        match last {
            Some(cause) => Err(cause.into()),
            None => bail!("the name has no address"),
        }
    }

    /// Who is root and shows no token is the machine itself, and says so by the port it comes from.
    fn connect_to(&self, to: SocketAddr) -> io::Result<Blocking> {
        if self.token.is_some() || !rustix::process::geteuid().is_root() {
            return Blocking::connect_timeout(&to, CONNECTING);
        }
        let any: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
        for port in PRIVILEGED.rev() {
            let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None)?;
            match socket.bind(&SocketAddr::new(any.ip(), port).into()) {
                Err(cause) if cause.kind() == io::ErrorKind::AddrInUse => continue,
                // A container's root may have no such port; then it is nobody special.
                Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
                    return Blocking::connect_timeout(&to, CONNECTING);
                }
                bound => bound?,
            }
            match socket.connect_timeout(&to.into(), CONNECTING) {
                // The last conversation from this port is not forgotten yet.
                Err(cause)
                    if matches!(cause.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse) => {
                }
                connected => return connected.map(|()| socket.into()),
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }
}

/// What to do next where the words of TLS and of HTTP don't say it.
fn remedy(words: &str) -> &'static str {
    [
        ("UnknownIssuer", ", for which no authority vouches that this host trusts; if it has made its certificate itself, say --fingerprint, as `oneroot status` there shows it"),
        ("InvalidContentType", ", which speaks no TLS there; say http://, or another port"),
        ("invalid HTTP version parsed", ", which speaks no HTTP there; say https://, or another port"),
    ]
    .into_iter()
    .find_map(|(said, remedy)| words.contains(said).then_some(remedy))
    .unwrap_or_default()
}

/// What a refusal says, as far as a line goes.
fn words(stream: Stream) -> String {
    use std::io::Read as _;
    let mut text = Vec::new();
    let _ = stream.take(1000).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().next().unwrap_or_default();
    // The status stands before it already.
    line.split_once(": ").map_or(line, |(_, words)| words).to_owned()
}
