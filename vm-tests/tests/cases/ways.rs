//! What a machine may get other than a root, as real firmware and iPXE take it: its own disk, a menu, a kernel alone.

use std::path::Path;

use oneroot_testkit::{Lab, Server, SiteFiles};
use oneroot_vm_tests::{Firmware, Hardware};

use crate::STEP;

/// What the disk says on the serial line, once it is booted.
const SAID: &str = "oneroot-test: the disk was booted";

/// Instructions that write what lies behind them to the serial port, and halt. `start` is the one that sets the pointer to it.
fn program(start: &[u8]) -> Vec<u8> {
    // next: lodsb; test al,al; jz end; mov dx,0x3f8; out dx,al; jmp next; end: hlt; jmp end. 32-bit and 64-bit code has a word
    // more for dx, so this is for 16 bits, and the other below.
    [
        start,
        &[0xac, 0x84, 0xc0, 0x74, 6, 0xba, 0xf8, 3, 0xee, 0xeb, 0xf5, 0xf4, 0xeb, 0xfd],
        SAID.as_bytes(),
        &[0],
    ]
    .concat()
}

/// A disk's first sector: code at 0:7C00 that a BIOS runs.
fn boot_sector() -> Vec<u8> {
    // xor ax,ax; mov ds,ax; cld; mov si,0x7c16
    let mut disk = program(&[0x31, 0xc0, 0x8e, 0xd8, 0xfc, 0xbe, 0x16, 0x7c]);
    disk.resize(510, 0);
    disk.extend([0x55, 0xaa]);
    disk.resize(1 << 20, 0);
    disk
}

/// The smallest program that UEFI takes (PE/COFF, x86-64, one section), which does the same.
fn efi_program() -> Vec<u8> {
    let mut file = vec![0_u8; 0x400];
    let mut put = |at: usize, bytes: &[u8]| {
        file.splice(at..at + bytes.len(), bytes.iter().copied());
    };
    put(0, b"MZ");
    put(0x3c, &[0x40]);
    put(0x40, b"PE\0\0\x64\x86\x01");
    // The optional header's bytes; executable, large addresses.
    put(0x54, &[0xf0, 0, 0x22, 0]);
    put(0x58, &[0x0b, 2]);
    for (at, word) in [
        (0x5c, 0x200_u32), // code
        (0x68, 0x1000),    // entry
        (0x6c, 0x1000),    // base of code
        (0x78, 0x1000),    // sections are aligned to, in memory
        (0x7c, 0x200),     // and in the file
        (0x90, 0x2000),    // size in memory
        (0x94, 0x200),     // of the headers
        (0xc4, 16),        // directories, all empty
        (0x150, 0x200),    // the section: in memory
        (0x154, 0x1000),
        (0x158, 0x200), // in the file
        (0x15c, 0x200),
        (0x16c, 0x6000_0020),
    ] {
        put(at, &word.to_le_bytes());
    }
    // An EFI application.
    put(0x9c, &[10]);
    put(0x148, b".text");
    // lea rsi,[rip+18]; cld; next: lodsb; test al,al; jz end; mov dx,0x3f8; out dx,al; jmp next; end: hlt; jmp end
    let code = [
        0x48, 0x8d, 0x35, 16, 0, 0, 0, 0xfc, 0xac, 0x84, 0xc0, 0x74, 7, 0x66, 0xba, 0xf8, 3, 0xee, 0xeb,
        0xf4, 0xf4, 0xeb, 0xfd,
    ];
    put(0x200, &[&code, SAID.as_bytes(), &[0]].concat());
    file
}

fn site_with(boots: &str) -> SiteFiles {
    let mut site = SiteFiles::with_alpha(b"never fetched").unwrap();
    let text = site.text().replace("\nprofile = \"debian\"\n", &format!("\n{boots}\n"));
    site.set_text(&text);
    site
}

fn goes_on_to(disk: &Path, firmware: Firmware) {
    let lab = Lab::new().unwrap();
    let server = Server::start(site_with("boot = \"local\"")).unwrap();
    let mut alpha =
        Hardware::new("alpha", "0a").firmware(firmware).disk(disk.to_owned()).power_on(&lab).unwrap();
    alpha.wait_for("oneroot: alpha boots from its own disk", STEP).unwrap();
    alpha.wait_for(SAID, STEP).unwrap();
    let log = server.log();
    assert!(
        log.contains("boots from its own disk") && !log.contains("boot=") && !log.contains("nothing to boot"),
        "{log}"
    );
}

#[test]
fn a_bios_machine_goes_on_to_its_own_disk_where_the_site_says_so() {
    let disk = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(disk.path(), boot_sector()).unwrap();
    goes_on_to(disk.path(), Firmware::Bios);
}

#[test]
#[ignore = "make test-vm-all"]
fn a_uefi_machine_goes_on_to_its_next_boot_entry_where_the_site_says_so() {
    let disk = tempfile::tempdir().unwrap();
    let place = disk.path().join("EFI/BOOT");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("BOOTX64.EFI"), efi_program()).unwrap();
    // QEMU makes a disk with a FAT of a directory.
    goes_on_to(Path::new(&format!("fat:{}", disk.path().display())), Firmware::UefiPxe);
}

/// iPXE itself is a kernel that Linux's boot protocol starts, and its initrd is a script.
#[test]
#[ignore = "make test-vm-all"]
fn nobody_chooses_in_a_menu_so_its_default_is_booted_and_that_is_a_kernel_alone() {
    let lab = Lab::new().unwrap();
    let mut site = site_with("menu = \"desk\"");
    let tree = site.path().join("rescue");
    std::fs::create_dir(&tree).unwrap();
    std::fs::copy("/usr/lib/ipxe/ipxe.lkrn", tree.join("kernel")).unwrap();
    std::fs::write(tree.join("script"), format!("#!ipxe\necho {SAID}\nsleep 3600\n")).unwrap();
    site.add(
        "[profile.rescue]\nsource = { directory = \"rescue\" }\nroot = \"none\"\nkernel = \"/kernel\"\ninitrd = \"/script\"\n\
         [menu.desk]\ntitle = \"Room 1\"\ntimeout = \"3s\"\ndefault = \"rescue\"\n\
         choice = [{ name = \"disk\", boot = \"local\" }, { name = \"rescue\", title = \"Rescue, by iPXE\", profile = \"rescue\" }]\n",
    );
    let server = Server::start(site).unwrap();
    let mut alpha = Hardware::new("alpha", "0a").power_on(&lab).unwrap();
    alpha.wait_for("Rescue, by iPXE", STEP).unwrap();
    alpha.wait_for(SAID, STEP).unwrap();
    server.wait_for_step("alpha", "loaded", STEP).unwrap();
    let log = server.log();
    assert!(log.contains("is shown the menu desk") && log.contains("profile=rescue"), "{log}");
}
