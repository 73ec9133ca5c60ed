//! Just enough ONC RPC (RFC 5531), MOUNT and NFSv3 (RFC 1813) for a load generator: calls are encoded once, replies are
//! cut by their record marks and looked at as far as the status. A blocking [`Prober`] reads whole replies, for what has
//! to be known before the clock runs.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::net::RecvFlags;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// NFS version 3's program.
pub const NFS: u32 = 100_003;
/// MOUNT version 3's program.
pub const MOUNT: u32 = 100_005;

/// NFSv3 procedures (RFC 1813 §3.3).
pub mod procedure {
    /// Attributes of a node.
    pub const GETATTR: u32 = 1;
    /// A name in a directory.
    pub const LOOKUP: u32 = 3;
    /// What the caller may do.
    pub const ACCESS: u32 = 4;
    /// The text of a link.
    pub const READLINK: u32 = 5;
    /// Bytes of a file.
    pub const READ: u32 = 6;
    /// Names of a directory.
    pub const READDIR: u32 = 16;
    /// The same with attributes and handles.
    pub const READDIRPLUS: u32 = 17;
    /// Space and inodes.
    pub const FSSTAT: u32 = 18;
    /// Limits of the server.
    pub const FSINFO: u32 = 19;
    /// Limits of names and links.
    pub const PATHCONF: u32 = 20;
}

/// NFS3ERR_NOENT.
pub const NOENT: u32 = 2;

/// A server that says nothing for so long has lost a call.
const SILENCE: Duration = Duration::from_secs(20);
/// Bytes before the procedure's own results: xid, REPLY, MSG_ACCEPTED, verifier of no bytes, SUCCESS.
const HEAD: usize = 24;
/// Where the xid stands in a call with its record mark.
const XID: std::ops::Range<usize> = 4..8;

/// Words and opaques in network order.
#[derive(Default, Clone)]
pub struct Xdr(pub Vec<u8>);

impl Xdr {
    /// A word.
    #[must_use]
    pub fn u32(mut self, word: u32) -> Self {
        self.0.extend(word.to_be_bytes());
        self
    }

    /// Two words.
    #[must_use]
    pub fn u64(mut self, word: u64) -> Self {
        self.0.extend(word.to_be_bytes());
        self
    }

    /// A counted opaque, padded to words.
    #[must_use]
    pub fn opaque(mut self, bytes: &[u8]) -> Self {
        self = self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }
}

/// Reads what [`Xdr`] writes.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count).context("a reply ends early")?;
        self.0 = rest;
        Ok(front)
    }

    /// A word.
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into()?))
    }

    /// Two words.
    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.take(8)?.try_into()?))
    }

    /// A counted opaque.
    pub fn opaque(&mut self) -> Result<&'a [u8]> {
        let count = self.u32()? as usize;
        let padded = self.take(count.next_multiple_of(4))?;
        Ok(&padded[..count])
    }

    /// `post_op_attr`: type and size, if there are any.
    pub fn attr(&mut self) -> Result<Option<Attr>> {
        if self.u32()? == 0 {
            return Ok(None);
        }
        self.fattr().map(Some)
    }

    /// `fattr3`.
    pub fn fattr(&mut self) -> Result<Attr> {
        let mut fields = Reader(self.take(84)?);
        let kind = fields.u32()?;
        fields.take(16)?;
        Ok(Attr { kind, size: fields.u64()? })
    }
}

/// What the benchmark wants to know of a node.
#[derive(Debug, Clone, Copy)]
pub struct Attr {
    /// `ftype3`: 1 file, 2 directory, 5 link.
    pub kind: u32,
    /// Bytes.
    pub size: u64,
}

/// A whole call with its record mark, from root, with xid 0.
#[must_use]
pub fn call(program: u32, number: u32, args: &Xdr) -> Vec<u8> {
    let credential = Xdr::default().u32(0).opaque(b"bench").u32(0).u32(0).u32(0);
    let header = Xdr::default().u32(0).u32(0).u32(2).u32(program).u32(3).u32(number).u32(1);
    let mut record = Xdr::default().u32(0).0;
    record.extend(header.opaque(&credential.0).u32(0).u32(0).0);
    record.extend(&args.0);
    let mark = 0x8000_0000 | u32::try_from(record.len() - 4).unwrap_or(0);
    record[..4].copy_from_slice(&mark.to_be_bytes());
    record
}

/// Puts another xid into a call.
pub fn put_xid(call: &mut [u8], xid: u32) {
    call[XID].copy_from_slice(&xid.to_be_bytes());
}

/// Where a connection's xids begin. Ports are used again at once, and a server with a duplicate-request cache takes a known
/// xid from a known port for a retransmission: nfs3_server then never answers.
#[must_use]
pub fn fresh_xid() -> u32 {
    static CONNECTIONS: AtomicU32 = AtomicU32::new(1);
    CONNECTIONS.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b1)
}

/// A connection from a port that only root can have.
pub fn connect(from: Ipv4Addr, to: SocketAddrV4) -> Result<TcpStream> {
    for port in (512..1024).rev() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if socket.bind(&SockAddr::from(SocketAddrV4::new(from, port))).is_err() {
            continue;
        }
        match socket.connect_timeout(&SockAddr::from(SocketAddr::V4(to)), Duration::from_secs(10)) {
            Ok(()) => {
                socket.set_tcp_nodelay(true)?;
                socket.set_read_timeout(Some(SILENCE))?;
                return Ok(socket.into());
            }
            // An earlier connection of this port still waits out its TIME_WAIT.
            Err(cause) if cause.kind() == std::io::ErrorKind::AddrNotAvailable => {}
            Err(cause) => return Err(cause).with_context(|| format!("{from} to {to}")),
        }
    }
    bail!("no port below 1024 of {from} can be bound; run as root")
}

