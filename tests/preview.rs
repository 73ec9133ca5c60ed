//! What an admin can know before a machine boots: `explain`, `render`, and `check` of templates.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::fs;

use crate::program::{home, json, oneroot, put, put_site};

const SITE: &str = r#"
[[network]]
subnet = "10.0.0.0/24"
pool = "10.0.0.100-10.0.0.199"
domain = "lab.example"

[vars]
zone = "north"

[profile.small]
source = { directory = "root" }
layers = ["layers/common"]

[machine.alpha]
mac = "52:54:00:00:00:0a"
address = "10.0.0.10"
profile = "small"
layer = "layers/alpha"
vars = { zone = "south" }

[machine.beta]
mac = "52:54:00:00:00:0b"
profile = "small"
"#;

/// A site with a template in the shared layer and files that hide each other.
fn site() -> tempfile::TempDir {
    let files = [
        ("root/boot/vmlinuz-6.1", "kernel"),
        ("root/boot/initrd.img-6.1", "initrd"),
        ("root/etc/hostname", "from the profile\n"),
        ("root/etc/motd", "from the profile\n"),
        ("root/usr/share/other.j2", "{{ somebody_elses }}\n"),
        ("layers/common/etc/hostname.j2", "{{ name }}.{{ site.domain }}\n"),
        ("layers/alpha/etc/.wh.motd", ""),
        ("layers/alpha/etc/zone.j2", "{{ vars.zone }} {{ address }}\n"),
    ];
    let home = home(SITE, &files);
    json(home.path(), &["stage"]);
    home
}

#[test]
fn explain_says_where_each_part_of_a_boot_comes_from() {
    let home = site();
    let told = json(home.path(), &["explain", "alpha"]);
    assert_eq!(
        (&told["kernel"], &told["initrd"]),
        (&"/boot/vmlinuz-6.1".into(), &"/boot/initrd.img-6.1".into())
    );
    let layers: Vec<String> = told["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| layer["what"].as_str().unwrap().to_owned())
        .collect();
    let ours = ["oneroot, for this machine", "oneroot itself"];
    let ends = ["small", "common", "common (rendered)", "alpha", "alpha (rendered)", ours[0], ours[1]];
    assert!(
        layers.len() == ends.len() && layers.iter().zip(ends).all(|(layer, end)| layer.ends_with(end)),
        "{layers:?}"
    );
    let why = told["why"].as_array().unwrap();
    assert!(
        why.iter().any(|why| why["value"] == "zone=south" && why["from"] == "[machine.alpha]"),
        "{why:?}"
    );
    assert_eq!(told, json(home.path(), &["explain", "52-54-00-00-00-0A"]), "by its MAC too");
}

#[test]
fn explain_says_which_of_a_machines_table_and_its_groups_counts_and_what_that_hides() {
    let home = site();
    let group = "\n[profile.spare]\nextends = \"small\"\n[group.hall]\nmachines = \"al*\"\nprofile = \"spare\"\nargs = [\"splash\"]\n";
    let path = home.path().join("site.toml");
    fs::write(&path, format!("{}{group}", fs::read_to_string(&path).unwrap())).unwrap();
    let told = oneroot(home.path(), &["explain", "alpha"]);
    let told = String::from_utf8(told.stdout).unwrap();
    let rows: Vec<Vec<&str>> = told.lines().map(|line| line.split_whitespace().collect()).collect();
    for row in [
        &["profile", "small", "[machine.alpha]"][..],
        &["profile", "spare", "[group.hall],", "hidden"],
        &["argument", "splash", "[group.hall]"],
    ] {
        assert!(rows.iter().any(|told| told == row), "{row:?}\n{told}");
    }
}

#[test]
fn explain_of_a_path_names_layer_generation_and_template_and_what_they_hide() {
    let home = site();
    let hostname = json(home.path(), &["explain", "alpha", "/etc/hostname"]);
    assert_eq!((&hostname[0]["seen"], &hostname[1]["seen"]), (&true.into(), &false.into()));
    assert!(
        hostname[0]["template"].as_str().unwrap().ends_with("layers/common/etc/hostname.j2"),
        "{hostname}"
    );
    assert_eq!(hostname[1]["what"], "profile small");
    let given = json(home.path(), &["explain", "alpha", "/.oneroot/etc/hostname"]);
    assert_eq!(
        given[0]["what"], "oneroot, for this machine",
        "what a machine is given can be seen before it boots"
    );
    let gone = oneroot(home.path(), &["explain", "alpha", "/etc/motd"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("removed"));
    assert_eq!(json(home.path(), &["explain", "beta", "/etc/motd"])[0]["seen"], true);
    let template = oneroot(home.path(), &["explain", "alpha", "/etc/hostname.j2"]);
    assert_eq!(template.status.code(), Some(1), "a template is no file of the machine's");
}

#[test]
fn render_shows_the_script_and_every_rendered_file_and_twice_the_same() {
    let home = site();
    let told = json(home.path(), &["render", "alpha"]);
    let script = told["script"].as_str().unwrap();
    assert!(script.starts_with("#!ipxe\n") && script.contains("nfsroot=10.0.0.1:/v/"), "{script}");
    let files = told["files"].as_array().unwrap();
    let text = |path: &str| {
        files.iter().find(|file| file["path"] == path).unwrap()["text"].as_str().unwrap().to_owned()
    };
    assert_eq!(text("etc/hostname"), "alpha.lab.example\n");
    assert_eq!(text("etc/zone"), "south 10.0.0.10\n");
    assert_eq!(files.len(), 2, "what a profile's own tree has is its programs' business");
    assert_eq!(told, json(home.path(), &["render", "alpha"]));
    let beta = json(home.path(), &["render", "beta"]);
    assert_eq!(beta["files"][0]["text"], "beta.lab.example\n");
}

#[test]
fn a_template_that_some_machine_could_not_be_given_is_refused_by_check_with_its_line() {
    let home = site();
    assert_eq!(oneroot(home.path(), &["check"]).status.code(), Some(0));
    fs::write(home.path().join("layers/common/etc/x.conf.j2"), "a\n{{ vars.rack }}\n").unwrap();
    let done = oneroot(home.path(), &["check"]);
    assert_eq!(done.status.code(), Some(3));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        said.contains("layers/common/etc/x.conf.j2:2:1: for alpha and 1 more: \"vars.rack\" is not defined"),
        "{said}"
    );
}

#[test]
fn a_machine_that_the_site_does_not_have_is_named() {
    let home = site();
    let done = oneroot(home.path(), &["explain", "gamma"]);
    assert_eq!(done.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&done.stderr).contains("no machine \"gamma\"; this site has alpha"));
}

