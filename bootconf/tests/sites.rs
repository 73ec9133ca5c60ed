//! Sites that are wrong, and every word of what the admin is told: `invalid/NAME.toml` beside `invalid/NAME.expect`.
//! `BLESS=1 cargo test` writes the expectations anew; read them before you commit them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at its first surprise"
)]

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use oneroot_bootconf::{Confinement, EXAMPLE, Https, load, load_str};

#[test]
fn every_mistake_is_told_at_once_with_its_place_and_reason() {
    let mut seen = 0;
    for entry in fs::read_dir("tests/invalid").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "toml") {
            continue;
        }
        seen += 1;
        let name = path.file_name().unwrap().to_str().unwrap();
        let report = load_str(name, &fs::read_to_string(&path).unwrap(), Path::new("/site")).expect_err(name);
        let told = format!("{report}\n");
        let expect = path.with_extension("expect");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&expect, &told).unwrap();
        }
        assert_eq!(told, fs::read_to_string(&expect).unwrap_or_default(), "{name}");
    }
    assert!(seen >= 6, "the cases were not found");
}

#[test]
fn a_good_site_in_any_line_endings_is_taken_as_it_stands() {
    let site = |name: &str| {
        let text = fs::read_to_string(format!("tests/valid/{name}.toml")).unwrap();
        load_str(name, &text, Path::new("/site")).map_err(|report| report.to_string())
    };
    let smallest = site("smallest").unwrap();
    assert_eq!((smallest.server.http_port, smallest.server.nfs_port), (80, 2049));
    assert_eq!(smallest.server.https, None);
    assert!(smallest.server.ipv6 && !smallest.server.wait_for_interfaces);
    assert_eq!(smallest.server.store, Path::new("/var/lib/oneroot/store"));
    assert_eq!(site("windows-line-ends").unwrap().unknown.unwrap().profile(), Some("a"));
    let all = site("everything").unwrap();
    assert!(!all.server.ipv6 && all.server.wait_for_interfaces);
    assert_eq!(smallest.server.confinement, Confinement::Auto);
    assert_eq!(all.server.confinement, Confinement::Require);
    assert_eq!(all.server.store, Path::new("/site/store"), "relative paths are the site file's directory's");
    let https = all.server.https.as_ref().unwrap();
    let named = https.certificate.as_ref().unwrap();
    assert_eq!(
        (https.port, named.certificate.as_path(), named.key.as_path()),
        (8443, Path::new("/site/tls/chain.pem"), Path::new("/etc/keys/key.pem"))
    );
    assert_eq!(all.networks[0].pool, Some(([10, 0, 0, 100].into(), [10, 0, 0, 199].into())));
    assert_eq!((all.networks[0].lease, all.networks[1].lease), (90, 86_400));
    assert_eq!(all.networks[0].exclude.len(), 2);
    assert!(all.networks[0].authoritative && !all.networks[1].authoritative && all.networks[2].proxy);
    assert_eq!(all.server.interfaces, ["br0.77", "eth1"]);
    assert_eq!(all.server_addresses().len(), 2);
    assert_eq!(all.server_for([10, 0, 1, 10].into()), IpAddr::from([10, 0, 1, 1]));
    let alpha = &all.machines["alpha"];
    assert_eq!(all.reserved([10, 0, 1, 10].into()), Some(alpha.macs[0]));
    assert_eq!(
        alpha.macs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["52:54:00:00:00:0a", "52:54:00:00:00:0b"]
    );
    assert_eq!(alpha.gives.vars["role"], "build");
}

#[test]
fn https_is_there_where_it_has_a_port_and_its_own_certificate_where_none_is_named() {
    let of = |line: &str| {
        let text = fs::read_to_string("tests/valid/smallest.toml").unwrap();
        let text = text.replacen("[server]", &format!("[server]\n{line}"), 1);
        load_str("site.toml", &text, Path::new("/site")).map(|site| site.server.https)
    };
    assert_eq!(of("https_port = 0").unwrap(), None);
    assert_eq!(of("https_port = 443").unwrap(), Some(Https { port: 443, certificate: None }));
}

