//! What a machine can count on, tried with real firmware, a real kernel and a full Debian 12.
//!
//! Each case has a network, a server and machines of its own, and every wait in it has a limit.
#![allow(clippy::unwrap_used, reason = "a case stops at its first surprise, and shows its logs")]

mod battery;
mod boots;
mod classroom;
mod cluster;
mod diary;
mod dnsmasq;
mod example;
mod firmware;
mod ipxe;
mod layouts;
mod logs;
mod managers;
mod mounts;
mod nics;
mod own_init;
mod power;
mod proxy;
mod service;
mod sources;
mod ways;

use std::time::Duration;

use oneroot_testkit::SiteFiles;
use oneroot_vm_tests::Guest;
use serde_json::Value;

/// A line that only a second initrd puts into the kernel's log.
const SECOND_INITRD: &str = "the second initrd was unpacked too";

/// Gives the profile a second initrd, in a layer: what it has is said by initramfs-tools, which reads all of conf/conf.d.
fn add_an_initrd(site: &mut SiteFiles) {
    let said = format!("echo {SECOND_INITRD} >/dev/kmsg\n");
    let member = |name: &str, mode: u32, data: &str| {
        let (length, named) = (data.len(), name.len() + 1);
        let mut bytes =
            format!("070701{:08X}{mode:08X}{:032X}{length:08X}{:032X}{named:08X}{:08X}{name}\0", 1, 0, 0, 0)
                .into_bytes();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(data.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let archive = [member("conf/conf.d/second", 0o100_644, &said), member("TRAILER!!!", 0, "")].concat();
    let boot = site.path().join("layers/common/boot");
    std::fs::create_dir_all(&boot).unwrap();
    std::fs::write(boot.join("second.img"), archive).unwrap();
    let profile = "[profile.debian]\ninitrd = [\"/boot/initrd.img-*\", \"/boot/second.img\"]\n";
    site.set_text(&site.text().replace("[profile.debian]\n", profile));
}

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

/// What init makes has the modes that it should have, and no file or directory where it makes any can be written by
/// everybody; nor has the real init anything of the initramfs's in its environment.
fn assert_modes(guest: &mut Guest) {
    let made = "/ /run /run/systemd /run/systemd/system /run/systemd/system/multi-user.target.wants \
                /run/systemd/system/oneroot-up.service /etc/machine-id";
    let modes = guest.ok(&format!("stat -c %a {made} | tr '\\n' ' '")).unwrap();
    assert_eq!(modes.trim(), "755 755 755 755 755 644 444", "{made}");
    let writable = "for top in /run /dev /etc; do find $top -xdev \\( -type d ! -perm -1000 -o -type f \\) -perm -0002; done";
    assert_eq!(guest.ok(writable).unwrap(), "", "what anybody may write");
    let environment =
        guest.ok("tr '\\0' '\\n' </proc/1/environ | sed 's/=.*//' | sort | tr '\\n' ' '").unwrap();
    assert_eq!(environment.trim(), "HOME PATH TERM");
}
