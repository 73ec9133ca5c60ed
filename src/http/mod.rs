//! HTTP/1.1 boot files (RFC 9110, 9112): GET and HEAD with single ranges and conditions, of the few names that [`Machines`] knows.
//!
//! No path ever reaches a file system: a name is looked up in the asking machine's boot plans, or it is not there. Names
//! are plain ASCII, so nothing of them is percent-decoded and nothing can hide in an encoding. A query is what a machine tells of
//! its hardware (`oneroot_bootconf::hardware`).

mod range;
#[cfg(test)]
mod target;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use bytes::Bytes;
use http_body_util::channel::Channel;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use oneroot_bootconf::again::Ask;
use tokio::net::TcpStream;

use range::{Asked, asked};

use crate::net::accept::Slot;
use crate::net::stalled::{Patient, STALLED};
use oneroot_machines::{Machines, Resource, Via};

/// Time for a whole request head; what takes longer is a slow loris.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Bytes of a request head at most.
const HEAD_BYTES: usize = 16 * 1024;
/// Bytes of a file that are read at a time. A download whose peer is slow holds four such: two that hyper writes, one behind
/// them, one that waits for its place. So all connections there may be hold 320 MiB, and no download has to give way to
/// another: a thousand machines that boot at once are all slow.
const CHUNK: usize = 16 * 1024;

/// Serves one connection to its end.
pub async fn serve(machines: Arc<Machines>, stream: TcpStream, peer: SocketAddr, slot: Arc<Slot>) {
    let ip = peer.ip();
    let stream = Patient::new(stream, slot.clone(), STALLED);
    let answer = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (machines, slot) = (machines.clone(), slot.clone());
        slot.touch();
        async move {
            let (parts, _) = request.into_parts();
            Ok::<_, std::convert::Infallible>(
                answer(&machines, ip, &parts.method, &parts.uri, &parts.headers, slot).await,
            )
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        // GRUB and shim compare names of fields as they are written here (RFC 9110 §5.1: any case).
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), answer);
    if let Err(cause) = connection.await {
        tracing::debug!(%peer, %cause, "an HTTP connection ended");
    }
}

async fn answer(
    machines: &Arc<Machines>,
    peer: IpAddr,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    slot: Arc<Slot>,
) -> Response<Body> {
    if method != Method::GET && method != Method::HEAD {
        let mut response = refused(method, StatusCode::METHOD_NOT_ALLOWED, "there are GET and HEAD");
        set(&mut response, header::ALLOW, "GET, HEAD");
        return response;
    }
    // RFC 9110 §14.2: a Range means something with GET alone. HEAD gives the length that the whole would have.
    let part = headers.get(header::RANGE).filter(|_| method == Method::GET);
    let ask = match part {
        _ if method == Method::HEAD => Ask::Length,
        Some(_) => Ask::Part,
        None => Ask::Whole,
    };
    let path = uri.path();
    let Some(resource) = machines.resource(peer, path, uri.query(), Via::Http(ask)).await else {
        return refused(method, StatusCode::NOT_FOUND, "there is no such file for you here");
    };
    let (length, tag) = (resource.len(), resource.tag());
    let (from, to, status) = match asked(headers, part, tag.as_deref(), length) {
        Asked::All => (0, length, StatusCode::OK),
        Asked::Part(from, to) => (from, to, StatusCode::PARTIAL_CONTENT),
        Asked::Nothing => {
            let mut response =
                refused(method, StatusCode::RANGE_NOT_SATISFIABLE, "the file ends before that");
            set(&mut response, header::CONTENT_RANGE, &format!("bytes */{length}"));
            return response;
        }
        Asked::Other => {
            return refused(method, StatusCode::PRECONDITION_FAILED, "this is another file by now");
        }
        Asked::Known => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            set(&mut response, header::ETAG, tag.as_deref().unwrap_or_default());
            return response;
        }
    };
    let body = if method == Method::HEAD { Body::empty() } else { body(resource, from, to, slot) };
    let mut response = Response::new(body);
    set(&mut response, header::CONTENT_LENGTH, &(to - from).to_string());
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    set(&mut response, header::CONTENT_TYPE, content_type(path));
    if let Some(tag) = &tag {
        set(&mut response, header::ETAG, tag);
    }
    *response.status_mut() = status;
    if status == StatusCode::PARTIAL_CONTENT {
        set(&mut response, header::CONTENT_RANGE, &format!("bytes {from}-{}/{length}", to - 1));
    }
    response
}

/// An error, with words: shim waits ten seconds for the body of an answer that has none, three times in each boot. An answer
/// to HEAD can't have any, so the connection ends with it.
fn refused(method: &Method, status: StatusCode, words: &str) -> Response<Body> {
    let words = format!("{status}: {words}\n");
    let length = words.len();
    let is_head = method == Method::HEAD;
    let mut response = Response::new(if is_head { Body::empty() } else { words.into() });
    *response.status_mut() = status;
    set(&mut response, header::CONTENT_LENGTH, &length.to_string());
    set(&mut response, header::CONTENT_TYPE, "text/plain; charset=utf-8");
    if is_head {
        set(&mut response, header::CONNECTION, "close");
    }
    response
}

fn set(response: &mut Response<Body>, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
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

fn body(resource: Resource, from: u64, to: u64, slot: Arc<Slot>) -> Body {
    let (mut sender, channel) = Channel::<Bytes, std::io::Error>::new(1);
    tokio::spawn(async move {
        let mut at = from;
        while at < to {
            let length = usize::try_from((to - at).min(CHUNK as u64)).unwrap_or(CHUNK);
            let chunk = match read(&resource, at, length).await {
                Ok(chunk) => chunk,
                Err(cause) => {
                    tracing::warn!(%cause, "cannot read a boot file");
                    // Ends the connection in mid-body: the client sees a short file, never a wrong one.
                    return sender.abort(cause);
                }
            };
            at += length as u64;
            // Ends when the connection does, and that does when its peer takes nothing.
            if sender.send_data(chunk).await.is_err() {
                return;
            }
            // A long download is no idle connection.
            slot.touch();
        }
    });
    Body::new(channel)
}

/// Reads here what takes no disk, and off the event loop what does.
async fn read(resource: &Resource, at: u64, length: usize) -> std::io::Result<Bytes> {
    let mut chunk = vec![0; length];
    if resource.fill_now(at, &mut chunk)? {
        return Ok(chunk.into());
    }
    let source = resource.clone();
    let read = tokio::task::spawn_blocking(move || {
        chunk.clear();
        source.read_at(at, length, &mut chunk).map(|()| chunk.into())
    });
    read.await.map_err(std::io::Error::other)?
}
