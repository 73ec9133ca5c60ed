//! What is measured: for each server its own handles and cookies, for all of them the same files in the same order.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};

use crate::load::Work;
use crate::rpc::{self, Attr, NFS, Prober, Reader, Xdr, procedure};
use crate::tree::{BIG, BIG_FILES, Noise};

/// Different calls in a list, where the tree has that many.
const CALLS: usize = 4096;
/// Bytes of a small read.
pub const SMALL: u32 = 4096;
/// Bytes of a large read.
pub const LARGE: u32 = 1 << 20;

/// The cases, in the order in which they are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// GETATTR of files and directories.
    Getattr,
    /// LOOKUP of names that are there.
    Lookup,
    /// ACCESS with all bits.
    Access,
    /// READDIRPLUS, all pages of all directories of small files. One operation is a page.
    Walk,
    /// READ of 4 KiB from offset 0.
    SmallRead,
    /// READ of 1 MiB, one after the other.
    LargeRead,
}

impl Case {
    /// All of them.
    pub const ALL: [Case; 6] =
        [Case::Getattr, Case::Lookup, Case::Access, Case::Walk, Case::SmallRead, Case::LargeRead];

    /// As the table has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Case::Getattr => "GETATTR",
            Case::Lookup => "LOOKUP",
            Case::Access => "ACCESS",
            Case::Walk => "READDIRPLUS page",
            Case::SmallRead => "READ 4 KiB",
            Case::LargeRead => "READ 1 MiB",
        }
    }
}

struct File {
    directory: Vec<u8>,
    name: Vec<u8>,
    handle: Vec<u8>,
    attr: Attr,
}

/// One client's view of the tree.
pub struct Surveyed {
    from: Ipv4Addr,
    files: BTreeMap<String, File>,
    /// Calls for the pages of the directories below `many/`, and the entries that they have altogether.
    pages: Vec<Vec<u8>>,
    /// Entries on all pages: what makes pages of different sizes comparable.
    pub entries: usize,
}

/// READDIRPLUS of a page, with room for what Linux asks for by default.
#[must_use]
pub fn page(handle: &[u8], cookie: u64, verifier: u64) -> Vec<u8> {
    let args = Xdr::default().opaque(handle).u64(cookie).u64(verifier).u32(8192).u32(32 * 1024);
    rpc::call(NFS, procedure::READDIRPLUS, &args)
}

/// Name, handle, attributes.
pub type Entry = (Vec<u8>, Option<Vec<u8>>, Option<Attr>);

/// One page, read: entries with what the server says of them.
pub struct Page {
    /// `.` and `..` left out.
    pub entries: Vec<Entry>,
    /// Where the next page begins.
    pub cookie: u64,
    /// What goes with the cookie.
    pub verifier: u64,
    /// Whether this is the last one.
    pub eof: bool,
}

impl Page {
    /// Reads a result, status included.
    pub fn parse(reply: &[u8]) -> Result<Self> {
        let mut reply = Reader(reply);
        let status = reply.u32()?;
        ensure!(status == 0, "READDIRPLUS failed with status {status}");
        reply.attr()?;
        let mut page = Page { entries: Vec::new(), cookie: 0, verifier: reply.u64()?, eof: false };
        while reply.u32()? == 1 {
            reply.u64()?;
            let name = reply.opaque()?.to_vec();
            page.cookie = reply.u64()?;
            let attr = reply.attr()?;
            let handle = if reply.u32()? == 1 { Some(reply.opaque()?.to_vec()) } else { None };
            if name != b"." && name != b".." {
                page.entries.push((name, handle, attr));
            }
        }
        page.eof = reply.u32()? == 1;
        Ok(page)
    }
}

/// LOOKUP.
#[must_use]
pub fn lookup(directory: &[u8], name: &[u8]) -> Vec<u8> {
    rpc::call(NFS, procedure::LOOKUP, &Xdr::default().opaque(directory).opaque(name))
}

