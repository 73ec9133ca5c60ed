//! Which program a call is for, and who may call it: the one door for every RPC message.
//!
//! All programs are served on every listener; clients tell them apart by number, so MOUNT and NFS may share a
//! port. Over UDP there is only the portmapper. No duplicate-request cache: every procedure of a read-only
//! server can be carried out twice, and a client that repeats an xid after a reconnect must be answered.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::handle::Keyring;
use crate::mount::{self, MountCall, MountError, MountGrant};
use crate::portmap::{self, PortTable};
use crate::replies::{Replies, Transport};
use crate::request::Request;
use crate::rpc::{self, AuthStat, Call, NoCall, Rejection};
use crate::{Caller, Error, Exports, nfs3};

/// Ports below this are only for root, on any sane client.
pub const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

/// Every program's do-nothing procedure, which clients ping with. It is never refused for its credential.
const NULL: u32 = 0;

/// What the site allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// Take MNT and NFS calls from ports of 1024 and above, which any user of a machine can send, naming any
    /// uid. Needed behind NAT and for user-mode networks.
    pub allow_unprivileged_ports: bool,
}

/// What the shell does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The reply has been added to the batch.
    Answered,
    /// Decide, make the pin durable, then call [`Service::mounted`]. Other calls may be answered meanwhile.
    Mount(MountCall),
    /// Not a call: nothing to say, nothing wrong with the stream.
    Ignore,
    /// Send what the batch already holds, then close the connection. A datagram is just dropped.
    Close(Error),
}

/// The three programs over one set of exports. Holds no state of any client, so that any number of
/// connections and threads may share it.
#[derive(Debug)]
pub struct Service<E> {
    exports: E,
    keyring: Keyring,
    ports: PortTable,
    policy: Policy,
}

impl<E: Exports> Service<E> {
    /// A service that never changes: a new key or policy means a new service, for the calls after it.
    pub fn new(exports: E, keyring: Keyring, ports: PortTable, policy: Policy) -> Self {
        Service { exports, keyring, ports, policy }
    }

    /// Answers one RPC message: a record without its marks, or a datagram. Adds at most 64 KiB of inline
    /// bytes and one file range to `out`. Never panics, never blocks (as long as `E` and its trees don't block).
    pub fn call(&self, peer: SocketAddr, transport: Transport, message: &[u8], out: &mut Replies) -> Step {
        let before = out.checkpoint();
        // A mistake of ours, or of a tree, costs one call and not the connection with all that is under way on it.
        // Unwinding is safe: what was written to `out` is taken back, and nothing else changes in a call.
        let answered = catch_unwind(AssertUnwindSafe(|| self.answer(peer, transport, message, &mut *out)));
        answered.unwrap_or_else(|_| {
            out.rollback(before);
            // The xid is all that is looked at again: the rest may be what did it.
            match message.first_chunk() {
                Some(xid) => reject(transport, u32::from_be_bytes(*xid), Rejection::SystemErr, out),
                None => Step::Ignore,
            }
        })
    }

    fn answer(&self, peer: SocketAddr, transport: Transport, message: &[u8], out: &mut Replies) -> Step {
        let call = match Call::parse(message) {
            Ok(call) => call,
            Err(NoCall::NotACall) => return Step::Ignore,
            Err(NoCall::Short) => return Step::Close(Error::ShortHeader),
            Err(NoCall::Rejected(xid, rejection)) => return reject(transport, xid, rejection, out),
        };
        let frame = out.open(transport);
        rpc::accept(&mut out.writer(), call.xid);
        match self.dispatch(peer, transport, &call, out) {
            Ok(None) => {
                out.close(frame);
                Step::Answered
            }
            Ok(Some(mount)) => {
                out.cancel(frame);
                Step::Mount(mount)
            }
            Err(rejection) => {
                out.cancel(frame);
                reject(transport, call.xid, rejection, out)
            }
        }
    }

    /// Writes the reply to a MNT that was handed out as [`Step::Mount`]. The pin must be durable by now: once
    /// the client has the handle, it will be used.
    pub fn mounted(&self, call: &MountCall, result: Result<MountGrant, MountError>, out: &mut Replies) {
        let frame = out.open(Transport::Tcp);
        let mut writer = out.writer();
        rpc::accept(&mut writer, call.xid);
        match result {
            Ok(grant) => mount::grant(&mut writer, &self.keyring, grant),
            Err(error) => mount::refuse(&mut writer, error),
        }
        out.close(frame);
    }

