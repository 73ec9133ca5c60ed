//! An admin's diary: who is what changes from day to day, and machines follow at their next boot.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use oneroot_testkit::{Lab, Server, SiteFiles, Slapd};
use oneroot_vm_tests::{Guest, Hardware, artifacts};
use serde_json::Value;

use crate::{POOL, SOON, STEP};

/// Says of the machine whose MAC ends in 0c, once there is a file `moved`, that it gets the workload `print`.
const PROGRAM: &str = "#!/bin/sh
here=$(dirname \"$0\")
read -r asked
case $asked in
*52:54:00:00:00:0c*) [ ! -e \"$here/moved\" ] || { echo '{\"workloads\": [\"print\"]}'; exit; } ;;
esac
echo '{}'
";

fn site(debian: &Path) -> SiteFiles {
    let mut site = SiteFiles::new(debian, POOL, "1h").unwrap();
    site.machine("alpha", "0a", "").unwrap();
    for workload in ["render", "print"] {
        site.file(workload, &format!("etc/{workload}"), "yes\n").unwrap();
        site.add(&format!("[workload.{workload}]\nlayers = [\"layers/{workload}\"]\n"));
    }
    site.add("[profile.kiosk]\nextends = \"debian\"\nargs = [\"kiosk=1\"]\n");
    let program = site.path().join("decide");
    fs::write(&program, PROGRAM).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    site.add("[decide]\nprogram = \"./decide\"\ncache = \"1s\"\n");
    site
}

fn has(guest: &mut Guest, file: &str) -> bool {
    guest.run(&format!("test -e {file}")).unwrap().0 == 0
}

#[test]
fn an_admin_moves_machines_and_workloads_about_and_each_machine_follows_at_its_next_boot() {
    let Some(debian) = artifacts::here(artifacts::debian) else { return };
    let lab = Lab::new().unwrap();
    let mut server = Server::start(site(&debian)).unwrap();

    // Monday: alpha works, and a box that nobody knows is switched on. It says which it is, and waits.
    let mut alpha = Guest::power_on(&lab, "alpha", "0a").unwrap();
    let mut seat = Hardware::new("seat", "0c").product("Kiosk 9").power_on(&lab).unwrap();
    let screen = seat.wait_for("oneroot adopt", STEP).unwrap();
    assert!(screen.contains("52:54:00:00:00:0c"), "{screen}");
    assert!(server.run(&["machines", "--unknown"]).unwrap().contains("52:54:00:00:00:0c"));
    // It becomes the first of its row, and a rule says what such boxes boot.
    server.run(&["adopt", "--next", "seat-{1..9}"]).unwrap();
    server.site.add("[[rule]]\nwhen = { product = \"Kiosk *\" }\nprofile = \"kiosk\"\n");
    server.reload().unwrap();
    alpha.log_in().unwrap();
    let id = alpha.ok("cat /etc/machine-id").unwrap();
    server.run(&["assign", "alpha", "--workload", "render"]).unwrap();
    assert!(!has(&mut alpha, "/etc/render"), "nothing changes under a running machine");
    seat.log_in().unwrap();
    assert_eq!(seat.ok("hostname").unwrap(), "seat-1");
    assert!(seat.ok("cat /proc/cmdline").unwrap().contains("kiosk=1"));
    server.run(&["adopt", "--stop"]).unwrap();

    // Tuesday: alpha's box is dead, and another takes its place. The program moves the seat.
    alpha.power_cut().unwrap();
    server.run(&["replace", "alpha", "--mac", "52:54:00:00:00:0d"]).unwrap();
    let mut alpha = Guest::power_on(&lab, "alpha", "0d").unwrap();
    fs::write(server.site.path().join("moved"), "").unwrap();
    assert!(!has(&mut seat, "/etc/print"));
    seat.type_line("reboot").unwrap();
    alpha.log_in().unwrap();
    assert_eq!(alpha.ok("hostname").unwrap(), "alpha");
    assert_eq!(alpha.ok("cat /etc/machine-id").unwrap(), id);
    assert!(has(&mut alpha, "/etc/render"), "the workload that the old box had been assigned");
    seat.wait_for_login().unwrap();
    seat.log_in_at_prompt().unwrap();
    assert!(has(&mut seat, "/etc/print"), "what the program says");

    // Wednesday: a mistake in the site changes nothing, and the seat is let go to its own disk.
    let good = server.site.text().to_owned();
    server.site.set_text(&good.replace("[workload.render]", "[workload.rendering]"));
    let told = server.reload().unwrap();
    assert!(told.contains("alpha is assigned workload render") && told.contains("stays in force"), "{told}");
    server.site.set_text(&good);
    server.run(&["assign", "seat-1", "--boot", "local"]).unwrap();
    seat.type_line("reboot").unwrap();
    server.wait_for_step("seat-1", "local", STEP).unwrap();
    seat.wait_for("No bootable device", SOON).unwrap();
    assert!(has(&mut alpha, "/etc/render"));
}

/// A rack of two whose profile a directory server says, with a tree of its own over Debian's.
fn rack(debian: &Path) -> SiteFiles {
    let mut site = SiteFiles::new(debian, POOL, "1h").unwrap();
    fs::create_dir_all(site.path().join("lab/etc")).unwrap();
    fs::write(site.path().join("lab/etc/release"), "1\n").unwrap();
    site.add("[profile.lab]\nextends = \"debian\"\nsource = { directory = \"lab\" }\n");
    site.add("[profile.kiosk]\nextends = \"lab\"\nargs = [\"kiosk=1\"]\n");
    site.add("[group.rack]\nmachines = \"rack-*\"\nprofile = \"lab\"\n");
    let decide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/decide/ldap/decide");
    let decide = decide.canonicalize().unwrap();
    site.add(&format!(
        "[decide]\nprogram = [\"{}\", \"ldap://127.0.0.1\", \"ou=machines,dc=example,dc=org\"]\ncache = \"1s\"\n",
        decide.display()
    ));
    site
}

/// Boots both again, and says what each runs: whether it is a kiosk, and which release.
fn again(guests: &mut [Guest; 2]) -> [(bool, String); 2] {
    for guest in guests.iter_mut() {
        guest.type_line("reboot").unwrap();
    }
    guests.each_mut().map(|guest| {
        guest.wait_for_login().unwrap();
        guest.log_in_at_prompt().unwrap();
        runs(guest)
    })
}

fn runs(guest: &mut Guest) -> (bool, String) {
    let kiosk = guest.ok("cat /proc/cmdline").unwrap().contains("kiosk=1");
    (kiosk, guest.ok("cat /etc/release").unwrap())
}

#[test]
#[ignore = "make test-vm-all"]
fn a_rack_boots_what_a_directory_says_and_one_of_it_gets_a_new_tree_before_the_others() {
    let Some(debian) = artifacts::here(artifacts::debian) else { return };
    let lab = Lab::new().unwrap();
    let site = rack(&debian);
    let entries = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/decide/ldap/machines.ldif");
    let slapd = Slapd::start(&site.path().join("ldap"), &entries).unwrap();
    let server = Server::start(site).unwrap();
    let list = server.site.path().join("rack.csv");
    fs::write(&list, "mac,name\n52:54:00:00:00:0b,rack-1\n52:54:00:00:00:0c,rack-2\n").unwrap();
    server.run(&["adopt", "--from", list.to_str().unwrap()]).unwrap();
    let mut guests =
        [("rack-1", "0b"), ("rack-2", "0c")].map(|(name, last)| Guest::power_on(&lab, name, last).unwrap());
    let of = |kiosk, release: &str| (kiosk, release.to_owned());
    let first = guests.each_mut().map(|guest| {
        guest.log_in().unwrap();
        runs(guest)
    });
    assert_eq!(first, [of(true, "1"), of(false, "1")], "the directory has the first alone");

    // A new tree, which nobody gets but the canary.
    fs::write(server.site.path().join("lab/etc/release"), "2\n").unwrap();
    let staged = server.run(&["stage", "lab", "--hold", "--json"]).unwrap();
    let staged: Value = serde_json::from_str(&staged).unwrap();
    let generation = staged.pointer("/staged/0/generation").unwrap().as_str().unwrap().to_owned();
    server.run(&["assign", "rack-2", "--generation", &generation]).unwrap();
    assert_eq!(again(&mut guests), [of(true, "1"), of(false, "2")]);

    // It is good, so all get it; and the directory is down, so the group says what they boot.
    server.run(&["rollback", "lab", &generation]).unwrap();
    server.run(&["unassign", "rack-2", "--generation"]).unwrap();
    drop(slapd);
    assert_eq!(again(&mut guests), [of(false, "2"), of(false, "2")]);
}
