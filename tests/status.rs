//! What `oneroot status` and the log say of machines: stalled, refused, quiet, behind, never booted, replaced.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at its first surprise"
)]

use std::fs;
use std::time::{Duration, Instant};

use oneroot_testkit::{Clock, Lab, Machine, RELAY, Server, SiteFiles};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// The line of a machine in the table.
fn line(server: &Server, name: &str) -> String {
    let table = server.run(&["status"]).unwrap();
    let found = table.lines().find(|line| line.split_whitespace().next() == Some(name));
    found.unwrap_or_else(|| panic!("no {name} in {table}")).to_owned()
}

/// All rows of the status.
fn rows(server: &Server) -> Vec<Value> {
    let status: Value = serde_json::from_str(&server.run(&["status", "--json"]).unwrap()).unwrap();
    status["machines"].as_array().unwrap().clone()
}

/// Boots a machine to its initrd.
fn fetch_all(machine: &Machine) -> String {
    let boot = machine.boot().unwrap();
    for file in ["kernel", "initrd"] {
        assert_eq!(machine.get(&format!("/b/{}/{file}", boot.id)).unwrap().0, 200);
    }
    boot.export
}

#[test]
fn a_boot_that_takes_no_further_step_is_told_of_in_the_log_once_and_in_the_status_with_its_usual_causes() {
    let lab = Lab::new().unwrap();
    let (server, clock) = Clock::start(SiteFiles::with_two().unwrap()).unwrap();
    let ahead = |seconds| clock.is_ahead_by(Duration::from_secs(seconds)).unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        fetch_all(&alpha);
        assert_eq!(server.machine("alpha").unwrap()["stalled"], Value::Null);
        ahead(1000);
        let stalled = server.machine("alpha").unwrap()["stalled"].clone();
        assert_eq!(stalled["step"], "initrd");
        let told = "fetched its initrd (initrd) and did nothing more for";
        assert!(server.run(&["status"]).unwrap().contains(told));
        let begun = Instant::now();
        while !server.log().contains(told) {
            assert!(begun.elapsed() < PATIENCE, "the log does not say so");
            std::thread::sleep(Duration::from_millis(100));
        }
        assert!(server.log().contains("the initrd has no driver for this NIC"));

        // So the initrd had a driver, and what is missing is NFS.
        host.lease(10, PATIENCE).unwrap().unwrap();
        assert_eq!(server.machine("alpha").unwrap()["stalled"], Value::Null);
        ahead(2000);
        assert_eq!(server.machine("alpha").unwrap()["stalled"]["step"], "initramfs");
        assert!(server.run(&["status"]).unwrap().contains("the initrd can't mount NFS"));
        assert_eq!(server.log().matches("and did nothing more for").count(), 1, "once a boot");
        assert_eq!(server.machine("beta").unwrap()["stalled"], Value::Null);
    })
    .unwrap();
}

#[test]
fn whoever_fetches_the_script_of_a_machine_that_runs_does_not_make_it_look_as_if_it_booted() {
    let lab = Lab::new().unwrap();
    let server = Server::start(SiteFiles::with_two().unwrap()).unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let boot = alpha.boot().unwrap();
        let mut root = alpha.mount(&boot.export).unwrap();
        root.say(&format!("{}.up", boot.id)).unwrap();
        server.wait_for_step("alpha", "up", PATIENCE).unwrap();
        fs::write(server.site.path().join("root/changed"), "a later tree").unwrap();
        server.stage().unwrap();
        let other = alpha.boot().unwrap();
        assert_ne!(other.id, boot.id);
        let seen = server.machine("alpha").unwrap();
        assert_eq!((&seen["phase"], &seen["boot"]), (&"up".into(), &boot.id.as_str().into()));
        assert_eq!(seen["planned"]["boot"], other.id.as_str());
        assert!(line(&server, "alpha").contains(" up "));
        assert!(server.run(&["status"]).unwrap().contains("alpha: its boot script was fetched"));
        alpha.mount(&other.export).unwrap();
        let seen = server.machine("alpha").unwrap();
        assert_eq!((&seen["phase"], &seen["boot"]), (&"running".into(), &other.id.as_str().into()));
        assert_eq!(seen["planned"], Value::Null);
    })
    .unwrap();
}

