//! Which NIC it is, whatever it is called and whenever it comes; and what is said where there is none.

use oneroot_init::kernel::Errno;
use oneroot_init::machine::Over;

use crate::fake::{End, Fake, Node};
use crate::lab::{
    LEASED, MAC, SERVER, SETTINGS, at, failures, file, gives, link, machine, machine_with, nic, reports,
};

fn boots(fake: &Fake, seconds: u64) {
    let end = fake.boot(seconds);
    assert!(matches!(end, End::Init(_)), "{end:?}: {}", fake.page());
}

#[test]
fn a_nic_is_known_by_its_address_whatever_it_is_called_and_wherever_it_stands() {
    let fake = machine();
    fake.state().links.push(link(1, "enp0s1", "52:54:00:00:00:99"));
    fake.state().plugged.insert(1);
    fake.state().on_load.insert("igc".to_owned(), Box::new(|state| state.links.push(link(3, "lan7", MAC))));
    fake.state().plugged.insert(3);
    boots(&fake, 60);
    assert_eq!(fake.state().addresses.first().unwrap().0, 3);
}

#[test]
fn a_nic_that_was_given_another_address_is_known_by_the_one_that_it_came_with() {
    let fake = machine();
    fake.state().on_load.insert(
        "igc".to_owned(),
        Box::new(|state| {
            let mut link = link(2, "eth0", "02:00:00:00:00:01");
            link.own_mac = MAC.parse().ok();
            state.links.push(link);
        }),
    );
    boots(&fake, 60);
}

#[test]
fn of_two_nics_with_one_address_it_is_the_first_that_has_a_carrier() {
    for (plugged, wanted) in [(&[2, 3][..], 2), (&[3][..], 3)] {
        let fake = machine();
        fake.state().on_load.insert(
            "igc".to_owned(),
            Box::new(|state| state.links.extend([link(2, "eth0", MAC), link(3, "eth1", MAC)])),
        );
        fake.state().plugged = plugged.iter().copied().collect();
        boots(&fake, 60);
        assert_eq!(fake.state().addresses.first().unwrap().0, wanted);
    }
}

#[test]
fn what_stands_over_the_nic_with_its_address_is_not_the_nic() {
    let fake = machine();
    let mut bridge = link(1, "br0", MAC);
    bridge.made = true;
    fake.state().links.push(bridge);
    boots(&fake, 60);
    assert_eq!(fake.state().addresses.first().unwrap().0, 2);
}

/// A USB NIC: no device at first, and a driver that is loaded when it comes.
fn late(seconds: u64) -> Fake {
    let fake = machine();
    fake.state().files.retain(|path, _| !path.starts_with("/sys/bus/pci/devices/0000:01"));
    fake.state().on_load.insert("asix".to_owned(), Box::new(|state| state.links.push(link(2, "eth0", MAC))));
    fake.at(seconds, |state| {
        let device = "/sys/bus/usb/devices/1-2:1.0/modalias".to_owned();
        state.files.insert(device, file("usb:v0B95p1790d0100dcFFdscFFdp00icFFiscFFip00in00\n"));
    });
    fake
}

#[test]
fn a_nic_that_comes_late_is_waited_for_and_after_that_time_it_is_said_and_waited_on() {
    let fake = late(12);
    boots(&fake, 60);
    assert_eq!(failures(&fake), [""; 0]);
    assert!(fake.state().now.as_secs() < 14, "no longer than it takes");
    let fake = late(100);
    boots(&fake, 200);
    assert_eq!(failures(&fake), [format!("no NIC has the address {MAC}: after 20 s there is none")]);
}

#[test]
fn a_nic_without_a_driver_is_named_with_the_kernel_and_the_machine_starts_again_when_the_site_says_so() {
    let fake = machine();
    nic(&mut fake.state(), "pci:v00008086d0000FFFFsv0sd0bc02sc00i00\n");
    assert_eq!(fake.boot(10_000), End::Over(Over::Restart));
    assert!(fake.page().contains("no driver for 8086:15f3 in 6.1.0-56"), "{}", fake.page());
    assert!((320..330).contains(&fake.state().now.as_secs()), "{:?}", fake.state().now);
    let fake = machine_with(&SETTINGS.replace("restart 300\n", ""));
    nic(&mut fake.state(), "pci:v00008086d0000FFFFsv0sd0bc02sc00i00\n");
    assert_eq!(fake.boot(5_000), End::Tries);
    assert_eq!(fake.page().matches("no driver for").count(), 1, "{}", fake.page());
}

