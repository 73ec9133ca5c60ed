//! The floors: what TCP and the page cache cost when there is no server to speak of.
//!
//! `canned` answers every call with the same bytes and the call's xid, all that came with one read in one write.
//! `sendfile` answers READ from one file, with a header of canned bytes and sendfile(2), held together by MSG_MORE.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use rustix::net::SendFlags;

use crate::rpc::Xdr;
use crate::tree::{BIG, BIG_FILES};

/// Serves for ever, a thread for each connection.
fn serve(port: u16, answer: impl Fn(TcpStream) -> Result<()> + Send + Sync + 'static) -> Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", port)).context("cannot listen")?;
    let answer = Arc::new(answer);
    loop {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let answer = answer.clone();
        // It ends with the connection, by an error or not; the load generator is the one that complains.
        thread::spawn(move || answer(stream));
    }
}

/// Calls the closure with each whole record of what has arrived, mark left out.
fn records(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    mut each: impl FnMut(&[u8]) -> Result<()>,
) -> Result<bool> {
    let start = buffer.len();
    buffer.resize(start + 64 * 1024, 0);
    let count = stream.read(&mut buffer[start..])?;
    buffer.truncate(start + count);
    let mut used = 0;
    while let Some((mark, rest)) = buffer[used..].split_first_chunk::<4>() {
        let length = (u32::from_be_bytes(*mark) & 0x7fff_ffff) as usize;
        let Some(record) = rest.get(..length) else { break };
        each(record)?;
        used += 4 + length;
    }
    buffer.drain(..used);
    Ok(count > 0)
}

/// A reply's mark and head, up to and with NFS3_OK. `more` bytes follow.
fn head(xid: &[u8], more: usize) -> Vec<u8> {
    let mark = 0x8000_0000 | u32::try_from(28 + more).unwrap_or(0);
    let mut reply = Xdr::default().u32(mark).0;
    reply.extend(xid);
    for word in [1u32, 0, 0, 0, 0, 0] {
        reply.extend(word.to_be_bytes());
    }
    reply
}

/// The size of a GETATTR reply, and nothing in it.
pub fn canned(port: u16) -> Result<()> {
    serve(port, |mut stream| {
        let (mut input, mut out) = (Vec::new(), Vec::new());
        let template = [head(&[0; 4], 84), vec![0; 84]].concat();
        loop {
            out.clear();
            let open = records(&mut stream, &mut input, |record| {
                let start = out.len();
                out.extend_from_slice(&template);
                out[start + 4..start + 8].copy_from_slice(record.get(..4).context("no xid")?);
                Ok(())
            })?;
            if !open {
                return Ok(());
            }
            stream.write_all(&out)?;
        }
    })
}

/// READ, whatever the handle, from the large files in a directory as if they were one.
pub fn sendfile(port: u16, directory: &Path) -> Result<()> {
    let open = |at: usize| {
        let path = directory.join(at.to_string());
        File::open(&path).with_context(|| format!("cannot open {}", path.display()))
    };
    let files = (0..BIG_FILES).map(open).collect::<Result<Vec<File>>>()?;
    serve(port, move |mut stream| {
        let mut input = Vec::new();
        let mut wanted = Vec::new();
        loop {
            wanted.clear();
            let open = records(&mut stream, &mut input, |record| {
                ensure!(record.len() >= 16, "no READ");
                let (_, tail) = record.split_at(record.len() - 12);
                let offset = u64::from_be_bytes(tail[..8].try_into()?);
                let count = u32::from_be_bytes(tail[8..].try_into()?);
                wanted.push((record[..4].to_vec(), offset, count));
                Ok(())
            })?;
            if !open {
                return Ok(());
            }
            for (xid, offset, count) in wanted.drain(..) {
                let file = &files[usize::try_from(offset)? / BIG];
                let mut offset = offset % BIG as u64;
                let mut left = count as usize;
                let mut reply = head(&xid, 88 + 12 + left);
                reply.extend(1u32.to_be_bytes());
                reply.extend([0; 84]);
                [count, 0, count].iter().for_each(|word| reply.extend(word.to_be_bytes()));
                rustix::net::send(&stream, &reply, SendFlags::MORE)?;
                while left > 0 {
                    let sent = rustix::fs::sendfile(&stream, file, Some(&mut offset), left)?;
                    ensure!(sent > 0, "the file is too short");
                    left -= sent;
                }
            }
            stream.flush()?;
        }
    })
}
