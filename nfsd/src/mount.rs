//! MOUNT v3 (RFC 1813 Appendix I): the way to a root handle.
//!
//! MNT is not answered here. The shell decides it and makes the pin durable first, so the call goes back to
//! it as a [`MountCall`] and the reply is written when [`crate::Service::mounted`] brings the result. UMNT
//! and UMNTALL change nothing: a pin ends with the machine's next boot, never by a packet that anyone can
//! send.

use std::net::{IpAddr, SocketAddr};

use crate::handle::{Handle, Keyring};
use crate::replies::Replies;
use crate::rpc::{AUTH_SYS, Rejection};
use crate::xdr::{Reader, Writer};
use crate::{Caller, Exports, NodeId, ViewId};

pub(crate) const PROGRAM: u32 = 100_005;
pub(crate) const VERSION: u32 = 3;

/// The longest path that MNT takes (MNTPATHLEN).
pub const MAX_PATH: usize = 1024;

/// The most paths that DUMP and EXPORT tell. A machine has at most three pins; this only bounds the reply.
const MAX_LISTED: usize = 16;

/// A MNT that waits for the shell's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountCall {
    /// The call's id, for the reply.
    pub xid: u32,
    /// The path as sent: at most [`MAX_PATH`] bytes of any kind. Empty is what some clients send for the
    /// root.
    pub path: Vec<u8>,
    /// Who sent it; its port has passed [`crate::Policy`].
    pub peer: SocketAddr,
    /// As whom; klibc's nfsmount comes as [`Caller::ANONYMOUS`].
    pub caller: Caller,
}

/// The shell's yes: the pin is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MountGrant {
    /// The view that is mounted.
    pub view: ViewId,
    /// The directory of it to start from.
    pub root: NodeId,
}

/// The shell's no (mountstat3). For "not ready yet" there is no status that clients wait on: don't answer at
/// all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountError {
    /// No such path.
    NoEnt = 2,
    /// The store failed.
    Io = 5,
    /// Not this machine's, or from a port that any user may use.
    Acces = 13,
    /// The path names something that is no directory.
    NotDir = 20,
    /// The path can't be one of ours.
    Inval = 22,
    /// The path is longer than [`MAX_PATH`].
    NameTooLong = 63,
    /// Another failure of the server; it is in its log.
    ServerFault = 10_006,
}

/// How a MOUNT procedure ends.
pub(crate) enum Answer {
    Written,
    /// MNT of this path: the shell's turn.
    Mount(Vec<u8>),
}

/// Answers one procedure. `privileged` says whether the caller's port passes the policy.
pub(crate) fn answer<E: Exports>(
    exports: &E,
    peer: IpAddr,
    privileged: bool,
    procedure: u32,
    mut args: Reader<'_>,
    out: &mut Replies,
) -> Result<Answer, Rejection> {
    match procedure {
        1 => {
            let path = args.opaque()?;
            args.finish()?;
            if !privileged {
                refuse(&mut out.writer(), MountError::Acces);
            } else if path.len() > MAX_PATH {
                refuse(&mut out.writer(), MountError::NameTooLong);
            } else {
                return Ok(Answer::Mount(path.to_vec()));
            }
        }
        2 => list(exports, peer, out, |writer, host, path| {
            writer.opaque(host);
            writer.opaque(path);
        }),
        // NULL; UMNT and UMNTALL, whose result is void whatever the arguments are.
        0 | 3 | 4 => {}
        5 => list(exports, peer, out, |writer, host, path| {
            writer.opaque(path);
            // One group: the path is exported to the caller and to nobody else.
            writer.boolean(true);
            writer.opaque(host);
            writer.boolean(false);
        }),
        _ => return Err(Rejection::ProcUnavail),
    }
    Ok(Answer::Written)
}

/// An XDR list with one element for each of the caller's own paths.
fn list<E: Exports>(
    exports: &E,
    peer: IpAddr,
    out: &mut Replies,
    element: fn(&mut Writer<'_>, &[u8], &[u8]),
) {
    let host = peer.to_string();
    let mut writer = out.writer();
    for path in exports.mounts(peer).iter().filter(|path| path.len() <= MAX_PATH).take(MAX_LISTED) {
        writer.boolean(true);
        element(&mut writer, host.as_bytes(), path);
    }
    writer.boolean(false);
}

/// mountres3_ok. AUTH_SYS is the one flavour offered: from an empty list Linux would guess.
pub(crate) fn grant(out: &mut Writer<'_>, keyring: &Keyring, grant: MountGrant) {
    out.u32(0);
    out.opaque(&keyring.seal(Handle { view: grant.view, node: grant.root }));
    out.words([1, AUTH_SYS]);
}

pub(crate) fn refuse(out: &mut Writer<'_>, error: MountError) {
    out.u32(error as u32);
}
