//! Whose microcode lies before an initrd of oneroot's own: a kernel loads it before all else, from an archive that is not packed
//! (Linux, Documentation/arch/x86/microcode.rst). A virtual machine's processor is its host's to update.
//!
//! | what iPXE told | microcode of |
//! |---|---|
//! | a hypervisor's maker, model or NIC | nobody |
//! | a processor by AMD or by Intel | that maker |
//! | another, or none | both |

use crate::hardware::{Hardware, PciId, Told};

/// Whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Microcode {
    /// AMD's.
    pub amd: bool,
    /// Intel's.
    pub intel: bool,
}

/// Words of a hypervisor's, in small letters, in who made a machine and which model it is.
const HYPERVISORS: [&str; 16] = [
    "qemu",
    "kvm",
    "bochs",
    "xen",
    "vmware",
    "innotek",
    "virtualbox",
    "virtual machine",
    "parallels",
    "openstack",
    "ovirt",
    "rhev",
    "google compute engine",
    "ahv",
    "bhyve",
    "cloud hypervisor",
];
/// PCI vendors of NICs that no board has: virtio's, VMware's, Xen's.
const VIRTUAL: [u16; 3] = [0x1af4, 0x15ad, 0x5853];

impl Microcode {
    /// For a machine that tells this of itself.
    #[must_use]
    pub fn of(hardware: &Hardware) -> Self {
        if is_virtual(hardware) {
            return Self::default();
        }
        let cpu = hardware.cpu.as_ref().map(small).unwrap_or_default();
        match (cpu.contains("amd"), cpu.contains("intel")) {
            (false, false) => Self { amd: true, intel: true },
            (amd, intel) => Self { amd, intel },
        }
    }
}

fn is_virtual(hardware: &Hardware) -> bool {
    let mut told = [&hardware.manufacturer, &hardware.product].into_iter().flatten().map(small);
    let nic = |nic: PciId| VIRTUAL.contains(&nic.vendor);
    hardware.nic.is_some_and(nic) || told.any(|told| HYPERVISORS.iter().any(|word| told.contains(word)))
}

fn small(told: &Told) -> String {
    told.as_str().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(product: &str, cpu: &str, nic: &str) -> (bool, bool) {
        let told = |text: &str| Told::of(text.as_bytes());
        let hardware =
            Hardware { product: told(product), cpu: told(cpu), nic: nic.parse().ok(), ..Hardware::default() };
        let Microcode { amd, intel } = Microcode::of(&hardware);
        (amd, intel)
    }

    #[test]
    fn a_board_gets_its_processors_microcode_and_a_virtual_machine_gets_none() {
        assert_eq!(of("ThinkCentre M75q", "AMD Ryzen 5 PRO 4650GE", "10ec:8168"), (true, false));
        assert_eq!(of("PowerEdge R640", "Intel(R) Xeon(R) Gold 6130 CPU", "8086:1572"), (false, true));
        assert_eq!(of("", "", ""), (true, true), "nothing was told of it");
        assert_eq!(of("X1", "a processor", "8086:15f3"), (true, true));
        for (product, nic) in [
            ("Standard PC (Q35 + ICH9, 2009)", "1af4:1000"),
            ("VMware7,1", "8086:100f"),
            ("Virtual Machine", ""),
            ("VirtualBox", "8086:100e"),
        ] {
            assert_eq!(of(product, "AMD EPYC", nic), (false, false), "{product}");
        }
    }
}
