//! A walk through a tree with the attributes of every file, in a guest: what it found, how long it took, and what the
//! guest's kernel sent for it.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::guest::Guest;
use oneroot_testkit::wire::{Calls, NFS};

/// Procedures of NFS version 3 that a walk may send (RFC 1813 §3.3).
pub mod procedure {
    /// Attributes of a node.
    pub const GETATTR: u32 = 1;
    /// A name in a directory.
    pub const LOOKUP: u32 = 3;
    /// What the caller may do.
    pub const ACCESS: u32 = 4;
    /// The text of a link.
    pub const READLINK: u32 = 5;
    /// Names of a directory.
    pub const READDIR: u32 = 16;
    /// The same with attributes and handles.
    pub const READDIRPLUS: u32 = 17;
}

/// What walks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lister {
    /// `find TOP -xdev -ls`
    Find,
    /// `ls -lR TOP`, which asks for each file's access control list as well.
    Ls,
}

impl Lister {
    /// The command.
    #[must_use]
    pub fn command(self, top: &str) -> String {
        match self {
            Self::Find => format!("find {top} -xdev -ls"),
            Self::Ls => format!("ls -lR {top}"),
        }
    }

    /// What counts names, then directories, in what the command has printed.
    fn counts(self) -> &'static str {
        match self {
            Self::Find => "wc -l </tmp/listed; awk '$3 ~ /^d/' /tmp/listed | wc -l",
            Self::Ls => "grep -c '^[-bcdlps][-rwxsStT]\\{9\\}' /tmp/listed; grep -c '^/.*:$' /tmp/listed",
        }
    }
}

/// A walk that was taken.
#[derive(Debug, Clone)]
pub struct Walk {
    /// Names that were listed.
    pub names: u64,
    /// Directories that were listed.
    pub directories: u64,
    /// By the guest's clock.
    pub seconds: f64,
    /// Of its machine's processor: what of that is not waiting, neither for the server nor for others on the same host.
    pub cpu: f64,
    /// What the guest's kernel says that it has sent, to all its NFS servers. It does not count NFSACL.
    pub sent: Calls,
}

impl Walk {
    /// Walks, as root, and waits so long at most.
    pub fn of(guest: &mut Guest, lister: Lister, top: &str, limit: Duration) -> Result<Self> {
        let before = sent(guest)?;
        let (command, counts) = (lister.command(top), lister.counts());
        let clock = "read up idle </proc/uptime; echo $up";
        let cpu = guest.cpu_seconds()?;
        let (code, said) = guest.run_for(&format!("{clock}; {command} >/tmp/listed; {clock}"), limit)?;
        let cpu = guest.cpu_seconds()? - cpu;
        ensure!(code == 0, "`{command}` ended with {code}: {said}");
        let [begun, ended] = numbers::<f64>(&said)?;
        let [names, directories] = numbers::<u64>(&guest.run_for(counts, limit)?.1)?;
        let sent = sent(guest)?.since(&before);
        Ok(Self { names, directories, seconds: ended - begun, cpu, sent })
    }
}

/// Two lines of a number each.
fn numbers<N: FromStr<Err: std::error::Error + Send + Sync + 'static>>(said: &str) -> Result<[N; 2]> {
    let numbers: Vec<N> =
        said.lines().map(str::parse).collect::<Result<_, _>>().with_context(|| said.to_owned())?;
    numbers.try_into().ok().with_context(|| format!("not two numbers: {said:?}"))
}

/// How often the guest's kernel has sent each call of NFS version 3.
fn sent(guest: &mut Guest) -> Result<Calls> {
    let told = guest.ok("grep ^proc3 /proc/net/rpc/nfs")?;
    let mut calls = Calls::default();
    for (procedure, count) in (0..).zip(told.split_whitespace().skip(2)) {
        calls.0.insert((NFS, procedure), count.parse()?);
    }
    Ok(calls)
}

/// Where a listing stands with the promise: 2.3 calls for a directory, and one for each further page of it.
pub trait Listing {
    /// NFS calls but READLINK: a link's text is in no other answer.
    fn for_listing(&self) -> u64;

    /// Calls for one thing at a time, where READDIRPLUS would bring many.
    fn one_by_one(&self) -> u64;

    /// Pages of listings beyond the first of each directory.
    fn further_pages(&self, directories: u64) -> u64;
}

impl Listing for Calls {
    fn for_listing(&self) -> u64 {
        self.to(NFS) - self.of(NFS, procedure::READLINK)
    }

    fn one_by_one(&self) -> u64 {
        let count = |procedure| self.of(NFS, procedure);
        count(procedure::GETATTR) + count(procedure::LOOKUP) + count(procedure::READDIR)
    }

    fn further_pages(&self, directories: u64) -> u64 {
        self.of(NFS, procedure::READDIRPLUS).saturating_sub(directories)
    }
}
