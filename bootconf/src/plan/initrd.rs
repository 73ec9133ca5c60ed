//! Whether an initrd can mount an NFS root, and whether the site calls it what it is: told by the names of its files.
//!
//! What made it is told by files that each maker puts into every one: initramfs-tools its `scripts/functions` (beside
//! `conf/initramfs.conf`), dracut its library (dracut.modules(7)), Alpine's mkinitfs and Arch's mkinitcpio theirs. What is
//! not known is not complained of.

use crate::root::Initramfs;

/// What the names in an initrd say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Initrd {
    initramfs_tools: bool,
    dracut: bool,
    mkinitfs: bool,
    mkinitcpio: bool,
    /// The program with which initramfs-tools mounts: klibc's.
    nfsmount: bool,
    /// The script of initramfs-tools that does it.
    nfs_script: bool,
    /// The program with which dracut mounts.
    mount_nfs: bool,
    /// dracut's own part, which reads `root=nfs:`.
    nfs_part: bool,
    /// The kernel's NFS client of version 3.
    nfsv3: bool,
    /// A driver of some NIC.
    nic: bool,
}

impl Initrd {
    /// Takes note of one file, by its path from the top, without a leading slash.
    pub fn note(&mut self, path: &str) {
        let path = path.trim_start_matches("./");
        match path {
            "scripts/functions" => self.initramfs_tools = true,
            "scripts/nfs" => self.nfs_script = true,
            "usr/lib/dracut-lib.sh" | "lib/dracut-lib.sh" => self.dracut = true,
            "sbin/nlplug-findfs" | "usr/sbin/nlplug-findfs" => self.mkinitfs = true,
            "init_functions" | "usr/lib/initcpio/init_functions" => self.mkinitcpio = true,
            _ => {}
        }
        let name = path.rsplit('/').next().unwrap_or_default();
        match name {
            "nfsmount" => self.nfsmount = true,
            "mount.nfs" => self.mount_nfs = true,
            "nfsroot" | "nfs-lib.sh" => self.nfs_part = true,
            _ => {}
        }
        self.dracut |= path.starts_with("usr/lib/dracut/") || path.starts_with("lib/dracut/");
        self.module(path);
    }

    /// Takes note of what is no module in this kernel: `modules.builtin`, one path a line.
    pub fn built_in(&mut self, modules: &str) {
        modules.lines().for_each(|path| self.module(path));
    }

    fn module(&mut self, path: &str) {
        let Some((_, inside)) = path.rsplit_once("kernel/") else { return };
        let name = inside.rsplit('/').next().unwrap_or_default();
        // A module may be packed: `.ko.xz`, `.ko.zst`.
        let Some((name, _)) = name.split_once(".ko") else { return };
        self.nfsv3 |= name == "nfsv3";
        self.nic |= is_nics(inside, name);
    }

    /// What would keep a machine from mounting its root, with what to do; nothing where all is well or not known. `file` is the
    /// initrd's path, `profile` where the site says `initramfs`.
    #[must_use]
    pub fn problems(&self, file: &str, profile: &str, told: Initramfs) -> Vec<String> {
        if let Some(problem) = self.misnamed(file, profile, told) {
            return vec![problem];
        }
        let again = match told {
            Initramfs::InitramfsTools if self.initramfs_tools => {
                "put BOOT=nfs and MODULES=most into /etc/initramfs-tools/initramfs.conf of the tree, and run `update-initramfs -u` there"
            }
            Initramfs::Dracut if self.dracut => {
                "put hostonly=no and add_dracutmodules+=\" nfs \" into /etc/dracut.conf.d/nfs.conf of the tree, and run dracut there"
            }
            _ => return Vec::new(),
        };
        let mounts = match told {
            Initramfs::Dracut => self.mount_nfs && self.nfs_part,
            _ => self.nfsmount && self.nfs_script,
        };
        let program = match told {
            Initramfs::Dracut if !self.mount_nfs => "mount.nfs (Debian: nfs-common, Fedora: nfs-utils)",
            Initramfs::Dracut => "dracut's module nfs (Debian and Fedora: dracut-network)",
            _ => "nfsmount (Debian: klibc-utils)",
        };
        let lacks =
            [(mounts, program), (self.nfsv3, "the kernel's module nfsv3"), (self.nic, "a driver of any NIC")];
        let lacks: Vec<&str> = lacks.into_iter().filter(|(there, _)| !there).map(|(_, what)| what).collect();
        if lacks.is_empty() {
            return Vec::new();
        }
        vec![format!("{file} can't mount the root, for it lacks {}; {again}", lacks.join(" and "))]
    }

