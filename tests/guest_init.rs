//! `/.oneroot/init` in namespaces, over a root of a few files: what it makes, and what the real init gets from it. No
//! machine has to boot for that, so each shell that a tree may have is tried, with whatever an initramfs may leave behind.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at its first surprise")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use oneroot_bootconf::facts::{Facts, SiteFacts};
use oneroot_bootconf::given::Given;
use oneroot_bootconf::mounts::Mounts;
use oneroot_bootconf::root::Initramfs;
use tempfile::TempDir;

const INIT: &str = include_str!("../machines/src/guest/init");
const START: &str = include_str!("../machines/src/guest/start");
const PLACE: &str = include_str!("../machines/src/guest/place");
const IFUPDOWN: &str = include_str!("../machines/src/guest/ifupdown");
const WATCH: &str = include_str!("../machines/src/guest/watch");
pub(crate) const HOOKS: &str = include_str!("../machines/src/guest/hooks");
const SECRETS: &str = include_str!("../machines/src/guest/fetch-secrets");
const UP: &str = include_str!("../machines/src/guest/up");
const PLACES: &str = include_str!("../machines/src/guest/places");
const UNIT: &str = include_str!("../machines/src/guest/up.service");
pub(crate) const BOOT: &str = "0123456789abcdef";
const MAC: &str = "52:54:00:00:00:0a";
const MACHINE_ID: &str = "0f0e0d0c0b0a49888786858483828180";

/// What stands in for systemd tells about itself, and ends.
pub(crate) const PROBE: &str = r#"#!/bin/sh
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
for path in /etc/hostname /etc/hosts /etc/resolv.conf /run/systemd/resolve/stub-resolv.conf \
    /run/systemd/network/00-oneroot.network /etc/systemd/network/70-boot0.link /run/NetworkManager/conf.d/00-oneroot.conf \
    /run/network/ifstate.lan0 /etc/network/interfaces.d/oneroot /run/systemd/system/networking.service.d/oneroot.conf \
    "/run/systemd/system/ifup@lan0.service.d/oneroot.conf" "/run/systemd/system/ifup@lan1.service.d/oneroot.conf" \
    /run/network/ifstate /run/network/ifstate.lan1 /run/network/oneroot /run/ifstate /run/udev/rules.d/79-oneroot.rules; do
    [ ! -f "$path" ] || echo "text of $path=$(tr '\n' '|' <"$path")"
