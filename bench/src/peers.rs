//! The servers, one at a time, each a child process in the benchmark's own network.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use oneroot_ids::Mac;
use oneroot_testkit::{Ganesha, Lab, Server, SiteFiles};

use crate::{leases, rpc};

/// The servers' address. All of 10.77.0.0/16 is this host's.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// Ports of NFS and MOUNT.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// NFS.
    pub nfs: u16,
    /// MOUNT.
    pub mount: u16,
}

/// A server that runs; killed when dropped.
pub struct Peer {
    /// Its name in the table.
    pub name: &'static str,
    process: Process,
    ports: Ports,
    /// What each client mounts; one for all when there is one.
    exports: Vec<String>,
    _site: Option<Server>,
}

/// What is killed when a peer is dropped.
enum Process {
    Child(Child),
    /// It sees to that itself.
    Ganesha(Ganesha),
}

impl Peer {
    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        match &self.process {
            Process::Child(child) => child.id(),
            Process::Ganesha(ganesha) => ganesha.pid(),
        }
    }

    /// Where NFS is.
    #[must_use]
    pub fn nfs(&self) -> SocketAddrV4 {
        SocketAddrV4::new(SERVER, self.ports.nfs)
    }

    /// Where MOUNT is.
    #[must_use]
    pub fn mount(&self) -> SocketAddrV4 {
        SocketAddrV4::new(SERVER, self.ports.mount)
    }

    /// What client number so-and-so mounts.
    #[must_use]
    pub fn export(&self, client: usize) -> &str {
        self.exports.get(client % self.exports.len().max(1)).map_or("/", String::as_str)
    }

    /// Whether each client has an export of its own.
    #[must_use]
    pub fn own_exports(&self) -> bool {
        self.exports.len() > 1
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Process::Child(child) = &mut self.process {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The address of a client, by its number from 0.
#[must_use]
pub fn client(number: usize) -> Ipv4Addr {
    let number = u16::try_from(number).unwrap_or(0);
    let [high, low] = (number / 200).to_be_bytes();
    let _ = high;
    Ipv4Addr::new(10, 77, 1 + low, u8::try_from(number % 200).unwrap_or(0) + 10)
}

/// A network in which any address of 10.77.0.0/16 can be bound.
pub fn network() -> Result<Lab> {
    let lab = Lab::new()?;
    ip("addr add 10.77.0.1/16 dev lab0")?;
    ip("route add local 10.77.0.0/16 dev lo")?;
    Ok(lab)
}

/// Where programs are, those of administrators too.
pub fn path() -> String {
    std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin"
}

fn ip(words: &str) -> Result<()> {
    let done =
        Command::new("ip").args(words.split(' ')).env("PATH", path()).status().context("cannot run ip")?;
    ensure!(done.success(), "ip {words} failed");
    Ok(())
}

fn wait(child: &mut Child, port: u16, log: &Path) -> Result<()> {
    let begun = Instant::now();
    while rpc::connect(client(0), SocketAddrV4::new(SERVER, port)).is_err() {
        if child.try_wait()?.is_some() || begun.elapsed() > Duration::from_secs(60) {
            let text = fs::read_to_string(log).unwrap_or_default();
            bail!("the server did not come up; its log:\n{text}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// One of this program's own servers: `canned`, `sendfile FILE`, `nfs3 DIRECTORY`.
pub fn own(name: &'static str, words: &[&str], port: u16, work: &Path) -> Result<Peer> {
    let log = work.join("own.log");
    let mut child = Command::new(std::env::current_exe()?)
        .arg("serve")
        .arg(port.to_string())
        .args(words)
        .stdin(Stdio::null())
        .stderr(fs::File::create(&log)?)
        .spawn()?;
    let up = wait(&mut child, port, &log);
    let exports = vec!["/".to_owned()];
    let ports = Ports { nfs: port, mount: port };
    let peer = Peer { name, process: Process::Child(child), ports, exports, _site: None };
    up.map(|()| peer)
}

/// Debian's nfs-ganesha, as the benchmark in a guest has it.
pub fn ganesha(tree: &Path, work: &Path) -> Result<Peer> {
    let ganesha = Ganesha::start(tree, work, SERVER)?;
    let ports = Ports { nfs: Ganesha::NFS, mount: Ganesha::MOUNT };
    let exports = vec![tree.display().to_string()];
    Ok(Peer { name: "nfs-ganesha", process: Process::Ganesha(ganesha), ports, exports, _site: None })
}

/// The real oneroot, `$ONEROOT_BIN`, with a site of so many machines. Each is given its boot script, so that it has a pin
/// and a view of its own: the profile, and its own `/.oneroot` on top.
pub fn oneroot(tree: &Path, machines: usize) -> Result<Peer> {
    oneroot_of(None, tree, machines)
}

/// The same of another binary.
pub fn oneroot_of(binary: Option<&Path>, tree: &Path, machines: usize) -> Result<Peer> {
    let mut site = SiteFiles::with_source(&format!("directory = \"{}\"", tree.display()), "unused", "1h")?;
    let mut text = format!(
        "[server]\naddress = \"{SERVER}\"\ninterface = \"lab0\"\nstore = \"store\"\nstate = \"state\"\n\n\
         [[network]]\nsubnet = \"10.77.0.0/16\"\n\n\
         [profile.debian]\nsource = {{ directory = \"{}\" }}\n\n",
        tree.display()
    );
    for number in 0..machines {
        text += &format!(
            "[machine.m{number}]\nmac = \"{}\"\naddress = \"{}\"\nprofile = \"debian\"\n\n",
            mac(number, ':'),
            client(number)
        );
    }
    site.set_text(&text);
    let mut server = Server::new(site)?;
    if let Some(binary) = binary {
        server.set_binary(binary.to_owned());
    }
    server.stage().context("cannot stage the tree")?;
    // A script goes to the address that its NIC has a lease of.
    let lease = |number| Ok((mac(number, ':').parse::<Mac>()?, client(number)));
    let leases = (0..machines).map(lease).collect::<Result<Vec<_>>>()?;
    leases::write(&server.site.path().join("state"), &leases)?;
    let log = server.site.path().join("serve.log");
    let mut child = Command::new(server.binary())
        .arg("serve")
        .current_dir(server.site.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log)?)
        .spawn()?;
    let up = wait(&mut child, 2049, &log);
    let ports = Ports { nfs: 2049, mount: 2049 };
    let process = Process::Child(child);
    let mut peer = Peer { name: "oneroot", process, ports, exports: Vec::new(), _site: Some(server) };
    up?;
    for number in 0..machines {
        let export = boot(number).with_context(|| {
            format!(
                "machine {number} got no boot script; the server's log:\n{}",
                fs::read_to_string(&log).unwrap_or_default()
            )
        })?;
        peer.exports.push(export);
    }
    Ok(peer)
}

fn mac(number: usize, between: char) -> String {
    format!("52{between}54{between}00{between}00{between}{:02x}{between}{:02x}", number / 256, number % 256)
}

/// What iPXE does: fetches the boot script of a machine from its address. The export that it names.
fn boot(number: usize) -> Result<String> {
    let mut stream = rpc::connect(client(number), SocketAddrV4::new(SERVER, 80))?;
    let path = format!("/boot/{}.ipxe", mac(number, '-'));
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {SERVER}\r\nConnection: close\r\n\r\n")?;
    let mut script = String::new();
    stream.read_to_string(&mut script)?;
    let root = script.split_once("nfsroot=").context("no nfsroot in it").with_context(|| script.clone())?.1;
    let export = root.split([' ', ',', '\n']).next().unwrap_or_default();
    Ok(export.split_once(':').map_or(export, |(_, path)| path).to_owned())
}
