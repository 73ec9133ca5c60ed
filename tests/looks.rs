//! To look at a site changes nothing: `explain`, `render`, `ls` and all that only tell leave the store as it is, to the last
//! time stamp. A time stamp counts, for a collection goes by it: what was looked at would stay for another day.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::program::{home, oneroot, put_site};

const SITE: &str = r#"
[profile.lender]
source = { directory = "lender" }

[profile.app]
source = { directory = "app" }
kernel_from = "lender"
layers = ["layers/common"]

[machine.alpha]
mac = "52:54:00:00:00:0a"
profile = "app"
layer = "layers/alpha"

[machine.beta]
mac = "52:54:00:00:00:0b"
profile = "lender"
"#;

/// All that tells and does nothing, with what it exits with.
const LOOKS: &[(&[&str], i32)] = &[
    (&["explain", "alpha"], 0),
    (&["explain", "alpha", "/etc/hostname"], 0),
    (&["explain", "beta", "--json"], 0),
    (&["render", "alpha"], 0),
    (&["initrd", "beta"], 0),
    (&["ls", "alpha", "/etc"], 0),
    (&["ls", "app~1", "/"], 0),
    (&["cat", "alpha", "/etc/hostname"], 0),
    (&["export", "alpha", "-"], 0),
    (&["export", "lender", "-"], 0),
    (&["generations"], 0),
    (&["diff", "app~1", "app"], 0),
    (&["check"], 0),
    (&["status"], 4),
];

/// A site with all that a plan makes of its own: a rendered template, a borrowed kernel, what a machine is given.
fn site() -> tempfile::TempDir {
    let files = [
        ("lender/boot/vmlinuz-6.1", "kernel"),
        ("lender/boot/initrd.img-6.1", "initrd"),
        ("lender/usr/lib/modules/6.1/x.ko", "module"),
        ("app/etc/hostname", "from the profile\n"),
        ("layers/common/etc/hostname.j2", "{{ name }}\n"),
        ("layers/alpha/etc/motd", "alpha\n"),
    ];
    let home = home(SITE, &files);
    std::os::unix::fs::symlink("usr/lib", home.path().join("lender/lib")).unwrap();
    home
}

fn staged() -> tempfile::TempDir {
    let home = site();
    assert!(oneroot(home.path(), &["stage"]).status.success());
    fs::write(home.path().join("app/etc/new"), "x").unwrap();
    assert!(oneroot(home.path(), &["stage"]).status.success());
    home
}

type Found = (u64, u32, (i64, i64), (i64, i64), Vec<u8>);

/// Everything below a directory: inode number, mode, times of contents and inode, contents.
fn all_of(directory: &Path) -> BTreeMap<PathBuf, Found> {
    let mut found = BTreeMap::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(path) = todo.pop() {
        let is = fs::symlink_metadata(&path).unwrap();
        let mut bytes = Vec::new();
        if is.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if is.is_file() {
            bytes = fs::read(&path).unwrap();
        }
        let times = ((is.mtime(), is.mtime_nsec()), (is.ctime(), is.ctime_nsec()));
        found.insert(path, (is.ino(), is.mode(), times.0, times.1, bytes));
    }
    found
}

#[test]
fn a_look_leaves_the_store_as_it_is_to_the_last_time_stamp() {
    let home = staged();
    let store = home.path().join("store");
    let before = all_of(&store);
    assert!(before.len() > 20, "there is a store to look at");
    for (words, code) in LOOKS {
        let done = oneroot(home.path(), words);
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(*code), "{words:?}: {said}");
        let after = all_of(&store);
        let changed: Vec<&PathBuf> =
            before.keys().chain(after.keys()).filter(|path| before.get(*path) != after.get(*path)).collect();
        assert!(changed.is_empty(), "{words:?} changed {changed:?}");
    }
}

#[test]
fn a_look_at_a_site_that_nothing_was_staged_of_makes_no_store() {
    let home = site();
    for (words, _) in LOOKS.iter().filter(|(words, _)| words[0] != "status") {
        oneroot(home.path(), words);
        assert!(!home.path().join("store").exists(), "{words:?}");
    }
    let told = oneroot(home.path(), &["explain", "beta"]);
    let told = String::from_utf8_lossy(&told.stderr);
    assert!(told.contains("not staged"), "{told}");
}

#[test]
fn a_look_sees_what_a_boot_would_get_whether_or_not_it_is_in_the_store_already() {
    let home = staged();
    let hostname = oneroot(home.path(), &["cat", "alpha", "/etc/hostname"]);
    assert_eq!(String::from_utf8_lossy(&hostname.stdout), "alpha\n");
    let module = oneroot(home.path(), &["cat", "alpha", "/lib/modules/6.1/x.ko"]);
    assert_eq!(String::from_utf8_lossy(&module.stdout), "module", "the lender's");
}

#[test]
fn check_names_a_sources_program_that_is_not_there() {
    let home = site();
    let more = "\n[profile.made]\nsource = { command = [\"./make-root\"] }\n";
    put_site(home.path(), &(SITE.to_owned() + more));
    let told = oneroot(home.path(), &["check"]);
    assert!(told.status.success(), "it may come later");
    let told = String::from_utf8_lossy(&told.stderr);
    assert!(told.contains("profile made can't be staged: there is no program ./make-root"), "{told}");
}
