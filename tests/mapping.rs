//! The central mapping over the real binary: assigned, adopted, renamed, replaced, forgotten, and never half.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at its first surprise"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use oneroot_testkit::{Clock, Lab, Machine, RELAY, Server, SiteFiles};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// Alpha, another profile, and a workload with a file of its own.
fn site() -> SiteFiles {
    let mut site = SiteFiles::with_alpha(b"kernel").unwrap();
    site.add("[profile.kiosk]\nextends = \"debian\"\nargs = [\"kiosk=1\"]\n");
    site.file("render", "etc/render", "yes\n").unwrap();
    site.add("[workload.render]\nlayers = [\"layers/render\"]\n[workload.print]\nargs = [\"print=1\"]\n");
    site.add("[group.seats]\nmachines = \"seat-*\"\nprofile = \"kiosk\"\n");
    site
}

/// What a command says, which fails.
fn refused(server: &Server, words: &[&str]) -> String {
    server.run(words).unwrap_err().to_string()
}

fn json(server: &Server, words: &[&str]) -> Value {
    serde_json::from_str(&server.run(&[words, &["--json"]].concat()).unwrap()).unwrap()
}

/// The kernel arguments that a machine is told.
fn script(machine: &Machine, last: &str) -> String {
    let (status, script) = machine.get(&format!("/boot/52-54-00-00-00-{last}.ipxe?")).unwrap();
    assert_eq!(status, 200);
    String::from_utf8(script).unwrap()
}

fn has_file(machine: &Machine, path: &str) -> bool {
    let boot = machine.boot().unwrap();
    let mut root = machine.mount(&boot.export).unwrap();
    root.read_all().unwrap().contains_key(path)
}

#[test]
fn what_is_assigned_is_there_after_the_next_boot_and_gone_after_the_one_behind_it() {
    let lab = Lab::new().unwrap();
    let mut server = Server::start(site()).unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        assert!(!has_file(&alpha, "/etc/render"));
        let told = server.run(&["assign", "alpha", "--workload", "render", "--var", "role=build"]).unwrap();
        assert!(told.contains("workloads render") && told.contains("variables role=build"), "{told}");
        let behind = server.machine("alpha").unwrap()["behind"].clone();
        let why = behind[0].as_str().unwrap();
        assert!(why.starts_with("workloads +render (assigned by "), "{behind}");
    })
    .unwrap();
    // What was answered is on the disk.
    server.kill9().unwrap();
    server.restart().unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        assert!(has_file(&alpha, "/etc/render"));
        let explained = server.run(&["explain", "alpha"]).unwrap();
        assert!(explained.contains("assigned by"), "{explained}");
        server.run(&["unassign", "alpha", "--workload", "render"]).unwrap();
        assert!(!has_file(&alpha, "/etc/render"));
        let shown = json(&server, &["machines", "show", "alpha"]);
        assert_eq!(shown["mapped"]["assigned"]["vars"]["role"], "build", "the rest stays");
        server.run(&["unassign", "alpha"]).unwrap();
        assert!(refused(&server, &["unassign", "alpha"]).contains("nothing of that is assigned"));
    })
    .unwrap();
}

#[test]
fn an_assignment_ends_at_its_time_and_one_for_a_boot_with_that_boots_root() {
    let lab = Lab::new().unwrap();
    let (server, clock) = Clock::start(site()).unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        server.run(&["assign", "alpha", "--workload", "print"]).unwrap();
        server.run(&["assign", "alpha", "--profile", "kiosk", "--until", "2d"]).unwrap();
        assert!(script(&alpha, "0a").contains("kiosk=1"));
        clock.is_ahead_by(Duration::from_secs(2 * 86_400)).unwrap();
        let script_then = script(&alpha, "0a");
        assert!(!script_then.contains("kiosk=1"), "two days are over");
        assert!(script_then.contains("print=1"), "what was assigned for good is there still");
        server.wait_for_log("what was assigned to it for now is over", PATIENCE).unwrap();
        assert_eq!(
            json(&server, &["machines", "show", "52-54-00-00-00-0A"])["mapped"]["for_now"],
            Value::Null
        );
        server.run(&["unassign", "alpha"]).unwrap();
        server.run(&["assign", "alpha", "--profile", "kiosk", "--once"]).unwrap();
        // To be asked for a script, and asked again, is no boot yet.
        for _ in 0..2 {
            assert!(script(&alpha, "0a").contains("kiosk=1"));
        }
        let boot = alpha.boot().unwrap();
        alpha.mount(&boot.export).unwrap();
        let limit = std::time::Instant::now() + PATIENCE;
        while json(&server, &["machines", "show", "alpha"])["mapped"]["for_now"] != Value::Null {
            assert!(std::time::Instant::now() < limit, "it has its root and the assignment stays");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(!script(&alpha, "0a").contains("kiosk=1"));
    })
    .unwrap();
}

