//! What was staged when, what changed, going back, and a look inside.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::program::{home, json, oneroot, put, text};

const SITE: &str = r#"
[profile.small]
source = { directory = "root" }

[machine.alpha]
mac = "52:54:00:00:00:0a"
profile = "small"
layer = "layers/alpha"
"#;

/// Two generations of `small`: a file changed, one came, one went, one got another mode.
fn site() -> tempfile::TempDir {
    let files = [
        ("root/etc/motd", "one\n"),
        ("root/etc/gone", "x\n"),
        ("root/bin/tool", "#!/bin/sh\n"),
        ("layers/alpha/etc/hostname", "alpha\n"),
    ];
    let home = home(SITE, &files);
    std::os::unix::fs::symlink("etc/motd", home.path().join("root/motd")).unwrap();
    text(home.path(), &["stage"]);
    put(home.path(), "root/etc/motd", "two\n");
    put(home.path(), "root/etc/new", "x\n");
    fs::remove_file(home.path().join("root/etc/gone")).unwrap();
    fs::set_permissions(home.path().join("root/bin/tool"), fs::Permissions::from_mode(0o4755)).unwrap();
    text(home.path(), &["stage"]);
    home
}

#[test]
fn generations_are_listed_newest_first_and_compared() {
    let home = site();
    let all = json(home.path(), &["generations", "small"]);
    assert_eq!((all.as_array().unwrap().len(), &all[0]["back"], &all[1]["back"]), (2, &0.into(), &1.into()));
    let lines = json(home.path(), &["diff", "small~1", "small"]);
    let told: Vec<String> = lines
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            format!(
                "{} {} {}",
                line["change"].as_str().unwrap(),
                line["path"].as_str().unwrap(),
                line["what"].as_str().unwrap()
            )
        })
        .collect();
    for wanted in ["changed /bin/tool mode", "removed /etc/gone file", "added /etc/new file"] {
        assert!(told.iter().any(|line| line == wanted), "{told:?}");
    }
    assert!(told.iter().any(|line| line.starts_with("changed /etc/motd content")), "{told:?}");
    let by_id = all[1]["generation"].as_str().unwrap();
    assert_eq!(json(home.path(), &["diff", &by_id[..10], "small~0"]), lines, "by the first characters too");
}

fn refused(home: &Path, words: &[&str]) -> String {
    let done = oneroot(home, words);
    assert_eq!(done.status.code(), Some(1), "{words:?}");
    String::from_utf8(done.stderr).unwrap()
}

#[test]
fn a_rollback_says_what_it_left_and_does_not_toggle() {
    let home = site();
    let now = || text(home.path(), &["cat", "alpha", "/etc/motd"]);
    let head = || json(home.path(), &["generations", "small"])[0]["generation"].clone();
    let newest = head();
    assert_eq!(now(), "two\n");
    let told = text(home.path(), &["rollback", "small"]);
    assert!(told.contains("running machines keep what they booted"), "{told}");
    assert!(told.contains(&format!("and was {}", &newest.as_str().unwrap()[..12])), "{told}");
    assert_eq!(now(), "one\n", "what alpha would boot now");
    let again = refused(home.path(), &["rollback", "small"]);
    assert!(again.contains("was rolled back") && again.contains("oneroot generations small"), "{again}");
    assert_eq!(now(), "one\n");
    assert!(refused(home.path(), &["rollback", "small", "~0"]).contains("already"));
    let told = json(home.path(), &["rollback", "small", "~1"]);
    assert_eq!([&told["generation"], &told["how"]], [&newest, &"rolled-forward".into()]);
    assert_eq!(now(), "two\n");
    assert_eq!(told["generation"], head());
    assert!(refused(home.path(), &["rollback", "alpha"]).contains("no generation before"));
}

#[test]
fn a_rollback_holds_whatever_is_staged_until_somebody_says_otherwise() {
    let home = site();
    let now = || text(home.path(), &["cat", "alpha", "/etc/motd"]);
    let stage = || {
        let done = oneroot(home.path(), &["stage"]);
        assert!(done.status.success());
        [done.stdout, done.stderr].map(|text| String::from_utf8(text).unwrap())
    };
    text(home.path(), &["rollback", "small"]);
    // By a timer, by a colleague, for another profile's sake: the bad source is staged again.
    let [table, told] = stage();
    assert!(table.contains("waits") && told.contains("was rolled back"), "{table}{told}");
    assert_eq!(now(), "one\n");
    fs::write(home.path().join("root/etc/motd"), "three\n").unwrap();
    let [_, told] = stage();
    assert_eq!(now(), "one\n");
    let listed = json(home.path(), &["generations", "small"]);
    let waits = listed[1]["generation"].as_str().unwrap();
    assert_eq!(listed[1]["how"], "waiting");
    // What it says to type does it, and ends it.
    let typed = format!("oneroot rollback small {}", &waits[..12]);
    assert!(told.contains(&typed), "{told}");
    text(home.path(), &["gc", "--grace", "1"]);
    text(home.path(), &typed.split(' ').skip(1).collect::<Vec<_>>());
    assert_eq!(now(), "three\n");
    fs::write(home.path().join("root/etc/motd"), "four\n").unwrap();
    let [table, _] = stage();
    assert!(!table.contains("waits"), "{table}");
    assert_eq!(now(), "four\n");
}

