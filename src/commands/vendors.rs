//! Who has made a NIC, by the first three bytes of its address, where this host has a list: udev's, which most hosts have, or the
//! package ieee-data's. Nothing is sent anywhere for it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read as _};

use oneroot_ids::Mac;
use oneroot_tree::confine::open_file;

/// The lists, the first that is there counts.
const LISTS: [&str; 4] = [
    "/usr/lib/udev/hwdb.d/20-OUI.hwdb",
    "/lib/udev/hwdb.d/20-OUI.hwdb",
    "/usr/share/ieee-data/oui.txt",
    "/var/lib/ieee-data/oui.txt",
];
/// Bytes of a list that are read; today's have 6 MiB.
const LARGEST: u64 = 32 << 20;

/// The makers of some NICs, as far as a list of this host names them.
pub fn vendors(macs: &[Mac]) -> BTreeMap<Mac, String> {
    let wanted: BTreeSet<String> = macs.iter().copied().filter_map(prefix).collect();
    if wanted.is_empty() {
        return BTreeMap::new();
    }
    let list = LISTS.iter().find_map(|path| open_file(path.as_ref()).ok());
    let found = list.map(|list| read(BufReader::new(list.take(LARGEST)), &wanted)).unwrap_or_default();
    macs.iter().filter_map(|mac| Some((*mac, found.get(&prefix(*mac)?)?.clone()))).collect()
}

/// The first three bytes, `52540A`; none of an address that somebody has made up, which is in no list.
fn prefix(mac: Mac) -> Option<String> {
    const LOCAL: u8 = 2;
    let [a, b, c, ..] = mac.bytes();
    (a & LOCAL == 0).then(|| format!("{a:02X}{b:02X}{c:02X}"))
}

/// Names by prefix, out of either kind of list: `OUI:52540A*` with ` ID_OUI_FROM_DATABASE=NAME` below it, or
/// `52-54-0A   (hex)  NAME`.
fn read(list: impl BufRead, wanted: &BTreeSet<String>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut above: Option<String> = None;
    for line in list.split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        if let Some(name) = line.strip_prefix(" ID_OUI_FROM_DATABASE=") {
            if let Some(prefix) = above.take() {
                found.insert(prefix, name.trim().to_owned());
            }
        } else if let Some(prefix) = line.strip_prefix("OUI:") {
            above = prefix.strip_suffix('*').map(str::to_owned).filter(|prefix| wanted.contains(prefix));
        } else if let Some((prefix, name)) = line.split_once("(hex)") {
            let prefix = prefix.trim().replace('-', "");
            if wanted.contains(&prefix) {
                found.insert(prefix, name.trim().to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_list_name_who_made_a_nic_and_nobody_made_one_that_was_made_up() {
        let udev = "# comment\n\nOUI:000000*\n ID_OUI_FROM_DATABASE=XEROX CORPORATION\n\nOUI:00000A3*\n ID_OUI_FROM_DATABASE=Longer\n\
                    OUI:00000A*\n ID_OUI_FROM_DATABASE=OMRON\n";
        let ieee = "OUI/MA-L\n00-00-0A   (hex)\t\tOMRON TATEISI\r\n00000A     (base 16)\t\tOMRON TATEISI\n\t\t\t\tKYOTO\n";
        let wanted: BTreeSet<String> = ["00000A".to_owned()].into();
        assert_eq!(read(udev.as_bytes(), &wanted), [("00000A".to_owned(), "OMRON".to_owned())].into());
        assert_eq!(
            read(ieee.as_bytes(), &wanted),
            [("00000A".to_owned(), "OMRON TATEISI".to_owned())].into()
        );
        assert_eq!(read(&b"OUI:\xff\n(hex)\n ID_OUI_FROM_DATABASE=x\n"[..], &wanted), BTreeMap::new());
        let prefix = |text: &str| prefix(text.parse().unwrap());
        assert_eq!(prefix("00:00:0a:01:02:03").as_deref(), Some("00000A"));
        assert_eq!(prefix("52:54:00:00:00:0a"), None, "QEMU's are of nobody's");
    }
}