#[test]
fn a_row_of_machines_is_assigned_at_once_and_each_tells_its_decision_and_who_has_changed_what() {
    let lab = Lab::new().unwrap();
    let mut server = Server::start(site()).unwrap();
    lab.on_machines(RELAY, |_| {
        // More than one transaction has room for, and one of them twice.
        let list: String =
            (1..=40).map(|seat| format!("52:54:00:00:01:{seat:02x},seat-{seat:02}\n")).collect();
        let file = server.site.path().join("list.csv");
        fs::write(&file, format!("mac,name\n{list}")).unwrap();
        server.run(&["adopt", "--from", file.to_str().unwrap()]).unwrap();
        let all = ["assign", "seat-{01..40}", "52-54-00-00-01-07", "--workload", "print"];
        assert_eq!(json(&server, &all)["machines"].as_array().unwrap().len(), 40);
        let beyond = refused(&server, &["assign", "seat-{40..41}", "--workload", "render"]);
        assert!(beyond.contains("seat-41"), "{beyond}");
        let long = format!("x={}", "a".repeat(1_000));
        let told = refused(
            &server,
            &["assign", "seat-39", "seat-40", "--arg", &long, "--arg", &long.replace('x', "y")],
        );
        assert!(told.contains("seat-39: "), "which of them is told: {told}");
        let seat = json(&server, &["machines", "show", "seat-40"]);
        assert_eq!(
            seat["status"]["workloads"],
            serde_json::json!(["print"]),
            "nothing of a refused change is there"
        );
        let decided = seat["decision"].as_array().unwrap();
        let is = |what: &str, from: &str| {
            decided.iter().any(|why| why["what"] == what && why["from"].as_str().unwrap().contains(from))
        };
        assert!(is("profile", "[group.seats]") && is("workload", "assigned by"), "{seat}");
        server.run(&["assign", "seat-40", "--profile", "debian", "--until", "2d"]).unwrap();
        server.run(&["rename", "seat-40", "desk-1"]).unwrap();
        server.run(&["unassign", "desk-1"]).unwrap();
    })
    .unwrap();
    server.kill9().unwrap();
    server.restart().unwrap();
    lab.on_machines(RELAY, |_| {
        let desk = json(&server, &["machines", "show", "desk-1"]);
        let history = desk["mapped"]["history"].as_array().unwrap();
        let told: Vec<&str> = history.iter().map(|change| change["what"].as_str().unwrap()).collect();
        assert_eq!(
            told,
            [
                "adopted, by MAC 52:54:00:00:01:28",
                "assigned workloads print",
                "assigned profile debian",
                "renamed, was seat-40",
                "what was assigned was taken away",
                "what was assigned for now was taken away",
            ]
        );
        assert_eq!(history[2]["lasts"], 2 * 86_400);
        let page = server.run(&["machines", "show", "desk-1"]).unwrap();
        assert!(page.contains("assigned profile debian, for 2d, by "), "{page}");
        assert!(page.contains("it would boot nothing: nothing says what desk-1 boots"), "{page}");
        let page = server.run(&["machines", "show", "seat-39"]).unwrap();
        assert!(page.contains("[group.seats]") && page.contains("assigned by"), "{page}");
        for round in 0..20 {
            server.run(&["assign", "desk-1", "--var", &format!("round={round}")]).unwrap();
        }
        let history = json(&server, &["machines", "show", "desk-1"])["mapped"]["history"].clone();
        let history = history.as_array().unwrap();
        assert_eq!(
            (history.len(), history[15]["what"].as_str().unwrap()),
            (16, "assigned variables round=19")
        );
    })
    .unwrap();
}

