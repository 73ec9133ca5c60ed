//! What a machine mounts beside its root: another profile, rolled back alone; a home that follows its user from machine to machine;
//! what lasts, at the file server and in memory; what can't be had, told, and a writable layer that fills up; and what a machine finds
//! out, by which its next boot goes.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use oneroot_testkit::{Access, Ganesha, Lab, Server, SiteFiles};
use oneroot_vm_tests::{Guest, Hardware, artifacts};

use crate::{POOL, SOON, STEP, assert_no_io_error};

/// The file server.
const NAS: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 3);

/// What a program of the tree finds out, under whichever initramfs: where it stands, and whether the script of others has run.
const EXAMINES: &str = "#!/bin/sh\nseat=right\n[ \"$ONEROOT_MAC\" != 52:54:00:00:00:0a ] || seat=left\n\
    script=0\nread -r line </proc/cmdline\ncase $line in *init=/.oneroot/init*) script=1 ;; esac\n\
    printf '{\"seat\": \"%s\", \"script\": %s, \"disks\": []}\\n' $seat $script\n";
/// By that, a machine boots otherwise the next time: with the initramfs of its tree, and an argument.
const RULES: &str = "[profile.again]\nextends = \"debian\"\ninitramfs = \"dracut\"\nargs = [\"again=1\"]\n\
    [[rule]]\nwhen = { examined = { seat = \"left\" } }\nprofile = \"again\"\n\
    [[rule]]\nwhen = {}\nprofile = \"debian\"\n";

/// Two seats of a profile that brings no initrd that counts: homes from a file server, programs from a profile of their own, and a
/// directory that no server has.
fn site(debian: &Path, homes: &Path, more: &str) -> SiteFiles {
    let mut site = SiteFiles::new(debian, POOL, "1h").unwrap();
    let profile = format!(
        "[profile.apps]\nsource = {{ directory = \"apps\" }}\n\n[profile.debian]\ninitramfs = \"oneroot\"\noverlay = \"128m\"\nmounts = {{ \"/apps\" = {{ profile = \"apps\" }}, \"/home\" = {{ nfs = \"{NAS}:{homes}\", options = \"vers=3,nolock,soft\" }}{more} }}\n\
         lasts = {{ \"/var/log\" = {{ empty = \"64m\" }}, \"/var/lib/apt\" = {{ copied = \"64m\" }}, \"/etc/apt\" = {{ server = \"{NAS}:{homes}/of-{{name}}\", options = \"vers=3,nolock,soft\" }} }}\n",
        homes = homes.display()
    );
    site.set_text(&site.text().replacen("[profile.debian]\n", &profile, 1));
    site.machine("alpha", "0a", "address = \"192.168.77.10\"").unwrap();
    site.machine("beta", "0b", "address = \"192.168.77.11\"").unwrap();
    tool(&site, "one");
    site
}

