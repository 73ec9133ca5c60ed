//! What an admin sees at the prompt: exit codes, places of mistakes, JSON.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::fs;
use std::process::{Command, Output};

fn oneroot(home: &std::path::Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_oneroot")).current_dir(home).args(words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_broken_site_is_refused_with_its_place_and_exit_code_3() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("site.toml"), "[server]\naddress = \"10.0.0.1\"\ninterfaces = \"eth0\"\n")
        .unwrap();
    for command in ["check", "stage", "serve", "generations"] {
        let done = oneroot(home.path(), &[command]);
        assert_eq!(done.status.code(), Some(3), "{command}");
        let said = text(&done.stderr);
        assert!(
            said.contains(
                "site.toml:3:1: server.interfaces: is not a key of this table; did you mean `interface`?"
            ),
            "{said}"
        );
    }
    let json = oneroot(home.path(), &["check", "--json"]);
    let checked: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(checked["problems"][0]["line"], 1);
    assert_eq!(json.status.code(), Some(3));
}

#[test]
fn what_init_prints_is_a_site_that_check_calls_good() {
    let home = tempfile::tempdir().unwrap();
    let example = oneroot(home.path(), &["init"]);
    fs::write(home.path().join("site.toml"), &example.stdout).unwrap();
    let done = oneroot(home.path(), &["check"]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    assert!(text(&done.stderr).contains("warning: "), "the example's files are not there, and that is said");
}

#[test]
fn staging_again_changes_nothing_and_a_change_makes_a_new_generation() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("root");
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(root.join("etc/motd"), "one").unwrap();
    let site = "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\nstore = \"store\"\nstate = \"state\"\n\
                [profile.small]\nsource = { directory = \"root\" }\n";
    fs::write(home.path().join("site.toml"), site).unwrap();
    let stage = || -> serde_json::Value {
        let done = oneroot(home.path(), &["stage", "--json"]);
        assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
        serde_json::from_slice(&done.stdout).unwrap()
    };
    let first = stage();
    assert_eq!(first[0]["changed"], true);
    assert!(first[0]["warnings"][0].as_str().unwrap().contains("no kernel in /boot"), "{first}");
    assert!(first[0]["changes"]["added"].as_u64().unwrap() >= 2, "what comes first is new: {first}");
    assert_eq!((&first[0]["new_bytes"], &first[0]["shared_bytes"]), (&3.into(), &0.into()));
    assert!(first[0]["new_on_disk"].as_u64().unwrap() > 0, "{first}");
    let second = stage();
    assert_eq!((&second[0]["changed"], &second[0]["generation"]), (&false.into(), &first[0]["generation"]));
    assert_eq!(second[0]["new_on_disk"], 0);
    assert_eq!((&second[0]["new_objects"], &second[0]["shared_bytes"]), (&0.into(), &3.into()));
    fs::write(root.join("etc/motd"), "two").unwrap();
    let third = stage();
    assert_eq!(third[0]["changed"], true);
    assert_ne!(third[0]["generation"], first[0]["generation"]);
}

#[test]
fn attributes_that_no_client_will_see_are_named_when_they_are_staged() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("root/etc/motd");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "one").unwrap();
    let site = "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\nstore = \"store\"\nstate = \"state\"\n\
                [profile.small]\nsource = { directory = \"root\" }\n";
    fs::write(home.path().join("site.toml"), site).unwrap();
    // An ACL as the kernel has it: owner, one more user, group, mask, others.
    let acl: Vec<u8> =
        [(1, 6, u32::MAX), (2, 4, 1000), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 4, u32::MAX)]
            .iter()
            .flat_map(|(tag, rights, id): &(u16, u16, u32)| {
                [tag.to_le_bytes().as_slice(), &rights.to_le_bytes(), &id.to_le_bytes()].concat()
            })
            .collect();
    let acl = [2u32.to_le_bytes().as_slice(), &acl].concat();
    let flags = rustix::fs::XattrFlags::empty();
    let set = rustix::fs::setxattr(&file, "user.note", b"x", flags)
        .and_then(|()| rustix::fs::setxattr(&file, "system.posix_acl_access", &acl, flags));
    if set.is_err() {
        eprintln!("skipped: the temporary directory's file system has no attributes");
        return;
    }
    let said = text(&oneroot(home.path(), &["stage"]).stderr);
    assert!(said.contains("files with ACLs, which are not served") && said.contains("/etc/motd"), "{said}");
    assert!(said.contains("user.note (1)"), "{said}");
}

#[test]
fn status_without_a_server_says_so_with_exit_code_4() {
    let home = tempfile::tempdir().unwrap();
    fs::write(
        home.path().join("site.toml"),
        "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\nstate = \"state\"\n",
    )
    .unwrap();
    let done = oneroot(home.path(), &["status"]);
    assert_eq!(done.status.code(), Some(4));
    assert!(text(&done.stderr).contains("no server is running"));
    // A site that is being edited keeps nobody from asking; one that is no TOML says nothing of where to ask.
    fs::write(home.path().join("site.toml"), "[server]\nnonsense = 1\nstate = \"state\"\n").unwrap();
    let done = oneroot(home.path(), &["status"]);
    assert_eq!(done.status.code(), Some(4));
    let said = text(&done.stderr);
    assert!(
        said.contains("the site is broken") && said.contains(home.path().join("state").to_str().unwrap()),
        "{said}"
    );
    fs::write(home.path().join("site.toml"), "[server\n").unwrap();
    assert_eq!(oneroot(home.path(), &["status"]).status.code(), Some(3));
}

#[test]
fn a_wrong_word_is_usage_and_exit_code_2() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(oneroot(home.path(), &["frobnicate"]).status.code(), Some(2));
}

#[test]
fn a_loader_that_is_not_there_is_named_with_its_package() {
    let home = tempfile::tempdir().unwrap();
    let site = "[server]\naddress = \"10.0.0.1\"\ninterface = \"lo\"\nloaders = \"none\"\n";
    fs::write(home.path().join("site.toml"), site).unwrap();
    let done = oneroot(home.path(), &["check"]);
    assert_eq!(done.status.code(), Some(0), "it may be installed later");
    let said = text(&done.stderr);
    for loader in ["none/undionly.kpxe", "none/ipxe.efi"] {
        assert!(said.contains(loader) && said.contains("install the package ipxe"), "{said}");
    }
}

#[test]
fn a_command_fills_a_directory_and_one_that_fails_is_told_with_its_last_words() {
    let home = tempfile::tempdir().unwrap();
    let site = |command: &str| {
        let text = format!(
            "[server]\naddress = \"10.0.0.1\"\ninterface = \"lo\"\nstore = \"store\"\nstate = \"state\"\n\
             [profile.made]\nsource = {{ command = [\"sh\", \"-c\", \"{command}\", \"make\"] }}\n"
        );
        fs::write(home.path().join("site.toml"), text).unwrap();
    };
    site("mkdir $1/etc && echo made >$1/etc/motd");
    assert!(oneroot(home.path(), &["stage"]).status.success());
    assert_eq!(text(&oneroot(home.path(), &["cat", "made", "/etc/motd"]).stdout), "made\n");
    site("mkdir $1/half; echo no mirror answers >&2; exit 7");
    let done = oneroot(home.path(), &["stage"]);
    assert_eq!(done.status.code(), Some(1));
    let said = text(&done.stderr);
    assert!(said.contains("exit status: 7") && said.contains("no mirror answers"), "{said}");
    assert_eq!(
        text(&oneroot(home.path(), &["cat", "made", "/etc/motd"]).stdout),
        "made\n",
        "the old one is kept"
    );
}