#[test]
fn an_assignment_in_the_middle_of_a_boot_is_for_the_next_one() {
    let lab = Lab::new().unwrap();
    let server = Server::start(site()).unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let boot = alpha.boot().unwrap();
        server.run(&["assign", "alpha", "--workload", "render"]).unwrap();
        assert_eq!(alpha.get(&format!("/b/{}/kernel", boot.id)).unwrap().0, 200);
        let mut root = alpha.mount(&boot.export).unwrap();
        assert!(
            !root.read_all().unwrap().contains_key("/etc/render"),
            "it has the root that it was promised"
        );
    })
    .unwrap();
}

#[test]
fn words_that_a_site_would_refuse_are_refused_and_nothing_changes() {
    let _lab = Lab::new().unwrap();
    let server = Server::start(site()).unwrap();
    for (words, told) in [
        (&["assign", "alpha", "--profile", "kisok"][..], "did you mean `kiosk`"),
        (&["assign", "alpha", "--workload", "paint"], "there is no workload \"paint\""),
        (&["assign", "alpha", "--arg", "root=/dev/sda1"], "oneroot's own argument"),
        (&["assign", "alpha", "--arg", "a b"], "not one kernel argument"),
        (&["assign", "alpha", "--arg", "${net0/mac}"], "means something to iPXE"),
        (&["assign", "alpha", "--arg", &format!("x={}", "y".repeat(1490))], "bytes together"),
        (&["assign", "alpha", "--var", "a b=c"], "not a valid variable name"),
        (&["assign", "alpha", "--var", "a=b\nc"], "control character"),
        (&["assign", "alpha"], "say what alpha is assigned"),
        (&["assign", "aplha", "--profile", "kiosk"], "no machine \"aplha\""),
        (
            &["assign", "52:54:00:00:00:77", "--profile", "kiosk"],
            "oneroot adopt 52:54:00:00:00:77 --name NAME",
        ),
        (&["adopt", "52:54:00:00:00:0a", "--name", "beta"], "machine alpha's already"),
        (&["adopt", "52:54:00:00:00:77", "--name", "alpha"], "there is a machine alpha already"),
        (&["adopt", "52:54:00:00:00:77", "--name", "../x"], "is no name"),
        (&["adopt", "52:54:00:00:00:77", "--name", "10.0.0.1"], "reads as an address"),
        (&["adopt", "--next", "seat-{40..01}"], "no row of names"),
        (&["adopt", "--next", "Seat-{1..2}"], "is no name"),
        (&["adopt", "--stop"], "no machines are being adopted"),
        (&["rename", "alpha", "beta"], "named by the site's files"),
        (&["replace", "alpha", "--mac", "01:00:5e:00:00:01"], "01:00:5e:00:00:01"),
        (&["forget", "beta"], "no machine \"beta\""),
        (&["forget", "alpha"], "nothing is kept of alpha"),
    ] {
        let reason = refused(&server, words);
        assert!(reason.contains(told), "{words:?}: {reason}");
    }
    let listed = json(&server, &["machines"]);
    assert_eq!(listed["machines"].as_array().unwrap().len(), 1);
    assert_eq!(listed["machines"][0]["assigned"], Value::Null);
}

