//! Answers: which one a request gets, and the bytes of its head.

use std::fmt;
use std::io::Write as _;
use std::ops::Range;

use http::StatusCode;

use crate::error::HttpError;
use crate::range::{Asked, asked};
use crate::request::{Manner, Method, Request};

/// What there is to be had under a name.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// Its bytes.
    pub length: u64,
    /// What tells it from any other file of its name (RFC 9110 §8.8.3), if something does.
    pub tag: Option<&'a str>,
    /// Its media type.
    pub kind: &'static str,
}

/// An answer.
#[derive(Debug)]
pub enum Answer<'a> {
    /// All of a file.
    Whole(File<'a>),
    /// A part of it.
    Part(File<'a>, Range<u64>),
    /// So many bytes of this kind, which are made for this answer and can't be asked for in parts.
    Made(u64, &'static str),
    /// The client has it already.
    Known(&'a str),
    /// What was sent has been taken in, and there is nothing to say.
    Taken,
    /// No file, and words instead: shim waits ten seconds for the body of an answer that has none, three times in each boot.
    Refused(Refusal),
}

/// Why there is no file.
#[derive(Debug)]
pub enum Refusal {
    /// It was not GET, nor HEAD.
    Method,
    /// There is no file of that name for this client.
    Missing,
    /// There is one, and it cannot be read.
    Unreadable,
    /// A file of so many bytes ends before what is asked for.
    Beyond(u64),
    /// A condition names another file.
    Other,
    /// There is no room for it now; for this reason, and ask again after so many seconds.
    Busy(String, u64),
    /// For a reason that has words of its own; a status that no other reason here has.
    Said(StatusCode, String),
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Missing => StatusCode::NOT_FOUND,
            Self::Unreadable => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Beyond(_) => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Other => StatusCode::PRECONDITION_FAILED,
            Self::Busy(..) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Said(status, _) => *status,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy(words, _) => words,
            Self::Said(_, words) => words,
            Self::Method => "there are GET and HEAD",
            Self::Missing => "there is no such file for you here",
            Self::Unreadable => "the server cannot read this file, and its log says why",
            Self::Beyond(_) => "the file ends before that",
            Self::Other => "this is another file by now",
        })
    }
}

impl<'a> Answer<'a> {
    /// What a request gets, where this file is what it names.
    #[must_use]
    pub fn to(request: &Request<'_>, file: Option<File<'a>>) -> Self {
        if matches!(request.method, Method::Other | Method::Post) {
            return Self::Refused(Refusal::Method);
        }
        let Some(file) = file else { return Self::Refused(Refusal::Missing) };
        // RFC 9110 §14.2: a Range means something with GET alone. HEAD gives the length that the whole would have.
        match asked(&request.conditions, request.method == Method::Get, file.tag, file.length) {
            Asked::All => Self::Whole(file),
            Asked::Part(from, to) => Self::Part(file, from..to),
            Asked::Nothing => Self::Refused(Refusal::Beyond(file.length)),
            Asked::Other => Self::Refused(Refusal::Other),
            Asked::Known => Self::Known(file.tag.unwrap_or_default()),
        }
    }

    /// What of the file comes behind the head.
    #[must_use]
    pub fn part(&self, request: &Request<'_>) -> Range<u64> {
        match self {
            Self::Whole(file) if request.method == Method::Get => 0..file.length,
            Self::Part(_, part) => part.clone(),
            _ => 0..0,
        }
    }

    /// Appends the head, and the words of a refusal, and says whether another request may come behind it. `date` is that of
    /// now (RFC 9110 §5.6.7).
    ///
    /// Names of fields are written as GRUB and shim compare them (§5.1: any case).
    pub fn write(&self, request: &Request<'_>, date: &str, to: &mut Vec<u8>) -> bool {
        self.write_as(request.manner(), date, to)
    }

