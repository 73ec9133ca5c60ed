//! Busybox' DHCP client.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::lab::Lab;

/// Asks on a fresh host of a switch: what it was told, by udhcpc's names; `None` when nobody answered.
pub fn udhcpc(lab: &Lab, switch: &str) -> Result<Option<HashMap<String, String>>> {
    lab.plug(switch, udhcpc_on)?
}

/// The same on a NIC of the network that the calling thread is in. The NIC stays without an address.
pub fn udhcpc_on(nic: &str) -> Result<Option<HashMap<String, String>>> {
    let home = tempfile::tempdir()?;
    let script = home.path().join("script");
    let told = home.path().join("told");
    fs::write(&script, format!("#!/bin/sh\n[ $1 != bound ] || env >'{}'\n", told.display()))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let done = Command::new("busybox")
        .args(["udhcpc", "-i", nic, "-n", "-q", "-f", "-t", "4", "-T", "1", "-O", "mtu", "-s"])
        .arg(&script)
        .output()
        .context("cannot run busybox")?;
    let said = String::from_utf8_lossy(&done.stderr);
    if !done.status.success() && !said.contains("no lease") {
        bail!("udhcpc: {said}");
    }
    let Ok(told) = fs::read_to_string(told) else { return Ok(None) };
    let pairs = told.lines().filter_map(|line| line.split_once('='));
    Ok(Some(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
}