/// Another edition of the program that both run.
fn tool(site: &SiteFiles, says: &str) {
    let tool = site.path().join("apps/bin/tool");
    fs::create_dir_all(tool.parent().unwrap()).unwrap();
    fs::write(&tool, format!("#!/bin/sh\necho {says}\n")).unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A site in which no table says what a machine boots, and a tree that examines it.
fn examines(site: &mut SiteFiles) {
    let text = site.text().replace("profile = \"debian\"\nlayer", "layer");
    site.set_text(&text);
    site.add(RULES);
    for (name, does) in [("10-seat", EXAMINES), ("20-late", "#!/bin/sh\necho half; exit 3\n")] {
        let hook = site.file("common", &format!("etc/oneroot/examine.d/{name}"), does).unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// What is mounted below a file server's directory is there: another of its directories, also for who comes by the outer one first,
/// and a file system of the machine's own, for which no local one waits (systemd would break that circle by leaving one out).
fn places_below_a_file_servers(alpha: &mut Guest) {
    assert_eq!(alpha.ok("cd /home && cat shared/whose").unwrap(), "the team's");
    assert_eq!(alpha.ok("findmnt -no FSTYPE,SIZE /home/scratch | tr -s ' '").unwrap(), "tmpfs 8M");
    alpha
        .ok("journalctl -b >/run/log.txt && test -s /run/log.txt && ! grep -i 'ordering cycle' /run/log.txt")
        .unwrap();
}

/// Fills the machine's writable layer until it tells so, and empties it. The unit looks once a minute, so the script that it runs is run
/// once more, with a shorter pause; the unit is stopped, for what it said would be among the answers of the console.
fn fills_its_layer(server: &Server, alpha: &mut Guest) {
    let is_active = "for i in $(seq 60); do systemctl -q is-active oneroot-space && break; sleep 1; done; systemctl is-active oneroot-space";
    assert_eq!(alpha.ok(is_active).unwrap(), "active");
    alpha.ok("systemctl stop oneroot-space").unwrap();
    assert_eq!(alpha.ok("df -P / | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2").unwrap(), "131072");
    alpha.ok("fallocate -l 110M /full").unwrap();
    let shown = || server.machine("alpha").unwrap().get("failed").unwrap().to_string();
    let before = shown();
    assert!(!before.contains("% full"), "{before}");
    alpha.type_line("(sh /.oneroot/space 1 & echo $! >/run/space)").unwrap();
    alpha.wait_for("oneroot: the writable layer is 8", SOON).unwrap();
    server.wait_for_log("its writable layer is 80 % full", SOON).unwrap();
    let shown = shown();
    assert!(shown.contains("its writable layer is 80 % full"), "{shown}");
    alpha.ok("kill $(cat /run/space); rm /full; systemctl start oneroot-space").unwrap();
}

#[test]
fn programs_of_another_profile_are_rolled_back_alone_a_home_follows_its_user_what_is_not_to_be_had_is_told_and_what_is_found_out_counts()
 {
    let Some(debian) = artifacts::here(artifacts::trixie) else { return };
    let lab = Lab::new().unwrap();
    let home = tempfile::tempdir().unwrap();
    let exported = home.path().join("home");
    for directory in ["user", "shared", "scratch", "team"] {
        fs::create_dir_all(exported.join(directory)).unwrap();
    }
    fs::write(exported.join("team/whose"), "the team's\n").unwrap();
    fs::set_permissions(exported.join("user"), fs::Permissions::from_mode(0o777)).unwrap();
    let work = home.path();
    let _nas = lab
        .on_host("192.168.77.3/24", || Ganesha::export(&exported, Access::Write, work, NAS))
        .unwrap()
        .unwrap();
    let more = format!(
        ", \"/gone\" = {{ nfs = \"{NAS}:/nothing\", options = \"vers=3,nolock,soft\" }}, \"/home/shared\" = {{ nfs = \"{NAS}:{team}\", options = \"vers=3,nolock,soft\" }}, \"/home/scratch\" = {{ device = \"scratch\", type = \"tmpfs\", options = \"size=8m\" }}",
        team = exported.join("team").display()
    );
    let mut site = site(&debian, &exported, &more);
    examines(&mut site);
    let server = Server::start(site).unwrap();

    let mut alpha = Hardware::new("alpha", "0a").memory(768).power_on(&lab).unwrap();
    alpha.log_in().unwrap();
    server.wait_for_step("alpha", "up", STEP).unwrap();
    assert_eq!(alpha.ok("/apps/bin/tool").unwrap(), "one");
    assert_eq!(alpha.ok("findmnt -no FSTYPE --target /apps").unwrap(), "overlay", "a part of its root");
    alpha.ok("echo hers >/home/user/settings").unwrap();
    assert!(alpha.ok("findmnt -no FSTYPE /home").unwrap().contains("nfs"));
    places_below_a_file_servers(&mut alpha);
    assert_eq!(alpha.ok("findmnt -no FSTYPE,SIZE /var/log | tr -s ' '").unwrap(), "tmpfs 64M");
    assert_eq!(
        alpha.ok("findmnt -no FSTYPE /var/lib/apt; ls -d /var/lib/apt/lists").unwrap().lines().count(),
        2
    );
    alpha.ok("echo alphas >/etc/apt/state").unwrap();
    let own = exported.join("of-alpha/etc/apt");
    assert_eq!(fs::read_to_string(own.join("state")).unwrap(), "alphas\n", "at the file server");
    assert!(own.join("apt.conf.d").is_dir(), "it began as the tree's");
    alpha.fails("ls /gone/x").unwrap();
    let words = format!("/gone could not be mounted from {NAS}:/nothing");
    server.wait_for_log(&words, SOON).unwrap();
    let shown = server.machine("alpha").unwrap().to_string();
    assert!(shown.contains(&words), "{shown}");
    alpha.wait_for("/gone could not be mounted\r", SOON).unwrap();
    fills_its_layer(&server, &mut alpha);

    let found = || {
        let shown = server.run(&["machines", "show", "alpha", "--json"]).unwrap();
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        let facts = shown["examined"].as_array().unwrap().clone();
        facts.iter().map(|fact| format!("{} {}", fact["name"], fact["value"])).collect::<Vec<_>>()
    };
    assert_eq!(
        found(),
        ["\"disks\" []", "\"script\" 0", "\"seat\" \"left\""],
        "told under oneroot's own init"
    );
    alpha.fails("grep again=1 /proc/cmdline").unwrap();
    let behind = server.machine("alpha").unwrap()["behind"].to_string();
    assert!(behind.contains("again"), "its next boot is another: {behind}");

    tool(&server.site, "two");
    server.stage().unwrap();
    assert_eq!(alpha.ok("/apps/bin/tool").unwrap(), "one", "nothing changes under a running machine");
    server.run(&["rollback", "apps"]).unwrap();
    tool(&server.site, "three");
    server.stage().unwrap();
    let mut beta = Hardware::new("beta", "0b").memory(768).power_on(&lab).unwrap();
    beta.log_in().unwrap();
    server.wait_for_step("beta", "up", STEP).unwrap();
    assert_eq!(beta.ok("/apps/bin/tool").unwrap(), "one", "rolled back, and that holds");
    assert_eq!(beta.ok("cat /home/user/settings").unwrap(), "hers", "a home that follows");
    beta.ok("ls -d /etc/apt/apt.conf.d").unwrap();
    beta.fails("cat /etc/apt/state").unwrap();
    assert_no_io_error(&mut alpha);
    alpha.type_line("reboot").unwrap();
    alpha.log_in().unwrap();
    alpha.ok("grep again=1 /proc/cmdline").unwrap();
    server.wait_for_log("its hook examine.d/20-late failed", SOON).unwrap();
    assert_eq!(found(), ["\"disks\" []", "\"script\" 1", "\"seat\" \"left\""], "told under dracut");
    beta.fails("grep again=1 /proc/cmdline").unwrap();
    for guest in [&mut alpha, &mut beta] {
        assert_no_io_error(guest);
        guest.type_line("poweroff").unwrap();
        guest.wait_for_power_off(STEP).unwrap();
    }
}

#[test]
fn a_machine_that_is_not_to_come_up_without_a_mount_does_not_and_says_so() {
    let Some(debian) = artifacts::here(artifacts::trixie) else { return };
    let lab = Lab::new().unwrap();
    let needed = format!(
        ", \"/needed\" = {{ nfs = \"{NAS}:/nothing\", options = \"vers=3,nolock,soft,retry=0\", required = true }}"
    );
    let server = Server::start(site(&debian, Path::new("/nothing"), &needed)).unwrap();
    let mut alpha = Hardware::new("alpha", "0a").memory(768).power_on(&lab).unwrap();
    alpha
        .wait_for("/needed could not be mounted, and this machine is not to come up without it", STEP)
        .unwrap();
    server.wait_for_log("it does not come up without it", STEP).unwrap();
    std::thread::sleep(SOON / 3);
    let alpha = server.machine("alpha").unwrap();
    let is_up = alpha.get("steps").unwrap().to_string().contains("\"up\"");
    assert!(!is_up, "{alpha:#}");
}
