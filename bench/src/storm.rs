//! A boot storm: one recorded boot's calls, replayed by many clients at once.
//!
//! The recording is a text file (`boots/*.calls`), made by `record.rs` from a packet capture. `#` begins a remark. First
//! the nodes that the calls need, then the calls in the order in which they were sent:
//!
//! ```text
//! DIR /etc
//! FILE /etc/hostname 6
//! LINK /lib usr/lib
//! LOOKUP /etc
//! +ACCESS /etc
//! MISSING /etc/no-such-name
//! READ /etc/hostname 0 4096
//! LIST /etc
//! ```
//!
//! Other calls: GETATTR, READLINK, FSSTAT, FSINFO, PATHCONF. `MISSING` is a LOOKUP that finds nothing; `LIST` is
//! READDIRPLUS to the end. A `+` says that the call was sent before the reply to the one before it had come. Each client
//! has one connection, and takes its handles from its own LOOKUPs; a handle that the recorded client had from
//! READDIRPLUS costs a LOOKUP here, the same for every server.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::cases::{self, Page};
use crate::cpu;
use crate::nodes::{Kind, Node};
use crate::rpc::{self, NFS, NOENT, Reader, Replies, Xdr, procedure};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Lookup,
    Missing,
    List,
    Read(u64, u32),
    /// A procedure that takes a handle and nothing else.
    Plain(u32),
    Access,
}

struct Line {
    verb: Verb,
    path: usize,
    /// Sent together with the one before it.
    joined: bool,
}

struct PathOf {
    parent: usize,
    name: Vec<u8>,
    text: String,
}

/// A recording, read.
pub struct Recording {
    /// Nodes by path.
    pub nodes: BTreeMap<String, Node>,
    lines: Vec<Line>,
    /// 0 is the root.
    paths: Vec<PathOf>,
}

impl Recording {
    /// Reads a file.
    pub fn load(file: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let root = PathOf { parent: 0, name: Vec::new(), text: "/".to_owned() };
        let mut recording = Self { nodes: BTreeMap::new(), lines: Vec::new(), paths: vec![root] };
        let mut known = HashMap::from([("/".to_owned(), 0)]);
        for (number, line) in text.lines().enumerate() {
            recording
                .line(line, &mut known)
                .with_context(|| format!("{}:{}: {line}", file.display(), number + 1))?;
        }
        ensure!(!recording.lines.is_empty(), "{} has no calls", file.display());
        Ok(recording)
    }

    fn line(&mut self, line: &str, known: &mut HashMap<String, usize>) -> Result<()> {
        let (joined, line) = line.strip_prefix('+').map_or((false, line), |rest| (true, rest));
        let mut words = line.split('\t').flat_map(|part| part.split(' '));
        let verb = words.next().unwrap_or_default();
        if verb.is_empty() || verb.starts_with('#') {
            return Ok(());
        }
        let path = words.next().context("a path is missing")?;
        let mut number = || words.next().context("a number is missing").and_then(|w| Ok(w.parse::<u64>()?));
        let kind = match verb {
            "DIR" => Some(Kind::Directory),
            "FILE" => Some(Kind::File(number()?)),
            "LINK" => Some(Kind::Link(line.split(' ').nth(2).context("a target is missing")?.to_owned())),
            _ => None,
        };
        if let Some(kind) = kind {
            self.nodes.insert(path.to_owned(), Node { kind, is_read: false });
            return Ok(());
        }
        let verb = match verb {
            "LOOKUP" => Verb::Lookup,
            "MISSING" => Verb::Missing,
            "LIST" => Verb::List,
            "ACCESS" => Verb::Access,
            "READ" => Verb::Read(number()?, u32::try_from(number()?)?),
            "GETATTR" => Verb::Plain(procedure::GETATTR),
            "READLINK" => Verb::Plain(procedure::READLINK),
            "FSSTAT" => Verb::Plain(procedure::FSSTAT),
            "FSINFO" => Verb::Plain(procedure::FSINFO),
            "PATHCONF" => Verb::Plain(procedure::PATHCONF),
            other => bail!("no call is named {other}"),
        };
        if let (Verb::Read(..), Some(node)) = (verb, self.nodes.get_mut(path)) {
            node.is_read = true;
        }
        let path = self.path(path, known)?;
        self.lines.push(Line { verb, path, joined });
        Ok(())
    }

    fn path(&mut self, text: &str, known: &mut HashMap<String, usize>) -> Result<usize> {
        if let Some(found) = known.get(text) {
            return Ok(*found);
        }
        let (parent, name) = text.rsplit_once('/').context("a path begins with a slash")?;
        let parent = self.path(if parent.is_empty() { "/" } else { parent }, known)?;
        self.paths.push(PathOf { parent, name: name.into(), text: text.to_owned() });
        known.insert(text.to_owned(), self.paths.len() - 1);
        Ok(self.paths.len() - 1)
    }

    /// Calls in it.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.lines.len()
    }
}

/// One client: where it calls from, and its root.
#[derive(Clone)]
pub struct Booting {
    /// Its address.
    pub from: Ipv4Addr,
    /// What MNT gave it.
    pub root: Vec<u8>,
}

/// What a storm came to.
#[derive(Debug, Clone, Copy)]
pub struct Stormed {
    /// From the first call to the last reply of all clients.
    pub seconds: f64,
    /// Half of the clients were done after so many seconds.
    pub p50: f64,
    /// 99 of 100 were.
    pub p99: f64,
    /// CPU seconds of the server.
    pub server_cpu: f64,
    /// CPU seconds of the clients.
    pub client_cpu: f64,
    /// Calls answered.
    pub calls: u64,
    /// Bytes of replies.
    pub bytes: u64,
}