/// A board: its NIC is a device of the device tree, beside others that no driver has taken.
fn board(driver: &str) -> Fake {
    let fake = machine();
    let mut state = fake.state();
    state.files.retain(|path, _| !path.starts_with("/sys/bus/pci/devices/0000:01"));
    let alias = format!(
        "alias of:N*T*Cbrcm,bcm2711-genet-v5 {driver}\nalias of:N*T*Cbrcm,bcm2711-genet-v5C* {driver}\n"
    );
    state.files.insert("/lib/modules/6.1.0-56/modules.alias".to_owned(), file(&alias));
    let platform = "/sys/bus/platform/devices";
    for (device, modalias) in [
        ("fd580000.ethernet", "of:NethernetT(null)Cbrcm,bcm2711-genet-v5\n"),
        ("fd500000.mac", "of:NmacTnetworkCacme,mac-2Cacme,mac\n"),
        ("fd5d2200.thermal", "of:NthermalT(null)Cbrcm,bcm2711-thermal\n"),
        ("switch", "of:Nethernet-switchT(null)Cacme,switch\n"),
        ("1e660000.ethernet", "of:NethernetT(null)Cacme,taken\n"),
        ("odd.ethernet", "of:NethernetT(null)\n"),
        ("serial8250", "platform:serial8250\n"),
    ] {
        state.files.insert(format!("{platform}/{device}/modalias"), file(modalias));
    }
    state.files.insert(format!("{platform}/1e660000.ethernet/driver"), Node::Directory);
    drop(state);
    fake
}

#[test]
fn a_boards_nic_is_given_its_driver_by_what_the_device_tree_says_of_it_and_named_where_there_is_none() {
    let fake = board("igc");
    boots(&fake, 60);
    assert_eq!(fake.state().addresses.first().unwrap().0, 2);
    let fake = board("elsewhere");
    assert_eq!(fake.boot(10_000), End::Over(Over::Restart));
    let said = "no driver for acme,mac-2, brcm,bcm2711-genet-v5, odd.ethernet in 6.1.0-56";
    assert!(fake.page().contains(said), "{}", fake.page());
}

#[test]
fn a_driver_that_does_not_load_is_named_with_the_kernels_reason() {
    let fake = machine();
    fake.state().bad_modules.insert("igc".to_owned(), Errno::NOEXEC);
    assert_eq!(fake.boot(10_000), End::Over(Over::Restart));
    assert!(fake.page().contains("module igc does not load: ENOEXEC"), "{}", fake.page());
}

#[test]
fn a_driver_that_nobody_needs_to_boot_may_fail() {
    let fake = machine();
    fake.state().bad_modules.insert("sound".to_owned(), Errno::NOMEM);
    boots(&fake, 60);
    assert_eq!(failures(&fake), [""; 0]);
}

#[test]
fn firmware_of_another_kind_of_device_and_a_module_that_two_threads_load_are_no_reason_for_a_nic_that_is_missing()
 {
    let fake = machine();
    nic(&mut fake.state(), "pci:v00008086d0000FFFFsv0sd0bc02sc00i00\n");
    let mut state = fake.state();
    state.files.insert("/sys/bus/pci/devices/0000:05:00.0/class".to_owned(), file("0x048000\n"));
    for line in [
        "platform regulatory.0: Direct firmware load for regulatory.db failed with error -2",
        "avs 0000:05:00.0: Direct firmware load for intel/avs.bin failed with error -2",
    ] {
        state.log.push(line.to_owned());
    }
    state.bad_modules.insert("sound".to_owned(), Errno::BUSY);
    drop(state);
    assert_eq!(fake.boot(10_000), End::Over(Over::Restart));
    assert!(fake.page().contains("no driver for 8086:15f3 in 6.1.0-56"), "{}", fake.page());
}

