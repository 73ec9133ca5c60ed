//! Sites that are wrong, and every word of what the admin is told: `invalid/NAME.toml` beside `invalid/NAME.expect`.
//! `BLESS=1 cargo test` writes the expectations anew; read them before you commit them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at its first surprise")]

use std::fs;
use std::path::Path;

use oneroot_bootconf::{EXAMPLE, load, load_str};

#[test]
fn every_mistake_is_told_at_once_with_its_place_and_reason() {
    let mut seen = 0;
    for entry in fs::read_dir("tests/invalid").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "toml") {
            continue;
        }
        seen += 1;
        let name = path.file_name().unwrap().to_str().unwrap();
        let report = load_str(name, &fs::read_to_string(&path).unwrap(), Path::new("/site")).expect_err(name);
        let told = format!("{report}\n");
        let expect = path.with_extension("expect");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&expect, &told).unwrap();
        }
        assert_eq!(told, fs::read_to_string(&expect).unwrap_or_default(), "{name}");
    }
    assert!(seen >= 6, "the cases were not found");
}

#[test]
fn the_example_that_init_prints_is_a_good_site() {
    let site = load_str("site.toml", EXAMPLE, Path::new("/site")).unwrap();
    assert_eq!(site.machines["beta"].workloads, ["night-shift"]);
    assert_eq!(site.chain("render").iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["debian", "render"]);
    let uncommented: String = EXAMPLE
        .lines()
        .filter(|line| !line.starts_with("# args"))
        .map(|line| {
            let key = line
                .strip_prefix("# ")
                .filter(|rest| rest.contains(" = ") && !rest.contains(" or ") || rest.starts_with('['));
            format!("{}\n", key.unwrap_or(line))
        })
        .collect();
    // The keys in comments must be good ones too; values of a few would only clash with each other.
    let report = load_str("site.toml", &uncommented, Path::new("/site"));
    let told = report.err().map(|report| report.to_string()).unwrap_or_default();
    assert!(!told.contains("is not a key"), "{told}");
}

#[test]
fn machines_lie_beside_the_site_in_files_of_their_own() {
    let home = tempfile::tempdir().unwrap();
    let site = home.path().join("site.toml");
    fs::write(&site, EXAMPLE).unwrap();
    fs::create_dir(home.path().join("machines.d")).unwrap();
    let more = home.path().join("machines.d/lab.toml");
    fs::write(&more, "[machine.gamma]\nmac = \"52:54:00:00:00:0c\"\nprofile = \"debian\"\n").unwrap();
    assert_eq!(load(&site).unwrap().machines.len(), 3);
    fs::write(&more, "[machine.gamma]\nmac = \"52-54-00-00-00-0A\"\nprofile = \"debian\"\n[server]\n")
        .unwrap();
    let told = load(&site).unwrap_err().to_string();
    assert!(told.contains("machines.d/lab.toml:4:2: server: is not a key of this table"), "{told}");
}

#[test]
fn what_is_no_file_of_text_is_refused_and_never_waited_for() {
    let home = tempfile::tempdir().unwrap();
    assert!(load(&home.path().join("missing.toml")).is_err());
    assert!(load(home.path()).unwrap_err().to_string().contains("is not a regular file"));
    assert!(load(Path::new("/dev/zero")).is_err());
    let latin = home.path().join("latin.toml");
    fs::write(&latin, b"# caf\xe9\n").unwrap();
    assert!(load(&latin).unwrap_err().to_string().contains("is not UTF-8"));
    let deep = format!("x = {}{}", "[".repeat(20_000), "]".repeat(20_000));
    assert!(load_str("deep.toml", &deep, Path::new("/")).is_err());
}
