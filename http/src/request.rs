//! Request heads (RFC 9112 §2 to §6): where one ends, what it asks for, and whether the connection goes on behind it.

use http::Uri;
use httparse::{EMPTY_HEADER, Header, Status};

use crate::error::HttpError;
use crate::range::{Conditions, text};

/// Bytes of a request head at most.
pub const HEAD_BYTES: usize = 16 * 1024;
/// Fields of a request head at most.
pub const MOST_FIELDS: usize = 100;

/// What is wanted of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The file.
    Get,
    /// What GET would say of it.
    Head,
    /// What is there for what is sent along.
    Post,
    /// Something that nobody does here.
    Other,
}

/// One request's head.
#[derive(Debug)]
pub struct Request<'a> {
    /// What is wanted.
    pub method: Method,
    /// Of what.
    pub target: Uri,
    /// And on what conditions.
    pub conditions: Conditions<'a>,
    /// By whom, where that is told by a token.
    pub bearer: Option<Bearer<'a>>,
    /// Whether the client speaks HTTP/1.0.
    pub(crate) old: bool,
    /// Whether another request may come behind the answer.
    pub(crate) keeps: bool,
    body: bool,
    /// Bytes of the body, where the head says how many there are.
    announced: Option<u64>,
    length: usize,
}

/// How a request is answered, whatever with: it outlasts the head.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Whether the client speaks HTTP/1.0.
    pub(crate) old: bool,
    /// Whether it wants the head alone.
    pub(crate) head: bool,
    /// Whether another request may come behind the answer.
    pub(crate) keeps: bool,
}

impl Manner {
    /// The same, and the connection ends behind it.
    #[must_use]
    pub fn last(self) -> Self {
        Self { keeps: false, ..self }
    }
}

impl<'a> Request<'a> {
    /// How it is to be answered.
    #[must_use]
    pub fn manner(&self) -> Manner {
        Manner { old: self.old, head: self.method == Method::Head, keeps: self.keeps }
    }

    /// The first head in what has arrived; `None` while it has not all arrived.
    ///
    /// # Errors
    /// When it can be none, whatever may follow.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<Self>, HttpError> {
        let mut fields = [EMPTY_HEADER; MOST_FIELDS];
        let mut head = httparse::Request::new(&mut fields);
        let length = match head.parse(bytes) {
            Ok(Status::Complete(length)) => length,
            Ok(Status::Partial) if bytes.len() < HEAD_BYTES => return Ok(None),
            Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => return Err(HttpError::TooLarge),
            Err(_) => return Err(HttpError::Malformed),
        };
        if length > HEAD_BYTES {
            return Err(HttpError::TooLarge);
        }
        let method = match head.method {
            Some("GET") => Method::Get,
            Some("HEAD") => Method::Head,
            Some("POST") => Method::Post,
            _ => Method::Other,
        };
        let target = head.path.unwrap_or_default().parse().map_err(|_| HttpError::Malformed)?;
        let old = head.version == Some(0);
        let mut framing = Framing { old, says_close: false, says_keep: false, chunked: None, length: None };
        let (mut conditions, mut authorization) = (Conditions::default(), None);
        for field in head.headers.iter() {
            framing.note(field)?;
            conditions.note(field.name, field.value);
            // Of two, what is in front of us and we could each take another one.
            if field.name.eq_ignore_ascii_case("authorization")
                && authorization.replace(field.value).is_some()
            {
                return Err(HttpError::Malformed);
            }
        }
        let bearer = authorization.map(Bearer::parse).transpose()?.flatten();
        let body = framing.has_body()?;
        let keeps = !body && framing.wants_more();
        let announced = framing.length.filter(|_| framing.chunked.is_none());
        Ok(Some(Self { method, target, conditions, bearer, old, keeps, body, announced, length }))
    }

    /// Bytes of the head, its end included.
    #[must_use]
    pub fn head_length(&self) -> usize {
        self.length
    }

    /// Bytes of the body, where the head says how many there are: one in pieces is never read.
    #[must_use]
    pub fn body_length(&self) -> Option<u64> {
        self.announced
    }

    /// Whether bytes come behind it that are no other request.
    #[must_use]
    pub fn has_body(&self) -> bool {
        self.body
    }
}

/// A token that a request is made with (RFC 6750 §2.1). Its text is in no `Debug` output: that ends in logs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bearer<'a>(&'a str);

