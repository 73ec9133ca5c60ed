//! A backup is whole or there is none, whoever takes it and however slowly; and a command's file takes no other's place.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use oneroot_testkit::{Lab, Server, SiteFiles};

use crate::program::{home, oneroot, text};

/// Longer than any question may take to be answered (`PATIENCE`, src/control.rs).
const STOPPED: Duration = Duration::from_secs(6);
/// Machines that the state has a lease of.
const LEASES: u32 = 150_000;
/// What a server writes by itself: the handle keys, and the clock.
const OWN: usize = 2;

/// A backup that a version without checksums could have written, of so many leases.
fn leases(count: u32) -> String {
    let mut text = format!("{{\"oneroot-state\":1,\"at\":7,\"records\":{count}}}\n");
    for number in 0..count {
        let [_, b, c, d] = number.to_be_bytes();
        let mac = format!("52:54:00:{b:02x}:{c:02x}:{d:02x}");
        let value = format!(
            "{{\\\"mac\\\":\\\"{mac}\\\",\\\"address\\\":\\\"10.{b}.{c}.{d}\\\",\\\"start\\\":0,\\\"expires\\\":4000000000}}"
        );
        let key = format!("leases/{mac}");
        text += &format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}\n");
    }
    text
}

/// A server whose state has all these leases.
fn server(count: u32) -> Server {
    let site = SiteFiles::small().unwrap();
    fs::write(site.path().join("old"), leases(count)).unwrap();
    let mut server = Server::new(site).unwrap();
    server.stage().unwrap();
    server.run(&["state", "restore", "--unverified", "old"]).unwrap();
    server.restart().unwrap();
    // The record of its clock is written right behind that.
    std::thread::sleep(Duration::from_secs(1));
    server
}

fn records(file: &Path) -> usize {
    fs::read_to_string(file).unwrap().lines().filter(|line| line.starts_with("{\"key\"")).count()
}

fn ask(server: &Server) -> UnixStream {
    let mut stream = UnixStream::connect(server.site.path().join("state/control.sock")).unwrap();
    stream.write_all(b"backup\n").unwrap();
    stream
}

#[test]
fn a_taker_that_is_stopped_for_a_while_gets_every_record() {
    let _lab = Lab::new().unwrap();
    let server = server(LEASES);
    let file = server.site.path().join("backup");
    let mut taker = Command::new(server.binary())
        .current_dir(server.site.path())
        .args(["state", "backup", "backup"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let signal = |name: &str| {
        assert!(Command::new("kill").args([name, &taker.id().to_string()]).status().unwrap().success());
    };
    // Once it has begun to write: the server has much more than a socket holds.
    let begun = Instant::now();
    let writes = || {
        let files = fs::read_dir(server.site.path()).unwrap().map(Result::unwrap);
        let new = files.filter(|file| file.file_name().to_string_lossy().ends_with(".part"));
        new.map(|file| file.metadata().unwrap().len()).next().is_some_and(|length| length > 0)
    };
    while !writes() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(1));
    }
    signal("-STOP");
    assert!(!file.exists(), "it was quicker than this test");
    std::thread::sleep(STOPPED);
    // Others are answered meanwhile.
    server.run(&["status"]).unwrap();
    signal("-CONT");
    assert!(taker.wait().unwrap().success());
    assert_eq!(records(&file), usize::try_from(LEASES).unwrap() + OWN);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);

    // The same of a taker that speaks for itself.
    let mut stream = ask(&server);
    stream.read_exact(&mut [0; 100]).unwrap();
    std::thread::sleep(STOPPED);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    let end = rest.lines().last().unwrap();
    assert!(end.starts_with(&format!("{{\"end\":{},\"blake3\":\"", LEASES + 2)), "{end}");
}

#[test]
fn takers_that_hang_cost_a_bounded_memory_and_nobody_an_answer() {
    let _lab = Lab::new().unwrap();
    let mut server = server(20_000);
    let before = server.resident().unwrap();
    let hang: Vec<UnixStream> = (0..100).map(|_| ask(&server)).collect();
    server.run(&["status"]).unwrap();
    let refused = Command::new(server.binary())
        .current_dir(server.site.path())
        .args(["state", "backup", "backup"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("others take a backup"), "{said}");
    assert!(!server.site.path().join("backup").exists());
    // A backup of this state has 3 MB, and a hundred of them 300.
    let grown = server.most_resident().unwrap().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB");
    drop(hang);
    let begun = Instant::now();
    while server.run(&["state", "backup", "backup"]).is_err() && begun.elapsed() < Duration::from_secs(60) {}
    assert_eq!(records(&server.site.path().join("backup")), 20_000 + OWN);
}

const SITE: &str = "[profile.small]\nsource = { directory = \"root\" }\n";

fn refused(home: &Path, words: &[&str], why: &str) {
    let done = oneroot(home, words);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.code() == Some(1) && said.contains(why), "{words:?}: {said}");
}