#[test]
fn the_examples_directory_is_a_good_site() {
    let site = load(Path::new("../examples/site.toml")).map_err(|report| report.to_string()).unwrap();
    assert_eq!(site.machines["bench-1"].macs.len(), 2);
}

#[test]
fn the_example_that_init_prints_is_a_good_site() {
    let site = load_str("site.toml", EXAMPLE, Path::new("/site")).unwrap();
    assert_eq!(site.machines["beta"].gives.workloads, ["night-shift"]);
    assert_eq!(site.chain("render").iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["debian", "render"]);
    let uncommented: String = EXAMPLE
        .lines()
        .filter(|line| !line.starts_with("# args"))
        .map(|line| {
            let key = line
                .strip_prefix("# ")
                .filter(|rest| rest.contains(" = ") && !rest.contains(" or ") || rest.starts_with('['));
            format!("{}\n", key.unwrap_or(line))
        })
        .collect();
    // The keys in comments must be good ones too; values of a few would only clash with each other.
    let report = load_str("site.toml", &uncommented, Path::new("/site"));
    let told = report.err().map(|report| report.to_string()).unwrap_or_default();
    assert!(!told.contains("is not a key"), "{told}");
}

#[test]
fn machines_lie_beside_the_site_in_files_of_their_own() {
    let home = tempfile::tempdir().unwrap();
    let site = home.path().join("site.toml");
    fs::write(&site, EXAMPLE).unwrap();
    fs::create_dir(home.path().join("machines.d")).unwrap();
    let more = home.path().join("machines.d/lab.toml");
    fs::write(&more, "[machine.gamma]\nmac = \"52:54:00:00:00:0c\"\nprofile = \"debian\"\n").unwrap();
    assert_eq!(load(&site).unwrap().machines.len(), 3);
    fs::write(&more, "[machine.gamma]\nmac = \"52-54-00-00-00-0A\"\nprofile = \"debian\"\n[server]\n")
        .unwrap();
    let told = load(&site).unwrap_err().to_string();
    assert!(told.contains("machines.d/lab.toml:4:2: server: is not a key of this table"), "{told}");
}

#[test]
fn machines_that_can_not_be_read_are_never_taken_for_machines_that_are_gone() {
    let home = tempfile::tempdir().unwrap();
    let site = home.path().join("site.toml");
    fs::write(&site, EXAMPLE).unwrap();
    fs::write(home.path().join("machines.d"), "no directory").unwrap();
    assert!(load(&site).unwrap_err().to_string().contains("machines.d: cannot be read"));
    fs::remove_file(home.path().join("machines.d")).unwrap();
    fs::create_dir_all(home.path().join("machines.d/room.toml")).unwrap();
    assert!(load(&site).unwrap_err().to_string().contains("room.toml: is not a regular file"));
    fs::remove_dir(home.path().join("machines.d/room.toml")).unwrap();
    fs::write(home.path().join("machines.d/.#room.toml"), "an editor's").unwrap();
    assert!(load(&site).is_ok());
}

#[test]
fn one_machine_in_two_files_is_told_where_it_is_the_second_time() {
    let home = tempfile::tempdir().unwrap();
    let site = home.path().join("site.toml");
    fs::write(&site, EXAMPLE).unwrap();
    fs::create_dir(home.path().join("machines.d")).unwrap();
    let text = "[machine.alpha]\nmac = \"52:54:00:00:00:0c\"\nprofile = \"debian\"\n";
    fs::write(home.path().join("machines.d/a.toml"), text).unwrap();
    let told = load(&site).unwrap_err().to_string();
    assert!(told.contains("a.toml:1:10: machine.alpha: there is another machine of this name"), "{told}");
}

#[test]
fn a_report_is_bounded_and_reads_as_json() {
    let text: String = (0..5000).map(|number| format!("nonsense{number} = 1\n")).collect();
    let report = load_str("s", &text, Path::new("/")).unwrap_err();
    assert!(report.problems.len() < 1100);
    assert!(report.to_string().contains("mistakes more"));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["problems"][1]["file"], "s");
    assert_eq!(json["problems"][1]["reason"], "is not a key of this table");
}