#[test]
fn an_adopted_machine_keeps_its_identity_through_a_new_name_and_a_new_box() {
    let lab = Lab::new().unwrap();
    let mut server = Server::start(site()).unwrap();
    let identity = |machine: &Machine, last: &str| {
        let script = script(machine, last);
        script.split_once("systemd.machine_id=").unwrap().1.split_whitespace().next().unwrap().to_owned()
    };
    let before = lab.on_machines(RELAY, |host| {
        let box_one = host.lease(0x30, PATIENCE).unwrap().unwrap();
        assert!(!script(&box_one, "30").contains("/kernel"), "nobody has named it");
        let unknown = server.run(&["machines", "--unknown"]).unwrap();
        assert!(unknown.contains("52:54:00:00:00:30") && unknown.contains("192.168.77.0/24"), "{unknown}");
        assert!(!unknown.contains("52:54:00:00:00:0a"), "{unknown}");
        server.run(&["adopt", "52:54:00:00:00:30", "--name", "seat-01", "--workload", "render"]).unwrap();
        let first = identity(&box_one, "30");
        assert!(script(&box_one, "30").contains("kiosk=1"), "its name is in a group");
        assert!(
            refused(&server, &["rename", "seat-01", "alpha"]).contains("there is a machine alpha already")
        );
        assert!(refused(&server, &["rename", "seat-01", "Seat 1"]).contains("is no name"));
        server.run(&["rename", "seat-01", "desk-01"]).unwrap();
        assert!(!script(&box_one, "30").contains("/kernel"), "its new name is in none");
        assert!(script(&box_one, "30").contains("nothing says what desk-01 boots"));
        server.run(&["assign", "desk-01", "--profile", "debian"]).unwrap();
        assert_eq!(identity(&box_one, "30"), first);
        let boot = box_one.boot().unwrap();
        let root = box_one.mount(&boot.export).unwrap();
        assert!(refused(&server, &["forget", "desk-01"]).contains("oneroot release desk-01"));
        // Another box takes its place while it still runs.
        server.run(&["replace", "desk-01", "--mac", "52:54:00:00:00:31"]).unwrap();
        (first, root.handle().to_vec())
    });
    let (first, handle) = before.unwrap();
    server.kill9().unwrap();
    server.restart().unwrap();
    lab.on_machines(RELAY, |host| {
        let [box_one, box_two] = [0x30, 0x31].map(|last| host.lease(last, PATIENCE).unwrap().unwrap());
        let mut root = box_one.resume(handle).unwrap();
        assert_eq!(identity(&box_two, "31"), first, "all that it had is its own");
        assert!(has_file(&box_two, "/etc/render"));
        assert!(root.lookup("etc").is_ok(), "what runs in the old box has its root until it is let go");
        assert!(!script(&box_one, "30").contains("/kernel"), "and is nobody's at its next boot");

        server.run(&["release", "desk-01"]).unwrap();
        server.run(&["forget", "desk-01"]).unwrap();
        assert!(!script(&box_two, "31").contains("/kernel"));
        assert!(!server.run(&["machines"]).unwrap().contains("desk-01"));
    })
    .unwrap();
}

#[test]
fn whoever_comes_is_adopted_in_the_order_of_coming_until_that_is_stopped_and_names_that_are_taken_are_left_out()
 {
    let lab = Lab::new().unwrap();
    let mut site = site();
    site.machine("seat-02", "0b", "").unwrap();
    let mut server = Server::start(site).unwrap();
    let would =
        server.run(&["adopt", "--next", "seat-{01..03}", "--workload", "print", "--dry-run"]).unwrap();
    assert!(would.contains("would be adopted as seat-{01..03}"), "{would}");
    server.run(&["adopt", "--next", "seat-{01..03}", "--workload", "print"]).unwrap();
    assert!(
        refused(&server, &["adopt", "--next", "desk-{1..9}"]).contains("are being adopted as seat-{01..03}")
    );
    lab.on_machines(RELAY, |host| {
        let machines = [0x33, 0x31].map(|last| host.lease(last, PATIENCE).unwrap().unwrap());
        let first = script(&machines[0], "33");
        assert!(first.contains("seat-01") && first.contains("print=1"), "{first}");
        assert!(script(&machines[0], "33").contains("seat-01"), "asking twice takes one name");
    })
    .unwrap();
    server.kill9().unwrap();
    server.restart().unwrap();
    lab.on_machines(RELAY, |host| {
        let machines = [0x33, 0x31, 0x32, 0x34].map(|last| host.lease(last, PATIENCE).unwrap().unwrap());
        assert!(script(&machines[1], "31").contains("seat-03"), "seat-02 is in the site");
        assert!(!script(&machines[2], "32").contains("/kernel"), "the row is at its end");
        assert!(refused(&server, &["adopt", "--stop"]).contains("no machines are being adopted"));
        server.run(&["adopt", "--next", "desk-{1..9}", "--profile", "debian"]).unwrap();
        assert!(script(&machines[2], "32").contains("desk-1"));
        server.run(&["adopt", "--stop"]).unwrap();
        assert!(!script(&machines[3], "34").contains("/kernel"));
    })
    .unwrap();
}

#[test]
fn the_sites_resolver_is_given_the_machines_that_somebody_has_named_and_their_addresses() {
    let lab = Lab::new().unwrap();
    let site = site();
    let text = site.text().replace("subnet = ", "domain = \"lab.example\"\nsubnet = ");
    let mut site = site;
    site.set_text(&text);
    site.add("[machine.nameless]\nmac = \"52:54:00:00:00:31\"\nprofile = \"debian\"\n");
    let server = Server::start(site).unwrap();
    lab.on_machines(RELAY, |host| host.lease(0x32, PATIENCE).unwrap().unwrap()).unwrap();
    assert_eq!(json(&server, &["machines"])["machines"].as_array().unwrap().len(), 3);
    let lines = server.run(&["machines", "hosts"]).unwrap();
    let lines: Vec<&str> = lines.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(
        lines,
        ["192.168.77.10 alpha.lab.example alpha"],
        "whoever has no address, or no name, is in no line"
    );
}

