//! The settings of one boot, as they lie in its initrd at [`PATH`]: a line for each, `key value`, the last one [`END`].
//!
//! Any user of the machine can ask for the initrd, so no secret is among them. Server and init are of one build, so a key that is
//! not known, and one that is missing, are mistakes and not another version's. Without the last line the rest may be cut short.

mod read;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use oneroot_ids::{BootId, Mac, MachineId};
use thiserror::Error;

pub use read::{size, zram};

/// Where the settings lie in the initrd, and so in the root of what the kernel unpacks.
pub const PATH: &str = "oneroot/settings";
/// Bytes of the settings.
pub const LONGEST: usize = 8192;
/// Servers in them.
pub const MOST_SERVERS: usize = 8;
/// The last line.
pub const END: &str = "end";

/// All that init is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// This boot.
    pub boot: BootId,
    /// The machine: becomes `/etc/machine-id`.
    pub machine: MachineId,
    /// What people call it.
    pub name: String,
    /// The NIC that booted.
    pub mac: Mac,
    /// The servers, the first to be tried first; each has MOUNT and NFS at one port.
    pub servers: Vec<Server>,
    /// The path that is mounted.
    pub export: String,
    /// The address that was leased for this boot; none where another server gives it.
    pub address: Option<Address>,
    /// What the link carries, as the site says: it counts over what DHCP says.
    pub mtu: Option<u16>,
    /// The VLAN whose frames have to be tagged.
    pub vlan: Option<u16>,
    /// Seconds that it waits for a NIC's carrier, and for a NIC that is not there yet.
    pub patience: u32,
    /// What takes what the machine writes.
    pub overlay: Overlay,
    /// The real init.
    pub init: String,
    /// Seconds after which a machine that can't come up is started again; none for never.
    pub restart: Option<u32>,
}

/// A server, as the machine reaches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server {
    /// Its address.
    pub address: IpAddr,
    /// The port of NFS and MOUNT.
    pub nfs: u16,
    /// The port of HTTP, where it takes reports.
    pub http: u16,
}

/// An address as it was leased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// It.
    pub address: Ipv4Addr,
    /// Bits of its network.
    pub prefix: u8,
    /// The router, if there is one.
    pub router: Option<Ipv4Addr>,
    /// What the link carries, as DHCP says; no part of the settings.
    pub mtu: Option<u16>,
    /// Seconds of the lease.
    pub lease: u32,
}

/// What takes what the machine writes: so many per cent of its memory, or so many MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlay {
    /// A tmpfs.
    Tmpfs(Size),
    /// A compressed disk in memory (zram), and what compresses it where that is not the kernel's choice.
    Zram(Size, Option<Compression>),
}

/// What compresses memory, as `comp_algorithm` of a zram disk names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// LZO.
    Lzo,
    /// The same with a form for runs of one byte: most kernels' choice.
    LzoRle,
    /// LZ4: the quickest.
    Lz4,
    /// Zstandard: the smallest.
    Zstd,
}

impl Compression {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Lzo, Self::LzoRle, Self::Lz4, Self::Zstd];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lzo => "lzo",
            Self::LzoRle => "lzo-rle",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// An amount of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Size {
    /// Of the machine's memory.
    Percent(u8),
    /// Mebibytes.
    Mib(u32),
}

/// Settings that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadSettings {
    /// The initrd was cut short, or is another's.
    #[error("the initrd's settings lack `{0}`: the initrd is not whole, or not from this server")]
    Missing(&'static str),
    /// A line says nothing that is known.
    #[error("the initrd's settings have a line that can't be read: {0:?}")]
    Line(String),
    /// More bytes, or more lines of a key, than settings have.
    #[error(
        "the initrd's settings are longer than settings are: at most {LONGEST} bytes, {MOST_SERVERS} servers"
    )]
    TooLong,
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "boot {}", self.boot)?;
        writeln!(f, "machine {}", self.machine)?;
        writeln!(f, "name {}", self.name)?;
        writeln!(f, "mac {}", self.mac)?;
        for Server { address, nfs, http } in &self.servers {
            writeln!(f, "server {address} {nfs} {http}")?;
        }
        writeln!(f, "export {}", self.export)?;
        if let Some(leased) = &self.address {
            writeln!(f, "address {}/{} {}", leased.address, leased.prefix, leased.lease)?;
            if let Some(router) = leased.router {
                writeln!(f, "router {router}")?;
            }
        }
        if let Some(mtu) = self.mtu {
            writeln!(f, "mtu {mtu}")?;
        }
        if let Some(vlan) = self.vlan {
            writeln!(f, "vlan {vlan}")?;
        }
        writeln!(f, "patience {}", self.patience)?;
        writeln!(f, "overlay {}", self.overlay)?;
        writeln!(f, "init {}", self.init)?;
        if let Some(restart) = self.restart {
            writeln!(f, "restart {restart}")?;
        }
        writeln!(f, "{END}")
    }
}

impl fmt::Display for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tmpfs(size) => write!(f, "tmpfs {size}"),
            Self::Zram(size, None) => write!(f, "zram {size}"),
            Self::Zram(size, Some(by)) => write!(f, "zram {size} {}", by.as_str()),
        }
    }
}

impl fmt::Display for Size {
    /// As tmpfs takes it for `size=`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Mib(mib) => write!(f, "{mib}m"),
        }
    }
}