#[test]
fn layers_outside_the_sites_directory_and_in_hidden_ones_are_staged_as_any_other() {
    let outer = tempfile::tempdir().unwrap();
    let home = outer.path().join("site");
    let long = format!("layers/{}", ["long"; 60].join("/"));
    let layers = ["../shared/a", ".layers/b", &long];
    let site = SITE.replace(r#"["layers/common"]"#, &format!("{layers:?}")).replace("layer = ", "# ");
    put_site(&home, &site);
    for (path, text) in [
        ("root/boot/vmlinuz-6.1".to_owned(), "kernel"),
        ("root/boot/initrd.img-6.1".to_owned(), "initrd"),
        (format!("{}/etc/a", layers[0]), "a"),
        (format!("{}/etc/b", layers[1]), "b"),
        (format!("{}/etc/c", layers[2]), "c"),
    ] {
        put(&home, &path, text);
    }
    assert!(oneroot(&home, &["check"]).status.success());
    json(&home, &["stage"]);
    for path in ["/etc/a", "/etc/b", "/etc/c"] {
        assert_eq!(json(&home, &["explain", "alpha", path])[0]["seen"], true, "{path}");
    }
}

#[test]
fn an_applications_own_template_is_kept_as_it_is_without_one_suffix() {
    let home = site();
    fs::write(home.path().join("layers/common/etc/app.conf.j2.j2"), "{{ the_applications }}\n").unwrap();
    assert!(oneroot(home.path(), &["check"]).status.success());
    json(home.path(), &["stage"]);
    let kept = oneroot(home.path(), &["cat", "alpha", "/etc/app.conf.j2"]);
    assert_eq!(String::from_utf8_lossy(&kept.stdout), "{{ the_applications }}\n");
    assert_eq!(json(home.path(), &["render", "alpha"])["files"].as_array().unwrap().len(), 2);
}

#[test]
fn a_layer_that_would_replace_the_link_of_a_usr_merged_tree_is_refused_with_the_path_to_write_instead() {
    let home = site();
    let layer = home.path().join("layers/common");
    fs::create_dir_all(home.path().join("root/usr/lib/modules")).unwrap();
    std::os::unix::fs::symlink("usr/lib", home.path().join("root/lib")).unwrap();
    json(home.path(), &["stage"]);
    let head = json(home.path(), &["explain", "alpha"])["view"].clone();
    fs::create_dir_all(layer.join("lib/firmware")).unwrap();
    fs::write(layer.join("lib/firmware/nic.bin"), "x").unwrap();
    for command in ["check", "stage"] {
        let done = oneroot(home.path(), &[command]);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!done.status.success(), "{command}");
        assert!(said.contains("layers/common"), "{command}: {said}");
        assert!(
            said.contains("the link /lib -> /usr/lib") && said.contains("put its files into usr/lib/"),
            "{command}: {said}"
        );
    }
    assert_eq!(json(home.path(), &["explain", "alpha"])["view"], head, "what is staged stays");
    fs::write(layer.join(".wh.lib"), "").unwrap();
    assert!(oneroot(home.path(), &["check"]).status.success(), "a whiteout says that it is meant");
    json(home.path(), &["stage"]);
    // The other way round: the tree becomes a merged one, under a layer that was right so far.
    fs::remove_file(layer.join(".wh.lib")).unwrap();
    fs::remove_file(home.path().join("root/lib")).unwrap();
    fs::create_dir(home.path().join("root/lib")).unwrap();
    json(home.path(), &["stage"]);
    fs::remove_dir(home.path().join("root/lib")).unwrap();
    std::os::unix::fs::symlink("usr/lib", home.path().join("root/lib")).unwrap();
    let done = oneroot(home.path(), &["stage", "small"]);
    assert!(
        String::from_utf8_lossy(&done.stderr).contains("layers/common: has a directory lib/"),
        "{done:?}"
    );
}

