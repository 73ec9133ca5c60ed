//! `oneroot sync`: a directory of another host is exactly the tree that the server exports, whoever asks and whatever goes wrong.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at its first surprise")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output};

use crate::sync_kit::tell;
use oneroot_testkit::{Lab, SERVER, Server, SiteFiles, ip, udhcpc_on};

/// A tree with one of everything.
fn fill(root: &Path) {
    for directory in ["etc/deep", "usr/bin", "var/empty"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::write(root.join("etc/motd"), "hello\n").unwrap();
    fs::write(root.join("etc/shadow"), "secret\n").unwrap();
    fs::set_permissions(root.join("etc/shadow"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(root.join("usr/bin/su"), vec![7; 300_000]).unwrap();
    fs::set_permissions(root.join("usr/bin/su"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(root.join("usr/bin/su"), root.join("usr/bin/other")).unwrap();
    symlink("../etc/motd", root.join("usr/link")).unwrap();
    fs::write(root.join("etc/deep/large"), vec![9; 3_000_000]).unwrap();
    fs::write(root.join("etc/empty"), "").unwrap();
    assert!(Command::new("mkfifo").arg(root.join("var/fifo")).status().unwrap().success());
    let mknod = Command::new("mknod").arg(root.join("var/null")).args(["c", "1", "3"]).status().unwrap();
    assert!(mknod.success());
    // cap_net_raw, effective (struct vfs_cap_data, revision 2).
    let set = "import os,sys; os.setxattr(sys.argv[1], 'user.note', b'x'); os.setxattr(sys.argv[1], \
               'security.capability', bytes.fromhex('0100000200200000' + 24 * '0'))";
    let done = Command::new("python3").args(["-c", set]).arg(root.join("etc/motd")).status().unwrap();
    assert!(done.success());
}

struct Home {
    lab: Lab,
    server: Server,
    home: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let lab = Lab::new().unwrap();
        let site = SiteFiles::with_alpha(b"kernel").unwrap();
        fill(&site.path().join("root"));
        let server = Server::start(site).unwrap();
        Self { lab, server, home: tempfile::tempdir().unwrap() }
    }

    fn dir(&self) -> std::path::PathBuf {
        self.home.path().join("dir")
    }

    /// Does something on alpha, which has its address.
    fn on_alpha<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        self.lab
            .plug("lab0", |nic| {
                ip(&format!("link set {nic} address 52:54:00:00:00:0a")).unwrap();
                let lease = udhcpc_on(nic).unwrap().unwrap();
                ip(&format!("addr add {}/24 dev {nic}", lease.get("ip").unwrap())).unwrap();
                act()
            })
            .unwrap()
    }

    fn sync(&self, what: &str, more: &[&str]) -> Output {
        let from = format!("http://{SERVER}");
        let mut command = Command::new(self.server.binary());
        command.args(["sync", what]).arg(self.dir()).args(["--from", &from]).args(more).output().unwrap()
    }

    /// What the server exports under a name.
    fn exported(&self, what: &str) -> String {
        let to = tempfile::tempdir().unwrap();
        let to = to.path().join("tree");
        self.server.run(&["export", what, to.to_str().unwrap()]).unwrap();
        tell(&to)
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    said(output)
}

#[test]
fn a_machine_has_its_own_tree_as_it_is_exported_and_again_when_it_has_changed() {
    let home = Home::new();
    let exported = home.exported("alpha");
    home.on_alpha(|| {
        println!("{}", done(&home.sync("@self", &[])));
        assert_eq!(tell(&home.dir()), exported);
        let shown = home.server.run(&["machines", "show", "alpha"]).unwrap();
        assert!(shown.contains("of @self at 192.168.77.10") && shown.contains("current"), "{shown}");
        let again = done(&home.sync("@self", &[]));
        assert!(again.contains("0 added, 0 removed, 0 changed; 0 contents"), "{again}");
    });
    let root = home.server.site.path().join("root");
    fs::remove_dir_all(root.join("etc/deep")).unwrap();
    fs::write(root.join("etc/deep"), "a file now").unwrap();
    fs::write(root.join("usr/new"), "new").unwrap();
    home.server.stage().unwrap();
    let exported = home.exported("alpha");
    home.on_alpha(|| {
        let dry = done(&home.sync("@self", &["--dry-run"]));
        assert!(dry.contains("/usr/new"), "{dry}");
        assert_ne!(tell(&home.dir()), exported);
        fs::write(home.dir().join("foreign"), "x").unwrap();
        println!("{}", done(&home.sync("@self", &["--atomic", "--keep", "2"])));
        assert_eq!(tell(&home.dir()), exported);
        assert!(home.home.path().join("dir.1/foreign").exists());
    });
}

#[test]
fn a_machine_that_boots_its_own_disk_has_the_tree_that_the_next_table_names_for_it() {
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::with_alpha(b"kernel").unwrap();
    site.set_text(&site.text().replace("profile = \"debian\"\nlayer", "boot = \"local\"\nlayer"));
    site.add("[group.lab]\nmachines = \"alpha\"\nprofile = \"debian\"\n");
    fill(&site.path().join("root"));
    let server = Server::start(site).unwrap();
    let home = Home { lab, server, home: tempfile::tempdir().unwrap() };
    home.on_alpha(|| {
        done(&home.sync("@self", &[]));
        assert_eq!(fs::read(home.dir().join("etc/hostname")).unwrap(), b"alpha\n", "with its own layer");
        assert_eq!(fs::read(home.dir().join("etc/motd")).unwrap(), b"hello\n");
    });
}

/// A secret that is good for these.
fn token(server: &Server, name: &str, views: &[&str]) -> String {
    let views = views.iter().flat_map(|view| ["--view", view]);
    let words: Vec<&str> = ["token", "new", name].into_iter().chain(views).collect();
    let said = server.run(&words).unwrap();
    said.split_whitespace().find(|word| word.starts_with("oneroot_")).unwrap().to_owned()
}

#[test]
fn a_token_has_the_trees_that_it_is_for_and_nobody_without_one_has_any() {
    let home = Home::new();
    let (debian, alpha) = (home.exported("debian"), home.exported("alpha"));
    let [for_debian, for_alpha] =
        [("d", "debian"), ("a", "alpha")].map(|(name, view)| token(&home.server, name, &[view]));
    let sync = |what: &str, token: Option<&str>| {
        let mut command = Command::new(home.server.binary());
        command.args(["sync", what]).arg(home.dir()).args(["--from", &format!("http://{SERVER}")]);
        command.env_remove("ONEROOT_TOKEN").envs(token.map(|token| ("ONEROOT_TOKEN", token)));
        command.output().unwrap()
    };
    for (what, token) in [
        ("debian", None),
        ("alpha", None),
        ("@self", None),
        ("@self", Some(for_alpha.as_str())),
        ("debian", Some(&for_alpha)),
        ("alpha", Some(&for_debian)),
        ("nothing", Some(&for_debian)),
        ("debian@00000000", Some(&for_debian)),
        ("debian", Some("oneroot_0000000000000000000000000000000000000000000000000000000000000000")),
    ] {
        let refused = sync(what, token);
        assert_eq!(refused.status.code(), Some(1), "{what}: {}", said(&refused));
        assert_eq!(fs::read_dir(home.home.path()).unwrap().count(), 0, "{what}: nothing was made");
    }
    done(&sync("debian", Some(&for_debian)));
    assert_eq!(tell(&home.dir()), debian);
    done(&sync("alpha", Some(&for_alpha)));
    assert_eq!(tell(&home.dir()), alpha);
    let status = home.server.run(&["status"]).unwrap();
    assert!(status.contains("token a") && status.contains("current"), "{status}");
    home.server.run(&["token", "revoke", "a"]).unwrap();
    assert_eq!(sync("alpha", Some(&for_alpha)).status.code(), Some(1));
}

#[test]
fn a_generation_that_is_pulled_is_one_of_the_other_server_and_only_what_is_missing_comes() {
    let home = Home::new();
    let token = token(&home.server, "second", &["debian"]);
    let second = Server::new(SiteFiles::with_alpha(b"other").unwrap()).unwrap();
    second.site.write().unwrap();
    let pull = |more: &[&str]| {
        let mut command = Command::new(second.binary());
        command.arg("--site").arg(second.site.path().join("site.toml"));
        command.args(["pull", "debian", "--from", &format!("http://{SERVER}")]).args(more);
        command.env("ONEROOT_TOKEN", &token).output().unwrap()
    };
    let first = done(&pull(&[]));
    assert!(first.contains("new boots get it"), "{first}");
    let exported = |server: &Server| {
        let to = tempfile::tempdir().unwrap();
        let to = to.path().join("tree");
        server.run(&["export", "debian", to.to_str().unwrap()]).unwrap();
        tell(&to)
    };
    assert_eq!(exported(&second), exported(&home.server));
    let again = done(&pull(&[]));
    assert!(again.contains(" 0 contents"), "{again}");
    fs::write(home.server.site.path().join("root/etc/motd"), "other\n").unwrap();
    home.server.stage().unwrap();
    let held = done(&pull(&["--hold"]));
    assert!(held.contains(" 1 content,") && held.contains("it waits"), "{held}");
    assert_ne!(exported(&second), exported(&home.server));
    let verified = second.run(&["verify"]).unwrap();
    assert!(!verified.contains("damaged"), "{verified}");
}

#[test]
fn where_the_site_has_https_a_token_goes_by_that_and_a_certificate_is_known_by_its_fingerprint() {
    let lab = Lab::new().unwrap();
    let mut site = SiteFiles::with_alpha(b"kernel").unwrap();
    fill(&site.path().join("root"));
    site.server("https_port = 8443");
    let server = Server::start(site).unwrap();
    let home = Home { lab, server, home: tempfile::tempdir().unwrap() };
    let exported = home.exported("debian");
    let token = token(&home.server, "far", &["debian"]);
    let status: serde_json::Value =
        serde_json::from_str(&home.server.run(&["status", "--json"]).unwrap()).unwrap();
    let fingerprint = status["https"]["fingerprint"].as_str().unwrap().to_owned();
    let other = format!(
        "{}{}",
        &fingerprint[..fingerprint.len() - 1],
        if fingerprint.ends_with('0') { '1' } else { '0' }
    );
    let sync = |from: &str, more: &[&str]| {
        let mut command = Command::new(home.server.binary());
        command.args(["sync", "debian"]).arg(home.dir()).args(["--from", from]).args(more);
        command.env("ONEROOT_TOKEN", &token).output().unwrap()
    };
    let (http, https) = (format!("http://{SERVER}"), format!("https://{SERVER}:8443"));
    home.lab
        .on_host("192.168.77.60/24", || {
            let bare = sync(&http, &[]);
            assert!(!bare.status.success() && said(&bare).contains("HTTPS alone"), "{}", said(&bare));
            let unsealed = format!("https://{SERVER}:80");
            let sealed = format!("http://{SERVER}:8443");
            for (from, more, word) in [
                (&https, &[][..], "say --fingerprint"),
                (&https, &["--fingerprint", &other], "another certificate"),
                (&unsealed, &[], "say http://"),
                (&sealed, &[], "say https://"),
            ] {
                let refused = sync(from, more);
                assert!(
                    !refused.status.success() && said(&refused).contains(word),
                    "{word}: {}",
                    said(&refused)
                );
            }
            assert!(!home.dir().exists());
            done(&sync(&https, &["--fingerprint", &fingerprint]));
            assert_eq!(tell(&home.dir()), exported);
            let listed = sync(&https, &["--fingerprint", &fingerprint, "--token", &token]);
            assert_eq!(listed.status.code(), Some(2), "{}", said(&listed));
        })
        .unwrap();
}

/// A program that writes down how it was called, and ends with this.
fn hook(home: &Home, name: &str, code: i32) -> String {
    let path = home.home.path().join(name);
    let says = home.home.path().join(format!("{name}.said"));
    let text = format!(
        "#!/bin/sh\necho \"$1 $ONEROOT_WHAT $ONEROOT_GENERATION ${{ONEROOT_TOKEN-none}}\" >>{}\nexit {code}\n",
        says.display()
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn programs_run_around_a_change_and_the_tree_before_comes_back_without_a_server() {
    let mut home = Home::new();
    let token = token(&home.server, "lab", &["debian"]);
    let [before, after, refuses] =
        [("before", 0), ("after", 0), ("refuses", 1)].map(|(name, code)| hook(&home, name, code));
    let sync = |home: &Home, more: &[&str]| {
        let mut command = Command::new(home.server.binary());
        command.args(["sync", "debian"]).arg(home.dir()).args([
            "--from",
            &format!("http://{SERVER}"),
            "--atomic",
        ]);
        command.args(more).env("ONEROOT_TOKEN", &token).output().unwrap()
    };
    let refused = sync(&home, &["--before", &refuses]);
    assert!(!refused.status.success() && !home.dir().exists(), "{}", said(&refused));
    done(&sync(&home, &["--before", &before, "--after", &after]));
    let first = tell(&home.dir());
    // Where nothing changes, nothing runs.
    done(&sync(&home, &["--before", &refuses, "--after", &after]));
    fs::write(home.server.site.path().join("root/etc/motd"), "second\n").unwrap();
    home.server.stage().unwrap();
    done(&sync(&home, &["--after", &after]));
    let second = tell(&home.dir());
    assert_ne!(first, second);
    let calls = fs::read_to_string(home.home.path().join("after.said")).unwrap();
    let calls: Vec<&str> = calls.lines().collect();
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert!(
        calls[0].starts_with(&format!("{} debian ", home.dir().display())) && calls[0].ends_with(" none"),
        "{calls:?}"
    );
    home.server.kill9().unwrap();
    for tree in [&first, &second] {
        let mut back = Command::new(home.server.binary());
        done(&back.args(["sync", "--rollback"]).arg(home.dir()).output().unwrap());
        assert_eq!(&tell(&home.dir()), tree);
    }
}

#[test]
fn a_directory_of_ones_own_where_a_tree_before_was_stays_and_a_first_sync_removes_nothing_unasked() {
    let home = Home::new();
    let token = token(&home.server, "lab", &["debian"]);
    let sync = |more: &[&str]| {
        let mut command = Command::new(home.server.binary());
        command.args(["sync", "debian"]).arg(home.dir()).args(["--from", &format!("http://{SERVER}")]);
        command.args(more).env("ONEROOT_TOKEN", &token).output().unwrap()
    };
    fs::create_dir_all(home.dir()).unwrap();
    fs::write(home.dir().join("own"), "own").unwrap();
    let refused = sync(&["--atomic"]);
    assert!(!refused.status.success() && said(&refused).contains("--force"), "{}", said(&refused));
    assert_eq!(fs::read(home.dir().join("own")).unwrap(), b"own");
    done(&sync(&["--atomic", "--force"]));
    let before = home.home.path().join("dir.1");
    assert_eq!(fs::read(before.join("own")).unwrap(), b"own", "the tree before");
    fs::remove_dir_all(&before).unwrap();
    fs::create_dir(&before).unwrap();
    fs::write(before.join("mine"), "mine").unwrap();
    fs::write(home.server.site.path().join("root/etc/motd"), "second\n").unwrap();
    home.server.stage().unwrap();
    for keep in ["0", "1", "2"] {
        let refused = sync(&["--atomic", "--keep", keep]);
        assert!(!refused.status.success() && said(&refused).contains("move it away"), "{}", said(&refused));
        assert_eq!(fs::read(before.join("mine")).unwrap(), b"mine");
        assert_eq!(fs::read(home.dir().join("etc/motd")).unwrap(), b"hello\n");
    }
    fs::rename(&before, home.home.path().join("away")).unwrap();
    done(&sync(&["--atomic"]));
    assert_eq!(fs::read(home.dir().join("etc/motd")).unwrap(), b"second\n");
}

#[test]
fn who_watches_has_the_next_generation_without_being_told_and_a_server_that_was_away_is_no_end() {
    let mut home = Home::new();
    let token = token(&home.server, "lab", &["debian"]);
    let log = home.home.path().join("log");
    let mut command = Command::new(home.server.binary());
    command.args(["sync", "debian"]).arg(home.dir()).args([
        "--from",
        &format!("http://{SERVER}"),
        "--watch=1",
    ]);
    let output = fs::File::create(&log).unwrap();
    let mut watching = command
        .env("ONEROOT_TOKEN", &token)
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap();
    let until = |what: &str, is: &dyn Fn() -> bool| {
        let begun = std::time::Instant::now();
        while !is() {
            assert!(
                begun.elapsed() < std::time::Duration::from_secs(60),
                "{what}: {}",
                fs::read_to_string(&log).unwrap()
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    let motd = home.dir().join("etc/motd");
    until("the first tree", &|| fs::read(&motd).is_ok_and(|text| text == b"hello\n"));
    home.server.kill9().unwrap();
    until("a server that is away", &|| fs::read_to_string(&log).unwrap().contains("cannot reach"));
    fs::write(home.server.site.path().join("root/etc/motd"), "second\n").unwrap();
    home.server.stage().unwrap();
    home.server.restart().unwrap();
    until("the second tree", &|| fs::read(&motd).is_ok_and(|text| text == b"second\n"));
    until("what the server knows", &|| {
        let status = home.server.run(&["status"]).unwrap();
        status.lines().any(|line| line.starts_with("token lab") && line.ends_with("current"))
    });
    watching.kill().unwrap();
    watching.wait().unwrap();
}

#[test]
fn contents_that_a_store_here_has_do_not_come() {
    let home = Home::new();
    let token = token(&home.server, "lab", &["debian"]);
    let store = home.server.site.path().join("store");
    let mut command = Command::new(home.server.binary());
    command.args(["sync", "debian"]).arg(home.dir()).args([
        "--from",
        &format!("http://{SERVER}"),
        "--json",
        "--store",
    ]);
    let told = command.arg(&store).env("ONEROOT_TOKEN", &token).output().unwrap();
    done(&told);
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!((&told["objects"], &told["bytes"]), (&0.into(), &0.into()), "{told}");
    assert_eq!(tell(&home.dir()), home.exported("debian"));
}
