//! Packages by dnf, from a repository that the test makes: owners, modes and capabilities arrive, and a kernel gets the
//! initramfs that it needs. A profile of Debian's packages boots in `vm-tests/tests/cases/sources.rs`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// All that oneroot asks for, with a dracut that says what it was told.
const BASE: &str = r#"
Provides: systemd, kmod, dracut-network, nfs-utils, iproute
%description
x
%install
umask 022
mkdir -p %{buildroot}/bin %{buildroot}/usr/bin %{buildroot}/etc %{buildroot}/boot
cp %{busybox} %{buildroot}/bin/busybox
for name in sh cat id; do ln -s busybox %{buildroot}/bin/$name; done
echo 'daemon:x:2:2::/:/bin/sh' >%{buildroot}/etc/passwd
echo 'daemon:x:2:' >%{buildroot}/etc/group
echo host >%{buildroot}/etc/hostname
printf '#!/bin/sh\n{ cat /etc/dracut.conf.d/oneroot.conf; echo "for $3"; } >"$2"\n' >%{buildroot}/usr/bin/dracut
chmod 755 %{buildroot}/usr/bin/dracut
%files
/bin/*
/usr/bin/dracut
/etc/*
%dir /boot
"#;
const KERNEL: &str = r"
%description
x
%install
umask 022
mkdir -p %{buildroot}/usr/lib/modules/9.9-1
echo kernel >%{buildroot}/usr/lib/modules/9.9-1/vmlinuz
%files
/usr/lib/modules/9.9-1
";
const TOOL: &str = r"
Requires: base
%description
x
%install
umask 022
mkdir -p %{buildroot}/usr/bin %{buildroot}/var/lib/tool
echo tool >%{buildroot}/usr/bin/tool
echo ping >%{buildroot}/usr/bin/ping
%post
id -u >/var/lib/tool/installed-by
echo x >/dev/null
%files
%attr(4755,root,daemon) /usr/bin/tool
%caps(cap_net_raw=p) %attr(0755,root,root) /usr/bin/ping
%dir %attr(2750,daemon,daemon) /var/lib/tool
";

fn run(program: &mut Command) {
    let done = program.output().unwrap();
    assert!(done.status.success(), "{program:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn repository(home: &Path) {
    // A name that dnf would take for two.
    let (build, repository) = (home.join("build"), home.join("all, of them/repository"));
    fs::create_dir_all(&build).unwrap();
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    for (name, text) in [("base", BASE), ("kernel", KERNEL), ("tool", TOOL)] {
        let spec = build.join(format!("{name}.spec"));
        let head = format!("Name: {name}\nVersion: 1\nRelease: 1\nSummary: x\nLicense: MIT");
        fs::write(&spec, head + text).unwrap();
        let mut rpmbuild = Command::new("rpmbuild");
        rpmbuild.args(["--quiet", "-bb"]);
        for define in [
            format!("_topdir {}", build.display()),
            format!("_rpmdir {}", repository.display()),
            format!("busybox {}", busybox.unwrap()),
            "__os_install_post %{nil}".to_owned(),
            "debug_package %{nil}".to_owned(),
        ] {
            rpmbuild.args(["--define", &define]);
        }
        run(rpmbuild.arg(spec));
    }
    run(Command::new("createrepo_c").arg("--quiet").arg(repository));
}

fn site(home: &Path, more: &str) {
    let text = format!(
        "[server]\naddress = \"10.0.0.1\"\ninterface = \"lo\"\nstore = \"store\"\nstate = \"state\"\n[profile.fedora]\n\
         source = {{ release = \"41\", packages = [\"tool\"], mirror = \"file://{}/all,%20of%20them/repository\"{more} }}\n",
        home.display()
    );
    fs::write(home.join("site.toml"), text).unwrap();
}

fn program() -> String {
    std::env::var("ONEROOT_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_oneroot").to_owned())
}

fn oneroot(home: &Path, words: &[&str]) -> Output {
    let temporary = home.join("tmp");
    fs::create_dir_all(&temporary).unwrap();
    Command::new(program())
        .current_dir(home)
        .env("TMPDIR", temporary)
        // What dnf says is looked at.
        .env("LC_ALL", "C")
        .args(words)
        .output()
        .unwrap()
}

fn text(home: &Path, words: &[&str]) -> String {
    let done = oneroot(home, words);
    assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn what_dnf_installs_arrives_with_its_owners_and_a_kernel_that_boots_from_nfs() {
    if !rustix::process::geteuid().is_root()
        || !fs::read_to_string("/proc/self/uid_map").unwrap().contains("4294967295")
    {
        println!("skipped: needs root, for files of several owners; a user with /etc/subuid can do the same");
        return;
    }
    // Where rpmbuild puts its own: neither it nor a mirror's address likes a TMPDIR with a space in its name.
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    repository(home.path());
    fs::write(home.path().join("key"), "a key that has signed nothing").unwrap();
    site(home.path(), ", keyring = \"key\"");
    let unsigned = oneroot(home.path(), &["stage"]);
    assert_eq!(unsigned.status.code(), Some(1), "what nobody has signed is not installed unasked");
    let said = String::from_utf8(unsigned.stderr).unwrap();
    assert!(said.contains("is not signed"), "{said}");

    site(home.path(), ", insecure = true");
    let staged = oneroot(home.path(), &["stage", "--json"]);
    let warned: serde_json::Value = serde_json::from_slice(&staged.stdout).unwrap();
    let warned = warned["staged"][0]["warnings"].as_array().unwrap();
    assert!(warned[0].as_str().unwrap().contains("/usr/bin/ping"), "{warned:?}");
    assert!(text(home.path(), &["ls", "fedora", "/usr/bin/tool"]).starts_with("-rwsr-xr-x  1  0:2"));
    assert!(text(home.path(), &["ls", "fedora", "/var/lib"]).contains("drwxr-s---  2  2:2  4096  tool"));
    assert_eq!(text(home.path(), &["cat", "fedora", "/var/lib/tool/installed-by"]), "0\n");
    assert_eq!(text(home.path(), &["cat", "fedora", "/boot/vmlinuz-9.9-1"]), "kernel\n");
    let initramfs = text(home.path(), &["cat", "fedora", "/boot/initramfs-9.9-1.img"]);
    assert!(initramfs.contains("hostonly=\"no\"") && initramfs.contains(" nfs "), "{initramfs}");
    assert!(initramfs.ends_with("for 9.9-1\n"), "{initramfs}");
    assert!(text(home.path(), &["ls", "fedora", "/usr/lib/sysimage/rpm"]).contains("rpmdb.sqlite"));
    let here = text(home.path(), &["ls", "fedora", "/etc"]);
    assert!(here.contains("machine-id") && !here.contains("hostname"), "no machine's own: {here}");
    assert_eq!(text(home.path(), &["ls", "fedora", "/dev"]), "", "this host's devices are not in it");
    let left: Vec<_> = fs::read_dir(home.path().join("tmp")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Stages a layer while its own program is at work, until it has ended or says that it waits for the stage that it is part of.
const HOOK: &str = r#"#!/bin/sh
cd "$HERE" && : >said
{ "$ONEROOT" stage layer >>said 2>&1 && echo staged >>said; echo ended >>said; } </dev/null >/dev/null 2>&1 &
until grep -q 'ended\|another' said; do sleep 0.05; done
"#;
/// Does with its hook what mmdebstrap does, and makes the smallest root.
const STUB: &str = r#"#!/bin/sh
for word; do case $word in --setup-hook=*) "${word#*=}" root || exit ;; esac; done
tar -C "$HERE/root" -c .
"#;

#[test]
fn a_hook_of_an_installer_may_stage_and_does_not_wait_for_its_own_stage() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let write = |path: &str, text: &str| {
        let path = home.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    write("bin/mmdebstrap", STUB);
    write("hook", HOOK);
    write("root/etc/motd", "x");
    write("layer/etc/motd", "y");
    let here = home.path().display();
    let site = format!(
        "[server]\naddress = \"10.0.0.1\"\ninterface = \"lo\"\nstore = \"store\"\nstate = \"state\"\n\
         [profile.debian]\nsource = {{ suite = \"x\", mirror = \"file://{here}/none\", options = [\"--setup-hook={here}/hook\"] }}\n\
         layers = [\"layer\"]\n"
    );
    write("site.toml", &site);
    let path = std::env::var("PATH").unwrap();
    let with_stub = format!("{here}/bin:{path}");
    let has_real = std::env::split_paths(&path).any(|directory| directory.join("mmdebstrap").exists());
    for (path, is_stub) in [(&with_stub, true), (&path, false)] {
        if !is_stub && !has_real {
            println!("skipped: no mmdebstrap here, so whether it hands its environment on is not seen");
            continue;
        }
        let mut stage = Command::new(program());
        stage.current_dir(home.path()).env("PATH", path).env("HERE", home.path()).env("ONEROOT", program());
        let done = stage.args(["stage", "debian"]).output().unwrap();
        let said = fs::read_to_string(home.path().join("said"));
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(said.as_ref().is_ok_and(|said| said.contains("staged")), "{is_stub}: {said:?} {told}");
        // mmdebstrap finds no mirror after its hook.
        assert_eq!(done.status.success(), is_stub, "{told}");
        fs::remove_file(home.path().join("said")).unwrap();
    }
}
