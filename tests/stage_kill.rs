//! Staging, killed at random moments: the store is whole, and the head is the old generation or the new one.
//!
//! `ONEROOT_KILLS` says how often (20 unless set), `ONEROOT_SEED` from where.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::program::{home, oneroot};

const SITE: &str = "[profile.small]\nsource = { directory = \"root\" }\n";
const FILES: u64 = 200;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Every file of a round says which round it is of.
fn write(home: &Path, round: u64) {
    let root = home.join("root");
    for file in 0..FILES {
        let directory = root.join(format!("d{}", file % 17));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(format!("f{file}")), format!("{round} {file} {}", "x".repeat(3000)))
            .unwrap();
    }
}

#[test]
fn a_stage_that_is_killed_leaves_a_whole_store_and_the_old_head_or_the_new_one() {
    let home = home(SITE, &[]);
    write(home.path(), 0);
    assert!(oneroot(home.path(), &["stage"]).status.success());
    let (mut head, mut chance) = (0, number("ONEROOT_SEED", 1));
    let (mut killed, mut finished) = (0, 0);
    for round in 1..=number("ONEROOT_KILLS", 20) {
        write(home.path(), round);
        let mut stage = Command::new(env!("CARGO_BIN_EXE_oneroot"))
            .current_dir(home.path())
            .arg("stage")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros((chance >> 33) % 60_000));
        stage.kill().unwrap();
        if stage.wait().unwrap().success() {
            finished += 1;
        } else {
            killed += 1;
        }

        let verified = oneroot(home.path(), &["verify"]);
        assert!(verified.status.success(), "round {round}: {}", String::from_utf8_lossy(&verified.stderr));
        let first = oneroot(home.path(), &["cat", "small", "/d0/f0"]);
        let said = String::from_utf8(first.stdout).unwrap();
        let now: u64 = said.split(' ').next().unwrap().parse().unwrap();
        assert!(now == head || now == round, "round {round}: the head is of round {now}, and was of {head}");
        let last = oneroot(home.path(), &["cat", "small", &format!("/d{}/f{}", (FILES - 1) % 17, FILES - 1)]);
        assert!(last.stdout.starts_with(format!("{now} ").as_bytes()), "round {round}: of two rounds");
        head = now;
    }
    println!("killed {killed}, finished first {finished}");
    assert!(killed > 0, "none was killed in time");
    // What the killed ones left is swept by the next that runs to its end.
    assert!(oneroot(home.path(), &["stage"]).status.success());
    assert_eq!(fs::read_dir(home.path().join("store/staging")).unwrap().count(), 0);
}
