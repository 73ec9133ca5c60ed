//! Secrets of machines, through a real server: given to the machine that comes up, once, and to nobody and nothing else.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
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

/// The first answer to who asks for a file by TFTP.
fn tftp(from: Ipv4Addr, name: &str) -> Vec<u8> {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let asked = [b"\0\x01".as_slice(), name.as_bytes(), b"\0octet\0"].concat();
    socket.send_to(&asked, ("192.168.77.1", 69)).unwrap();
    let mut told = [0; 1500];
    let (length, _) = socket.recv_from(&mut told).unwrap();
    told[..length].to_vec()
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
        let id = &boot.id;
        for path in ["join", "secrets/join", "kernel/../join"].map(|path| format!("/b/{id}/{path}")) {
            assert_ne!(alpha.get(&path).unwrap().0, 200, "{path}");
        }
        assert_ne!(alpha.get(&export).unwrap().0, 200);
        for path in [format!("/b/{id}/kernel"), format!("/b/{id}/initrd")] {
            let (status, bytes) = alpha.get(&path).unwrap();
            let has = |secret: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
            assert!(status == 200 && !has(TOKEN.as_bytes()) && !has(line), "{path}: {status}");
        }
        for name in ["join", "secrets/join", &export, &format!("{export}/join"), &format!("b/{id}/join")] {
            let told = tftp(alpha.address, name);
            assert_eq!(told[..2], [0, 5], "{name}: no error, but {told:?}");
        }
        // What the server has and says.
        for secret in [TOKEN.as_bytes(), line] {
            assert_eq!(having(&server.site.path().join("state"), secret), [""; 0]);
            assert_eq!(having(&server.site.path().join("store"), secret), [""; 0]);
        }
        let shown = server.run(&["secret", "list"]).unwrap() + &server.log();
        let shown = shown + &server.run(&["machines", "show", "alpha", "--json"]).unwrap();
        assert!(!shown.contains(TOKEN) && shown.contains("ssh-ed25519 "), "{shown}");

        root.say(&format!("{}.secrets-taken", boot.id)).unwrap();
        server.wait_for_log("asks for no secrets any more: they are closed", PATIENCE).unwrap();
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

/// A program of the site's, which a confined server has run by somebody else.
const MAKES: &str = "#!/bin/sh\nread -r asked\necho \"$asked\" >>asked\nid -u >>asked\n\
    [ ! -e broken ] || { echo 'no realm' >&2; exit 3; }\nprintf 'made %s by hand' $(wc -l <asked)\n";

#[test]
fn a_secret_is_made_by_the_sites_program_once_and_where_that_fails_the_machine_goes_without() {
    let lab = Lab::new().unwrap();
    let mut files = SiteFiles::with_alpha(b"kernel").unwrap();
    files.add("[make_secrets]\nprogram = \"./make-secret\"\n[machine.alpha.secrets]\nkeytab = { kind = \"made\", at = \"/etc/krb5.keytab\" }\n");
    let program = files.path().join("make-secret");
    fs::write(&program, MAKES).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(files.path().join("broken"), "").unwrap();
    let mut server = Server::start(files).unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let taken = || {
            let boot = alpha.boot().unwrap();
            let root = alpha.mount(&boot.export).unwrap();
            (root, alpha.mount(&format!("/s/{}", boot.id)).unwrap().read_all().unwrap())
        };
        let (_root, given) = taken();
        assert!(given.is_empty(), "{given:?}");
        server.wait_for_log("a machine's secret was not made", PATIENCE).unwrap();
        let told = "make-secret has ended with exit code 3; it says: no realm";
        assert_eq!(server.log().matches(told).count(), 1, "once, and not by whoever goes without it too");
        fs::remove_file(server.site.path().join("broken")).unwrap();
        let (_root, given) = taken();
        let made = given["/keytab"].clone();
        assert!(made.starts_with(b"made ") && made.ends_with(b" by hand"), "{made:?}");
        let (_root, again) = taken();
        assert_eq!(again["/keytab"], made, "it is there, and nobody asks for another");
        for (words, secret) in [("made 6 by hand", "store"), ("made 6 by hand", "state")] {
            assert_eq!(having(&server.site.path().join(secret), words.as_bytes()), [""; 0]);
        }
        assert!(!server.log().contains("by hand"));
        assert!(
            server.run(&["secret", "rotate", "alpha", "keytab"]).unwrap().contains("from its next boot on")
        );
        let (_root, anew) = taken();
        assert_ne!(anew["/keytab"], made);
    })
    .unwrap();
    let asked = fs::read_to_string(server.site.path().join("asked")).unwrap();
    let wanted = "{\"machine\":\"alpha\",\"secret\":\"keytab\",\"macs\":[\"52:54:00:00:00:0a\"]}\n";
    assert_eq!(asked.matches(wanted).count(), 3, "{asked}");
    let listed = server.run(&["secret", "list"]).unwrap();
    assert!(listed.contains(" made ") && listed.contains("keytab"), "{listed}");
    let good = server.site.text().to_owned();
    let without = good
        .replace("[make_secrets]\nprogram = \"./make-secret\"\n", "")
        .replace("kind = \"made\"", "kind = \"set\"");
    // Whoever starts it was told which it is: taken out by a reload it could not be put back by another.
    for other in [good.replace("\"./make-secret\"", "\"./another\""), without] {
        assert_ne!(other, good);
        server.site.set_text(&other);
        server.site.write().unwrap();
        let told = format!("{:#}", server.run(&["reload"]).unwrap_err());
        assert!(told.contains("make_secrets has changed, which takes a restart"), "{told}");
    }
}
