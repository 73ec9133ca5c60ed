//! Debian's Kea, to measure beside: one process, leases in memory, or in a file too. It never syncs that file.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// A running one; killed when dropped.
pub struct Kea(Child);

impl Kea {
    /// Serves the network of the rates on the lab's interface. Its files are in `work`.
    pub fn start(work: &Path, persist: bool) -> Result<Self> {
        let (conf, log) = (work.join("kea.conf"), work.join("kea.log"));
        let leases = work.join("leases.csv");
        let text = serde_json::json!({ "Dhcp4": {
            // Relayed messages alone, for which Kea's guide advises this.
            "interfaces-config": { "interfaces": ["lab0"], "dhcp-socket-type": "udp" },
            "lease-database": { "type": "memfile", "persist": persist, "name": leases, "lfc-interval": 0 },
            "valid-lifetime": 86_400,
            "subnet4": [{ "id": 1, "subnet": "10.64.0.0/12", "pools": [{ "pool": super::rates::POOL }] }],
            "loggers": [{ "name": "kea-dhcp4", "severity": "WARN", "output_options": [{ "output": "stderr" }] }],
        }});
        fs::write(&conf, text.to_string())?;
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        let child = Command::new("kea-dhcp4")
            .arg("-c")
            .arg(&conf)
            .envs([("PATH", path.as_str()), ("KEA_LOCKFILE_DIR", "none")])
            .env("KEA_PIDFILE_DIR", work)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?)
            .spawn()
            .context("cannot run kea-dhcp4")?;
        let mut kea = Self(child);
        let begun = Instant::now();
        // It says that it has not come up, and not that it has; its socket shows that.
        while !fs::read_to_string("/proc/thread-self/net/udp")?.contains(":0043 ") {
            if kea.0.try_wait()?.is_some() || begun.elapsed() > Duration::from_secs(30) {
                bail!("Kea did not come up; its log:\n{}", fs::read_to_string(&log).unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(kea)
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Kea {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