impl<'a> Bearer<'a> {
    /// Of the value of an Authorization field (RFC 9110 §11.4); nothing where that has another scheme.
    fn parse(value: &'a [u8]) -> Result<Option<Self>, HttpError> {
        let value = text(value).ok_or(HttpError::Malformed)?;
        let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Ok(None);
        }
        let token = token.trim_matches(' ');
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
        let rest = token.trim_end_matches('=');
        if rest.is_empty() || !rest.bytes().all(plain) {
            return Err(HttpError::Malformed);
        }
        Ok(Some(Self(token)))
    }

    /// As it was sent.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

impl std::fmt::Debug for Bearer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bearer(…)")
    }
}

/// What the fields say of where the request ends, and of whether another may follow.
struct Framing {
    old: bool,
    says_close: bool,
    says_keep: bool,
    /// Whether the last transfer coding is "chunked"; none where there is no coding.
    chunked: Option<bool>,
    length: Option<u64>,
}

impl Framing {
    fn note(&mut self, field: &Header<'_>) -> Result<(), HttpError> {
        if field.name.eq_ignore_ascii_case("connection") {
            let says = |word: &str| {
                text(field.value)
                    .is_some_and(|list| list.split(',').any(|one| one.trim().eq_ignore_ascii_case(word)))
            };
            self.says_close |= says("close");
            self.says_keep |= says("keep-alive");
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            let last = text(field.value).and_then(|list| list.rsplit(',').next());
            self.chunked = Some(last.is_some_and(|coding| coding.trim().eq_ignore_ascii_case("chunked")));
        } else if field.name.eq_ignore_ascii_case("content-length") {
            // One that says two lengths is how a request is hidden in another (RFC 9112 §6.3).
            let length = digits(field.value).ok_or(HttpError::Malformed)?;
            if self.length.replace(length).is_some_and(|before| before != length) {
                return Err(HttpError::Malformed);
            }
        }
        Ok(())
    }

    fn has_body(&self) -> Result<bool, HttpError> {
        // RFC 9112 §6.1 and §6.3: HTTP/1.0 has no codings, and one that ends by another than "chunked" has no end.
        if self.chunked == Some(false) || self.old && self.chunked.is_some() {
            return Err(HttpError::Malformed);
        }
        Ok(self.chunked.is_some() || self.length.is_some_and(|length| length > 0))
    }

    /// Whether the client would ask for more (RFC 9112 §9.3).
    fn wants_more(&self) -> bool {
        !self.says_close && (!self.old || self.says_keep)
    }
}

fn digits(value: &[u8]) -> Option<u64> {
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    text(value)?.parse().ok()
}

/// What a client has sent and nobody has answered yet: part of a head, or heads that have come before their turn.
#[derive(Debug, Default)]
pub struct Inbox(Vec<u8>);

impl Inbox {
    /// Bytes that there is room for: while a head is not whole, a byte more than heads may have shows that it is too large.
    #[must_use]
    pub fn room(&self) -> usize {
        HEAD_BYTES.saturating_sub(self.0.len())
    }

