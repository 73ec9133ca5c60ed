//! The devices of the machine, as sysfs has them: what each says of itself, and which of them no driver has taken.

use std::collections::BTreeSet;

use crate::kernel::Kernel;

const BUSES: &str = "/sys/bus";
/// Devices that are looked at; a large machine has some thousands.
const MOST: usize = 20_000;

/// What all devices say that they are. A device that comes later says it later.
pub fn modaliases(kernel: &dyn Kernel) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for bus in kernel.list(BUSES).unwrap_or_default() {
        let devices = format!("{BUSES}/{bus}/devices");
        for device in kernel.list(&devices).unwrap_or_default() {
            if found.len() == MOST {
                return found;
            }
            found.extend(text(kernel, &format!("{devices}/{device}/modalias")));
        }
    }
    found.remove("");
    found
}

/// PCI devices of the network's class that no driver has taken, as `VENDOR:DEVICE`, and USB devices none of whose parts any has; and
/// a board's NICs, as its device tree calls what they are.
pub fn without_driver(kernel: &dyn Kernel) -> BTreeSet<String> {
    let mut found = on_board(kernel);
    let pci = "/sys/bus/pci/devices";
    for device in kernel.list(pci).unwrap_or_default() {
        let device = format!("{pci}/{device}");
        let is_network =
            text(kernel, &format!("{device}/class")).is_some_and(|class| class.starts_with("0x02"));
        if is_network && !kernel.is_there(&format!("{device}/driver")) {
            found.extend(pair(kernel, &device, "vendor", "device"));
        }
    }
    let usb = "/sys/bus/usb/devices";
    // `1-2:1.0` is a part of `1-2`.
    let parts: Vec<String> =
        kernel.list(usb).unwrap_or_default().into_iter().filter(|name| name.contains(':')).collect();
    for part in &parts {
        let path = format!("{usb}/{part}");
        // Communication, wireless, and what a maker calls its own.
        let class = text(kernel, &format!("{path}/bInterfaceClass")).unwrap_or_default();
        let may_be_nic = ["02", "0a", "e0", "ff"].contains(&class.as_str());
        let device = part.split(':').next().unwrap_or_default();
        let taken = parts.iter().any(|other| {
            other.split(':').next() == Some(device) && kernel.is_there(&format!("{usb}/{other}/driver"))
        });
        if may_be_nic && !taken {
            found.extend(pair(kernel, &format!("{usb}/{device}"), "idVendor", "idProduct"));
        }
    }
    found
}

/// NICs that no driver has taken among what the device tree has on no bus: `of:NNAMETTYPECWHAT…`, of one with the name that the
/// Devicetree Specification gives them (§2.2.2), or with the type that Open Firmware did. Ports and switches have other names. What
/// ACPI has says no more than a maker's number.
fn on_board(kernel: &dyn Kernel) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let platform = "/sys/bus/platform/devices";
    for name in kernel.list(platform).unwrap_or_default() {
        let device = format!("{platform}/{name}");
        let modalias = text(kernel, &format!("{device}/modalias")).unwrap_or_default();
        let Some((node, rest)) = modalias.strip_prefix("of:N").and_then(|rest| rest.split_once('T')) else {
            continue;
        };
        // What it is comes the most exact first. A capital in it only cuts short what a person reads.
        let mut words = rest.split('C');
        let (kind, what) = (words.next(), words.next());
        let is_nic = node == "ethernet" || kind == Some("network");
        if is_nic && !kernel.is_there(&format!("{device}/driver")) {
            found.insert(what.map_or(name, str::to_owned));
        }
    }
    found
}

fn pair(kernel: &dyn Kernel, device: &str, one: &str, other: &str) -> Option<String> {
    let id = |name| text(kernel, &format!("{device}/{name}"));
    let (one, other) = (id(one)?, id(other)?);
    Some(format!("{}:{}", one.trim_start_matches("0x"), other.trim_start_matches("0x")))
}

/// Firmware that a NIC's driver has asked for in vain, as the kernel has said: who, and which file.
pub fn missing_firmware(kernel: &dyn Kernel) -> Vec<(String, String)> {
    /// Said by mainline's kernels, and by Debian's.
    const WORDS: [&str; 2] = ["Direct firmware load for ", "failed to load "];
    let mut found = Vec::new();
    for line in kernel.log(usize::MAX) {
        let told = WORDS.iter().find_map(|words| line.split_once(words));
        let Some((driver, rest)) = told.filter(|_| line.contains("firmware")) else { continue };
        // Who speaks stands in front: `igc 0000:01:00.0: `, and Debian's kernels add a word of their own.
        let driver = driver.trim_end_matches("firmware: ").trim_end_matches([':', ' ']).to_owned();
        let file = rest.split_ascii_whitespace().next().unwrap_or_default().to_owned();
        let device = driver.rsplit(' ').next().unwrap_or_default();
        if may_be_nic(kernel, device) && !found.iter().any(|(_, known)| *known == file) {
            found.push((driver, file));
        }
    }
    found
}

/// Whether this device may be a NIC: what asks for the rules of radio (`regulatory.0`) is none, nor is a card of another class.
fn may_be_nic(kernel: &dyn Kernel, device: &str) -> bool {
    let is_on_bus = device.contains(':') || device.contains("ethernet");
    let class = text(kernel, &format!("/sys/bus/pci/devices/{device}/class"));
    is_on_bus && class.is_none_or(|class| class.starts_with("0x02"))
}

fn text(kernel: &dyn Kernel, path: &str) -> Option<String> {
    let bytes = kernel.read(path).ok()?;
    String::from_utf8(bytes).ok().map(|text| text.trim().to_owned())
}
