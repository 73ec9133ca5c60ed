//! What the server and the client of `oneroot sync` keep to, seen from between them: who hears what, who waits for whom, how often is
//! asked.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use oneroot_testkit::http::answer;
use oneroot_testkit::{Lab, SERVER, Server, SiteFiles, ip, udhcpc_on};

use crate::sync_kit::{Home, done, said, sync};

const PATIENCE: Duration = Duration::from_secs(60);

fn ask(token: &str, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(format!("{SERVER}:80")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("{head} HTTP/1.1\r\nHost: {SERVER}\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

fn token(server: &Server, view: &str) -> String {
    server.run(&["token", "new", view, "--view", view]).unwrap().trim().to_owned()
}

/// Of a port of its own to the server: how many connections there were.
fn counted() -> (String, Arc<AtomicUsize>) {
    let (listener, count) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(AtomicUsize::new(0)));
    let (url, counts) = (format!("http://{}", listener.local_addr().unwrap()), count.clone());
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            counts.fetch_add(1, Ordering::SeqCst);
            let server = TcpStream::connect(format!("{SERVER}:80")).unwrap();
            for (mut from, mut to) in [
                (client.try_clone().unwrap(), server.try_clone().unwrap()),
                (server.try_clone().unwrap(), client.try_clone().unwrap()),
            ] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    (url, count)
}

#[test]
fn what_is_somebody_elses_and_what_is_not_there_have_one_answer() {
    let _lab = Lab::new().unwrap();
    let mut site = SiteFiles::with_alpha(b"kernel").unwrap();
    site.add("[profile.other]\nsource = { directory = \"root\" }\n");
    let server = Server::start(site).unwrap();
    let all: serde_json::Value =
        serde_json::from_str(&server.run(&["generations", "other", "--json"]).unwrap()).unwrap();
    let token = token(&server, "debian");
    let head = |what: &str| {
        let asked = ask(&token, &format!("GET /sync/1/{what}/index"));
        let (head, body) = answer(&asked, true).unwrap();
        let status = head.lines().next().unwrap().to_owned();
        (status, String::from_utf8_lossy(&body).replace(what, "IT"))
    };
    let nothing = head("nothing");
    assert!(nothing.0.contains("403"), "{nothing:?}");
    let generation = all[0]["generation"].as_str().unwrap();
    let there = format!("other@{}", &generation[..6]);
    let not_there = format!("other@{}", if generation.starts_with("000000") { "111111" } else { "000000" });
    for what in ["alpha", "other", "other~7", &there, &not_there] {
        assert_eq!(head(what), nothing, "{what}");
    }
    assert!(head("debian").0.contains("200") && head("debian~7").0.contains("404"));
}

#[test]
fn a_machine_whose_script_nobody_has_asked_for_has_the_tree_of_the_address_that_it_has() {
    let lab = Lab::new().unwrap();
    let site = SiteFiles::with_alpha(b"kernel").unwrap();
    site.file("alpha", "etc/address.j2", "{{ address }}\n").unwrap();
    let mut site = site;
    site.set_text(&site.text().replace("address = \"192.168.77.10\"\n", ""));
    let server = Server::start(site).unwrap();
    let home = tempfile::tempdir().unwrap();
    lab.plug("lab0", |nic| {
        ip(&format!("link set {nic} address 52:54:00:00:00:0a")).unwrap();
        let lease = udhcpc_on(nic).unwrap().unwrap();
        let address = lease.get("ip").unwrap();
        ip(&format!("addr add {address}/24 dev {nic}")).unwrap();
        let mut command = Command::new(server.binary());
        command.args(["sync", "@self"]).arg(home.path().join("dir")).args(["--from", &Home::from()]);
        done(&command.output().unwrap(), "its own");
        let told = fs::read_to_string(home.path().join("dir/etc/address")).unwrap();
        assert_eq!(told.trim(), address);
    })
    .unwrap();
}

#[test]
fn a_tree_that_has_not_changed_costs_one_question() {
    let home = Home::new(|root| fs::write(root.join("file"), "one").unwrap());
    let (url, count) = counted();
    let once = |when: &str| {
        let before = count.load(Ordering::SeqCst);
        done(&sync(home.server.binary(), &home.dir(), &url, &home.token, &[]).output().unwrap(), when);
        count.load(Ordering::SeqCst) - before
    };
    assert_eq!(once("the first"), 3, "its index, its contents, and a word that they are here");
    assert_eq!(once("the second"), 1);
    fs::write(home.root().join("file"), "two").unwrap();
    home.server.stage().unwrap();
    assert_eq!(once("another tree"), 3);
    let status = home.server.run(&["status"]).unwrap();
    assert!(
        status.lines().any(|line| line.starts_with("token test") && line.ends_with("current")),
        "{status}"
    );
}

#[test]
fn a_program_before_a_change_runs_when_all_has_come_and_standard_output_is_the_document_alone() {
    let home = Home::new(|root| fs::write(root.join("file"), "one").unwrap());
    let (hook, says) = (home.home.path().join("hook"), home.home.path().join("hook.said"));
    let place = home.home.path().join(".dir.oneroot-sync/incoming");
    let text = format!(
        "#!/bin/sh\necho a word of its own\nfind {} -type f | wc -l >>{}\n",
        place.display(),
        says.display()
    );
    fs::write(&hook, text).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let output = home.sync(&["--json", "--before", hook.to_str().unwrap()]);
    done(&output, "with a hook");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let came = fs::read_to_string(&says).unwrap();
    assert_eq!(came.trim(), told["objects"].to_string(), "{}", said(&output));
    assert_ne!(came.trim(), "0");
}

#[test]
fn who_asks_for_a_generation_by_its_name_takes_no_other() {
    let home = Home::new(|root| fs::write(root.join("file"), "one").unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // One between the two that asks for the head whatever it is asked for.
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap().replace("debian@000000", "debian");
            let mut server = TcpStream::connect(format!("{SERVER}:80")).unwrap();
            server.write_all(head.as_bytes()).unwrap();
            let _ = std::io::copy(&mut server, &mut client);
        }
    });
    let mut command = Command::new(home.server.binary());
    command.args(["sync", "debian@000000"]).arg(home.dir()).args(["--from", &url]);
    let refused = command.env("ONEROOT_TOKEN", &home.token).output().unwrap();
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(said(&refused).contains("another tree for debian@000000"), "{}", said(&refused));
    assert!(!home.dir().exists());
}
