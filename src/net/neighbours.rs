//! The kernel's neighbour table: which hardware address an IPv4 neighbour was last seen with (arp(7)).
//!
//! A hint and no proof: anybody on the segment can fill it with anything.

use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;

/// Bytes of the table that are read; a line has some 80.
const LONGEST: u64 = 4 << 20;

/// The hardware address of a neighbour; `None` for what is none, or has not been heard yet.
pub fn mac_of(address: IpAddr) -> Option<[u8; 6]> {
    let mut table = String::new();
    File::open("/proc/thread-self/net/arp").ok()?.take(LONGEST).read_to_string(&mut table).ok()?;
    find(&table, address)
}

/// Columns: address, hardware type, flags, hardware address, mask, device. Flag 2 says that the entry is complete.
fn find(table: &str, address: IpAddr) -> Option<[u8; 6]> {
    let wanted = address.to_string();
    let mut lines = table.lines().skip(1).map(|line| line.split_whitespace());
    let mut line = lines.find_map(|mut line| (line.next() == Some(wanted.as_str())).then_some(line))?;
    let flags = u32::from_str_radix(line.nth(1)?.strip_prefix("0x")?, 16).ok()?;
    let mut mac = [0; 6];
    let mut pairs = line.next()?.split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(pairs.next()?, 16).ok()?;
    }
    (flags & 2 != 0).then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "IP address       HW type     Flags       HW address            Mask     Device\n\
        192.168.77.10    0x1         0x2         52:54:00:00:00:0a     *        lab0\n\
        192.168.77.11    0x1         0x0         00:00:00:00:00:00     *        lab0\n";

    #[test]
    fn a_neighbour_that_was_heard_is_found() {
        assert_eq!(find(TABLE, [192, 168, 77, 10].into()), Some([0x52, 0x54, 0, 0, 0, 0x0a]));
        assert_eq!(find(TABLE, [192, 168, 77, 11].into()), None, "asked for, and never answered");
        assert_eq!(find(TABLE, [192, 168, 77, 1].into()), None);
        assert_eq!(find("torn\n192.168.77.10", [192, 168, 77, 10].into()), None);
    }
}