#[test]
fn neither_a_flipped_bit_nor_a_strange_key_is_restored_and_nothing_is_made_of_such_a_backup() {
    let home = home(SITE, &[]);
    let home = home.path();
    fs::write(home.join("old"), leases(50)).unwrap();
    refused(home, &["state", "restore", "old"], "--unverified");
    text(home, &["state", "restore", "--unverified", "old"]);
    text(home, &["state", "backup", "backup"]);
    fs::rename(home.join("state"), home.join("away")).unwrap();
    let whole = fs::read(home.join("backup")).unwrap();
    for round in 0..60 {
        let mut flipped = whole.clone();
        // In steps that come to every part of it, and to each bit of a byte.
        flipped[round * (whole.len() - 1) / 59] ^= 1 << (round % 8);
        fs::write(home.join("flipped"), &flipped).unwrap();
        let done = oneroot(home, &["state", "restore", "flipped"]);
        assert_eq!(done.status.code(), Some(1), "round {round}: {}", String::from_utf8_lossy(&done.stderr));
        assert!(!home.join("state").exists(), "round {round}");
    }
    let strange = "{\"oneroot-state\":1,\"at\":7,\"records\":1}\n{\"key\":\"../x\",\"value\":\"1\"}\n";
    fs::write(home.join("strange"), strange).unwrap();
    refused(home, &["state", "restore", "--unverified", "strange"], "not a key of any table");
    assert!(!home.join("state").exists());
    text(home, &["state", "restore", "backup"]);
}

#[test]
fn a_backup_is_taken_from_a_file_or_standard_input_and_no_fifo_is_waited_for() {
    let home = home(SITE, &[]);
    let home = home.path();
    fs::write(home.join("old"), leases(5)).unwrap();
    assert!(Command::new("mkfifo").arg(home.join("fifo")).status().unwrap().success());
    refused(home, &["state", "restore", "fifo"], "not a regular file");
    refused(home, &["state", "restore", "/dev/zero"], "not a regular file");
    text(home, &["state", "restore", "--unverified", "old"]);
    text(home, &["state", "backup", "backup"]);
    fs::rename(home.join("state"), home.join("away")).unwrap();
    let restored = Command::new(env!("CARGO_BIN_EXE_oneroot"))
        .current_dir(home)
        .args(["state", "restore", "-"])
        .stdin(fs::File::open(home.join("backup")).unwrap())
        .status()
        .unwrap();
    assert!(restored.success());
}

#[test]
fn no_backup_and_no_archive_takes_the_place_of_a_file_or_follows_a_link() {
    let home = home(SITE, &[]);
    let home = home.path();
    fs::create_dir(home.join("root")).unwrap();
    text(home, &["stage"]);
    let victim = home.join("victim");
    for words in [&["state", "backup"][..], &["export", "small"]] {
        let with = |more: &[&'static str]| [words, more].concat();
        fs::write(&victim, "mine").unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o666)).unwrap();
        // Where earlier versions wrote before the file had its name.
        for name in ["new.tar", "new.tar.new", "new.tar.part"] {
            let _ = fs::remove_file(home.join(name));
        }
        symlink("victim", home.join("new.tar.new")).unwrap();
        symlink("victim", home.join("new.tar.part")).unwrap();
        text(home, &with(&["new.tar"]));
        assert_eq!(fs::read_to_string(&victim).unwrap(), "mine", "{words:?}");
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&home.join("new.tar")), 0o600, "{words:?}");
        fs::rename(&victim, home.join("victim.tar")).unwrap();
        refused(home, &with(&["victim.tar"]), "--force");
        assert_eq!(fs::read_to_string(home.join("victim.tar")).unwrap(), "mine");
        text(home, &with(&["--force", "victim.tar"]));
        assert_ne!(fs::read_to_string(home.join("victim.tar")).unwrap(), "mine");
        assert_eq!(mode(&home.join("victim.tar")), 0o600, "{words:?}");
        symlink("victim.tar", home.join("link.tar")).unwrap();
        refused(home, &with(&["--force", "link.tar"]), "never replaced");
        fs::remove_file(home.join("link.tar")).unwrap();
        let left = fs::read_dir(home).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with(".oneroot")), "{words:?}");
    }
}
