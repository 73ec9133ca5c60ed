//! What an admin sees at the prompt: exit codes, places of mistakes, JSON.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::program::{copy_program, oneroot};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_broken_site_is_refused_with_its_place_and_exit_code_3() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("site.toml"), "[server]\naddress = \"10.0.0.1\"\ninterfaces = \"eth0\"\n")
        .unwrap();
    for command in ["check", "stage", "serve", "generations"] {
        let done = oneroot(home.path(), &[command]);
        assert_eq!(done.status.code(), Some(3), "{command}");
        let said = text(&done.stderr);
        assert!(
            said.contains(
                "site.toml:3:1: server.interfaces: is not a key of this table; did you mean `interface`?"
            ),
            "{said}"
        );
    }
    let json = oneroot(home.path(), &["check", "--json"]);
    let checked: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(checked["problems"][0]["line"], 1);
    assert_eq!(json.status.code(), Some(3));
}

#[test]
fn what_init_prints_has_no_mistake_and_check_says_that_it_is_still_to_be_filled_in() {
    let home = tempfile::tempdir().unwrap();
    let example = oneroot(home.path(), &["init"]);
    fs::write(home.path().join("site.toml"), &example.stdout).unwrap();
    let done = oneroot(home.path(), &["check"]);
    let said = text(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{said}");
    assert!(said.starts_with("warning: this is the example"), "{said}");
    let told = text(&done.stdout);
    assert!(
        told.ends_with(&format!(": no mistakes, and {} warnings\n", said.lines().count())),
        "{told}{said}"
    );

    fs::write(home.path().join("site.toml"), text(&example.stdout) + "# mine\n").unwrap();
    assert!(!text(&oneroot(home.path(), &["check"]).stderr).contains("the example"), "it has been edited");
}

#[test]
fn who_is_not_root_is_told_to_be_it_and_not_that_files_are_missing() {
    let uids = fs::read_to_string("/proc/self/uid_map").unwrap();
    if !rustix::process::geteuid().is_root() || !uids.contains("4294967295") {
        println!("skipped: another user needs real root");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let open = |path: &str, mode: u32| {
        fs::set_permissions(home.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    for directory in ["layers/common", "root", "private/state"] {
        fs::create_dir_all(home.path().join(directory)).unwrap();
    }
    // The checkout may be one that nobody else may enter.
    copy_program(env!("CARGO_BIN_EXE_oneroot").as_ref(), &home.path().join("oneroot"));
    let site = "[server]\naddress = \"10.0.0.1\"\ninterface = \"lo\"\nstore = \"private/store\"\nstate = \"private/state\"\n\
                [profile.small]\nsource = { directory = \"root\" }\nlayers = [\"layers/common\"]\n\
                [unknown]\nprofile = \"small\"\n";
    fs::write(home.path().join("site.toml"), site).unwrap();
    for (path, mode) in [
        ("", 0o755),
        ("oneroot", 0o755),
        ("site.toml", 0o644),
        ("root", 0o755),
        ("layers", 0o700),
        ("private", 0o700),
    ] {
        open(path, mode);
    }
    let run_as_nobody = |program: &std::path::Path, word: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.arg(program).arg(word).current_dir(home.path()).output().unwrap()
    };
    let as_nobody = |word: &str| text(&run_as_nobody(&home.path().join("oneroot"), word).stderr);
    if !run_as_nobody("ls".as_ref(), &home.path().display().to_string()).status.success() {
        println!("skipped: nobody else may enter {}", home.path().display());
        return;
    }
    for command in ["stage", "generations", "status"] {
        let said = as_nobody(command);
        assert_eq!(said.matches("as root").count(), 1, "{command}: {said}");
    }
    let said = as_nobody("check");
    assert!(
        said.contains("layers/common cannot be looked at") && !said.contains("is not there, so"),
        "{said}"
    );
    open("site.toml", 0o600);
    for command in ["check", "stage"] {
        let said = as_nobody(command);
        assert!(said.contains("site.toml: cannot be read") && said.contains("as root"), "{command}: {said}");
    }
}

#[test]
fn a_layer_written_under_umask_077_is_told_to_close_the_machines_directories() {
    let home = tempfile::tempdir().unwrap();
    for (path, mode) in [("root/etc", 0o755), ("layer/etc", 0o700)] {
        fs::create_dir_all(home.path().join(path)).unwrap();
        fs::set_permissions(home.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    let site = "[server]\naddress = \"10.0.0.1\"\ninterface = \"lo\"\nstore = \"store\"\nstate = \"state\"\n\
                [profile.small]\nsource = { directory = \"root\" }\nlayers = [\"layer\"]\n\
                [unknown]\nprofile = \"small\"\n";
    fs::write(home.path().join("site.toml"), site).unwrap();
    let said = text(&oneroot(home.path(), &["stage"]).stderr);
    let told: Vec<&str> = said.lines().filter(|line| line.contains("only root may enter")).collect();
    assert!(matches!(told[..], [one] if one.contains("layer: ") && one.contains(": /etc")), "{said}");
}

#[test]
fn staging_again_changes_nothing_and_a_change_makes_a_new_generation() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("root");
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(root.join("etc/motd"), "one").unwrap();
    let site = "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\nstore = \"store\"\nstate = \"state\"\n\
                [profile.small]\nsource = { directory = \"root\" }\n";
    fs::write(home.path().join("site.toml"), site).unwrap();
    let stage = || -> serde_json::Value {
        let done = oneroot(home.path(), &["stage", "--json"]);
        assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
        let told: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        told["staged"].clone()
    };
    let first = stage();
    assert_eq!(first[0]["changed"], true);
    assert!(first[0]["warnings"].to_string().contains("no kernel in /boot"), "{first}");
    assert!(first[0]["changes"]["added"].as_u64().unwrap() >= 2, "what comes first is new: {first}");
    assert_eq!((&first[0]["new_bytes"], &first[0]["shared_bytes"]), (&3.into(), &0.into()));
    assert!(first[0]["new_on_disk"].as_u64().unwrap() > 0, "{first}");
    let second = stage();
    assert_eq!((&second[0]["changed"], &second[0]["generation"]), (&false.into(), &first[0]["generation"]));
    assert_eq!(second[0]["new_on_disk"], 0);
    assert_eq!((&second[0]["new_objects"], &second[0]["shared_bytes"]), (&0.into(), &3.into()));
    fs::write(root.join("etc/motd"), "two").unwrap();
    let third = stage();
    assert_eq!(third[0]["changed"], true);
    assert_ne!(third[0]["generation"], first[0]["generation"]);
}

#[test]
fn attributes_that_no_client_will_see_are_named_when_they_are_staged() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("root/etc/motd");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "one").unwrap();
    let site = "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\nstore = \"store\"\nstate = \"state\"\n\
                [profile.small]\nsource = { directory = \"root\" }\n";
    fs::write(home.path().join("site.toml"), site).unwrap();
    // An ACL as the kernel has it: owner, one more user, group, mask, others.
    let acl: Vec<u8> =
        [(1, 6, u32::MAX), (2, 4, 1000), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 4, u32::MAX)]
            .iter()
            .flat_map(|(tag, rights, id): &(u16, u16, u32)| {
                [tag.to_le_bytes().as_slice(), &rights.to_le_bytes(), &id.to_le_bytes()].concat()
            })
            .collect();
    let acl = [2u32.to_le_bytes().as_slice(), &acl].concat();
    let flags = rustix::fs::XattrFlags::empty();
    let set = rustix::fs::setxattr(&file, "user.note", b"x", flags)
        .and_then(|()| rustix::fs::setxattr(&file, "system.posix_acl_access", &acl, flags));
    if set.is_err() {
        eprintln!("skipped: the temporary directory's file system has no attributes");
        return;
    }
    let said = text(&oneroot(home.path(), &["stage"]).stderr);
    assert!(
        said.contains("files with ACLs, which clients don't see over NFS") && said.contains("/etc/motd"),
        "{said}"
    );
    assert!(said.contains("user.note (1)"), "{said}");
}

#[test]
fn status_without_a_server_says_so_with_exit_code_4() {
    let home = tempfile::tempdir().unwrap();
    fs::write(
        home.path().join("site.toml"),
        "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\nstate = \"state\"\n",
    )
    .unwrap();
    let done = oneroot(home.path(), &["status"]);
    assert_eq!(done.status.code(), Some(4));
    assert!(text(&done.stderr).contains("no server is running"));
    // A site that is being edited keeps nobody from asking; one that is no TOML says nothing of where to ask.
    fs::write(home.path().join("site.toml"), "[server]\nnonsense = 1\nstate = \"state\"\n").unwrap();
    let done = oneroot(home.path(), &["status"]);
    assert_eq!(done.status.code(), Some(4));
    let said = text(&done.stderr);
    assert!(
        said.contains("the site is broken") && said.contains(home.path().join("state").to_str().unwrap()),
        "{said}"
    );
    fs::write(home.path().join("site.toml"), "[server\n").unwrap();
    assert_eq!(oneroot(home.path(), &["status"]).status.code(), Some(3));
}

#[test]
fn a_wrong_word_is_usage_and_exit_code_2() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(oneroot(home.path(), &["frobnicate"]).status.code(), Some(2));
}

