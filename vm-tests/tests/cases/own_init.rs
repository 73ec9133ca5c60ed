//! Trees that bring nothing to boot with but their kernel: oneroot's own initrd and the init in it, to multi-user and off again,
//! and what the server is told on the way.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use oneroot_testkit::{INTERFACE, Lab, SERVER, Server, SiteFiles, ip, patient};
use oneroot_vm_tests::{Cable, Firmware, Guest, Hardware, artifacts};
use serde_json::Value;

use crate::{POOL, STEP, assert_modes, assert_no_io_error};

/// What init goes through, in its order.
const PHASES: [&str; 8] =
    ["settings", "drivers", "carrier", "address", "root", "overlay", "files", "hand-over"];

/// A site whose network has a name server; nothing is said of how the profile's tree comes up.
pub fn site(debian: &Path) -> SiteFiles {
    let mut site = SiteFiles::new(debian, POOL, "1h").unwrap();
    let pool = format!("pool = \"{POOL}\"\n");
    let told = format!("{pool}dns = [\"192.168.77.2\"]\ndomain = \"lab.example\"\n");
    // A kernel that is given too little time finds no timer, and stops: in an emulated machine that is the host's fault.
    let args = "args = [\"console=ttyS0\", \"no_timer_check\"]";
    let text = site.text().replace(&pool, &told).replace("args = [\"console=ttyS0\"]", args);
    site.set_text(&text);
    // An emulated machine on a busy host finds its console later than in the 90 s that systemd gives it.
    let patient = "[Manager]\nDefaultDeviceTimeoutSec=30min\nDefaultTimeoutStartSec=30min\n";
    site.file("common", "etc/systemd/system.conf.d/patient.conf", patient).unwrap();
    site.add(
        "[machine.alpha]\nmac = \"52:54:00:00:00:0a\"\nprofile = \"debian\"\naddress = \"192.168.77.10\"\n",
    );
    site
}

/// The same for a tree that has an initramfs of its own.
fn asked_for(debian: &Path) -> SiteFiles {
    let mut site = site(debian);
    let text = site.text().replace("[profile.debian]\n", "[profile.debian]\ninitramfs = \"oneroot\"\n");
    site.set_text(&text);
    site
}

/// The last boot of alpha.
fn last_boot(server: &Server) -> Value {
    let told: Value = serde_json::from_str(&server.run(&["boots", "alpha", "--json"]).unwrap()).unwrap();
    told.get("boots").and_then(Value::as_array).and_then(|boots| boots.last()).cloned().unwrap()
}

fn list<'v>(boot: &'v Value, key: &str) -> &'v [Value] {
    boot.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The boot went through every phase, each later than the one before, and nothing is in its way any more. What a server had
/// heard in the moment before it `was_killed` it need not have written.
pub fn assert_phases(server: &Server, was_killed: bool) {
    let boot = last_boot(server);
    let phases = list(&boot, "phases");
    let names: Vec<&str> = phases.iter().filter_map(|done| done.get("phase")?.as_str()).collect();
    let wanted: Vec<&str> = PHASES.into_iter().filter(|phase| !was_killed || names.contains(phase)).collect();
    assert_eq!(names, wanted, "{boot:#}");
    assert!(names.contains(&"hand-over"), "{boot:#}");
    let ends: Vec<u64> = phases.iter().filter_map(|done| done.get("at_ms")?.as_u64()).collect();
    assert!(ends.len() == names.len() && ends.is_sorted(), "{ends:?}");
    let left = list(&boot, "failures").iter().filter(|failed| failed.get("is_over") != Some(&true.into()));
    assert_eq!(left.count(), 0, "{boot:#}");
    println!("{}", server.run(&["boots", "alpha"]).unwrap());
}

fn kill_and_start(server: &mut Server, after: Duration) {
    server.kill9().unwrap();
    std::thread::sleep(after);
    server.restart().unwrap();
}

/// Name, name server and machine-id are in place, and nothing that init has made is anybody's.
fn assert_given(guest: &mut Guest) {
    assert_eq!(guest.ok("hostname").unwrap(), "alpha");
    assert!(guest.ok("cat /etc/resolv.conf").unwrap().contains("nameserver 192.168.77.2"));
    assert_eq!(guest.ok("cat /etc/machine-id").unwrap().len(), 32);
    let addresses = guest.ok("ip -color=never -4 -o addr show scope global").unwrap();
    assert!(addresses.lines().count() == 1 && addresses.contains("192.168.77.10/24"), "{addresses}");
    assert_eq!(guest.ok("stat -fc %T /").unwrap(), "overlayfs");
}

