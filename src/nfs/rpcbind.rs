//! A host's own rpcbind: where it has port 111, our programs are entered there, and taken out again when we stop.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use oneroot_nfsd::rpcbind::{LONGEST_ANSWER, NoAnswer, Question, answer, call};
use oneroot_nfsd::{Mapping, PortTable};

/// rpcbind is on this host; it answers at once or not at all.
const PATIENCE: Duration = Duration::from_millis(700);
const TRIES: u32 = 3;
const RPCBIND: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 111);
/// Source ports that only root can have, as bindresvport(3) takes them; rpcbind believes no other.
const PRIVILEGED: std::ops::RangeInclusive<u16> = 600..=1023;

/// Our entries in the host's rpcbind; taken out when dropped.
pub struct Registration {
    socket: UdpSocket,
    mappings: Vec<Mapping>,
    xid: u32,
}

impl Registration {
    /// Enters our programs. Blocks for a few seconds at most.
    pub fn enter(table: &PortTable) -> Result<Self> {
        let mut rpcbind = Self { socket: socket()?, mappings: Vec::new(), xid: std::process::id() };
        let mappings: Vec<Mapping> = table.mappings().to_vec();
        for mapping in &mappings {
            match u16::try_from(rpcbind.ask(Question::GetPort, mapping)?).unwrap_or(0) {
                0 => {}
                // What we left there when we were killed.
                ours if ours == mapping.port => drop(rpcbind.ask(Question::Unset, mapping)?),
                other => bail!(
                    "another NFS server (program {}, port {other}) is registered with rpcbind; stop it \
                     (`systemctl disable --now nfs-server`), or take its entry out (`rpcinfo -d {} {}`)",
                    mapping.program,
                    mapping.program,
                    mapping.version
                ),
            }
        }
        for mapping in mappings {
            if rpcbind.ask(Question::Set, &mapping)? == 0 {
                bail!(
                    "rpcbind took no entry for program {}; does it run with -w or on a read-only host?",
                    mapping.program
                );
            }
            rpcbind.mappings.push(mapping);
        }
        Ok(rpcbind)
    }

    fn ask(&mut self, question: Question, about: &Mapping) -> Result<u32> {
        for _ in 0..TRIES {
            self.xid = self.xid.wrapping_add(1);
            let sent = self.socket.send(&call(self.xid, question, about));
            let mut datagram = [0; LONGEST_ANSWER];
            loop {
                let received = sent.as_ref().map_or(Ok(0), |_| self.socket.recv(&mut datagram));
                match received {
                    Ok(count) => match answer(self.xid, datagram.get(..count).unwrap_or_default()) {
                        Ok(word) => return Ok(word),
                        Err(NoAnswer::NotOurs) if count > 0 => {}
                        Err(NoAnswer::NotOurs) => break,
                        Err(refused @ NoAnswer::Refused) => return Err(refused.into()),
                    },
                    Err(cause) if matches!(cause.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        break;
                    }
                    Err(cause) => return Err(cause).context("no portmapper answers on port 111"),
                }
            }
        }
        bail!("no portmapper answers on port 111, and another program has it; see `ss -lnp sport = :111`")
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        for mapping in std::mem::take(&mut self.mappings) {
            if let Err(cause) = self.ask(Question::Unset, &mapping) {
                tracing::warn!(
                    program = mapping.program,
                    cause = format!("{cause:#}"),
                    "is still registered with rpcbind"
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
