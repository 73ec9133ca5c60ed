//! `/.oneroot/watch`, beside an init that is not systemd: for how long it looks for a login, and when it tells of what is not mounted.
//! Its clock is a file of the test's, in each shell that a tree may have.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::guest_init::{boot_and_errors, change, program, root, shells};

const MOUNT_FAILED: &str = include_str!("../machines/src/guest/mount-failed");

/// Moves the kernel's clock by what is in `/step`, twice a second, for as long as it is watched; does what is in `/middle` some
/// time after the login, and tells where the clock was at the end and what is on the console. All times have seven letters, so that
/// nobody reads half of one.
const INIT: &str = r#"#!/bin/sh
watched() { grep -q /.oneroot/watch /proc/[0-9]*/cmdline 2>/dev/null; }
[ ! -e /sbin/getty ] || /sbin/getty &
busybox sleep 1
number=0
while watched; do
    busybox sleep 0.5
    number=$((number + 1))
    [ $number != 10 ] || [ ! -e /middle ] || . /middle
    read -r uptime </proc/uptime
    read -r step </step
    echo "$((${uptime%%.*} + step)).25" 1<>/proc/uptime
done
echo "halves=$number"
echo "clock=$uptime"
echo "console=$(tr '\n' '|' </dev/console)"
kill $!
echo "machine-id=$(cat /etc/machine-id)"
"#;

/// A root with this shell after a change, and what its init told. Each half second of this host's is `step` of the machine's.
fn watched(shell: &Path, step: u32, more: &str) -> BTreeMap<String, Vec<String>> {
    let home = root(shell);
    let at = |path: &str| home.path().join("root").join(path);
    fs::remove_file(at("sbin/init")).unwrap();
    program(&at("sbin/init"), INIT);
    // A console of files forgets what was said before.
    program(&at(".oneroot/mount-failed"), &MOUNT_FAILED.replace(">/dev/console", ">>/dev/console"));
    fs::write(at("step"), format!("{step}\n")).unwrap();
    change(home.path(), more);
    let clock = "umask 022; echo 1000.25 >uptime; mount --bind uptime root/proc/uptime";
    boot_and_errors(home.path(), clock).0
}

fn number(told: &BTreeMap<String, Vec<String>>, name: &str) -> f64 {
    told.get(name).and_then(|said| said.first()?.parse().ok()).unwrap()
}

#[test]
fn an_init_that_offers_no_login_is_watched_for_five_minutes_of_the_machines_clock_however_long_a_pause_takes()
{
    for shell in shells() {
        let told = watched(shell, 50, "");
        assert!(number(&told, "clock") >= 1300.0, "{}: {told:?}", shell.display());
        // By its pauses it would be six hundred.
        assert!(number(&told, "halves") < 200.0, "{}: {told:?}", shell.display());
    }
}

#[test]
fn what_is_mounted_in_the_background_is_missing_when_its_time_is_over_and_all_else_when_there_is_a_login() {
    let mounts = "printf '#!/bin/sh\\nbusybox sleep 1000\\n' >sbin/getty; chmod 755 sbin/getty; mkdir -p .oneroot/etc home srv/gone mnt; \
                  printf 'nas:/home /home nfs _netdev,nofail,bg 0 0\\nnas:/gone /srv/gone nfs bg 0 0\\n/dev/sdb /mnt ext4 nofail 0 0\\n' >.oneroot/etc/fstab; \
                  printf '1 /home wanted\\n2 /srv/gone wanted\\n3 /mnt wanted\\n' >.oneroot/mounts; echo 'mount -t tmpfs none /home' >middle";
    for shell in shells() {
        let shown = shell.display();
        let told = watched(shell, 20, mounts);
        let console = "oneroot: /mnt could not be mounted|oneroot: /srv/gone could not be mounted|";
        assert_eq!(told.get("console").unwrap(), &[console], "{shown}");
        assert!(number(&told, "clock") >= 1300.0, "{shown}: {told:?}");
        let told = watched(shell, 1, &format!("{mounts}; sed -i 2,3d .oneroot/mounts"));
        assert_eq!(told.get("console").unwrap(), &[""], "{shown}");
        assert!(number(&told, "clock") < 1300.0, "nothing is left to look at, with {shown}: {told:?}");
    }
}
