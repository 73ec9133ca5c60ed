//! What a machine mounts beside its root: another profile as a part of its view, with generations and a rollback of its own, and what
//! it is given to mount itself.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use oneroot_testkit::{Lab, Server, SiteFiles};
use serde_json::Value;

use crate::program::{json, oneroot, text};

const RELAY: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);
const PATIENCE: Duration = Duration::from_secs(60);

const SITE: &str = r#"
[server]
address = "10.0.0.1"
interface = "eth0"
store = "store"
state = "state"

[profile.base]
source = { directory = "root" }
mounts = { "/apps" = { profile = "apps" }, "/home" = "nas:/export/home", "/srv" = "nas:/srv" }

[profile.apps]
source = { directory = "apps" }

[machine.alpha]
mac = "52:54:00:00:00:0a"
profile = "base"
mounts = { "/srv" = "none" }

[machine.beta]
mac = "52:54:00:00:00:0b"
profile = "base"
"#;

fn write(home: &Path, path: &str, text: &str) {
    let path = home.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn site() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), "site.toml", SITE);
    write(home.path(), "root/etc/motd", "root\n");
    write(home.path(), "root/boot/vmlinuz-1", "kernel");
    write(home.path(), "root/boot/initrd.img-1", "initrd");
    write(home.path(), "root/apps/old", "hidden\n");
    write(home.path(), "apps/bin/tool", "one\n");
    text(home.path(), &["stage"]);
    home
}

#[test]
fn a_profile_that_is_mounted_is_a_part_of_the_view_and_is_rolled_back_alone() {
    let home = site();
    let cat = |path: &str| text(home.path(), &["cat", "alpha", path]);
    assert_eq!(cat("/apps/bin/tool"), "one\n");
    assert!(
        !oneroot(home.path(), &["cat", "alpha", "/apps/old"]).status.success(),
        "a mount hides what is below it"
    );
    write(home.path(), "apps/bin/tool", "two\n");
    write(home.path(), "root/etc/motd", "root two\n");
    text(home.path(), &["stage"]);
    assert_eq!((cat("/apps/bin/tool").as_str(), cat("/etc/motd").as_str()), ("two\n", "root two\n"));
    text(home.path(), &["rollback", "apps"]);
    assert_eq!((cat("/apps/bin/tool").as_str(), cat("/etc/motd").as_str()), ("one\n", "root two\n"));
    let told = text(home.path(), &["explain", "alpha"]);
    assert!(told.contains("profile apps on /apps"), "{told}");
}

#[test]
fn machines_that_mount_the_same_share_its_layer_whatever_else_they_have() {
    let home = site();
    let layer = |machine: &str| {
        let told = json(home.path(), &["explain", machine]);
        let layers = told["layers"].as_array().unwrap().clone();
        let is_apps = |layer: &&Value| layer["what"].as_str().unwrap().contains("on /apps");
        layers.iter().find(is_apps).unwrap()["generation"].clone()
    };
    write(
        home.path(),
        "site.toml",
        &SITE.replace("profile = \"base\"\nmounts", "profile = \"base\"\nlayer = \"own\"\nmounts"),
    );
    write(home.path(), "own/etc/motd", "alpha\n");
    text(home.path(), &["stage"]);
    assert_eq!(layer("alpha"), layer("beta"));
}

#[test]
fn what_else_is_mounted_is_given_to_the_machine_as_its_nearest_table_says() {
    let home = site();
    let unit = |machine: &str, name: &str| {
        oneroot(home.path(), &["cat", machine, &format!("/.oneroot/run/systemd/system/{name}")])
    };
    for machine in ["alpha", "beta"] {
        let told = String::from_utf8(unit(machine, "home.mount").stdout).unwrap();
        assert!(told.contains("What=nas:/export/home\n"), "{machine}: {told}");
    }
    assert!(unit("beta", "srv.automount").status.success());
    assert!(!unit("alpha", "srv.automount").status.success(), "its own table says none");
}

#[test]
fn what_lasts_is_one_table_with_what_is_mounted_and_is_named_by_its_machine() {
    let home = site();
    let site = SITE.replace(
        "[profile.apps]",
        "[profile.base.lasts]\n\"/var/lib/db\" = \"nas:/state/{name}\"\n\"/var/log\" = { empty = \"64m\" }\n\"/opt\" = \"copied\"\n\n[profile.apps]",
    );
    let site = site.replace(
        "\"/srv\" = \"none\" }",
        "\"/srv\" = \"none\" }\nlasts = { \"/opt\" = \"volatile\", \"/home\" = \"copied\" }",
    );
    write(home.path(), "site.toml", &site);
    let list = |machine: &str| text(home.path(), &["cat", machine, "/.oneroot/lasts"]);
    assert_eq!(
        list("alpha"),
        "1 /home wanted copied 50%\n2 /var/lib/db wanted server nas:/state alpha/var/lib/db defaults\n3 /var/log wanted empty 64m\n",
        "its own table takes away and puts another in the place of a mount"
    );
    assert!(list("beta").starts_with("2 /opt wanted copied 50%\n"), "the first is a mount: {}", list("beta"));
    let unit = text(home.path(), &["cat", "beta", "/.oneroot/run/systemd/system/var-lib-db.mount"]);
    assert!(unit.contains("What=nas:/state/beta/var/lib/db\n"), "{unit}");
    let told = text(home.path(), &["explain", "alpha"]);
    assert!(told.contains("/var/log empty, 64m") && told.contains("/home copied, 50%"), "{told}");
}