#[test]
fn a_module_that_was_busy_in_another_thread_is_tried_once_more_and_what_is_wrong_with_it_is_told() {
    for wrong in [None, Some(Errno::NOENT)] {
        let fake = machine();
        fake.state().bad_at_first.insert("igc".to_owned(), Errno::BUSY);
        fake.state().bad_modules.extend(wrong.map(|errno| ("igc".to_owned(), errno)));
        let end = fake.boot(10_000);
        assert_eq!(end == End::Over(Over::Restart), wrong.is_some(), "{end:?}: {}", fake.page());
        let said = fake.page().contains("module igc does not load: ENOENT");
        assert_eq!(said, wrong.is_some(), "{}", fake.page());
    }
}

#[test]
fn firmware_that_is_missing_is_named_with_its_driver() {
    for line in [
        "igc 0000:01:00.0: Direct firmware load for intel/igc.bin failed with error -2",
        "igc 0000:01:00.0: firmware: failed to load intel/igc.bin (-2)",
    ] {
        let fake = machine();
        fake.state().on_load.remove("igc");
        fake.state().log.push(line.to_owned());
        assert_eq!(fake.boot(10_000), End::Over(Over::Restart));
        let said = "igc 0000:01:00.0: firmware intel/igc.bin is missing";
        assert!(fake.page().contains(said), "{}", fake.page());
    }
}

#[test]
fn a_cable_that_is_not_in_is_said_after_the_stated_patience_and_found_when_it_is_in() {
    let fake = machine();
    fake.state().plugged.clear();
    fake.at(100, |state| {
        state.plugged.insert(2);
    });
    boots(&fake, 200);
    let said = failures(&fake);
    assert!(said[0].starts_with(&format!("no carrier on eth0 ({MAC}) for 20 s")), "{said:?}");
    let report = reports(&fake).into_iter().find(|report| report.failure.is_some()).unwrap();
    assert!((20_000..22_000).contains(&report.took_ms), "{report:?}");
}

#[test]
fn a_cable_that_is_not_in_is_said_of_a_nic_too_that_does_without_its_firmware() {
    let fake = machine();
    let line = "r8169 0000:01:00.0: firmware: failed to load rtl_nic/rtl8168h-2.fw (-2)";
    fake.state().log.push(line.to_owned());
    fake.state().plugged.clear();
    fake.at(100, |state| {
        state.plugged.insert(2);
    });
    boots(&fake, 200);
    let said = failures(&fake);
    assert!(said[0].starts_with("no carrier on eth0"), "{said:?}");
}

#[test]
fn the_kernels_last_words_come_with_a_failure() {
    let fake = machine();
    fake.state().plugged.clear();
    fake.state().log = (0..40).map(|number| format!("word {number}")).collect();
    fake.at(100, |state| {
        state.plugged.insert(2);
    });
    boots(&fake, 200);
    let report = reports(&fake).into_iter().find(|report| report.failure.is_some()).unwrap();
    assert_eq!(report.kernel.len(), 12);
    assert_eq!(report.kernel.last().unwrap(), "word 39");
}

#[test]
fn a_vlans_frames_are_tagged_over_the_nic() {
    let fake = machine_with(&SETTINGS.replace("patience", "vlan 12\npatience"));
    boots(&fake, 60);
    assert_eq!(fake.state().addresses.first().unwrap().0, 90);
    assert!(fake.state().links.iter().any(|link| link.name == "eth0.12"));
    let fake = machine_with(&SETTINGS.replace("patience", "vlan 12\npatience"));
    fake.state().bad_modules.insert("8021q".to_owned(), Errno::NOENT);
    assert_eq!(fake.boot(10_000), End::Over(Over::Restart));
    assert!(fake.page().contains("eth0.12 can't be made for the VLAN: EOPNOTSUPP"), "{}", fake.page());
}

/// What the server has gathered of the tree's modprobe.d.
fn told(fake: &Fake, conf: &str) {
    fake.state().files.insert("/lib/modules/6.1.0-56/modules.conf".to_owned(), file(conf));
}

fn line(fake: &Fake, more: &str) {
    let line = format!("oneroot.boot=0202020202020202 {more}\n");
    fake.state().files.insert("/proc/cmdline".to_owned(), file(&line));
}

