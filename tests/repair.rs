//! What `oneroot verify` advises helps, also where a stage would not read what is as it was.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::fs;
use std::time::Duration;

use crate::program::{home, oneroot};

const SITE: &str = "[profile.small]\nsource = { directory = \"root\" }\n";
/// Files that are younger than 2 s are read again in any case.
const REMEMBERED: Duration = Duration::from_millis(2200);

#[test]
fn what_verify_advises_brings_lost_and_damaged_objects_back() {
    let home = home(SITE, &[("root/one", "one"), ("root/two", "two")]);
    let home = home.path();
    std::thread::sleep(REMEMBERED);
    assert!(oneroot(home, &["stage"]).status.success());
    let object = |text: &str| {
        let name = blake3::hash(text.as_bytes()).to_hex().to_string();
        let (head, tail) = name.split_at(2);
        home.join("store/objects").join(head).join(tail)
    };
    fs::remove_file(object("one")).unwrap();
    fs::remove_file(object("two")).unwrap();
    fs::write(object("two"), "twO").unwrap();
    let verified = oneroot(home, &["verify"]);
    let said = String::from_utf8(verified.stderr).unwrap();
    assert_eq!(verified.status.code(), Some(1));
    assert_eq!(said.matches("--afresh").count(), 2, "{said}");

    assert!(oneroot(home, &["stage", "--afresh"]).status.success());
    let verified = oneroot(home, &["verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}
