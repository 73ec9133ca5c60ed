//! What the program is asked, by whom, how often, and what its answer does.

use std::io::{Read as _, Write as _};
use std::process::Command;

use oneroot_testkit::Machine;
use serde_json::json;

use super::{PATIENCE, asked, is_kiosk, let_pass, put, script, site, told, with_machines};

/// Says the same of everybody, and writes down what it was asked.
const KIOSK: &str = "#!/bin/sh\ncat >>asked\n\
    echo '{\"profile\": \"kiosk\", \"workloads\": [\"print\"], \"args\": [\"told=1\"], \"vars\": {\"seat\": \"7\"}}'\n";

#[test]
fn the_program_says_what_a_machine_boots_whose_own_table_does_not_and_nobody_else_is_asked_about() {
    with_machines(site("", KIOSK), |server, host, [alpha, beta, _]| {
        server.site.file("common", "etc/seat.j2", "{{ vars.seat | default('none') }}\n").unwrap();
        server.stage().unwrap();
        assert!(!is_kiosk(&script(alpha)));
        assert!(asked(server).is_empty(), "its own table speaks first, so nobody waits for a program");
        let told_beta = script(beta);
        assert!(is_kiosk(&told_beta), "{told_beta}");
        let place = |word: &str| told_beta.find(word).unwrap_or_else(|| panic!("no {word}: {told_beta}"));
        let places = ["kiosk=1", "lab=1", "print=1", "told=1", "own=1"].map(place);
        assert!(
            places.is_sorted(),
            "profile, groups, the program's workloads, the program, the machine: {told_beta}"
        );
        let mut root = beta.mount(&beta.boot().unwrap().export).unwrap();
        assert_eq!(root.read_all().unwrap()["/etc/seat"], b"7\n");
        let stranger = host.lease(0x21, PATIENCE).unwrap().unwrap();
        assert!(is_kiosk(&script(stranger)));
        let asked = asked(server);
        let of_beta = json!({
            "mac": "52:54:00:00:00:0b", "macs": ["52:54:00:00:00:0b"], "name": "beta", "address": "192.168.77.11",
            "groups": ["lab"],
        });
        for (key, value) in of_beta.as_object().unwrap() {
            assert_eq!(&asked[0][key], value, "{asked:?}");
        }
        assert_eq!(asked[0]["location"]["network"], "192.168.77.0/24");
        assert!(asked[1].get("name").is_none() && asked[1]["mac"] == "52:54:00:00:00:21", "{asked:?}");
        assert_eq!(
            (asked.len(), &told(server)),
            (
                2,
                &json!({
                    "asked": 2, "failed": 0, "last_error": null, "last_failed_at": null,
                })
            )
        );
        assert_eq!(server.machine("beta").unwrap()["behind"], json!([]), "it runs what the program said");
        // An assignment is nearer still.
        server.run(&["assign", "beta", "--profile", "debian"]).unwrap();
        assert!(!is_kiosk(&script(beta)));
        assert_eq!(super::asked(server).len(), 2);
    });
}

#[test]
fn an_answer_counts_for_as_long_as_the_site_says_and_a_question_for_a_length_starts_nothing() {
    with_machines(site("cache = \"90s\"", KIOSK), |server, _, [_, beta, _]| {
        assert_eq!(head(beta).0, 404, "nothing is known of it yet");
        assert!(asked(server).is_empty());
        let told = script(beta);
        assert_eq!(head(beta), (200, told.len()));
        script(beta);
        assert_eq!(asked(server).len(), 1);
        put(&server.site, "#!/bin/sh\ncat >>asked\necho '{}'\n");
        let_pass(server, 89);
        assert!(is_kiosk(&script(beta)));
        let_pass(server, 91);
        assert!(!is_kiosk(&script(beta)), "it says nothing of it any more");
        assert_eq!(asked(server).len(), 2);
        put(&server.site, KIOSK);
        // A site that is read again may give other names to the same words.
        assert!(server.reload().unwrap().contains("is in force for new boots"));
        assert!(is_kiosk(&script(beta)));
        assert_eq!(asked(server).len(), 3);
    });
}

