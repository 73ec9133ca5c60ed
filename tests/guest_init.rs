//! `/.oneroot/init` in namespaces, over a root of a few files: what it makes, and what the real init gets from it. No
//! machine has to boot for that, so each shell that a tree may have is tried, with whatever an initramfs may leave behind.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at its first surprise")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

const INIT: &str = include_str!("../src/guest/init");
const START: &str = include_str!("../src/guest/start");
const WATCH: &str = include_str!("../src/guest/watch");
const BOOT: &str = "0123456789abcdef";
const MACHINE_ID: &str = "0f0e0d0c0b0a49888786858483828180";

/// What stands in for systemd tells about itself, and ends.
const PROBE: &str = r#"#!/bin/sh
echo "umask=$(umask)"
echo "cwd=$(pwd)"
echo "args=$*"
echo "core=$(ulimit -S -c)"
echo "oom=$(cat /proc/1/oom_score_adj)"
echo "environment=$(tr '\0' ' ' </proc/1/environ)"
for number in 3 4 5 6 7 8 9; do
    [ ! -e /proc/1/fd/$number ] || echo "open=$number"
done
find / /run -xdev ! -type l -perm -0002 | while read -r path; do echo "writable=$path"; done
find / /run /etc -xdev ! -type l | while read -r path; do echo "$path=$(stat -c %a "$path")"; done
echo "machine-id=$(cat /etc/machine-id)"
"#;

/// An init that is not systemd, in a tree that has it too. It ends when what watches it has seen a terminal's getty.
const OTHER: &str = r#"#!/bin/sh
watched() { grep -q /.oneroot/watch /proc/[0-9]*/cmdline 2>/dev/null; }
[ ! -e /run/systemd ] || echo "made=/run/systemd"
sleep 3
watched && echo "before=watched"
/sbin/getty &
while watched; do sleep 1; done
kill $!
echo "machine-id=$(cat /etc/machine-id)"
"#;

/// A root with this shell and busybox' programs.
fn root(shell: &Path) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let at = |path: &str| home.path().join("root").join(path);
    for directory in
        ["bin", "proc", "dev", "run", "etc", "usr/lib/systemd/system", "lib", "sbin", "tmp", ".oneroot/say"]
    {
        fs::create_dir_all(at(directory)).unwrap();
    }
    for directory in [".oneroot/rw", ".oneroot/lower"] {
        fs::create_dir(at(directory)).unwrap();
    }
    symlink("../usr/lib/systemd", at("lib/systemd")).unwrap();
    symlink("../lib/systemd/systemd", at("sbin/init")).unwrap();
    program(&at("usr/lib/systemd/systemd"), PROBE);
    program(&at(".oneroot/init"), INIT);
    program(&at(".oneroot/start"), START);
    program(&at(".oneroot/watch"), WATCH);
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    fs::copy(busybox.unwrap(), at("bin/busybox")).unwrap();
    for name in [
        "cat",
        "chmod",
        "chroot",
        "env",
        "find",
        "grep",
        "ln",
        "mkdir",
        "mount",
        "pivot_root",
        "rm",
        "sleep",
        "stat",
        "tr",
        "umount",
    ] {
        symlink("busybox", at("bin").join(name)).unwrap();
    }
    if shell.ends_with("busybox") {
        symlink("busybox", at("bin/sh")).unwrap();
    } else {
        fs::copy(shell, at("bin/sh")).unwrap();
        let told = Command::new("ldd").arg(shell).output().unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        for library in told.split_whitespace().filter(|word| word.starts_with('/')) {
            let to = at(library.trim_start_matches('/'));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(library, to).unwrap();
        }
    }
    home
}

fn program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Boots a root as the first process of namespaces of its own, as an initramfs would: the root is a read-only mount, and
/// `before` is shell that spoils what is inherited. What the real init said, by name.
fn boot(home: &Path, before: &str) -> BTreeMap<String, Vec<String>> {
    let command_line = format!(
        "BOOTIF=01-52-54-00-00-00-0a init=/.oneroot/init oneroot.boot={BOOT} systemd.machine_id={MACHINE_ID} x=/*"
    );
    fs::write(home.join("cmdline"), command_line).unwrap();
    let script = format!(
        "set -e; cd {home}; mount --bind root root; mount -t proc proc root/proc; mount --bind cmdline root/proc/cmdline\n\
         mount -t tmpfs -o mode=0755 dev root/dev; : >root/dev/null; mount --bind /dev/null root/dev/null\n\
         : >root/dev/console; mount -o remount,bind,ro root\n\
         {before}\nexec chroot root /.oneroot/init single x\n",
        home = home.display()
    );
    let done = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--propagation", "private", "/bin/sh", "-c", &script])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (said, errors) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && said.contains("machine-id="), "{said}\n{errors}");
    assert_eq!(errors, "", "nothing is said to the console of a machine that boots as it should");
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in said.lines().filter_map(|line| line.split_once('=')) {
        told.entry(name.to_owned()).or_default().push(value.to_owned());
    }
    told
}