#[test]
fn a_list_is_adopted_whole_or_not_at_all_and_what_was_adopted_is_a_file_that_check_takes() {
    let _lab = Lab::new().unwrap();
    let mut server = Server::start(site()).unwrap();
    let list = server.site.path().join("machines.csv");
    let from = ["adopt", "--from", list.to_str().unwrap()];
    let good = "\u{feff}mac,name,profile,workloads\n52-54-00-00-00-41,seat-41,,\n# a comment\n52:54:00:00:00:42 52:54:00:00:00:43, rack-1 ,debian,render print\n";
    for (text, told) in [
        (format!("{good}52:54:00:00:00:41,seat-42,,\n"), "MAC 52:54:00:00:00:41 is there twice"),
        (format!("{good}52:54:00:00:00:44,seat-41,,\n"), "seat-41 is there twice"),
        (format!("{good}52:54:00:00:00:44,alpha,,\n"), "there is a machine alpha already"),
        (format!("{good}zz,seat-44,,\n"), "seat-44"),
        (format!("{good}52:54:00:00:00:44,seat-44,windows,\n"), "there is no profile \"windows\""),
        ("mac,nmae\n52:54:00:00:00:44,seat-44\n".to_owned(), "nmae"),
        ("mac,name\n".to_owned(), "lists no machine"),
    ] {
        fs::write(&list, &text).unwrap();
        let reason = refused(&server, &from);
        assert!(reason.contains(told), "{text}: {reason}");
        assert_eq!(json(&server, &["machines"])["machines"].as_array().unwrap().len(), 1, "{text}");
    }
    fs::write(&list, good).unwrap();
    let taken = refused(&server, &["adopt", "52:54:00:00:00:0a", "--name", "x", "--dry-run"]);
    assert!(taken.contains("machine alpha's already"), "a trial looks as closely: {taken}");
    let would = server.run(&[&from[..], &["--dry-run"]].concat()).unwrap();
    assert!(would.contains("would be rack-1: profile debian, workloads render print"), "{would}");
    server.run(&from).unwrap();
    // A list that one keeps grows, and is read again.
    fs::write(&list, format!("{good}52:54:00:00:00:45,seat-45,,\n")).unwrap();
    server.run(&from).unwrap();
    assert_eq!(json(&server, &["machines"])["machines"].as_array().unwrap().len(), 4);
    server.run(&["assign", "alpha", "--workload", "print"]).unwrap();
    let exported = server.run(&["machines", "export"]).unwrap();
    let table =
        "[machine.rack-1]\nmac = [\"52:54:00:00:00:42\", \"52:54:00:00:00:43\"]\nprofile = \"debian\"";
    assert!(exported.contains(table) && exported.contains("# [machine.alpha]"), "{exported}");
    fs::create_dir(server.site.path().join("machines.d")).unwrap();
    fs::write(server.site.path().join("machines.d/adopted.toml"), exported).unwrap();
    assert!(server.reload().unwrap().contains("is in force"), "{}", server.log());
    server.run(&["forget", "rack-1"]).unwrap();
    let machine = server.machine("rack-1").unwrap();
    assert_eq!((machine["profile"].as_str(), machine["adopted"].as_str()), (Some("debian"), None));
    server.kill9().unwrap();
    server.restart().unwrap();
    assert!(server.machine("seat-41").is_ok());
}

