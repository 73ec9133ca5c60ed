//! Which modules of its kernel a machine gets in an initrd of oneroot's own: the drivers of its NIC, and what mounting a root takes.
//!
//! | the site says `drivers =` | what iPXE told of the NIC | its drivers |
//! |---|---|---|
//! | `"nic"`, or nothing | PCI vendor and device, and a module is for them | those, and what they need |
//! | `"nic"`, or nothing | anything else: a NIC on USB, of Xen's or Hyper-V's, a board's, or none that a module is for | the common ones |
//! | `"common"` | | the common ones: what most machines, boards (`drivers/boards.rs`) and all hypervisors have |
//! | `"all"` | | every driver of an Ethernet NIC, USB ones among them |
//!
//! Pure: from a kernel's tables ([`Tables`]) to names. What is built into the kernel needs no module and is in no list. Nor is what
//! the tree's admin does not want loaded (modprobe.d), but for what no root can be mounted without.

mod boards;

use std::collections::BTreeSet;

use oneroot_initrd::modules::{Tables, name_of};
use oneroot_initrd::settings::{Overlay, Size};

use crate::hardware::PciId;
use crate::root::{Drivers, OwnInitrd};

/// For which machine modules are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct For {
    /// What the site says.
    pub drivers: Drivers,
    /// The NIC, where it is known.
    pub nic: Option<PciId>,
    /// How large its compressed disk in memory is, where it has one.
    pub zram: Option<Size>,
    /// The VLAN whose frames it tags, where it does.
    pub vlan: Option<u16>,
}

impl For {
    /// For a machine of a profile that says this, with the drivers that it says.
    #[must_use]
    pub fn of(own: &OwnInitrd, nic: Option<PciId>) -> Self {
        let zram = match own.overlay {
            Some(Overlay::Zram(size, _)) => Some(size),
            Some(Overlay::Tmpfs(_)) | None => None,
        };
        Self { drivers: own.drivers.unwrap_or_default(), nic, zram, vlan: own.vlan }
    }

    /// The modules that its settings take, each with what is wrong with the setting where the kernel has none, and what to do.
    fn settings(self) -> impl Iterator<Item = (&'static str, String)> {
        let zram = self.zram.map(|size| {
            let told = format!(
                "has no zram (CONFIG_ZRAM), as a module or in itself, and `overlay = \"zram {size}\"` takes it: say `overlay = \"{size}\"`, or take a kernel that has it"
            );
            (ZRAM, told)
        });
        let vlan = self.vlan.map(|vlan| {
            let told = format!(
                "has no VLANs (8021q, CONFIG_VLAN_8021Q), as a module or in itself, and `vlan = {vlan}` takes them: leave `vlan` away and have the switch do the tagging, or take a kernel that has them"
            );
            (VLAN, told)
        });
        zram.into_iter().chain(vlan)
    }
}

/// What was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen<'t> {
    /// Paths of the modules, in an order in which each can be loaded.
    pub modules: Vec<&'t str>,
    /// Those of them that no boot comes up without: what mounts the root, and the driver of a NIC that is known.
    pub needed: BTreeSet<&'t str>,
    /// In words: whose drivers they are.
    pub why: String,
    /// What the kernel has neither as a module nor in itself, and can't do without; in words.
    pub lacks: Vec<&'static str>,
    /// Of the profile's settings, those that this kernel can't carry out; in words that follow the kernel's name.
    pub unmet: Vec<String>,
    /// What it does not seem to have, and may have under another name, or may not need.
    pub doubts: Vec<&'static str>,
}

/// What mounting a root over NFS takes, and what it is where it is missing.
const NEEDED: [(&str, &str); 2] =
    [("nfsv3", "the NFS client of version 3 (CONFIG_NFS_V3)"), ("overlay", "overlayfs (CONFIG_OVERLAY_FS)")];
/// What asking for an address takes, which not each machine has to.
const PACKET: (&str, &str) = ("af_packet", "packet sockets (CONFIG_PACKET)");
/// A disk in memory, and networks with VLANs: needed where the profile has them, as nothing boots without.
const ZRAM: &str = "zram";
const VLAN: &str = "8021q";
/// What goes along where the kernel has it: those, and what packs the disk.
const WANTED: [&str; 11] =
    ["sunrpc", "lockd", "grace", "nfs", VLAN, ZRAM, "lzo", "lzo_rle", "zstd", "lz4", "zsmalloc"];