#[test]
fn status_says_whether_a_machine_runs_what_it_would_boot_now_and_why_not() {
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::with_two().unwrap();
    site.file("alpha", "etc/t.j2", "{{ name }} {{ vars.x }}\n").unwrap();
    site.file("beta", "etc/t.j2", "{{ name }}\n").unwrap();
    site.add("[vars]\nx = \"1\"\n");
    let mut server = Server::start(site).unwrap();
    lab.on_machines(RELAY, |host| {
        for last in [10, 11] {
            let machine = host.lease(last, PATIENCE).unwrap().unwrap();
            machine.mount(&machine.boot().unwrap().export).unwrap();
        }
    })
    .unwrap();
    let behind = |server: &Server, name: &str| server.machine(name).unwrap()["behind"].clone();
    for name in ["alpha", "beta"] {
        assert_eq!(behind(&server, name), Value::Array(vec![]), "{name}");
        assert!(line(&server, name).ends_with("current"));
    }
    // A layer of alpha's own.
    server.site.file("alpha", "etc/motd", "changed").unwrap();
    server.stage().unwrap();
    assert!(behind(&server, "alpha").to_string().contains("layers/alpha is another"));
    assert!(line(&server, "alpha").ends_with("behind"));
    assert_eq!(behind(&server, "beta"), Value::Array(vec![]));
    // And back: what a machine has is what counts, not when it was staged.
    server.run(&["rollback", "alpha"]).unwrap();
    assert_eq!(behind(&server, "alpha"), Value::Array(vec![]));
    // What the templates are rendered from, arguments, and a layer that goes.
    let good = server.site.text().to_owned();
    for (from, to, why) in [
        ("x = \"1\"", "x = \"2\"", "what its templates are rendered from has changed"),
        ("console=ttyS0", "console=tty0", "its kernel arguments have changed"),
        ("layers = [\"layers/common\"]\n", "", "its profile, its layers or oneroot have changed"),
    ] {
        server.site.set_text(&good.replace(from, to));
        server.reload().unwrap();
        assert!(behind(&server, "alpha").to_string().contains(why), "{why}: {}", behind(&server, "alpha"));
    }
    server.site.set_text(&good);
    server.reload().unwrap();
    assert_eq!(behind(&server, "alpha"), Value::Array(vec![]));
}

#[test]
fn a_machine_that_never_booted_is_listed_with_the_address_and_profile_that_the_site_gives_it() {
    let _lab = Lab::new().unwrap();
    let server = Server::start(SiteFiles::with_two().unwrap()).unwrap();
    let alpha = server.machine("alpha").unwrap();
    assert_eq!((&alpha["address"], &alpha["profile"]), (&"192.168.77.10".into(), &"debian".into()));
    assert_eq!((&alpha["phase"], &alpha["seen"]), (&Value::Null, &Value::Null));
    assert!(line(&server, "alpha").contains("never booted"));
}

#[test]
fn a_machine_with_nothing_to_boot_is_shown_with_the_reason_until_it_boots() {
    let lab = Lab::new().unwrap();
    let server = Server::start(SiteFiles::with_two().unwrap()).unwrap();
    let kernel = server.site.path().join("root/boot/vmlinuz-1");
    fs::rename(&kernel, server.site.path().join("elsewhere")).unwrap();
    server.stage().unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        alpha.get("/boot/52-54-00-00-00-0a.ipxe?").unwrap();
        let told = server.machine("alpha").unwrap()["refused"]["told"].as_str().unwrap().to_owned();
        assert!(told.starts_with("alpha has nothing to boot: profile debian has no kernel"), "{told}");
        assert!(server.run(&["status"]).unwrap().contains(&told));
        assert!(line(&server, "alpha").contains("refused"));
        fs::rename(server.site.path().join("elsewhere"), &kernel).unwrap();
        server.stage().unwrap();
        alpha.boot().unwrap();
        assert_eq!(server.machine("alpha").unwrap()["refused"], Value::Null);
    })
    .unwrap();
}

