//! Firmware that goes into an initrd: what the drivers in it name, and those of NICs that the kernel has in itself, as far as the tree has it.
//!
//! The kernel looks for a file in four directories, first as it is and then packed (`fw_path` and `_request_firmware` in
//! drivers/base/firmware_loader): what is below `updates` takes the place of what a distribution has.

use std::collections::BTreeSet;

use oneroot_initrd::firmware::of_builtin;
use oneroot_initrd::modules;
use oneroot_tree::{Store, View};

use super::contents::{File, object};
use super::taken::plain;
use crate::error::Result;

/// Where firmware lies in a tree, and how a file there may be packed.
pub const FIRMWARE: &str = "/lib/firmware";
pub const PACKED: [&str; 3] = ["", ".zst", ".xz"];
/// Names of firmware that is looked for.
pub const MOST_NAMES: usize = 8192;
/// Bytes of a firmware file, unpacked.
const LARGEST: u64 = 32 << 20;
/// Files of firmware in one initrd.
const MOST: usize = 512;
/// Below these lie the drivers of NICs that a kernel may have in itself.
const NICS: [&str; 3] =
    ["kernel/drivers/net/ethernet/", "kernel/drivers/net/usb/", "kernel/drivers/net/phy/"];

/// The firmware of these names that the tree has for this kernel. What is not there is not told of: drivers name all that any card may want.
pub fn found(view: &View, version: &str, names: &BTreeSet<String>) -> Vec<File> {
    let directories = [
        format!("{FIRMWARE}/updates/{version}"),
        format!("{FIRMWARE}/updates"),
        format!("{FIRMWARE}/{version}"),
        FIRMWARE.to_owned(),
    ];
    let places = || PACKED.iter().flat_map(|end| directories.iter().map(move |directory| (directory, end)));
    let mut found = Vec::new();
    for name in names {
        let first = places().find_map(|(directory, end)| object(view, &format!("{directory}/{name}{end}")));
        if let Some(object) = first.filter(|_| found.len() < MOST) {
            found.push(File { path: format!("lib/firmware/{name}"), object, most: LARGEST });
        }
    }
    found
}

/// The names that drivers of NICs ask for which the kernel has in itself.
pub fn of_the_kernel(store: &Store, view: &View, home: &str) -> Result<BTreeSet<String>> {
    let read = |name: &str| -> Result<Vec<u8>> {
        let object = object(view, &format!("{home}/{name}"));
        object.map_or(Ok(Vec::new()), |object| plain(store, object, modules::LARGEST as u64))
    };
    let builtin = read("modules.builtin")?;
    let nics: BTreeSet<String> = builtin
        .split(|byte| *byte == b'\n')
        .filter_map(|line| str::from_utf8(line).ok())
        .filter(|path| NICS.iter().any(|below| path.starts_with(below)))
        .filter_map(|path| Some(path.rsplit('/').next()?.strip_suffix(".ko")?.replace('-', "_")))
        .collect();
    if nics.is_empty() {
        return Ok(BTreeSet::new());
    }
    let said = read("modules.builtin.modinfo")?;
    let named = of_builtin(&said, |module| nics.contains(module));
    Ok(named.take(MOST_NAMES).map(str::to_owned).collect())
}
