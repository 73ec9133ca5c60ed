//! Trees of other distributions than Debian: Ubuntu's own, and those whose archives are out of reach here laid out as they lay them out,
//! made of Debian's programs: where the kernel is, how modules are packed, which directories are links, and whose init it is.

use oneroot_testkit::{Lab, Server};
use oneroot_vm_tests::{Guest, Hardware, artifacts};

use crate::own_init::{assert_phases, comes_up, power_off, site};
use crate::{STEP, text};

/// What a command prints has this line, on a console where the shell shows what is typed, too.
fn assert_line(guest: &mut Guest, command: &str, line: &str) {
    let said = guest.ok(command).unwrap();
    assert!(said.lines().any(|said| said.trim() == line), "{command}: {said}");
}

#[test]
#[ignore = "make test-vm-all"]
fn ubuntus_own_tree_and_kernel_come_up_without_any_initramfs_tool() {
    let Some(tree) = artifacts::here(artifacts::ubuntu) else { return };
    let lab = Lab::new().unwrap();
    let server = Server::start(site(&tree)).unwrap();
    comes_up(&lab, &server, Hardware::new("alpha", "0a"));
    let kernel = text(&server.machine("alpha").unwrap(), "kernel").to_owned();
    assert!(kernel.starts_with("/boot/vmlinuz-6.8.0-") && kernel.ends_with("-generic"), "{kernel}");
}

#[test]
#[ignore = "make test-vm-all"]
fn a_tree_laid_out_as_fedoras_comes_up_with_the_kernel_beside_its_modules() {
    let Some(tree) = artifacts::here(artifacts::like_fedora) else { return };
    let lab = Lab::new().unwrap();
    let server = Server::start(site(&tree)).unwrap();
    comes_up(&lab, &server, Hardware::new("alpha", "0a"));
    let machine = server.machine("alpha").unwrap();
    let kernel = text(&machine, "kernel");
    assert!(kernel.starts_with("/usr/lib/modules/6.") && kernel.ends_with("/vmlinuz"), "{kernel}");
}

#[test]
#[ignore = "make test-vm-all"]
fn a_tree_laid_out_as_alpines_comes_up_under_openrc_and_goes_off() {
    let Some(tree) = artifacts::here(artifacts::like_alpine) else { return };
    let lab = Lab::new().unwrap();
    let server = Server::start(site(&tree)).unwrap();
    let mut alpha = Hardware::new("alpha", "0a").power_on(&lab).unwrap();
    alpha.wait_for("OpenRC has come to default", STEP).unwrap();
    alpha.log_in().unwrap();
    server.wait_for_step("alpha", "up", STEP).unwrap();
    assert_eq!(text(&server.machine("alpha").unwrap(), "kernel"), "/boot/vmlinuz-lts");
    assert_line(&mut alpha, "hostname", "alpha");
    assert_line(&mut alpha, "cat /etc/resolv.conf", "nameserver 192.168.77.2");
    assert_line(&mut alpha, "grep -cE '^[0-9a-f]{32}$' /etc/machine-id", "1");
    assert_line(&mut alpha, "awk '$2 == \"/\" { print $3 }' /proc/mounts", "overlay");
    assert_line(&mut alpha, "rc-status -r", "default");
    assert_phases(&server, false);
    power_off(&mut alpha);
}