    /// Takes in what has arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The request whose turn it is; `None` while its head has not all arrived.
    ///
    /// # Errors
    /// When it is none.
    pub fn first(&self) -> Result<Option<Request<'_>>, HttpError> {
        if self.0.is_empty() { Ok(None) } else { Request::parse(&self.0) }
    }

    /// Takes out what has come of a body, behind a head of so many bytes that is forgotten with it.
    pub fn body(&mut self, head: usize) -> Vec<u8> {
        let body = self.0.get(head..).unwrap_or_default().to_vec();
        self.0 = Vec::new();
        body
    }

    /// Forgets a head of so many bytes, which is answered. What is empty then takes no memory.
    pub fn pass(&mut self, length: usize) {
        if length >= self.0.len() {
            self.0 = Vec::new();
        } else {
            self.0.drain(..length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeps(head: &str) -> Result<bool, HttpError> {
        Request::parse(head.as_bytes()).map(|request| request.unwrap().keeps)
    }

    #[test]
    fn a_connection_goes_on_where_both_versions_of_http_say_so() {
        let of =
            |version: &str, fields: &str| keeps(&format!("GET / HTTP/{version}\r\nHost: x\r\n{fields}\r\n"));
        assert_eq!(of("1.1", ""), Ok(true));
        assert_eq!(of("1.0", ""), Ok(false));
        assert_eq!(of("1.0", "Connection: Keep-Alive\r\n"), Ok(true));
        assert_eq!(of("1.1", "Connection: te, close\r\n"), Ok(false));
        assert_eq!(of("1.1", "Connection: close\r\nConnection: keep-alive\r\n"), Ok(false));
    }

    #[test]
    fn behind_a_body_there_is_no_other_request() {
        let of = |fields: &str| keeps(&format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
        assert_eq!(of("Content-Length: 0\r\n"), Ok(true));
        assert_eq!(of("Content-Length: 0\r\nContent-Length: 00\r\n"), Ok(true));
        for body in [
            "Content-Length: 1\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert_eq!(of(body), Ok(false), "{body}");
        }
    }

    #[test]
    fn a_head_that_says_two_things_of_its_body_is_none() {
        let of =
            |version: &str, fields: &str| keeps(&format!("GET / HTTP/{version}\r\nHost: x\r\n{fields}\r\n"));
        for fields in [
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: chunked, gzip\r\n",
            "Transfer-Encoding: identity\r\n",
            "Content-Length : 1\r\n",
            "Host: x\r\n folded\r\n",
        ] {
            assert_eq!(of("1.1", fields), Err(HttpError::Malformed), "{fields}");
        }
        assert_eq!(of("1.0", "Transfer-Encoding: chunked\r\n"), Err(HttpError::Malformed));
    }

    #[test]
    fn a_token_is_taken_in_whatever_case_its_scheme_is_written_and_two_fields_are_no_request() {
        let of = |fields: &str| {
            let head = format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
            let request = Request::parse(head.as_bytes())?.unwrap();
            assert!(!format!("{request:?}").contains("s3cret"), "it would be in a log");
            Ok(request.bearer.map(|bearer| bearer.as_str().to_owned()))
        };
        for scheme in ["Bearer", "bearer", "BEARER", "bEARER", "Bearer   "] {
            assert_eq!(
                of(&format!("Authorization: {scheme} s3cret_-.~+/==\r\n")).unwrap().unwrap(),
                "s3cret_-.~+/=="
            );
        }
        assert_eq!(of("authorization:Bearer s3cret \r\n"), Ok(Some("s3cret".to_owned())));
        for other in [
            "",
            "Authorization: Basic s3cret\r\n",
            "Authorization: Bearers s3cret\r\n",
            "Authorization: \r\n",
        ] {
            assert_eq!(of(other), Ok(None), "{other}");
        }
        for wrong in [
            "Authorization: Bearer\r\n",
            "Authorization: Bearer =\r\n",
            "Authorization: Bearer s3cret more\r\n",
            "Authorization: Bearer s3=cret\r\n",
            "Authorization: Bearer s3\u{e9}\r\n",
            "Authorization: Bearer s3cret\r\nAuthorization: Bearer s3cret\r\n",
            "Authorization: Basic s3cret\r\nauthorization: Bearer s3cret\r\n",
        ] {
            assert_eq!(of(wrong), Err(HttpError::Malformed), "{wrong}");
        }
    }

    #[test]
    fn a_head_is_read_up_to_its_bound_and_no_further() {
        let head = |bytes: usize| {
            let start = "GET / HTTP/1.1\r\nX: ";
            format!("{start}{}\r\n\r\n", "y".repeat(bytes - start.len() - 4))
        };
        assert!(Request::parse(head(HEAD_BYTES).as_bytes()).unwrap().is_some());
        for bytes in [HEAD_BYTES + 1, 10 * HEAD_BYTES] {
            assert_eq!(Request::parse(head(bytes).as_bytes()).unwrap_err(), HttpError::TooLarge);
        }
        let part = head(2 * HEAD_BYTES);
        assert!(Request::parse(&part.as_bytes()[..HEAD_BYTES - 1]).unwrap().is_none());
        assert_eq!(Request::parse(&part.as_bytes()[..HEAD_BYTES]).unwrap_err(), HttpError::TooLarge);
        let fields = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(count));
        assert!(Request::parse(fields(MOST_FIELDS).as_bytes()).unwrap().is_some());
        assert_eq!(Request::parse(fields(MOST_FIELDS + 1).as_bytes()).unwrap_err(), HttpError::TooLarge);
    }

    #[test]
    fn heads_that_came_before_their_turn_are_kept_in_order_and_what_is_empty_takes_no_memory() {
        let mut inbox = Inbox::default();
        inbox.push(b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\nGET /c");
        for name in ["/a", "/b"] {
            let request = inbox.first().unwrap().unwrap();
            assert_eq!(request.target.path(), name);
            let length = request.head_length();
            inbox.pass(length);
        }
        assert!(inbox.first().unwrap().is_none());
        inbox.push(b" HTTP/1.1\r\n\r\n");
        let length = inbox.first().unwrap().unwrap().head_length();
        inbox.pass(length);
        assert_eq!(inbox.0.capacity(), 0);
    }
}
