//! What init asks of the kernel, and nothing else: so the whole of a boot runs in a test against a kernel that is made up.
//!
//! [`host::Host`] is the real one. Every call ends: what may take long is told how long it may take.

mod answer;
mod dhcp;
mod errno;
pub mod host;
mod log;
mod net;
mod netlink;
mod ping;
mod post;
mod program;
mod tree;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use oneroot_ids::Mac;
pub use rustix::io::Errno;

pub use answer::Answer;
pub use errno::name;
pub use program::{Ended, Ran};

/// What a call of the kernel's comes to.
pub type Result<T> = std::result::Result<T, Errno>;

/// A link of Ethernet's kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name, as it is just now.
    pub name: String,
    /// Its address.
    pub mac: Option<Mac>,
    /// The address that it came with, where the kernel tells.
    pub own_mac: Option<Mac>,
    /// It is up and has a carrier.
    pub carrier: bool,
    /// Made by somebody over other links, as a VLAN or a bridge is.
    pub made: bool,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount<'a> {
    /// What is mounted: a device, `ADDRESS:/PATH`, or any word.
    pub source: &'a str,
    /// Where.
    pub target: &'a str,
    /// The kind of file system.
    pub kind: &'a str,
    /// Nothing can be written.
    pub read_only: bool,
    /// No set-user-id programs and no devices; for those that have none of either.
    pub no_suid: bool,
    /// Its options.
    pub options: &'a str,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// Anything else.
    Other,
}

/// A DHCP client's port on one link.
pub trait Port {
    /// Sends to everybody on the link.
    ///
    /// # Errors
    /// What the kernel says.
    fn send(&self, message: &[u8]) -> Result<()>;
    /// The next datagram within that time.
    fn receive(&self, within: Duration) -> Option<Vec<u8>>;
}

/// The kernel.
///
/// # Errors
/// Each call that can fail fails with the kernel's own number.
#[allow(clippy::missing_errors_doc, reason = "said above, once")]
pub trait Kernel: Sync {
    /// Since it started.
    fn now(&self) -> Duration;
    /// Waits.
    fn sleep(&self, how_long: Duration);
    /// Any number.
    fn random(&self) -> u64;
    /// Its version, as the directory of its modules is called.
    fn release(&self) -> String;
    /// Makes the console what this program reads from and writes to.
    fn open_console(&self) -> Result<()>;
    /// Writes a line on the console.
    fn print(&self, line: &str);
    /// Its own last words, at most so many lines.
    fn log(&self, most: usize) -> Vec<String>;

    /// A file's content. Of a file that is larger than any that init reads, its beginning.
    fn read(&self, path: &str) -> Result<Vec<u8>>;
    /// Makes it a file's content; a file that is not there gets that mode.
    fn write(&self, path: &str, content: &[u8], mode: u32) -> Result<()>;
    /// The names in a directory, in order. One that is no text has a mark for what is none, and nothing is found by it.
    fn list(&self, path: &str) -> Result<Vec<String>>;
    /// What a name stands for; a link is a link.
    fn kind(&self, path: &str) -> Option<Kind>;
    /// Whether something is there, where links lead.
    fn is_there(&self, path: &str) -> bool;
    /// Whether both are one file, where links lead.
    fn is_same(&self, one: &str, other: &str) -> bool;
    /// Where a link leads.
    fn read_link(&self, path: &str) -> Result<String>;
    /// Makes a link.
    fn link(&self, to: &str, path: &str) -> Result<()>;
    /// Makes a directory and those that it is in. One that is there is fine.
    fn make_directory(&self, path: &str) -> Result<()>;
    /// Removes a file or link.
    fn remove(&self, path: &str) -> Result<()>;

    /// Loads the module that lies there, with these options.
    fn load(&self, path: &str, options: &str) -> Result<()>;
    /// All links of Ethernet's kind, by their numbers.
    fn links(&self) -> Result<Vec<Link>>;
    /// Brings a link up.
    fn bring_up(&self, link: u32) -> Result<()>;
    /// Sets what a link carries.
    fn set_mtu(&self, link: u32, mtu: u16) -> Result<()>;
    /// Makes a link of that name for a VLAN over a link. One that is there is fine.
    fn add_vlan(&self, link: u32, vlan: u16, name: &str) -> Result<()>;
    /// Gives a link an address. One that it has is fine.
    fn add_address(&self, link: u32, address: Ipv4Addr, prefix: u8) -> Result<()>;
    /// Takes an address from a link.
    fn remove_address(&self, link: u32, address: Ipv4Addr, prefix: u8) -> Result<()>;
    /// Makes a router the way to everywhere. A route that is there is replaced.
    fn add_router(&self, link: u32, router: Ipv4Addr, on_link: bool) -> Result<()>;
    /// Opens a DHCP client's port on the link of that name.
    fn open_port(&self, link: &str) -> Result<Box<dyn Port + '_>>;
    /// Whether an NFS server lives there.
    fn reach(&self, server: SocketAddr, within: Duration) -> Result<()>;
    /// Posts a text by HTTP, from a port below 1024.
    fn post(&self, server: SocketAddr, path: &str, text: &str, within: Duration) -> Result<Answer>;

    /// Mounts.
    fn mount(&self, mount: &Mount<'_>) -> Result<()>;
    /// Moves a mount.
    fn carry(&self, from: &str, to: &str) -> Result<()>;
    /// Makes a mount the root of everything, and removes the initramfs's files if that is what was the root.
    fn enter(&self, new_root: &str) -> Result<()>;
    /// Bytes of a page of memory.
    fn page_size(&self) -> u64;
    /// Swaps to a device.
    fn swap_on(&self, device: &str) -> Result<()>;
    /// Seconds since 1970.
    fn clock(&self) -> u64;
    /// Sets the clock, to seconds since 1970.
    fn set_clock(&self, seconds: u64) -> Result<()>;
    /// Names the machine.
    fn set_name(&self, name: &str) -> Result<()>;

    /// Whether a file may be run, where links lead; none where that is no regular file.
    fn may_run(&self, path: &str) -> Result<Option<bool>>;
    /// Runs a program, in this one's environment, that has nothing to read and prints at most so many bytes. It is killed when it prints more,
    /// or is late, and so is what it leaves.
    fn ask(&self, program: &str, most: usize, within: Duration) -> Result<Ran>;
    /// Runs a program on the console to its end, or as long as it may take; whether it has ended well. With its time over, what it has
    /// started is killed too.
    fn run(
        &self,
        program: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
        within: Option<Duration>,
    ) -> Result<bool>;
    /// Starts a program that goes on beside, without a console.
    fn start(&self, program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()>;
    /// Becomes a program, as the kernel would have started it. Comes back only where that fails.
    fn become_program(&self, program: &str, arguments: &[String], environment: &[(&str, &str)]) -> Errno;
    /// Starts the machine again.
    fn restart(&self);
}
