//! What can go wrong, each with the sentence that a person reads on the console and at the server: what, where, and what to do.

use std::net::{IpAddr, SocketAddr};

use oneroot_ids::{BootId, Mac};
use oneroot_initrd::modules::BadTables;
use oneroot_initrd::settings::BadSettings;
use thiserror::Error;

use crate::kernel::{Errno, name};

/// One cause each.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Trouble {
    /// No file of settings.
    #[error("the initrd has no settings ({}): it is not whole, or not this server's", name(*.0))]
    NoSettings(Errno),
    /// A hook of the site's says that the machine is not to come up.
    #[error(
        "a hook in /etc/oneroot/early.d failed without which this machine is not to come up; its lines above say why"
    )]
    Hook,
    /// A secret without which the machine is not to come up.
    #[error(
        "a secret without which this machine is not to come up could not be had; its lines above say which"
    )]
    Secret,
    /// A directory could not be had, and the site says that the machine is not to come up.
    #[error(
        "a directory of `lasts` could not be had without which this machine is not to come up; the lines above say which and why"
    )]
    Lasting,
    /// Settings that can't be read.
    #[error(transparent)]
    Settings(#[from] BadSettings),
    /// The initrd and the command line are of two boots.
    #[error("the initrd is boot {initrd}'s and the command line boot {line}'s: the initrd's counts")]
    OtherBoot {
        /// The initrd's.
        initrd: BootId,
        /// The command line's.
        line: String,
    },
    /// Tables of modules that are not believed.
    #[error(transparent)]
    Tables(#[from] BadTables),
    /// The kernel has no driver for a device that looks like a NIC.
    #[error(
        "no driver for {devices} in {release}: the kernel has none, or modprobe.d or the command line forbids it, or the initrd was made for another NIC"
    )]
    NoDriver {
        /// Vendor and device.
        devices: String,
        /// The kernel.
        release: String,
    },
    /// No NIC at all, or others.
    #[error("no NIC has the address {mac}: after {patience} s there is {seen}")]
    NoNic {
        /// What was looked for.
        mac: Mac,
        /// Seconds.
        patience: u32,
        /// What is there.
        seen: String,
    },
    /// A driver lacks its firmware.
    #[error("{driver}: firmware {file} is missing: the tree needs the package that has it")]
    Firmware {
        /// Who asked for it.
        driver: String,
        /// Below `/lib/firmware`.
        file: String,
    },
    /// A module does not load.
    #[error("module {module} does not load: {}", name(*.errno))]
    Module {
        /// Its name.
        module: String,
        /// Why.
        errno: Errno,
    },
    /// No carrier.
    #[error("no carrier on {link} ({mac}) for {seconds} s: is the cable in, and the switch's port on?")]
    NoCarrier {
        /// The link or links.
        link: String,
        /// Its address.
        mac: Mac,
        /// How long.
        seconds: u64,
    },
    /// The link can't be used.
    #[error("{link} can't be {what}: {}", name(*.errno))]
    Link {
        /// The link.
        link: String,
        /// What was to be done with it.
        what: &'static str,
        /// Why.
        errno: Errno,
    },
    /// No DHCP server answers.
    #[error("no DHCP server answers on {link}")]
    NoLease {
        /// The link.
        link: String,
    },
    /// The server does not answer.
    #[error("{server} does not answer: {}", name(*.errno))]
    Silent {
        /// The server.
        server: SocketAddr,
        /// How.
        errno: Errno,
    },
    /// The server refuses the root to this address.
    #[error("{server} refused: this address is not {machine}'s, or its boot is over; it asks again")]
    Refused {
        /// The server.
        server: SocketAddr,
        /// Who this is.
        machine: String,
    },
    /// The server has no such root.
    #[error("{server} has no {export}: the boot is over, or another server's")]
    NoExport {
        /// The server.
        server: SocketAddr,
        /// What was to be mounted.
        export: String,
    },
    /// The kernel can't mount NFS.
    #[error("{release} has no NFS client (nfsv3): give the tree a kernel that has one")]
    NoNfs {
        /// The kernel.
        release: String,
    },
    /// Any other word of the kernel's.
    #[error("{server}:{export} is not mounted: {}", name(*.errno))]
    Mount {
        /// The server.
        server: SocketAddr,
        /// What was to be mounted.
        export: String,
        /// Why.
        errno: Errno,
    },
    /// Only NFS over IPv4 is mounted.
    #[error("{0} is no IPv4 address: roots are mounted over IPv4 alone")]
    NotIpv4(IpAddr),
    /// No room for what is written.
    #[error("there is no memory for what the machine writes: {}", name(*.0))]
    Tmpfs(Errno),
    /// The kernel has no zram.
    #[error("{what} for the compressed memory: {}: {release} has no zram, or lacks its compressor, or it is in use: take tmpfs instead", name(*.errno))]
    Zram {
        /// What could not be done.
        what: &'static str,
        /// Why.
        errno: Errno,
        /// The kernel.
        release: String,
    },
    /// The kernel compresses with something else.
    #[error("{release} has no {by} for zram: {}: it is compressed as this kernel does by itself", name(*.errno))]
    Compression {
        /// What was wanted.
        by: &'static str,
        /// Why.
        errno: Errno,
        /// The kernel.
        release: String,
    },
    /// The kernel has no overlayfs.
    #[error("{release} lays no overlay over the root: {}: does it have the module overlay?", name(*.errno))]
    NoOverlay {
        /// The kernel.
        release: String,
        /// Why.
        errno: Errno,
    },
    /// A mount of the kernel's own.
    #[error("{target} is not mounted: {}", name(*.errno))]
    Own {
        /// Where.
        target: String,
        /// Why.
        errno: Errno,
    },
    /// A file that the machine is given.
    #[error("{path} is not written: {}", name(*.errno))]
    File {
        /// Which.
        path: String,
        /// Why.
        errno: Errno,
    },
    /// The root can't become the root.
    #[error("the new root can't become the root: {}", name(*.0))]
    Enter(Errno),
    /// The real init does not start.
    #[error("{init} does not start: {}: does the tree have an init there?", name(*.errno))]
    NoInit {
        /// Its path.
        init: String,
        /// Why.
        errno: Errno,
    },
}

impl Trouble {
    /// Whether it ends when a server comes back: then the machine waits for that, however long it takes.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Silent { .. } | Self::NoLease { .. })
    }

    /// Whether all that the kernel says of a module is that it is in use.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Module { errno: Errno::BUSY, .. })
    }
}