done
[ ! -e /run/systemd ] || echo "sign=/run/systemd"
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
pub(crate) fn root(shell: &Path) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let at = |path: &str| home.path().join("root").join(path);
    for directory in [
        "bin",
        "proc",
        "sys",
        "dev",
        "run",
        "etc",
        "usr/lib/systemd/system",
        "lib",
        "sbin",
        "tmp",
        ".oneroot/say",
    ] {
        fs::create_dir_all(at(directory)).unwrap();
    }
    for directory in [".oneroot/rw", ".oneroot/lower"] {
        fs::create_dir(at(directory)).unwrap();
    }
    symlink("../usr/lib/systemd", at("lib/systemd")).unwrap();
    symlink("../lib/systemd/systemd", at("sbin/init")).unwrap();
    program(&at("usr/lib/systemd/systemd"), PROBE);
    for (path, text) in given().files() {
        let path = at(".oneroot").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    program(&at(".oneroot/init"), INIT);
    program(&at(".oneroot/start"), START);
    program(&at(".oneroot/place"), PLACE);
    program(&at(".oneroot/ifupdown"), IFUPDOWN);
    program(&at(".oneroot/watch"), WATCH);
    program(&at(".oneroot/hooks"), HOOKS);
    program(&at(".oneroot/fetch-secrets"), SECRETS);
    program(&at(".oneroot/up"), UP);
    fs::write(at(".oneroot/places"), PLACES).unwrap();
    let units = at(".oneroot/run/systemd/system");
    fs::create_dir_all(units.join("multi-user.target.wants")).unwrap();
    fs::write(units.join("oneroot-up.service"), UNIT).unwrap();
    symlink("../oneroot-up.service", units.join("multi-user.target.wants/oneroot-up.service")).unwrap();
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    fs::copy(busybox.unwrap(), at("bin/busybox")).unwrap();
    for name in [
        "cat",
        "chmod",
        "chroot",
        "cp",
        "env",
        "find",
        "grep",
        "ln",
        "mkdir",
        "mount",
        "pivot_root",
        "readlink",
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

/// What the server writes for this machine.
fn given() -> Given {
    let facts = Facts {
        name: "alpha".to_owned(),
        mac: MAC.to_owned(),
        macs: vec![MAC.to_owned()],
        address: None,
        profile: "debian".to_owned(),
        workloads: Vec::new(),
        groups: Vec::new(),
        hardware: oneroot_bootconf::hardware::Hardware::default(),
        location: oneroot_bootconf::hardware::Location::default(),
        examined: oneroot_bootconf::hardware::Examined::default(),
        vars: BTreeMap::new(),
        site: SiteFacts {
            server: [10, 0, 0, 1].into(),
            domain: None,
            dns: vec![[10, 0, 0, 2].into()],
            ntp: Vec::new(),
        },
    };
    Given::of(&facts, Initramfs::Dracut, &Mounts::new(), None)
}

pub(crate) fn program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Boots a root as the first process of namespaces of its own, as an initramfs would: the root is a read-only mount, and
/// `before` is shell that spoils what is inherited. What the real init said, by name.
fn boot(home: &Path, before: &str) -> BTreeMap<String, Vec<String>> {
    let (told, errors) = boot_and_errors(home, before);
    assert_eq!(errors, "", "nothing is said to the console of a machine that boots as it should");
    told
}

/// The same of a machine that may have something to say on its console.
pub(crate) fn boot_and_errors(home: &Path, before: &str) -> (BTreeMap<String, Vec<String>>, String) {
    let done = run(home, before);
    let (said, errors) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && said.contains("machine-id="), "{said}\n{errors}");
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in said.lines().filter_map(|line| line.split_once('=')) {
        told.entry(name.to_owned()).or_default().push(value.to_owned());
    }
    (told, errors.into_owned())
}

/// What a machine says on its console that ends before its real init runs.
pub(crate) fn last_words(home: &Path, before: &str) -> String {
    // A file would have its last line alone: each is written over the one before.
    let console = "mkfifo words; cat <>words >console & mount --bind words root/dev/console";
    let done = run(home, &format!("{console}\n{before}"));
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(!done.status.success() && !said.contains("machine-id="), "it does not come up: {said}");
    fs::read_to_string(home.join("console")).unwrap()
}

fn run(home: &Path, before: &str) -> Output {
    let command_line = format!(
        "BOOTIF=01-52-54-00-00-00-0a init=/.oneroot/init oneroot.boot={BOOT} systemd.machine_id={MACHINE_ID} x=/*"
    );
    fs::write(home.join("cmdline"), command_line).unwrap();
    let script = format!(
        "set -e; cd {home}; mount --bind root root; mount -t proc proc root/proc; mount --bind cmdline root/proc/cmdline\n\
         mount -t tmpfs -o mode=0755 dev root/dev; : >root/dev/null; mount --bind /dev/null root/dev/null\n\
         : >root/dev/console; mount -o remount,bind,ro root\n\
         ip link add lan0 type bridge; ip link set lan0 address {MAC}\n\
         {before}\nexec chroot root /.oneroot/init single x\n",
        home = home.display()
    );
    Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--propagation", "private", "/bin/sh", "-c", &script])
        .env("PATH", std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// What was in a file, with `|` for each end of a line.
fn text_of<'t>(told: &'t BTreeMap<String, Vec<String>>, path: &str) -> Option<&'t str> {
    told.get(&format!("text of {path}")).and_then(|said| said.first()).map(String::as_str)
}

/// Changes a root before it boots.
pub(crate) fn change(home: &Path, script: &str) {
    let changed = Command::new("sh").args(["-ec", script]).current_dir(home.join("root")).status();
    assert!(changed.unwrap().success(), "{script}");
}

/// Shells that a tree's `/bin/sh` may be: those that are here.
pub(crate) fn shells() -> Vec<&'static Path> {
    let busybox = if Path::new("/bin/busybox").exists() { "/bin/busybox" } else { "/usr/bin/busybox" };
    let all = [busybox, "/bin/dash", "/bin/bash", "/bin/mksh"].map(Path::new);
    all.into_iter().filter(|shell| shell.exists()).collect()
}