/// One reply, as far as the load generator looks.
#[derive(Debug, Clone, Copy)]
pub struct Reply {
    /// The call's.
    pub xid: u32,
    /// NFS status, or `u32::MAX` when RPC itself refused.
    pub status: u32,
    /// Bytes after the record mark.
    pub length: usize,
}

/// Cuts a stream into replies. File contents are thrown away in the kernel (MSG_TRUNC), so that what is measured is the
/// server's copy and not ours.
pub struct Replies {
    buffer: Vec<u8>,
    from: usize,
    to: usize,
    /// Bytes of the present record that are still to be thrown away, and its reply.
    skip: usize,
    pending: Option<Reply>,
}

impl Default for Replies {
    fn default() -> Self {
        Self { buffer: vec![0; 128 * 1024], from: 0, to: 0, skip: 0, pending: None }
    }
}

impl Replies {
    /// The next reply that has arrived whole, with the bytes of it that were kept.
    pub fn next(&mut self) -> Result<Option<(Reply, &[u8])>> {
        if self.skip > 0 {
            return Ok(None);
        }
        if let Some(reply) = self.pending.take() {
            return Ok(Some((reply, &[])));
        }
        let here = &self.buffer[self.from..self.to];
        let Some((mark, rest)) = here.split_first_chunk::<4>() else { return Ok(None) };
        let mark = u32::from_be_bytes(*mark);
        ensure!(mark & 0x8000_0000 != 0, "a reply in several fragments is not understood here");
        let length = (mark & 0x7fff_ffff) as usize;
        if rest.len() < length.min(HEAD + 4) {
            return Ok(None);
        }
        let word =
            |at: usize| rest.get(at..at + 4).map_or(0, |w| u32::from_be_bytes([w[0], w[1], w[2], w[3]]));
        let refused = word(4) != 1 || word(8) != 0 || word(16) != 0 || word(20) != 0;
        let status = if refused { u32::MAX } else { word(HEAD) };
        let reply = Reply { xid: word(0), status, length };
        if rest.len() >= length {
            let body = self.from + 4 + HEAD.min(length)..self.from + 4 + length;
            self.from = body.end;
            return Ok(Some((reply, &self.buffer[body])));
        }
        if length > 48 * 1024 {
            self.skip = length - rest.len();
            self.pending = Some(reply);
            (self.from, self.to) = (0, 0);
        }
        Ok(None)
    }

    /// Waits for more bytes.
    pub fn fill(&mut self, stream: &mut TcpStream) -> Result<()> {
        if self.skip > 0 {
            let room = self.skip.min(self.buffer.len());
            let (_, count) = rustix::net::recv(&*stream, &mut self.buffer[..room], RecvFlags::TRUNC)?;
            ensure!(count > 0, "the server closed the connection");
            self.skip -= count.min(self.skip);
            return Ok(());
        }
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        } else if self.buffer.len() - self.to < 64 * 1024 {
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        let count = stream.read(&mut self.buffer[self.to..])?;
        ensure!(count > 0, "the server closed the connection");
        self.to += count;
        Ok(())
    }
}

/// One call at a time, each reply read whole.
pub struct Prober {
    stream: TcpStream,
    xid: u32,
}

impl Prober {
    /// A connection.
    pub fn new(from: Ipv4Addr, to: SocketAddrV4) -> Result<Self> {
        Ok(Self { stream: connect(from, to)?, xid: fresh_xid() })
    }

    /// Sends an encoded call; what follows SUCCESS in its reply.
    pub fn ask(&mut self, mut call: Vec<u8>) -> Result<Vec<u8>> {
        self.xid = self.xid.wrapping_add(1);
        put_xid(&mut call, self.xid);
        self.stream.write_all(&call)?;
        let mut body = Vec::new();
        loop {
            let mut mark = [0; 4];
            self.stream.read_exact(&mut mark)?;
            let mark = u32::from_be_bytes(mark);
            let start = body.len();
            body.resize(start + (mark & 0x7fff_ffff) as usize, 0);
            self.stream.read_exact(&mut body[start..])?;
            if mark & 0x8000_0000 != 0 {
                break;
            }
        }
        let mut head = Reader(&body);
        let (xid, _reply, accepted) = (head.u32()?, head.u32()?, head.u32()?);
        ensure!(xid == self.xid && accepted == 0, "the server refused a call: {body:02x?}");
        let (_flavour, verifier, done) = (head.u32()?, head.opaque()?, head.u32()?);
        ensure!(verifier.is_empty() && done == 0, "the server failed a call: accept_stat {done}");
        Ok(body.split_off(HEAD))
    }

    /// MNT: the handle of an export's root.
    pub fn mount(&mut self, path: &str) -> Result<Vec<u8>> {
        let reply = self.ask(call(MOUNT, 1, &Xdr::default().opaque(path.as_bytes())))?;
        let mut reply = Reader(&reply);
        let status = reply.u32()?;
        ensure!(status == 0, "cannot mount {path}: MOUNT status {status}");
        Ok(reply.opaque()?.to_vec())
    }
}
