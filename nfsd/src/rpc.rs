//! The RPC message (RFC 5531 §9, §14): call header, credentials, and every way to turn a call down.
//!
//! A call that can be told from its header always gets an answer. Closing the connection instead would send a
//! Linux client into reconnect loops, and mount.nfs finds out what a server can do by being refused.

use crate::access::Caller;
use crate::xdr::{Malformed, Reader, Writer};

const RPC_VERSION: u32 = 2;
const CALL: u32 = 0;
const REPLY: u32 = 1;
const MSG_ACCEPTED: u32 = 0;
const MSG_DENIED: u32 = 1;
const AUTH_NONE: u32 = 0;
pub(crate) const AUTH_SYS: u32 = 1;

/// The longest credential or verifier body.
const MAX_AUTH: u32 = 400;
/// The longest machine name in AUTH_SYS.
const MAX_MACHINE_NAME: usize = 255;

/// Why a credential is not taken (RFC 5531 §9, auth_stat).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthStat {
    /// The credential breaks its own rules.
    BadCred = 1,
    /// A flavour that is not served (RPCSEC_GSS, DH, SHORT): the client must begin anew, with another one.
    RejectedCred = 2,
    /// The verifier breaks its own rules.
    BadVerf = 3,
    /// Well-formed, but not from a port that only root may use.
    TooWeak = 5,
}

/// Why a call is not carried out; each has its own reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejection {
    ProgUnavail,
    /// The only version of the program that is served.
    ProgMismatch(u32),
    ProcUnavail,
    GarbageArgs,
    /// The server has a fault of its own.
    SystemErr,
    RpcMismatch,
    Auth(AuthStat),
}

impl From<Malformed> for Rejection {
    fn from(_: Malformed) -> Self {
        Rejection::GarbageArgs
    }
}

/// A credential as sent: how to read it is up to the program that needs to know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Credential<'a> {
    flavour: u32,
    body: &'a [u8],
}

impl Credential<'_> {
    /// Who it speaks for.
    pub(crate) fn caller(&self) -> Result<Caller, AuthStat> {
        match self.flavour {
            AUTH_NONE => Ok(Caller::ANONYMOUS),
            AUTH_SYS => auth_sys(Reader::new(self.body)).map_err(|_| AuthStat::BadCred),
            _ => Err(AuthStat::RejectedCred),
        }
    }
}

/// authsys_parms. Stamp and machine name mean nothing to a server; the count of groups is checked against
/// what can be held before any is read.
fn auth_sys(mut body: Reader<'_>) -> Result<Caller, Malformed> {
    let _stamp = body.u32()?;
    if body.opaque()?.len() > MAX_MACHINE_NAME {
        return Err(Malformed);
    }
    let mut caller = Caller::new(body.u32()?, body.u32()?);
    let count = body.u32()?;
    if usize::try_from(count).map_or(true, |count| count > Caller::MAX_GIDS) {
        return Err(Malformed);
    }
    for _ in 0..count {
        caller.join(body.u32()?);
    }
    body.finish()?;
    Ok(caller)
}

/// A call whose header is whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) xid: u32,
    pub(crate) program: u32,
    pub(crate) version: u32,
    pub(crate) procedure: u32,
    pub(crate) credential: Credential<'a>,
    pub(crate) args: Reader<'a>,
}

/// A message that is no call to carry out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoCall {
    /// A REPLY, or a message type that does not exist. Answering could make two servers talk for ever.
    NotACall,
    /// It ends inside the header.
    Short,
    /// The header itself calls for a refusal.
    Rejected(u32, Rejection),
}

impl From<Malformed> for NoCall {
    fn from(_: Malformed) -> Self {
        NoCall::Short
    }
}

impl<'a> Call<'a> {
    pub(crate) fn parse(message: &'a [u8]) -> Result<Self, NoCall> {
        let mut reader = Reader::new(message);
        let xid = reader.u32()?;
        if reader.u32()? != CALL {
            return Err(NoCall::NotACall);
        }
        if reader.u32()? != RPC_VERSION {
            return Err(NoCall::Rejected(xid, Rejection::RpcMismatch));
        }
        let (program, version, procedure) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let credential = opaque_auth(&mut reader, xid, AuthStat::BadCred)?;
        // AUTH_NONE and AUTH_SYS have empty verifiers. What an odd client puts there proves nothing, and
        // hurts nothing.
        opaque_auth(&mut reader, xid, AuthStat::BadVerf)?;
        Ok(Call { xid, program, version, procedure, credential, args: reader })
    }
}

fn opaque_auth<'a>(reader: &mut Reader<'a>, xid: u32, too_long: AuthStat) -> Result<Credential<'a>, NoCall> {
    let flavour = reader.u32()?;
    let len = reader.u32()?;
    if len > MAX_AUTH {
        return Err(NoCall::Rejected(xid, Rejection::Auth(too_long)));
    }
    let body = reader.opaque_body(usize::try_from(len).map_err(|_| NoCall::Short)?)?;
    Ok(Credential { flavour, body })
}

/// The head of a reply whose results follow. The verifier is empty AUTH_NONE: klibc reads at fixed offsets.
pub(crate) fn accept(out: &mut Writer<'_>, xid: u32) {
    accepted(out, xid, 0);
}

fn accepted(out: &mut Writer<'_>, xid: u32, stat: u32) {
    out.words([xid, REPLY, MSG_ACCEPTED, AUTH_NONE, 0, stat]);
}

/// The whole reply to a call that is not carried out.
pub(crate) fn reject(out: &mut Writer<'_>, xid: u32, rejection: Rejection) {
    match rejection {
        Rejection::ProgUnavail => accepted(out, xid, 1),
        Rejection::ProgMismatch(only) => {
            accepted(out, xid, 2);
            out.words([only, only]);
        }
        Rejection::ProcUnavail => accepted(out, xid, 3),
        Rejection::GarbageArgs => accepted(out, xid, 4),
        Rejection::SystemErr => accepted(out, xid, 5),
        Rejection::RpcMismatch => out.words([xid, REPLY, MSG_DENIED, 0, RPC_VERSION, RPC_VERSION]),
        Rejection::Auth(stat) => out.words([xid, REPLY, MSG_DENIED, 1, stat as u32]),
    }
}