#[test]
fn a_loader_that_is_not_there_is_named_with_its_package() {
    let home = tempfile::tempdir().unwrap();
    let site = "[server]\naddress = \"10.0.0.1\"\ninterface = \"lo\"\nloaders = \"none\"\n";
    fs::write(home.path().join("site.toml"), site).unwrap();
    let done = oneroot(home.path(), &["check"]);
    assert_eq!(done.status.code(), Some(0), "it may be installed later");
    let said = text(&done.stderr);
    for loader in ["none/undionly.kpxe", "none/ipxe.efi"] {
        assert!(said.contains(loader) && said.contains("install the package ipxe"), "{said}");
    }
}

#[test]
fn a_command_fills_a_directory_and_one_that_fails_is_told_with_its_last_words() {
    let home = tempfile::tempdir().unwrap();
    let site = |command: &str| {
        let text = format!(
            "[server]\naddress = \"10.0.0.1\"\ninterface = \"lo\"\nstore = \"store\"\nstate = \"state\"\n\
             [profile.made]\nsource = {{ command = [\"sh\", \"-c\", '{command}', \"make\"] }}\n"
        );
        fs::write(home.path().join("site.toml"), text).unwrap();
    };
    site(r#"mkdir "$1/etc" && echo made >"$1/etc/motd""#);
    assert!(oneroot(home.path(), &["stage"]).status.success());
    assert_eq!(text(&oneroot(home.path(), &["cat", "made", "/etc/motd"]).stdout), "made\n");
    site(r#"mkdir "$1/half"; echo no mirror answers >&2; exit 7"#);
    let done = oneroot(home.path(), &["stage"]);
    assert_eq!(done.status.code(), Some(1));
    let said = text(&done.stderr);
    assert!(said.contains("exit status: 7") && said.contains("no mirror answers"), "{said}");
    assert_eq!(
        text(&oneroot(home.path(), &["cat", "made", "/etc/motd"]).stdout),
        "made\n",
        "the old one is kept"
    );
}

#[test]
fn a_bad_source_leaves_the_others_staged_and_is_told_with_its_reason_and_exit_code_1() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(home.path().join("root/etc")).unwrap();
    let profile = |name: &str, source: &str| format!("[profile.{name}]\nsource = {{ {source} }}\n");
    let site =
        "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\nstore = \"store\"\nstate = \"state\"\n"
            .to_owned()
            + &profile("aaa", "tar = \"gone.tar\"")
            + &profile("bbb", "directory = \"root\"")
            + &profile("ccc", "command = [\"false\"]");
    std::fs::write(home.path().join("site.toml"), site).unwrap();
    let done = oneroot(home.path(), &["stage"]);
    let (out, told) = (text(&done.stdout), text(&done.stderr));
    assert_eq!(done.status.code(), Some(1), "{told}");
    assert!(out.contains("profile bbb") && !out.contains("aaa"), "{out}");
    for wanted in
        ["cannot stage profile aaa", "gone.tar", "cannot stage profile ccc", "2 sources could not be staged"]
    {
        assert!(told.contains(wanted), "{wanted}: {told}");
    }
    let document: serde_json::Value =
        serde_json::from_slice(&oneroot(home.path(), &["stage", "--json"]).stdout).unwrap();
    let failed: Vec<&str> =
        document["failed"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(
        (failed, &document["staged"][0]["name"]),
        (vec!["profile aaa", "profile ccc"], &"profile bbb".into())
    );
}

#[test]
fn a_name_with_a_slip_is_answered_with_the_one_that_is_like_it() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(home.path().join("root")).unwrap();
    let site = "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\nstore = \"store\"\nstate = \"state\"\n\
                [profile.debian]\nsource = { directory = \"root\" }\n[machine.alpha]\nmac = \"52:54:00:00:00:0a\"\nprofile = \"debian\"\n";
    std::fs::write(home.path().join("site.toml"), site).unwrap();
    for words in [
        ["stage", "debain"],
        ["rollback", "debain"],
        ["generations", "debain"],
        ["explain", "alhpa"],
        ["render", "alhpa"],
        ["ls", "debain"],
    ] {
        let done = oneroot(home.path(), &words);
        let told = text(&done.stderr);
        let meant = if words[1] == "debain" { "did you mean `debian`?" } else { "did you mean `alpha`?" };
        assert!(done.status.code() == Some(1) && told.contains(meant), "{words:?}: {told}");
    }
}

#[test]
fn one_tree_has_one_count_wherever_it_is_told() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("root");
    std::fs::create_dir_all(root.join("a/b")).unwrap();
    std::fs::write(root.join("a/file"), "x").unwrap();
    std::fs::hard_link(root.join("a/file"), root.join("a/again")).unwrap();
    let site = "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\nstore = \"store\"\nstate = \"state\"\n\
                [profile.small]\nsource = { directory = \"root\" }\n";
    std::fs::write(home.path().join("site.toml"), site).unwrap();
    let json = |words: &[&str]| -> serde_json::Value {
        serde_json::from_slice(&oneroot(home.path(), words).stdout).unwrap()
    };
    let staged = json(&["stage", "--json"])["staged"][0].clone();
    let counts = [
        &staged["entries"],
        &staged["changes"]["added"],
        &json(&["generations", "--json"])[0]["entries"],
        &json(&["export", "small", "small.tar", "--json"])["entries"],
    ];
    assert_eq!(counts, [5; 4].map(serde_json::Value::from).each_ref(), "./ a a/b a/file a/again");
}