    /// The same for a request of which the head is gone by now.
    pub fn write_as(&self, manner: Manner, date: &str, to: &mut Vec<u8>) -> bool {
        let Manner { old, head, mut keeps } = manner;
        let version = if old { "1.0" } else { "1.1" };
        let mut field = |text: fmt::Arguments<'_>| line(to, text);
        field(format_args!("HTTP/{version} {}", self.status()));
        match self {
            Self::Whole(file) | Self::Part(file, _) => {
                let part = self.sent(file);
                field(format_args!("Content-Length: {}", part.end - part.start));
                field(format_args!("Accept-Ranges: bytes"));
                field(format_args!("Content-Type: {}", file.kind));
                if let Some(tag) = file.tag {
                    field(format_args!("Etag: {tag}"));
                }
                if matches!(self, Self::Part(..)) {
                    let last = part.end.saturating_sub(1);
                    field(format_args!("Content-Range: bytes {}-{last}/{}", part.start, file.length));
                }
            }
            Self::Made(length, kind) => {
                field(format_args!("Content-Length: {length}"));
                field(format_args!("Content-Type: {kind}"));
            }
            Self::Taken => {}
            Self::Known(tag) => {
                field(format_args!("Etag: {tag}"));
            }
            Self::Refused(refusal) => {
                // What has no body to wait for ends with the connection.
                keeps &= !head;
                field(format_args!("Content-Length: {}", words(refusal).len()));
                field(format_args!("Content-Type: text/plain; charset=utf-8"));
                match refusal {
                    Refusal::Method => field(format_args!("Allow: GET, HEAD")),
                    Refusal::Beyond(length) => field(format_args!("Content-Range: bytes */{length}")),
                    // RFC 9110 §11.6.1: a 401 says how to show who one is.
                    Refusal::Said(StatusCode::UNAUTHORIZED, _) => {
                        field(format_args!("WWW-Authenticate: Bearer"));
                    }
                    // RFC 9110 §10.2.3.
                    Refusal::Busy(_, after) => field(format_args!("Retry-After: {after}")),
                    Refusal::Missing | Refusal::Unreadable | Refusal::Other | Refusal::Said(..) => {}
                }
            }
        }
        if let Some(connection) = connection(keeps, old) {
            field(format_args!("Connection: {connection}"));
        }
        field(format_args!("Date: {date}\r\n"));
        if let (Self::Refused(refusal), false) = (self, head) {
            to.extend_from_slice(words(refusal).as_bytes());
        }
        keeps
    }

    fn sent(&self, file: &File<'_>) -> Range<u64> {
        match self {
            Self::Part(_, part) => part.clone(),
            _ => 0..file.length,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Whole(_) | Self::Made(..) => StatusCode::OK,
            Self::Part(..) => StatusCode::PARTIAL_CONTENT,
            Self::Known(_) => StatusCode::NOT_MODIFIED,
            Self::Taken => StatusCode::NO_CONTENT,
            Self::Refused(refusal) => refusal.status(),
        }
    }
}

impl HttpError {
    /// Appends the answer to what is no request. The connection ends behind it.
    pub fn write(self, date: &str, to: &mut Vec<u8>) {
        line(to, format_args!("HTTP/1.1 {}", self.status()));
        line(to, format_args!("Connection: close\r\nContent-Length: 0\r\nDate: {date}\r\n"));
    }
}

fn words(refusal: &Refusal) -> String {
    format!("{}: {refusal}\n", refusal.status())
}

/// What is said of the connection. HTTP/1.0 ends one of which nothing is said.
fn connection(keeps: bool, old: bool) -> Option<&'static str> {
    match (keeps, old) {
        (true, false) | (false, true) => None,
        (true, true) => Some("keep-alive"),
        (false, false) => Some("close"),
    }
}

/// A line of a head.
fn line(to: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    // A vector takes all that is written to it.
    let _ = to.write_fmt(text);
    to.extend_from_slice(b"\r\n");
}
