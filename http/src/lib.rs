//! HTTP/1.1 for boot files (RFC 9110, 9112): bytes in, bytes out.
//!
//! GET and HEAD, single ranges, conditions by tags, connections that are kept, requests that are sent before their turn. The
//! crate opens no socket, reads no clock and touches no file. A shell hands what arrives to an [`Inbox`], finds what the
//! [`Request`] it has read there asks for, lets [`Answer::to`] decide, and sends the head that [`Answer::write`] makes and
//! the [part](Answer::part) of the file that is due behind it.
//!
//! Nothing of a request's body is ever read: a request that has one is answered, and its connection ends with the answer. So
//! no byte of a body can be taken for a request.

mod answer;
mod error;
mod range;
mod request;

pub use answer::{Answer, File, Refusal};
pub use error::HttpError;
pub use range::{Asked, Conditions, asked};
pub use request::{HEAD_BYTES, Inbox, MOST_FIELDS, Method, Request};