/// What a systemd that runs an initramfs leaves: umask 0. The rest is worse than any initramfs we know.
pub(crate) const SPOILED: &str = "umask 0; ulimit -c unlimited || :; echo 300 >/proc/self/oom_score_adj\n\
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

/// A tree before it boots, as a change to one with nothing in `/etc`; what a file is then; its path.
type Placed<'a> = (&'a str, &'a str, Option<&'a str>);

#[test]
fn what_a_machine_is_given_is_put_where_the_tree_has_nothing_better() {
    let unit = "[Service]|EnvironmentFile=-/run/network/oneroot|ExecStop=|\
                ExecStop=-/sbin/ifdown -a --read-environment --exclude=lo $ONEROOT_NICS|";
    let placed: &[Placed<'_>] = &[
        (":", "/etc/hostname", Some("alpha|")),
        ("echo localhost >etc/hostname", "/etc/hostname", Some("alpha|")),
        (": >etc/hostname", "/etc/hostname", Some("alpha|")),
        ("echo own >etc/hostname", "/etc/hostname", Some("own|")),
        (
            ":",
            "/etc/hosts",
            Some("127.0.0.1 localhost|127.0.1.1 alpha|::1 localhost ip6-localhost ip6-loopback|"),
        ),
        ("echo own >etc/hosts", "/etc/hosts", Some("own|")),
        (":", "/etc/resolv.conf", Some("nameserver 10.0.0.2|")),
        ("echo search x >etc/resolv.conf", "/etc/resolv.conf", Some("nameserver 10.0.0.2|")),
        ("echo nameserver 9.9.9.9 >etc/resolv.conf", "/etc/resolv.conf", Some("nameserver 9.9.9.9|")),
        (
            "ln -s ../run/systemd/resolve/stub-resolv.conf etc/resolv.conf",
            "/run/systemd/resolve/stub-resolv.conf",
            Some("nameserver 10.0.0.2|"),
        ),
        ("ln -s /run/x/y etc/resolv.conf", "/etc/resolv.conf", Some("nameserver 10.0.0.2|")),
        (":", "/etc/systemd/network/70-boot0.link", Some("")),
        (":", "/run/network/ifstate.lan0", None),
        ("mkdir -p etc/network/interfaces.d", "/run/network/ifstate.lan0", None),
        (DEBIANS, "/run/network/ifstate.lan0", Some("lan0|")),
        (DEBIANS, "/run/network/ifstate", Some("lan0=lan0|")),
        (DEBIANS, "/run/network/oneroot", Some("ONEROOT_NICS= --exclude=lan0|")),
        (DEBIANS, "/run/ifstate", None),
        (DEBIANS, "/etc/network/interfaces.d/oneroot", Some("no-auto-down lan0|")),
        (DEBIANS, "/run/systemd/system/networking.service.d/oneroot.conf", Some(unit)),
        (DEBIANS, "/run/systemd/system/ifup@lan0.service.d/oneroot.conf", Some("[Service]|ExecStop=|")),
        ("mkdir etc/network; echo no-auto-down >sbin/ifup", "/etc/network/interfaces.d/oneroot", None),
        (OTHERS, "/etc/network/interfaces.d/oneroot", None),
        (OTHERS, "/run/ifstate", Some("lan0=lan0|")),
        (OTHERS, "/run/systemd/system/networking.service.d/oneroot.conf", Some("[Service]|ExecStop=|")),
    ];
    for shell in shells() {
        for (script, path, text) in placed {
            let home = root(shell);
            change(home.path(), script);
            let told = boot(home.path(), SPOILED);
            assert_eq!(text_of(&told, path), *text, "{path} after {script} with {}", shell.display());
            assert_eq!(told.get("writable"), None, "{script} with {}", shell.display());
        }
    }
}

/// A tree with Debian's ifup, whose program has this word in it; and one with another's.
const DEBIANS: &str = "mkdir -p etc/network/interfaces.d; echo no-auto-down >sbin/ifup";
const OTHERS: &str = "mkdir -p etc/network/interfaces.d; ln -s ../bin/busybox sbin/ifup";

