//! Whether an NFS server lives: its NULL procedure is called (RFC 5531, RFC 1813 §3.3.0). A server that is off, and one that takes
//! connections and says nothing, would each hold mount(2) up for minutes.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::Result;
use super::net::errno;
use super::post::{connect, left};

/// Any number; one call is on the connection.
const NUMBER: u32 = 1;
/// A call, of RPC version 2, to NFS version 3, its procedure 0, by nobody (`AUTH_NONE`, twice).
const CALL: [u32; 10] = [NUMBER, 0, 2, 100_003, 3, 0, 0, 0, 0, 0];
/// A record's only fragment, of the call's forty bytes.
const MARK: u32 = 1 << 31 | 40;
/// A record's mark, the call's number, and that it is a reply.
const BEGINNING: usize = 12;
const REPLY: [u8; 4] = [0, 0, 0, 1];

/// Fails where no reply comes within that time. What the reply says is for mount(2) to find out.
pub(super) fn ping(server: SocketAddr, within: Duration, first: u16) -> Result<()> {
    let end = Instant::now() + within;
    let mut stream = connect(server, within, first)?;
    let record: Vec<u8> = [MARK].iter().chain(&CALL).flat_map(|word| word.to_be_bytes()).collect();
    stream.set_write_timeout(Some(left(end)?)).map_err(errno)?;
    stream.write_all(&record).map_err(errno)?;
    let mut beginning = Vec::new();
    while beginning.len() < BEGINNING {
        stream.set_read_timeout(Some(left(end)?)).map_err(errno)?;
        let mut piece = [0; BEGINNING];
        match stream.read(&mut piece) {
            Ok(0) => return Err(Errno::CONNRESET),
            Ok(length) => beginning.extend_from_slice(piece.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(Errno::TIMEDOUT),
            Err(error) => return Err(errno(error)),
        }
    }
    let said = beginning.get(4..BEGINNING);
    if said == Some(&[NUMBER.to_be_bytes(), REPLY].concat()) { Ok(()) } else { Err(Errno::PROTO) }
}
