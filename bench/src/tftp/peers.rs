//! The servers: Debian's three, and oneroot. All have port 69 of the lab's address and the same directory.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use oneroot_testkit::{SERVER, Server, SiteFiles};

use super::account::Account;

enum Process {
    Child(Child),
    Ours { _server: Box<Server> },
}

/// A server that runs; it ends when this is dropped.
pub struct Peer {
    /// Its name in the table.
    pub name: String,
    /// Whether it knows RFC 7440.
    pub windows: bool,
    /// Dropped first, so that its group is empty when that goes.
    _process: Process,
    account: Account,
}

/// Files that don't compress, which all may read: the peers give up being root.
pub fn make(directory: &Path, files: &[(&str, usize)]) -> Result<()> {
    fs::set_permissions(directory, Permissions::from_mode(0o755))?;
    for (name, size) in files {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes = Vec::with_capacity(size + 8);
        while bytes.len() < *size {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend(state.to_ne_bytes());
        }
        bytes.truncate(*size);
        let path = directory.join(name);
        fs::write(&path, bytes)?;
        fs::set_permissions(&path, Permissions::from_mode(0o644))?;
    }
    Ok(())
}

impl Peer {
    /// Starts one in the calling thread's network.
    pub fn start(name: &str, binary: Option<&Path>, files: &Path, hpa: &Path) -> Result<Self> {
        let directory = files.display().to_string();
        let root = format!("--tftp-root={directory}");
        let listen = format!("--listen-address={SERVER}");
        let address = format!("{SERVER}:69");
        let hpa = hpa.display().to_string();
        let command: Vec<&str> = match name {
            "atftpd" => vec![
                "atftpd",
                "--daemon",
                "--no-fork",
                "--maxthread",
                "500",
                "--bind-address",
                SERVER,
                "--logfile",
                "-",
                "--verbose=0",
                &directory,
            ],
            "tftpd-hpa" => {
                vec![&hpa, "--foreground", "--listen", "--address", &address, "--secure", &directory]
            }
            "dnsmasq" => vec![
                "dnsmasq",
                "--no-daemon",
                "--conf-file=/dev/null",
                "--port=0",
                "--enable-tftp",
                &root,
                &listen,
                "--bind-interfaces",
                "--tftp-max=500",
                "--log-facility=/dev/null",
                "--quiet-tftp",
            ],
            _ => {
                let binary = binary.context("there is no such server")?;
                let server = oneroot(binary, files)?;
                let account = Account::of(server.pid()?)?;
                let process = Process::Ours { _server: Box::new(server) };
                return Ok(Self { name: name.to_owned(), windows: true, _process: process, account });
            }
        };
        let (program, words) = command.split_first().context("no command")?;
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        let child = Command::new(program)
            .args(words)
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {program}"))?;
        let account = Account::of(child.id())?;
        let process = Process::Child(child);
        Ok(Self { name: name.to_owned(), windows: name == "atftpd", _process: process, account })
    }

    /// Until it says that a file is not there.
    pub fn wait(&self, from: Ipv4Addr) -> Result<()> {
        let begun = Instant::now();
        let mut answer = [0; 600];
        loop {
            let socket = UdpSocket::bind((from, 0))?;
            socket.set_read_timeout(Some(Duration::from_millis(200)))?;
            socket.send_to(b"\0\x01no-such-file\0octet\0", (SERVER, 69))?;
            if let Ok((count, _)) = socket.recv_from(&mut answer) {
                ensure!(answer.get(..2) == Some(&[0, 5]), "{}: {:?}", self.name, answer.get(..count));
                return Ok(());
            }
            if begun.elapsed() > Duration::from_secs(20) {
                bail!("{} does not answer", self.name);
            }
        }
    }

    /// Processor time so far in nanoseconds, with processes that it has for single transfers.
    pub fn cpu(&self) -> Result<u64> {
        self.account.cpu()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Self::Child(child) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The real binary; to any client it gives loaders.
fn oneroot(binary: &Path, files: &Path) -> Result<Server> {
    let mut site = SiteFiles::small()?;
    site.server(&format!("loaders = \"{}\"", files.display()));
    let mut server = Server::new(site)?;
    server.set_binary(binary.to_owned());
    server.stage()?;
    server.restart()?;
    Ok(server)
}
