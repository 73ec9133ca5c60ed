//! What `oneroot sync` does when a server has no time, drips, or is the wrong one; and what it owes when a round is over.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at its first surprise"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use oneroot_testkit::{SERVER, Server, SiteFiles};

use crate::sync_kit::{Home, assert_same, done, noise_bytes, refused, said, sync, tell};

/// One between client and server: `does` has the request's head, what number of its kind it is, and the client's connection; where
/// it says false, the server is asked.
fn between(does: impl Fn(&str, usize, &mut TcpStream) -> bool + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut gets, mut posts) = (0, 0);
        for mut client in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).is_ok_and(|count| count > 0) {
                head.push(byte[0]);
            }
            let text = String::from_utf8_lossy(&head).into_owned();
            let number = if text.starts_with("GET") { &mut gets } else { &mut posts };
            *number += 1;
            if does(&text, *number, &mut client) {
                continue;
            }
            let mut server = TcpStream::connect((SERVER, 80)).unwrap();
            server.write_all(&head).unwrap();
            let (mut asks, mut asked) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut asks, &mut asked));
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut server, &mut client);
                let _ = client.shutdown(Shutdown::Both);
            });
        }
    });
    url
}

fn by(home: &Home, url: &str, more: &[&str]) -> Command {
    sync(home.server.binary(), &home.dir(), url, &home.token, more)
}

