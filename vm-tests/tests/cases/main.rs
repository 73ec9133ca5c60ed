//! What a machine can count on, tried with real firmware, a real kernel and a full Debian 12.
//!
//! Each case has a network, a server and machines of its own, and every wait in it has a limit.
#![allow(clippy::unwrap_used, reason = "a case stops at its first surprise, and shows its logs")]

mod battery;
mod boots;
mod firmware;
mod nics;
mod power;
mod proxy;
mod service;
mod sources;

use std::time::Duration;

use oneroot_vm_tests::Guest;
use serde_json::Value;

const POOL: &str = "192.168.77.100-192.168.77.199";
const SOON: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_secs(200);

fn text<'v>(machine: &'v Value, key: &str) -> &'v str {
    machine.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// No error of NFS, of a read or of a cached handle in the kernel's log.
fn assert_no_io_error(guest: &mut Guest) {
    let log = guest.ok("dmesg").unwrap();
    for word in ["Stale file handle", "I/O error", "fileid changed", "status -116", "status -5", "Bus error"]
    {
        assert!(!log.contains(word), "{word:?} in the guest's log:\n{log}");
    }
}
