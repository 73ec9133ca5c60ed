//! What a machine may get other than a root: its own disk, a menu, a kernel alone, to wait until somebody has named it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::fs;
use std::time::Duration;

use oneroot_testkit::{Clock, Lab, Machine, RELAY, Server, SiteFiles};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
/// A kernel alone, beside alpha's tree.
const MEMTEST: &str =
    "[profile.memtest]\nsource = { directory = \"memtest\" }\nroot = \"none\"\nkernel = \"/memtest.bin\"\n";

fn site() -> SiteFiles {
    let mut site = SiteFiles::with_alpha(b"kernel").unwrap();
    fs::create_dir(site.path().join("memtest")).unwrap();
    fs::write(site.path().join("memtest/memtest.bin"), "memtest of today").unwrap();
    site.add(MEMTEST);
    site
}

/// The same with another word for what alpha boots.
fn site_with(boots: &str) -> SiteFiles {
    let mut site = site();
    let text = site.text().replace("\nprofile = \"debian\"\n", &format!("\n{boots}\n"));
    assert_ne!(text, site.text());
    site.set_text(&text);
    site
}

fn get(machine: &Machine, path: &str) -> String {
    let (status, body) = machine.get(path).unwrap();
    assert_eq!(status, 200, "{path}");
    String::from_utf8(body).unwrap()
}

/// As iPXE asks that has been asked itself what it is.
fn script(machine: &Machine) -> String {
    get(machine, &format!("/boot/52-54-00-00-00-{:02x}.ipxe?platform=pcbios", machine.last))
}

/// Where the script has the kernel.
fn kernel_in(script: &str) -> String {
    let (_, rest) = script.split_once("http://192.168.77.1").unwrap();
    rest.split_once(' ').unwrap().0.to_owned()
}

/// The line of a machine in the table.
fn line(server: &Server, name: &str) -> String {
    let table = server.run(&["status"]).unwrap();
    table.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap().to_owned()
}

#[test]
fn a_machine_that_boots_its_own_disk_is_let_go_and_leaves_nothing_behind() {
    let lab = Lab::new().unwrap();
    let (server, clock) = Clock::start(site_with("boot = \"local\"")).unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let script = script(&alpha);
        assert!(
            script.contains("\nsanboot --no-describe --drive 0x80 ||\n") && script.contains("|| exit 1\n"),
            "{script}"
        );
        assert!(!script.contains("/b/") && !script.contains("goto"), "{script}");
        let seen = server.machine("alpha").unwrap();
        assert_eq!(
            (&seen["other"], &seen["boot"], &seen["phase"]),
            (&"local".into(), &Value::Null, &Value::Null)
        );
        clock.is_ahead_by(Duration::from_secs(5000)).unwrap();
        assert_eq!(server.machine("alpha").unwrap()["stalled"], Value::Null);
        assert!(line(&server, "alpha").contains(" local "), "{}", line(&server, "alpha"));
        server.wait_for_log("boots from its own disk", PATIENCE).unwrap();
        assert!(!server.log().contains("did nothing more"));
    })
    .unwrap();
    assert!(server.run(&["explain", "alpha"]).unwrap().contains("boots from its own disk"));
    assert!(server.run(&["render", "alpha"]).unwrap().contains("sanboot"));
    let pins: Value = serde_json::from_str(&server.run(&["gc", "--json"]).unwrap()).unwrap();
    assert!(!pins.to_string().contains("alpha"), "{pins}");
}

#[test]
fn a_menu_is_shown_and_a_choice_of_it_is_planned_and_any_other_word_is_the_menu_again() {
    let menu = "[menu.desk]\ntitle = \"Room 1\"\ntimeout = \"20s\"\ndefault = \"disk\"\n\
        choice = [{ name = \"disk\", boot = \"local\" }, { name = \"debian\", profile = \"debian\", args = [\"splash\"] }, \
        { name = \"memtest\", title = \"Memory test\", profile = \"memtest\" }]\n";
    let lab = Lab::new().unwrap();
    let mut site = site_with("menu = \"desk\"");
    site.add(menu);
    let server = Server::start(site).unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let shown = script(&alpha);
        assert!(shown.contains("\nitem memtest Memory test\n"), "{shown}");
        assert!(shown.contains("\nchoose --default disk --timeout 20000 choice || goto menu\n"), "{shown}");
        assert!(shown.contains("/boot/52-54-00-00-00-0a/${choice}.ipxe ||\n"), "{shown}");
        let seen = server.machine("alpha").unwrap();
        assert_eq!((&seen["other"], &seen["boot"]), (&"menu desk".into(), &Value::Null));
        let choose = |word: &str| get(&alpha, &format!("/boot/52-54-00-00-00-0a/{word}.ipxe"));
        for word in ["nobody", "DISK", "shell", "x.y"] {
            assert_eq!(choose(word), shown, "{word}");
        }
        for bad in [
            "/boot/52-54-00-00-00-0a/%24.ipxe",
            "/boot/52-54-00-00-00-0a/disk",
            "/boot/52-54-00-00-00-0b/disk.ipxe",
        ] {
            assert_eq!(alpha.get(bad).unwrap().0, 404, "{bad}");
        }
        assert!(choose("disk").contains("sanboot"));
        assert_eq!(
            server.machine("alpha").unwrap()["boot"],
            Value::Null,
            "nothing is planned for any of these"
        );
        let debian = choose("debian");
        assert!(debian.contains(" splash ") && debian.contains("nfsroot="), "{debian}");
        assert!(
            debian.contains("chain --replace http://192.168.77.1/boot/52-54-00-00-00-0a/debian.ipxe ||"),
            "{debian}"
        );
        assert_eq!(choose("debian"), debian, "asked again, it is the same boot");
        let memtest = choose("memtest");
        assert_eq!(get(&alpha, &kernel_in(&memtest)), "memtest of today");
        assert_eq!(script(&alpha), shown, "it is asked again at the next boot");
    })
    .unwrap();
    let told = server.run(&["explain", "alpha"]).unwrap();
    assert!(told.contains("is shown the menu desk") && told.contains("memtest: profile memtest"), "{told}");
    assert!(server.run(&["render", "alpha"]).unwrap().contains("choose --default disk"));
}

