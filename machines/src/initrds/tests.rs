//! Initrds out of trees as distributions lay them out, and out of trees that nobody should trust.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oneroot_bootconf::asked::{Asked, Catalogue};
use oneroot_bootconf::decision::decide;
use oneroot_bootconf::facts::Facts;
use oneroot_bootconf::load_str;
use oneroot_bootconf::plan::BootFile;
use oneroot_ids::Mac;
use oneroot_testkit::module::module;
use oneroot_tree::packed::{gzip, zstd};
use oneroot_tree::store::{How, Staged};
use oneroot_tree::{Ref, RefKind, initrd};

use super::*;
use crate::guest;
use crate::planner::renderer::Here;
use crate::planner::{Planner, Stacked};

pub(crate) mod trees;

use trees::*;

/// Names of modules in an initrd.
fn modules(initrd: &BTreeMap<String, Vec<u8>>) -> Vec<&str> {
    let mut names: Vec<&str> =
        initrd.keys().filter_map(|path| path.rsplit('/').next()?.strip_suffix(".ko")).collect();
    names.sort_unstable();
    names
}

#[test]
fn each_distributions_tree_gives_the_driver_of_the_nic_and_what_mounts_a_root_unpacked() {
    for (whose, kernel, lib, packed) in [
        ("Debian", format!("/boot/vmlinuz-{VERSION}"), "/usr/lib", Packed::Not),
        ("Fedora", format!("/usr/lib/modules/{VERSION}/vmlinuz"), "/usr/lib", Packed::Xz),
        ("Arch", "/boot/vmlinuz-linux".to_owned(), "/usr/lib", Packed::Zstd),
        ("openSUSE", format!("/usr/lib/modules/{VERSION}/vmlinuz"), "/usr/lib", Packed::Zstd),
        ("Alpine, whose /lib is its own", "/boot/vmlinuz-lts".to_owned(), "/lib", Packed::Gzip),
    ] {
        let home = Home::new();
        home.kernel(&kernel, lib, packed);
        if lib == "/usr/lib" {
            symlink("usr/lib", home.at("/lib")).unwrap();
        }
        home.write(&format!("{lib}/firmware/intel/igc.bin{}", packed.end()), packed.pack(b"blob"));
        let initrd = home.initrd("8086:15f3");
        assert_eq!(modules(&initrd), ["af_packet", "igc", "nfsv3", "overlay", "sunrpc"], "{whose}");
        let at = format!("lib/modules/{VERSION}");
        let igc = &initrd[&format!("{at}/kernel/drivers/net/ethernet/intel/igc/igc.ko")];
        assert_eq!(*igc, module(b"firmware=intel/igc.bin\0"), "{whose}");
        let firmware = initrd.get("lib/firmware/intel/igc.bin").map(Vec::as_slice);
        // The kernel itself has no word for gzip there, so no distribution has such.
        assert_eq!(firmware, (packed != Packed::Gzip).then_some(&b"blob"[..]), "{whose}");
        let dep = String::from_utf8(initrd[&format!("{at}/modules.dep")].clone()).unwrap();
        assert!(dep.contains("kernel/fs/nfs/nfsv3.ko: kernel/net/sunrpc/sunrpc.ko\n"), "{whose}: {dep}");
        assert!(!dep.contains("snd"), "{whose}: {dep}");
        for path in ["init", "dev/console", "dev/null", "oneroot/modprobe"] {
            assert!(initrd.contains_key(path), "{whose}: {path}");
        }
    }
}