pub fn power_off(guest: &mut Guest) {
    guest.type_line("poweroff").unwrap();
    guest.wait_for_power_off(STEP).unwrap();
}

/// To multi-user, once more from there, and off.
pub fn comes_up(lab: &Lab, server: &Server, hardware: Hardware) {
    let mut alpha = hardware.power_on(lab).unwrap();
    for boot in ["first", "second"] {
        alpha.log_in().unwrap();
        server.wait_for_step("alpha", "up", STEP).unwrap();
        assert_given(&mut alpha);
        assert_phases(server, false);
        assert_no_io_error(&mut alpha);
        if boot == "first" {
            alpha.type_line("reboot").unwrap();
        }
    }
    power_off(&mut alpha);
}

#[test]
fn a_tree_without_any_initramfs_tool_comes_up_by_its_second_nic_though_its_server_is_killed_twice() {
    let Some(debian) = artifacts::here(artifacts::bare) else { return };
    let lab = Lab::new().unwrap();
    let mut files = site(&debian);
    files.add(
        "[machine.alpha.secrets]\ntoken = { kind = \"random\", at = \"/etc/token\", required = true }\n",
    );
    let mut server = Server::start(files).unwrap();
    let mut alpha = Hardware::new("alpha", "0a").nic_before("0c").power_on(&lab).unwrap();
    // When kernel and initrd are there, so that nobody is there for its first report and its root; and once it says something,
    // for files and real init.
    server.wait_for_step("alpha", "initrd", STEP).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert!(!server.log().contains("init is past"), "it was quicker");
    kill_and_start(&mut server, Duration::from_secs(10));
    server.wait_for_log("init is past: settings", STEP).unwrap();
    kill_and_start(&mut server, Duration::from_secs(4));
    let (mut ids, mut tokens) = (Vec::new(), Vec::new());
    for boot in ["first", "second"] {
        alpha.log_in().unwrap();
        server.wait_for_step("alpha", "up", STEP).unwrap();
        assert_given(&mut alpha);
        assert_modes(&mut alpha);
        alpha.wait_until_settled();
        assert_eq!(alpha.ok("systemctl --failed --no-legend | wc -l").unwrap(), "0");
        ids.push(alpha.ok("cat /etc/machine-id").unwrap());
        tokens.push(alpha.ok("cat /etc/token").unwrap());
        assert_phases(&server, boot == "first");
        assert_no_io_error(&mut alpha);
        if boot == "first" {
            alpha.type_line("reboot").unwrap();
        }
    }
    assert_eq!(ids.first(), ids.last(), "a machine keeps its id");
    assert!(
        tokens.iter().all(|token| token.len() == 64) && tokens.first() == tokens.last(),
        "and its secrets"
    );
    power_off(&mut alpha);
}

#[test]
#[ignore = "make test-vm-all"]
fn bookworms_tree_comes_up_without_any_initramfs_tool() {
    let Some(debian) = artifacts::here(artifacts::bare_bookworm) else { return };
    let lab = Lab::new().unwrap();
    let server = Server::start(site(&debian)).unwrap();
    comes_up(&lab, &server, Hardware::new("alpha", "0a"));
}

#[test]
#[ignore = "make test-vm-all"]
fn a_tree_that_has_dracut_comes_up_by_our_init_where_its_site_says_so() {
    let Some(debian) = artifacts::here(artifacts::trixie) else { return };
    let lab = Lab::new().unwrap();
    let server = Server::start(asked_for(&debian)).unwrap();
    let mut alpha = Hardware::new("alpha", "0a").memory(768).power_on(&lab).unwrap();
    alpha.log_in().unwrap();
    server.wait_for_step("alpha", "up", STEP).unwrap();
    assert_phases(&server, false);
    assert_modes(&mut alpha);
    power_off(&mut alpha);
}

#[test]
#[ignore = "make test-vm-all"]
fn a_tree_with_sysvinit_comes_up_and_goes_off() {
    let Some(debian) = artifacts::here(artifacts::sysvinit) else { return };
    let lab = Lab::new().unwrap();
    let server = Server::start(asked_for(&debian)).unwrap();
    comes_up(&lab, &server, Hardware::new("alpha", "0a").memory(512));
}

