//! A POST by HTTP/1.1 from a port that only root can have: it is by that that the server believes who reports.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

use super::{Answer, Result};
use crate::kernel::net::errno;

/// Ports from which is reported. The kernel's NFS client takes those from 665 on, the last first.
const PORTS: std::ops::Range<u16> = 600..1024;
/// Bytes of an answer that are read.
const LONGEST: usize = 4096;

/// Posts it, all of it within that time; the first port to be tried is the caller's choice.
pub(super) fn post(
    server: SocketAddr,
    path: &str,
    text: &str,
    within: Duration,
    first: u16,
) -> Result<Answer> {
    let end = Instant::now() + within;
    let mut stream = connect(server, within, first)?;
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {server}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{text}",
        text.len()
    );
    stream.set_write_timeout(Some(left(end)?)).map_err(errno)?;
    stream.write_all(request.as_bytes()).map_err(errno)?;
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let read = left(end).and_then(|left| {
            stream.set_read_timeout(Some(left)).and_then(|()| stream.read(&mut piece)).map_err(|error| {
                match error.kind() {
                    std::io::ErrorKind::WouldBlock => Errno::TIMEDOUT,
                    _ => errno(error),
                }
            })
        });
        let length = match read {
            Ok(length) => length,
            // Its status says it, whatever comes of the words behind it.
            Err(errno) => return has_head(&answer).ok_or(errno),
        };
        answer.extend_from_slice(piece.get(..length).unwrap_or_default());
        let text = String::from_utf8_lossy(&answer);
        if length == 0 || Answer::is_whole(&text) || answer.len() > LONGEST {
            return Answer::read(&text).ok_or(Errno::PROTO);
        }
    }
}

/// What is there of an answer, if its head is.
fn has_head(answer: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(answer);
    text.contains("\r\n\r\n").then(|| Answer::read(&text)).flatten()
}

pub(super) fn left(end: Instant) -> Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(Errno::TIMEDOUT) } else { Ok(left) }
}

/// Connects from a port below 1024.
pub(super) fn connect(server: SocketAddr, within: Duration, first: u16) -> Result<TcpStream> {
    let count = PORTS.end - PORTS.start;
    for place in 0..count {
        let port = PORTS.start + (first.wrapping_add(place)) % count;
        let from: IpAddr =
            if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, None).map_err(errno)?;
        match socket.bind(&SocketAddr::new(from, port).into()).map_err(errno) {
            Err(Errno::ADDRINUSE) => continue,
            bound => bound?,
        }
        match socket.connect_timeout(&server.into(), within) {
            Ok(()) => return Ok(socket.into()),
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => return Err(Errno::TIMEDOUT),
            // The same two ends were connected just now.
            Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => {}
            Err(error) => return Err(errno(error)),
        }
    }
    Err(Errno::ADDRINUSE)
}
