//! A host's own rpcbind: where it has port 111, our programs are entered there, and taken out again when we stop.
//!
//! An entry is taken out only while it names our port, for rpcbind lets root take out anybody's.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use oneroot_nfsd::rpcbind::{LONGEST_ANSWER, NoAnswer, Question, call, done, name, port, registrations};
use oneroot_nfsd::{Mapping, PortTable};

/// rpcbind is on this host; it answers at once, or when systemd has started it for the first datagram.
const PATIENCE: Duration = Duration::from_millis(700);
const TRIES: u32 = 3;
/// Datagrams that are looked at for each try: late answers to earlier calls, and no more.
const STRAYS: u32 = 8;
const RPCBIND: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 111);
/// Source ports that only root can have, as bindresvport(3) takes them; rpcbind believes no other.
const PRIVILEGED: std::ops::RangeInclusive<u16> = 600..=1023;
const NOBODY: &str =
    "no portmapper answers on port 111, and another program has it; see `ss -lnp sport = :111`";

/// Our entries in the host's rpcbind; taken out when dropped.
pub struct Registration {
    socket: UdpSocket,
    mappings: Vec<Mapping>,
    xid: u32,
}

impl Registration {
    /// Enters our programs: all, or none is left. Blocks for a few seconds at most.
    pub fn enter(table: &PortTable) -> Result<Self> {
        let mut rpcbind = Self { socket: socket()?, mappings: Vec::new(), xid: std::process::id() };
        for mapping in registrations(table) {
            rpcbind.add(mapping)?;
        }
        Ok(rpcbind)
    }

    fn add(&mut self, mapping: Mapping) -> Result<()> {
        // What we left there when we were killed.
        self.remove(&mapping)?;
        // SET never replaces an entry, so that its answer says whether somebody has the program. GETPORT could not: it
        // falls back to other versions, and a server of NFS 4 alone is in nobody's way.
        if self.ask(Question::Set, &mapping, done)? {
            self.mappings.push(mapping);
            return Ok(());
        }
        let Mapping { program, version, .. } = mapping;
        let name = name(program);
        match self.ask(Question::GetPort, &mapping, port)? {
            Some(other) if other != mapping.port => bail!(
                "another {name} server (port {other}) is registered with rpcbind; stop it \
                 (`systemctl disable --now nfs-server`), or take its entry out (`rpcinfo -d {program} {version}`)"
            ),
            _ => bail!("rpcbind takes no entry for {name} on port {}; see its log", mapping.port),
        }
    }

    /// Takes an entry out, unless somebody else has made it theirs.
    fn remove(&mut self, mapping: &Mapping) -> Result<()> {
        if self.ask(Question::GetPort, mapping, port)? == Some(mapping.port) {
            self.ask(Question::Unset, mapping, done)?;
        }
        Ok(())
    }

    /// One call, repeated while nothing comes. All three can be carried out twice.
    fn ask<T>(
        &mut self,
        question: Question,
        about: &Mapping,
        read: fn(u32, &[u8]) -> Result<T, NoAnswer>,
    ) -> Result<T> {
        self.xid = self.xid.wrapping_add(1);
        let call = call(self.xid, question, about);
        let mut datagram = [0; LONGEST_ANSWER];
        for _ in 0..TRIES {
            self.socket.send(&call).context(NOBODY)?;
            for _ in 0..STRAYS {
                let count = match self.socket.recv(&mut datagram) {
                    Ok(count) => count,
                    Err(cause) if matches!(cause.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        break;
                    }
                    Err(cause) => return Err(cause).context(NOBODY),
                };
                match read(self.xid, datagram.get(..count).unwrap_or_default()) {
                    Err(NoAnswer::NotOurs) => {}
                    answer => return Ok(answer?),
                }
            }
        }
        Err(anyhow!(NOBODY))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        for mapping in std::mem::take(&mut self.mappings) {
            if let Err(cause) = self.remove(&mapping) {
                tracing::warn!(
                    program = mapping.program,
                    cause = format!("{cause:#}"),
                    "is still registered with rpcbind; the next start puts it right"
                );
                return;
            }
        }
    }
}

fn socket() -> Result<UdpSocket> {
    let bind = |port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok();
    let socket = PRIVILEGED.rev().find_map(bind).context("no port below 1024 is free to ask rpcbind from")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(RPCBIND)?;
    Ok(socket)
}