#[test]
#[ignore = "make test-vm-all"]
fn a_tree_with_runit_comes_up_and_goes_off() {
    let Some(debian) = artifacts::here(artifacts::runit) else { return };
    let lab = Lab::new().unwrap();
    let server = Server::start(site(&debian)).unwrap();
    comes_up(&lab, &server, Hardware::new("alpha", "0a"));
}

/// s6's supervisor as process 1, started by a script, as who uses it writes one. It notes what it was handed, before it changes any of that.
const S6: &str = "#!/bin/sh\n{ umask; pwd; ls /proc/$$/fd | grep -x .; grep -E '^Sig(Blk|Ign)' /proc/$$/status; echo \"$PATH $HOME $TERM $#\"; } >/run/handed\n\
     cp -a /etc/s6 /run/service\nexec s6-svscan /run/service\n";
/// As a kernel starts an init: no signal blocked or ignored, no descriptor but those of the console. A shell has its own from 10 on.
const HANDED: &str = "0022\n/\n0\n1\n2\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n/usr/sbin:/usr/bin:/sbin:/bin / linux 0";

#[test]
#[ignore = "make test-vm-all"]
fn a_tree_whose_init_is_a_script_that_becomes_s6_comes_up_and_goes_off() {
    let Some(debian) = artifacts::here(artifacts::runit) else { return };
    let lab = Lab::new().unwrap();
    let site = site(&debian);
    for (file, text) in [
        ("usr/sbin/init", S6),
        ("etc/s6/getty/run", "#!/bin/sh\nexec /sbin/getty -L ttyS0 115200 vt100\n"),
        ("etc/s6/.s6-svscan/finish", "#!/bin/sh\necho o >/proc/sysrq-trigger\nsleep 60\n"),
    ] {
        let at = site.file("common", file, text).unwrap();
        fs::set_permissions(at, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let server = Server::start(site).unwrap();
    let mut alpha = Hardware::new("alpha", "0a").power_on(&lab).unwrap();
    alpha.log_in().unwrap();
    server.wait_for_step("alpha", "up", STEP).unwrap();
    assert_eq!(alpha.ok("readlink /proc/1/exe").unwrap(), "/usr/bin/s6-svscan");
    assert_eq!(alpha.ok("cat /run/handed").unwrap(), HANDED);
    assert_given(&mut alpha);
    assert_phases(&server, false);
    alpha.type_line("s6-svscanctl -t /run/service").unwrap();
    alpha.wait_for_power_off(STEP).unwrap();
}

#[test]
#[ignore = "make test-vm-all"]
fn a_tree_of_a_kernel_and_busybox_comes_up() {
    let Some(tree) = artifacts::here(artifacts::busybox) else { return };
    let lab = Lab::new().unwrap();
    let server = Server::start(site(&tree)).unwrap();
    let mut alpha = Hardware::new("alpha", "0a").power_on(&lab).unwrap();
    server.wait_for_step("alpha", "hand-over", STEP).unwrap();
    alpha.type_line("").unwrap();
    alpha.wait_for("# ", STEP).unwrap();
    // Its shell shows what is typed, too.
    assert!(alpha.ok("hostname").unwrap().lines().any(|line| line.trim() == "alpha"));
    assert_phases(&server, false);
    // Its init starts a shell and offers no login, so nobody can know when it is up, and that is told after five minutes.
    server.wait_for_step("alpha", "up-unknown", 2 * STEP).unwrap();
    power_off(&mut alpha);
}

#[test]
#[ignore = "make test-vm-all"]
fn an_arm64_machine_comes_up_by_the_init_that_lies_beside_its_loader() {
    let Some(debian) = artifacts::here(artifacts::bare_arm64) else { return };
    let Some(init) = artifacts::here(artifacts::init_for_arm64) else { return };
    let lab = Lab::new().unwrap();
    let mut site = site(&debian);
    let loaders = crate::firmware::for_arm64(&mut site, &debian);
    let server = Server::start(site).unwrap();
    // A build on a host that has the compilers too has the program in itself.
    let told = server.run(&["explain", "alpha"]).map_err(|told| format!("{told:#}"));
    let beside = loaders.join("oneroot-init.aarch64");
    let file = "loaders/oneroot-init.aarch64";
    if let Err(told) = &told {
        assert!(told.contains("no init for 64-bit ARM") && told.contains(file), "{told}");
    }
    fs::copy(init, &beside).unwrap();
    let explained = server.run(&["explain", "alpha"]).unwrap();
    println!("{explained}");
    assert_eq!(explained.contains(file), told.is_err(), "{explained}");
    let hardware = Hardware::new("alpha", "0a").firmware(Firmware::Arm64Http).memory(1024);
    let mut alpha = hardware.power_on(&lab).unwrap();
    alpha.log_in().unwrap();
    server.wait_for_step("alpha", "up", STEP).unwrap();
    assert_eq!(alpha.ok("uname -m").unwrap(), "aarch64");
    assert_given(&mut alpha);
    assert_modes(&mut alpha);
    assert_phases(&server, false);
    alpha.wait_until_settled();
    assert_eq!(alpha.ok("systemctl --failed --no-legend | wc -l").unwrap(), "0");
    assert_no_io_error(&mut alpha);
    power_off(&mut alpha);
}

#[test]
#[ignore = "make test-vm-all"]
fn machines_of_192_and_256_mib_come_up_write_more_than_they_have_memory_for_and_go_off() {
    for (debian, memory, by) in
        [(artifacts::bare as fn() -> _, 192, "zstd"), (artifacts::bare_bookworm, 256, "lzo")]
    {
        let Some(debian) = artifacts::here(debian) else { return };
        let lab = Lab::new().unwrap();
        let mut site = site(&debian);
        let compressed = site
            .text()
            .replace("[profile.debian]\n", "[profile.debian]\noverlay = \"zram 512m BY\"\n")
            .replace("BY", by);
        site.set_text(&compressed);
        let server = Server::start(site).unwrap();
        let mut alpha = Hardware::new("alpha", "0a").memory(memory).power_on(&lab).unwrap();
        alpha.log_in().unwrap();
        server.wait_for_step("alpha", "up", STEP).unwrap();
        assert_given(&mut alpha);
        assert_phases(&server, false);
        let chosen = alpha.ok("cat /sys/block/zram0/comp_algorithm").unwrap();
        assert!(chosen.contains(&format!("[{by}]")), "{chosen}");
        writes_to_zram(&mut alpha);
        assert_no_io_error(&mut alpha);
        alpha.type_line("reboot").unwrap();
        alpha.log_in().unwrap();
        writes_to_zram(&mut alpha);
        // As with a file server that takes nothing any more; found before the tree's own.
        let hangs = "echo 'exec sleep 100000' >/usr/local/sbin/sync && chmod 755 /usr/local/sbin/sync";
        alpha.ok(hangs).unwrap();
        power_off(&mut alpha);
        assert!(!alpha.log().contains("Out of memory"), "{}", alpha.log());
    }
}

/// The layer is as large as was said, and more than the machine has memory for goes into it and comes back, by the disk in memory.
fn writes_to_zram(alpha: &mut Guest) {
    assert_eq!(alpha.ok("df -P / | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2").unwrap(), "524288");
    assert_eq!(alpha.ok("tail -n +2 /proc/swaps | cut -d ' ' -f 1").unwrap(), "/dev/zram0");
    assert_eq!(alpha.ok("cat /sys/block/zram0/disksize").unwrap(), (512u64 << 20).to_string());
    // Of a length that divides no page's: one in another's place would be seen.
    let much = "yes 'what this machine writes' | head -c 300M";
    for command in [format!("{much} >/much"), format!("{much} | cmp - /much")] {
        assert_eq!(alpha.run_for(&command, STEP).unwrap(), (0, String::new()), "{command}");
    }
    let used = alpha.ok("tail -n +2 /proc/swaps | tr -s '\\t ' ' ' | cut -d ' ' -f 4").unwrap();
    assert!(used.parse::<u64>().unwrap() > 100 << 10, "{used} KiB are on it");
}

#[test]
#[ignore = "make test-vm-all"]
fn nics_of_three_makers_come_up_with_the_drivers_that_the_tree_has() {
    let Some(debian) = artifacts::here(artifacts::bare_with_all_drivers) else { return };
    let lab = Lab::new().unwrap();
    let server = Server::start(site(&debian)).unwrap();
    for model in ["e1000e", "rtl8139", "vmxnet3"] {
        println!("{model}");
        comes_up(&lab, &server, Hardware::new("alpha", "0a").model(model));
    }
}

#[test]
#[ignore = "make test-vm-all"]
fn a_network_that_loses_every_fiftieth_packet_and_takes_its_time_only_makes_it_slower() {
    let Some(debian) = artifacts::here(artifacts::bare) else { return };
    let lab = Lab::new().unwrap();
    let server = Server::start(site(&debian)).unwrap();
    let cable = Cable::new(&lab).unwrap();
    let mut alpha = Hardware::new("alpha", "0a").on(&cable).power_on(&lab).unwrap();
    // iPXE's own patience is not what is tried here.
    server.wait_for_step("alpha", "initrd", STEP).unwrap();
    cable.is_bad(50, Duration::from_millis(50));
    alpha.log_in().unwrap();
    server.wait_for_step("alpha", "up", STEP).unwrap();
    assert_phases(&server, false);
    power_off(&mut alpha);
}

#[test]
#[ignore = "make test-vm-all"]
fn a_server_whose_first_address_nobody_reaches_any_more_is_found_at_its_second() {
    let Some(debian) = artifacts::here(artifacts::bare) else { return };
    let lab = Lab::new().unwrap();
    ip(&format!("addr add 192.168.77.3/24 dev {INTERFACE}")).unwrap();
    let mut site = site(&debian);
    site.server("more_addresses = [\"192.168.77.3\"]");
    site.add(
        "[machine.alpha.secrets]\ntoken = { kind = \"random\", at = \"/etc/token\", required = true }\n",
    );
    let server = Server::start(site).unwrap();
    let cable = Cable::new(&lab).unwrap();
    let mut alpha = Hardware::new("alpha", "0a").on(&cable).power_on(&lab).unwrap();
    // The firmware knows of one address alone.
    server.wait_for_step("alpha", "initrd", STEP).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    cable.is_closed_to(SERVER.parse().unwrap());
    alpha.log_in().unwrap();
    server.wait_for_step("alpha", "up", STEP).unwrap();
    assert_given(&mut alpha);
    // The root lies below the overlay, where no list of mounts has it: the kernel's own of its file servers, in hexadecimal.
    let servers = alpha.ok("cat /proc/fs/nfsfs/servers").unwrap();
    assert!(servers.contains("c0a84d03") && !servers.contains("c0a84d01"), "{servers}");
    assert_eq!(alpha.ok("cat /etc/token").unwrap().len(), 64);
    assert_eq!(list(&last_boot(&server), "phases").len(), PHASES.len(), "its words came too");
    assert_no_io_error(&mut alpha);
    power_off(&mut alpha);
}

#[test]
#[ignore = "make test-vm-all"]
fn a_machine_whose_kernel_panics_comes_up_again_where_its_site_says_when() {
    let Some(debian) = artifacts::here(artifacts::bare) else { return };
    let lab = Lab::new().unwrap();
    let mut site = site(&debian);
    let restarts = site.text().replace("[profile.debian]\n", "[profile.debian]\nrestart_after = \"1m\"\n");
    site.set_text(&restarts);
    let server = Server::start(site).unwrap();
    let mut alpha = Hardware::new("alpha", "0a").power_on(&lab).unwrap();
    alpha.log_in().unwrap();
    server.wait_for_step("alpha", "up", STEP).unwrap();
    alpha.type_line("echo c >/proc/sysrq-trigger").unwrap();
    alpha.wait_for("Kernel panic - not syncing", STEP).unwrap();
    alpha.log_in().unwrap();
    server.wait_for_step("alpha", "up", STEP).unwrap();
    assert_given(&mut alpha);
    power_off(&mut alpha);
}

#[test]
#[ignore = "make test-vm-all"]
fn a_server_that_goes_away_in_any_phase_is_waited_for() {
    let Some(debian) = artifacts::here(artifacts::bare) else { return };
    let lab = Lab::new().unwrap();
    let mut server = Server::start(site(&debian)).unwrap();
    for phase in PHASES {
        println!("killed at {phase}");
        let told = format!("init is past: {phase}");
        let before = server.log().matches(&told).count();
        let mut alpha = Hardware::new("alpha", "0a").power_on(&lab).unwrap();
        let begun = std::time::Instant::now();
        while server.log().matches(&told).count() <= before {
            assert!(begun.elapsed() < patient(STEP), "it does not come to {phase}");
            std::thread::sleep(Duration::from_millis(2));
        }
        kill_and_start(&mut server, Duration::from_secs(6));
        alpha.log_in().unwrap();
        server.wait_for_step("alpha", "up", STEP).unwrap();
        power_off(&mut alpha);
    }
}

#[test]
#[ignore = "make test-vm-all"]
fn a_nic_that_the_tree_has_no_driver_for_is_named_on_the_console() {
    let Some(debian) = artifacts::here(artifacts::bare) else { return };
    let lab = Lab::new().unwrap();
    let _server = Server::start(site(&debian)).unwrap();
    // The kernel of clouds has no driver for it, and a machine without a network tells nobody else.
    let mut alpha = Hardware::new("alpha", "0a").model("rtl8139").power_on(&lab).unwrap();
    alpha.wait_for("no driver for 10ec:8139", STEP).unwrap();
}

#[test]
#[ignore = "make test-vm-all"]
fn a_kernel_whose_nfs_a_layer_hides_is_explained_before_any_machine_boots_it() {
    let Some(debian) = artifacts::here(artifacts::bare) else { return };
    let server = Server::new(site(&debian)).unwrap();
    server.stage().unwrap();
    let listed = server.run(&["ls", "debian", "/usr/lib/modules", "--json"]).unwrap();
    let version = listed.split('"').find(|word| word.starts_with("6.")).unwrap();
    let nfs = format!("usr/lib/modules/{version}/kernel/fs/nfs");
    server.site.file("common", &format!("{nfs}/.wh.nfsv3.ko.xz"), "").unwrap();
    // What a layer does to a tree is its machines': of the profile's own tree there is nothing to say.
    server.stage().unwrap();
    let told = format!("{:#}", server.run(&["explain", "alpha"]).unwrap_err());
    assert!(told.contains("no initrd can be made for /boot/vmlinuz-6."), "{told}");
    assert!(told.contains(&format!("/{nfs}/nfsv3.ko.xz is not there")), "{told}");
}

#[test]
#[ignore = "make test-vm-all"]
fn a_board_whose_root_is_in_a_vlan_comes_up_with_its_microcode_before_all_else() {
    let Some(debian) = artifacts::here(artifacts::bare_with_all_drivers) else { return };
    let lab = Lab::new().unwrap();
    let mut site = site(&debian);
    let tagged = site.text().replace("[profile.debian]\n", "[profile.debian]\nvlan = 12\n");
    site.set_text(&tagged);
    site.file("common", "usr/lib/firmware/amd-ucode/microcode_amd.bin", "DMA\0of no processor").unwrap();
    let server = Server::start(site).unwrap();
    let cable = Cable::new(&lab).unwrap();
    let board = Hardware::new("alpha", "0a").model("e1000e").maker("Board").on(&cable);
    let mut alpha = board.power_on(&lab).unwrap();
    server.wait_for_step("alpha", "initrd", STEP).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    // As a port does that a boot turns to its own VLAN: what has no tag is nobody's from here on.
    cable.is_tagged(12);
    alpha.log_in().unwrap();
    server.wait_for_step("alpha", "up", STEP).unwrap();
    assert_given(&mut alpha);
    assert_phases(&server, false);
    let vlan = alpha.ok("ip -d -o link show type vlan").unwrap();
    assert!(vlan.lines().count() == 1 && vlan.contains("802.1Q id 12"), "{vlan}");
    let link = alpha.ok("ip -o -4 addr show scope global | awk '{ print $2 }'").unwrap();
    assert!(vlan.contains(&link) && link.ends_with(".12"), "{link}: {vlan}");
    // Who manages the network takes the one for its own, and leaves what is below it alone.
    alpha.ok("systemctl start systemd-networkd && sleep 3").unwrap();
    let managed = alpha
        .ok("cd /run/systemd/netif/links && for nic in /sys/class/net/*; do \
             echo $(basename $nic) $(grep -E '^(ADMIN_STATE|NETWORK_FILE)=' $(cat $nic/ifindex)); done")
        .unwrap();
    for line in managed.lines() {
        let is_left_alone = line.contains("ADMIN_STATE=unmanaged");
        assert_eq!(is_left_alone, !line.contains("/00-oneroot.network"), "{managed}");
        assert_eq!(is_left_alone, !line.starts_with(&link), "{managed}");
    }
    assert_given(&mut alpha);
    assert_no_io_error(&mut alpha);
    let told = server.run(&["explain", "alpha"]).unwrap();
    assert!(told.contains("AMD, before all else and not packed"), "{told}");
    server.run(&["initrd", "alpha", "-o", "alpha.img"]).unwrap();
    let initrd = fs::read(server.site.path().join("alpha.img")).unwrap();
    let head = String::from_utf8_lossy(initrd.get(..1024).unwrap()).into_owned();
    assert!(head.starts_with("070701") && head.contains("microcode/AuthenticAMD.bin"), "{head:?}");
    power_off(&mut alpha);
}