/// The NICs that most machines have: servers' and desktops' boards, hypervisors', adapters for USB.
const COMMON: [&str; 41] = [
    "e1000",
    "e1000e",
    "igb",
    "igbvf",
    "igc",
    "ixgbe",
    "ixgbevf",
    "i40e",
    "iavf",
    "ice",
    "r8169",
    "8139cp",
    "8139too",
    "tg3",
    "bnx2",
    "bnx2x",
    "bnxt_en",
    "mlx4_en",
    "mlx5_core",
    "ena",
    "gve",
    "vmxnet3",
    "virtio_net",
    "xen_netfront",
    "hv_netvsc",
    "atlantic",
    "alx",
    "atl1c",
    "sky2",
    "forcedeth",
    "be2net",
    "qede",
    "r8152",
    "ax88179_178a",
    "cdc_ether",
    "cdc_ncm",
    "r8153_ecm",
    "asix",
    "aqc111",
    "smsc95xx",
    "lan78xx",
];
/// What finds devices on a bus that is not there without it, with the NICs of that bus.
const BUSES: [(&str, &[&str]); 11] = [
    ("virtio_net", &["virtio_pci", "virtio_mmio"]),
    ("hv_netvsc", &["hv_vmbus", "pci_hyperv"]),
    ("r8152", USB),
    ("ax88179_178a", USB),
    ("cdc_ether", USB),
    ("cdc_ncm", USB),
    ("r8153_ecm", USB),
    ("asix", USB),
    ("aqc111", USB),
    ("smsc95xx", USB),
    ("lan78xx", USB),
];
/// The hosts of USB.
const USB: &[&str] = &["xhci_pci", "xhci_pci_renesas", "ehci_pci"];
/// What a hypervisor puts in the place of a NIC that it plays for firmware: Xen's goes away once Linux comes up.
const INSTEAD: [(&str, &[&str]); 3] =
    [("8139cp", &["xen_netfront"]), ("8139too", &["xen_netfront"]), ("e1000", &["xen_netfront"])];
/// What a driver asks for once it has its device, so that no table says it.
const LATER: [(&str, &[&str]); 4] = [
    ("mlx4_core", &["mlx4_en"]),
    ("qed", &["qede"]),
    ("virtio_pci", &["virtio_net"]),
    ("hv_vmbus", &["hv_netvsc"]),
];
/// Drivers of PHYs: which one a board has no PCI number says. The generic one of libphy serves what is in none of these.
const PHYS: [&str; 12] = [
    "realtek",
    "broadcom",
    "bcm_phy_lib",
    "marvell",
    "marvell10g",
    "smsc",
    "microchip",
    "motorcomm",
    "at803x",
    "intel_xway",
    "dp83867",
    "micrel",
];
/// Below these, in a kernel's modules, lie the drivers of Ethernet.
const ETHERNET: [&str; 4] = [
    "kernel/drivers/net/ethernet/",
    "kernel/drivers/net/usb/",
    "kernel/drivers/net/phy/",
    // Where QLogic's 10GbE was from Linux 5.5 to 6.8.
    "kernel/drivers/staging/qlge/",
];

/// Below this lie the drivers of NICs of all kinds, and of those none that a machine boots by is below the other.
const NICS: (&str, &str) = ("kernel/drivers/net/", "kernel/drivers/net/wireless/");
/// Below this lies what came with the kernel; what an admin had built beside it (DKMS, kmod packages) lies elsewhere.
const OF_THE_KERNEL: &str = "kernel/";

