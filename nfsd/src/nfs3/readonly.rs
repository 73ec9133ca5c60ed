//! The procedures that would change something: they check their handles, then answer ROFS.
//!
//! Only the handles are decoded. The answer doesn't depend on the rest, and a parser that isn't there has no
//! bugs. ROFS and not ACCES: programs know what to do about a read-only file system.

use super::encode::{post_op, status, wcc};
use crate::Exports;
use crate::ops::Fault;
use crate::replies::Replies;
use crate::request::{Opened, Request};
use crate::xdr::{Malformed, Reader};

/// Why it fails, and what it was about, if that much is true.
fn refuse<T>(opened: Result<Opened<T>, Fault>) -> (Fault, Option<Opened<T>>) {
    match opened {
        Ok(opened) => (Fault::ReadOnly, Some(opened)),
        Err(fault) => (fault, None),
    }
}

/// Those with one object: status, then its wcc_data.
pub(super) fn one_object<E: Exports>(
    request: &Request<'_, E>,
    mut args: Reader<'_>,
    out: &mut Replies,
) -> Result<(), Malformed> {
    let (fault, object) = refuse(request.open(args.opaque()?));
    let mut out = out.writer();
    out.u32(status(fault));
    wcc(&mut out, object.as_ref());
    Ok(())
}

/// RENAME: the first handle that fails decides the status, and both directories are told.
pub(super) fn rename<E: Exports>(
    request: &Request<'_, E>,
    mut args: Reader<'_>,
    out: &mut Replies,
) -> Result<(), Malformed> {
    let (from, _name, to) = (args.opaque()?, args.opaque()?, args.opaque()?);
    let (first, from) = refuse(request.open(from));
    let (second, to) = refuse(request.open(to));
    let mut out = out.writer();
    out.u32(status(if from.is_some() { second } else { first }));
    wcc(&mut out, from.as_ref());
    wcc(&mut out, to.as_ref());
    Ok(())
}

/// LINK: as RENAME, but the first object is a file that would only get another name.
pub(super) fn link<E: Exports>(
    request: &Request<'_, E>,
    mut args: Reader<'_>,
    out: &mut Replies,
) -> Result<(), Malformed> {
    let (file, dir) = (args.opaque()?, args.opaque()?);
    let (first, file) = refuse(request.open(file));
    let (second, dir) = refuse(request.open(dir));
    let mut out = out.writer();
    out.u32(status(if file.is_some() { second } else { first }));
    post_op(&mut out, file.as_ref());
    wcc(&mut out, dir.as_ref());
    Ok(())
}