#[test]
fn options_of_the_tree_and_of_the_command_line_reach_the_module_the_latter_last() {
    let fake = machine();
    told(&fake, "options igc debug=16\noptions igc eee=0\n");
    line(&fake, "igc.debug=1 igc.name=\"a b\" nfs.callback_tcpport=4 quiet");
    boots(&fake, 60);
    let options = fake.state().options.clone();
    assert_eq!(options["igc"], "debug=16 eee=0 debug=1 name=\"a b\"");
    assert_eq!(options["nfs"], "callback_tcpport=4");
    assert_eq!(options.len(), 2, "{options:?}");
}

#[test]
fn a_module_that_the_tree_or_the_command_line_does_not_want_is_loaded_for_no_device() {
    for (conf, more) in [
        ("blacklist sound\n", ""),
        ("install sound /bin/false\n", ""),
        ("alias pci:v00008086d0000A0C8* off\n", ""),
        ("", "modprobe.blacklist=floppy,sound"),
    ] {
        let fake = machine();
        told(&fake, conf);
        line(&fake, more);
        boots(&fake, 60);
        assert!(!fake.state().loaded.iter().any(|name| name == "sound"), "{conf}{more}");
    }
    let fake = machine();
    boots(&fake, 60);
    assert!(fake.state().loaded.iter().any(|name| name == "sound"), "it is what its device asks for");
}

#[test]
fn a_driver_that_the_command_line_does_not_want_is_said_to_be_missing() {
    let fake = machine();
    line(&fake, "modprobe.blacklist=igc");
    assert_eq!(fake.boot(10_000), End::Over(Over::Restart));
    assert!(fake.page().contains("no driver for 8086:15f3"), "{}", fake.page());
}

#[test]
fn what_a_root_is_mounted_by_is_loaded_whatever_the_tree_says_of_it() {
    let fake = machine();
    told(&fake, "install overlay /bin/false\nblacklist nfsv3\ninstall nfsv3 /bin/true\n");
    boots(&fake, 60);
    for name in ["overlay", "nfsv3"] {
        assert!(fake.state().loaded.iter().any(|loaded| loaded == name), "{name}");
    }
}

#[test]
fn the_sites_mtu_is_that_of_the_link_and_of_the_nic_below_a_vlan_whatever_dhcp_says() {
    let fake = machine_with(&SETTINGS.replace("patience", "mtu 9000\npatience"));
    boots(&fake, 60);
    assert_eq!(fake.state().mtus, [(2, 9000)]);
    let address = "address 192.168.77.10/24 3600\nrouter 192.168.77.254\n";
    let settings = SETTINGS.replace(address, "").replace("patience", "mtu 9000\nvlan 12\npatience");
    let fake = machine_with(&settings);
    boots(&fake, 60);
    assert_eq!(fake.state().mtus, [(2, 9000), (90, 9000)]);
}

/// As one on USB does, or one whose driver has begun anew.
#[test]
fn a_nic_that_comes_back_as_another_link_while_the_server_is_away_boots_its_machine() {
    let fake = machine();
    fake.state().servers.get_mut(&at(SERVER)).unwrap().is_up = false;
    fake.at(100, |state| {
        state.links.retain(|known| known.index != 2);
        state.links.push(link(7, "eth1", MAC));
        state.plugged.insert(7);
    });
    fake.at(200, |state| state.servers.get_mut(&at(SERVER)).unwrap().is_up = true);
    let end = fake.boot(1000);
    assert!(matches!(end, End::Init(_)), "{end:?}: {}", fake.page());
    assert_eq!(fake.state().addresses.last().map(|(link, ..)| *link), Some(7));
}

#[test]
fn a_nic_that_comes_back_under_its_old_name_while_nobody_gives_addresses_is_asked_over_anew() {
    for vlan in ["", "vlan 12\n"] {
        let settings = SETTINGS.replace("address 192.168.77.10/24 3600\nrouter 192.168.77.254\n", vlan);
        let fake = machine_with(&settings);
        fake.state().dhcp.clear();
        fake.at(100, |state| {
            state.links = vec![link(7, "eth0", MAC)];
            state.plugged.insert(7);
        });
        fake.at(200, |state| state.dhcp = vec![gives(SERVER, LEASED)]);
        boots(&fake, 10_000);
        let on = fake.state().addresses.last().map(|(link, ..)| *link);
        assert_eq!(on, Some(if vlan.is_empty() { 7 } else { 90 }));
    }
}
