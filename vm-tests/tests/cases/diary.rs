//! An admin's diary: who is what changes from day to day, and machines follow at their next boot.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use oneroot_testkit::{Lab, Server, SiteFiles};
use oneroot_vm_tests::{Guest, Hardware, artifacts};

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

fn site(debian: &std::path::Path) -> SiteFiles {
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
