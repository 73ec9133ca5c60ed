//! Beside an existing DHCP server, which keeps giving the addresses.

use oneroot_testkit::{Lab, Server, SiteFiles};
use oneroot_vm_tests::{Firmware, Guest, Hardware, artifacts};

use crate::dnsmasq::Dnsmasq;
use crate::{SOON, assert_no_io_error, text};

#[test]
fn machines_boot_beside_an_existing_dhcp_server_each_to_its_own_root() {
    let Some(debian) = artifacts::here(artifacts::debian) else { return };
    let lab = Lab::new().unwrap();
    // Another's DHCP server; it knows nothing of booting.
    let _dnsmasq = Dnsmasq::start(&lab, &["--port=0", "--dhcp-range=192.168.77.50,192.168.77.60,1h"]);
    let mut site = SiteFiles::new(&debian, "192.168.77.100-192.168.77.199", "1h").unwrap();
    let proxied =
        site.text().replace("pool = \"192.168.77.100-192.168.77.199\"\nlease = \"1h\"", "proxy = true");
    site.set_text(&proxied);
    for (name, last) in [("alpha", "0a"), ("beta", "0b")] {
        site.machine(name, last, "").unwrap();
        site.file(name, "etc/secret", &format!("of {name}\n")).unwrap();
    }
    // Its init asks for an address by itself, and may be given another one than its firmware was.
    let own = site.text().replace(
        "mac = \"52:54:00:00:00:0b\"\nprofile = \"debian\"",
        "mac = \"52:54:00:00:00:0b\"\nprofile = \"own\"",
    );
    assert_ne!(own, site.text());
    site.set_text(&own);
    site.add("[profile.own]\nextends = \"debian\"\ninitramfs = \"oneroot\"\n");
    let mut server = Server::start(site).unwrap();
    let mut alpha = Guest::power_on(&lab, "alpha", "0a").unwrap();
    let mut beta = Hardware::new("beta", "0b").firmware(Firmware::UefiPxe).power_on(&lab).unwrap();
    let mut views = Vec::new();
    for (name, guest) in [("alpha", &mut alpha), ("beta", &mut beta)] {
        guest.log_in().unwrap();
        assert_eq!(guest.ok("hostname; cat /etc/secret").unwrap(), format!("{name}\nof {name}"));
        let addresses = guest.ok("ip -4 -o addr").unwrap();
        assert!(
            addresses.contains("192.168.77.5") || addresses.contains("192.168.77.60"),
            "dnsmasq's: {addresses}"
        );
        views.push(text(&server.machine(name).unwrap(), "view").to_owned());
    }
    let told = server.run(&["boots", "beta"]).unwrap();
    assert!(told.contains("init      hand-over"), "what it tells of its way up is heard: {told}");
    // Its own view by its address; the other's by nothing: the path alone opens no root.
    let other = format!("nfs-cat 'nfs://192.168.77.1/v/{}/etc/secret?version=3' 2>&1", views.pop().unwrap());
    let refused = alpha.fails(&other).unwrap();
    assert!(refused.contains("ACCES") && !refused.contains("of beta"), "{refused}");
    alpha
        .fails("curl -sf --max-time 20 -o /tmp/got http://192.168.77.1/boot/52-54-00-00-00-0b.ipxe")
        .unwrap();

    // After a restart nothing but the durable pins says who is where.
    server.kill9().unwrap();
    server.restart().unwrap();
    let read = "echo 3 >/proc/sys/vm/drop_caches; find /usr/share -xdev -type f -print0 | sort -z | xargs -0 cat | cksum";
    assert_eq!(alpha.ok(read).unwrap(), beta.ok(read).unwrap());
    assert_no_io_error(&mut alpha);
    alpha.type_line("poweroff").unwrap();
    alpha.wait_for_power_off(SOON).unwrap();
}