#[test]
fn ls_and_cat_look_into_a_generation_or_a_machines_root() {
    let home = site();
    let listing = json(home.path(), &["ls", "alpha", "/etc"]);
    let names: Vec<&str> =
        listing.as_array().unwrap().iter().map(|line| line["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["hostname", "motd", "new"], "merged");
    assert!(text(home.path(), &["ls", "small", "/"]).contains("-> etc/motd"));
    assert!(text(home.path(), &["ls", "small", "/bin"]).starts_with("-rwsr-xr-x"));
    assert_eq!(text(home.path(), &["cat", "small~1", "/motd"]), "one\n", "links are followed");
    for (what, path) in
        [("small", "/etc/gone"), ("nobody", "/etc"), ("small~7", "/etc"), ("small", "/../etc")]
    {
        assert_eq!(oneroot(home.path(), &["ls", what, path]).status.code(), Some(1), "{what} {path}");
    }
}

#[test]
fn verify_calls_a_whole_store_good_and_names_what_is_damaged() {
    let home = site();
    assert!(text(home.path(), &["verify"]).contains("all good"));
    let objects = home.path().join("store/objects");
    let of = |text: &str| {
        let done = Command::new("grep").args(["-rlx", text]).arg(&objects).output().unwrap();
        std::path::PathBuf::from(String::from_utf8(done.stdout).unwrap().trim())
    };
    fs::remove_file(of("two")).unwrap();
    let done = oneroot(home.path(), &["verify", "--json"]);
    assert_eq!(done.status.code(), Some(1));
    let told: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert!(told["damage"][0].as_str().unwrap().contains("which is not there"), "{told}");
}

#[test]
fn gc_keeps_heads_and_what_is_young_and_takes_the_rest() {
    let home = site();
    for round in 0..4 {
        fs::write(home.path().join("root/etc/motd"), format!("round {round}\n")).unwrap();
        text(home.path(), &["stage"]);
    }
    let gc = |words: &[&str]| json(home.path(), &[&["gc"], words].concat());
    assert_eq!(gc(&["--keep", "1", "--grace", "1"])["objects"], 0, "all of it is young");
    let days_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3 * 86_400);
    let found = Command::new("find").arg(home.path().join("store")).args(["-type", "f"]).output().unwrap();
    for path in String::from_utf8(found.stdout).unwrap().lines() {
        fs::File::open(path).unwrap().set_modified(days_ago).unwrap();
    }
    let would = gc(&["--keep", "1", "--dry-run"]);
    let gone = gc(&["--keep", "1"]);
    assert_eq!((&would["generations"], &gone["generations"]), (&gone["generations"], &5.into()));
    assert!(gone["objects"].as_u64().unwrap() >= 5, "{gone}");
    assert_eq!(text(home.path(), &["cat", "small", "/etc/motd"]), "round 3\n");
    assert!(text(home.path(), &["verify"]).contains("all good"));
    let back = oneroot(home.path(), &["rollback", "small"]);
    assert_eq!(back.status.code(), Some(1), "what was collected can't be gone back to, and that is said");
}

/// A source that stages its own profile by another hand, with "theirs" in it, while it makes a tree with what `wanted` says.
const MAKE: &str = r#"#!/bin/sh
set -e
if [ -e quicker ]; then
    rm quicker
    mv wanted kept
    echo theirs >wanted
    "$ONEROOT" stage small >/dev/null
    mv kept wanted
fi
cp wanted "$1/said"
# The same words make the same tree.
touch -d @1000 "$1/said" "$1"
"#;

#[test]
fn a_stage_tells_what_it_changed_of_what_somebody_quicker_has_staged() {
    let home = home(&SITE.replace(r#"directory = "root""#, r#"command = ["./make"]"#), &[]);
    let write = |path: &str, text: &str| put(home.path(), path, text);
    write("make", MAKE);
    fs::set_permissions(home.path().join("make"), fs::Permissions::from_mode(0o755)).unwrap();
    let stage = |wanted: &str, quicker: bool| -> serde_json::Value {
        write("wanted", wanted);
        if quicker {
            write("quicker", "");
        }
        let done = Command::new(env!("CARGO_BIN_EXE_oneroot"))
            .current_dir(home.path())
            .env("ONEROOT", env!("CARGO_BIN_EXE_oneroot"))
            .args(["stage", "small", "--json"])
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let told: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        told["staged"][0].clone()
    };
    stage("ours\n", false);
    let told = stage("ours\n", true);
    assert_eq!(
        (&told["changed"], &told["changes"]["changed"]),
        (&true.into(), &1.into()),
        "not theirs: {told}"
    );
    let told = stage("theirs\n", true);
    assert_eq!((&told["changed"], &told["changes"]["changed"]), (&false.into(), &0.into()), "theirs: {told}");
    assert_eq!(text(home.path(), &["cat", "small", "/said"]), "theirs\n");
}