/// Waits for it, but not for ever.
fn ends(mut child: Child, when: &str) -> std::process::Output {
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > Duration::from_secs(180) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{when}: it waits for ever");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

fn piped(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn busy(client: &mut TcpStream) {
    let words = "503 Service Unavailable: ask again\n";
    let length = words.len();
    let head = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n";
    write!(client, "{head}Content-Length: {length}\r\n\r\n{words}").unwrap();
}

#[test]
fn a_server_that_has_no_time_is_asked_again_as_it_says_and_in_the_end_all_comes() {
    let home = Home::new(|root| fs::write(root.join("file"), "one").unwrap());
    let url = between(|_, number, client| {
        let is_busy = number <= 7;
        if is_busy {
            busy(client);
        }
        is_busy
    });
    let output = by(&home, &url, &[]).output().unwrap();
    let told = done(&output, "busy");
    assert!(told.contains("ask again"), "whoever waits is told why: {told}");
    assert_same(&tell(&home.dir()), &home.exported(), "busy");
}

#[test]
fn what_happens_to_a_directory_while_a_server_has_no_time_is_seen() {
    let home = Home::new(|_| ());
    home.syncs(&[], "first");
    let motd = home.dir().join("etc/motd");
    // Longer than a look at a directory is good for.
    let url = between(move |head, number, client| {
        if !head.starts_with("GET") || number > 7 {
            return false;
        }
        if number == 4 {
            fs::write(&motd, "somebody else's").unwrap();
        }
        busy(client);
        true
    });
    done(&by(&home, &url, &[]).output().unwrap(), "it was let wait");
    assert_same(&tell(&home.dir()), &home.exported(), "it was let wait");
}

#[test]
fn an_answer_that_drips_is_left_and_gone_on_with_over_another_connection() {
    let home = Home::new(|root| fs::write(root.join("file"), noise_bytes(1, 100_000)).unwrap());
    let drips = Arc::new(AtomicUsize::new(0));
    let count = drips.clone();
    let url = between(move |head, number, client| {
        let is_first = head.starts_with("POST") && number == 1;
        if is_first {
            count.fetch_add(1, Ordering::SeqCst);
            let mut client = client.try_clone().unwrap();
            std::thread::spawn(move || {
                let head = "HTTP/1.1 200 OK\r\nContent-Length: 100006\r\nConnection: close\r\n\r\n";
                client.write_all(head.as_bytes()).unwrap();
                // The beginning of what there is, a byte at a time.
                for byte in &noise_bytes(1, 100_000) {
                    std::thread::sleep(Duration::from_millis(300));
                    if client.write_all(&[*byte]).is_err() {
                        return;
                    }
                }
            });
        }
        is_first
    });
    let output = ends(piped(&mut by(&home, &url, &[])), "a drip");
    done(&output, "a drip");
    assert_eq!(drips.load(Ordering::SeqCst), 1);
    assert_same(&tell(&home.dir()), &home.exported(), "a drip");
}

fn program(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_program_that_failed_after_a_change_runs_again_until_it_has_done_its_work() {
    let home = Home::new(|root| fs::write(root.join("file"), "one").unwrap());
    let (hook, says) = (home.home.path().join("hook"), home.home.path().join("hook.said"));
    let runs = || fs::read_to_string(&says).unwrap_or_default().lines().count();
    let more = ["--after", hook.to_str().unwrap()];
    program(&hook, &format!("echo ran >>{}\nexit 3", says.display()));
    refused(&home.sync(&more), "--after", "the first time");
    refused(&home.sync(&more), "--after", "nothing has changed, and it has still not done its work");
    assert_eq!(runs(), 2);
    program(&hook, &format!("echo ran >>{}", says.display()));
    done(&home.sync(&more), "it does now");
    done(&home.sync(&more), "and that was that");
    assert_eq!(runs(), 3);
}

/// The times at which all that is sync's own was changed, but for indexes: each use of one makes it young.
fn changed(home: &Home) -> Vec<(String, i64, i64)> {
    let place = home.home.path().join(".dir.oneroot-sync");
    let (mut all, mut todo) = (Vec::new(), vec![place]);
    while let Some(path) = todo.pop() {
        let is = fs::symlink_metadata(&path).unwrap();
        if path.parent().unwrap().ends_with("generations") {
            continue;
        }
        all.push((path.display().to_string(), is.ctime(), is.ctime_nsec()));
        if is.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    all.sort();
    all
}

#[test]
fn a_round_in_which_nothing_has_changed_writes_nothing() {
    let home = Home::new(|root| fs::write(root.join("file"), "one").unwrap());
    for more in [&[][..], &["--atomic"]] {
        // Times that are near to now are looked at again, and remembered.
        done(&home.sync(more), "the first");
        std::thread::sleep(Duration::from_millis(2500));
        done(&home.sync(more), "settled");
        let before = changed(&home);
        let calls = home.home.path().join("calls");
        let sync = home.command(more);
        let mut traced = Command::new("strace");
        traced
            .args(["-f", "-qq", "-e", "signal=none", "-e", "trace=syncfs,fsync,fdatasync", "-o"])
            .arg(&calls);
        traced.arg(sync.get_program()).args(sync.get_args()).env("ONEROOT_TOKEN", &home.token);
        done(&traced.stdin(Stdio::null()).output().unwrap(), "traced");
        assert_eq!(fs::read_to_string(&calls).unwrap(), "", "{more:?}");
        assert_eq!(changed(&home), before, "{more:?}");
    }
}

#[test]
fn who_is_ended_while_he_looks_into_a_store_leaves_nothing_behind() {
    let home = Home::new(|root| fs::write(root.join("file"), noise_bytes(1, 500_000)).unwrap());
    let (store, scratch) = (home.home.path().join("store"), home.home.path().join("scratch"));
    fs::create_dir(&scratch).unwrap();
    let copied = Command::new("cp").arg("-a").arg(home.server.site.path().join("store")).arg(&store).status();
    assert!(copied.unwrap().success());
    let (url, stops) = (
        between(|_, _, client| {
            let client = client.try_clone().unwrap();
            // It has no answer, and stays.
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_secs(300));
                drop(client);
            });
            true
        }),
        Duration::from_secs(2),
    );
    let child = piped(by(&home, &url, &["--store", store.to_str().unwrap()]).env("TMPDIR", &scratch));
    std::thread::sleep(stops);
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let output = ends(child, "ended");
    assert!(!output.status.success(), "{}", said(&output));
    let left: Vec<_> = fs::read_dir(&scratch).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_told_at_once() {
    let _lab = oneroot_testkit::Lab::new().unwrap();
    let mut site = SiteFiles::small().unwrap();
    site.server("https_port = 8443");
    let server = Server::start(site).unwrap();
    let token = server.run(&["token", "new", "test", "--view", "debian"]).unwrap().trim().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counts = count.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            counts.fetch_add(1, Ordering::SeqCst);
            let there = TcpStream::connect((SERVER, 8443)).unwrap();
            let (mut from, mut to) = (client.try_clone().unwrap(), there.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            let (mut from, mut to) = (there, client);
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        }
    });
    let home = tempfile::tempdir().unwrap();
    let output = sync(server.binary(), &home.path().join("dir"), &url, &token, &[]).output().unwrap();
    refused(&output, "say --fingerprint", "a certificate of its own");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn who_is_told_that_another_tree_is_here_already_believes_nothing() {
    let home = Home::new(|root| fs::write(root.join("file"), "one").unwrap());
    let lies = || {
        between(|_, _, client| {
            let tag = "00".repeat(32);
            write!(client, "HTTP/1.1 304 Not Modified\r\nEtag: \"{tag}\"\r\nConnection: close\r\n\r\n")
                .unwrap();
            true
        })
    };
    let refuses = |output: &std::process::Output, when: &str| {
        refused(output, "this tree is here already, and it is not", when);
    };
    refuses(&by(&home, &lies(), &[]).output().unwrap(), "of nothing");
    assert!(!home.dir().exists());
    // As one that had a tree of this server.
    let url = between(|head, number, client| {
        let is_lie = number > 2 && head.starts_with("GET");
        if is_lie {
            let tag = "00".repeat(32);
            write!(client, "HTTP/1.1 304 Not Modified\r\nEtag: \"{tag}\"\r\nConnection: close\r\n\r\n")
                .unwrap();
        }
        is_lie
    });
    done(&by(&home, &url, &[]).output().unwrap(), "the first");
    let before = tell(&home.dir());
    refuses(&by(&home, &url, &[]).output().unwrap(), "of another");
    assert_same(&tell(&home.dir()), &before, "a lie");
    let second = Server::new(SiteFiles::small().unwrap()).unwrap();
    second.site.write().unwrap();
    let mut pull = Command::new(second.binary());
    pull.arg("--site").arg(second.site.path().join("site.toml")).args(["pull", "debian", "--from", &lies()]);
    refuses(&pull.env("ONEROOT_TOKEN", &home.token).output().unwrap(), "pulled");
}

#[test]
fn a_collection_leaves_what_was_pulled_and_waits() {
    let home = Home::new(|root| fs::write(root.join("file"), "one").unwrap());
    let second = Server::new(SiteFiles::small().unwrap()).unwrap();
    second.site.write().unwrap();
    let pull = |more: &[&str]| {
        let mut command = Command::new(second.binary());
        command.arg("--site").arg(second.site.path().join("site.toml"));
        command.args(["pull", "debian", "--from", &Home::from()]).args(more);
        done(&command.env("ONEROOT_TOKEN", &home.token).output().unwrap(), "pull");
    };
    pull(&[]);
    fs::write(home.root().join("file"), "two").unwrap();
    home.server.stage().unwrap();
    pull(&["--hold"]);
    // As if it had come days ago.
    let store = second.site.path().join("store");
    let old = Command::new("find")
        .arg(&store)
        .args(["-exec", "touch", "-h", "-d", "3 days ago", "{}", "+"])
        .status();
    assert!(old.unwrap().success());
    second.run(&["gc"]).unwrap();
    let all: serde_json::Value =
        serde_json::from_str(&second.run(&["generations", "debian", "--json"]).unwrap()).unwrap();
    let held = all.as_array().unwrap().iter().map(|one| one["generation"].as_str().unwrap());
    let held: Vec<&str> = held.collect();
    assert_eq!(held.len(), 2, "{all}");
    for generation in held {
        let to = home.home.path().join(generation);
        second.run(&["export", generation, to.to_str().unwrap()]).unwrap();
    }
    let texts = fs::read_dir(home.home.path())
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.unwrap().path().join("file")).ok());
    let mut texts: Vec<String> = texts.collect();
    texts.sort();
    assert_eq!(texts, ["one", "two"]);
}
