//! A tree that is changed by a command, and a tree that leaves the store: what comes out, and what is left alone.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{home, oneroot, put_site, text};

const SITE: &str = r#"
[profile.small]
source = { directory = "root" }

[profile.above]
extends = "small"

[machine.alpha]
mac = "52:54:00:00:00:0a"
profile = "small"
layer = "layers/alpha"
"#;

fn refused(home: &Path, words: &[&str]) -> String {
    let done = oneroot(home, words);
    assert_eq!(done.status.code(), Some(1), "{words:?}: {}", String::from_utf8_lossy(&done.stdout));
    String::from_utf8(done.stderr).unwrap()
}

/// A root with a shell in it, staged.
fn site() -> tempfile::TempDir {
    let files = [
        ("root/etc/motd", "one\n"),
        ("root/etc/gone", "x\n"),
        ("root/etc/resolv.conf", "nameserver 192.0.2.1\n"),
        ("layers/alpha/etc/hostname", "alpha\n"),
    ];
    let home = home(SITE, &files);
    for place in ["bin", "usr/sbin", "proc", "sys", "dev", "run", "tmp"] {
        fs::create_dir_all(home.path().join("root").join(place)).unwrap();
    }
    fs::copy(busybox(), home.path().join("root/bin/busybox")).unwrap();
    for name in ["sh", "cat", "rm", "chmod", "chown", "ls", "test", "ln", "touch"] {
        std::os::unix::fs::symlink("busybox", home.path().join("root/bin").join(name)).unwrap();
    }
    text(home.path(), &["stage"]);
    home
}

fn busybox() -> PathBuf {
    let found = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    found.unwrap_or("busybox-static-is-not-installed").into()
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root, or `unshare -Ur`, to mount and to give files away");
    }
    root
}

/// Every path of the site's directory but the store's, with what could change about it.
fn outside(home: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut todo = vec![home.join("root"), home.join("layers")];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        all.push(format!("{path:?} {:o} {} {:?}", meta.mode(), meta.len(), meta.modified().unwrap()));
        if meta.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    all.sort();
    all
}

#[test]
fn what_a_command_changes_is_the_next_generation_and_nothing_else_is_touched() {
    if !is_root() {
        return;
    }
    let home = site();
    let before = outside(home.path());
    let said = text(
        home.path(),
        &[
            "edit",
            "small",
            "--",
            "sh",
            "-c",
            "echo two >/etc/motd; rm /etc/gone; echo new >/etc/new; chmod 4755 /bin/busybox; ln -s motd /etc/issue; echo x >/tmp/x; echo x >/run/x; cat /proc/self/comm",
        ],
    );
    assert!(said.contains("2 added, 1 removed, 3 changed"), "{said}");
    let differences = text(home.path(), &["diff", "small~1", "small"]);
    for line in [
        "added    /etc/issue",
        "added    /etc/new",
        "removed  /etc/gone",
        "changed  /etc/motd",
        "changed  /bin/busybox",
    ] {
        assert!(differences.contains(line), "{line}: {differences}");
    }
    assert_eq!(text(home.path(), &["cat", "small", "/etc/motd"]), "two\n");
    assert!(text(home.path(), &["generations", "small"]).contains("edited"));
    assert_eq!(outside(home.path()), before, "the source is as it was");
    let left: Vec<_> = fs::read_dir(home.path().join("store/staging")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    text(home.path(), &["rollback", "small"]);
    assert_eq!(text(home.path(), &["cat", "small", "/etc/motd"]), "one\n");
    text(home.path(), &["verify"]);
}

#[test]
fn a_command_that_fails_or_changes_nothing_makes_no_generation() {
    if !is_root() {
        return;
    }
    let home = site();
    let generations =
        || text(home.path(), &["generations", "small", "--json"]).matches("\"generation\"").count();
    let said = refused(home.path(), &["edit", "small", "--", "sh", "-c", "rm /etc/motd; exit 7"]);
    assert!(said.contains("exit status: 7") && said.contains("nothing is changed"), "{said}");
    assert_eq!((generations(), text(home.path(), &["cat", "small", "/etc/motd"])), (1, "one\n".to_owned()));
    let said = text(
        home.path(),
        &["edit", "small", "--", "sh", "-c", "cat /etc/motd >/dev/null; test -e /usr/sbin/policy-rc.d"],
    );
    assert!(said.contains("nothing was changed"), "{said}");
    assert_eq!(generations(), 1);
    let said = refused(home.path(), &["edit", "above", "--", "sh"]);
    assert!(said.contains("has no tree of its own"), "{said}");
    // Staging again says that the edit is not in the source.
    let told =
        text(home.path(), &["edit", "small", "--json", "--", "sh", "-c", "echo said; touch /etc/mine"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["changed"], &told["changes"]["added"]), (&true.into(), &1.into()), "{told}");
    let staged = oneroot(home.path(), &["stage", "small"]);
    let warned = String::from_utf8_lossy(&staged.stderr).into_owned();
    assert!(
        staged.status.success() && warned.contains("does not have the changes of `oneroot edit`"),
        "{warned}"
    );
}

#[test]
fn an_export_is_the_machines_root_and_staged_again_it_is_the_same() {
    let home = site();
    let said = text(home.path(), &["export", "alpha", "alpha.tar"]);
    assert!(said.contains("entries"), "{said}");
    let listed = Command::new("tar").arg("-tf").arg(home.path().join("alpha.tar")).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("etc/hostname") && listed.contains(".oneroot/init"), "{listed}");
    let told: serde_json::Value =
        serde_json::from_str(&text(home.path(), &["export", "small", "other.tar", "--json"])).unwrap();
    assert!(told["entries"].as_u64().unwrap() > 10 && told["to"] == "other.tar", "{told}");
    refused(home.path(), &["export", "small", "-", "--json"]);
    let stdout = oneroot(home.path(), &["export", "small", "-"]);
    text(home.path(), &["export", "small", "small.tar"]);
    assert_eq!(stdout.stdout, fs::read(home.path().join("small.tar")).unwrap());
    put_site(home.path(), &SITE.replace("directory = \"root\"", "tar = \"small.tar\""));
    let staged: serde_json::Value =
        serde_json::from_str(&text(home.path(), &["stage", "small", "--json"])).unwrap();
    assert_eq!(staged["staged"][0]["changed"], false, "{staged}");
}

#[test]
fn an_export_to_a_directory_keeps_modes_and_never_writes_over_anything() {
    if !is_root() {
        return;
    }
    let home = site();
    fs::set_permissions(home.path().join("root/bin/busybox"), fs::Permissions::from_mode(0o4755)).unwrap();
    text(home.path(), &["stage"]);
    text(home.path(), &["export", "small", "out"]);
    let mode = fs::metadata(home.path().join("out/bin/busybox")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o4755);
    let said = refused(home.path(), &["export", "small", "out"]);
    assert!(said.contains("is not empty"), "{said}");
}
