//! Whole conversations, answered by this crate and by hyper: the same bytes, whatever is asked in whatever order.
//!
//! hyper answered here before, and firmware was booted by its answers. Left out is what is otherwise by intent: a body that is
//! sent ends its connection, and a refusal of HEAD says of HTTP/1.0 nothing that HTTP/1.0 takes for granted.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request as HyperRequest, Response, StatusCode};
use hyper_util::rt::TokioIo;
use oneroot_http::{Answer, Asked, Conditions, File, Inbox, Request, asked};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const DATE: &str = "Mon, 30 Nov 2026 05:00:00 GMT";
const LAST: &str = "GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// What there is: name, length, tag.
const FILES: [(&str, usize, Option<&str>); 4] = [
    ("/big", 70_000, Some("\"a1\"")),
    ("/small", 10, Some("\"b2\"")),
    ("/script", 300, None),
    ("/empty", 0, Some("\"c3\"")),
];
const KIND: &str = "application/octet-stream";

fn found(path: &str) -> Option<(Vec<u8>, Option<&'static str>)> {
    let (_, length, tag) = FILES.iter().find(|file| file.0 == path)?;
    Some(((0..*length).map(|at| (at % 251) as u8).collect(), *tag))
}

fn ours(said: &[u8]) -> Vec<u8> {
    let (mut inbox, mut rest, mut told) = (Inbox::default(), said, Vec::new());
    loop {
        let request: Request<'_> = match inbox.first() {
            Ok(Some(request)) => request,
            Ok(None) => {
                let (some, more) = rest.split_at(inbox.room().min(rest.len()));
                assert!(!some.is_empty(), "it waits for more");
                inbox.push(some);
                rest = more;
                continue;
            }
            Err(cause) => {
                cause.write(DATE, &mut told);
                return told;
            }
        };
        let there = found(request.target.path());
        let file =
            there.as_ref().map(|(bytes, tag)| File { length: bytes.len() as u64, tag: *tag, kind: KIND });
        let answer = Answer::to(&request, file);
        let keeps = answer.write(&request, DATE, &mut told);
        let part = answer.part(&request);
        if let Some((bytes, _)) = &there {
            told.extend(&bytes[part.start as usize..part.end as usize]);
        }
        if !keeps {
            return told;
        }
        let length = request.head_length();
        inbox.pass(length);
    }
}

/// Words, or a file, of which hyper was not told beforehand how long it is.
struct Sent {
    bytes: Full<Bytes>,
    is_known: bool,
}

impl Sent {
    fn known(words: impl Into<Bytes>) -> Self {
        Self { bytes: Full::from(words.into()), is_known: true }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.bytes).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.is_known && self.bytes.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_known { self.bytes.size_hint() } else { SizeHint::default() }
    }
}

/// As it was before this crate, on hyper's types.
fn as_before(request: &HyperRequest<Incoming>) -> Response<Sent> {
    let (method, headers) = (request.method(), request.headers());
    let refused = |status: StatusCode, words: &str| {
        let words = format!("{status}: {words}\n");
        let length = words.len();
        let is_head = method == hyper::Method::HEAD;
        let mut response = Response::new(if is_head { Sent::known("") } else { Sent::known(words) });
        *response.status_mut() = status;
        set(&mut response, header::CONTENT_LENGTH, &length.to_string());
        set(&mut response, header::CONTENT_TYPE, "text/plain; charset=utf-8");
        if is_head {
            set(&mut response, header::CONNECTION, "close");
        }
        response
    };
    if method != hyper::Method::GET && method != hyper::Method::HEAD {
        let mut response = refused(StatusCode::METHOD_NOT_ALLOWED, "there are GET and HEAD");
        set(&mut response, header::ALLOW, "GET, HEAD");
        return response;
    }
    let Some((bytes, tag)) = found(request.uri().path()) else {
        return refused(StatusCode::NOT_FOUND, "there is no such file for you here");
    };
    let length = bytes.len() as u64;
    let mut conditions = Conditions::default();
    headers.iter().for_each(|(name, value)| conditions.note(name.as_str(), value.as_bytes()));
    let (from, to, status) = match asked(&conditions, method == hyper::Method::GET, tag, length) {
        Asked::All => (0, length, StatusCode::OK),
        Asked::Part(from, to) => (from, to, StatusCode::PARTIAL_CONTENT),
        Asked::Nothing => {
            let mut response = refused(StatusCode::RANGE_NOT_SATISFIABLE, "the file ends before that");
            set(&mut response, header::CONTENT_RANGE, &format!("bytes */{length}"));
            return response;
        }
        Asked::Other => return refused(StatusCode::PRECONDITION_FAILED, "this is another file by now"),
        Asked::Known => {
            let mut response = Response::new(Sent::known(""));
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            set(&mut response, header::ETAG, tag.unwrap_or_default());
            return response;
        }
    };
    let part = bytes[from as usize..to as usize].to_vec();
    let body = if method == hyper::Method::HEAD {
        Sent::known("")
    } else {
        Sent { bytes: Full::from(part), is_known: false }
    };
    let mut response = Response::new(body);
    set(&mut response, header::CONTENT_LENGTH, &(to - from).to_string());
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    set(&mut response, header::CONTENT_TYPE, KIND);
    if let Some(tag) = tag {
        set(&mut response, header::ETAG, tag);
    }
    *response.status_mut() = status;
    if status == StatusCode::PARTIAL_CONTENT {
        set(&mut response, header::CONTENT_RANGE, &format!("bytes {from}-{}/{length}", to - 1));
    }
    response
}

