//! NFSACL v3 (program 100227, Sun's side protocol; no RFC, the shapes are Linux's and Solaris's): GETACL and SETACL.
//!
//! No node here has an ACL beyond its mode, and there is no need to say so to a client that mounts us directly. But a
//! client that lays overlayfs over the mount asks the lower file system for an ACL before it lets anybody but the owner
//! in, and an NFSv3 mount whose server has no NFSACL answers that with "operation not supported": no ordinary user of
//! such a machine could run a single program (seen with Linux 6.1). So the program is served, and every answer is that
//! there is none.

use super::encode::{OK, failure, post_op};
use crate::Exports;
use crate::ops::Fault;
use crate::replies::Replies;
use crate::request::Request;
use crate::rpc::Rejection;
use crate::xdr::{Malformed, Reader};

pub(crate) const PROGRAM: u32 = 100_227;

/// NFS_ACL, NFS_ACLCNT, NFS_DFACL, NFS_DFACLCNT: all that a client may ask for.
const ASKABLE: u32 = 0x0f;

/// Answers one procedure other than NULL.
pub(crate) fn answer<E: Exports>(
    request: &Request<'_, E>,
    procedure: u32,
    args: Reader<'_>,
    out: &mut Replies,
) -> Result<(), Rejection> {
    match procedure {
        1 => Ok(getacl(request, args, out)?),
        2 => Ok(setacl(request, args, out)?),
        _ => Err(Rejection::ProcUnavail),
    }
}

fn getacl<E: Exports>(
    request: &Request<'_, E>,
    mut args: Reader<'_>,
    out: &mut Replies,
) -> Result<(), Malformed> {
    let (handle, mask) = (args.opaque()?, args.u32()?);
    args.finish()?;
    let mut out = out.writer();
    match request.open(handle) {
        Ok(object) => {
            out.u32(OK);
            post_op(&mut out, Some(&object));
            // The mask of what follows; then the access and the default list, each a count and an array, both empty.
            out.words([mask & ASKABLE, 0, 0, 0, 0]);
        }
        Err(fault) => failure::<E::Tree>(&mut out, fault, None),
    }
    Ok(())
}

/// Only the handle is decoded, as for every other procedure that would write.
fn setacl<E: Exports>(
    request: &Request<'_, E>,
    mut args: Reader<'_>,
    out: &mut Replies,
) -> Result<(), Malformed> {
    let opened = request.open(args.opaque()?);
    let mut out = out.writer();
    match opened {
        Ok(object) => failure(&mut out, Fault::ReadOnly, Some(&object)),
        Err(fault) => failure::<E::Tree>(&mut out, fault, None),
    }
    Ok(())
}
