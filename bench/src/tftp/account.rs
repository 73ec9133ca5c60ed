//! Processor time of a server with all of its processes, those that have ended included: what its control group says.
//!
//! tftpd-hpa has a process for each transfer and waits for none, so that nothing of theirs is added to its own time.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// A group of processes; it goes when this is dropped, if they have ended.
pub struct Account(PathBuf);

impl Account {
    /// A group of this process and of those that it starts from now on.
    pub fn of(pid: u32) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        let mount = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (place, kind) = (words.next()?, words.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(place))
        });
        let mount = mount.context("no cgroup2 is mounted: processor times can't be measured")?;
        let group = mount.join(format!("oneroot-bench-{pid}"));
        fs::create_dir_all(&group).with_context(|| format!("cannot make {}", group.display()))?;
        fs::write(group.join("cgroup.procs"), pid.to_string())?;
        Ok(Self(group))
    }

    /// Nanoseconds so far.
    pub fn cpu(&self) -> Result<u64> {
        let text = fs::read_to_string(self.0.join("cpu.stat"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
        Ok(line.context("no usage in cpu.stat")?.trim().parse::<u64>()? * 1000)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        // A process that has been killed leaves its group a moment later.
        for _ in 0..50 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
