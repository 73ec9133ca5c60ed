//! Secrets of machines, through a real server: given to the machine that comes up, once, and to nobody and nothing else.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use oneroot_testkit::{Lab, Server, SiteFiles};

const RELAY: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);
const PATIENCE: Duration = Duration::from_secs(60);
/// What nobody else is to see.
const TOKEN: &str = "the-token-that-joins-alpha";

fn server() -> Server {
    let mut files = SiteFiles::with_alpha(b"kernel").unwrap();
    let secrets = "[machine.alpha.secrets]\nssh_host_ed25519_key = \"ssh-key\"\n\
                   join = { kind = \"set\", at = \"/etc/join\", required = true }\n";
    files.add(secrets);
    Server::start(files).unwrap()
}

/// `oneroot secret set`: what it says.
fn set(server: &Server, name: &str, value: &str) -> String {
    server.tell(&["secret", "set", "alpha", name], value).unwrap()
}

/// Every file below a directory that has these bytes.
fn having(directory: &Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(having(&path, bytes));
        } else if entry.file_type().unwrap().is_file()
            && fs::read(&path).unwrap().windows(bytes.len()).any(|window| window == bytes)
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn a_machine_has_its_secrets_once_in_a_boot_and_nothing_else_has_them_at_all() {
    let lab = Lab::new().unwrap();
    let mut server = server();
    assert!(set(&server, "join", TOKEN).contains("from its next boot on"));
    let machines = lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let boot = alpha.boot().unwrap();
        let export = format!("/s/{}", boot.id);
        assert!(alpha.mount(&export).is_err(), "its root is not mounted yet");
        let mut root = alpha.mount(&boot.export).unwrap();
        let tree = root.read_all().unwrap();
        for of_hooks in ["/.oneroot/facts", "/.oneroot/tell", "/.oneroot/tell-to"] {
            assert!(!tree.contains_key(of_hooks), "it has none: {of_hooks}");
        }
        let list = String::from_utf8(tree["/.oneroot/secrets.list"].clone()).unwrap();
        assert!(list.contains(" join 0600 0 0 required /etc/join\n"), "{list}");
        let mut secrets = alpha.mount(&export).unwrap();
        let given = secrets.read_all().unwrap();
        assert_eq!(given["/join"], TOKEN.as_bytes());
        let key = given["/ssh_host_ed25519_key"].clone();
        let line = key.split(|byte| *byte == b'\n').nth(2).unwrap();
        // What any user of the machine, or of the network, can ask for.
        for (path, bytes) in &tree {
            let has = |secret: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!has(TOKEN.as_bytes()) && !has(line), "{path}");
        }
        for path in ["join", "secrets/join", "kernel/../join"] {
            assert_ne!(alpha.get(&format!("/b/{}/{path}", boot.id)).unwrap().0, 200, "{path}");
        }
        assert_ne!(alpha.get(&export).unwrap().0, 200);
        // What the server has and says.
        for secret in [TOKEN.as_bytes(), line] {
            assert_eq!(having(&server.site.path().join("state"), secret), [""; 0]);
            assert_eq!(having(&server.site.path().join("store"), secret), [""; 0]);
        }
        let shown = server.run(&["secret", "list"]).unwrap() + &server.log();
        let shown = shown + &server.run(&["machines", "show", "alpha", "--json"]).unwrap();
        assert!(!shown.contains(TOKEN) && shown.contains("ssh-ed25519 "), "{shown}");

        root.say(&format!("{}.secrets-taken", boot.id)).unwrap();
        server.wait_for_log("has its secrets: they are closed", PATIENCE).unwrap();
        assert!(secrets.read_all().is_err(), "closed where it is mounted still");
        assert!(alpha.mount(&export).is_err());
        (boot, key)
    });
    let (boot, key) = machines.unwrap();
    server.kill9().unwrap();
    server.restart().unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let refused = alpha.mount(&format!("/s/{}", boot.id)).map(drop).unwrap_err();
        let shown = server.machine("alpha").unwrap().to_string();
        assert!(shown.contains("its secrets were not given"), "{refused:#}: {shown}");
        let next = alpha.boot().unwrap();
        let _root = alpha.mount(&next.export).unwrap();
        let given = alpha.mount(&format!("/s/{}", next.id)).unwrap().read_all().unwrap();
        assert_eq!((&given["/ssh_host_ed25519_key"], &given["/join"][..]), (&key, TOKEN.as_bytes()));
    })
    .unwrap();
    let text = server.site.text().replace("join = {", "joins = {");
    let (before, after) = text.split_once("[profile.").unwrap();
    let (name, after) = after.split_once('\n').unwrap();
    server.site.set_text(&format!("{before}[profile.{name}\nlog = \"syslog://logs\"\n{after}"));
    server.site.write().unwrap();
    server.reload().unwrap();
    let behind = server.machine("alpha").unwrap()["behind"].to_string();
    for words in ["where its log goes has changed", "which secrets it has has changed"] {
        assert!(behind.contains(words), "{behind}");
    }
}