fn set(response: &mut Response<Sent>, name: HeaderName, value: &str) {
    response.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
}

fn hypers(said: &[u8]) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(4 << 20);
        client.write_all(said).await.unwrap();
        let answer =
            service_fn(
                |request: HyperRequest<Incoming>| async move { Ok::<_, Infallible>(as_before(&request)) },
            );
        let connection = hyper::server::conn::http1::Builder::new()
            .max_buf_size(oneroot_http::HEAD_BYTES)
            .title_case_headers(true)
            .serve_connection(TokioIo::new(server), answer);
        let _ = connection.await;
        let mut told = Vec::new();
        client.read_to_end(&mut told).await.unwrap();
        told
    })
}

/// With one date for all.
fn undated(told: Vec<u8>) -> String {
    let text: String = told.into_iter().map(char::from).collect();
    let parts = text.split("\r\nDate: ").enumerate();
    parts
        .map(
            |(number, part)| {
                if number == 0 { part.to_owned() } else { format!("\r\nDate: {DATE}{}", &part[DATE.len()..]) }
            },
        )
        .collect()
}

fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(words)
}

fn field() -> impl Strategy<Value = String> {
    let range = (prop::option::of(0..90_000u32), prop::option::of(0..90_000u32)).prop_map(|(from, to)| {
        let text = |number: Option<u32>| number.map_or_else(String::new, |number| number.to_string());
        format!("Range: bytes={}-{}", text(from), text(to))
    });
    let others = one_of(&[
        "Host: x",
        "Range: bytes=0-0",
        "range: bytes=0-1,4-5",
        "Range: lines=1-2",
        "Range:bytes=-3",
        "If-Range: \"a1\"",
        "If-Range: \"b2\"",
        "If-Match: \"b2\"",
        "If-Match: *",
        "if-none-match: W/\"a1\", \"b2\"",
        "If-None-Match: *",
        "If-Modified-Since: Sun, 29 Nov 2026 10:00:00 GMT",
        "Content-Length: 0",
        "Expect: 100-continue",
        "Connection: keep-alive",
        "Connection: Keep-Alive, TE",
        "User-Agent: iPXE/1.21.1",
        "X-Odd: \u{e9}\t ",
        "X-Empty:",
    ]);
    prop_oneof![2 => range, 6 => others.prop_map(str::to_owned)]
}

fn request() -> impl Strategy<Value = String> {
    let line = (
        prop_oneof![6 => Just("GET"), 2 => Just("HEAD"), 1 => one_of(&["PUT", "OPTIONS", "BREW"])],
        one_of(&[
            "/big",
            "/small",
            "/script",
            "/empty",
            "/nothing",
            "/small?a=b&c",
            "http://h:80/small",
            "*",
            "/%2e%2e/x",
        ]),
        prop_oneof![8 => Just("1.1"), 1 => Just("1.0")],
        one_of(&["\r\n", "\n"]),
    );
    (line, prop::collection::vec(field(), 0..5)).prop_map(|((method, path, version, end), mut fields)| {
        // What hyper says of a refused HEAD of HTTP/1.0 is no promise.
        let version = if method == "HEAD" { "1.1" } else { version };
        fields.insert(0, format!("{method} {path} HTTP/{version}"));
        fields.join(end) + end + end
    })
}

/// What is no request.
fn broken() -> impl Strategy<Value = String> {
    let words = one_of(&[
        "GET\r\n\r\n",
        "GET /x HTTP/1.1\r\nno field\r\n\r\n",
        "GET /x HTTP/3.0\r\n\r\n",
        "GET x HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "GET /x HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        "GET /x HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n",
        "GET /x HTTP/1.1\r\n folded: x\r\n\r\n",
        "G\u{e9}T /x HTTP/1.1\r\n\r\n",
        "GET /\u{1}x HTTP/1.1\r\n\r\n",
    ]);
    let many = Just(format!("GET /x HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(101)));
    let large = Just(format!("GET /x HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(40_000)));
    prop_oneof![6 => words.prop_map(str::to_owned), 1 => many, 1 => large]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn every_conversation_is_answered_byte_for_byte_as_hyper_does(
        requests in prop::collection::vec(request(), 0..6),
        broken in prop::option::weighted(0.2, broken()),
    ) {
        // Of what is no request nobody knows its version: hyper takes the last one's.
        prop_assume!(broken.is_none() || requests.iter().all(|request| !request.contains("HTTP/1.0")));
        let said = requests.concat() + &broken.unwrap_or_default() + LAST;
        let (ours, hypers) = (undated(ours(said.as_bytes())), undated(hypers(said.as_bytes())));
        let at = ours.chars().zip(hypers.chars()).take_while(|(one, other)| one == other).count();
        let around = |told: &str| told.chars().skip(at.saturating_sub(200)).take(400).collect::<String>();
        prop_assert!(ours == hypers, "ours: {:?}\nhyper's: {:?}\nto {said}", around(&ours), around(&hypers));
    }
}
