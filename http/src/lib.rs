//! HTTP/1.1 for boot files and trees (RFC 9110, 9112): bytes in, bytes out.
//!
//! GET, HEAD and POST, single ranges, conditions by tags, connections that are kept, requests that are sent before their turn. The
//! crate opens no socket, reads no clock and touches no file. A shell hands what arrives to an [`Inbox`], finds what the
//! [`Request`] it has read there asks for, lets [`Answer::to`] decide, and sends the head that [`Answer::write`] makes and
//! the [part](Answer::part) of the file that is due behind it.
//!
//! A request that has a body is the last of its connection, whether somebody reads the body or not. So no byte of a body can be
//! taken for a request.

mod answer;
mod error;
mod range;
mod request;

pub use answer::{Answer, File, Refusal};
pub use error::HttpError;
pub use http::StatusCode;
pub use range::{Asked, Conditions, asked};
pub use request::{Bearer, HEAD_BYTES, Inbox, MOST_FIELDS, Manner, Method, Request};