#[test]
fn a_link_in_the_way_of_a_mount_is_named_when_the_boot_is_planned() {
    let home = site();
    fs::remove_dir_all(home.path().join("root/apps")).unwrap();
    std::os::unix::fs::symlink("usr/local", home.path().join("root/apps")).unwrap();
    text(home.path(), &["stage"]);
    let done = oneroot(home.path(), &["explain", "alpha"]);
    let told = [done.stdout, done.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(told.contains("nothing can be mounted on /apps: /apps is no directory"), "{told}");
}

#[test]
fn a_running_machine_keeps_what_it_mounts_is_behind_when_that_changes_and_tells_what_it_can_not_mount() {
    let lab = Lab::new().unwrap();
    let mut files = SiteFiles::with_alpha(b"kernel").unwrap();
    let text = files.text().replacen(
        "[profile.",
        "[profile.apps]\nsource = { directory = \"apps\" }\n\n[profile.",
        1,
    );
    let text = text.replacen(
        "[machine.alpha]\n",
        "[machine.alpha]\nmounts = { \"/apps\" = { profile = \"apps\" }, \"/home\" = \"nas:/export/home\" }\n",
        1,
    );
    files.set_text(&text);
    write(files.path(), "apps/tool", "one\n");
    let server = Server::start(files).unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let boot = alpha.boot().unwrap();
        let mut root = alpha.mount(&boot.export).unwrap();
        assert_eq!(root.read_all().unwrap()["/apps/tool"], b"one\n");
        root.say(&format!("{}.hook-failed-10-join-required", boot.id)).unwrap();
        let hook = "its hook 10-join-required failed, and it does not come up without it";
        server.wait_for_log(hook, PATIENCE).unwrap();
        assert!(server.machine("alpha").unwrap()["failed"].to_string().contains("10-join-required"));
        root.say(&format!("{}.up", boot.id)).unwrap();
        server.wait_for_step("alpha", "up", PATIENCE).unwrap();

        write(server.site.path(), "apps/tool", "two\n");
        server.stage().unwrap();
        assert_eq!(
            root.read_all().unwrap()["/apps/tool"],
            b"one\n",
            "nothing changes under a running machine"
        );
        let shown = server.machine("alpha").unwrap();
        assert!(shown["behind"].to_string().contains("profile apps on /apps is another"), "{shown:#}");

        root.say(&format!("{}.mount-failed-1", boot.id)).unwrap();
        for word in ["mount-failed-9", "space-81", "space-", "hook-failed-", "space-80", "hook-failed-later"]
        {
            root.say(&format!("{}.{word}", boot.id)).unwrap();
        }
        let words = "/home could not be mounted from nas:/export/home";
        server.wait_for_log(words, PATIENCE).unwrap();
        server
            .wait_for_log("its writable layer is 80 % full, and when it is full nothing more", PATIENCE)
            .unwrap();
        let log = server.log();
        assert!(
            !log.contains("81 % full") && !log.contains("hook later"),
            "only what a machine says by itself"
        );
        let shown = server.machine("alpha").unwrap();
        assert!(shown["failed"].to_string().contains("80 % full"), "the last: {shown:#}");
        let told = server.run(&["boots", "alpha"]).unwrap();
        assert!(told.contains(words) && told.contains("80 % full"), "{told}");
        assert_eq!(
            shown["steps"].as_array().unwrap().last().unwrap()["step"],
            "up",
            "it is no step of its boot"
        );
    })
    .unwrap();
}

#[test]
fn what_can_not_be_had_of_what_lasts_is_told_and_a_machine_is_behind_when_that_changes() {
    let lab = Lab::new().unwrap();
    let mut files = SiteFiles::with_alpha(b"kernel").unwrap();
    let before = files.text().to_owned();
    let lasts = "[machine.alpha]\n\
        lasts = { \"/var/lib/db\" = \"nas:/state/{name}\", \"/var/log\" = { empty = \"64m\", required = true } }\n";
    files.set_text(&before.replacen("[machine.alpha]\n", lasts, 1));
    let mut server = Server::start(files).unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let boot = alpha.boot().unwrap();
        let mut root = alpha.mount(&boot.export).unwrap();
        root.say(&format!("{}.mount-failed-2", boot.id)).unwrap();
        let memory = "/var/log could not be given memory of its own (empty, 64m), and it does not come up without it; its console says why";
        server.wait_for_log(memory, PATIENCE).unwrap();
        root.say(&format!("{}.mount-failed-1", boot.id)).unwrap();
        let state = "/var/lib/db could not be mounted from nas:/state/alpha/var/lib/db, and it goes on without it; look there";
        server.wait_for_log(state, PATIENCE).unwrap();
        root.say(&format!("{}.up", boot.id)).unwrap();
        server.wait_for_step("alpha", "up", PATIENCE).unwrap();
        assert_eq!(server.machine("alpha").unwrap()["behind"], serde_json::json!([]));
        server.site.set_text(&before);
        server.reload().unwrap();
        let behind = server.machine("alpha").unwrap()["behind"].to_string();
        assert_eq!(behind, "[\"what lasts of what it writes has changed\"]");
    })
    .unwrap();
}
