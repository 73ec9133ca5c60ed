//! The state directory, or the store's, is removed or replaced under a running server: nothing is acknowledged that the next start
//! would not find, and no state of somebody else's is written over.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use oneroot_testkit::{Host, Lab, Machine, RELAY, Server, SiteFiles};

const PATIENCE: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(3);

/// Leases for new machines until one is acknowledged.
fn until_acknowledged(host: &Host) -> Machine {
    let begun = Instant::now();
    let lease = |last| {
        assert!(begun.elapsed() < PATIENCE, "nothing is acknowledged any more");
        host.lease(last, SOON).unwrap()
    };
    (20..250).find_map(lease).unwrap()
}

fn has_lease(server: &Server, machine: &Machine) -> bool {
    let _ = fs::remove_file(server.site.path().join("backup"));
    server.run(&["state", "backup", "backup"]).unwrap();
    let text = fs::read_to_string(server.site.path().join("backup")).unwrap();
    let key = format!("leases/52:54:00:00:00:{:02x}", machine.last);
    text.lines().any(|line| line.contains(&key) && line.contains(&machine.address.to_string()))
}

/// What is done to the state directory of a running server.
fn remove_file(state: &Path) {
    fs::remove_file(state.join("state.redb")).unwrap();
}
fn remove_all(state: &Path) {
    fs::remove_dir_all(state).unwrap();
}
fn move_away(state: &Path) {
    fs::rename(state, state.with_extension("away")).unwrap();
}
fn move_away_and_leave_an_empty_one(state: &Path) {
    move_away(state);
    assert!(Command::new("mkdir").args(["-m", "700"]).arg(state).status().unwrap().success());
}

/// A server that is not confined may make directories anew.
fn unconfined() -> SiteFiles {
    let mut site = SiteFiles::with_alpha(b"kernel").unwrap();
    let text = site.text().replace("[server]\n", "[server]\nconfinement = \"off\"\n");
    site.set_text(&text);
    site
}

#[test]
fn a_confined_server_makes_a_removed_file_anew_and_waits_for_a_directory_that_was_moved_away() {
    let lab = Lab::new().unwrap();
    let mut server = Server::start(SiteFiles::with_alpha(b"kernel").unwrap()).unwrap();
    let state = server.site.path().join("state");
    let told = lab
        .on_machines(RELAY, |host| {
            let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
            remove_file(&state);
            let second = until_acknowledged(host);
            move_away(&state);
            for last in 250..253 {
                // Where the kernel has no Landlock it is made anew, and what is acknowledged then is as good.
                let acknowledged = host.lease(last, SOON).unwrap();
                assert!(acknowledged.is_none() || state.exists());
            }
            if !state.exists() {
                fs::rename(state.with_extension("away"), &state).unwrap();
            }
            [alpha, second, until_acknowledged(host)]
        })
        .unwrap();
    server.kill9().unwrap();
    server.restart().unwrap();
    assert!(told.iter().all(|machine| has_lease(&server, machine)));
}

#[test]
fn a_state_that_is_removed_or_moved_is_made_anew_before_anything_is_acknowledged_on_it() {
    for act in [remove_file, remove_all, move_away, move_away_and_leave_an_empty_one] {
        let lab = Lab::new().unwrap();
        let mut server = Server::start(unconfined()).unwrap();
        let state = server.site.path().join("state");
        let (alpha, handle, new) = lab
            .on_machines(RELAY, |host| {
                let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
                let root = alpha.mount(&alpha.boot().unwrap().export).unwrap();
                act(&state);
                (alpha, root.handle().to_vec(), until_acknowledged(host))
            })
            .unwrap();
        assert!(server.log().contains("the state cannot be written"), "it noticed nothing: {}", server.log());
        server.kill9().unwrap();
        server.restart().unwrap();
        assert!(has_lease(&server, &alpha) && has_lease(&server, &new));
        lab.on_machines(RELAY, |host| {
            // Its handle is as good as before.
            let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
            assert!(alpha.resume(handle).unwrap().read_all().unwrap().contains_key("/boot/vmlinuz-1"));
        })
        .unwrap();
    }
}

#[test]
fn a_state_that_is_removed_while_nothing_is_written_is_there_again_when_the_server_has_ended() {
    let lab = Lab::new().unwrap();
    let mut server = Server::start(unconfined()).unwrap();
    let alpha = lab.on_machines(RELAY, |host| host.lease(10, PATIENCE).unwrap().unwrap()).unwrap();
    fs::remove_dir_all(server.site.path().join("state")).unwrap();
    server.signal("TERM").unwrap();
    assert_eq!(server.wait().unwrap(), Some(0));
    server.restart().unwrap();
    assert!(has_lease(&server, &alpha));
}

#[test]
fn another_state_in_the_place_is_left_as_it_is_and_nothing_is_acknowledged() {
    let lab = Lab::new().unwrap();
    let mut server = Server::start(SiteFiles::with_alpha(b"kernel").unwrap()).unwrap();
    let state = server.site.path().join("state");
    let alpha = lab.on_machines(RELAY, |host| host.lease(10, PATIENCE).unwrap().unwrap()).unwrap();
    server.run(&["state", "backup", "first"]).unwrap();
    move_away(&state);
    server.run(&["state", "restore", "first"]).unwrap();
    let other = fs::read(state.join("state.redb")).unwrap();
    lab.on_machines(RELAY, |host| {
        for last in 20..23 {
            assert!(host.lease(last, SOON).unwrap().is_none());
        }
    })
    .unwrap();
    assert!(server.log().contains("a state that is not this server's"), "{}", server.log());
    assert!(fs::read(state.join("state.redb")).unwrap() == other);
    server.signal("TERM").unwrap();
    server.wait().unwrap();
    assert!(fs::read(state.join("state.redb")).unwrap() == other);
    server.restart().unwrap();
    assert!(has_lease(&server, &alpha));
}

#[test]
fn a_store_that_is_moved_away_is_neither_staged_into_nor_planned_from_another() {
    let lab = Lab::new().unwrap();
    let server = Server::start(SiteFiles::with_alpha(b"kernel").unwrap()).unwrap();
    let store = server.site.path().join("store");
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let mut root = alpha.mount(&alpha.boot().unwrap().export).unwrap();
        let before = root.read_all().unwrap();
        fs::rename(&store, store.with_extension("away")).unwrap();
        // Another one, with the same names in it.
        fs::write(server.site.path().join("root/boot/vmlinuz-1"), "another kernel").unwrap();
        server.run(&["stage"]).unwrap();
        let other = walk(&store);
        let refusal = alpha.boot().unwrap_err().to_string();
        assert!(!refusal.contains("/kernel"), "{refusal}");
        assert_eq!(walk(&store), other, "nothing of the one was put into the other");
        // Those that run notice nothing.
        assert_eq!(root.read_all().unwrap(), before);
    })
    .unwrap();
    assert!(server.log().contains("was removed or replaced"), "{}", server.log());
}

/// All names below a directory.
fn walk(directory: &Path) -> Vec<String> {
    let found = Command::new("find").arg(directory).output().unwrap();
    let mut names: Vec<_> = String::from_utf8(found.stdout).unwrap().lines().map(str::to_owned).collect();
    names.sort();
    names
}
