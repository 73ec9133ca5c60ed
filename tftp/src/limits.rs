//! Every bound of the server, with its reason. Memory is bounded by them too: a session holds no file data, so the
//! most that exists at a time is what one call returns, [`EXPIRE_BATCH`] windows of [`MAX_WINDOWSIZE`] blocks.

use std::net::IpAddr;

/// Bytes of a request that are looked at (RFC 2347: a request is at most 512). What lies behind is ignored.
pub const MAX_REQUEST: usize = 512;

/// Largest block size of RFC 2348. What is granted is far smaller, see [`Limits::mtu`].
pub const MAX_BLKSIZE: u16 = 65464;

/// Largest window granted (RFC 7440). Firmware asks for 4; beyond 64 only the burst grows, not the speed.
pub const MAX_WINDOWSIZE: u16 = 64;

/// Ethernet's MTU, from which the block size limit follows.
pub const MTU: u16 = 1500;

/// Transfers at a time. A rack that boots at once needs one each; each costs one socket in the shell.
pub const MAX_SESSIONS: usize = 1024;

/// Transfers at a time from one address. A boot loader uses one or two; several machines may share an address by NAT.
pub const MAX_PER_ADDRESS: usize = 16;

/// Milliseconds until the first resend, when the client named no timeout. Doubles with each resend.
pub const FIRST_INTERVAL: u64 = 1_000;

/// Milliseconds at which the doubling stops.
pub const LONGEST_INTERVAL: u64 = 8_000;

/// Resends without an answer before a transfer is given up.
pub const MAX_RESENDS: u8 = 5;

/// The same for a client that has never acknowledged anything. Its address may be forged, and whoever owns it must not
/// get more than three datagrams (each at most 516 bytes, for windows need an ACK first) for one request.
pub const MAX_RESENDS_UNPROVEN: u8 = 2;

/// Milliseconds in which a copy of a request that is already being served is taken for the network's own duplicate,
/// not for a machine that has been reset and asks again: no machine restarts so fast.
pub const DUPLICATE_WITHIN: u64 = 1_000;

/// Milliseconds that the shell has to open a file, or to read on in it. Clients have given up long before; it keeps a
/// lost answer of the shell from holding a place for ever.
pub const OPEN_WITHIN: u64 = 30_000;

/// Sessions that one [`crate::Engine::expire`] handles. If more are due, the next deadline is still in the past.
pub const EXPIRE_BATCH: usize = 32;

/// What a site may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// MTU of the path to the clients, in bytes. Blocks are kept 32 (IPv4) or 52 (IPv6) bytes below it: IP, UDP and
    /// TFTP headers. Firmware reassembles fragments badly or not at all.
    pub mtu: u16,
    /// Largest window granted, in blocks; taken as 1 to [`MAX_WINDOWSIZE`].
    pub windowsize: u16,
    /// Transfers at a time.
    pub sessions: usize,
    /// Transfers at a time from one address.
    pub per_address: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { mtu: MTU, windowsize: MAX_WINDOWSIZE, sessions: MAX_SESSIONS, per_address: MAX_PER_ADDRESS }
    }
}

impl Limits {
    /// Largest block granted to this client. Never below 512, which every client may use without asking.
    pub(crate) fn blksize(&self, client: IpAddr) -> u16 {
        let headers = if client.to_canonical().is_ipv4() { 32 } else { 52 };
        self.mtu.saturating_sub(headers).clamp(512, MAX_BLKSIZE)
    }
}