#[test]
fn a_name_that_udev_gives_the_nic_later_is_told_to_ifupdown_once_and_beside_the_first() {
    for shell in shells() {
        let renamed = "INTERFACE=lan1 /bin/sh /.oneroot/ifupdown\n";
        let probe = PROBE.replacen('\n', &format!("\n{renamed}{renamed}"), 1);
        let boots = |tree: &str| {
            let home = root(shell);
            change(home.path(), tree);
            program(&home.path().join("root/usr/lib/systemd/systemd"), &probe);
            boot(home.path(), SPOILED)
        };
        let told = boots(DEBIANS);
        for (path, text) in [
            ("/run/network/ifstate", "lan0=lan0|lan1=lan1|"),
            ("/run/network/ifstate.lan1", "lan1|"),
            ("/run/network/oneroot", "ONEROOT_NICS= --exclude=lan0 --exclude=lan1|"),
            ("/etc/network/interfaces.d/oneroot", "no-auto-down lan0|no-auto-down lan1|"),
            ("/run/systemd/system/ifup@lan1.service.d/oneroot.conf", "[Service]|ExecStop=|"),
        ] {
            assert_eq!(text_of(&told, path), Some(text), "{path} with {}", shell.display());
        }
        let rule = text_of(&told, "/run/udev/rules.d/79-oneroot.rules").unwrap();
        assert!(rule.contains(MAC) && rule.contains("/bin/sh /.oneroot/ifupdown"), "{rule}");
        assert_eq!(text_of(&boots(OTHERS), "/run/ifstate"), Some("lan0=lan0|lan1=lan1|"));
    }
}

#[test]
fn busybox_ifup_reads_its_interfaces_and_leaves_the_nic_of_the_root_as_it_is() {
    let home = root(Path::new("/bin/busybox"));
    change(home.path(), OTHERS);
    change(home.path(), "mkdir var; ln -s ../run var/run");
    let words = "auto lan0\niface lan0 inet dhcp\nsource-directory /etc/network/interfaces.d\n";
    fs::write(home.path().join("root/etc/network/interfaces"), words).unwrap();
    let asked = "/sbin/ifup -a -n 2>&1 | while read -r line; do echo \"ifup=$line\"; done\n";
    program(
        &home.path().join("root/usr/lib/systemd/systemd"),
        &PROBE.replacen('\n', &format!("\n{asked}"), 1),
    );
    let told = boot(home.path(), "umask 022");
    assert_eq!(told.get("ifup").unwrap(), &["ifup: interface lan0 already configured"]);
}

#[test]
fn what_is_to_be_mounted_is_added_to_the_trees_fstab_with_its_places_where_no_unit_of_systemd_says_so() {
    let given = "mkdir -p .oneroot/etc; echo 'nas:/home /home nfs nofail 0 0' >.oneroot/etc/fstab; \
                 printf '1 /home wanted\\n2 /srv/data wanted\\n' >.oneroot/mounts; printf '# own' >etc/fstab";
    for shell in shells() {
        let home = root(shell);
        change(home.path(), given);
        let probe = PROBE.replacen('\n', "\necho \"fstab=$(tr '\\n' '|' </etc/fstab)\"\n", 1);
        program(&home.path().join("root/usr/lib/systemd/systemd"), &probe);
        assert_eq!(boot(home.path(), SPOILED).get("fstab").unwrap(), &["# own"], "systemd has units");
        let other = "rm sbin/init; cp usr/lib/systemd/systemd sbin/init; \
                     echo '[ -d /home ] && [ -d /srv/data ] && echo made=both' >>sbin/init";
        change(home.path(), other);
        let (told, _) = boot_and_errors(home.path(), SPOILED);
        assert_eq!(
            told.get("fstab").unwrap(),
            &["# own|nas:/home /home nfs nofail 0 0|"],
            "{}",
            shell.display()
        );
        assert_eq!(told.get("made").unwrap(), &["both"], "{}", shell.display());
        assert_eq!(told.get("writable"), None, "{}", shell.display());
    }
}