#[test]
fn what_is_no_file_of_text_is_refused_and_never_waited_for() {
    let home = tempfile::tempdir().unwrap();
    assert!(load(&home.path().join("missing.toml")).is_err());
    assert!(load(home.path()).unwrap_err().to_string().contains("is not a regular file"));
    assert!(load(Path::new("/dev/zero")).is_err());
    let latin = home.path().join("latin.toml");
    fs::write(&latin, b"# caf\xe9\n").unwrap();
    assert!(load(&latin).unwrap_err().to_string().contains("is not UTF-8"));
    let fifo = home.path().join("fifo.toml");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    assert!(load(&fifo).unwrap_err().to_string().contains("is not a regular file"));
    let large = home.path().join("large.toml");
    fs::File::create(&large).unwrap().set_len(16 * 1024 * 1024 + 1).unwrap();
    assert!(load(&large).unwrap_err().to_string().contains("is larger than 16 MiB"));
    let deep = format!("x = {}{}", "[".repeat(20_000), "]".repeat(20_000));
    assert!(load_str("deep.toml", &deep, Path::new("/")).is_err());
}

#[test]
fn a_site_that_every_user_may_change_is_refused_and_says_how_to_mend_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = tempfile::tempdir().unwrap();
    let site = home.path().join("site.toml");
    let beside = home.path().join("machines.d");
    std::fs::create_dir(&beside).unwrap();
    std::fs::write(&site, oneroot_bootconf::EXAMPLE).unwrap();
    std::fs::write(beside.join("lab.toml"), "").unwrap();
    let mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let complaint =
        || oneroot_bootconf::load(&site).err().map(|report| report.to_string()).unwrap_or_default();
    let lab = beside.join("lab.toml");
    for (path, good, bad) in [
        (&site, 0o664, 0o666),
        (&lab, 0o640, 0o602),
        (&beside, 0o775, 0o777),
        (&home.path().to_owned(), 0o700, 0o707),
    ] {
        mode(path, bad);
        let told = complaint();
        assert!(
            told.contains(&path.display().to_string()) && told.contains("chmod o-w"),
            "{}: {told}",
            path.display()
        );
        mode(path, good);
        assert!(!complaint().contains("chmod"), "{}", path.display());
    }
    mode(home.path(), 0o1777);
    assert!(!complaint().contains("chmod"), "as /tmp is");
}

#[test]
fn where_the_state_is_can_be_told_of_a_site_with_a_line_that_is_no_toml() {
    let home = tempfile::tempdir().unwrap();
    let site = home.path().join("site.toml");
    std::fs::write(&site, "[server]\nstate = \"here\"\nstore = \n[[network]\n").unwrap();
    assert_eq!(oneroot_bootconf::state_of(&site), Some(home.path().join("here")));
}

/// A profile that has a secret below /srv, where a table of the site mounts something; what is said of machine alpha, which boots `leaf`.
fn hiding(more: &str) -> Result<(), String> {
    let text = "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\n[[network]]\nsubnet = \"10.0.0.0/24\"\n\
        [profile.base]\nsource = { tar = \"a.tar\" }\nsecrets = { key = { kind = \"set\", at = \"/srv/app/key\" } }\n"
        .to_owned();
    let leads = |mac: &str| format!("mac = \"52:54:00:00:00:{mac}\"\nprofile = \"leaf\"\n");
    let more = more.replace("LEAF", "[profile.leaf]\nextends = \"base\"\n");
    let more = more.replace("ALPHA", &format!("[machine.alpha]\n{}", leads("0a")));
    let more = more.replace("NAS", "\"/srv\" = \"nas:/srv\"").replace("NONE", "\"/srv\" = \"none\"");
    load_str("site.toml", &(text + &more), Path::new("/site")).map(drop).map_err(|report| report.to_string())
}

