//! The server's own life under running machines: another server in its place, another version of it.

use oneroot_testkit::{Lab, Server, SiteFiles};
use oneroot_vm_tests::{Guest, PackagedRoot, artifacts};

use crate::{POOL, assert_no_io_error, text};

/// Reads every file below a directory, cached or not, and gives a checksum of it all.
fn read_all(guest: &mut Guest, directory: &str) -> String {
    let command = format!(
        "echo 3 >/proc/sys/vm/drop_caches; find {directory} -xdev -type f -print0 | sort -z | xargs -0 cat | cksum"
    );
    guest.ok(&command).unwrap()
}

#[test]
fn a_backup_restored_on_a_second_server_serves_the_running_machine_on() {
    let Some(debian) = artifacts::here(artifacts::debian) else { return };
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::new(&debian, POOL, "1h").unwrap();
    site.machine("alpha", "0a", "").unwrap();
    let mut first = Server::start(site).unwrap();
    let mut alpha = Guest::power_on(&lab, "alpha", "0a").unwrap();
    alpha.log_in().unwrap();
    let before = read_all(&mut alpha, "/usr/share /etc");
    let machine = first.machine("alpha").unwrap();

    let mut second = first.twin().unwrap();
    let file = second.site.path().join("backup");
    let file = file.to_str().unwrap();
    assert!(first.run(&["state", "backup", file]).unwrap().contains("keep it as safe as the server"));
    first.kill9().unwrap();
    second.run(&["state", "restore", file]).unwrap();
    second.restart().unwrap();

    assert_eq!(read_all(&mut alpha, "/usr/share /etc"), before);
    assert_no_io_error(&mut alpha);
    let now = second.machine("alpha").unwrap();
    for key in ["boot", "view", "address"] {
        assert_eq!(text(&now, key), text(&machine, key), "{key}");
    }
    // It can be booted anew, too, and is the same machine.
    let id = alpha.ok("cat /etc/machine-id").unwrap();
    alpha.type_line("reboot").unwrap();
    alpha.log_in().unwrap();
    assert_eq!(alpha.ok("cat /etc/machine-id").unwrap(), id);
    // And a machine that was let go has nothing left.
    assert!(second.run(&["release", "alpha"]).unwrap().contains("is released"));
    assert_eq!(text(&second.machine("alpha").unwrap(), "boot"), "");
}

#[test]
fn an_upgrade_of_the_package_is_a_pause_to_a_running_machine() {
    let Some(debian) = artifacts::here(artifacts::debian) else { return };
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::new(&debian, POOL, "1h").unwrap();
    site.machine("alpha", "0a", "").unwrap();
    let mut server = Server::new(site).unwrap();
    let root = PackagedRoot::new().unwrap();
    let package = root.build(server.binary()).unwrap();
    root.install(&package).unwrap();
    server.set_binary(root.path().join("usr/bin/oneroot"));
    server.stage().unwrap();
    server.restart().unwrap();
    let mut alpha = Guest::power_on(&lab, "alpha", "0a").unwrap();
    alpha.log_in().unwrap();
    let before = read_all(&mut alpha, "/usr/share /etc");
    let machine = server.machine("alpha").unwrap();

    // What dpkg does while the machine reads, and what its postinst asks systemd for.
    alpha.ok("(while :; do echo 3 >/proc/sys/vm/drop_caches; find /usr -xdev -type f -exec cat {} + >/dev/null; done) 2>/tmp/errors & true").unwrap();
    let old = root.version().unwrap();
    root.install(&root.next_version(&package).unwrap()).unwrap();
    assert_eq!(root.version().unwrap(), format!("{old}+next"));
    server.signal("TERM").unwrap();
    assert_eq!(server.wait().unwrap(), Some(0));
    server.restart().unwrap();

    assert_eq!(read_all(&mut alpha, "/usr/share /etc"), before);
    assert_eq!(alpha.ok("cat /tmp/errors").unwrap(), "");
    assert_no_io_error(&mut alpha);
    assert_eq!(text(&server.machine("alpha").unwrap(), "boot"), text(&machine, "boot"));
}
