//! What iPXE makes of our scripts where nothing boots: it follows them, and never comes to an end.

use std::collections::BTreeSet;

use oneroot_testkit::{Lab, Server, SiteFiles};
use oneroot_vm_tests::{Firmware, Hardware};

use crate::{STEP, text};

#[test]
fn ipxe_follows_its_way_by_tftp_and_asks_anew_when_its_boot_is_gone() {
    let lab = Lab::new().unwrap();
    // What is fetched for a kernel is a script that fails: each try ends here.
    let server = Server::start(SiteFiles::with_alpha(b"#!ipxe\nno-such-command\n").unwrap()).unwrap();
    let script = "#!ipxe\ndhcp\nchain tftp://192.168.77.1/boot/${net0/mac:hexhyp}.ipxe\n";
    let mut alpha = Hardware::new("alpha", "0a").script(script).power_on(&lab).unwrap();
    let mut boots = BTreeSet::new();
    for round in 1..=4 {
        alpha.wait_for("oneroot: alpha, boot ", STEP).unwrap();
        let told = alpha.wait_for("that did not work", STEP).unwrap();
        boots.insert(told.get(..16).unwrap().to_owned());
        let tried = alpha.wait_for("asking anew what to boot", STEP).unwrap();
        assert_eq!(tried.matches("that did not work").count(), 2, "three tries: {tried}");
        if round == 2 {
            assert_eq!(boots.len(), 1, "the boot that there is answers");
            server.run(&["release", "alpha"]).unwrap();
        }
    }
    assert_eq!(boots.len(), 2, "{boots:?}");
    let log = server.log();
    assert!(log.contains("name=boot/52-54-00-00-00-0a."), "not by TFTP: {log}");
    assert_eq!(log.matches(" boots ").count(), 2, "{log}");
}

#[test]
fn a_rule_puts_a_machine_with_a_given_product_into_another_profile() {
    rule_by_product(Firmware::Bios, "bios");
}

#[test]
#[ignore = "make test-vm-all"]
fn a_rule_puts_a_machine_with_a_given_product_into_another_profile_by_uefi_too() {
    rule_by_product(Firmware::UefiPxe, "uefi");
}

fn rule_by_product(firmware: Firmware, called: &str) {
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::with_alpha(b"#!ipxe\nno-such-command\n").unwrap();
    site.add("[profile.kiosk]\nextends = \"debian\"\n");
    // All that iPXE of 2019 is asked for: a text with what it would not escape, and what it reads of SMBIOS and PCI itself.
    site.add(&format!(
        "[[rule]]\nwhen = {{ product = \"Kiosk & Co=*\", firmware = \"{called}\", arch = \"x86_64\", nic = \"1af4:*\", memory = \"384-\" }}\n\
         name = \"kiosk-{{mac}}\"\nprofile = \"kiosk\"\n"
    ));
    let server = Server::start(site).unwrap();
    let mut kiosk =
        Hardware::new("kiosk", "0c").firmware(firmware).product("Kiosk & Co=9").power_on(&lab).unwrap();
    let mut desk = Hardware::new("desk", "0d").firmware(firmware).product("Desk").power_on(&lab).unwrap();
    kiosk.wait_for("oneroot: kiosk-52540000000c, boot ", STEP).unwrap();
    let told = server.machine("kiosk-52540000000c").unwrap();
    assert_eq!(text(&told, "profile"), "kiosk", "{told}");
    let product = told.pointer("/claims/hardware/product").and_then(serde_json::Value::as_str);
    assert_eq!(product, Some("Kiosk & Co=9"), "{told}");
    // The other is no kiosk: nobody has named it, so it is held.
    desk.wait_for("52:54:00:00:00:0d", STEP).unwrap();
    assert!(!server.log().contains("mac=52:54:00:00:00:0d boot="), "{}", server.log());
}