#[test]
fn a_nearer_word_that_takes_away_what_would_hide_a_secret_makes_the_site_good() {
    for (shown, more) in [
        (
            "the profile that extends it mounts nothing there",
            "mounts = { NAS }\nLEAFmounts = { NONE }\nALPHA",
        ),
        (
            "or has the secret elsewhere",
            "mounts = { NAS }\nLEAFsecrets = { key = { kind = \"set\", at = \"/etc/key\" } }\nALPHA",
        ),
        (
            "the machine does, of what its group mounts",
            "LEAFALPHAmounts = { NONE }\n[group.g]\nmachines = [\"alpha\"]\nmounts = { NAS }\n",
        ),
        (
            "a workload that has both is had without one of them",
            "LEAFALPHAworkloads = [\"w\"]\nmounts = { NONE }\n[workload.w]\nmounts = { NAS }\nsecrets = { other = { kind = \"set\", at = \"/srv/x\" } }\n",
        ),
        (
            "a group's workload counts more than its own words",
            "LEAFALPHA[group.g]\nmachines = [\"alpha\"]\nworkloads = [\"w\"]\nmounts = { NAS }\n[workload.w]\nmounts = { NONE }\n",
        ),
        (
            "a machine's words count more than its workload's",
            "LEAFALPHAworkloads = [\"w\"]\nmounts = { NONE }\n[workload.w]\nmounts = { NAS }\n",
        ),
        (
            "and more than a choice of its group's menu",
            "LEAF[machine.alpha]\nmac = \"52:54:00:00:00:0a\"\nmounts = { NONE }\n[group.g]\nmachines = [\"alpha\"]\nmenu = \"m\"\n\
             [menu.m]\ntitle = \"M\"\ndefault = \"c\"\n[[menu.m.choice]]\nname = \"c\"\ntitle = \"C\"\nprofile = \"leaf\"\nmounts = { NAS }\n",
        ),
        (
            "what is mounted when somebody says so hides nothing before",
            "LEAFALPHAmounts = { \"/srv\" = { nfs = \"nas:/srv\", options = \"noauto\" } }\n",
        ),
    ] {
        assert_eq!(hiding(more), Ok(()), "{shown}");
    }
}

#[test]
fn what_hides_a_secret_by_the_words_that_count_is_refused_once() {
    for (shown, more, at) in [
        ("a profile that nobody extends", "LEAFmounts = { NAS }\n", "profile.leaf"),
        ("and that a machine boots", "LEAFmounts = { NAS }\nALPHA", "profile.leaf"),
        (
            "one that is extended, where a machine boots it itself",
            "mounts = { NAS }\nLEAFmounts = { NONE }\n[machine.beta]\nmac = \"52:54:00:00:00:0b\"\nprofile = \"base\"\n",
            "machine.beta",
        ),
        (
            "a machine's words count more than its workload's",
            "LEAFALPHAworkloads = [\"w\"]\nmounts = { NAS }\n[workload.w]\nmounts = { NONE }\n",
            "machine.alpha",
        ),
        (
            "a workload counts where it is named first",
            "LEAFALPHAworkloads = [\"w\"]\n[group.g]\nmachines = [\"alpha\"]\nworkloads = [\"w\", \"x\"]\n[workload.w]\nmounts = { NONE }\n[workload.x]\nmounts = { NAS }\n",
            "machine.alpha",
        ),
        (
            "a choice of a machine's own menu is nearer than its own words",
            "LEAF[machine.alpha]\nmac = \"52:54:00:00:00:0a\"\nmenu = \"m\"\nmounts = { NONE }\n\
             [menu.m]\ntitle = \"M\"\ndefault = \"c\"\n[[menu.m.choice]]\nname = \"c\"\ntitle = \"C\"\nprofile = \"leaf\"\nmounts = { NAS }\n",
            "machine.alpha",
        ),
    ] {
        let told = hiding(more).expect_err(shown);
        assert_eq!(told.lines().count(), 1, "{shown}: {told}");
        assert!(
            told.contains(&format!("{at}: secret key would be hidden at /srv/app/key: nas:/srv")),
            "{shown}: {told}"
        );
    }
}