#[test]
fn the_name_of_a_compressed_archive_becomes_no_directory() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(home.path().join("root")).unwrap();
    let site = "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\nstore = \"store\"\nstate = \"state\"\n\
                [profile.small]\nsource = { directory = \"root\" }\n";
    std::fs::write(home.path().join("site.toml"), site).unwrap();
    assert!(oneroot(home.path(), &["stage"]).status.success());
    for (name, program) in [("a.tgz", "gzip"), ("a.tar.gz", "gzip"), ("a.tar.zst", "zstd"), ("A.TXZ", "xz")] {
        let done = oneroot(home.path(), &["export", "small", name]);
        assert_eq!(done.status.code(), Some(1));
        assert!(
            text(&done.stderr).contains(&format!("export small - | {program} >{name}")),
            "{}",
            text(&done.stderr)
        );
        assert!(!home.path().join(name).exists());
    }
}

#[test]
fn of_two_stages_at_once_one_waits_and_says_so() {
    let home = tempfile::tempdir().unwrap();
    // The first goes on until it is told that the second waits.
    let program = "#!/bin/sh\necho began >began\nuntil [ -e goes-on ]; do sleep 0.05; done\n";
    std::fs::write(home.path().join("make"), program).unwrap();
    std::fs::set_permissions(home.path().join("make"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let site = "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\nstore = \"store\"\nstate = \"state\"\n\
                [profile.small]\nsource = { command = [\"./make\"] }\n";
    std::fs::write(home.path().join("site.toml"), site).unwrap();
    let begin = || {
        let mut stage = std::process::Command::new(env!("CARGO_BIN_EXE_oneroot"));
        stage.current_dir(home.path()).arg("stage").stderr(std::process::Stdio::piped());
        stage.stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    let first = begin();
    while !home.path().join("began").exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let mut second = begin();
    let mut told = String::new();
    let mut said = std::io::BufReader::new(second.stderr.take().unwrap());
    std::io::BufRead::read_line(&mut said, &mut told).unwrap();
    assert!(told.contains("another `oneroot stage` is at work"), "{told}");
    std::fs::write(home.path().join("goes-on"), "").unwrap();
    assert!(first.wait_with_output().unwrap().status.success() && second.wait().unwrap().success());
}

#[test]
fn a_tree_that_no_machine_could_come_up_with_is_said_to_be_one_when_it_is_staged() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("root");
    let write = |path: &str, bytes: &[u8]| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let site = "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\nstore = \"store\"\nstate = \"state\"\n\
                [profile.small]\nsource = { directory = \"root\" }\n[profile.other]\nextends = \"small\"\n";
    std::fs::write(home.path().join("site.toml"), site).unwrap();
    let said = || text(&oneroot(home.path(), &["stage"]).stderr);
    write("boot/vmlinuz-6.1", b"kernel");
    // What Ubuntu's dracut leaves where initramfs-tools' would be.
    let names =
        ["usr/lib/dracut-lib.sh", "usr/sbin/mount.nfs", "lib/modules/6.1/kernel/drivers/net/virtio_net.ko"];
    write("boot/initrd.img-6.1", &newc(&names));
    write("usr/sbin/sshd", b"");
    let bare = said();
    for wanted in [
        "no sh, which oneroot's init needs",
        "no mount,",
        "no /sbin/init",
        "sshd has no host keys",
        "write `initramfs = \"dracut\"` in [profile.small]",
    ] {
        assert!(bare.contains(wanted), "{wanted}: {bare}");
    }
    for program in ["bin/sh", "bin/mount", "usr/bin/env", "usr/sbin/chroot", "sbin/init"] {
        write(program, b"x");
    }
    write("etc/ssh/ssh_host_ed25519_key", b"x");
    std::fs::write(home.path().join("site.toml"), format!("{site}initramfs = \"dracut\"\n")).unwrap();
    let more = ["usr/sbin/nfsroot", "lib/modules/6.1/kernel/fs/nfs/nfsv3.ko.xz"];
    write("boot/initrd.img-6.1", &newc(&[&names[..], &more].concat()));
    let mended = said();
    assert!(mended.contains("SSH host keys are in the tree") && !mended.contains("init needs"), "{mended}");
    assert!(!mended.contains("initrd.img"), "the one that extends it boots it rightly: {mended}");
    write("boot/initrd.img-6.1", &newc(&names));
    std::fs::write(
        home.path().join("site.toml"),
        site.replace("root\" }\n", "root\" }\ninitramfs = \"dracut\"\n"),
    )
    .unwrap();
    let lacking = said();
    assert!(lacking.contains("lacks dracut's module nfs") && lacking.contains("module nfsv3"), "{lacking}");
    write("boot/initrd.img-6.1", b"BZh91AY&SY");
    assert!(said().contains("/boot/initrd.img-6.1 can't be looked into"));
}

#[test]
fn check_says_of_what_is_staged_what_stage_said_and_looks_into_few_initrds() {
    let home = tempfile::tempdir().unwrap();
    let write = |path: String, bytes: &[u8]| {
        let path = home.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let mut site =
        "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\nstore = \"store\"\nstate = \"state\"\n"
            .to_owned();
    for profile in ["a", "b"] {
        site += &format!("[profile.{profile}]\nsource = {{ directory = \"{profile}\" }}\n");
        // What a Debian that boots from its disk has: no NFS in it.
        for version in ["6.1", "6.9", "6.10"] {
            write(format!("{profile}/boot/vmlinuz-{version}"), b"kernel");
            write(format!("{profile}/boot/initrd.img-{version}"), &newc(&["scripts/functions"]));
        }
        write(format!("{profile}/etc/crypttab"), b"data UUID=1 none luks\n");
    }
    write("site.toml".to_owned(), site.as_bytes());
    let json = |words: &[&str]| -> serde_json::Value {
        serde_json::from_slice(&oneroot(home.path(), words).stdout).unwrap()
    };
    let warnings = |one: &serde_json::Value| -> Vec<String> {
        one["warnings"].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
    };
    let before = json(&["check", "--json"]);
    assert!(!home.path().join("store").exists(), "a look at a site makes no store");
    let made = json(&["stage", "--json"])["staged"].clone();
    let now = json(&["check", "--json"])["staged"].clone();
    let checked = text(&oneroot(home.path(), &["check"]).stderr);
    assert!(checked.contains("profile a: /boot/initrd.img-6.10 can't mount the root"), "{checked}");
    assert_eq!(before["staged"], serde_json::json!([]), "nothing is said of what is not staged");
    for (made, now) in [(&made[0], &now[0]), (&made[1], &now[1])] {
        assert_eq!((&made["name"], &made["generation"]), (&now["name"], &now["generation"]));
        let (made, told) = (warnings(made), warnings(now));
        let lacks =
            |told: &[String]| told.iter().filter(|line| line.contains("can't mount the root")).count();
        assert_eq!((lacks(&made), lacks(&told)), (3, 2), "four initrds for both profiles: {made:?} {told:?}");
        let passed_over = told.iter().find(|line| line.starts_with("not looked into")).unwrap();
        assert!(passed_over.contains(": /boot/initrd.img-6.1;"), "the oldest: {passed_over}");
        for line in told.iter().filter(|line| *line != passed_over) {
            assert!(made.contains(line), "{line}: {made:?}");
        }
        let others = |told: &[String]| told.iter().filter(|line| !line.contains("initrd.img")).count();
        assert_eq!(others(&made), others(&told), "{made:?} {told:?}");
        for line in told {
            let line = format!("warning: {}: {line}", now["name"].as_str().unwrap());
            assert!(checked.lines().any(|other| other == line), "{line}: {checked}");
        }
    }
    assert!(checked.contains("/etc/crypttab opens data"), "{checked}");
    // A site's initrd is the one that is looked into, wherever it is.
    write("a/srv/mine".to_owned(), &newc(&["usr/lib/dracut-lib.sh"]));
    let one = site.replace("\"a\" }\n", "\"a\" }\ninitrd = \"/srv/mine\"\n");
    write("site.toml".to_owned(), one.as_bytes());
    assert!(oneroot(home.path(), &["stage", "a"]).status.success());
    let checked = text(&oneroot(home.path(), &["check"]).stderr);
    assert!(checked.contains("profile a: /srv/mine is of dracut"), "{checked}");
    assert!(!checked.contains("profile a: /boot/"), "{checked}");
}

#[test]
fn shared_host_keys_are_named_with_what_hides_them_for_good_and_then_nothing_is_said() {
    let home = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = home.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    };
    // Each stage makes new ones, as an installer does.
    let made = r#"mkdir -p "$1/usr/sbin" "$1/etc/ssh" && : >"$1/usr/sbin/sshd" && for kind in rsa ed25519; do date +%N >"$1/etc/ssh/ssh_host_${kind}_key"; done"#;
    let site = format!(
        "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\nstore = \"store\"\nstate = \"state\"\n[profile.small]\n\
         source = {{ command = [\"sh\", \"-c\", '{made}', \"make\"] }}\nlayers = [\"common\"]\n\
         [machine.alpha]\nmac = \"52:54:00:00:00:0a\"\nprofile = \"small\"\nlayer = \"alpha\"\n"
    );
    write("site.toml", &site);
    write("common/etc/motd", "x");
    write("alpha/etc/motd", "x");
    let said = || -> Vec<String> {
        let of = |word: &str| text(&oneroot(home.path(), &[word]).stderr);
        let keys = |said: String| -> Vec<String> {
            said.lines().filter(|line| line.contains("host keys")).map(str::to_owned).collect()
        };
        let (staged, checked) = (keys(of("stage")), keys(of("check")));
        assert_eq!(staged, checked, "both say the same");
        staged
    };
    let [told] = &said()[..] else { panic!("once") };
    for named in [
        "/etc/ssh/ssh_host_ed25519_key, /etc/ssh/ssh_host_rsa_key;",
        "secrets = { ssh_host_ed25519_key = \"ssh-key\" } in [profile.small]",
        "empty files in one of the profile's layers: etc/ssh/.wh.ssh_host_rsa_key",
    ] {
        assert!(told.contains(named), "{named}: {told}");
    }
    assert!(!told.contains("ecdsa") && !told.contains("remove"), "only what is there: {told}");
    // What it says is done, and holds for the next stage.
    write("common/etc/ssh/.wh.ssh_host_rsa_key", "");
    let mended = site.replace("layers =", "secrets = { ssh_host_ed25519_key = \"ssh-key\" }\nlayers =");
    write("site.toml", &mended);
    assert_eq!(said(), Vec::<String>::new());
    // So it is by a layer of the machine's own.
    write("site.toml", &site);
    assert_eq!(said().len(), 1);
    write("alpha/etc/ssh/ssh_host_ed25519_key", "alpha's");
    assert_eq!(said(), Vec::<String>::new());
    let listed = text(&oneroot(home.path(), &["ls", "alpha", "/etc/ssh"]).stdout);
    assert!(listed.contains("ssh_host_ed25519_key") && !listed.contains("rsa"), "{listed}");
    assert_eq!(
        text(&oneroot(home.path(), &["cat", "alpha", "/etc/ssh/ssh_host_ed25519_key"]).stdout),
        "alpha's"
    );
    // One that has none of its own has the tree's again.
    write("site.toml", &format!("{site}[machine.beta]\nmac = \"52:54:00:00:00:0b\"\nprofile = \"small\"\n"));
    let [told] = &said()[..] else { panic!("once") };
    assert!(told.contains("ssh_host_ed25519_key") && !told.contains("rsa"), "{told}");
    // In a layer that all have, it is all machines' again.
    write("site.toml", &site);
    fs::rename(home.path().join("alpha/etc/ssh"), home.path().join("common/etc/keys")).unwrap();
    write("common/etc/ssh/ssh_host_ed25519_key", "everybody's");
    assert_eq!(said().len(), 1);
}

/// An initramfs with empty files of these names.
fn newc(names: &[&str]) -> Vec<u8> {
    let mut archive = Vec::new();
    for name in names.iter().chain([&"TRAILER!!!"]) {
        let mut numbers = [0; 13];
        numbers[11] = name.len() + 1;
        archive.extend(b"070701");
        numbers.iter().for_each(|number| archive.extend(format!("{number:08x}").bytes()));
        archive.extend(name.bytes().chain([0]));
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive
}
