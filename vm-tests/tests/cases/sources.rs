//! Profiles that oneroot makes itself, from nothing prepared by hand.

use oneroot_vm_tests::{Guest, Lab, Server, SiteFiles, artifacts};

use crate::{POOL, assert_no_io_error};

/// Nobody has a password in a fresh Debian.
const AUTOLOGIN: &str =
    "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --keep-baud 115200 %I $TERM\n";

#[test]
fn a_profile_of_packages_and_layers_alone_boots() {
    let Some(_tools) = artifacts::here(artifacts::debian) else { return };
    let source = "suite = \"bookworm\", packages = [\"linux-image-cloud-amd64\", \"file\"]";
    let mut site = SiteFiles::with_source(source, POOL, "1h").unwrap();
    site.machine("alpha", "0a", "").unwrap();
    site.file("common", "etc/systemd/system/serial-getty@ttyS0.service.d/autologin.conf", AUTOLOGIN).unwrap();
    // The packages come from the mirror, which is not in the lab.
    let mut server = Server::new(site).unwrap();
    let staged = server.stage().unwrap();
    let lab = Lab::new().unwrap();
    server.restart().unwrap();
    let mut alpha = Guest::power_on(&lab, "alpha", "0a").unwrap();
    alpha.wait_for_shell().unwrap();
    assert_eq!(alpha.ok("hostname").unwrap(), "alpha", "staged: {staged}");
    assert!(alpha.ok("file -b /bin/dash").unwrap().contains("ELF"), "the package that the site asks for");
    alpha.wait_until_settled();
    assert_eq!(alpha.ok("systemctl --failed --no-legend | wc -l").unwrap(), "0");
    assert_no_io_error(&mut alpha);
}
