//! Why a head is no request. After either the connection ends, for nobody knows where the next request begins.

use http::StatusCode;

/// What is wrong with a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// It breaks the grammar of RFC 9112, or says two things of where its body ends.
    #[error("malformed request head")]
    Malformed,
    /// It is longer, or has more fields, than a server reads.
    #[error("request head is too large: send at most 16 KiB in 100 fields")]
    TooLarge,
}

impl HttpError {
    /// What the client is told.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        }
    }
}
