//! What a machine is given (docs/decisions/0010), under each network manager and init that a tree may have: it boots, has
//! name, names and modes as it should, goes through a restart of the manager, reboots and switches itself off.

use std::path::Path;

use oneroot_testkit::{Lab, Server, SiteFiles};
use oneroot_vm_tests::{Guest, Hardware, artifacts};

use crate::dnsmasq::Dnsmasq;
use crate::{POOL, STEP, assert_modes, assert_no_io_error};

/// A site whose network has a name server, a domain and a time server. Its machines have no layers, so no file of theirs
/// says what they are called.
fn site(debian: &Path) -> SiteFiles {
    let mut site = SiteFiles::new(debian, POOL, "1h").unwrap();
    let pool = format!("pool = \"{POOL}\"\n");
    let told = "dns = [\"192.168.77.2\"]\ndomain = \"lab.example\"\nntp = [\"192.168.77.3\"]\n";
    let text = site.text().replace(&pool, &format!("{pool}{told}"));
    site.set_text(&text);
    site
}

fn machine(site: &mut SiteFiles, name: &str, last: &str, args: &str) {
    site.add(&format!(
        "[machine.{name}]\nmac = \"52:54:00:00:00:{last}\"\nprofile = \"debian\"\naddress = \"192.168.77.{last_number}\"\nargs = [{args}]\n",
        last_number = u8::from_str_radix(last, 16).unwrap()
    ));
}

/// What the lease said has reached the running system, and its NIC has the address that it booted with and no other.
fn assert_given(guest: &mut Guest, name: &str, last: &str) {
    let address = format!("192.168.77.{}", u8::from_str_radix(last, 16).unwrap());
    assert_eq!(guest.ok("hostname").unwrap(), name);
    assert_eq!(
        guest.ok("getent hosts files.lab.example").unwrap().split_whitespace().next(),
        Some("192.168.77.77")
    );
    assert!(guest.ok("getent hosts files").unwrap().contains("192.168.77.77"), "the domain is searched");
    let addresses = guest.ok("ip -color=never -4 -o addr show scope global").unwrap();
    assert_eq!(addresses.lines().count(), 1, "{addresses}");
    assert!(addresses.contains(&format!("{address}/24")), "{addresses}");
    assert!(guest.ok("cat /run/systemd/timesyncd.conf.d/oneroot.conf").unwrap().contains("192.168.77.3"));
    assert_no_failures(guest);
}

fn assert_no_failures(guest: &mut Guest) {
    guest.wait_until_settled();
    let failed = guest.ok("systemctl --failed --plain --no-legend --no-pager").unwrap();
    let why = "journalctl --boot --no-pager --priority warning --lines 40";
    assert!(failed.is_empty(), "{failed}\n{}", guest.ok(why).unwrap());
}

/// Reads what is in no cache, from a root whose NIC must still be there.
fn assert_root(guest: &mut Guest) {
    guest.ok("echo 3 >/proc/sys/vm/drop_caches; cat /usr/lib/os-release >/dev/null && ls -l /usr/lib >/dev/null").unwrap();
    assert_no_io_error(guest);
}

fn power_off(guest: &mut Guest) {
    guest.type_line("poweroff").unwrap();
    guest.wait_for_power_off(STEP).unwrap();
}

