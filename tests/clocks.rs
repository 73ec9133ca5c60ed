//! The wall clock is set while leases run: libfaketime gives the real binary another one, and leaves CLOCK_BOOTTIME alone.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use oneroot_testkit::{Lab, RELAY, Server, SiteFiles};

const PATIENCE: Duration = Duration::from_secs(30);
/// Long enough for every try of a client that is not answered to have had its answer.
const NOBODY: Duration = Duration::from_secs(3);
const DAY: i64 = 86_400;

/// What gives a program the wall clock that `clock` in this directory says: `+0`, `+86400`.
fn faked(home: &Path) -> Vec<(&'static str, String)> {
    let library = ["x86_64", "aarch64"]
        .map(|arch| PathBuf::from(format!("/usr/lib/{arch}-linux-gnu/faketime/libfaketime.so.1")));
    let library = library.into_iter().find(|path| path.exists()).unwrap();
    vec![
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", home.join("clock").display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("NO_FAKE_STAT", "1".to_owned()),
    ]
}

fn set_ahead(home: &Path, seconds: i64) {
    fs::write(home.join("clock"), format!("{seconds:+}")).unwrap();
}

fn start(site: SiteFiles) -> Server {
    set_ahead(site.path(), 0);
    let environment = faked(site.path());
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Server::start_with(site, &environment).unwrap()
}

fn ahead(server: &Server) -> i64 {
    let status: serde_json::Value =
        serde_json::from_str(&server.run(&["status", "--json"]).unwrap()).unwrap();
    status["clock_ahead"].as_i64().unwrap()
}

#[test]
fn a_clock_that_is_set_gives_nobodys_address_away() {
    let lab = Lab::new().unwrap();
    let site = SiteFiles::with_source("directory = \"root\"", "192.168.77.100-192.168.77.100", "1h").unwrap();
    fs::create_dir_all(site.path().join("root/etc")).unwrap();
    let mut server = start(site);
    let home = server.site.path().to_owned();
    // Whether a machine is given an address; asked in a place of its own, for the server starts in this one.
    let is_given = |last: u8, limit: Duration| {
        lab.on_machines(RELAY, |host| host.lease(last, limit).unwrap().is_some()).unwrap()
    };
    assert!(is_given(1, PATIENCE));
    // Seconds of two clocks do not begin together.
    assert!(ahead(&server).abs() <= 2);
    for days in [1, -1, 400] {
        set_ahead(&home, days * DAY);
        assert!(!is_given(2, NOBODY), "{days} days ahead, while it serves");
        let off = ahead(&server) - days * DAY;
        assert!(off.abs() <= 2, "{days} days are told, but for {off} s");
        server.kill9().unwrap();
        server.restart().unwrap();
        assert!(!is_given(2, NOBODY), "{days} days ahead, started anew");
        assert!(server.log().contains("the host's clock is"), "{}", server.log());
    }
    set_ahead(&home, 0);
    assert!(is_given(1, PATIENCE), "whose it is has it all the while");
}

#[test]
fn a_clock_that_is_set_ahead_makes_nothing_old_enough_to_be_collected() {
    let _lab = Lab::new().unwrap();
    let mut server = start(SiteFiles::small().unwrap());
    let home = server.site.path().to_owned();
    fs::write(home.join("root/etc/motd"), "another day\n").unwrap();
    server.stage().unwrap();
    set_ahead(&home, 2 * DAY);
    let binary = server.binary().to_owned();
    let gc = || {
        let mut command = Command::new(&binary);
        command.current_dir(&home).args(["gc", "--json", "--keep", "1"]).envs(faked(&home));
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice::<serde_json::Value>(&done.stdout).unwrap()["objects"].as_u64().unwrap()
    };
    assert_eq!(gc(), 0, "the generation before was staged a moment ago");
    server.kill9().unwrap();
    assert_eq!(gc(), 0, "and the state says so where no server does");
}
