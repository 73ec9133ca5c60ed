//! The types that NFSv3 results share (RFC 1813 §2.5, §2.6): statuses, attributes, weak cache consistency
//! data.

use crate::ops::Fault;
use crate::request::Opened;
use crate::xdr::{Writer, halves};
use crate::{Attr, FileKind, Time, Tree};

/// NFS3_OK.
pub(super) const OK: u32 = 0;

/// Bytes of a fattr3.
pub(super) const FATTR_LEN: usize = 84;

/// nfsstat3 of a fault.
pub(super) fn status(fault: Fault) -> u32 {
    match fault {
        Fault::NoEnt => 2,
        Fault::Io => 5,
        Fault::Acces => 13,
        Fault::NotDir => 20,
        Fault::IsDir => 21,
        Fault::Inval => 22,
        Fault::ReadOnly => 30,
        Fault::NameTooLong => 63,
        Fault::Stale => 70,
        Fault::BadHandle => 10_001,
        Fault::TooSmall => 10_005,
        Fault::Jukebox => 10_008,
    }
}

/// nfstime3: unsigned seconds since 1970, good until 2106. The nearest time that it can tell: before 1970 becomes 1970, after
/// 2106 the last instant of 2106.
fn nfstime(time: Time) -> [u32; 2] {
    const LAST_NANO: u32 = 999_999_999;
    match u32::try_from(time.secs) {
        Ok(secs) => [secs, time.nanos.min(LAST_NANO)],
        Err(_) if time.secs < 0 => [0, 0],
        Err(_) => [u32::MAX, LAST_NANO],
    }
}

/// fattr3, as the words that it consists of.
#[inline]
fn words_of(fsid: u64, attr: &Attr) -> [u32; FATTR_LEN / 4] {
    let kind = match attr.kind {
        FileKind::Regular => 1,
        FileKind::Directory => 2,
        FileKind::BlockDevice => 3,
        FileKind::CharDevice => 4,
        FileKind::Symlink => 5,
        FileKind::Socket => 6,
        FileKind::Fifo => 7,
    };
    let ([size_high, size_low], [used_high, used_low]) = (halves(attr.size), halves(attr.used));
    let ([fsid_high, fsid_low], [fileid_high, fileid_low]) = (halves(fsid), halves(attr.fileid));
    let ([mtime_secs, mtime_nanos], [ctime_secs, ctime_nanos]) = (nfstime(attr.mtime), nfstime(attr.ctime));
    [
        kind,
        attr.mode & 0o7777,
        attr.nlink,
        attr.uid,
        attr.gid,
        size_high,
        size_low,
        used_high,
        used_low,
        attr.rdev.0,
        attr.rdev.1,
        fsid_high,
        fsid_low,
        fileid_high,
        fileid_low,
        mtime_secs,
        mtime_nanos,
        mtime_secs,
        mtime_nanos,
        ctime_secs,
        ctime_nanos,
    ]
}

/// fattr3.
pub(super) fn fattr(out: &mut Writer<'_>, fsid: u64, attr: &Attr) {
    out.words(words_of(fsid, attr));
}

/// post_op_attr with attributes: every node's are at hand, so clients need not ask again.
pub(super) fn post_op_attr(out: &mut Writer<'_>, fsid: u64, attr: &Attr) {
    out.boolean(true);
    fattr(out, fsid, attr);
}

/// post_op_attr of an object that may not have been found.
pub(super) fn post_op<T: Tree>(out: &mut Writer<'_>, of: Option<&Opened<T>>) {
    match of {
        Some(opened) => post_op_attr(out, opened.fsid(), &opened.found.attr),
        None => out.boolean(false),
    }
}

/// wcc_data: nothing was about to change, so there is no "before"; the "after" keeps the client's cache warm.
pub(super) fn wcc<T: Tree>(out: &mut Writer<'_>, of: Option<&Opened<T>>) {
    out.boolean(false);
    post_op(out, of);
}

/// The failure arm that most results share: status, then the attributes of the object that was asked about.
pub(super) fn failure<T: Tree>(out: &mut Writer<'_>, fault: Fault, of: Option<&Opened<T>>) {
    out.u32(status(fault));
    post_op(out, of);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_nfsv3_cannot_tell_become_the_nearest_one() {
        let told = |secs, nanos| nfstime(Time { secs, nanos });
        assert_eq!(told(-1, 5), [0, 0]);
        assert_eq!(told(7, 5), [7, 5]);
        assert_eq!(told(1 << 32, 0), [u32::MAX, 999_999_999]);
        assert_eq!(told(7, 4_000_000_000), [7, 999_999_999]);
    }
}
