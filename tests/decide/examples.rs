//! The programs of `examples/decide`, as they are, against what they are for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use oneroot_testkit::{Lab, RELAY, Server, SiteFiles, Slapd};

use super::{PATIENCE, is_kiosk, let_pass, script, told};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/decide").join(name)
}

fn run(program: &str, words: &[&str]) {
    let done = Command::new(program).args(words).stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A site whose program is this example.
fn site(name: &str, words: &[&str]) -> SiteFiles {
    let mut site = super::site("", "#!/bin/sh\n");
    let mut program = vec![example(name).join("decide").display().to_string()];
    program.extend(words.iter().map(|word| (*word).to_owned()));
    site.set_text(&site.text().replace("program = \"./decide\"", &format!("program = {program:?}")));
    site
}

/// beta's script and gamma's, by a server with this site.
fn scripts(server: &Server, lab: &Lab) -> [String; 2] {
    lab.on_machines(RELAY, |host| {
        let scripts = [0x0b, 0x0c].map(|last| script(host.lease(last, PATIENCE).unwrap().unwrap()));
        assert_eq!(told(server)["failed"], 0, "{:#}", told(server));
        scripts
    })
    .unwrap()
}

#[test]
fn a_table_on_a_share_says_what_machines_boot() {
    let lab = Lab::new().unwrap();
    let share = tempfile::tempdir().unwrap();
    let table = share.path().join("machines.csv");
    fs::copy(example("csv/machines.csv"), &table).unwrap();
    let server = Server::start(site("csv", &[table.to_str().unwrap()])).unwrap();
    let [beta, gamma] = scripts(&server, &lab);
    assert!(is_kiosk(&beta) && beta.contains("told=csv") && beta.contains("print=1"), "{beta}");
    assert!(
        !is_kiosk(&gamma) && gamma.contains("told=csv"),
        "what is left empty is left to its group: {gamma}"
    );
}

#[test]
fn an_inventory_in_sqlite_says_what_machines_boot() {
    let lab = Lab::new().unwrap();
    let mut site = site("sql", &["inventory.db"]);
    let inventory = site.path().join("inventory.db");
    site.set_text(&site.text().replace("inventory.db", inventory.to_str().unwrap()));
    let make = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(open(sys.argv[2]).read())";
    run(
        "/usr/bin/python3",
        &["-c", make, inventory.to_str().unwrap(), example("sql/schema.sql").to_str().unwrap()],
    );
    let server = Server::start(site).unwrap();
    let [beta, gamma] = scripts(&server, &lab);
    assert!(is_kiosk(&beta) && beta.contains("print=1"), "{beta}");
    assert!(!is_kiosk(&gamma), "the inventory does not have it: {gamma}");
}

#[test]
fn a_directory_server_says_what_machines_boot_and_one_that_is_down_keeps_no_machine_from_booting() {
    let lab = Lab::new().unwrap();
    let site = site("ldap", &["ldap://127.0.0.1", "ou=machines,dc=example,dc=org"]);
    let slapd = Slapd::start(&site.path().join("ldap"), &example("ldap/machines.ldif")).unwrap();
    let server = Server::start(site).unwrap();
    let [beta, gamma] = scripts(&server, &lab);
    assert!(is_kiosk(&beta) && beta.contains("told=ldap") && beta.contains("quiet"), "{beta}");
    assert!(!is_kiosk(&gamma), "an entry that says nothing: {gamma}");
    drop(slapd);
    let_pass(&server, 61);
    lab.on_machines([192, 168, 77, 3].into(), |host| {
        let beta = host.lease(0x0b, PATIENCE).unwrap().unwrap();
        assert!(!is_kiosk(&script(beta)), "its group decides");
        let error = told(&server)["last_error"].as_str().unwrap().to_owned();
        assert!(error.contains("exit code 1") && error.contains("SERVER_DOWN"), "{error}");
    })
    .unwrap();
}
