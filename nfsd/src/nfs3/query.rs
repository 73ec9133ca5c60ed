//! The procedures that look at one object: GETATTR, LOOKUP, ACCESS, READLINK, READ, FSSTAT, FSINFO, PATHCONF.

use super::encode::{self, OK, failure, fattr, post_op, post_op_attr};
use crate::access;
use crate::handle::Handle;
use crate::ops::{self, Fault, MAX_NAME};
use crate::replies::Replies;
use crate::request::Request;
use crate::xdr::{Malformed, Reader, halves};
use crate::{Exports, Totals, Tree};

/// The most bytes that one READ gives (rtmax): Linux's own maximum for rsize.
pub const MAX_READ: u32 = 1024 * 1024;

/// rtmult and wtmult: a page, which clients round to anyway.
const MULTIPLE: u32 = 4096;
/// wtmax and wtpref. Nothing can be written, but 0 makes some clients refuse the mount.
const MAX_WRITE: u32 = 32 * 1024;
/// dtpref: as much as a page of names can hold.
const DIR_PREFERRED: u32 = 64 * 1024;
const MAX_FILE_SIZE: u64 = i64::MAX as u64;
/// FSF3_LINK, FSF3_SYMLINK and FSF3_HOMOGENEOUS; not FSF3_CANSETTIME.
const PROPERTIES: u32 = 0x01 | 0x02 | 0x08;
/// invarsec for a file system that never changes (RFC 1813 §3.3.18).
const NEVER_CHANGES: u32 = u32::MAX;
const MAX_LINKS: u32 = 32_000;

pub(super) fn getattr<E: Exports>(
    request: &Request<'_, E>,
    mut args: Reader<'_>,
    out: &mut Replies,
) -> Result<(), Malformed> {
    let handle = args.opaque()?;
    args.finish()?;
    let mut out = out.writer();
    match request.open(handle) {
        Ok(object) => {
            out.u32(OK);
            fattr(&mut out, object.fsid(), &object.found.attr);
        }
        Err(fault) => out.u32(encode::status(fault)),
    }
    Ok(())
}

pub(super) fn lookup<E: Exports>(
    request: &Request<'_, E>,
    mut args: Reader<'_>,
    out: &mut Replies,
) -> Result<(), Malformed> {
    let (handle, name) = (args.opaque()?, args.opaque()?);
    args.finish()?;
    let mut out = out.writer();
    let dir = match request.open(handle) {
        Ok(dir) => dir,
        Err(fault) => {
            failure::<E::Tree>(&mut out, fault, None);
            return Ok(());
        }
    };
    match ops::lookup(&*dir.tree, &request.caller, &dir.found, name) {
        Ok(child) => {
            out.u32(OK);
            out.opaque(&request.keyring.seal(Handle { view: dir.view, node: child.node }));
            post_op_attr(&mut out, dir.fsid(), &child.attr);
            post_op(&mut out, Some(&dir));
        }
        Err(fault) => {
            if fault == Fault::NoEnt {
                request.exports.missed(request.peer, &dir.tree, dir.found.node, name);
            }
            failure(&mut out, fault, Some(&dir));
        }
    }
    Ok(())
}

pub(super) fn access<E: Exports>(
    request: &Request<'_, E>,
    mut args: Reader<'_>,
    out: &mut Replies,
) -> Result<(), Malformed> {
    let (handle, wanted) = (args.opaque()?, args.u32()?);
    args.finish()?;
    let mut out = out.writer();
    match request.open(handle) {
        Ok(object) => {
            out.u32(OK);
            post_op(&mut out, Some(&object));
            out.u32(access::rights(&request.caller, &object.found.attr).masked(wanted).bits());
        }
        Err(fault) => failure::<E::Tree>(&mut out, fault, None),
    }
    Ok(())
}

