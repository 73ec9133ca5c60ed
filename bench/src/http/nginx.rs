//! Debian's nginx over the same files, as its package sets it up: sendfile, tcp_nopush, a worker for each processor. Its log of
//! accesses is off, which is in its favour.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::{peers, rpc};

/// Its port; oneroot's may be in use.
pub const PORT: u16 = 8080;

/// A server that runs; killed when dropped.
pub struct Nginx(Child);

impl Nginx {
    /// Serves a directory.
    pub fn start(root: &Path, work: &Path, address: Ipv4Addr) -> Result<Self> {
        let work = fs::canonicalize(work)?;
        let root = fs::canonicalize(root)?;
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {}/nginx-{kind};\n", work.display()))
            .concat();
        let text = format!(
            "user root;\nworker_processes auto;\nworker_rlimit_nofile 16384;\npid {work}/nginx.pid;\n\
             error_log {work}/nginx.log;\nevents {{ worker_connections 4096; }}\n\
             http {{\naccess_log off;\nsendfile on;\ntcp_nopush on;\nkeepalive_requests 1000000;\n{temporary}\
             server {{ listen {address}:{PORT} backlog=1024; root {root}; }}\n}}\n",
            work = work.display(),
            root = root.display(),
        );
        let file = work.join("nginx.conf");
        fs::write(&file, text)?;
        let mut child = Command::new("nginx")
            .env("PATH", peers::path())
            .arg("-e")
            .arg(work.join("nginx.log"))
            .arg("-c")
            .arg(&file)
            .args(["-g", "daemon off;"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run nginx: install nginx-light")?;
        let begun = Instant::now();
        while rpc::connect(peers::client(0), SocketAddrV4::new(address, PORT)).is_err() {
            if child.try_wait()?.is_some() || begun.elapsed() > Duration::from_secs(20) {
                let log = fs::read_to_string(work.join("nginx.log")).unwrap_or_default();
                bail!("nginx did not come up; its log:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Self(child))
    }

    /// The master's process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its workers when it is told to end, and leaves them when it is killed.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}
