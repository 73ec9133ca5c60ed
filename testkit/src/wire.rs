//! Calls, counted on the wire: for each server alike, whatever it counts itself.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::Ipv4Addr;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::capture::Capture;

/// Programs of RPC.
pub const NFS: u32 = 100_003;
/// Access control lists, beside NFS version 3.
pub const NFSACL: u32 = 100_227;

/// How often each procedure of each program was called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calls(pub BTreeMap<(u32, u32), u64>);

impl Calls {
    /// One procedure's.
    #[must_use]
    pub fn of(&self, program: u32, procedure: u32) -> u64 {
        self.0.get(&(program, procedure)).copied().unwrap_or_default()
    }

    /// A program's.
    #[must_use]
    pub fn to(&self, program: u32) -> u64 {
        self.0.iter().filter(|((to, _), _)| *to == program).map(|(_, count)| count).sum()
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.0.values().sum()
    }

    /// Those that came after `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let counts = self.0.iter().map(|(what, count)| (*what, count - before.of(what.0, what.1)));
        Self(counts.filter(|(_, count)| *count != 0).collect())
    }
}

/// tcpdump on a port of the lab, and what it has written so far.
pub struct Wire {
    tcpdump: Child,
    said: BufReader<ChildStderr>,
    written: File,
    capture: Capture,
    calls: BTreeMap<Ipv4Addr, Calls>,
    _home: tempfile::TempDir,
}

impl Wire {
    /// Listens to what is sent to NFS servers by the machine on this port of the lab.
    pub fn listen(port: &str) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let file = home.path().join("calls.pcap");
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        // Each packet is written as it comes, by root, and a burst of calls has 16 MiB to wait in.
        let mut tcpdump = Command::new("tcpdump")
            .args(["-n", "-U", "--immediate-mode", "-Z", "root", "-B", "16384", "-i", port, "-w"])
            .arg(&file)
            .arg("tcp dst port 2049")
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run tcpdump")?;
        let mut said = BufReader::new(tcpdump.stderr.take().context("tcpdump has no stderr")?);
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            if said.read_line(&mut line)? == 0 {
                bail!("tcpdump does not listen on {port}");
            }
        }
        let written = File::open(&file)?;
        let (capture, calls) = (Capture::default(), BTreeMap::new());
        Ok(Self { tcpdump, said, written, capture, calls, _home: home })
    }

    /// All calls to a server since the beginning, when none has come for a while.
    pub fn calls(&mut self, server: Ipv4Addr) -> Result<Calls> {
        loop {
            std::thread::sleep(Duration::from_millis(500));
            let mut more = Vec::new();
            self.written.read_to_end(&mut more)?;
            if more.is_empty() {
                return Ok(self.calls.get(&server).cloned().unwrap_or_default());
            }
            let calls = &mut self.calls;
            self.capture.read(&more, |flow, record| {
                // xid, CALL, version of RPC, program, its version, procedure (RFC 5531 §9).
                let word = |at: usize| Some(u32::from_be_bytes(record.get(at..at + 4)?.try_into().ok()?));
                if let (Some(0), Some(program), Some(procedure)) = (word(4), word(12), word(20)) {
                    *calls.entry(flow.server).or_default().0.entry((program, procedure)).or_default() += 1;
                }
            })?;
        }
    }

    /// Stops listening; fails when packets were missed, and with them calls.
    pub fn stop(mut self) -> Result<()> {
        // At this signal it says how many packets it has missed.
        Command::new("kill").arg("-INT").arg(self.tcpdump.id().to_string()).status()?;
        let mut rest = String::new();
        self.said.read_to_string(&mut rest)?;
        if !rest.lines().any(|line| line == "0 packets dropped by kernel") {
            bail!("tcpdump has missed packets: {rest}");
        }
        Ok(())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // It may have been stopped.
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
    }
}
