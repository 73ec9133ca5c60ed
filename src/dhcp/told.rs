//! What a DHCP message tells of the machine that sends it, and from where it came: claims, by which the site's rules may go.

use oneroot_bootconf::hardware::{Arch, Claims, Firmware, Hardware, Location, Told, Uuid};
use oneroot_dhcp::{Client, Request};

/// The claims of a client that wants to boot, by a message that came by an interface of the server; none of the system that runs.
pub fn claims(request: &Request, interface: &str) -> Option<Claims> {
    let client = Client::of(request);
    if !client.boots() {
        return None;
    }
    let arch = client.architectures.iter().find_map(|number| Arch::of_firmware(*number));
    let firmware = if client.is_bios() { Firmware::Bios } else { Firmware::Uefi };
    // An iPXE of its own, in a NIC's ROM, says nothing of the firmware under it.
    let is_known = client.pxe || !client.architectures.is_empty();
    let classes: Vec<&[u8]> = request.user_classes().collect();
    Some(Claims {
        hardware: Hardware {
            arch,
            firmware: is_known.then_some(firmware),
            uuid: Uuid::of_option(&request.guid),
            vendor_class: Told::of(&request.vendor_class),
            user_class: Told::of(&classes.join(&b',')),
            ..Hardware::default()
        },
        location: Location {
            network: None,
            relay: Some(request.giaddr).filter(|relay| !relay.is_unspecified()),
            circuit_id: Told::of_id(&request.circuit_id),
            remote_id: Told::of_id(&request.remote_id),
            interface: Told::of(interface.as_bytes()),
        },
        ..Claims::default()
    })
}