#[test]
fn a_site_that_takes_from_machines_what_they_are_assigned_is_refused_with_their_names() {
    let _lab = Lab::new().unwrap();
    let mut server = Server::start(site()).unwrap();
    server.run(&["assign", "alpha", "--profile", "kiosk", "--workload", "render"]).unwrap();
    server.run(&["adopt", "52:54:00:00:00:30", "--name", "seat-01"]).unwrap();
    let good = server.site.text().to_owned();
    server.site.set_text(&good.replace("[workload.render]", "[workload.rendering]"));
    let told = server.reload().unwrap();
    assert!(told.contains("alpha is assigned workload render") && told.contains("stays in force"), "{told}");
    server.site.set_text(&format!("{good}\n[machine.other]\nmac = \"52:54:00:00:00:30\"\n"));
    let told = server.reload().unwrap();
    assert!(
        told.contains("52:54:00:00:00:30 is machine other's") && told.contains("forget seat-01"),
        "{told}"
    );
    // A server that starts with it serves all the same: what the files say counts.
    server.kill9().unwrap();
    server.site.write().unwrap();
    server.restart().unwrap();
    assert!(server.machine("other").is_ok());
    let listed = json(&server, &["machines"]);
    assert!(listed["conflicts"][0].as_str().unwrap().contains("seat-01"), "{listed}");
    server.run(&["forget", "seat-01"]).unwrap();
    assert!(server.reload().unwrap().contains("is in force"));
}

#[test]
fn a_changed_site_says_for_whom_it_changes_what_before_it_is_in_force_and_when_it_is() {
    let _lab = Lab::new().unwrap();
    let mut server = Server::start(site()).unwrap();
    server.run(&["adopt", "52:54:00:00:00:30", "--name", "seat-01"]).unwrap();
    let good = server.site.text().to_owned();
    assert!(server.run(&["plan"]).unwrap().contains("a reload would change nothing"));
    let changed = good.replace(
        "machines = \"seat-*\"\nprofile = \"kiosk\"",
        "machines = \"seat-*\"\nprofile = \"debian\"\nworkloads = [\"print\"]",
    );
    server.site.set_text(&format!(
        "{changed}\n[unknown]\nprofile = \"kiosk\"\n[machine.beta]\nmac = \"52:54:00:00:00:0b\"\n"
    ));
    server.site.write().unwrap();
    let plan = json(&server, &["plan"]);
    let what = |of: &Value, name: &str| {
        let found = of["changes"].as_array().unwrap().iter().find(|change| change["machine"] == name);
        found.map(|change| change["what"].to_string()).unwrap_or_default()
    };
    let seat = what(&plan, "seat-01");
    assert!(seat.contains("profile debian, not kiosk") && seat.contains("workloads +print"), "{plan}");
    assert!(seat.contains("arguments +print=1 -kiosk=1"), "{plan}");
    assert!(what(&plan, "beta").contains("is new") && what(&plan, "alpha").is_empty(), "{plan}");
    assert!(what(&plan, "unknown machines at 192.168.77.100").contains("profile kiosk, not held"), "{plan}");
    assert_eq!(server.machine("seat-01").unwrap()["profile"], "kiosk", "nothing is in force yet");
    let table = server.run(&["reload"]).unwrap();
    assert!(table.contains("profile debian, not kiosk") && table.contains("is in force"), "{table}");
    assert_eq!(server.machine("seat-01").unwrap()["profile"], "debian");
    server.site.set_text(&good.replace("[profile.kiosk]", "[profile.kios]"));
    server.site.write().unwrap();
    let refused = refused(&server, &["plan"]);
    assert!(refused.contains("site.toml") && refused.contains("no profile"), "{refused}");
}

/// The generation that new boots get.
fn stage_head(server: &Server) -> String {
    let all = json(server, &["generations", "debian"]);
    let head = all.as_array().unwrap().iter().find(|one| one["back"] == 0).unwrap().clone();
    head["generation"].as_str().unwrap()[..12].to_owned()
}

