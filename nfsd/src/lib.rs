//! ONC RPC, portmap v2, MOUNT v3 and NFS v3: bytes in, bytes out, over a view.
//!
//! The crate opens no socket, reads no clock and touches no file. A shell owns the connections and asks three
//! things of it: [`RecordStream`] cuts a TCP stream into records, [`Service::call`] answers one record or
//! datagram, and [`Service::mounted`] answers a MNT once the shell has made its pin durable. What a reply
//! says about files comes from two traits that the shell implements: [`Tree`] (a merged view, in memory) and
//! [`Exports`] (who may use which).
//!
//! Bottom to top: `xdr` and `record` are wire shapes, `rpc` is the call and its refusals, `handle` is how a
//! node is named for ever, with the `tags` that nobody else can make, `access`, `ops` and `request` are the file rules with no protocol version in them, `portmap`,
//! `mount` and `nfs3` are codecs over those, and `service` picks the codec.

mod access;
mod attributes;
mod error;
mod exports;
mod handle;
mod limits;
mod mount;
mod nfs3;
mod ops;
mod portmap;
mod record;
mod replies;
mod request;
mod rpc;
pub mod rpcbind;
mod service;
mod tags;
mod tree;
mod xdr;

pub use access::{Caller, Rights};
pub use attributes::{Unseen, unseen};
pub use error::Error;
pub use exports::{Exports, Refusal};
pub use handle::{HANDLE_LEN, Handle, Keyring, ViewId};
pub use limits::{MAX_FRAGMENTS, MAX_RECORD};
pub use mount::{MAX_PATH, MountCall, MountError, MountGrant};
pub use nfs3::{MAX_LISTING, MAX_READ};
pub use portmap::{Mapping, MappingProtocol, PortTable, Ports};
pub use record::RecordStream;
pub use replies::{FileRange, Replies, Segment, Transport};
pub use service::{FIRST_UNPRIVILEGED_PORT, Policy, Service, Step, lost};
pub use tree::{Attr, FileKind, NodeId, Time, Totals, Tree};
