//! `/.oneroot/watch`, beside an init that is not systemd: for how long it looks for a login, and when it tells of what is not mounted.
//! And `/.oneroot/space`, which it becomes, and which is a unit of systemd's: what it tells of a writable layer that fills up.
//! The clock is a file of the test's, in each shell that a tree may have.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::guest_init::{PROBE, SPOILED, boot_and_errors, change, program, root, shells};

const MOUNT_FAILED: &str = include_str!("../machines/src/guest/mount-failed");
const SPACE: &str = include_str!("../machines/src/guest/space");

/// A layer that fills up, by a df and a sleep that stand in for the tree's: seven pauses, and the last is its end.
const FILLING: &str = "printf '#!/bin/sh\\necho x >>/run/slept\\n[ $(wc -l </run/slept) -lt 7 ]\\n' >bin/pause; \
    printf '#!/bin/sh\\nset -- 10 79 80 81 96 97 12\\nshift $(($(wc -l </run/slept) - 1))\\n\
    echo Filesystem 1024-blocks Used Available Capacity Mounted\\necho oneroot 100 1 1 $1%% /\\n' >bin/room; \
    chmod 755 bin/pause bin/room; ln -s busybox bin/wc";
/// What is told of it.
const TOLD: &str = "oneroot: the writable layer is 80 % full|oneroot: the writable layer is 96 % full|";

/// Moves the kernel's clock by what is in `/step`, twice a second, for as long as it is watched; does what is in `/middle` some
/// time after the login, and tells where the clock was at the end and what is on the console. All times have seven letters, so that
/// nobody reads half of one.
const INIT: &str = r#"#!/bin/sh
watched() { grep -q -e /.oneroot/watch -e /.oneroot/space /proc/[0-9]*/cmdline 2>/dev/null; }
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
    space(home.path());
    fs::write(at("step"), format!("{step}\n")).unwrap();
    change(home.path(), more);
    let clock = "umask 022; echo 1000.25 >uptime; mount --bind uptime root/proc/uptime";
    boot_and_errors(home.path(), clock).0
}

/// The script, with what stands in for `df` and `sleep`: some shells have these two built in.
fn space(home: &Path) {
    let script =
        SPACE.replace("sleep \"$pause\"", "pause").replace("df -", "room -").replace("-v df", "-v room");
    program(&home.join("root/.oneroot/space"), &script.replace(">/dev/console", ">>/dev/console"));
}

/// The same, run by what stands in for systemd, in a root with this shell after a change.
fn run_by_systemd(shell: &Path, more: &str) -> BTreeMap<String, Vec<String>> {
    let home = root(shell);
    space(home.path());
    change(home.path(), more);
    let probe = "\n: >/dev/console; : >/run/slept; /bin/sh /.oneroot/space\necho \"pauses=$(grep -c x /run/slept)\"\n\
                 echo \"console=$(tr '\\n' '|' </dev/console)\"\n";
    program(&home.path().join("root/usr/lib/systemd/systemd"), &PROBE.replacen('\n', probe, 1));
    boot_and_errors(home.path(), SPOILED).0
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

#[test]
fn a_writable_layer_that_fills_up_is_told_of_once_at_80_and_once_at_95_percent() {
    for shell in shells() {
        let told = run_by_systemd(shell, FILLING);
        assert_eq!(told.get("console").unwrap(), &[TOLD], "{}", shell.display());
    }
}

#[test]
fn a_tree_without_df_is_not_asked_every_minute_how_full_its_layer_is() {
    for shell in shells() {
        let told = run_by_systemd(shell, &format!("{FILLING}; rm bin/room"));
        assert_eq!(told.get("pauses").unwrap(), &["0"], "{}", shell.display());
        assert_eq!(told.get("console").unwrap(), &[""], "{}", shell.display());
    }
}

#[test]
fn a_layer_that_fills_up_is_told_of_beside_an_init_that_is_not_systemd_too_whether_or_not_it_offers_a_login()
{
    let login = "printf '#!/bin/sh\\nbusybox sleep 1000\\n' >sbin/getty; chmod 755 sbin/getty";
    for shell in shells() {
        for (step, more) in [(1, login), (100, ":")] {
            let told = watched(shell, step, &format!("{FILLING}; {more}"));
            assert_eq!(told.get("console").unwrap(), &[TOLD], "{} after {more}", shell.display());
        }
    }
}