#[test]
fn a_generation_that_is_held_is_for_machines_that_are_assigned_it_and_gc_keeps_it_for_them() {
    let lab = Lab::new().unwrap();
    let mut site = site();
    site.machine("beta", "0b", "address = \"192.168.77.11\"").unwrap();
    let server = Server::start(site).unwrap();
    let release = server.site.path().join("root/etc/release");
    fs::create_dir_all(release.parent().unwrap()).unwrap();
    let stage = |text: &str, words: &[&str]| {
        fs::write(&release, text).unwrap();
        let staged: Value =
            serde_json::from_str(&server.run(&[&["stage", "debian", "--json"], words].concat()).unwrap())
                .unwrap();
        staged["staged"][0].clone()
    };
    stage("1\n", &[]);
    let held = stage("2\n", &["--hold"]);
    assert!(
        held["waits"].as_bool().unwrap()
            && held["warnings"].to_string().contains("oneroot assign MACHINE --generation"),
        "{held}"
    );
    let generation = held["generation"].as_str().unwrap();
    let reads = |machine: &Machine| {
        let boot = machine.boot().unwrap();
        machine.mount(&boot.export).unwrap().read_all().unwrap()["/etc/release"].clone()
    };
    lab.on_machines(RELAY, |host| {
        let [alpha, beta] = [10, 11].map(|last| host.lease(last, PATIENCE).unwrap().unwrap());
        server.run(&["assign", "alpha", "--generation", &generation[..12]]).unwrap();
        assert_eq!((reads(&alpha), reads(&beta)), (b"2\n".to_vec(), b"1\n".to_vec()));
        let explained = server.run(&["explain", "alpha"]).unwrap();
        assert!(explained.contains(&format!("debian {generation}")), "{explained}");
        // Newer generations push it out of what is kept anyhow.
        for text in ["3\n", "4\n", "5\n"] {
            stage(text, &[]);
        }
        server.run(&["release", "alpha"]).unwrap();
        let store = server.site.path().join("store");
        let old = std::process::Command::new("find")
            .arg(&store)
            .args(["-exec", "touch", "-h", "-d", "2 days ago", "{}", "+"])
            .status();
        assert!(old.unwrap().success());
        let gone = json(&server, &["gc", "--keep", "1", "--grace", "1"]);
        assert!(gone["generations"].as_u64().unwrap() >= 2, "3 and 4: {gone}");
        assert_eq!((reads(&alpha), reads(&beta)), (b"2\n".to_vec(), b"5\n".to_vec()));
        assert!(
            refused(&server, &["assign", "alpha", "--generation", "ffffffffffff"])
                .contains("no profile of the site has or had")
        );
        server.run(&["unassign", "alpha", "--generation"]).unwrap();
        assert_eq!(reads(&alpha), b"5\n");
        // What others get by now is nothing of its own any more; what they had then is.
        let canary = stage("6\n", &["--hold"])["generation"].as_str().unwrap()[..12].to_owned();
        let head = stage_head(&server);
        server.run(&["assign", "alpha", "--generation", &canary]).unwrap();
        server.run(&["assign", "beta", "--generation", &head]).unwrap();
        server.run(&["rollback", "debian", &canary]).unwrap();
        server.wait_for_log("what was assigned to it for now is over", PATIENCE).unwrap();
        stage("7\n", &[]);
        assert_eq!((reads(&alpha), reads(&beta)), (b"7\n".to_vec(), b"5\n".to_vec()));
    })
    .unwrap();
}

#[test]
fn gc_asks_the_state_where_the_server_ends_between_two_of_its_questions() {
    let _lab = Lab::new().unwrap();
    let mut server = Server::start(site()).unwrap();
    let stage = |server: &Server, text: &str, words: &[&str]| {
        fs::write(server.site.path().join("root/release"), text).unwrap();
        let staged = json(server, &[&["stage", "debian"], words].concat());
        staged["staged"][0]["generation"].as_str().unwrap().to_owned()
    };
    let held = stage(&server, "held\n", &["--hold"]);
    server.run(&["assign", "alpha", "--generation", &held[..12]]).unwrap();
    let [free, _head] = ["2\n", "3\n"].map(|text| stage(&server, text, &[]));
    let old = std::process::Command::new("find")
        .arg(server.site.path().join("store"))
        .args(["-exec", "touch", "-h", "-d", "2 days ago", "{}", "+"])
        .status();
    assert!(old.unwrap().success());
    server.kill9().unwrap();
    let socket = server.site.path().join("state/control.sock");
    fs::remove_file(&socket).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = String::new();
            BufReader::new(&stream).read_line(&mut question).unwrap();
            // Gone before it has answered: the next question finds nobody.
            fs::remove_file(&socket).unwrap();
            stream.write_all(b"[]").unwrap();
            question
        });
        let gone = json(&server, &["gc", "--keep", "1", "--grace", "1"]);
        assert_eq!(asked.join().unwrap(), "pins\n", "it has held nothing");
        assert!(gone["generations"].as_u64().unwrap() > 0, "{gone}");
    });
    let is_there = |id: &str| server.site.path().join("store/generations").join(id).exists();
    assert_eq!((is_there(&held), is_there(&free)), (true, false), "what is assigned is needed, by the state");
}
