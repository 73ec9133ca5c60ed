//! From a packet capture of a boot to the text that `storm.rs` replays.
//!
//! Reads classic pcap of Ethernet, as tcpdump and QEMU's filter-dump write it; puts the TCP streams of port 2049
//! together (RFC 9293, sequence numbers only); learns paths from MNT, LOOKUP and READDIRPLUS replies. The server's own
//! `/.oneroot` and NFSACL calls are left out, for the peers have neither.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::cases::Page;
use crate::rpc::{Attr, MOUNT, NFS, Reader, procedure};

const PORT: u16 = 2049;

/// One direction of a connection: client's address and port, and whether it comes from the client.
type Flow = (Ipv4Addr, u16, bool);

#[derive(Default)]
struct Stream {
    next: Option<u32>,
    early: BTreeMap<u32, Vec<u8>>,
    bytes: Vec<u8>,
}

impl Stream {
    /// Takes a segment; adds what is now in order.
    fn take(&mut self, sequence: u32, syn: bool, payload: &[u8]) {
        if syn {
            *self = Self { next: Some(sequence.wrapping_add(1)), ..Self::default() };
            return;
        }
        if payload.is_empty() {
            return;
        }
        self.next.get_or_insert(sequence);
        self.early.insert(sequence, payload.to_vec());
        while let Some(next) = self.next {
            let ready = self.early.iter().find_map(|(at, bytes)| {
                let behind = next.wrapping_sub(*at);
                (behind < 1 << 31).then(|| (*at, behind as usize >= bytes.len()))
            });
            let Some((at, old)) = ready else { return };
            let Some(bytes) = self.early.remove(&at) else { return };
            if !old {
                let new = &bytes[next.wrapping_sub(at) as usize..];
                self.bytes.extend(new);
                self.next = Some(next.wrapping_add(new.len() as u32));
            }
        }
    }

    fn record(&mut self) -> Option<Vec<u8>> {
        let mark = u32::from_be_bytes(*self.bytes.first_chunk::<4>()?);
        let length = (mark & 0x7fff_ffff) as usize;
        let record = self.bytes.get(4..4 + length)?.to_vec();
        self.bytes.drain(..4 + length);
        Some(record)
    }
}

/// The recording of the client with the most calls, as text.
pub fn record(capture: &Path) -> Result<String> {
    let bytes = std::fs::read(capture).with_context(|| format!("cannot read {}", capture.display()))?;
    let name = capture.file_name().unwrap_or_default().to_string_lossy();
    let mut clients: HashMap<Ipv4Addr, Client> = HashMap::new();
    let mut streams: HashMap<Flow, Stream> = HashMap::new();
    packets(&bytes, |frame, whole| {
        let Some((flow, sequence, syn, payload)) = segment(frame, whole) else { return };
        let stream = streams.entry(flow).or_default();
        stream.take(sequence, syn, &payload);
        while let Some(record) = stream.record() {
            let client = clients.entry(flow.0).or_default();
            // What does not parse was cut off by the capture; it is no call of ours.
            let _ = if flow.2 { client.call(flow.1, &record) } else { client.reply(flow.1, &record) };
        }
    })?;
    let most = clients.into_values().max_by_key(|client| client.lines.len()).context("no NFS call in it")?;
    Ok(most.text(&name))
}

/// Calls the closure with each frame, and the length that it had before the capture cut it.
fn packets(bytes: &[u8], mut each: impl FnMut(&[u8], usize)) -> Result<()> {
    let word =
        |at: usize| bytes.get(at..at + 4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]) as usize);
    let magic = word(0).context("no pcap")?;
    ensure!(magic == 0xa1b2_c3d4 || magic == 0xa1b2_3c4d, "no pcap of this machine's byte order");
    ensure!(word(20) == Some(1), "no capture of Ethernet");
    let mut at = 24;
    while let (Some(kept), Some(whole)) = (word(at + 8), word(at + 12)) {
        let Some(frame) = bytes.get(at + 16..at + 16 + kept) else { return Ok(()) };
        each(frame, whole);
        at += 16 + kept;
    }
    Ok(())
}

/// The TCP segment of a frame: flow, sequence number, whether it is a SYN, payload (zeros where the capture has none).
fn segment(frame: &[u8], whole: usize) -> Option<(Flow, u32, bool, Vec<u8>)> {
    let packet = frame.get(12..14).filter(|kind| *kind == [8, 0]).and(frame.get(14..))?;
    let header = usize::from(packet.first()? & 15) * 4;
    let total = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    // Segmentation offload leaves 0 where the length does not fit.
    let total = if total == 0 { whole.checked_sub(14)? } else { total };
    if *packet.get(9)? != 6 {
        return None;
    }
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
    let tcp = packet.get(header..)?;
    let port = |at: usize| Some(u16::from_be_bytes([*tcp.get(at)?, *tcp.get(at + 1)?]));
    let flow = match (port(0)?, port(2)?) {
        (from, PORT) => (address(12)?, from, true),
        (PORT, to) => (address(16)?, to, false),
        _ => return None,
    };
    let sequence = u32::from_be_bytes(tcp.get(4..8)?.try_into().ok()?);
    let data = usize::from(tcp.get(12)? >> 4) * 4;
    let length = total.checked_sub(header + data)?;
    let mut payload = tcp.get(data..)?.to_vec();
    payload.resize(length, 0);
    Some((flow, sequence, tcp.get(13)? & 2 != 0, payload))
}

struct Waiting {
    program: u32,
    number: u32,
    /// Its line, and the path that it is about.
    line: Option<usize>,
    path: String,
}