#[test]
fn under_dracut_and_networkd_a_machine_whose_second_nic_boots_keeps_its_root_and_learns_what_its_lease_says()
{
    let Some(debian) = artifacts::here(artifacts::trixie) else { return };
    let lab = Lab::new().unwrap();
    let _names = Dnsmasq::names(&lab);
    let mut site = site(&debian);
    let dracut = site.text().replace("[profile.debian]\n", "[profile.debian]\ninitramfs = \"dracut\"\n");
    site.set_text(&dracut);
    machine(&mut site, "alpha", "0a", "");
    let server = Server::start(site).unwrap();
    let mut alpha = Hardware::new("alpha", "0a").nic_before("0c").memory(768).power_on(&lab).unwrap();
    for boot in ["first", "second"] {
        alpha.log_in().unwrap();
        server.wait_for_step("alpha", "up", STEP).unwrap();
        assert_given(&mut alpha, "alpha", "0a");
        assert_modes(&mut alpha);
        let nic = alpha.ok("grep -l 52:54:00:00:00:0a /sys/class/net/*/address | cut -d/ -f5").unwrap();
        assert!(nic.starts_with("en"), "the name that it has without us, and not dracut's: {nic}");
        if boot == "first" {
            alpha.ok("systemctl restart systemd-networkd systemd-resolved").unwrap();
            assert_given(&mut alpha, "alpha", "0a");
        }
        assert_root(&mut alpha);
        if boot == "first" {
            alpha.type_line("reboot").unwrap();
        }
    }
    power_off(&mut alpha);
}

/// Interfaces as Debian's installer and images write them, by a pattern: the name is not known here.
const INTERFACES: &str = "auto lo\niface lo inet loopback\nsource /etc/network/interfaces.d/*\n\
                          auto /en*=lan\nallow-hotplug /en*=lan\niface lan inet dhcp\n";

/// The same by name, as the installer writes it: QEMU's first NIC.
const INSTALLED: &str = "auto lo\niface lo inet loopback\nsource /etc/network/interfaces.d/*\n\
                         auto ens4\nallow-hotplug ens4\niface ens4 inet dhcp\n";

#[test]
fn under_ifupdown_a_machine_keeps_its_root_and_learns_what_its_lease_says() {
    let Some(debian) = artifacts::here(artifacts::debian) else { return };
    let lab = Lab::new().unwrap();
    let _names = Dnsmasq::names(&lab);
    ifupdown(&lab, site(&debian), INTERFACES);
}

/// dracut is told to rename the NIC that boots, and this kernel renames it once more while it is up: ifupdown finds it under
/// a name that it had not when the real init began.
#[test]
#[ignore = "make test-vm-all"]
fn under_dracut_and_ifupdown_a_machine_whose_nic_is_renamed_keeps_its_root_and_learns_what_its_lease_says() {
    let Some(debian) = artifacts::here(artifacts::trixie_with_ifupdown) else { return };
    let lab = Lab::new().unwrap();
    let _names = Dnsmasq::names(&lab);
    let mut site = site(&debian);
    let dracut = site.text().replace("[profile.debian]\n", "[profile.debian]\ninitramfs = \"dracut\"\n");
    site.set_text(&dracut);
    ifupdown(&lab, site, INSTALLED);
}

/// A machine with ifupdown, through a restart of it, a reboot and power off.
fn ifupdown(lab: &Lab, mut site: SiteFiles, interfaces: &str) {
    site.file("common", "etc/network/interfaces", interfaces).unwrap();
    machine(&mut site, "alpha", "0a", "");
    let server = Server::start(site).unwrap();
    let mut alpha = Hardware::new("alpha", "0a").memory(768).power_on(lab).unwrap();
    for boot in ["first", "second"] {
        alpha.log_in().unwrap();
        server.wait_for_step("alpha", "up", STEP).unwrap();
        let nic = alpha.ok("grep -l 52:54:00:00:00:0a /sys/class/net/*/address | cut -d/ -f5").unwrap();
        assert_eq!(nic, "ens4", "the name that the tree's words are for");
        assert_given(&mut alpha, "alpha", "0a");
        assert_modes(&mut alpha);
        assert_eq!(alpha.ok("systemctl is-active networking").unwrap(), "active");
        alpha.fails("pgrep 'dhclient|dhcpcd'").unwrap();
        if boot == "first" {
            alpha.ok("systemctl restart networking").unwrap();
            assert_given(&mut alpha, "alpha", "0a");
            alpha.fails("pgrep 'dhclient|dhcpcd'").unwrap();
        }
        assert_root(&mut alpha);
        if boot == "first" {
            alpha.type_line("reboot").unwrap();
        }
    }
    power_off(&mut alpha);
}

