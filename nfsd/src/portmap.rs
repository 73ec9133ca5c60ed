//! Portmapper, version 2 (RFC 1833 §3): where MOUNT and NFS listen, and nothing else.
//!
//! klibc's nfsmount can't be told a MOUNT port, so stock Debian boots only where TCP port 111 answers GETPORT
//! truly. rpcbind's versions 3 and 4 are a mismatch, after which their clients fall back to 2.

use crate::replies::Replies;
use crate::rpc::Rejection;
use crate::xdr::{Reader, Writer};

pub(crate) const PROGRAM: u32 = 100_000;
pub(crate) const VERSION: u32 = 2;

/// The transport of a mapping; the values are IP protocol numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MappingProtocol {
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
}

/// One program that can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// RPC program number.
    pub program: u32,
    /// The program's version, such as 3 for NFSv3.
    pub version: u32,
    /// TCP or UDP: each has a mapping of its own.
    pub protocol: MappingProtocol,
    /// Its port, in host order.
    pub port: u16,
}

/// Where this server's listeners are; `None` where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// NFS v3 over TCP.
    pub nfs: u16,
    /// MOUNT v3 over TCP; may be the NFS port.
    pub mount: u16,
    /// The portmapper itself, over TCP.
    pub portmap_tcp: Option<u16>,
    /// The portmapper itself, over UDP.
    pub portmap_udp: Option<u16>,
}

/// All that GETPORT and DUMP tell. What is not in it has port 0: NLM, NFS over UDP, MOUNT v1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortTable {
    mappings: Vec<Mapping>,
}

impl PortTable {
    /// The table for this crate's programs on these ports.
    pub fn new(ports: Ports) -> Self {
        let tcp = |program, version, port| Mapping { program, version, protocol: MappingProtocol::Tcp, port };
        let mut mappings = Vec::new();
        mappings.extend(ports.portmap_tcp.map(|port| tcp(PROGRAM, VERSION, port)));
        mappings.extend(ports.portmap_udp.map(|port| Mapping {
            program: PROGRAM,
            version: VERSION,
            protocol: MappingProtocol::Udp,
            port,
        }));
        mappings.push(tcp(crate::mount::PROGRAM, crate::mount::VERSION, ports.mount));
        mappings.push(tcp(crate::nfs3::PROGRAM, crate::nfs3::VERSION, ports.nfs));
        mappings.push(tcp(crate::nfs3::acl::PROGRAM, crate::nfs3::VERSION, ports.nfs));
        PortTable { mappings }
    }

    /// Every mapping, for DUMP, and for a shell that must register with a portmapper that is already there.
    pub fn mappings(&self) -> &[Mapping] {
        &self.mappings
    }

    fn port(&self, program: u32, version: u32, protocol: u32) -> u16 {
        let fits =
            |m: &&Mapping| m.program == program && m.version == version && m.protocol as u32 == protocol;
        self.mappings.iter().find(fits).map_or(0, |mapping| mapping.port)
    }
}

/// Answers one procedure. The longest answer is DUMP's: 28 bytes and 20 for each of at most five mappings,
/// less than four times the shortest call, so a forged source address over UDP gains an attacker little.
pub(crate) fn answer(
    table: &PortTable,
    procedure: u32,
    mut args: Reader<'_>,
    out: &mut Replies,
) -> Result<(), Rejection> {
    match procedure {
        0 => Ok(()),
        // SET and UNSET: refused whoever asks. A table that can be changed from afar sends machines to
        // another server.
        1 | 2 => {
            out.writer().boolean(false);
            Ok(())
        }
        3 => {
            let (program, version, protocol) = (args.u32()?, args.u32()?, args.u32()?);
            let _port = args.u32()?;
            args.finish()?;
            out.writer().u32(u32::from(table.port(program, version, protocol)));
            Ok(())
        }
        4 => {
            dump(table, &mut out.writer());
            Ok(())
        }
        // CALLIT, among all that is unknown: it would make us call other programs in the caller's stead.
        _ => Err(Rejection::ProcUnavail),
    }
}

fn dump(table: &PortTable, out: &mut Writer<'_>) {
    for mapping in &table.mappings {
        let Mapping { program, version, protocol, port } = *mapping;
        out.words([1, program, version, protocol as u32, u32::from(port)]);
    }
    out.boolean(false);
}