/// Chooses for a machine.
#[must_use]
pub fn choose<'t>(tables: &Tables<'t>, wanted: For) -> Chosen<'t> {
    let is_there = |name: &str| tables.path(name).is_some() || tables.is_builtin(name);
    let lacks = NEEDED.iter().filter(|(name, _)| !is_there(name)).map(|(_, what)| *what).collect();
    let mut doubts: Vec<&'static str> = if is_there(PACKET.0) { Vec::new() } else { vec![PACKET.1] };
    let (set, unmet): (Vec<_>, Vec<_>) = wanted.settings().partition(|(name, _)| is_there(name));
    let set: Vec<&str> = set.into_iter().map(|(name, _)| name).collect();
    let unmet = unmet.into_iter().map(|(_, told)| told).collect();
    let (mut names, is_known, why) = nics(tables, wanted);
    let own = names.iter().filter(|_| is_known).map(String::as_str);
    let needed = NEEDED.iter().map(|(name, _)| *name).chain([PACKET.0]).chain(set.iter().copied()).chain(own);
    let needed = tables.order_of_all(needed).into_iter().collect();
    let of_boards = || boards::NICS.iter().filter(|_| boards::may_run(tables));
    let any_nic = || COMMON.iter().chain(of_boards()).any(|name| is_there(name));
    if names.is_empty() && !any_nic() {
        doubts.push("a driver of any common NIC");
    }
    // A card's driver alone does not find it on a board whose PCIe waits for something.
    names.extend(boards::beside(tables).map(str::to_owned));
    let buses: Vec<&str> = BUSES
        .iter()
        .chain(&INSTEAD)
        .filter(|(nic, _)| names.iter().any(|name| name == nic))
        .flat_map(|(_, buses)| *buses)
        .copied()
        .collect();
    names.extend(buses.into_iter().map(str::to_owned));
    names.retain(|name| tables.is_wanted(name));
    if wants_phys(tables, &names) {
        let there = PHYS.iter().filter(|name| tables.path(name).is_some() && tables.is_wanted(name));
        names.extend(there.map(|name| (*name).to_owned()));
    }
    let all = NEEDED
        .iter()
        .map(|(name, _)| *name)
        .chain([PACKET.0])
        .chain(set)
        .chain(WANTED.into_iter().filter(|name| tables.may_load(name)))
        .chain(names.iter().map(String::as_str));
    Chosen { modules: tables.order_of_all(all), needed, why, lacks, unmet, doubts }
}

/// Whether one of these modules may need the driver of a PHY. Where libphy is built in, no table says which of them do.
fn wants_phys(tables: &Tables<'_>, names: &BTreeSet<String>) -> bool {
    let is_ethernet = |path: &str| ETHERNET.iter().any(|below| path.starts_with(below));
    if tables.is_builtin("libphy") {
        return names.iter().filter_map(|name| tables.path(name)).any(is_ethernet);
    }
    let order = tables.order_of_all(names.iter().map(String::as_str));
    order.iter().any(|path| name_of(path) == "libphy")
}

/// The names of NICs' drivers, whether they are those of the machine's own, and in words whose they are.
fn nics(tables: &Tables<'_>, wanted: For) -> (BTreeSet<String>, bool, String) {
    let common = |why: &str| {
        let is_there = |name: &&&str| tables.path(name).is_some() && tables.is_wanted(name);
        let may_be_a_board = boards::may_run(tables);
        let boards = boards::NICS.iter().filter(|_| may_be_a_board);
        let names = COMMON.iter().chain(boards).filter(is_there).map(|name| (*name).to_owned());
        (names.collect::<BTreeSet<String>>(), false, why.to_owned())
    };
    // What the tree's admin has chosen for it lies anywhere, and keeps all else from it.
    let own = || -> BTreeSet<String> {
        let found = wanted.nic.map(|nic| tables.of_pci(nic.vendor, nic.device)).unwrap_or_default();
        // Whoever can fetch a script can claim to be any device: what is for no NIC is not packed for him.
        found.into_iter().filter(|name| may_be_for_a_nic(tables, name)).map(str::to_owned).collect()
    };
    match (wanted.drivers, wanted.nic) {
        (Drivers::All, _) => {
            let all = tables.paths().filter(|path| ETHERNET.iter().any(|below| path.starts_with(below)));
            let mut names: BTreeSet<String> = all.map(|path| name_of(path).into_owned()).collect();
            names.extend(common("").0.into_iter().chain(own()));
            (names, false, "drivers of all Ethernet NICs, as the profile says".to_owned())
        }
        (Drivers::Common, _) => {
            let (mut names, is_known, why) = common("drivers of common NICs, as the profile says");
            names.extend(own());
            (names, is_known, why)
        }
        (Drivers::Nic, None) => common("drivers of common NICs, for nothing was told of this machine's"),
        (Drivers::Nic, Some(nic)) => {
            let mut names = own();
            for (first, then) in LATER {
                if names.contains(first) || tables.is_builtin(first) && is_of(first, nic) {
                    names.extend(then.iter().map(|name| (*name).to_owned()));
                }
            }
            // Of a NIC that it drives by the firmware's driver, iPXE tells the PCI device above it: for one on USB, its host.
            if names.iter().all(|name| is_bus(name)) {
                return common(&format!("drivers of common NICs, for no module of this kernel is for {nic}"));
            }
            let listed = names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            (names, true, format!("{listed} for its NIC {nic}"))
        }
    }
}

