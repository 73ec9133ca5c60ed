//! HTTP as it is read from a connection on which more than one answer comes.

use std::io::Read as _;
use std::net::TcpStream;

use anyhow::Result;

/// The next answer of a connection: its head, and its body where it has one. No byte behind it is taken.
pub fn answer(mut stream: &TcpStream, has_body: bool) -> Result<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8(head)?;
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap_or("0");
    let mut body = vec![0; if has_body { length.parse()? } else { 0 }];
    stream.read_exact(&mut body)?;
    Ok((head, body))
}