#[test]
fn check_names_secrets_that_more_than_one_machine_sees() {
    let home = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| put(home.path(), path, text);
    const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n";
    put(
        "site.toml",
        r#"
        [server]
        address = "10.0.0.1"
        interface = "lo"
        [profile.p]
        source = { directory = "root" }
        layers = ["layers/common"]
        [workload.w]
        layers = ["layers/one"]
        [machine.a]
        mac = "52:54:00:00:00:0a"
        profile = "p"
        layer = "layers/a"
        workloads = ["w"]
        [machine.b]
        mac = "52:54:00:00:00:0b"
        profile = "p"
        "#,
    );
    put("root/etc/motd", "x");
    put("layers/common/etc/ssh/ssh_host_ed25519_key", KEY);
    put("layers/common/etc/ssl/public.pem", "-----BEGIN CERTIFICATE-----\n");
    put("layers/common/etc/shadow", "root:*:19000::::::\nuser:$y$j9T$abc:19000::::::\n");
    put("layers/one/etc/tls.key", KEY);
    put("layers/a/etc/ssh/ssh_host_ed25519_key", KEY);
    let check = || {
        let done = oneroot(home.path(), &["check"]);
        assert!(done.status.success(), "warnings are no mistakes");
        String::from_utf8(done.stderr).unwrap()
    };
    let said = check();
    let secrets: Vec<&str> = said.lines().filter(|line| line.contains("which 2 machines")).collect();
    assert_eq!(secrets.len(), 2, "{said}");
    assert!(
        secrets[0].contains("layers/common/etc/shadow has a password's hash, which 2 machines see"),
        "{said}"
    );
    assert!(secrets[1].contains("ssh_host_ed25519_key has a private key, which 2 machines see"), "{said}");
    put("layers/common/etc/shadow", "root:*:19000::::::\nuser:!:19000::::::\n");
    fs::remove_file(home.path().join("layers/common/etc/ssh/ssh_host_ed25519_key")).unwrap();
    assert!(!check().contains("which 2 machines"), "a locked account has no hash");
}