    fn dispatch(
        &self,
        peer: SocketAddr,
        transport: Transport,
        call: &Call<'_>,
        out: &mut Replies,
    ) -> Result<Option<MountCall>, Rejection> {
        let ip = peer.ip().to_canonical();
        let privileged = self.policy.allow_unprivileged_ports || peer.port() < FIRST_UNPRIVILEGED_PORT;
        match (call.program, transport) {
            (portmap::PROGRAM, _) => {
                only_version(call, portmap::VERSION)?;
                portmap::answer(&self.ports, call.procedure, call.args, out)?;
            }
            (mount::PROGRAM, Transport::Tcp) => {
                only_version(call, mount::VERSION)?;
                let caller = caller(call)?;
                match mount::answer(&self.exports, ip, privileged, call.procedure, call.args, out)? {
                    mount::Answer::Written => {}
                    mount::Answer::Mount(path) => {
                        return Ok(Some(MountCall { xid: call.xid, path, peer, caller }));
                    }
                }
            }
            (nfs3::PROGRAM | nfs3::acl::PROGRAM, Transport::Tcp) => {
                // Both are version 3, and the same rules say who may call.
                only_version(call, nfs3::VERSION)?;
                if call.procedure == NULL {
                    return Ok(None);
                }
                let caller = caller(call)?;
                if !privileged {
                    return Err(Rejection::Auth(AuthStat::TooWeak));
                }
                let peer = SocketAddr::new(ip, peer.port());
                let request = Request { exports: &self.exports, keyring: &self.keyring, peer, caller };
                if call.program == nfs3::PROGRAM {
                    nfs3::answer(&request, call.procedure, call.args, out)?;
                } else {
                    nfs3::acl::answer(&request, call.procedure, call.args, out)?;
                }
            }
            _ => return Err(Rejection::ProgUnavail),
        }
        Ok(None)
    }
}

/// What to send instead of a READ's whole reply when its contents can't be had: an error of that read, and no end of the
/// connection. `head` is the front of that reply; [`padding`](Replies::padding) of what follows the range is left out with it.
pub fn lost(head: &[u8]) -> Replies {
    let xid = head.get(4..8).and_then(|xid| xid.first_chunk()).copied().unwrap_or_default();
    let mut out = Replies::new();
    let frame = out.open(Transport::Tcp);
    let mut writer = out.writer();
    rpc::accept(&mut writer, u32::from_be_bytes(xid));
    nfs3::contents_lost(&mut writer);
    out.close(frame);
    out
}

fn only_version(call: &Call<'_>, served: u32) -> Result<(), Rejection> {
    if call.version == served { Ok(()) } else { Err(Rejection::ProgMismatch(served)) }
}

/// Who calls; for NULL, nobody, whatever the credential holds.
fn caller(call: &Call<'_>) -> Result<Caller, Rejection> {
    if call.procedure == NULL {
        Ok(Caller::ANONYMOUS)
    } else {
        call.credential.caller().map_err(Rejection::Auth)
    }
}

fn reject(transport: Transport, xid: u32, rejection: Rejection, out: &mut Replies) -> Step {
    let frame = out.open(transport);
    rpc::reject(&mut out.writer(), xid, rejection);
    out.close(frame);
    Step::Answered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FileRange;

    #[test]
    fn a_reply_whose_contents_are_lost_can_be_another_one() {
        let mut out = Replies::new();
        for xid in [8, 9] {
            let frame = out.open(Transport::Tcp);
            crate::rpc::accept(&mut out.writer(), xid);
            out.file(FileRange { object: [1; 32], offset: 0, len: 5 });
            out.writer().padding(5);
            out.close(frame);
        }
        let (position, range) = out.ranges()[1];
        assert_eq!((out.head(0), out.head(1), Replies::padding(&range)), (28, 28, 3));
        let instead = lost(&out.bytes()[position - out.head(1)..position]);
        let words = instead.bytes().as_chunks().0.iter().map(|word| u32::from_be_bytes(*word));
        assert_eq!(words.collect::<Vec<_>>(), [0x8000_0020, 9, 1, 0, 0, 0, 0, 5, 0]);
    }
}
