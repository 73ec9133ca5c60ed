//! From a packet capture of a boot to the text that `storm.rs` replays.
//!
//! Learns paths from MNT, LOOKUP and READDIRPLUS replies. The server's own `/.oneroot` and NFSACL calls are left out, for
//! the peers have neither.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use oneroot_testkit::capture::Capture;

use crate::cases::Page;
use crate::rpc::{Attr, MOUNT, NFS, Reader, procedure};

/// The recording of the client with the most calls, as text.
pub fn record(capture: &Path) -> Result<String> {
    let bytes = std::fs::read(capture).with_context(|| format!("cannot read {}", capture.display()))?;
    let name = capture.file_name().unwrap_or_default().to_string_lossy();
    let mut clients: HashMap<Ipv4Addr, Client> = HashMap::new();
    Capture::default().read(&bytes, |flow, record| {
        let client = clients.entry(flow.client).or_default();
        // What does not parse was cut off by the capture; it is no call of ours.
        let _ = if flow.is_call { client.call(flow.port, record) } else { client.reply(flow.port, record) };
    })?;
    let most = clients.into_values().max_by_key(|client| client.lines.len()).context("no NFS call in it")?;
    Ok(most.text(&name))
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
