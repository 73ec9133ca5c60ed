//! One machine, several NICs: one root, an address each, and a NIC that is replaced.

use oneroot_testkit::{Lab, Server, SiteFiles};
use oneroot_vm_tests::{Guest, Hardware, artifacts};

use crate::{POOL, SOON, assert_no_io_error, text};

#[test]
fn a_machine_with_two_nics_has_two_addresses_and_one_root_and_a_replaced_nic_keeps_the_machine() {
    let Some(debian) = artifacts::here(artifacts::debian) else { return };
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::new(&debian, POOL, "1h").unwrap();
    site.machine("alpha", "0a", "address = [\"192.168.77.10\", \"192.168.77.12\"]").unwrap();
    let both = site
        .text()
        .replace("mac = \"52:54:00:00:00:0a\"", "mac = [\"52:54:00:00:00:0a\", \"52:54:00:00:00:0c\"]");
    site.set_text(&both);
    site.file("alpha", "etc/secret", "of alpha\n").unwrap();
    let mut server = Server::start(site).unwrap();
    let mut alpha = Hardware::new("alpha", "0a").nic("0c").power_on(&lab).unwrap();
    alpha.log_in().unwrap();
    let id = alpha.ok("cat /etc/machine-id").unwrap();
    let view = text(&server.machine("alpha").unwrap(), "view").to_owned();
    assert!(alpha.ok("ip -4 -o addr").unwrap().contains("192.168.77.10/24"));

    // The second NIC: its own address by its own lease, and the same machine's root over it.
    alpha
        .ok("nic=$(grep -l 52:54:00:00:00:0c /sys/class/net/*/address | cut -d/ -f5) && echo $nic >/tmp/nic")
        .unwrap();
    alpha.ok("ip link set $(cat /tmp/nic) up && timeout 60 dhclient -1 -sf /bin/true -lf /tmp/leases -pf /tmp/pid $(cat /tmp/nic)").unwrap();
    assert!(alpha.ok("cat /tmp/leases").unwrap().contains("fixed-address 192.168.77.12"));
    alpha.ok("ip addr add 192.168.77.12/32 dev $(cat /tmp/nic) && ip route add 192.168.77.1/32 dev $(cat /tmp/nic) src 192.168.77.12").unwrap();
    let read = format!("nfs-cat 'nfs://192.168.77.1/v/{view}/etc/secret?version=3'");
    assert_eq!(alpha.ok(&read).unwrap(), "of alpha", "by its other address it is the same machine");
    assert_eq!(alpha.ok("cat /etc/secret").unwrap(), "of alpha");
    assert_no_io_error(&mut alpha);
    alpha.type_line("poweroff").unwrap();
    alpha.wait_for_power_off(SOON).unwrap();

    // The first NIC breaks, another takes its place in the site.
    let replaced = server.site.text().replace("52:54:00:00:00:0a", "52:54:00:00:00:0d");
    server.site.set_text(&replaced);
    assert!(server.reload().unwrap().contains("was read again"));
    let mut alpha = Guest::power_on(&lab, "alpha", "0d").unwrap();
    alpha.log_in().unwrap();
    assert_eq!(alpha.ok("hostname && cat /etc/secret").unwrap(), "alpha\nof alpha");
    assert_eq!(alpha.ok("cat /etc/machine-id").unwrap(), id, "the machine is the same");
    assert!(
        alpha.ok("ip -4 -o addr").unwrap().contains("192.168.77.10/24"),
        "with the address that is kept for it"
    );
}
