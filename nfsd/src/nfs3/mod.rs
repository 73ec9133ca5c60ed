//! NFS v3 (RFC 1813 §3.3): one codec over the version-free file operations.
//!
//! Each procedure decodes its arguments whole, runs one operation, and writes the result structure of its
//! section. `query` holds what looks at one object, `listing` the directory pages, `readonly` the ten
//! procedures that would change something and here answer ROFS, `acl` the side protocol that overlayfs needs,
//! `encode` the types that they share.

pub(crate) mod acl;
mod encode;
mod listing;
mod query;
mod readonly;

pub use listing::MAX_LISTING;
pub use query::MAX_READ;

use crate::Exports;
use crate::ops::Fault;
use crate::replies::Replies;
use crate::request::Request;
use crate::rpc::Rejection;
use crate::xdr::{Malformed, Reader, Writer};

pub(crate) const PROGRAM: u32 = 100_003;
pub(crate) const VERSION: u32 = 3;

/// The result of a READ whose contents can't be had.
pub(crate) fn contents_lost(out: &mut Writer<'_>) {
    out.u32(encode::status(Fault::Io));
    out.boolean(false);
}

/// Answers one procedure other than NULL, after the accepted-reply head. On an error what has been written is
/// meaningless and the caller takes it back.
pub(crate) fn answer<E: Exports>(
    request: &Request<'_, E>,
    procedure: u32,
    args: Reader<'_>,
    out: &mut Replies,
) -> Result<(), Rejection> {
    let result: Result<(), Malformed> = match procedure {
        1 => query::getattr(request, args, out),
        3 => query::lookup(request, args, out),
        4 => query::access(request, args, out),
        5 => query::readlink(request, args, out),
        6 => query::read(request, args, out),
        // SETATTR; WRITE; CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR; COMMIT: one object first, and one
        // answer.
        2 | 7 | 8..=13 | 21 => readonly::one_object(request, args, out),
        14 => readonly::rename(request, args, out),
        15 => readonly::link(request, args, out),
        16 => listing::readdir(request, args, out),
        17 => listing::readdirplus(request, args, out),
        18 => query::fsstat(request, args, out),
        19 => query::fsinfo(request, args, out),
        20 => query::pathconf(request, args, out),
        _ => return Err(Rejection::ProcUnavail),
    };
    Ok(result?)
}