#[test]
fn what_the_trees_modprobe_d_says_of_its_modules_goes_along_and_a_layers_file_hides_one_of_the_same_name() {
    let home = Home::new();
    home.kernel(&format!("/boot/vmlinuz-{VERSION}"), "/usr/lib", Packed::Not);
    let conf = |initrd: &BTreeMap<String, Vec<u8>>| {
        String::from_utf8(initrd[&format!("lib/modules/{VERSION}/modules.conf")].clone()).unwrap()
    };
    assert_eq!(conf(&home.initrd("8086:15f3")), "");
    home.write(
        "/usr/lib/modprobe.d/igc.conf",
        "options igc \\\n  debug=16\nblacklist snd\noptions snd x=1\n",
    );
    home.write("/usr/lib/modprobe.d/hidden.conf", "options igc hidden=1\n");
    home.write("/usr/lib/modprobe.d/read-me", "options igc no_conf=1\n");
    home.write("/etc/modprobe.d/a.conf", "# by hand\noptions igc eee=0\nalias net-pf-10 off\n");
    symlink("/dev/null", home.at("/etc/modprobe.d/hidden.conf")).unwrap();
    assert_eq!(conf(&home.initrd("8086:15f3")), "alias net-pf-10 off\noptions igc eee=0 debug=16\n");
    // Another word of the admin's is another initrd, and other modules.
    home.write("/etc/modprobe.d/a.conf", "blacklist igc\n");
    let initrd = home.initrd("8086:15f3");
    assert!(!modules(&initrd).contains(&"igc"), "{:?}", modules(&initrd));
    home.write("/etc/modprobe.d/a.conf", "options a b\n".repeat(30_000));
    assert!(home.trouble().contains("modprobe.d has more than 256 KiB"), "{}", home.trouble());
}

#[test]
fn a_boards_processor_finds_its_microcode_before_all_else_and_a_virtual_machines_does_not() {
    let home = Home::new();
    home.kernel(&format!("/boot/vmlinuz-{VERSION}"), "/usr/lib", Packed::Not);
    symlink("usr/lib", home.at("/lib")).unwrap();
    let firmware = "/usr/lib/firmware";
    for (name, bytes) in [
        ("amd-ucode/microcode_amd.bin", &b"DMA\0one"[..]),
        ("amd-ucode/microcode_amd_fam17h.bin.xz", &Packed::Xz.pack(b"DMA\0two")),
        ("amd-ucode/microcode_amd.bin.asc", b"DMA\0signed"),
        ("amd-ucode/microcode_amd_bad.bin", b"<html>"),
        ("intel-ucode/06-55-04", b"\x01\0\0\0intel"),
        ("intel-ucode/list", b"\x01\0\0\0none"),
    ] {
        home.write(&format!("{firmware}/{name}"), bytes);
    }
    let parts = |nic| home.plan(nic, "").loaded.unwrap().own.unwrap().parts;
    assert_eq!(parts("1af4:1000"), ["/.oneroot/boot/initrd"]);
    assert_eq!(parts("8086:15f3"), ["/.oneroot/boot/microcode", "/.oneroot/boot/initrd"]);
    let stacked = home.plan("8086:15f3", "");
    let node = stacked.view.follow(b"/.oneroot/boot/microcode").unwrap();
    let file = home.planner.store().object(stacked.view.object(node).unwrap()).unwrap();
    let bytes: Vec<u8> = std::io::Read::bytes(&file).map(|byte| byte.unwrap()).collect();
    assert!(
        bytes.starts_with(b"070701") && bytes.len().is_multiple_of(4),
        "the kernel reads it where it lies"
    );
    let mut found = Vec::new();
    initrd::files(bytes.as_slice(), &|_| true, &mut |name, content| {
        found.push((name.to_owned(), content.unwrap_or_default().to_vec()));
    })
    .unwrap();
    found.retain(|(_, content)| !content.is_empty());
    assert_eq!(
        found,
        [
            ("kernel/x86/microcode/AuthenticAMD.bin".to_owned(), b"DMA\0oneDMA\0two".to_vec()),
            ("kernel/x86/microcode/GenuineIntel.bin".to_owned(), b"\x01\0\0\0intel".to_vec()),
        ]
    );
    let composed = stacked.composed.unwrap();
    assert!(
        composed.missing[0].contains("microcode_amd_bad.bin is no microcode of AMD"),
        "{:?}",
        composed.missing
    );
    assert_eq!(composed.made_of[0].what, "microcode");
    // With another file it is another initrd.
    home.write(&format!("{firmware}/intel-ucode/06-55-04"), b"\x01\0\0\0newer");
    assert_ne!(home.plan("8086:15f3", "").composed.unwrap().generation, composed.generation);
}

