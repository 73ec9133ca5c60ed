//! Access tokens of the real server: made durably, good for as long as somebody said, revoked at once, and written nowhere.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use oneroot_testkit::{Clock, Lab, Server, SiteFiles};
use serde_json::Value;

const SERVER: &str = "192.168.77.1";
const PATIENCE: Duration = Duration::from_secs(60);

fn site() -> SiteFiles {
    let mut site = SiteFiles::small().unwrap();
    site.machine("alpha", "0a", "").unwrap();
    site
}

/// `oneroot token new`: its secret, which stands alone on standard output.
fn new(server: &Server, words: &[&str]) -> String {
    let all: Vec<&str> = ["token", "new"].into_iter().chain(words.iter().copied()).collect();
    let said = server.run(&all).unwrap();
    let secret = said.trim_end();
    assert!(secret.starts_with("oneroot_") && secret.len() == 72, "{said}");
    secret.to_owned()
}

/// What the server answers to who shows this and asks for a tree: a status. The secret goes in by standard input.
fn asked(secret: &str, what: &str) -> String {
    let url = format!("http://{SERVER}/sync/1/{what}/index");
    let mut curl = Command::new("curl")
        .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-K", "-", &url])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(curl.stdin.take().unwrap(), "header = \"Authorization: Bearer {secret}\"").unwrap();
    String::from_utf8(curl.wait_with_output().unwrap().stdout).unwrap()
}

fn run(server: &Server, words: &[&str]) -> Output {
    Command::new(server.binary()).current_dir(server.site.path()).args(words).output().unwrap()
}

fn refusal(server: &Server, words: &[&str]) -> String {
    let done = run(server, words);
    assert_eq!(done.status.code(), Some(1), "{words:?}");
    String::from_utf8(done.stderr).unwrap()
}

fn listed(server: &Server) -> Vec<Value> {
    let list: Value = serde_json::from_str(&server.run(&["token", "list", "--json"]).unwrap()).unwrap();
    list["tokens"].as_array().unwrap().clone()
}

#[test]
fn a_token_that_was_told_outlives_a_crash_and_a_restart_and_moves_with_a_backup() {
    let _lab = Lab::new().unwrap();
    let mut server = Server::start(site()).unwrap();
    let secret = new(&server, &["mirror", "--view", "debian"]);
    server.kill9().unwrap();
    server.restart().unwrap();
    assert_eq!(asked(&secret, "debian"), "200");
    let made = new(&server, &["both", "--view", "debian", "--view", "alpha", "--expires", "30d"]);
    let list = listed(&server);
    assert_eq!((list.len(), &list[0]["name"], &list[1]["name"]), (2, &"both".into(), &"mirror".into()));
    assert_eq!(list[0]["views"], serde_json::json!([{"profile": "debian"}, {"machine": "alpha"}]));
    let lasts = list[0]["expires"].as_u64().unwrap() - list[0]["made"]["at"].as_u64().unwrap();
    assert_eq!((lasts, &list[1]["expires"]), (30 * 86_400, &Value::Null));

    server.run(&["state", "backup", "backup"]).unwrap();
    let backup = fs::read_to_string(server.site.path().join("backup")).unwrap();
    assert!(
        backup.contains("tokens/mirror") && !backup.contains(&made[8..]) && !backup.contains(&secret[8..])
    );
    server.kill9().unwrap();
    fs::rename(server.site.path().join("state"), server.site.path().join("old")).unwrap();
    server.run(&["state", "restore", "backup"]).unwrap();
    server.restart().unwrap();
    assert_eq!((asked(&secret, "debian"), asked(&made, "debian")), ("200".to_owned(), "200".to_owned()));
}

#[test]
fn a_name_is_one_tokens_until_that_is_revoked_which_counts_at_once() {
    let _lab = Lab::new().unwrap();
    let server = Server::start(site()).unwrap();
    let secret = new(&server, &["mirror", "--view", "debian"]);
    let told = refusal(&server, &["token", "new", "mirror", "--view", "alpha"]);
    assert!(
        told.contains("there is a token mirror already") && told.contains("token revoke mirror"),
        "{told}"
    );
    assert_eq!(asked(&secret, "debian"), "200");
    assert!(server.run(&["token", "revoke", "mirror"]).unwrap().contains("token mirror is revoked"));
    assert_eq!(asked(&secret, "debian"), "401");
    assert!(listed(&server)[0]["revoked"]["by"].is_string());
    let other = new(&server, &["mirror", "--view", "debian"]);
    assert!(other != secret && asked(&other, "debian") == "200" && asked(&secret, "debian") == "401");
    let told = refusal(&server, &["token", "revoke", "miror"]);
    assert!(told.contains("no token \"miror\""), "{told}");
}

