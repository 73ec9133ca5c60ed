//! Kernel arguments for an NFS root. Each initramfs has a grammar of its own, and they don't mix:
//!
//! * klibc's nfsmount (initramfs-tools) aborts at an option that it does not know, `proto=` and `mountport=` among them;
//! * dracut hands everything to mount.nfs, which asks a portmapper unless all four of version, protocol and ports are said;
//! * oneroot's own initrd has settings of its own, and needs no word about the root;
//! * the kernel's own nfsroot has 256 bytes for the options, its own prefix included, and a default of 4 KiB reads.
//!
//! Nothing that a machine has mounted ever changes, so clients are told to believe what they have read for a day.

use std::net::IpAddr;

use oneroot_initrd::settings::Overlay;

use crate::plan::export::Export;
use crate::root::{Initramfs, NIC, Root};
use oneroot_ids::{BootId, Mac, MachineId};

/// What dracut is told to call the NIC that boots. Nothing of the running system needs it: see docs/decisions/0010.
pub const BOOT_NIC: &str = "boot0";

/// How long clients may believe attributes and names, in seconds.
const CACHE: u32 = 86_400;

/// All that the arguments of one boot are made of.
#[derive(Debug, Clone)]
pub struct Boot<'a> {
    /// Where the root comes from.
    pub root: Root,
    /// What mounts it.
    pub initramfs: Initramfs,
    /// The NFS server.
    pub server: IpAddr,
    /// Its port for NFS and MOUNT.
    pub port: u16,
    /// What it mounts.
    pub export: Export,
    /// The NIC that boots.
    pub mac: Mac,
    /// The machine.
    pub machine: MachineId,
    /// This boot.
    pub boot: BootId,
    /// What takes what the machine writes, where the site says so.
    pub overlay: Option<Overlay>,
    /// Seconds after which our own init starts a machine again that can't come up.
    pub restart: Option<u32>,
    /// The site's own arguments: profile, workloads, machine.
    pub extra: &'a [String],
}

/// The kernel's arguments, one each.
#[must_use]
pub fn arguments(boot: &Boot<'_>) -> Vec<String> {
    // 01 is Ethernet's hardware type (ARP), as pxelinux writes it.
    let nic = format!("BOOTIF=01-{}", boot.mac.dashed());
    if boot.root == Root::None {
        // Some kernels take their whole line for something of their own: iPXE's for a script.
        let said = boot.extra.iter().map(|word| if word == NIC { nic.clone() } else { word.clone() });
        return said.collect();
    }
    // Ours starts the tree's own init itself.
    let init = (boot.initramfs != Initramfs::Oneroot).then(|| "init=/.oneroot/init".to_owned());
    let ids = [format!("systemd.machine_id={}", boot.machine), format!("oneroot.boot={}", boot.boot)];
    let ours = ["ro".to_owned(), nic].into_iter().chain(init).chain(ids);
    // Zram takes our own init, which has it among its settings.
    let size = match boot.overlay {
        Some(Overlay::Tmpfs(size)) if boot.initramfs != Initramfs::Oneroot => {
            Some(format!("oneroot.tmpfs={size}"))
        }
        _ => None,
    };
    // Where a mistake ends init itself, or the initrd is damaged, the kernel panics, and stays so unless it is told otherwise.
    let restart = boot.restart.filter(|_| boot.initramfs == Initramfs::Oneroot);
    let ours = ours.chain(size).chain(restart.map(|seconds| format!("panic={seconds}")));
    // The site's own come last: of a word that is said twice, the kernel and what mounts the root take the last.
    nfs_root(boot).into_iter().chain(ours).chain(boot.extra.iter().cloned()).collect()
}

/// The words for a root over NFS, in the grammar of what mounts it.
fn nfs_root(boot: &Boot<'_>) -> Vec<String> {
    let Boot { server, port, .. } = boot;
    let path = boot.export;
    let ages = format!("acregmin={CACHE},acregmax={CACHE},acdirmin={CACHE},acdirmax={CACHE}");
    // Nothing here keeps locks (NLM): without `nolock` mount.nfs starts rpc.statd, and fails where it can't. klibc never
    // locks.
    match boot.initramfs {
        Initramfs::InitramfsTools => vec![
            "boot=nfs".to_owned(),
            "root=/dev/nfs".to_owned(),
            format!("nfsroot={server}:{path},vers=3,tcp,port={port},{ages},nocto"),
            "ip=dhcp".to_owned(),
        ],
        Initramfs::Dracut => vec![
            format!(
                "root=nfs:{server}:{path}:vers=3,proto=tcp,port={port},mountport={port},mountproto=tcp,nolock,{ages},nocto"
            ),
            "rd.neednet=1".to_owned(),
        ]
        .into_iter()
        .chain(dracuts_nic(boot))
        .collect(),
        Initramfs::Oneroot => Vec::new(),
        Initramfs::None => vec![
            "root=/dev/nfs".to_owned(),
            format!(
                "nfsroot={server}:{path},vers=3,tcp,port={port},mountport={port},rsize=1048576,nolock,{ages},nocto"
            ),
            "ip=dhcp".to_owned(),
        ],
    }
}