#[test]
fn a_machine_that_is_not_heard_of_is_shown_as_quiet_with_when_it_was_seen_last_after_a_restart_too() {
    let lab = Lab::new().unwrap();
    let (mut server, clock) = Clock::start(SiteFiles::with_two().unwrap()).unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let boot = alpha.boot().unwrap();
        let mut root = alpha.mount(&boot.export).unwrap();
        root.say(&format!("{}.up", boot.id)).unwrap();
        server.wait_for_step("alpha", "up", PATIENCE).unwrap();
        assert!(!line(&server, "alpha").contains("quiet"));
        clock.is_ahead_by(Duration::from_secs(5 * 3600)).unwrap();
        let seen = line(&server, "alpha");
        assert!(seen.contains("up, quiet") && seen.contains(" 5h "), "{seen}");
        root.read_all().unwrap();
        assert!(!line(&server, "alpha").contains("quiet"), "it was heard of");
    })
    .unwrap();
    server.kill9().unwrap();
    server.restart().unwrap();
    let seen = line(&server, "alpha");
    assert!(!seen.contains("quiet") && seen.contains(" >"), "nobody knows yet: {seen}");
}

#[test]
fn a_nic_that_was_replaced_leaves_no_row_and_its_successor_has_the_machines() {
    let lab = Lab::new().unwrap();
    let mut server = Server::start(SiteFiles::with_two().unwrap()).unwrap();
    let boots = |last: u8| {
        lab.on_machines(RELAY, |host| {
            let alpha = host.lease(last, PATIENCE).unwrap().unwrap();
            alpha.mount(&alpha.boot().unwrap().export).unwrap();
        })
        .unwrap();
    };
    boots(10);
    let swapped = server.site.text().replace("52:54:00:00:00:0a", "52:54:00:00:00:0c");
    server.site.set_text(&swapped);
    server.reload().unwrap();
    let names = |server: &Server| -> Vec<String> {
        rows(server).iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&server), ["alpha", "beta"]);
    assert_eq!(server.machine("alpha").unwrap()["mac"], "52:54:00:00:00:0c");
    boots(12);
    assert_eq!(names(&server), ["alpha", "beta"]);
    let alpha = server.machine("alpha").unwrap();
    assert_eq!((&alpha["mac"], &alpha["phase"]), (&"52:54:00:00:00:0c".into(), &"running".into()));
}

#[test]
fn release_takes_whatever_the_status_prints_of_a_machine() {
    let lab = Lab::new().unwrap();
    let server = Server::start(SiteFiles::with_two().unwrap()).unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        for round in 0..6 {
            let boot = alpha.boot().unwrap();
            alpha.mount(&boot.export).unwrap();
            let text = match round {
                0 => "alpha",
                1 => "52:54:00:00:00:0a",
                2 => "52-54-00-00-00-0A",
                3 => "52540000000a",
                4 => "192.168.77.10",
                _ => boot.id.as_str(),
            };
            let told = server.run(&["release", text]).unwrap();
            assert!(told.contains("is released: 1 boot"), "{text}: {told}");
            assert_eq!(server.machine("alpha").unwrap()["phase"], Value::Null);
        }
    })
    .unwrap();
    assert!(server.run(&["release", "beta"]).unwrap().contains("beta held nothing"));
    for nobody in ["zeta", "192.168.77.99", "52:54:00:00:00:0f", "0123456789abcdef"] {
        assert!(server.run(&["release", nobody]).unwrap_err().to_string().contains("no machine"), "{nobody}");
    }
}