/// Status and length of what a machine is told of its script.
fn head(machine: Machine) -> (u16, usize) {
    let mut stream = machine.connect(80, 0).unwrap();
    let path = format!("/boot/52-54-00-00-00-{:02x}.ipxe?", machine.last);
    write!(stream, "HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let length =
        answer.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    (status, length.unwrap_or(0))
}

#[test]
fn what_a_machine_tells_reaches_the_program_as_text_and_moves_no_machine_that_says_itself_what_it_boots() {
    let program = "#!/bin/sh\nread -r question\nprintf '%s\\n' \"$question\" >>asked\n\
        case $question in *'\"product\":\"X1 $(reboot)'*) echo '{\"profile\": \"kiosk\"}';; *) echo '{}';; esac\n";
    with_machines(site("", program), |server, host, [alpha, beta, _]| {
        let query = "product=X1%20%24%28reboot%29%22%7D%27&serial=%0a&profile=kiosk&memory=many";
        let told = |machine: Machine| {
            let path = format!("/boot/52-54-00-00-00-{:02x}.ipxe?{query}", machine.last);
            String::from_utf8(machine.get(&path).unwrap().1).unwrap()
        };
        assert!(!is_kiosk(&told(alpha)) && asked(server).is_empty());
        assert!(is_kiosk(&told(beta)));
        let hardware = asked(server)[0]["hardware"].clone();
        assert_eq!(hardware["product"], "X1 $(reboot)\"}'", "{hardware}");
        assert!(hardware.get("serial").is_none() && hardware.get("profile").is_none(), "{hardware}");
        // What it told last is known of it, and it is not asked about again for that.
        assert!(is_kiosk(&script(beta)));
        assert_eq!(asked(server).len(), 1);
        let explained = server.run(&["explain", "beta"]).unwrap();
        assert!(explained.contains("kiosk") && explained.contains("was run for this, as you"), "{explained}");
        let stranger = host.lease(0x21, PATIENCE).unwrap().unwrap();
        assert!(
            is_kiosk(&told(stranger)) && !is_kiosk(&script(host.lease(0x22, PATIENCE).unwrap().unwrap()))
        );
    });
}

#[test]
fn machines_that_ask_many_times_at_once_cost_one_run() {
    with_machines(
        site("cache = \"0s\"", &KIOSK.replace("cat", "sleep 2; cat")),
        |server, _, [_, beta, _]| {
            std::thread::scope(|scope| {
                let asking: Vec<_> = (0..16).map(|_| scope.spawn(move || script(beta))).collect();
                for one in asking {
                    assert!(is_kiosk(&one.join().unwrap()));
                }
            });
            // The last may have come when the first was answered.
            assert!(asked(server).len() <= 2, "{}", asked(server).len());
        },
    );
}

#[test]
fn another_program_takes_a_restart_and_how_long_an_answer_counts_does_not() {
    with_machines(site("cache = \"1m\"", KIOSK), |server, _, [_, beta, _]| {
        let good = server.site.text().to_owned();
        for other in [
            "program = [\"./decide\", \"-v\"]",
            "program = \"./other\"",
            "program = \"./decide\"\nat_once = 8",
        ] {
            server.site.set_text(&good.replace("program = \"./decide\"", other));
            let told = server.reload().unwrap();
            assert!(told.contains("decide has changed, which takes a restart"), "{other}: {told}");
        }
        server.site.set_text(&good.replace("cache = \"1m\"", "cache = \"0s\""));
        assert!(server.reload().unwrap().contains("is in force for new boots"));
        script(beta);
        script(beta);
        assert_eq!(asked(server).len(), 2);
    });
}

#[test]
fn explain_runs_the_program_itself_and_check_says_what_stands_in_its_way() {
    let server = oneroot_testkit::Server::new(site("", KIOSK)).unwrap();
    server.stage().unwrap();
    let run = |words: &[&str]| {
        let mut command = Command::new(server.binary());
        let done = command.current_dir(server.site.path()).args(words).output().unwrap();
        String::from_utf8([done.stdout, done.stderr].concat()).unwrap()
    };
    let told = run(&["explain", "beta"]);
    assert!(told.contains("kiosk") && told.contains("the decide program"), "{told}");
    assert!(told.contains("/decide was run for this, as you"), "{told}");
    assert!(!run(&["explain", "alpha"]).contains("was run for this"));
    put(&server.site, "#!/bin/sh\necho oops >&2; exit 3\n");
    let told = run(&["explain", "beta"]);
    assert!(told.contains("has ended with exit code 3; it says: oops: rules and groups decide"), "{told}");
    let path = server.site.path().join("decide");
    let mode = |mode| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    assert!(!run(&["check"]).contains("the decide program"));
    mode(0o644);
    assert!(run(&["check"]).contains("is not executable; chmod +x it"));
    mode(0o777);
    assert!(run(&["check"]).contains("can be changed by every user"));
    assert!(run(&["explain", "beta"]).contains("can be changed by every user"), "and is not run");
    std::fs::remove_file(&path).unwrap();
    assert!(run(&["check"]).contains("No such file or directory"));
}