#[test]
fn another_nic_has_another_driver_and_one_that_is_not_told_has_the_common_ones() {
    let home = Home::new();
    home.kernel(&format!("/boot/vmlinuz-{VERSION}"), "/usr/lib", Packed::Not);
    assert_eq!(
        modules(&home.initrd("1af4:1000")),
        ["af_packet", "nfsv3", "overlay", "sunrpc", "virtio_net", "virtio_pci"]
    );
    let common = ["af_packet", "igc", "nfsv3", "overlay", "sunrpc", "virtio_net", "virtio_pci"];
    assert_eq!(modules(&home.initrd("")), common);
}

/// Files in the store.
fn files(home: &Home) -> usize {
    fn count(path: &Path) -> usize {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| if path.is_dir() { count(&path) } else { 1 }).sum()
    }
    count(&home.directory.path().join("store/objects"))
}

#[test]
fn machines_with_the_same_nic_share_one_and_it_is_written_once_whoever_makes_it_again() {
    let home = Home::new();
    home.kernel(&format!("/boot/vmlinuz-{VERSION}"), "/usr/lib", Packed::Not);
    let alpha = home.plan("8086:15f3", "alpha's own").composed.unwrap();
    let beta = home.plan("8086:15f3", "beta's own").composed.unwrap();
    assert!(Arc::ptr_eq(&alpha, &beta), "found by what went into it, and not packed anew");
    let written = files(&home);
    let anew = planner(home.directory.path());
    let again = home.planned(&anew, "8086:15f3", "beta's own").composed.unwrap();
    assert_eq!((again.generation, files(&home)), (alpha.generation, written), "after a restart");
    let other = home.plan("1af4:1000", "beta's own").composed.unwrap();
    assert_ne!(other.generation, alpha.generation);
}

#[test]
fn an_initrd_that_is_damaged_in_the_store_is_made_anew_for_the_next_machine() {
    let home = Home::new();
    home.kernel(&format!("/boot/vmlinuz-{VERSION}"), "/usr/lib", Packed::Not);
    let path = || {
        let stacked = home.plan("8086:15f3", "");
        let own = stacked.loaded.unwrap().own.unwrap();
        let object = stacked.view.object(stacked.view.follow(own.parts[0].as_bytes()).unwrap()).unwrap();
        let name = object.to_string();
        home.directory.path().join("store/objects").join(&name[..2]).join(&name[2..])
    };
    let object = path();
    let whole = fs::read(&object).unwrap();
    let mut rotten = whole.clone();
    rotten[whole.len() / 2] ^= 1;
    for damaged in [Some(&whole[..whole.len() / 2]), Some(&[]), Some(rotten.as_slice()), None] {
        fs::remove_file(&object).unwrap();
        damaged.into_iter().for_each(|bytes| fs::write(&object, bytes).unwrap());
        assert_eq!(path(), object);
        assert!(fs::read(&object).unwrap() == whole, "{:?} bytes were left", damaged.map(<[u8]>::len));
    }
}

#[test]
fn what_a_disk_has_spoiled_of_the_tree_is_packed_for_nobody_and_is_no_fault_of_the_trees() {
    for packed in [Packed::Not, Packed::Xz] {
        let home = Home::new();
        home.kernel(&format!("/boot/vmlinuz-{VERSION}"), "/usr/lib", packed);
        let stacked = home.plan("1af4:1000", "");
        let modules = format!("/usr/lib/modules/{VERSION}");
        let igc = format!("{modules}/kernel/drivers/net/ethernet/intel/igc/igc.ko{}", packed.end());
        for path in [igc, format!("{modules}/modules.dep")] {
            let object = stacked.view.object(stacked.view.follow(path.as_bytes()).unwrap()).unwrap();
            let name = object.to_string();
            let file = home.directory.path().join("store/objects").join(&name[..2]).join(&name[2..]);
            let whole = fs::read(&file).unwrap();
            let mut rotten = whole.clone();
            *rotten.last_mut().unwrap() ^= 1;
            let initrds = Initrds::of(Programs::default());
            let composed = || composed(&home, &initrds, &stacked, (1, "8086:15f3"));
            fs::write(&file, rotten).unwrap();
            assert!(matches!(composed(), Err(Error::Io(_))), "{path}");
            // As a stage that reads all of the source anew does.
            fs::write(&file, whole).unwrap();
            assert!(composed().is_ok(), "{path}");
        }
    }
}