#[test]
fn a_kernel_alone_is_all_there_is_to_such_a_boot_and_is_kept_as_it_was_and_the_root_before_stays() {
    let lab = Lab::new().unwrap();
    let mut site = site();
    site.machine("beta", "0b", "address = \"192.168.77.11\"").unwrap();
    let (mut server, clock) = Clock::start(site).unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let boot = alpha.boot().unwrap();
        let mut root = alpha.mount(&boot.export).unwrap();
        root.say(&format!("{}.up", boot.id)).unwrap();
        server.wait_for_step("alpha", "up", PATIENCE).unwrap();

        let text = server.site.text().replace("\nprofile = \"debian\"\n", "\nprofile = \"memtest\"\n");
        server.site.set_text(&text);
        server.reload().unwrap();
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let script = script(&alpha);
        for ours in ["nfsroot", "root=", "init=", "oneroot.boot", "initrd", "BOOTIF"] {
            assert!(!script.contains(ours), "{ours}: {script}");
        }
        assert!(script.contains("/kernel || goto failed"), "{script}");
        assert_eq!(get(&alpha, &kernel_in(&script)), "memtest of today");
        server.wait_for_step("alpha", "loaded", PATIENCE).unwrap();
        clock.is_ahead_by(Duration::from_secs(5000)).unwrap();
        let seen = server.machine("alpha").unwrap();
        assert_eq!(
            (&seen["phase"], &seen["boot"]),
            (&"up".into(), &boot.id.as_str().into()),
            "nobody ended that"
        );
        assert_eq!(seen["planned"]["kernel_of"], "memtest");
        let told = server.run(&["status"]).unwrap();
        assert!(
            told.contains("was given the kernel of memtest") && !told.contains("no root mounted since"),
            "{told}"
        );

        fs::write(server.site.path().join("memtest/memtest.bin"), "memtest of tomorrow").unwrap();
        server.stage().unwrap();
        server.run(&["gc"]).unwrap();
        assert_eq!(get(&alpha, &kernel_in(&script)), "memtest of today", "as it was booted");
        assert_eq!(alpha.mount(&boot.export).unwrap().handle(), root.handle());

        server.run(&["release", "alpha"]).unwrap();
        let script = self::script(&alpha);
        assert_eq!(get(&alpha, &kernel_in(&script)), "memtest of tomorrow");
        let seen = server.machine("alpha").unwrap();
        assert_eq!((&seen["phase"], &seen["profile"]), (&"loaded".into(), &"memtest".into()));
        assert_eq!(seen["behind"], Value::Array(vec![]));

        let beta = host.lease(11, PATIENCE).unwrap().unwrap();
        get(&beta, &kernel_in(&self::script(&beta)));
        clock.is_ahead_by(Duration::from_secs(10_000)).unwrap();
        let seen = server.machine("beta").unwrap();
        assert_eq!((&seen["stalled"], &seen["phase"]), (&Value::Null, &"loaded".into()));
    })
    .unwrap();
}

#[test]
fn who_is_unknown_is_held_with_its_mac_and_the_command_that_adopts_it_and_nothing_is_written() {
    let lab = Lab::new().unwrap();
    let server = Server::start(site()).unwrap();
    lab.on_machines(RELAY, |host| {
        let stranger = host.lease(0x77, PATIENCE).unwrap().unwrap();
        let held = script(&stranger);
        let adopt = "oneroot adopt 52:54:00:00:00:77 --name NAME --profile PROFILE";
        assert!(held.contains(adopt) && held.contains(&stranger.address.to_string()), "{held}");
        assert!(held.contains("\nsleep 30\nchain --replace "), "{held}");
        let seen = server.machine("52:54:00:00:00:77").unwrap();
        assert_eq!(
            (&seen["other"], &seen["boot"], &seen["refused"]),
            (&"held".into(), &Value::Null, &Value::Null)
        );
        (0..5).for_each(|_| assert_eq!(script(&stranger), held));
        server.wait_for_log("is held", PATIENCE).unwrap();
        assert_eq!(
            server.log().lines().filter(|line| line.contains("is held") && line.contains("INFO")).count(),
            1
        );
        server.run(&["adopt", "52:54:00:00:00:77", "--name", "beta", "--profile", "debian"]).unwrap();
        assert!(script(&stranger).contains("nfsroot="), "it boots when it asks the next time");
    })
    .unwrap();
}

#[test]
fn a_kernel_alone_that_is_assigned_once_is_booted_once() {
    let lab = Lab::new().unwrap();
    let server = Server::start(site()).unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let refused = server.run(&["assign", "alpha", "--boot", "local", "--once"]).unwrap_err().to_string();
        assert!(refused.contains("--until"), "{refused}");
        server.run(&["assign", "alpha", "--profile", "memtest", "--once"]).unwrap();
        let told = script(&alpha);
        assert_eq!(script(&alpha), told, "a script that was fetched ends nothing");
        assert_eq!(get(&alpha, &kernel_in(&told)), "memtest of today");
        server.wait_for_log("what was assigned to it for now is over", PATIENCE).unwrap();
        assert_eq!(get(&alpha, &kernel_in(&told)), "memtest of today", "a second try of the same boot");
        assert!(script(&alpha).contains("nfsroot="), "the next boot is the site's");
    })
    .unwrap();
}
