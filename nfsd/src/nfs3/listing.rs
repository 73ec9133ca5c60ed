//! READDIR and READDIRPLUS (RFC 1813 §3.3.16, §3.3.17).
//!
//! A page is written straight into the reply, entry by entry, and stops before the byte that would be one too
//! many. The cookie verifier is always 0 and never checked: cookies are good for as long as the view is (see
//! [`crate::ops::Listing`]), and a client that kept a verifier from an older server must not lose its place.

use super::encode::{FATTR_LEN, OK, failure, post_op, post_op_attr};
use crate::handle::{HANDLE_LEN, Handle};
use crate::ops::{self, Entry, Fault};
use crate::replies::Replies;
use crate::request::{Opened, Request};
use crate::xdr::{Malformed, Reader, Writer, pad};
use crate::{Exports, Tree};

/// The most bytes of a READDIR or READDIRPLUS result (READDIR3resok), whatever the client allows. With the
/// record mark, the RPC head and the status before it, one reply stays within 64 KiB.
pub const MAX_LISTING: u32 = 64 * 1024 - 32;

/// The result around the entries: directory attributes, verifier, end of list, eof.
const AROUND_LEN: usize = 4 + FATTR_LEN + 8 + 4 + 4;
/// fileid, name length and cookie: an entry but for its name and list marker.
const ENTRY_LEN: usize = 8 + 4 + 8;
/// What READDIRPLUS adds to an entry: attributes and handle, both present.
const PLUS_LEN: usize = 4 + FATTR_LEN + 4 + 4 + HANDLE_LEN;

/// How much may be told, and in which of the two shapes.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// The whole result structure: READDIR's count, READDIRPLUS' maxcount.
    total: usize,
    /// READDIRPLUS' dircount: names, fileids and cookies alone. It ends a page, but never makes an empty one:
    /// Linux' server ignores it, so clients have grown careless with it.
    names: usize,
    plus: bool,
}

pub(super) fn readdir<E: Exports>(
    request: &Request<'_, E>,
    mut args: Reader<'_>,
    out: &mut Replies,
) -> Result<(), Malformed> {
    let (handle, cookie, _verifier, count) = (args.opaque()?, args.u64()?, args.u64()?, args.u32()?);
    args.finish()?;
    reply(request, handle, cookie, Bounds { total: clamp(count), names: usize::MAX, plus: false }, out);
    Ok(())
}

pub(super) fn readdirplus<E: Exports>(
    request: &Request<'_, E>,
    mut args: Reader<'_>,
    out: &mut Replies,
) -> Result<(), Malformed> {
    let (handle, cookie, _verifier) = (args.opaque()?, args.u64()?, args.u64()?);
    let (dircount, maxcount) = (args.u32()?, args.u32()?);
    args.finish()?;
    reply(
        request,
        handle,
        cookie,
        Bounds { total: clamp(maxcount), names: clamp(dircount), plus: true },
        out,
    );
    Ok(())
}

fn clamp(count: u32) -> usize {
    usize::try_from(count.min(MAX_LISTING)).unwrap_or_default()
}

fn reply<E: Exports>(
    request: &Request<'_, E>,
    handle: &[u8],
    cookie: u64,
    bounds: Bounds,
    out: &mut Replies,
) {
    let dir = match request.open(handle) {
        Ok(dir) => dir,
        Err(fault) => return failure::<E::Tree>(&mut out.writer(), fault, None),
    };
    let start = out.checkpoint();
    if let Err(fault) = page(request, &dir, cookie, bounds, &mut out.writer()) {
        out.rollback(start);
        failure(&mut out.writer(), fault, Some(&dir));
    }
}

fn page<E: Exports>(
    request: &Request<'_, E>,
    dir: &Opened<E::Tree>,
    cookie: u64,
    bounds: Bounds,
    out: &mut Writer<'_>,
) -> Result<(), Fault> {
    let listing = ops::list(&*dir.tree, &request.caller, &dir.found, cookie)?;
    let (mut total, mut names, mut told) = (AROUND_LEN, 0, 0_usize);
    if total > bounds.total {
        return Err(Fault::TooSmall);
    }
    out.u32(OK);
    post_op(out, Some(dir));
    out.u64(0);
    let mut eof = true;
    for entry in listing {
        let entry = entry?;
        let bare = ENTRY_LEN + entry.name.len() + pad(entry.name.len());
        total += 4 + bare + if bounds.plus { PLUS_LEN } else { 0 };
        names += bare;
        if total > bounds.total || (names > bounds.names && told > 0) {
            eof = false;
            break;
        }
        told += 1;
        write_entry(out, &entry);
        if bounds.plus {
            write_plus(out, request, dir, &entry);
        }
    }
    // An empty page that is not the end would have the client ask for ever.
    if told == 0 && !eof {
        return Err(Fault::TooSmall);
    }
    out.boolean(false);
    out.boolean(eof);
    Ok(())
}

/// entry3, or the front of entryplus3, with its list marker.
fn write_entry(out: &mut Writer<'_>, entry: &Entry<'_>) {
    out.boolean(true);
    out.u64(entry.found.attr.fileid);
    out.opaque(entry.name);
    out.u64(entry.cookie);
}

/// The rest of entryplus3. The attributes' fileid is the entry's own by construction: where the two differ,
/// Linux takes the name for a mount point.
fn write_plus<E: Exports>(
    out: &mut Writer<'_>,
    request: &Request<'_, E>,
    dir: &Opened<E::Tree>,
    entry: &Entry<'_>,
) {
    post_op_attr(out, dir.tree.fsid(), &entry.found.attr);
    out.boolean(true);
    out.opaque(&request.keyring.seal(Handle { view: dir.view, node: entry.found.node }));
}