#[test]
fn secrets_lie_in_memory_with_the_modes_that_were_said_before_hooks_run_and_a_required_one_that_lacks_ends_the_boot()
 {
    // What the kernel would mount of the server's: a directory of the host, which the root has.
    let prepare = "mkdir -p srv etc/oneroot/early.d; echo t0ken >srv/join; echo key >srv/key; echo top >srv/top; chmod 400 srv/*; \
                   printf '#!/bin/sh\\necho \"$4 $5\" >>/tmp/asked\\n[ $(wc -l </tmp/asked) -gt 6 ] || { echo \"nas: failed: Remote I/O error\" >&2; exit 32; }\\nmount --bind /srv $6\\n' >bin/nas; \
                   printf '#!/bin/sh\\ncat /etc/join >/tmp/hooked\\n' >etc/oneroot/early.d/10-join; \
                   chmod 755 bin/nas etc/oneroot/early.d/10-join; echo tree >etc/key; : >.oneroot/facts; \
                   for name in chown mv rmdir id wc tail; do ln -s busybox bin/$name; done; \
                   printf '2049 10.0.0.1\\n1 join 0640 0 7 required /etc/join\\n2 key 0600 3 0 wanted /etc/key\\n3 gone 0600 0 0 wanted -\\n3 gone.pub 0644 0 0 maybe -\\n4 top 0600 0 0 wanted /top\\n' >.oneroot/secrets.list";
    for shell in shells() {
        let (home, shown) = (root(shell), shell.display());
        change(home.path(), prepare);
        let script = SECRETS.replace(
            "mount -i -n -t nfs -o \"$options\" \"$server:/s/$boot\"",
            "nas -i -n -o \"$options\" \"$server:/s/$boot\"",
        );
        assert_ne!(script, SECRETS);
        // Where there is no console but a file, whoever says something next takes the place of what was said.
        let script = script.replace("/dev/console", "/tmp/console").replace(">$console", ">>$console");
        let script = script
            .replace("sleep $pause", "sleep 0")
            .replace("say/$boot.$1\" ]", "say/$boot.$1\" ] || echo $1 >>/tmp/said");
        program(&home.path().join("root/.oneroot/fetch-secrets"), &script);
        let probe = "\necho \"hooked=$(cat /tmp/hooked)\"; echo \"asked=$(wc -l </tmp/asked) $(tail -n 1 /tmp/asked)\"; echo \"said=$(tr '\\n' ' ' </tmp/said)\"\n\
            for at in /etc/join /etc/key /top; do echo \"secret=$(readlink $at) $(stat -L -c '%a %u %g' $at) $(cat $at)\"; done\n\
            echo \"on=$(grep -c ' /.oneroot/secrets tmpfs' /proc/mounts) $(grep -c secrets-from /proc/mounts)\"\n\
            echo \"unfinished=$(ls /.oneroot/secrets | grep -c next)\"\n\
            mkdir -p /.oneroot/secrets-from; mount --bind /srv /.oneroot/secrets-from; : >/tmp/said\n\
            /bin/sh /.oneroot/fetch-secrets over\n\
            echo \"left=$(grep -c secrets-from /proc/mounts) $(cat /tmp/said)\"\n\
            echo \"console=$(tr '\\n' '|' </tmp/console)\"\n";
        program(&home.path().join("root/usr/lib/systemd/systemd"), &PROBE.replacen('\n', probe, 1));
        let (told, _) = boot_and_errors(home.path(), SPOILED);
        assert_eq!(told.get("hooked").unwrap(), &["t0ken"], "{shown}: {told:?}");
        let secrets = [
            "/.oneroot/secrets/join 640 0 7 t0ken",
            "/.oneroot/secrets/key 600 3 0 key",
            "/.oneroot/secrets/top 600 0 0 top",
        ];
        assert_eq!(told.get("secret").unwrap(), &secrets, "{shown}");
        assert_eq!(told.get("on").unwrap(), &["1 0"], "{shown}");
        // Four failures are enough where nobody says that it may come, and one more try is for what lacked.
        assert_eq!(told.get("said").unwrap(), &["secrets-taken secret-failed-3 "], "{shown}: {told:?}");
        assert_eq!(told.get("unfinished").unwrap(), &["0"], "nothing is left of one that lacks: {shown}");
        assert_eq!(told.get("left").unwrap(), &["0 secrets-taken"], "whoever ends it has it let go: {shown}");
        let asked = told.get("asked").unwrap().concat();
        assert!(
            asked.starts_with("8 ro,")
                && asked.contains("noac")
                && asked.contains("addr=10.0.0.1,port=2049")
                && asked.ends_with(&format!("10.0.0.1:/s/{BOOT}")),
            "{asked}"
        );
        assert!(
            told.get("console").unwrap().concat().matches("could not be had").count() == 1
                && told.get("console").unwrap().concat().contains("the secret gone could not be had"),
            "{shown}: {told:?}"
        );
        assert_eq!(told.get("writable"), None, "{shown}");
        change(home.path(), "rm -f srv/join");
        let script = script.replace("/tmp/console", "/dev/console");
        program(&home.path().join("root/.oneroot/fetch-secrets"), &script);
        let said = last_words(home.path(), SPOILED);
        assert!(said.contains("the secret join could not be had"), "{shown}: {said}");
        assert!(said.contains("without which this machine is not to come up"), "{shown}: {said}");
    }
}