pub(super) fn readlink<E: Exports>(
    request: &Request<'_, E>,
    mut args: Reader<'_>,
    out: &mut Replies,
) -> Result<(), Malformed> {
    let handle = args.opaque()?;
    args.finish()?;
    let mut out = out.writer();
    let link = match request.open(handle) {
        Ok(link) => link,
        Err(fault) => {
            failure::<E::Tree>(&mut out, fault, None);
            return Ok(());
        }
    };
    match ops::readlink(&*link.tree, &link.found) {
        Ok(target) => {
            out.u32(OK);
            post_op(&mut out, Some(&link));
            out.opaque(target);
        }
        Err(fault) => failure(&mut out, fault, Some(&link)),
    }
    Ok(())
}

pub(super) fn read<E: Exports>(
    request: &Request<'_, E>,
    mut args: Reader<'_>,
    out: &mut Replies,
) -> Result<(), Malformed> {
    let (handle, offset, count) = (args.opaque()?, args.u64()?, args.u32()?);
    args.finish()?;
    let file = match request.open(handle) {
        Ok(file) => file,
        Err(fault) => {
            failure::<E::Tree>(&mut out.writer(), fault, None);
            return Ok(());
        }
    };
    match ops::read(&*file.tree, &request.caller, &file.found, offset, count, MAX_READ) {
        Ok(extent) => {
            let len = extent.range.map_or(0, |range| range.len);
            let mut writer = out.writer();
            writer.u32(OK);
            post_op(&mut writer, Some(&file));
            // count, eof, and the length word of the data that the range is.
            writer.words([len, u32::from(extent.eof), len]);
            if let Some(range) = extent.range {
                out.file(range);
                out.writer().padding(usize::try_from(len).unwrap_or_default());
            }
        }
        Err(fault) => failure(&mut out.writer(), fault, Some(&file)),
    }
    Ok(())
}

pub(super) fn fsstat<E: Exports>(
    request: &Request<'_, E>,
    mut args: Reader<'_>,
    out: &mut Replies,
) -> Result<(), Malformed> {
    let handle = args.opaque()?;
    args.finish()?;
    let mut out = out.writer();
    match request.open(handle) {
        Ok(object) => {
            let Totals { bytes, files } = object.tree.totals();
            out.u32(OK);
            post_op(&mut out, Some(&object));
            // Total, free, available: a read-only file system is full.
            for [total, free, available] in [[bytes, 0, 0], [files, 0, 0]] {
                out.u64(total);
                out.u64(free);
                out.u64(available);
            }
            out.u32(NEVER_CHANGES);
        }
        Err(fault) => failure::<E::Tree>(&mut out, fault, None),
    }
    Ok(())
}

pub(super) fn fsinfo<E: Exports>(
    request: &Request<'_, E>,
    mut args: Reader<'_>,
    out: &mut Replies,
) -> Result<(), Malformed> {
    let handle = args.opaque()?;
    args.finish()?;
    let mut out = out.writer();
    match request.open(handle) {
        Ok(object) => {
            out.u32(OK);
            post_op(&mut out, Some(&object));
            out.words([MAX_READ, MAX_READ, MULTIPLE, MAX_WRITE, MAX_WRITE, MULTIPLE, DIR_PREFERRED]);
            let [size_high, size_low] = halves(MAX_FILE_SIZE);
            // time_delta is one nanosecond: times are told as they are stored.
            out.words([size_high, size_low, 0, 1, PROPERTIES]);
        }
        Err(fault) => failure::<E::Tree>(&mut out, fault, None),
    }
    Ok(())
}

pub(super) fn pathconf<E: Exports>(
    request: &Request<'_, E>,
    mut args: Reader<'_>,
    out: &mut Replies,
) -> Result<(), Malformed> {
    let handle = args.opaque()?;
    args.finish()?;
    let mut out = out.writer();
    match request.open(handle) {
        Ok(object) => {
            out.u32(OK);
            post_op(&mut out, Some(&object));
            let name_max = u32::try_from(MAX_NAME).unwrap_or(u32::MAX);
            let (no_trunc, chown_restricted, case_insensitive, case_preserving) = (1, 1, 0, 1);
            out.words([MAX_LINKS, name_max, no_trunc, chown_restricted, case_insensitive, case_preserving]);
        }
        Err(fault) => failure::<E::Tree>(&mut out, fault, None),
    }
    Ok(())
}
