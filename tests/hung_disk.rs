//! A disk that hangs: what needs nothing of it goes on.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::fs;
use std::time::{Duration, Instant};

use oneroot_testkit::{Call, HungDisk, Lab, RELAY, SiteFiles};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_root_that_runs_is_mounted_again_while_the_disk_hangs_in_the_same_machines_next_boot() {
    let lab = Lab::new().unwrap();
    let site = SiteFiles::with_alpha(b"kernel").unwrap();
    let (server, disk) = HungDisk::start(site, Call::Sync, "/state/").unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let boot = alpha.boot().unwrap();
        alpha.mount(&boot.export).unwrap();
        // So that its next plan is another one, and has to be written.
        fs::write(server.site.path().join("root/changed"), "a later tree").unwrap();
        server.stage().unwrap();
        let (mounted, next) = std::thread::scope(|scope| {
            let hanging = disk.hang().unwrap();
            let next = scope.spawn(|| alpha.boot());
            hanging.wait(PATIENCE).unwrap();
            let mounted = alpha.mount(&boot.export).and_then(|mut root| root.read_all());
            let waited = !next.is_finished();
            drop(hanging);
            assert!(waited, "the next boot was not waiting for the disk");
            (mounted, next.join().unwrap())
        });
        assert!(mounted.unwrap().contains_key("/boot/vmlinuz-1"));
        assert_ne!(next.unwrap().id, boot.id);
    })
    .unwrap();
}

#[test]
fn a_generation_that_is_assigned_while_the_stores_disk_hangs_keeps_nobody_elses_change_waiting() {
    let lab = Lab::new().unwrap();
    let site = SiteFiles::with_two().unwrap();
    let (server, disk) = HungDisk::start(site, Call::Read, "/store/refs/").unwrap();
    let all: serde_json::Value =
        serde_json::from_str(&server.run(&["generations", "debian", "--json"]).unwrap()).unwrap();
    let generation = all[0]["generation"].as_str().unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let boot = alpha.boot().unwrap();
        std::thread::scope(|scope| {
            let hanging = disk.hang().unwrap();
            let assigned = scope.spawn(|| server.run(&["assign", "alpha", "--generation", generation]));
            hanging.wait(PATIENCE).unwrap();
            let other = scope.spawn(|| server.run(&["assign", "beta", "--arg", "quiet"]));
            let begun = Instant::now();
            while !other.is_finished() && begun.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(5));
            }
            let root = alpha.mount(&boot.export).and_then(|mut root| root.read_all());
            let went_on = other.is_finished() && !assigned.is_finished();
            drop(hanging);
            assert!(went_on, "one change waits for the disk, and the other for nothing");
            assert!(root.unwrap().contains_key("/boot/vmlinuz-1"));
            other.join().unwrap().unwrap();
            let told = assigned.join().unwrap().unwrap();
            assert!(told.contains(&generation[..12]), "{told}");
        });
    })
    .unwrap();
}