/// Boots all clients at once.
pub fn run(pid: u32, to: SocketAddrV4, recording: &Arc<Recording>, clients: &[Booting]) -> Result<Stormed> {
    let start = Arc::new(Barrier::new(clients.len() + 1));
    let mut threads = Vec::new();
    for client in clients {
        let stream = rpc::connect(client.from, to)?;
        let (recording, start, root) = (recording.clone(), start.clone(), client.root.clone());
        let boot = move || {
            start.wait();
            let begun = Instant::now();
            let mut replay = Replay::new(&recording, stream, root);
            replay.run().map(|()| (begun.elapsed(), replay.calls, replay.bytes))
        };
        threads.push(thread::Builder::new().stack_size(256 * 1024).spawn(boot)?);
    }
    let (server, own) = (cpu::of(pid)?, cpu::of(std::process::id())?);
    let begun = Instant::now();
    start.wait();
    let mut done = Vec::new();
    let (mut calls, mut bytes) = (0, 0);
    for thread in threads {
        let (took, some, more) = thread.join().map_err(|_| anyhow!("a client panicked"))??;
        done.push(took);
        calls += some;
        bytes += more;
    }
    let seconds = begun.elapsed().as_secs_f64();
    done.sort_unstable();
    let part = |part: usize| done.get(done.len() * part / 100).map_or(0.0, Duration::as_secs_f64);
    Ok(Stormed {
        seconds,
        p50: part(50),
        p99: part(99),
        server_cpu: (cpu::of(pid)? - server) as f64 / 1e9,
        client_cpu: (cpu::of(std::process::id())? - own) as f64 / 1e9,
        calls,
        bytes,
    })
}

struct Replay<'a> {
    recording: &'a Recording,
    stream: TcpStream,
    replies: Replies,
    handles: Vec<Option<Vec<u8>>>,
    out: Vec<u8>,
    /// Calls in `out` and under way, by xid.
    waiting: HashMap<u32, (Verb, usize)>,
    xid: u32,
    calls: u64,
    bytes: u64,
}

impl<'a> Replay<'a> {
    fn new(recording: &'a Recording, stream: TcpStream, root: Vec<u8>) -> Self {
        let mut handles = vec![None; recording.paths.len()];
        handles[0] = Some(root);
        Self {
            recording,
            stream,
            replies: Replies::default(),
            handles,
            out: Vec::new(),
            waiting: HashMap::new(),
            xid: rpc::fresh_xid(),
            calls: 0,
            bytes: 0,
        }
    }

    fn run(&mut self) -> Result<()> {
        for line in &self.recording.lines {
            if !line.joined {
                self.flush()?;
            }
            self.send(line.verb, line.path)?;
        }
        self.flush().map(drop)
    }

    /// The handle of a path; looks it up, and what is above it, when it is not known yet.
    fn handle(&mut self, path: usize) -> Result<Vec<u8>> {
        if self.handles[path].is_none() {
            // It may be what a call under way is about to tell.
            self.flush()?;
        }
        if self.handles[path].is_none() {
            self.send(Verb::Lookup, path)?;
            self.flush()?;
        }
        self.handles[path]
            .clone()
            .with_context(|| format!("no handle of {}", self.recording.paths[path].text))
    }

    fn send(&mut self, verb: Verb, path: usize) -> Result<()> {
        let of = &self.recording.paths[path];
        let call = match verb {
            Verb::Lookup | Verb::Missing => cases::lookup(&self.handle(of.parent)?, &of.name),
            Verb::List => return self.list(path),
            Verb::Read(offset, count) => cases::read(&self.handle(path)?, offset, count),
            Verb::Access => {
                rpc::call(NFS, procedure::ACCESS, &Xdr::default().opaque(&self.handle(path)?).u32(0x3f))
            }
            Verb::Plain(number) => rpc::call(NFS, number, &Xdr::default().opaque(&self.handle(path)?)),
        };
        self.put(call, verb, path);
        Ok(())
    }

    fn put(&mut self, mut call: Vec<u8>, verb: Verb, path: usize) {
        self.xid = self.xid.wrapping_add(1);
        rpc::put_xid(&mut call, self.xid);
        self.out.extend(call);
        self.waiting.insert(self.xid, (verb, path));
    }

    /// Sends what is gathered and waits for all replies; the last one's bytes.
    fn flush(&mut self) -> Result<Vec<u8>> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        let mut last = Vec::new();
        while !self.waiting.is_empty() {
            self.replies.fill(&mut self.stream)?;
            while let Some((reply, body)) = self.replies.next()? {
                let (verb, path) = self.waiting.remove(&reply.xid).context("a reply to no call")?;
                let of = &self.recording.paths[path].text;
                let expected = if verb == Verb::Missing { NOENT } else { 0 };
                ensure!(reply.status == expected, "{verb:?} {of}: status {}", reply.status);
                self.calls += 1;
                self.bytes += reply.length as u64;
                match verb {
                    Verb::Lookup => self.handles[path] = Some(Reader(&body[4..]).opaque()?.to_vec()),
                    Verb::List => last = body.to_vec(),
                    _ => {}
                }
            }
        }
        Ok(last)
    }

    fn list(&mut self, path: usize) -> Result<()> {
        let handle = self.handle(path)?;
        self.flush()?;
        let (mut cookie, mut verifier) = (0, 0);
        loop {
            self.put(cases::page(&handle, cookie, verifier), Verb::List, path);
            let page = Page::parse(&self.flush()?)?;
            if page.eof {
                return Ok(());
            }
            (cookie, verifier) = (page.cookie, page.verifier);
        }
    }
}