/// Shells that a tree's `/bin/sh` may be: those that are here.
fn shells() -> Vec<&'static Path> {
    let busybox = if Path::new("/bin/busybox").exists() { "/bin/busybox" } else { "/usr/bin/busybox" };
    let all = [busybox, "/bin/dash", "/bin/bash", "/bin/mksh"].map(Path::new);
    all.into_iter().filter(|shell| shell.exists()).collect()
}

/// What a systemd that runs an initramfs leaves: umask 0. The rest is worse than any initramfs we know.
const SPOILED: &str = "umask 0; ulimit -c unlimited || :; echo 300 >/proc/self/oom_score_adj\n\
     exec 5</dev/null 9</dev/null\n\
     export BOOTIF=01-52-54-00-00-00-0a IFS=/ ENV=/nowhere BASH_ENV=/nowhere PS4='$(echo no)' CDPATH=/run LANG=C TERM=vt220\n\
     export LD_LIBRARY_PATH=/nowhere rootmnt=/root POSIXLY_CORRECT=1 GLOBIGNORE='*' two=\"a\nPATH=/nowhere\"";

#[test]
fn nothing_that_init_makes_can_be_written_by_others_whatever_the_initramfs_left() {
    for shell in shells() {
        for before in ["umask 022", SPOILED, "umask 077"] {
            let home = root(shell);
            let told = boot(home.path(), before);
            assert_eq!(told.get("writable"), None, "{} after {before}", shell.display());
            for (path, mode) in [
                ("/", "755"),
                ("/run", "755"),
                ("/run/systemd", "755"),
                ("/run/systemd/system", "755"),
                ("/run/systemd/system/multi-user.target.wants", "755"),
                ("/run/systemd/system/oneroot-up.service", "644"),
                ("/etc/machine-id", "444"),
            ] {
                let found = told.get(path).and_then(|modes| modes.first()).map(String::as_str);
                assert_eq!(found, Some(mode), "{path} with {} after {before}", shell.display());
            }
        }
    }
}

#[test]
fn the_real_init_starts_as_the_kernel_would_have_started_it() {
    for shell in shells() {
        let home = root(shell);
        let told = boot(home.path(), SPOILED);
        let one = |name: &str| told.get(name).and_then(|said| said.first()).map(String::as_str);
        let shown = shell.display();
        assert_eq!(one("umask"), Some("0022"), "{shown}");
        assert_eq!(one("cwd"), Some("/"), "{shown}");
        assert_eq!(one("args"), Some("single x"), "{shown}");
        assert_eq!(one("core"), Some("0"), "{shown}");
        assert_eq!(one("oom"), Some("0"), "{shown}");
        assert_eq!(told.get("open"), None, "{shown}");
        let mut environment: Vec<&str> = one("environment").unwrap().split_whitespace().collect();
        environment.sort_unstable();
        assert_eq!(environment, ["HOME=/", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TERM=vt220"], "{shown}");
        assert_eq!(one("machine-id"), Some(MACHINE_ID), "{shown}");
    }
}

#[test]
fn an_init_that_is_not_systemd_finds_no_sign_of_it_and_is_up_when_it_offers_a_login() {
    for shell in shells() {
        let home = root(shell);
        let sbin = home.path().join("root/sbin");
        fs::remove_file(sbin.join("init")).unwrap();
        program(&sbin.join("init"), OTHER);
        program(&sbin.join("getty"), "#!/bin/sh\nsleep 100\n");
        let told = boot(home.path(), SPOILED);
        assert_eq!(told.get("made"), None, "{}", shell.display());
        assert_eq!(told.get("before").map(Vec::len), Some(1), "no getty yet, with {}", shell.display());
    }
}