#[test]
fn many_machines_that_start_at_once_have_it_made_once() {
    let home = Home::new();
    home.kernel(&format!("/boot/vmlinuz-{VERSION}"), "/usr/lib", Packed::Not);
    let stacked = home.plan("8086:15f3", "");
    let mut own = stacked.loaded.unwrap().own.unwrap();
    own.parts.clear();
    let initrds = Initrds::of(Programs::default());
    let drivers = For { nic: "8086:15f3".parse().ok(), ..For::default() };
    let made: Vec<Arc<Composed>> = std::thread::scope(|scope| {
        let make = |number: u8| {
            let (initrds, own, view, store) = (&initrds, &own, &stacked.view, home.planner.store());
            scope.spawn(move || {
                // Each has a layer of its own, so no two are the same stack.
                let stack = [GenerationId([number; 32])];
                initrds
                    .composed(
                        store,
                        &Wanted { stack: &stack, view, own, drivers, microcode: Microcode::default() },
                    )
                    .unwrap()
            })
        };
        let all: Vec<_> = (0..8).map(make).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(made.iter().all(|one| Arc::ptr_eq(one, &made[0])));
}

#[test]
fn what_no_boot_needs_and_is_gone_or_damaged_is_told_of_and_the_others_come_along() {
    let home = Home::new();
    home.kernel(&format!("/boot/vmlinuz-{VERSION}"), "/usr/lib", Packed::Not);
    symlink("usr/lib", home.at("/lib")).unwrap();
    let at = format!("/usr/lib/modules/{VERSION}/kernel/drivers");
    fs::remove_file(home.at(&format!("{at}/virtio/virtio_pci.ko"))).unwrap();
    home.write(&format!("{at}/net/virtio_net.ko"), "no module");
    home.write("/usr/lib/firmware/intel/igc.bin.xz", Packed::Xz.pack(b"blob").split_at(20).0);
    let missing = home.plan("", "").composed.unwrap().missing.join("\n");
    for told in
        ["virtio_pci.ko is not there", "virtio_net.ko can't be read", "firmware/intel/igc.bin can't be read"]
    {
        assert!(missing.contains(told), "{told}: {missing}");
    }
    assert_eq!(modules(&home.initrd("")), ["af_packet", "igc", "nfsv3", "overlay", "sunrpc"]);
}

#[test]
fn what_a_boot_needs_and_is_gone_or_damaged_is_named_and_nothing_is_booted_without_it() {
    for (path, nic) in [
        ("net/packet/af_packet", ""),
        ("net/sunrpc/sunrpc", ""),
        ("drivers/net/ethernet/intel/igc/igc", "8086:15f3"),
    ] {
        let home = Home::new();
        home.kernel(&format!("/boot/vmlinuz-{VERSION}"), "/usr/lib", Packed::Not);
        let path = format!("/usr/lib/modules/{VERSION}/kernel/{path}.ko");
        home.write(&path, "no module");
        let told = home.plan(nic, "").loaded.unwrap_err().to_string();
        assert!(told.contains(&path) && told.contains("can't be read"), "{told}");
        fs::remove_file(home.at(&path)).unwrap();
        let told = home.plan(nic, "").loaded.unwrap_err().to_string();
        assert!(told.contains(&path) && told.contains("is not there"), "{told}");
    }
}

/// What an initrd of a planned tree is made for.
fn composed(
    home: &Home,
    initrds: &Initrds,
    stacked: &Stacked,
    (stack, nic): (u8, &str),
) -> Result<Arc<Composed>> {
    let own = stacked.loaded.as_ref().unwrap().own.as_ref().unwrap();
    let drivers = For { nic: nic.parse().ok(), ..For::default() };
    let stack = [GenerationId([stack; 32])];
    initrds.composed(
        home.planner.store(),
        &Wanted { stack: &stack, view: &stacked.view, own, drivers, microcode: Microcode::default() },
    )
}

#[test]
fn a_machine_that_claims_many_nics_takes_the_room_of_one() {
    let home = Home::new();
    home.kernel(&format!("/boot/vmlinuz-{VERSION}"), "/usr/lib", Packed::Not);
    let stacked = home.plan("8086:15f3", "");
    let initrds = Initrds::of(Programs::default());
    let made = composed(&home, &initrds, &stacked, (1, "1234:0000")).unwrap();
    for device in 1..100 {
        let again = composed(&home, &initrds, &stacked, (1, &format!("1234:{device:04x}"))).unwrap();
        assert!(Arc::ptr_eq(&again, &made));
    }
    assert_eq!((initrds.by_stack.len(), initrds.by_content.len()), (1, 1));
}

#[test]
fn trees_that_take_long_hold_up_nobody_whose_initrd_is_there_and_one_of_them_nobody_at_all() {
    let home = Home::new();
    home.kernel(&format!("/boot/vmlinuz-{VERSION}"), "/usr/lib", Packed::Not);
    let stacked = home.plan("8086:15f3", "");
    let initrds = Initrds::of(Programs::default());
    let slow = initrds.places.take();
    let made = composed(&home, &initrds, &stacked, (1, "8086:15f3")).unwrap();
    let slower = initrds.places.take();
    let again = composed(&home, &initrds, &stacked, (1, "8086:15f3")).unwrap();
    assert!(Arc::ptr_eq(&again, &made));
    drop((slow, slower));
}

#[test]
fn a_tree_that_none_can_be_made_of_is_not_read_again_for_each_machine_that_asks() {
    let home = Home::new();
    home.kernel(&format!("/boot/vmlinuz-{VERSION}"), "/usr/lib", Packed::Not);
    let stacked = home.plan("8086:15f3", "");
    let path = format!("/usr/lib/modules/{VERSION}/kernel/fs/overlayfs/overlay.ko");
    home.write(&path, "no module");
    let own = stacked.loaded.as_ref().unwrap().own.clone().unwrap();
    let damaged = home.plan("8086:15f3", "").entries[0].generation;
    let view = home.planner.views.of(&[damaged]).unwrap();
    let (initrds, drivers) = (Initrds::of(Programs::default()), For { nic: None, ..For::default() });
    let told = || {
        let wanted =
            Wanted { stack: &[damaged], view: &view, own: &own, drivers, microcode: Microcode::default() };
        initrds.composed(home.planner.store(), &wanted).unwrap_err().to_string()
    };
    let first = told();
    assert!(first.contains(&path), "{first}");
    // Whoever looks into it now finds nothing to read.
    fs::rename(home.directory.path().join("store/objects"), home.at("/gone")).unwrap();
    assert_eq!(told(), first);
}

#[test]
fn what_is_gathered_has_a_budget_of_bytes_and_modules() {
    let home = Home::new();
    home.kernel(&format!("/boot/vmlinuz-{VERSION}"), "/usr/lib", Packed::Not);
    let at = format!("/usr/lib/modules/{VERSION}");
    let dep = fs::read_to_string(home.at(&format!("{at}/modules.dep"))).unwrap();
    let large = zstd(&vec![0; 60 << 20], 1).unwrap();
    let mut more = String::new();
    for name in ["alx", "e1000", "e1000e", "igb", "ixgbe"] {
        home.write(&format!("{at}/kernel/drivers/net/ethernet/{name}.ko.zst"), &large);
        more += &format!("kernel/drivers/net/ethernet/{name}.ko.zst:\n");
    }
    home.write(&format!("{at}/modules.dep"), format!("{dep}{more}"));
    let missing = home.plan("", "").composed.unwrap().missing.clone();
    let no_room = missing.iter().filter(|told| told.contains("no room for more than 256 MiB")).count();
    assert_eq!((missing.len(), no_room), (5, 1), "{missing:?}");
    let needs: String = (0..1025).map(|number| format!(" kernel/{number}.ko")).collect();
    let many: String = (0..1025).map(|number| format!("kernel/{number}.ko:\n")).collect();
    let dep =
        dep.replace("kernel/fs/overlayfs/overlay.ko:", &format!("kernel/fs/overlayfs/overlay.ko:{needs}"));
    home.write(&format!("{at}/modules.dep"), format!("{dep}{many}"));
    let told = home.trouble();
    assert!(told.contains("more than the 1024 of an initrd"), "{told}");
}

#[test]
fn a_kernel_without_overlayfs_or_nfs_gets_no_boot_and_is_told_what_it_lacks() {
    let home = Home::new();
    home.kernel(&format!("/boot/vmlinuz-{VERSION}"), "/usr/lib", Packed::Not);
    let dep = format!("/usr/lib/modules/{VERSION}/modules.dep");
    home.write(&dep, "kernel/fs/nfs/nfsv3.ko: kernel/net/sunrpc/sunrpc.ko\nkernel/net/sunrpc/sunrpc.ko:\n");
    let told = home.trouble();
    assert!(told.contains("lacks overlayfs (CONFIG_OVERLAY_FS)") && !told.contains("NFS client"), "{told}");
    home.write(&dep, "");
    let told = home.trouble();
    let (depmod, nfs) = (told.find(&format!("run `depmod {VERSION}`")), told.find("NFS client"));
    assert!(depmod.is_some() && depmod < nfs, "{told}");
}

#[test]
fn a_module_that_is_damaged_or_too_large_is_named_and_ends_nothing_else() {
    for (bytes, says) in [
        (Packed::Xz.pack(&module(b"")).split_at(40).0.to_vec(), "can't be read as a module"),
        (b"hello".to_vec(), "it is no kernel module"),
        (zstd(&vec![0; (64 << 20) + 1], 1).unwrap(), "more than 64 MiB"),
    ] {
        let home = Home::new();
        home.kernel(&format!("/boot/vmlinuz-{VERSION}"), "/usr/lib", Packed::Xz);
        let path = format!("/usr/lib/modules/{VERSION}/kernel/fs/overlayfs/overlay.ko.xz");
        home.write(&path, bytes);
        let told = home.trouble();
        assert!(told.contains(says) && told.contains(&path), "{told}");
    }
}

#[test]
fn tables_that_lead_out_of_the_tree_are_refused_and_circles_end() {
    let home = Home::new();
    home.kernel(&format!("/boot/vmlinuz-{VERSION}"), "/usr/lib", Packed::Not);
    let dep = home.at(&format!("/usr/lib/modules/{VERSION}/modules.dep"));
    let good = fs::read_to_string(&dep).unwrap();
    fs::write(&dep, format!("{good}../../../../etc/shadow:\n")).unwrap();
    let told = home.trouble();
    assert!(told.contains("../../../../etc/shadow"), "{told}");
    let circle = good.replace("sunrpc/sunrpc.ko:\n", "sunrpc/sunrpc.ko: kernel/fs/nfs/nfsv3.ko\n");
    assert_ne!(circle, good);
    fs::write(&dep, circle).unwrap();
    assert_eq!(modules(&home.initrd("8086:15f3")), ["af_packet", "igc", "nfsv3", "overlay", "sunrpc"]);
}

#[test]
fn an_initrd_is_packed_as_its_kernel_says_that_it_unpacks() {
    let home = Home::new();
    home.kernel(&format!("/boot/vmlinuz-{VERSION}"), "/usr/lib", Packed::Not);
    let packed = |home: &Home| {
        let composed = home.plan("8086:15f3", "").composed.unwrap();
        composed.made_of.iter().find(|one| one.what == "packed").unwrap().why.clone()
    };
    assert!(packed(&home).starts_with("gzip"));
    home.write(&format!("/boot/config-{VERSION}"), "CONFIG_RD_GZIP=y\nCONFIG_RD_ZSTD=y\n");
    assert_eq!(packed(&home), "zstd");
    let home = Home::new();
    home.kernel("/boot/vmlinuz-lts", "/usr/lib", Packed::Not);
    home.write("/boot/config-lts", "CONFIG_RD_ZSTD=y\n");
    assert_eq!(packed(&home), "zstd", "its name says less than its version");
}

#[test]
fn what_a_plan_says_of_it_are_its_parts_and_the_settings_behind_them() {
    let home = Home::new();
    home.kernel(&format!("/boot/vmlinuz-{VERSION}"), "/usr/lib", Packed::Not);
    let parts = home.plan("8086:15f3", "").loaded.unwrap().own.unwrap().parts;
    assert_eq!(parts, ["/.oneroot/boot/initrd"]);
    let joined = BootFile::Joined { parts, settings: "boot 1\nend\n".to_owned() };
    assert_eq!(joined.to_string(), "/.oneroot/boot/initrd and this boot's settings");
    let archive = settings("boot 1\nend\n").unwrap();
    let mut told = Vec::new();
    initrd::files(archive.as_slice(), &|_| true, &mut |name, content| {
        told.push((name.to_owned(), content.map(<[u8]>::to_vec)));
    })
    .unwrap();
    assert_eq!(told, [("oneroot/settings".to_owned(), Some(b"boot 1\nend\n".to_vec()))]);
}

/// Of the modules made here, or of a distribution's kernel: `ONEROOT_TREE` names its tree, with `boot` and `lib/modules` in it.
#[test]
fn a_kernels_initrd_is_made_once_for_each_nic_and_found_from_then_on() {
    let home = Home::new();
    match std::env::var_os("ONEROOT_TREE") {
        Some(tree) => symlink(tree, home.directory.path().join("root")).unwrap(),
        None => home.kernel(&format!("/boot/vmlinuz-{VERSION}"), "/usr/lib", Packed::Zstd),
    }
    for nic in ["8086:15f3", "1af4:1000", "10ec:8168", ""] {
        let stacked = home.plan(nic, "");
        let own = stacked.loaded.unwrap().own.unwrap();
        let (initrds, drivers) =
            (Initrds::of(Programs::default()), For { nic: nic.parse().ok(), ..For::default() });
        let mut made = Vec::new();
        // Made; for a machine with files of its own, by what went in; for that one again, by its stack.
        for number in [0, 1, 1] {
            let stack = [GenerationId([number; 32])];
            let wanted = Wanted {
                stack: &stack,
                view: &stacked.view,
                own: &own,
                drivers,
                microcode: Microcode::default(),
            };
            let begun = std::time::Instant::now();
            made.push(initrds.composed(home.planner.store(), &wanted).unwrap());
            eprintln!("{nic}: {:?}, {:?}", begun.elapsed(), made.last().unwrap().made_of.last());
        }
        assert!(made.iter().all(|one| Arc::ptr_eq(one, &made[0])));
        assert_eq!(made[0].missing, Vec::<String>::new());
    }
}

/// Bytes of an ELF file as one for 64-bit ARM.
fn of_arm(mut elf: Vec<u8>) -> Vec<u8> {
    elf[18] = 183;
    elf
}

#[test]
fn a_tree_of_another_processor_has_the_program_that_lies_beside_the_loaders_as_soon_as_there_is_one() {
    let home = Home::new();
    home.kernel(&format!("/boot/vmlinuz-{VERSION}"), "/usr/lib", Packed::Not);
    let own = home.plan("8086:15f3", "").loaded.unwrap().own.unwrap();
    for (path, _, info) in MODULES {
        home.write(&format!("/usr/lib/modules/{VERSION}/{path}.ko"), of_arm(module(info.as_bytes())));
    }
    let stack = [home.plan("8086:15f3", "").entries[0].generation];
    let view = home.planner.views.of(&stack).unwrap();
    let loaders = home.directory.path().join("loaders");
    let initrds = Initrds::of(Programs::of_build(std::slice::from_ref(&loaders), |_| &[]));
    let drivers = For { nic: None, ..For::default() };
    let wanted = Wanted { stack: &stack, view: &view, own: &own, drivers, microcode: Microcode::default() };
    let told = initrds.composed(home.planner.store(), &wanted).unwrap_err().to_string();
    let program = loaders.join("oneroot-init.aarch64");
    assert!(told.contains("no init for 64-bit ARM") && told.contains(program.to_str().unwrap()), "{told}");
    // Who asks again has nothing of the tree read again.
    let (objects, gone) = (home.directory.path().join("store/objects"), home.directory.path().join("gone"));
    fs::rename(&objects, &gone).unwrap();
    assert_eq!(initrds.composed(home.planner.store(), &wanted).unwrap_err().to_string(), told);
    fs::rename(&gone, &objects).unwrap();
    // That of this host, whichever it is: which processor it says is a number in it.
    let host = Programs::default().of(super::program::HERE).unwrap();
    let bytes = of_arm(host.bytes.to_vec());
    written(home.directory.path(), "loaders/oneroot-init.aarch64", &bytes);
    let composed = initrds.composed(home.planner.store(), &wanted).unwrap();
    assert_eq!(composed.made_of[0].why, program.to_str().unwrap());
    // As soon as there is another one, and not with the next start of the server.
    written(home.directory.path(), "loaders/oneroot-init.aarch64", [bytes, b"another".to_vec()].concat());
    let another = initrds.composed(home.planner.store(), &wanted).unwrap();
    assert_ne!(another.generation, composed.generation);
    assert!(Arc::ptr_eq(&initrds.composed(home.planner.store(), &wanted).unwrap(), &another), "remembered");
    written(home.directory.path(), "loaders/oneroot-init.aarch64", "none");
    let told = initrds.composed(home.planner.store(), &wanted).unwrap_err().to_string();
    assert!(told.contains("no program for 64-bit ARM that runs alone"), "{told}");
}

/// An admin's file, or a maker's, stands before a distribution's; and that of one kernel before that of all (Linux, firmware_class).
#[test]
fn firmware_is_taken_from_where_the_kernel_would_take_it() {
    let home = Home::new();
    home.kernel(&format!("/boot/vmlinuz-{VERSION}"), "/usr/lib", Packed::Not);
    symlink("usr/lib", home.at("/lib")).unwrap();
    let taken = || home.initrd("8086:15f3")["lib/firmware/intel/igc.bin"].clone();
    let places = ["", &format!("{VERSION}/"), "updates/", &format!("updates/{VERSION}/")].map(str::to_owned);
    for place in &places {
        home.write(&format!("/usr/lib/firmware/{place}intel/igc.bin.xz"), Packed::Xz.pack(place.as_bytes()));
        assert_eq!(taken(), place.as_bytes());
    }
    home.write("/usr/lib/firmware/intel/igc.bin", "as it is");
    assert_eq!(taken(), b"as it is", "what is not packed, wherever it lies");
}

#[test]
fn a_kernel_that_has_its_nics_driver_in_itself_finds_its_firmware_and_one_without_modules_the_program_for_its_tree()
 {
    let home = Home::new();
    builtin(&home, b"igc.firmware=intel/igc.bin\0snd.firmware=intel/snd.bin\0");
    for name in ["igc", "snd"] {
        home.write(&format!("/usr/lib/firmware/intel/{name}.bin"), "blob");
    }
    let initrd = home.initrd("8086:15f3");
    assert_eq!(modules(&initrd), [""; 0]);
    let firmware: Vec<&String> = initrd.keys().filter(|path| path.ends_with(".bin")).collect();
    assert_eq!(firmware, ["lib/firmware/intel/igc.bin"], "a NIC's, and no other's");
    let mut program = vec![0; 64];
    program[..6].copy_from_slice(b"\x7fELF\x02\x01");
    program[18] = 0xb7;
    home.write("/usr/sbin/init", &program);
    symlink("usr/sbin", home.at("/sbin")).unwrap();
    let planned = home.plan("8086:15f3", "");
    let stack = [planned.entries[0].generation];
    let view = home.planner.views.of(&stack).unwrap();
    let modules = format!("/usr/lib/modules/{VERSION}");
    let own = Own { version: VERSION.to_owned(), modules, configs: Vec::new(), parts: Vec::new() };
    let wanted = Wanted {
        stack: &stack,
        view: &view,
        own: &own,
        drivers: For::default(),
        microcode: Microcode::default(),
    };
    let initrds = Initrds::of(Programs::of_build(&[], |_| &[]));
    let told = initrds.composed(home.planner.store(), &wanted).unwrap_err().to_string();
    assert!(told.contains("no init for 64-bit ARM"), "{told}");
}
