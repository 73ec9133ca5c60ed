//! Who else has a UDP port on this host, by /proc/net/udp. DHCP's port can be shared (SO_REUSEADDR), so that a second DHCP
//! server starts beside the first, both hear every broadcast, and nothing fails.

use std::net::{Ipv4Addr, SocketAddrV4};

/// DHCP servers' port.
const DHCP: u16 = 67;

/// Addresses on which programs of this host have DHCP's port. Asked before our own sockets are bound.
pub fn dhcp() -> Vec<SocketAddrV4> {
    std::fs::read_to_string("/proc/net/udp").map_or_else(|_| Vec::new(), |table| with_port(&table, DHCP))
}

/// The local addresses of a table with a port: `  12: 0100A8C0:0043 00000000:0000 07 …`, the address as the processor has it.
fn with_port(table: &str, port: u16) -> Vec<SocketAddrV4> {
    let address = |line: &str| {
        let (address, port) = line.split_whitespace().nth(1)?.split_once(':')?;
        let address = Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?.to_ne_bytes());
        Some(SocketAddrV4::new(address, u16::from_str_radix(port, 16).ok()?))
    };
    let mut found: Vec<SocketAddrV4> =
        table.lines().skip(1).filter_map(address).filter(|found| found.port() == port).collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_a_port_are_found_and_lines_of_another_shape_are_none() {
        let own = u32::from_ne_bytes([192, 168, 122, 1]);
        let table = format!(
            "  sl  local_address rem_address   st tx_queue\n  1: 00000000:0043 00000000:0000 07 00000000:00000000\n \
             2: {own:08X}:0043 00000000:0000 07\n  3: {own:08X}:0044 00000000:0000 07\n\nx\n 4: zz:0043 0\n 5: 00000000:0043 0\n"
        );
        let found: Vec<String> = with_port(&table, 67).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["0.0.0.0:67", "192.168.122.1:67"]);
        assert!(with_port("", 67).is_empty());
    }
}