#[test]
fn a_token_ends_with_its_time_however_the_wall_clock_is_set() {
    let _lab = Lab::new().unwrap();
    let (server, clock) = Clock::start(site()).unwrap();
    let secret = new(&server, &["short", "--view", "debian", "--expires", "1h"]);
    clock.is_ahead_by(Duration::from_secs(3500)).unwrap();
    assert_eq!(asked(&secret, "debian"), "200");
    clock.is_ahead_by(Duration::from_secs(3605)).unwrap();
    assert_eq!(asked(&secret, "debian"), "401");
    assert_eq!(listed(&server)[0]["expired"], true);
    assert!(server.run(&["token", "list"]).unwrap().contains("expired"));
    server.wait_for_log("token short has expired", PATIENCE).unwrap();
}

#[test]
fn what_no_token_can_be_for_is_refused_with_what_it_can_be_for() {
    let _lab = Lab::new().unwrap();
    let mut server = Server::start(site()).unwrap();
    let generation = server.run(&["generations", "debian", "--json"]).unwrap();
    let generation: Value = serde_json::from_str(&generation).unwrap();
    let generation = generation[0]["generation"].as_str().unwrap().to_owned();
    let secret = new(&server, &["one", "--view", &format!("debian@{}", &generation[..12])]);
    assert_eq!(
        listed(&server)[0]["views"][0]["generation"]["generation"],
        generation.as_str(),
        "by all of its name"
    );
    assert_eq!(asked(&secret, &format!("debian@{generation}")), "200");
    for (words, told) in [
        (&["x", "--view", "debain"][..], "did you mean `debian`"),
        (&["x", "--view", "debian@000000000000"], "PROFILE@GENERATION"),
        (&["x", "--view", "nothing@000000000000"], "no profile \"nothing\""),
        (&["x", "--view", "layers/common"], "PROFILE@GENERATION"),
        (&["a/b", "--view", "debian"], "is not a token's name"),
    ] {
        let all: Vec<&str> = ["token", "new"].into_iter().chain(words.iter().copied()).collect();
        let said = refusal(&server, &all);
        assert!(said.contains(told), "{words:?}: {said}");
    }
    assert_eq!(run(&server, &["token", "new", "x"]).status.code(), Some(2), "--view is missing");
    assert_eq!(listed(&server).len(), 1);
    server.kill9().unwrap();
    assert_eq!(run(&server, &["token", "list"]).status.code(), Some(4));
}

fn files(directory: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => files(&entry.path(), all),
            kind if kind.is_file() => all.push(entry.path()),
            _ => {}
        }
    }
}

#[test]
fn a_secret_is_in_no_log_no_file_and_no_argument_list_and_guesses_are_a_few_lines() {
    let _lab = Lab::new().unwrap();
    let server = Server::start_with(site(), &[("ONEROOT_LOG", "trace")]).unwrap();
    let secret = new(&server, &["mirror", "--view", "debian"]);
    assert_eq!(asked(&secret, "debian"), "200");
    server.run(&["token", "revoke", "mirror"]).unwrap();
    assert_eq!(asked(&secret, "debian"), "401");
    for number in 0..100 {
        assert_eq!(asked(&format!("oneroot_{number:064x}"), "debian"), "401");
    }
    let begun = Instant::now();
    while !server.log().contains("left out") {
        assert!(begun.elapsed() < PATIENCE, "that lines were left out is said");
        std::thread::sleep(Duration::from_millis(100));
    }
    let refused = server.log().matches("refused an access token").count();
    assert!((1..60).contains(&refused), "{refused} lines of 101 guesses");

    let bytes: Vec<u8> =
        (8..72).step_by(2).map(|at| u8::from_str_radix(&secret[at..at + 2], 16).unwrap()).collect();
    let mut all = Vec::new();
    files(server.site.path(), &mut all);
    assert!(all.iter().any(|file| file.ends_with("serve.log")), "{all:?}");
    for file in all {
        let has = fs::read(&file).unwrap();
        let holds = |secret: &[u8]| has.windows(secret.len()).any(|window| window == secret);
        assert!(!holds(&secret.as_bytes()[8..]) && !holds(&bytes), "{}", file.display());
    }
    let process = PathBuf::from(format!("/proc/{}", server.pid().unwrap()));
    for of in ["cmdline", "environ"] {
        let text = String::from_utf8_lossy(&fs::read(process.join(of)).unwrap()).into_owned();
        assert!(!text.contains(&secret[8..]), "{of}");
    }
}
