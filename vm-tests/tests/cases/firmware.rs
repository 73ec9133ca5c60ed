//! Every way from the power button to the root that a machine may have.

use std::path::{Path, PathBuf};
use std::process::Command;

use oneroot_testkit::{Lab, Server, SiteFiles};
use oneroot_vm_tests::{Firmware, Guest, Hardware, artifacts};

use crate::{POOL, SECOND_INITRD, add_an_initrd, assert_modes};

#[test]
fn uefi_firmware_comes_up_by_tftp_with_its_own_pxe_client() {
    let Some(debian) = artifacts::here(artifacts::debian) else { return };
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::new(&debian, POOL, "1h").unwrap();
    site.machine("alpha", "0a", "address = \"192.168.77.10\"").unwrap();
    let server = Server::start(site).unwrap();
    let mut alpha = Hardware::new("alpha", "0a").firmware(Firmware::UefiPxe).power_on(&lab).unwrap();
    alpha.log_in().unwrap();
    assert_eq!(alpha.ok("hostname").unwrap(), "alpha");
    assert_eq!(alpha.ok("test -d /sys/firmware/efi && echo efi").unwrap(), "efi");
    assert!(server.log().contains("loads ipxe.efi by TFTP"), "{}", server.log());
    alpha.wait_until_settled();
    assert_eq!(alpha.ok("systemctl --failed --no-legend | wc -l").unwrap(), "0");
}

#[test]
fn uefi_firmware_comes_up_by_http_boot() {
    let Some(debian) = artifacts::here(artifacts::debian) else { return };
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::new(&debian, POOL, "1h").unwrap();
    site.machine("alpha", "0a", "").unwrap();
    add_an_initrd(&mut site);
    let server = Server::start(site).unwrap();
    let mut alpha = Hardware::new("alpha", "0a").firmware(Firmware::UefiHttp).power_on(&lab).unwrap();
    alpha.log_in().unwrap();
    assert_eq!(alpha.ok("hostname").unwrap(), "alpha");
    let log = server.log();
    assert!(log.contains("loads ipxe.efi by HTTP") && !log.contains("by TFTP"), "{log}");
    assert!(alpha.ok("dmesg").unwrap().contains(SECOND_INITRD));
}

#[test]
#[ignore = "make test-vm-all"]
fn dracut_mounts_the_root_as_initramfs_tools_does() {
    let Some(debian) = artifacts::here(artifacts::debian_with_dracut) else { return };
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::new(&debian, POOL, "1h").unwrap();
    let dracut = site.text().replace("[profile.debian]\n", "[profile.debian]\ninitramfs = \"dracut\"\n");
    site.set_text(&dracut);
    site.machine("alpha", "0a", "").unwrap();
    let _server = Server::start(site).unwrap();
    let mut alpha = Guest::power_on(&lab, "alpha", "0a").unwrap();
    alpha.log_in().unwrap();
    assert_eq!(alpha.ok("hostname").unwrap(), "alpha");
    assert_eq!(alpha.ok("findmnt -no FSTYPE / || stat -fc %T /").unwrap(), "overlay");
    assert!(alpha.ok("cat /proc/cmdline").unwrap().contains("root=nfs:192.168.77.1:/v/"));
    alpha.wait_until_settled();
    assert_modes(&mut alpha);
    assert_eq!(alpha.ok("systemctl --failed --no-legend | wc -l").unwrap(), "0");
    alpha.type_line("poweroff").unwrap();
    alpha.wait_for_power_off(crate::SOON).unwrap();
}

/// A site whose profile is an arm64 tree.
fn arm64(tree: &Path) -> SiteFiles {
    let mut site = SiteFiles::new(tree, POOL, "1h").unwrap();
    for_arm64(&mut site, tree);
    site.machine("alpha", "0a", "").unwrap();
    site
}

/// Makes the profile one of an arm64 tree, with the loader that is in it beside the host's; the directory that it lies in.
pub fn for_arm64(site: &mut SiteFiles, tree: &Path) -> PathBuf {
    site.set_text(&site.text().replace("console=ttyS0", "console=ttyAMA0"));
    let loaders = site.path().join("loaders");
    std::fs::create_dir(&loaders).unwrap();
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(tree).arg("-C").arg(&loaders).arg("--strip-components=4");
    assert!(tar.arg("./usr/lib/ipxe/ipxe-arm64.efi").status().unwrap().success());
    site.server("loaders = [\"/usr/lib/ipxe\", \"loaders\"]");
    loaders
}

fn arm64_comes_up(firmware: Firmware, loaded: &str) {
    let Some(tree) = artifacts::here(artifacts::arm64) else { return };
    let lab = Lab::new().unwrap();
    let server = Server::start(arm64(&tree)).unwrap();
    let mut alpha = Hardware::new("alpha", "0a").firmware(firmware).memory(1024).power_on(&lab).unwrap();
    alpha.log_in().unwrap();
    assert_eq!(alpha.ok("uname -m").unwrap(), "aarch64");
    assert_eq!(alpha.ok("hostname").unwrap(), "alpha");
    assert!(server.log().contains(loaded), "{}", server.log());
    alpha.wait_until_settled();
    assert_eq!(alpha.ok("systemctl --failed --no-legend | wc -l").unwrap(), "0");
    alpha.type_line("poweroff").unwrap();
    alpha.wait_for_power_off(crate::SOON).unwrap();
}

#[test]
#[ignore = "make test-vm-all"]
fn arm64_firmware_comes_up_by_tftp() {
    arm64_comes_up(Firmware::Arm64Pxe, "loads ipxe-arm64.efi by TFTP");
}

#[test]
#[ignore = "make test-vm-all"]
fn arm64_firmware_comes_up_by_http_boot() {
    arm64_comes_up(Firmware::Arm64Http, "loads ipxe-arm64.efi by HTTP");
}
