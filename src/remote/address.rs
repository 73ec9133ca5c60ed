//! Where a server is: `http://SERVER[:PORT]` or `https://SERVER[:PORT]`.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;
use hyper::http::uri::Scheme;

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
    pub secured: bool,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused =
            |why: &str| format!("{text:?} {why}; it is http://SERVER[:PORT] or https://SERVER[:PORT]");
        let uri: Uri = text.parse().map_err(|_| refused("is no URL"))?;
        let secured = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(refused("does not say how")),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(refused("has a path"));
        }
        let authority = uri.authority().ok_or_else(|| refused("names no server"))?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(refused("names no server"));
        }
        let port = authority.port_u16().unwrap_or(if secured { 443 } else { 80 });
        Ok(Self { host: authority.host().to_owned(), port, secured })
    }
}

impl Address {
    /// As a request names it.
    pub fn host(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// What is looked up: an IPv6 address without its brackets.
    pub fn authority(&self) -> (&str, u16) {
        (self.name(), self.port)
    }

    /// The server's name.
    pub fn name(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", if self.secured { "https" } else { "http" }, self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_server_and_perhaps_a_port_and_nothing_else() {
        for (text, shown) in [
            ("http://server", "http://server:80"),
            ("https://10.0.0.1:8443/", "https://10.0.0.1:8443"),
            ("http://[fd00::1]:8080", "http://[fd00::1]:8080"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
        for text in [
            "server",
            "ftp://server",
            "http://server/tree",
            "http://me:secret@server",
            "http://",
            "http://a?b",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