#[test]
fn what_hides_a_secret_where_no_table_names_the_machine_is_refused_once_with_the_words_of_that_table_alone() {
    let hides = "secrets = { key = { kind = \"set\", at = \"/srv/app/key\" } }\n";
    let workload = format!("[workload.w]\n{hides}mounts = {{ NAS }}\n");
    for (shown, more, at) in [
        (
            "a rule",
            format!(
                "[[rule]]\nwhen = {{ manufacturer = \"Dell*\" }}\nprofile = \"leaf\"\nmounts = {{ NAS }}\n{hides}"
            ),
            "rule",
        ),
        (
            "a workload that a rule gives, beside its own words",
            format!(
                "[[rule]]\nwhen = {{ manufacturer = \"Dell*\" }}\nprofile = \"leaf\"\nworkloads = [\"w\"]\n{hides}[workload.w]\nmounts = {{ NAS }}\n"
            ),
            "rule",
        ),
        ("a workload that no table gives, as a program may", workload.clone(), "workload.w"),
        (
            "a group by its network, in which no machine is by its table",
            format!(
                "[machine.beta]\nmac = \"52:54:00:00:00:0b\"\nprofile = \"leaf\"\n[group.g]\nnetworks = [\"10.0.0.0/24\"]\nworkloads = [\"w\"]\n{workload}"
            ),
            "group.g",
        ),
        (
            "and in which one is",
            format!(
                "ALPHAaddress = \"10.0.0.9\"\n[group.g]\nnetworks = [\"10.0.0.0/24\"]\nmounts = {{ NAS }}\n{hides}"
            ),
            "group.g",
        ),
        (
            "a machine of which a rule says what it boots",
            format!("[machine.alpha]\nmac = \"52:54:00:00:00:0a\"\nmounts = {{ NAS }}\n{hides}"),
            "machine.alpha",
        ),
    ] {
        let told = hiding(&format!("LEAF{more}")).expect_err(shown);
        assert_eq!(told.lines().count(), 1, "{shown}: {told}");
        let told_at = told.split(": secret key would be hidden at /srv/app/key: nas:/srv").next().unwrap();
        assert!(told_at.len() < told.len() && told_at.contains(at), "{shown}: {told}");
    }
    for (shown, more) in [
        (
            "a workload that its machine mends",
            format!("LEAFALPHAworkloads = [\"w\"]\nmounts = {{ NONE }}\n{workload}"),
        ),
        (
            "a rule that mends its workload",
            format!(
                "LEAF[[rule]]\nwhen = {{ manufacturer = \"Dell*\" }}\nprofile = \"leaf\"\nworkloads = [\"w\"]\nmounts = {{ NONE }}\n{workload}"
            ),
        ),
    ] {
        assert_eq!(hiding(&more), Ok(()), "{shown}");
    }
}

#[test]
fn a_directory_of_homes_is_mounted_whole_or_home_by_home_and_not_both() {
    let homes = "mounts = { \"/home/*\" = \"nas:/home/&\" }\n";
    let whole =
        |more: &str| hiding(&format!("LEAF{homes}ALPHAmounts = {{ \"/home\" = \"nas:/home\"{more} }}\n"));
    let told = whole("").expect_err("two own one place");
    assert!(told.contains("/home and /home/* are the same place") && told.contains("\"none\""), "{told}");
    assert_eq!(whole(", \"/home/*\" = \"none\""), Ok(()));
}

#[test]
fn two_places_of_which_a_table_says_one_as_none_are_none_that_were_told_with_it() {
    let lower = "mounts = { \"/srv\" = \"none\" }\nlasts = { \"/srv/app\" = \"empty\" }\n";
    let told = hiding(&format!("LEAF{lower}ALPHAmounts = {{ NAS }}\nsecrets = {{ key = \"none\" }}\n"));
    let told = told.expect_err("what the machine mounts hides what lasts");
    assert!(told.contains("machine.alpha: /srv/app would be hidden"), "{told}");
    assert_eq!(hiding(&format!("LEAF{lower}ALPHA")), Ok(()));
}
