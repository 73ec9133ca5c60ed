//! What the fuzzer runs (`http_head` of fuzz/), and `main` replays: any bytes as a connection's.
//!
//! What must hold: a head is read the same however it arrives and whatever comes behind it, and no part of it is one; what is
//! refused stays refused; behind a body no request is read; each answer's head is one that httparse reads, with one line for
//! each field and nothing of the request in it.

use oneroot_http::{Answer, File, HEAD_BYTES, HttpError, Inbox, Method, Request};

const DATE: &str = "Mon, 30 Nov 2026 05:00:00 GMT";
const FILE: File<'_> = File { length: 70_000, tag: Some("\"a1\""), kind: "application/octet-stream" };

/// Runs one input.
pub fn run(data: &[u8]) {
    let all = conversation(data, HEAD_BYTES);
    assert_eq!(conversation(data, 1 + data.len() % 7), all, "in pieces it is another conversation");
    if let Ok(Some(request)) = Request::parse(data) {
        let length = request.head_length();
        assert!(0 < length && length <= data.len().min(HEAD_BYTES));
        for end in [0, length / 2, length - 1] {
            assert!(matches!(Request::parse(&data[..end]), Ok(None)), "{end} of {length} bytes are a head");
        }
        assert_eq!(Request::parse(&data[..length]).unwrap().unwrap().head_length(), length);
    }
}

/// All that is answered, and what the conversation ends by, if it does.
fn conversation(data: &[u8], piece: usize) -> (Vec<u8>, Option<HttpError>) {
    let (mut inbox, mut rest, mut told) = (Inbox::default(), data, Vec::new());
    loop {
        let request = match inbox.first() {
            Ok(Some(request)) => request,
            Ok(None) if rest.is_empty() => return (told, None),
            Ok(None) => {
                let count = piece.min(inbox.room()).min(rest.len());
                assert!(count > 0, "a head that is too large is waited for");
                inbox.push(&rest[..count]);
                rest = &rest[count..];
                continue;
            }
            Err(cause) => {
                let start = told.len();
                cause.write(DATE, &mut told);
                look(&told[start..]);
                return (told, Some(cause));
            }
        };
        let start = told.len();
        let file = (request.method != Method::Other && request.target.path() == "/x").then_some(FILE);
        let answer = Answer::to(&request, file);
        let keeps = answer.write(&request, DATE, &mut told);
        look(&told[start..]);
        let part = answer.part(&request);
        assert!(part.start <= part.end && part.end <= FILE.length);
        assert!(!keeps || !request.has_body(), "a body is taken for a request");
        if !keeps {
            return (told, None);
        }
        let length = request.head_length();
        inbox.pass(length);
    }
}

/// An answer's head as a client reads it.
fn look(head: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut answer = httparse::Response::new(&mut fields);
    assert!(answer.parse(head).unwrap().is_complete());
    let names: Vec<&str> = answer.headers.iter().map(|field| field.name).collect();
    let known = [
        "Content-Length",
        "Accept-Ranges",
        "Content-Type",
        "Etag",
        "Content-Range",
        "Allow",
        "Connection",
        "Date",
    ];
    for (number, name) in names.iter().enumerate() {
        assert!(known.contains(name) && !names[..number].contains(name), "{name}");
    }
    assert_eq!(names.last(), Some(&"Date"));
}

/// Requests of every kind, alone and one behind the other.
pub fn seeds() -> Vec<Vec<u8>> {
    let heads = [
        "GET /x HTTP/1.1\r\nHost: x\r\n\r\n",
        "HEAD /x HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /y HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "HEAD /y HTTP/1.1\r\n\r\n",
        "PUT /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nGET",
        "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /x?a=b HTTP/1.1\r\nRange: bytes=5-9\r\nIf-Range: \"a1\"\r\n\r\n",
        "GET http://x/x HTTP/1.1\r\nRange: bytes=99999-\r\n\r\n",
        "GET /x HTTP/1.1\r\nIf-None-Match: W/\"a1\"\r\nConnection: close\r\n\r\n",
        "GET /x HTTP/1.1\r\nIf-Match: \"b2\"\r\nExpect: 100-continue\r\n\r\n",
        "GET /x HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "GET /x HTTP/1.1\nHost: x\n\n",
        "OPTIONS * HTTP/1.1\r\n\r\n",
        "CONNECT x:1 HTTP/1.1\r\n\r\n",
        "\r\n\r\nGET /x HTTP/2.0\r\n\r\n",
        "GET /x HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
    ];
    let alone = heads.iter().map(|head| head.as_bytes().to_vec());
    let pairs = heads.windows(2).map(|two| two.concat().into_bytes());
    alone.chain(pairs).collect()
}
