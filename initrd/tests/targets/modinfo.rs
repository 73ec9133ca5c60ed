//! Any bytes as a kernel module that says which firmware it wants.
//!
//! Input: a file, or what follows a zero as the `.modinfo` of one. What must hold: each name stays below the directory of firmware, and
//! none comes twice.

use std::collections::HashSet;

use oneroot_initrd::firmware::{MOST, said};
use oneroot_testkit::module::module;

pub fn run(data: &[u8]) {
    let made;
    let file = match data.split_first() {
        Some((0, info)) => {
            made = module(info);
            &made
        }
        _ => data,
    };
    let Ok(said) = said(file) else { return };
    assert!(said.firmware.len() <= MOST);
    assert_eq!(said.firmware.iter().collect::<HashSet<_>>().len(), said.firmware.len());
    for name in said.firmware {
        assert!(name.split('/').all(|part| !matches!(part, "" | "." | "..")), "{name:?}");
        assert!(name.bytes().all(|byte| byte.is_ascii_graphic()), "{name:?}");
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let info =
        b"license=GPL\0firmware=rtl_nic/rtl8168h-2.fw\0firmware=../x\0firmware=rtl_nic/rtl8168h-2.fw\0";
    vec![module(info), [&[0], &info[..]].concat(), module(b""), b"\0".to_vec()]
}
