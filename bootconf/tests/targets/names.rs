//! Any bytes as a name that peers write: MACs and boots in the paths of HTTP and TFTP, exports in those of MOUNT.
//!
//! Input: the name. What must hold: what is read is written back as it was, ids have one spelling, and an error that quotes a
//! peer is short and one line.

use std::fmt::Debug;
use std::str::FromStr;

use oneroot_bootconf::export::Export;
use oneroot_ids::{BadId, BootId, GenerationId, Mac, MachineId, ViewId};

pub fn run(data: &[u8]) {
    if let Some((export, below)) = Export::parse(data) {
        assert_eq!([export.to_string().as_bytes(), below].concat(), data);
        assert!(below.is_empty() || below.starts_with(b"/"));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(mac) = read::<Mac>(text) {
        // It has several spellings, and is one MAC in each.
        let plain: String = mac.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        for spelling in [mac.to_string(), mac.dashed(), plain.clone(), plain.to_uppercase()] {
            assert_eq!(spelling.parse(), Ok(mac));
        }
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        assert!(plain.ends_with(&digits.to_lowercase()) || text.contains(':'), "{text} is no {mac}");
        assert!(mac.bytes() != [0; 6] && mac.bytes()[0] & 1 == 0, "{mac} is no machine's");
    }
    exact::<BootId>(text);
    exact::<ViewId>(text);
    exact::<MachineId>(text);
    exact::<GenerationId>(text);
}

fn exact<T: FromStr<Err = BadId> + ToString + Debug>(text: &str) {
    if let Some(id) = read::<T>(text) {
        assert_eq!(id.to_string(), text, "a second spelling of {id:?}");
    }
}

fn read<T: FromStr<Err = BadId>>(text: &str) -> Option<T> {
    match text.parse() {
        Ok(read) => Some(read),
        Err(cause) => {
            let told = cause.to_string();
            assert!(told.chars().count() <= 80 * 10 + 100, "{} characters of an error", told.len());
            assert!(!told.contains(char::is_control), "{told:?}");
            None
        }
    }
}

/// Every kind of name, whole, cut, and in other cases.
pub fn seeds() -> Vec<Vec<u8>> {
    let (view, boot) = ("0a".repeat(16), "1b".repeat(8));
    let mut whole = vec![
        "52:54:00:00:00:0a".to_owned(),
        "52-54-00-00-00-0a".to_owned(),
        "5254.0000.000a".to_owned(),
        "52540000000A".to_owned(),
        "2:0:0:0:0:1".to_owned(),
        "01:00:5e:00:00:01".to_owned(),
        "00:00:00:00:00:00".to_owned(),
        boot.clone(),
        view.clone(),
        view.repeat(2),
        "12345678-1234-4234-8234-123456789abc".to_owned(),
        format!("/v/{view}"),
        format!("/v/{view}.{boot}"),
        format!("/v/{view}.{boot}.{view}/etc/x"),
    ];
    let others: Vec<String> = whole
        .iter()
        .flat_map(|name| [name.to_uppercase(), name[1..].to_owned(), format!("{name}x")])
        .collect();
    whole.extend(others);
    whole
        .into_iter()
        .map(String::into_bytes)
        .chain([b"/v/\xff".to_vec(), "\u{1b}[2J\u{202e}".repeat(40).into_bytes()])
        .collect()
}
