//! HTTP/1.1 boot files (RFC 9110, 9112): GET and HEAD with single ranges, of the few names that [`Machines`] knows.
//!
//! No path ever reaches a file system: a name is looked up in the asking machine's boot plans, or it is not there. Names
//! are plain ASCII, so nothing is percent-decoded and nothing can hide in an encoding (hostile-inputs H1).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::channel::Channel;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use oneroot_bootconf::again::Ask;
use tokio::net::TcpStream;

use crate::machines::{Machines, Resource, Via};
use crate::net::accept::Slot;
use crate::net::stalled::{Patient, STALLED};

/// Time for a whole request head; what takes longer is a slow loris (H3).
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Bytes of a request head at most (H4).
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
                answer(&machines, ip, &parts.method, parts.uri.path(), &parts.headers, slot).await,
            )
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), answer);
    if let Err(cause) = connection.await {
        tracing::debug!(%peer, %cause, "an HTTP connection ended");
    }
}

async fn answer(
    machines: &Arc<Machines>,
    peer: IpAddr,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    slot: Arc<Slot>,
) -> Response<Body> {
    if method != Method::GET && method != Method::HEAD {
        return plain(StatusCode::METHOD_NOT_ALLOWED, Some((header::ALLOW, "GET, HEAD")));
    }
    // RFC 9110 §14.2: a Range means something with GET alone. HEAD gives the length that the whole would have.
    let part = headers.get(header::RANGE).filter(|_| method == Method::GET);
    let ask = match part {
        _ if method == Method::HEAD => Ask::Length,
        Some(_) => Ask::Part,
        None => Ask::Whole,
    };
    let Some(resource) = machines.resource(peer, path, Via::Http(ask)).await else {
        return plain(StatusCode::NOT_FOUND, None);
    };
    let length = resource.len();
    let range = match part.map_or(Wanted::All, |value| wanted(value, length)) {
        Wanted::All => None,
        Wanted::Part(from, to) => Some((from, to)),
        Wanted::Nothing => {
            let mut response = plain(StatusCode::RANGE_NOT_SATISFIABLE, None);
            set(&mut response, header::CONTENT_RANGE, &format!("bytes */{length}"));
            return response;
        }
    };
    let (from, to) = range.unwrap_or((0, length));
    let body = if method == Method::HEAD { Body::empty() } else { body(resource, from, to, slot) };
    let mut response = Response::new(body);
    set(&mut response, header::CONTENT_LENGTH, &(to - from).to_string());
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    set(&mut response, header::CONTENT_TYPE, content_type(path));
    if range.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        set(&mut response, header::CONTENT_RANGE, &format!("bytes {from}-{}/{length}", to - 1));
    }
    response
}

fn plain(status: StatusCode, extra: Option<(header::HeaderName, &'static str)>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    set(&mut response, header::CONTENT_LENGTH, "0");
    if let Some((name, value)) = extra {
        set(&mut response, name, value);
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

/// What a Range header asks of a file.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    /// From the first to before the second.
    Part(u64, u64),
    Nothing,
}

/// RFC 9110 §14.2: one range in bytes is honoured; several, or anything malformed, mean the whole file.
fn wanted(value: &HeaderValue, length: u64) -> Wanted {
    let spec = value.to_str().ok().and_then(|text| text.strip_prefix("bytes="));
    let Some((first, last)) =
        spec.filter(|spec| !spec.contains(',')).and_then(|spec| spec.trim().split_once('-'))
    else {
        return Wanted::All;
    };
    let number = |text: &str| -> Option<u64> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // A number past 2^64 is past the end of any file.
            Some(text.parse().unwrap_or(u64::MAX))
        } else {
            None
        }
    };
    match (first, number(first), last, number(last)) {
        ("", None, _, Some(0)) => Wanted::Nothing,
        ("", None, _, Some(_)) if length == 0 => Wanted::Nothing,
        ("", None, _, Some(count)) => Wanted::Part(length.saturating_sub(count), length),
        (_, Some(from), "", None) if from < length => Wanted::Part(from, length),
        (_, Some(from), _, Some(to)) if from <= to && from < length => {
            Wanted::Part(from, to.saturating_add(1).min(length))
        }
        (_, Some(from), _, Some(to)) if from > to => Wanted::All,
        (_, Some(_), "", None) | (_, Some(_), _, Some(_)) => Wanted::Nothing,
        _ => Wanted::All,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn of(spec: &str, length: u64) -> Wanted {
        wanted(&HeaderValue::from_str(spec).unwrap(), length)
    }

    #[test]
    fn one_range_is_honoured() {
        assert_eq!(of("bytes=0-0", 10), Wanted::Part(0, 1));
        assert_eq!(of("bytes=3-", 10), Wanted::Part(3, 10));
        assert_eq!(of("bytes=-4", 10), Wanted::Part(6, 10));
        assert_eq!(of("bytes=-40", 10), Wanted::Part(0, 10));
        assert_eq!(of("bytes=9-18446744073709551615", 10), Wanted::Part(9, 10));
    }

    #[test]
    fn a_range_past_the_end_has_nothing() {
        for spec in ["bytes=10-", "bytes=10-12", "bytes=-0", "bytes=99999999999999999999-"] {
            assert_eq!(of(spec, 10), Wanted::Nothing, "{spec}");
        }
        assert_eq!(of("bytes=-1", 0), Wanted::Nothing);
    }

    #[test]
    fn what_is_no_single_range_means_the_whole_file() {
        for spec in
            ["bytes=0-1,3-4", "bytes=5-2", "bytes=-", "bytes=", "lines=1-2", "bytes=a-b", "bytes=+1-2"]
        {
            assert_eq!(of(spec, 10), Wanted::All, "{spec}");
        }
    }
}