/// Walks `many/` and `big/` with READDIRPLUS.
pub fn survey(prober: &mut Prober, from: Ipv4Addr, root: &[u8]) -> Result<Surveyed> {
    let mut surveyed = Surveyed { from, files: BTreeMap::new(), pages: Vec::new(), entries: 0 };
    let mut todo = Vec::new();
    for name in ["many", "big"] {
        todo.push((name.to_owned(), handle_of(prober, root, name.as_bytes())?.0));
    }
    while let Some((path, directory)) = todo.pop() {
        let (mut cookie, mut verifier) = (0, 0);
        loop {
            let call = page(&directory, cookie, verifier);
            let found = Page::parse(&prober.ask(call.clone())?).with_context(|| path.clone())?;
            if path.starts_with("many/") {
                surveyed.pages.push(call);
                surveyed.entries += found.entries.len();
            }
            for (name, handle, attr) in found.entries {
                let (handle, attr) = match (handle, attr) {
                    (Some(handle), Some(attr)) => (handle, attr),
                    _ => handle_of(prober, &directory, &name)?,
                };
                let path = format!("{path}/{}", String::from_utf8_lossy(&name));
                if attr.kind == 2 {
                    todo.push((path.clone(), handle.clone()));
                }
                surveyed.files.insert(path, File { directory: directory.clone(), name, handle, attr });
            }
            if found.eof {
                break;
            }
            (cookie, verifier) = (found.cookie, found.verifier);
        }
    }
    Ok(surveyed)
}

/// LOOKUP, read: handle and attributes.
pub fn handle_of(prober: &mut Prober, directory: &[u8], name: &[u8]) -> Result<(Vec<u8>, Attr)> {
    let reply = prober.ask(lookup(directory, name))?;
    let mut reply = Reader(&reply);
    let status = reply.u32()?;
    ensure!(status == 0, "no {} there: status {status}", String::from_utf8_lossy(name));
    let handle = reply.opaque()?.to_vec();
    let attr = reply.attr()?.context("a LOOKUP without attributes")?;
    Ok((handle, attr))
}

/// READ.
#[must_use]
pub fn read(handle: &[u8], offset: u64, count: u32) -> Vec<u8> {
    rpc::call(NFS, procedure::READ, &Xdr::default().opaque(handle).u64(offset).u32(count))
}

impl Surveyed {
    /// Files and directories that the tree has, as this client sees it.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.files.len()
    }

    /// The calls of a case.
    pub fn work(&self, case: Case) -> Result<Work> {
        let mut noise = Noise(0x0ddba11);
        let files: Vec<&File> = self.files.values().collect();
        let mut some = |filter: &dyn Fn(&File) -> bool, call: &dyn Fn(&File) -> Vec<u8>| {
            let from: Vec<&&File> = files.iter().filter(|file| filter(file)).collect();
            let mut pick =
                || from.get(usize::try_from(noise.next() % from.len().max(1) as u64).ok()?).map(|f| call(f));
            (0..CALLS).filter_map(|_| pick()).collect::<Vec<_>>()
        };
        let calls = match case {
            Case::Getattr => some(&|_| true, &|file| {
                rpc::call(NFS, procedure::GETATTR, &Xdr::default().opaque(&file.handle))
            }),
            Case::Access => some(&|_| true, &|file| {
                rpc::call(NFS, procedure::ACCESS, &Xdr::default().opaque(&file.handle).u32(0x3f))
            }),
            Case::Lookup => some(&|_| true, &|file| lookup(&file.directory, &file.name)),
            Case::Walk => self.pages.clone(),
            Case::SmallRead => {
                some(&|file| file.attr.kind == 1 && file.attr.size >= u64::from(SMALL), &|file| {
                    read(&file.handle, 0, SMALL)
                })
            }
            Case::LargeRead => {
                let big = files.iter().filter(|file| file.attr.size == BIG as u64);
                big.flat_map(|file| {
                    (0..BIG as u64 / u64::from(LARGE))
                        .map(|at| read(&file.handle, at * u64::from(LARGE), LARGE))
                })
                .collect()
            }
        };
        ensure!(!calls.is_empty(), "the tree has nothing for {}", case.name());
        Ok(Work { from: self.from, calls: Arc::new(calls) })
    }
}

/// Calls for a floor, which looks at no handle.
#[must_use]
pub fn canned(from: Ipv4Addr, case: Case) -> Work {
    let handle = [7; 44];
    let calls = match case {
        Case::SmallRead => (0..1024).map(|at| read(&handle, at * 8192, SMALL)).collect(),
        // As many bytes as the others read: a floor that stays in the processor's cache would be no floor.
        Case::LargeRead => {
            let all = (BIG * BIG_FILES) as u64;
            (0..all / u64::from(LARGE)).map(|at| read(&handle, at * u64::from(LARGE), LARGE)).collect()
        }
        _ => vec![rpc::call(NFS, procedure::GETATTR, &Xdr::default().opaque(&handle))],
    };
    Work { from, calls: Arc::new(calls) }
}