    /// The site takes it for another's.
    fn misnamed(&self, file: &str, profile: &str, told: Initramfs) -> Option<String> {
        let mends = match (told, self.initramfs_tools, self.dracut) {
            (Initramfs::InitramfsTools, false, true) => Initramfs::Dracut,
            (Initramfs::Dracut, true, false) => Initramfs::InitramfsTools,
            (Initramfs::None, ..) | (_, true, _) | (_, _, true) => return None,
            _ => {
                let maker = match (self.mkinitfs, self.mkinitcpio) {
                    (true, _) => "Alpine's mkinitfs",
                    (_, true) => "Arch's mkinitcpio",
                    _ => return None,
                };
                return Some(format!(
                    "{file} is of {maker}, whose arguments oneroot does not know: make one with dracut in the tree, or say `initramfs = \"none\"` where the kernel itself has NFS and the NIC's driver"
                ));
            }
        };
        Some(format!(
            "{file} is of {mends}, and this profile boots as {told} would: a machine does not find its root; write `initramfs = \"{mends}\"` in [profile.{profile}]",
            mends = mends.as_str(),
            told = told.as_str(),
        ))
    }
}

/// Whether a module drives a NIC that a machine can boot by. `inside` is its path below `kernel/`.
fn is_nics(inside: &str, name: &str) -> bool {
    // Drivers that lie in drivers/net itself, or in a directory of their own there, among much that drives no NIC.
    let virtual_nics = ["virtio_net", "vmxnet3", "xen-netfront", "hv_netvsc"];
    let below = ["drivers/net/ethernet/", "drivers/net/usb/"];
    below.iter().any(|directory| inside.starts_with(directory)) || virtual_nics.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOLS: [&str; 5] = [
        "conf/initramfs.conf",
        "scripts/functions",
        "scripts/nfs",
        "usr/bin/nfsmount",
        "usr/lib/modules/6.1/kernel/fs/nfs/nfsv3.ko",
    ];
    const DRACUT: [&str; 4] = [
        "usr/lib/dracut-lib.sh",
        "usr/sbin/mount.nfs",
        "usr/sbin/nfsroot",
        "lib/modules/6.12/kernel/fs/nfs/nfsv3.ko.xz",
    ];
    const NIC: &str = "usr/lib/modules/6.1/kernel/drivers/net/virtio_net.ko.zst";

    fn of(names: &[&str]) -> Initrd {
        let mut initrd = Initrd::default();
        names.iter().for_each(|name| initrd.note(name));
        initrd
    }

    fn said(initrd: &Initrd, told: Initramfs) -> String {
        initrd.problems("/boot/initrd.img", "small", told).join("\n")
    }

    #[test]
    fn one_that_can_mount_is_not_complained_of_nor_one_that_nobody_knows() {
        for (names, told) in [(&TOOLS[..], Initramfs::InitramfsTools), (&DRACUT[..], Initramfs::Dracut)] {
            assert_eq!(said(&of(&[names, &[NIC]].concat()), told), "");
            let mut built_in = of(names);
            built_in.built_in("kernel/drivers/net/ethernet/intel/e1000/e1000.ko\nkernel/fs/ext4/ext4.ko\n");
            assert_eq!(said(&built_in, told), "", "a driver that is no module");
        }
        for told in Initramfs::ALL {
            assert_eq!(said(&of(&["init", "bin/booster"]), told), "");
        }
    }

    #[test]
    fn one_of_another_maker_is_named_with_what_to_write() {
        for (names, told, says) in [
            (&DRACUT[..], Initramfs::InitramfsTools, "write `initramfs = \"dracut\"` in [profile.small]"),
            (&TOOLS[..], Initramfs::Dracut, "write `initramfs = \"initramfs-tools\"` in [profile.small]"),
            (&["init", "sbin/nlplug-findfs"], Initramfs::InitramfsTools, "mkinitfs"),
            (&["init", "init_functions"], Initramfs::Dracut, "mkinitcpio"),
        ] {
            let said = said(&of(names), told);
            assert!(said.contains(says), "{said}");
        }
    }

    #[test]
    fn one_without_nfs_or_any_nic_is_said_with_how_to_make_another() {
        // One that is made for booting from a disk: only the names that it has then are left.
        for (names, told, lacks) in [
            (TOOLS.as_slice(), Initramfs::InitramfsTools, ["nfsmount", "module nfsv3", "driver of any NIC"]),
            (&DRACUT, Initramfs::Dracut, ["mount.nfs", "module nfsv3", "driver of any NIC"]),
        ] {
            let names = [names, &[NIC]].concat();
            for (gone, lack) in ["nfsmount mount.nfs", "nfsv3", "virtio_net"].iter().zip(lacks) {
                let left: Vec<&str> = names
                    .iter()
                    .copied()
                    .filter(|name| !gone.split(' ').any(|gone| name.contains(gone)))
                    .collect();
                let said = said(&of(&left), told);
                assert!(said.contains(lack) && said.contains("run "), "{said}");
                assert_eq!(lacks.iter().filter(|lack| said.contains(**lack)).count(), 1, "{said}");
            }
        }
    }
}