#[test]
fn secrets_are_asked_for_at_each_address_of_a_server_that_is_not_there_by_the_first() {
    let prepare = "mkdir -p srv; echo t0ken >srv/join; \
                   printf '#!/bin/sh\\necho \"$5\" >>/tmp/asked\\ncase $5 in 10.0.0.1:*) echo \"nas: No route to host\" >&2; exit 32 ;; esac\\nmount --bind /srv $6\\n' >bin/nas; \
                   chmod 755 bin/nas; for name in chown mv rmdir; do ln -s busybox bin/$name; done; \
                   printf '2049 10.0.0.1 10.0.0.2\\n1 join 0600 0 0 required /etc/join\\n' >.oneroot/secrets.list";
    for shell in shells() {
        let (home, shown) = (root(shell), shell.display());
        change(home.path(), prepare);
        let script =
            SECRETS.replace("mount -i -n -t nfs -o", "nas -i -n -o").replace("sleep $pause", "sleep 0");
        program(&home.path().join("root/.oneroot/fetch-secrets"), &script);
        let probe = "\necho \"asked=$(tr '\\n' ' ' </tmp/asked)\"; echo \"join=$(cat /etc/join)\"\n";
        program(&home.path().join("root/usr/lib/systemd/systemd"), &PROBE.replacen('\n', probe, 1));
        let (told, _) = boot_and_errors(home.path(), SPOILED);
        let asked = format!("10.0.0.1:/s/{BOOT} 10.0.0.2:/s/{BOOT} ");
        assert_eq!(told.get("asked").unwrap(), &[asked], "{shown}");
        assert_eq!(told.get("join").unwrap(), &["t0ken"], "{shown}");
    }
}

#[test]
fn what_cannot_be_told_to_ifupdown_is_said_on_the_console_and_the_machine_boots() {
    for shell in shells() {
        let home = root(shell);
        change(home.path(), DEBIANS);
        let before = "mount -t tmpfs -o mode=0755 run root/run; : >root/run/network";
        let (told, errors) = boot_and_errors(home.path(), before);
        assert!(errors.contains("/run/network"), "{errors:?} with {}", shell.display());
        assert_eq!(text_of(&told, "/etc/network/interfaces.d/oneroot"), Some("no-auto-down lan0|"));
    }
}

/// What systemd runs when it has come up looks up a name, and that is all that the server hears.
#[test]
fn the_unit_that_tells_of_up_names_the_boot_of_the_command_line() {
    for shell in shells() {
        let home = root(shell);
        let asked = "/bin/sh -x /.oneroot/up 2>&1 | grep -F .oneroot/say/ | while read -r line; do echo \"up=$line\"; done\n";
        let probe = PROBE.replacen('\n', &format!("\n{asked}"), 1);
        program(&home.path().join("root/usr/lib/systemd/systemd"), &probe);
        let told = boot(home.path(), SPOILED);
        let said = told.get("up").map(|lines| lines.join("|")).unwrap_or_default();
        assert!(said.contains(&format!("/.oneroot/say/{BOOT}.up")), "{said:?} with {}", shell.display());
    }
    assert!(UNIT.contains("ExecStart=/bin/sh /.oneroot/up\n"));
}

#[test]
fn what_systemd_is_given_is_there_for_systemd_alone() {
    let home = root(Path::new("/bin/busybox"));
    let network = "text of /run/systemd/network/00-oneroot.network";
    let told = boot(home.path(), "umask 022");
    assert!(told.contains_key(network) && told.contains_key("sign"), "{told:?}");
    let init = home.path().join("root/sbin/init");
    fs::remove_file(&init).unwrap();
    program(&init, PROBE);
    let told = boot(home.path(), "umask 022");
    assert!(!told.contains_key(network) && !told.contains_key("sign"), "{told:?}");
    assert!(told.contains_key("text of /run/NetworkManager/conf.d/00-oneroot.conf"), "{told:?}");
}