/// Whether a module can be the driver of a NIC that a machine boots by, or of the bus that it is on.
fn may_be_for_a_nic(tables: &Tables<'_>, name: &str) -> bool {
    let known = || {
        let buses = BUSES.iter().flat_map(|(_, buses)| *buses);
        let later = LATER.iter().flat_map(|(first, then)| [first].into_iter().chain(*then));
        COMMON.iter().chain(buses).chain(later).any(|known| *known == name_of(name))
    };
    tables.path(name).is_some_and(|path| {
        !path.starts_with(OF_THE_KERNEL)
            || path.starts_with(NICS.0) && !path.starts_with(NICS.1)
            || ETHERNET.iter().any(|below| path.starts_with(below))
            || known()
    })
}

/// Whether a module only finds devices.
fn is_bus(name: &str) -> bool {
    BUSES.iter().any(|(_, buses)| buses.iter().any(|bus| *bus == name_of(name)))
}

/// Whether a bus that the kernel has in itself is this NIC's.
fn is_of(bus: &str, nic: PciId) -> bool {
    /// Red Hat's, of all virtio devices.
    const VIRTIO: u16 = 0x1af4;
    bus == "virtio_pci" && nic.vendor == VIRTIO
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/fs/nfs/nfsv3.ko: kernel/net/sunrpc/sunrpc.ko\nkernel/net/sunrpc/sunrpc.ko:\n\
        kernel/fs/overlayfs/overlay.ko:\nkernel/drivers/net/ethernet/intel/igc/igc.ko:\n\
        kernel/drivers/net/ethernet/intel/e1000/e1000.ko:\nkernel/drivers/net/virtio_net.ko: kernel/net/core/failover.ko\n\
        kernel/net/core/failover.ko:\nkernel/drivers/virtio/virtio_pci.ko:\nkernel/drivers/net/phy/libphy.ko:\n\
        kernel/drivers/net/phy/realtek.ko: kernel/drivers/net/phy/libphy.ko\n\
        kernel/drivers/net/ethernet/realtek/r8169.ko: kernel/drivers/net/phy/libphy.ko\n\
        kernel/drivers/net/ethernet/rare/rare.ko:\nkernel/sound/snd.ko:\nkernel/drivers/gpu/drm/amd/amdgpu/amdgpu.ko:\n\
        kernel/drivers/net/wireless/intel/iwlwifi/iwlwifi.ko:\nupdates/dkms/r8125.ko:\n\
        kernel/drivers/net/xen-netfront.ko:\nkernel/drivers/net/usb/cdc_ncm.ko:\nkernel/drivers/usb/host/xhci-pci.ko:\n\
        kernel/drivers/net/hyperv/hv_netvsc.ko: kernel/drivers/hv/hv_vmbus.ko\nkernel/drivers/hv/hv_vmbus.ko:\n\
        kernel/drivers/virtio/virtio_mmio.ko:\n";
    const ALIAS: &str = "alias pci:v00008086d000015F3sv*sd*bc*sc*i* igc\nalias pci:v00008086d0000100Esv*sd*bc*sc*i* e1000\n\
        alias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci\nalias virtio:d00000001v* virtio_net\n\
        alias pci:v000010ECd00008168sv*sd*bc*sc*i* r8169\nalias pci:v00008086d00001234sv0000AAAAsd*bc*sc*i* rare\n\
        alias pci:v00001002d000073FFsv*sd*bc*sc*i* amdgpu\nalias pci:v00008086d00002723sv*sd*bc*sc*i* iwlwifi\n\
        alias pci:v000010ECd00008125sv*sd*bc*sc*i* r8125\nalias pci:v00001912d00000014sv*sd*bc*sc*i* xhci_pci\n";

    fn chosen(drivers: Drivers, nic: &str) -> (Vec<String>, String, Vec<&'static str>) {
        let tables = Tables::parse(DEP, ALIAS, "", "kernel/net/packet/af_packet.ko\n").unwrap();
        let Chosen { modules, why, lacks, .. } =
            choose(&tables, For { drivers, nic: nic.parse().ok(), ..For::default() });
        (modules.into_iter().map(|path| name_of(path).into_owned()).collect(), why, lacks)
    }

    #[test]
    fn a_known_nic_brings_its_own_driver_and_no_other() {
        let base = ["sunrpc", "nfsv3", "overlay"];
        for (nic, own) in [
            ("8086:15f3", &["igc"][..]),
            ("1af4:1000", &["failover", "virtio_net", "virtio_pci", "virtio_mmio"]),
            ("10ec:8168", &["libphy", "r8169", "realtek"]),
            ("8086:1234", &["rare"]),
            // Built beside the kernel by whoever made the tree.
            ("10ec:8125", &["r8125"]),
        ] {
            let (modules, why, lacks) = chosen(Drivers::Nic, nic);
            let own: Vec<String> = base.iter().chain(own).map(|name| (*name).to_owned()).collect();
            assert_eq!(BTreeSet::from_iter(&modules), BTreeSet::from_iter(&own), "{nic}");
            assert!(why.contains(nic) && lacks.is_empty(), "{why} {lacks:?}");
        }
    }

    #[test]
    fn one_that_nobody_knows_brings_the_common_ones_and_says_so() {
        for (drivers, nic, says) in [
            (Drivers::Nic, "", "nothing was told"),
            (Drivers::Nic, "8086:ffff", "no module of this kernel is for 8086:ffff"),
            (Drivers::Common, "8086:15f3", "as the profile says"),
        ] {
            let (modules, why, _) = chosen(drivers, nic);
            assert!(why.contains(says), "{why}");
            for name in ["igc", "e1000", "virtio_net", "virtio_pci", "r8169"] {
                assert!(modules.iter().any(|module| module == name), "{name}: {modules:?}");
            }
            assert!(!modules.iter().any(|module| module == "rare" || module == "snd"), "{modules:?}");
        }
        for drivers in [Drivers::Common, Drivers::All] {
            let (modules, _, _) = chosen(drivers, "10ec:8125");
            assert!(modules.iter().any(|name| name == "r8125"), "what its admin has built for it");
        }
        let (modules, _, _) = chosen(Drivers::All, "8086:15f3");
        assert!(
            modules.iter().any(|module| module == "rare") && !modules.iter().any(|module| module == "snd")
        );
    }

    #[test]
    fn a_nic_on_a_bus_that_tells_no_pci_numbers_finds_its_driver_and_its_bus_among_the_common_ones() {
        // Of one on USB that the firmware drives, iPXE tells the numbers of its host.
        for nic in ["", "1912:0014"] {
            let (modules, why, _) = chosen(Drivers::Nic, nic);
            for name in
                ["cdc_ncm", "xhci_pci", "xen_netfront", "hv_netvsc", "hv_vmbus", "virtio_net", "virtio_mmio"]
            {
                assert!(modules.iter().any(|module| module == name), "{nic} {name}: {modules:?}");
            }
            assert!(why.starts_with("drivers of common NICs"), "{why}");
        }
    }

    /// A kernel of boards, and what one of x86 has of the same drivers.
    const BOARDS: &str = "kernel/drivers/net/ethernet/broadcom/genet/genet.ko: kernel/drivers/net/phy/libphy.ko\n\
        kernel/drivers/net/mdio/mdio-bcm-unimac.ko:\nkernel/drivers/net/ethernet/cadence/macb.ko:\n\
        kernel/drivers/net/ethernet/stmicro/stmmac/dwmac-rk.ko: kernel/drivers/net/ethernet/stmicro/stmmac/stmmac-platform.ko\n\
        kernel/drivers/net/ethernet/stmicro/stmmac/stmmac-platform.ko:\nkernel/drivers/net/ethernet/marvell/mvneta.ko:\n\
        kernel/drivers/net/ethernet/marvell/mvmdio.ko:\nkernel/drivers/net/phy/meson-gxl.ko:\nkernel/drivers/regulator/fixed.ko:\n\
        kernel/drivers/net/usb/smsc95xx.ko:\nkernel/drivers/usb/dwc2/dwc2.ko:\nkernel/drivers/regulator/max8649.ko:\n";

    #[test]
    fn a_boards_nic_which_tells_no_pci_numbers_finds_its_driver_and_what_that_waits_for_among_the_common_ones()
     {
        let has = |more: &str, drivers, nic: &str| {
            let dep = format!("{DEP}{BOARDS}{more}");
            let tables = Tables::parse(&dep, ALIAS, "", "").unwrap();
            let chosen = choose(&tables, For { drivers, nic: nic.parse().ok(), zram: None, vlan: None });
            let of = |part: &str| chosen.modules.iter().any(|path| name_of(path) == part);
            let wanted = [
                "genet",
                "mdio_bcm_unimac",
                "macb",
                "dwmac_rk",
                "stmmac_platform",
                "mvneta",
                "mvmdio",
                "meson_gxl",
                "fixed",
                "dwc2",
            ];
            assert!(!of("max8649"), "what is seldom needed");
            wanted.into_iter().filter(|name| of(name)).collect::<Vec<_>>()
        };
        let x86 = "kernel/arch/x86/crypto/aesni-intel.ko:\n";
        assert_eq!(has("", Drivers::Nic, "").len(), 10, "{:?}", has("", Drivers::Nic, ""));
        assert_eq!(has("", Drivers::Common, "").len(), 10);
        let beside = ["mdio_bcm_unimac", "mvmdio", "meson_gxl", "fixed", "dwc2"];
        assert_eq!(
            has("", Drivers::Nic, "10ec:8168"),
            beside,
            "of a card that is known what its slot may wait for"
        );
        assert_eq!(has(x86, Drivers::Nic, "10ec:8168"), [""; 0]);
        assert_eq!(has(x86, Drivers::Nic, ""), [""; 0], "no such machine has a device tree");
        let tables = Tables::parse(BOARDS, "", "", "kernel/net/packet/af_packet.ko\n").unwrap();
        let chosen = choose(&tables, For { drivers: Drivers::Common, nic: None, zram: None, vlan: None });
        assert_eq!(chosen.doubts, [""; 0], "a kernel for boards alone has common NICs");
    }

    #[test]
    fn a_nic_that_xen_takes_away_once_linux_comes_up_brings_the_driver_of_the_one_that_comes_for_it() {
        let tables = Tables::parse(DEP, ALIAS, "", "").unwrap();
        let chosen = choose(&tables, For { nic: "8086:100e".parse().ok(), ..For::default() });
        let xen = chosen.modules.iter().find(|path| name_of(path) == "xen_netfront").unwrap();
        assert!(!chosen.needed.contains(xen), "most machines that have such a NIC are not Xen's");
        assert!(chosen.modules.iter().any(|path| name_of(path) == "e1000"));
    }

    #[test]
    fn who_claims_to_be_another_kind_of_device_gets_the_common_drivers_and_not_that_devices() {
        let common = chosen(Drivers::Common, "").0;
        for nic in ["1002:73ff", "8086:2723"] {
            let (modules, why, _) = chosen(Drivers::Nic, nic);
            assert_eq!(modules, common, "{nic}");
            assert!(why.contains(&format!("no module of this kernel is for {nic}")), "{why}");
        }
    }

    #[test]
    fn a_driver_that_the_tree_does_not_want_gives_way_to_the_one_that_it_does() {
        let alias = format!("{ALIAS}alias pci:v000010ECd00008125sv*sd*bc*sc*i* r8169\n");
        for (conf, nic, has, has_not) in [
            ("blacklist r8169\n", "10ec:8125", "r8125", "r8169"),
            ("install r8125 /bin/false\n", "10ec:8125", "r8169", "r8125"),
            (
                "alias pci:v000010ECd00008168sv*sd*bc*sc*i* r8125\nblacklist r8169\n",
                "10ec:8168",
                "r8125",
                "r8169",
            ),
            ("blacklist e1000\n", "", "igc", "e1000"),
            ("install libphy /bin/true\n", "", "igc", "r8169"),
        ] {
            let tables = Tables::parse(DEP, &alias, "", "").unwrap().told(conf).unwrap();
            let chosen = choose(&tables, For { nic: nic.parse().ok(), ..For::default() });
            let there = |name: &str| chosen.modules.iter().any(|path| name_of(path) == name);
            assert!(there(has) && !there(has_not), "{conf}: {:?}", chosen.modules);
        }
        let conf = "blacklist overlay\ninstall nfsv3 /bin/false\n";
        let tables = Tables::parse(DEP, ALIAS, "", "").unwrap().told(conf).unwrap();
        let chosen = choose(&tables, For { nic: None, ..For::default() });
        for name in ["nfsv3", "overlay"] {
            assert!(
                chosen.modules.iter().any(|path| name_of(path) == name),
                "no root is mounted without {name}"
            );
        }
    }

    #[test]
    fn a_phy_has_its_driver_where_libphy_is_built_in_as_well() {
        let dep = DEP.replace(" kernel/drivers/net/phy/libphy.ko", "");
        let dep = dep.replace("kernel/drivers/net/phy/libphy.ko:\n", "");
        let tables = Tables::parse(&dep, ALIAS, "", "kernel/drivers/net/phy/libphy.ko\n").unwrap();
        for (nic, has) in [("10ec:8168", true), ("1af4:1000", false)] {
            let chosen = choose(&tables, For { nic: nic.parse().ok(), ..For::default() });
            assert_eq!(chosen.modules.iter().any(|path| name_of(path) == "realtek"), has, "{nic}");
        }
    }

    #[test]
    fn what_a_kernel_can_not_do_without_is_named() {
        let tables = Tables::parse("", "", "", "kernel/fs/overlayfs/overlay.ko\n").unwrap();
        let chosen = choose(&tables, For { nic: None, ..For::default() });
        assert_eq!(chosen.lacks, ["the NFS client of version 3 (CONFIG_NFS_V3)"], "overlayfs is built in");
        assert_eq!(chosen.doubts, ["packet sockets (CONFIG_PACKET)", "a driver of any common NIC"]);
    }

    #[test]
    fn what_a_profiles_settings_take_is_needed_and_named_where_the_kernel_has_it_neither_as_a_module_nor_in_itself()
     {
        let overlay = crate::root::overlay("zram 512m");
        let own = OwnInitrd { overlay, vlan: Some(12), ..OwnInitrd::default() };
        let of = |dep: &str, builtin: &str, own: &OwnInitrd| {
            let tables = Tables::parse(dep, "", "", builtin).unwrap();
            let chosen = choose(&tables, For::of(own, None));
            let needed: Vec<String> = chosen.needed.iter().map(|path| name_of(path).into_owned()).collect();
            (chosen.unmet, needed)
        };
        let (unmet, _) = of(DEP, "", &own);
        let [zram, vlan] = &unmet[..] else { panic!("{unmet:?}") };
        assert!(
            zram.contains("`overlay = \"zram 512m\"`") && zram.contains("say `overlay = \"512m\"`"),
            "{zram}"
        );
        assert!(vlan.contains("`vlan = 12`") && vlan.contains("CONFIG_VLAN_8021Q"), "{vlan}");
        let built_in = "kernel/drivers/block/zram/zram.ko\nkernel/net/8021q/8021q.ko\n";
        assert!(of(DEP, built_in, &own).0.is_empty(), "what is built in is there");
        let modules = format!("{DEP}kernel/drivers/block/zram/zram.ko:\nkernel/net/8021q/8021q.ko:\n");
        let (unmet, needed) = of(&modules, "", &own);
        for name in [ZRAM, VLAN] {
            assert!(unmet.is_empty() && needed.iter().any(|needed| needed == name), "{name}: {needed:?}");
        }
        let tmpfs = OwnInitrd { overlay: crate::root::overlay("512m"), ..OwnInitrd::default() };
        for nobody_asks in [tmpfs, OwnInitrd::default()] {
            let (unmet, needed) = of(&modules, "", &nobody_asks);
            assert!(
                unmet.is_empty() && !needed.iter().any(|name| [ZRAM, VLAN].contains(&name.as_str())),
                "{needed:?}"
            );
            assert!(of(DEP, "", &nobody_asks).0.is_empty());
        }
    }
}