/// One machine for each manager, of one tree: kernel arguments say which manager runs.
fn each_manager(debian: &Path) {
    let lab = Lab::new().unwrap();
    let _names = Dnsmasq::names(&lab);
    let mut site = site(debian);
    site.file("common", "etc/network/interfaces", INTERFACES).unwrap();
    site.file("common", "etc/systemd/network/10-all.network", "[Match]\nName=en*\n[Network]\nDHCP=yes\n")
        .unwrap();
    // Without the package `locales` it can't set one, and says that it has failed.
    site.file("common", "etc/cloud/cloud.cfg.d/99-locale.cfg", "locale: false\n").unwrap();
    let masked = |units: &[&str]| {
        units.iter().map(|unit| format!("\"systemd.mask={unit}.service\"")).collect::<Vec<_>>().join(", ")
    };
    let managers = [
        (
            "networkd",
            "0a",
            format!(
                "{}, \"systemd.wants=systemd-networkd.service\", \"cloud-init=disabled\"",
                masked(&["NetworkManager", "networking"])
            ),
            "systemd-networkd",
        ),
        ("nm", "0b", format!("{}, \"cloud-init=disabled\"", masked(&["networking"])), "NetworkManager"),
        ("cloud", "0c", masked(&["NetworkManager", "NetworkManager-wait-online"]), "cloud-final"),
    ];
    for (name, last, args, _) in &managers {
        machine(&mut site, name, last, args);
    }
    let server = Server::start(site).unwrap();
    for (name, last, _, unit) in &managers {
        let mut guest = Hardware::new(name, last).memory(768).power_on(&lab).unwrap();
        for boot in ["first", "second"] {
            guest.log_in().unwrap();
            server.wait_for_step(name, "up", STEP).unwrap();
            guest.wait_until_settled();
            assert_eq!(guest.ok(&format!("systemctl is-active {unit}")).unwrap(), "active", "{name}");
            assert_given(&mut guest, name, last);
            assert_modes(&mut guest);
            assert_root(&mut guest);
            if boot == "first" {
                guest.type_line("reboot").unwrap();
            }
        }
        power_off(&mut guest);
    }
}

#[test]
#[ignore = "make test-vm-all"]
fn under_each_manager_of_bookworm_a_machine_keeps_its_root_and_learns_what_its_lease_says() {
    let Some(debian) = artifacts::here(artifacts::bookworm_managers) else { return };
    each_manager(&debian);
}

#[test]
#[ignore = "make test-vm-all"]
fn under_each_manager_of_trixie_a_machine_keeps_its_root_and_learns_what_its_lease_says() {
    let Some(debian) = artifacts::here(artifacts::trixie_managers) else { return };
    each_manager(&debian);
}

#[test]
#[ignore = "make test-vm-all"]
fn with_sysvinit_a_machine_says_that_it_is_up_and_switches_itself_off() {
    let Some(debian) = artifacts::here(artifacts::sysvinit) else { return };
    let lab = Lab::new().unwrap();
    let mut site = site(&debian);
    machine(&mut site, "alpha", "0a", "");
    let server = Server::start(site).unwrap();
    let mut alpha = Guest::power_on(&lab, "alpha", "0a").unwrap();
    alpha.log_in().unwrap();
    server.wait_for_step("alpha", "up", STEP).unwrap();
    assert_eq!(
        alpha.ok("hostname; ls -d /run/systemd/system 2>/dev/null; cat /proc/1/comm").unwrap(),
        "alpha\ninit"
    );
    assert_root(&mut alpha);
    alpha.type_line("reboot").unwrap();
    alpha.log_in().unwrap();
    power_off(&mut alpha);
}
