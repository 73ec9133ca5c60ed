//! Where a machine's log goes, so that it outlives the machine's next boot: `log` of a profile.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A host that takes logs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogPlace {
    /// systemd-journal-remote(8), at this URL.
    Journal(String),
    /// Syslog over UDP (RFC 5426), at this host and port.
    Syslog(String),
}

impl fmt::Display for LogPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal(url) => f.write_str(url),
            Self::Syslog(host) => write!(f, "syslog://{host}"),
        }
    }
}

impl LogPlace {
    /// As a site file has it: `http://HOST:19532`, `https://…` or `syslog://HOST[:PORT]`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (kind, host) = text.split_once("://").unwrap_or_default();
        let is_good = |letter: char| letter.is_ascii_alphanumeric() || "._-:[]".contains(letter);
        match kind {
            _ if host.is_empty() || host.len() > 255 || !host.chars().all(is_good) => {}
            "http" | "https" => return Ok(Self::Journal(text.to_owned())),
            "syslog" => return Ok(Self::Syslog(host.to_owned())),
            _ => {}
        }
        Err(format!(
            "{text:?} is no place for logs, such as \"http://logs:19532\" (systemd-journal-remote) or \"syslog://logs\""
        ))
    }
}
