//! Debian's nfs-ganesha in the calling thread's network: read-only over NFSv3, to measure beside; or the file server of a site.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// A running one, and the portmapper that it does not start without; killed when dropped.
pub struct Ganesha {
    server: Child,
    portmapper: Child,
}

/// What clients may do with what is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read it.
    Read,
    /// Write it, too.
    Write,
}

impl Ganesha {
    /// Its port for NFS.
    pub const NFS: u16 = 2049;
    /// Its port for MOUNT.
    pub const MOUNT: u16 = 20_048;

    /// Exports a directory to be read, with the VFS FSAL, and more cache than any tree here has nodes. Its configuration and its log
    /// are in `work`. It answers at `address` when this returns.
    pub fn start(tree: &Path, work: &Path, address: Ipv4Addr) -> Result<Self> {
        Self::export(tree, Access::Read, work, address)
    }

    /// The same, perhaps to be written too.
    pub fn export(tree: &Path, access: Access, work: &Path, address: Ipv4Addr) -> Result<Self> {
        let text = format!(
            "NFS_CORE_PARAM {{ Protocols = 3; {ports} mount_path_pseudo = false; }}\n\
             MDCACHE {{ Entries_HWMark = 500000; }}\n\
             EXPORT {{ Export_Id = 1; Path = {tree}; Pseudo = /x; Protocols = 3; Transports = TCP; \
             Access_Type = {access}; Squash = None; SecType = sys; FSAL {{ Name = VFS; }} }}\n",
            ports = ports(),
            access = match access {
                Access::Read => "RO",
                Access::Write => "RW",
            },
            tree = tree.display(),
        );
        Self::run(&text, work, address)
    }

    /// Exports directories by NFSv4 alone, each under a name of its own such as `/export/home`, to be written by their users: root of
    /// a client is nobody there, as file servers have it. Else as [`Ganesha::start`].
    pub fn of_users(exports: &[(&str, &Path)], work: &Path, address: Ipv4Addr) -> Result<Self> {
        let mut text = format!("NFS_CORE_PARAM {{ Protocols = 4; {} }}\n", ports());
        for (number, (name, tree)) in exports.iter().enumerate() {
            text += &format!(
                "EXPORT {{ Export_Id = {id}; Path = {tree}; Pseudo = {name}; Protocols = 4; Transports = TCP; \
                 Access_Type = RW; Squash = Root_Squash; SecType = sys; FSAL {{ Name = VFS; }} }}\n",
                id = number + 1,
                tree = tree.display(),
            );
        }
        Self::run(&text, work, address)
    }

    fn run(text: &str, work: &Path, address: Ipv4Addr) -> Result<Self> {
        let (conf, log) = (work.join("ganesha.conf"), work.join("ganesha.log"));
        let common = format!(
            "NFSv4 {{ Graceless = true; RecoveryRoot = {}; Only_Numeric_Owners = true; }}\n\
             LOG {{ Default_Log_Level = EVENT; }}\n",
            work.display()
        );
        fs::write(&conf, format!("{text}{common}"))?;
        // Else the log of a run before would be shown for this one's.
        let _ = fs::remove_file(&log);
        let portmapper = in_own_run("rpcbind -w -f")?;
        std::thread::sleep(Duration::from_millis(500));
        let (conf, shown) = (conf.display(), log.display());
        let server = in_own_run(&format!("ganesha.nfsd -F -f {conf} -L {shown} -p /run/ganesha/pid"))?;
        let mut ganesha = Self { server, portmapper };
        let begun = Instant::now();
        while TcpStream::connect((address, Self::NFS)).is_err() {
            if ganesha.server.try_wait()?.is_some() || begun.elapsed() > Duration::from_secs(60) {
                bail!("ganesha did not come up; its log:\n{}", fs::read_to_string(&log).unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        // It listens a little before it has read its exports.
        std::thread::sleep(Duration::from_secs(3));
        Ok(ganesha)
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.id()
    }
}

impl Drop for Ganesha {
    fn drop(&mut self) {
        for child in [&mut self.server, &mut self.portmapper] {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn ports() -> String {
    let (nfs, mount) = (Ganesha::NFS, Ganesha::MOUNT);
    format!(
        "NFS_Port = {nfs}; MNT_Port = {mount}; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false;"
    )
}

/// Both keep their sockets in `/run`: each gets one of its own.
fn in_own_run(command: &str) -> Result<Child> {
    let script = format!("mount -t tmpfs tmpfs /run && mkdir -p /run/rpcbind /run/ganesha && exec {command}");
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    Command::new("unshare")
        .args(["-m", "sh", "-c", &script])
        .env("PATH", path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run unshare")
}