/// Which NIC dracut brings up. With systemd-networkd in it, `BOOTIF=` says nothing and `ip=dhcp` is for all NICs: the root
/// would be mounted by whichever has its address first, and that address is not the one that booted. A NIC has to be named
/// by its MAC before it can be meant. Who names NICs himself, or says that they keep the kernel's names, is left alone.
fn dracuts_nic(boot: &Boot<'_>) -> Vec<String> {
    let named = ["ifname=", "ip=", "net.ifnames=0"];
    if boot.extra.iter().any(|argument| named.iter().any(|word| argument.starts_with(word))) {
        return vec!["ip=dhcp".to_owned()];
    }
    vec![format!("ifname={BOOT_NIC}:{}", boot.mac), format!("ip={BOOT_NIC}:dhcp")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::export::SEAL;
    use oneroot_ids::ViewId;
    use oneroot_initrd::settings::Size;

    /// What the kernel keeps of its command line on x86 and arm64, its own end included.
    const COMMAND_LINE: usize = 2048;

    fn line(initramfs: Initramfs) -> String {
        line_with(initramfs, None, "console=ttyS0")
    }

    fn line_with(initramfs: Initramfs, seal: Option<[u8; SEAL]>, extra: &str) -> String {
        line_over(initramfs, seal, None, extra)
    }

    fn line_over(
        initramfs: Initramfs,
        seal: Option<[u8; SEAL]>,
        overlay: Option<Overlay>,
        extra: &str,
    ) -> String {
        let boot = Boot {
            root: Root::Nfs,
            initramfs,
            server: IpAddr::from([192, 168, 77, 1]),
            port: 2049,
            export: Export::of(ViewId([0xab; 16]), BootId::from_random([2; 8]), seal),
            mac: "52:54:00:00:00:0a".parse().unwrap(),
            machine: MachineId::from_random([1; 16]),
            boot: BootId::from_random([2; 8]),
            overlay,
            restart: Some(900),
            extra: &[extra.to_owned()],
        };
        arguments(&boot).join(" ")
    }

    #[test]
    fn klibc_gets_only_options_that_it_knows() {
        let known = "port nfsvers vers rsize wsize timeo retrans acregmin acregmax acdirmin acdirmax soft hard intr nointr \
                     posix cto nocto ac noac lock nolock acl noacl v2 v3 udp tcp broken_suid ro rw";
        let line = line(Initramfs::InitramfsTools);
        let nfsroot = line.split(' ').find_map(|word| word.strip_prefix("nfsroot=")).unwrap();
        let (path, options) = nfsroot.split_once(',').unwrap();
        assert_eq!(path, format!("192.168.77.1:/v/{}.{}", "ab".repeat(16), "02".repeat(8)));
        for option in options.split(',') {
            let name = option.split('=').next().unwrap();
            assert!(known.split_whitespace().any(|known| known == name), "{option}");
        }
    }

    #[test]
    fn how_much_a_machine_may_write_is_told_whatever_mounts_its_root_and_the_sites_own_word_counts() {
        for initramfs in Initramfs::ALL {
            let line = |overlay| line_over(initramfs, None, Some(overlay), "oneroot.tmpfs=1g");
            let told = line(Overlay::Tmpfs(Size::Mib(512)));
            let words: Vec<&str> = told.split(' ').filter(|word| word.contains("tmpfs")).collect();
            if initramfs == Initramfs::Oneroot {
                assert_eq!(words, ["oneroot.tmpfs=1g"], "ours has it among its settings");
            } else {
                assert_eq!(words, ["oneroot.tmpfs=512m", "oneroot.tmpfs=1g"]);
            }
            assert!(!line(Overlay::Zram(Size::Percent(50), None)).contains("=50%"), "no tmpfs is meant");
        }
    }

    #[test]
    fn a_kernel_whose_init_ends_starts_the_machine_again_when_its_init_would_have() {
        for initramfs in Initramfs::ALL {
            let line = line_with(initramfs, None, "panic=0");
            let said: Vec<&str> = line.split(' ').filter(|word| word.starts_with("panic=")).collect();
            let ours: &[&str] = if initramfs == Initramfs::Oneroot { &["panic=900"] } else { &[] };
            assert_eq!(said, [ours, &["panic=0"]].concat(), "the site's own word comes last, and counts");
        }
    }

    #[test]
    fn dracut_gets_all_four_that_spare_the_portmapper() {
        let line = line(Initramfs::Dracut);
        for option in ["vers=3", "proto=tcp", "port=2049", "mountport=2049", "nolock"] {
            assert!(line.contains(option), "{option}");
        }
        assert!(!line.contains("nfsroot="));
    }

    #[test]
    fn dracut_brings_up_the_nic_that_booted_and_no_other_unless_the_site_names_nics_itself() {
        let ours = line(Initramfs::Dracut);
        assert!(ours.contains(" ifname=boot0:52:54:00:00:00:0a ip=boot0:dhcp "), "{ours}");
        assert!(!ours.contains("ip=dhcp"), "{ours}");
        for own in ["ifname=lan:52:54:00:00:00:0a", "net.ifnames=0", "ip=ens3:dhcp"] {
            let theirs = line_with(Initramfs::Dracut, None, own);
            assert!(theirs.contains(" ip=dhcp ") && !theirs.contains("boot0"), "{theirs}");
        }
        assert!(!line(Initramfs::InitramfsTools).contains("ifname="), "klibc's ipconfig goes by BOOTIF");
    }

    #[test]
    fn the_kernels_own_options_fit_its_256_bytes() {
        let line = line(Initramfs::None);
        let nfsroot = line.split(' ').find_map(|word| word.strip_prefix("nfsroot=")).unwrap();
        let options = nfsroot.split_once(',').unwrap().1;
        let added = "vers=2,tcp,rsize=4096,wsize=4096,".len() + ",nolock,addr=255.255.255.255".len();
        assert!(options.len() + added < 256, "{}", options.len() + added);
    }

    /// With a pass as without: most of the line is left to the site's own arguments.
    #[test]
    fn a_path_with_boot_and_pass_leaves_the_line_to_the_site() {
        for initramfs in Initramfs::ALL.into_iter().filter(|initramfs| *initramfs != Initramfs::Oneroot) {
            let (plain, passed) =
                (line(initramfs), line_with(initramfs, Some([0xcd; SEAL]), "console=ttyS0"));
            assert_eq!(passed.len(), plain.len() + ".".len() + 2 * SEAL);
            assert!(passed.len() < COMMAND_LINE / 4, "{}", passed.len());
            let path = format!(":/v/{}.{}.{}", "ab".repeat(16), "02".repeat(8), "cd".repeat(16));
            assert!(passed.contains(&path), "{passed}");
        }
    }

    #[test]
    fn a_kernel_that_gets_no_root_from_here_is_told_what_the_site_says_and_no_more() {
        let boot = Boot {
            root: Root::None,
            initramfs: Initramfs::InitramfsTools,
            server: IpAddr::from([192, 168, 77, 1]),
            port: 2049,
            export: Export::of(ViewId([0xab; 16]), BootId::from_random([2; 8]), None),
            mac: "52:54:00:00:00:0a".parse().unwrap(),
            machine: MachineId::from_random([1; 16]),
            boot: BootId::from_random([2; 8]),
            overlay: None,
            restart: None,
            extra: &["root=/dev/ram0".to_owned()],
        };
        assert_eq!(arguments(&boot), ["root=/dev/ram0"]);
        let extra = ["quiet", "BOOTIF"].map(str::to_owned);
        let asks = Boot { extra: &extra, ..boot };
        assert_eq!(arguments(&asks), ["quiet", "BOOTIF=01-52-54-00-00-00-0a"]);
    }

    #[test]
    fn every_machine_has_its_own_nic_id_and_boot_on_the_line() {
        for initramfs in Initramfs::ALL {
            let line = line(initramfs);
            for word in ["BOOTIF=01-52-54-00-00-00-0a", "oneroot.boot=0202020202020202"] {
                assert!(line.contains(word), "{word}");
            }
            assert_eq!(line.contains("init=/.oneroot/init"), initramfs != Initramfs::Oneroot, "{line}");
            assert!(line.contains("systemd.machine_id=01010101010141018101010101010101"), "{line}");
            assert!(line.ends_with("console=ttyS0"));
        }
    }
}