#[derive(Default)]
struct Client {
    handles: HashMap<Vec<u8>, String>,
    nodes: BTreeMap<String, String>,
    targets: HashMap<String, String>,
    lines: Vec<String>,
    waiting: HashMap<(u16, u32), Waiting>,
    left_out: usize,
    /// Line of the call before, while it has no reply.
    before: Option<(u16, u32)>,
}

impl Client {
    fn call(&mut self, port: u16, record: &[u8]) -> Result<()> {
        let mut call = Reader(record);
        let (xid, kind, _, program, _, number) =
            (call.u32()?, call.u32()?, call.u32()?, call.u32()?, call.u32()?, call.u32()?);
        ensure!(kind == 0, "no call");
        for _ in 0..2 {
            call.u32()?;
            call.opaque()?;
        }
        let mut waiting = Waiting { program, number, line: None, path: "/".to_owned() };
        if program == NFS && number != 0 {
            match self.line(number, &mut call) {
                Some((line, path)) => {
                    let joined = self.before.is_some_and(|before| self.waiting.contains_key(&before));
                    waiting.line = Some(self.lines.len());
                    waiting.path = path;
                    self.lines.push(if joined { format!("+{line}") } else { line });
                    self.before = Some((port, xid));
                }
                None => self.left_out += 1,
            }
        }
        self.waiting.insert((port, xid), waiting);
        Ok(())
    }

    fn line(&self, number: u32, args: &mut Reader<'_>) -> Option<(String, String)> {
        let path = self.handles.get(args.opaque().ok()?)?.clone();
        let (path, verb) = match number {
            procedure::LOOKUP => {
                let name = String::from_utf8(args.opaque().ok()?.to_vec()).ok()?;
                (format!("{}/{name}", path.trim_end_matches('/')), "LOOKUP")
            }
            procedure::GETATTR => (path, "GETATTR"),
            procedure::ACCESS => (path, "ACCESS"),
            procedure::READLINK => (path, "READLINK"),
            procedure::READ => (path, "READ"),
            procedure::READDIR | procedure::READDIRPLUS if args.u64().ok()? == 0 => (path, "LIST"),
            procedure::FSSTAT => (path, "FSSTAT"),
            procedure::FSINFO => (path, "FSINFO"),
            procedure::PATHCONF => (path, "PATHCONF"),
            _ => return None,
        };
        if path.starts_with("/.oneroot") || path.contains(char::is_whitespace) {
            return None;
        }
        let mut line = format!("{verb} {path}");
        if verb == "READ" {
            let _ = write!(line, " {} {}", args.u64().ok()?, args.u32().ok()?);
        }
        Some((line, path))
    }

    fn reply(&mut self, port: u16, record: &[u8]) -> Result<()> {
        let mut reply = Reader(record);
        let waiting = self.waiting.remove(&(port, reply.u32()?)).context("a reply to no call")?;
        reply.u64()?;
        reply.u32()?;
        reply.opaque()?;
        reply.u32()?;
        let body = reply.0;
        let status = reply.u32()?;
        if waiting.program == MOUNT && waiting.number == 1 && status == 0 {
            self.handles.insert(reply.opaque()?.to_vec(), "/".to_owned());
        }
        let (NFS, Some(at)) = (waiting.program, waiting.line) else { return Ok(()) };
        let path = waiting.path;
        if status != 0 {
            let missing = waiting.number == procedure::LOOKUP && status == 2;
            let line = self.lines[at].clone();
            // What failed otherwise is no part of a boot that can be replayed.
            self.lines[at] =
                if missing { line.replacen("LOOKUP", "MISSING", 1) } else { format!("# {status}: {line}") };
            return Ok(());
        }
        match waiting.number {
            procedure::LOOKUP => {
                self.handles.insert(reply.opaque()?.to_vec(), path.clone());
                let attr = reply.attr()?;
                self.node(&path, attr);
            }
            procedure::GETATTR => {
                let attr = reply.fattr()?;
                self.node(&path, Some(attr));
            }
            procedure::READLINK => {
                reply.attr()?;
                let target = String::from_utf8_lossy(reply.opaque()?).into_owned();
                self.targets.insert(path, target);
            }
            procedure::READDIRPLUS => {
                for (name, handle, attr) in Page::parse(body)?.entries {
                    let child = format!("{}/{}", path.trim_end_matches('/'), String::from_utf8_lossy(&name));
                    if let Some(handle) = handle {
                        self.handles.insert(handle, child.clone());
                    }
                    self.node(&child, attr);
                }
            }
            _ => {
                let attr = reply.attr()?;
                self.node(&path, attr);
            }
        }
        Ok(())
    }

    fn node(&mut self, path: &str, attr: Option<Attr>) {
        let Some(attr) = attr else { return };
        if path == "/" || path.starts_with("/.oneroot") || path.contains(char::is_whitespace) {
            return;
        }
        let line = match attr.kind {
            2 => format!("DIR {path}"),
            5 => format!("LINK {path}"),
            // Device nodes, pipes and sockets are files of no bytes here: no call opens one.
            1 => format!("FILE {path} {}", attr.size),
            _ => format!("FILE {path} 0"),
        };
        self.nodes.insert(path.to_owned(), line);
    }

    fn text(self, name: &str) -> String {
        let mut text = format!(
            "# {} calls of one boot, from {name}; {} calls were left out (NFSACL's own, /.oneroot, pages of a listing).\n",
            self.lines.len(),
            self.left_out
        );
        for (path, line) in &self.nodes {
            let target = self.targets.get(path).map_or("nowhere", |target| target.as_str());
            let _ = if line.starts_with("LINK") {
                writeln!(text, "{line} {target}")
            } else {
                writeln!(text, "{line}")
            };
        }
        for line in &self.lines {
            let _ = writeln!(text, "{line}");
        }
        text
    }
}
