//! A program is somebody's program: what the worst of them costs.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use oneroot_testkit::{Host, Lab, RELAY, Server};

use super::{PATIENCE, is_kiosk, put, script, site, told, with_machines};

const ANSWER: &str = "echo '{\"profile\": \"kiosk\"}'\n";
/// A command that no process of this host has but those of one test, so that what is left of a program can be found.
fn sleep(test: u32) -> String {
    format!("sleep 9{:07}{test}", std::process::id())
}

/// What a program does, its text, and what is said of it; nothing where its answer counts all the same.
fn programs(sleep: &str) -> Vec<(&'static str, String, Option<&'static str>)> {
    let late = Some("has not ended within 1 s");
    vec![
        ("reads nothing", ANSWER.to_owned(), None),
        ("answers, and leaves a daemon", format!("(setsid {sleep} &) ; {ANSWER}"), None),
        ("answers, and leaves one that has its stdout", format!("{sleep} & {ANSWER}"), None),
        ("says much on stderr", format!("head -c 4000000 /dev/zero >&2; {ANSWER}"), None),
        ("never ends", format!("exec {sleep}"), late),
        (
            "ignores what ends others",
            format!("trap '' TERM INT HUP; {ANSWER} while :; do {sleep}; done"),
            late,
        ),
        ("forks", format!("for i in $(seq 40); do (trap '' TERM; {sleep}) & done; wait"), late),
        ("forks daemons", format!("for i in $(seq 20); do setsid sh -c '{sleep}; :' & done; {sleep}"), late),
        ("closes all and lives on", format!("{ANSWER} exec <&- >&- 2>&-; {sleep}"), late),
        ("stops itself", "kill -STOP $$".to_owned(), late),
        (
            "prints 1 GiB",
            "exec head -c 1073741824 /dev/zero".to_owned(),
            Some("has printed more than 64 KiB"),
        ),
        (
            "prints a byte too many",
            "head -c 65537 /dev/zero".to_owned(),
            Some("has printed more than 64 KiB"),
        ),
        ("takes all memory", "exec tail /dev/zero".to_owned(), Some("has ")),
        (
            "fails",
            format!("{ANSWER} echo 'no such host' >&2; exit 3"),
            Some("exit code 3; it says: no such host"),
        ),
        ("fails in colours", "printf '\\033[31mred\\033[0m\\n' >&2; exit 1".to_owned(), Some("it says: ")),
        ("is killed", "kill -9 $$".to_owned(), Some("was ended by signal 9")),
        ("prints nothing", ":".to_owned(), Some("has printed nothing")),
        (
            "prints words",
            "echo kiosk".to_owned(),
            Some("has printed what is no answer: a JSON object begins with {"),
        ),
        ("answers twice", format!("{ANSWER}{ANSWER}"), Some("trailing characters")),
        ("has a key of its own", "echo '{\"profil\": \"kiosk\"}'".to_owned(), Some("unknown field `profil`")),
        (
            "names no profile of the site",
            "echo '{\"profile\": \"kisok\"}'".to_owned(),
            Some("there is no profile \"kisok\"; did you mean"),
        ),
        (
            "names a disk",
            "echo '{\"args\": [\"root=/dev/sda\"]}'".to_owned(),
            Some("root= is oneroot's own argument"),
        ),
    ]
}

/// Processes of this host that sleep for a program of a test.
fn sleepers(sleep: &str) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let mark = sleep.replace(' ', "\0").into_bytes();
    lines.filter(|line| line.windows(mark.len()).any(|words| words == mark)).count()
}

/// Waits until nothing of a program is left.
fn nothing_left(sleep: &str) -> bool {
    (0..1_000).any(|_| {
        thread::sleep(Duration::from_millis(10));
        sleepers(sleep) == 0
    })
}

fn text(program: &str) -> String {
    format!("#!/bin/sh\n{program}\n")
}

/// Processes right below one, by their names.
fn below(parent: u32, name: &str) -> Vec<u32> {
    let stat = |id: u32| fs::read_to_string(format!("/proc/{id}/stat")).ok();
    let ids =
        fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id| {
        let Some(stat) = stat(*id) else { return false };
        let Some((head, rest)) = stat.rsplit_once(") ") else { return false };
        head.ends_with(&format!("({name}")) && rest.split(' ').nth(1) == Some(&parent.to_string())
    })
    .collect()
}

#[test]
fn whatever_a_program_does_its_machine_boots_and_nothing_of_the_program_is_left() {
    let sleep = &sleep(1);
    with_machines(site("timeout = \"1s\"\ncache = \"0s\"", &text(ANSWER)), |server, _, [_, beta, _]| {
        let process = server.pid().unwrap();
        assert!(is_kiosk(&script(beta)));
        let before = server.descriptors().unwrap();
        for (what, program, reason) in programs(sleep) {
            put(&server.site, &text(&program));
            // A host that has no time for it may see a program's time run out before anything else.
            let is_seen = (0..20).any(|_| {
                let (failed, is_kiosk) = (told(server)["failed"].as_u64().unwrap(), is_kiosk(&script(beta)));
                assert!(nothing_left(sleep), "{what}: {} processes are left", sleepers(sleep));
                let told = told(server);
                assert_eq!(told["failed"].as_u64().unwrap(), failed + u64::from(!is_kiosk), "{what}: {told}");
                let error = told["last_error"].as_str().unwrap_or_default();
                assert!(error.len() < 1_000, "{what}: {error}");
                assert!(!is_kiosk || reason.is_none(), "{what}");
                is_kiosk || reason.is_some_and(|reason| error.contains(reason))
            });
            assert!(is_seen, "{what}: {:#}", told(server));
        }
        server.wait_for_log("the decide program gave no answer", PATIENCE).unwrap();
        assert!(!server.log().contains('\u{1b}'), "a program says nothing to a terminal");
        let lanes = below(process, "or-decide");
        assert_eq!(lanes.len(), 1, "the process that starts it lives");
        assert!(below(lanes[0], "or-decide-run").is_empty());
        assert!(server.descriptors().unwrap() <= before + 4, "{before} before");
        for (what, spoil) in
            [("is gone", "rm decide"), ("is no program", "chmod -x decide"), ("is open", "chmod 777 decide")]
        {
            put(&server.site, &text(ANSWER));
            let done =
                Command::new("sh").current_dir(server.site.path()).args(["-c", spoil]).status().unwrap();
            assert!(done.success() && !is_kiosk(&script(beta)), "{what}: {:#}", told(server));
        }
        put(&server.site, &text(ANSWER));
        assert!(is_kiosk(&script(beta)), "and the next one is as good as the first");
        assert!(server.run(&["status"]).unwrap().contains("the decide program gave no answer in"));
    });
}

#[test]
fn a_program_that_hangs_holds_up_nobody_but_whom_it_was_asked_about_and_strangers_leave_a_place_for_named_machines()
 {
    let sleep = &sleep(2);
    // Of machines with a name it knows, of others it never comes to an end.
    let program = text(&format!("if grep -q '\"name\"'; then {ANSWER}else {sleep}; fi"));
    let limits = "timeout = \"20s\"\nat_once = 3\ncache = \"0s\"";
    with_machines(site(limits, &program), |server, host, [alpha, beta, gamma]| {
        let strangers: Vec<_> =
            (0x21..0x29).map(|last| host.lease(last, PATIENCE).unwrap().unwrap()).collect();
        let waits = AtomicBool::new(true);
        thread::scope(|scope| {
            let asking: Vec<_> = strangers
                .iter()
                .map(|stranger| {
                    let waits = &waits;
                    scope.spawn(move || {
                        let told = script(*stranger);
                        waits.store(false, Ordering::Relaxed);
                        told
                    })
                })
                .collect();
            assert!((0..2_000).any(|_| {
                thread::sleep(Duration::from_millis(5));
                sleepers(sleep) >= 2
            }));
            // Each several times, for it is the waiting that would take long.
            for _ in 0..3 {
                assert!(!is_kiosk(&script(alpha)) && is_kiosk(&script(beta)) && is_kiosk(&script(gamma)));
                assert!(sleepers(sleep) <= 2, "strangers have no more than that");
            }
            assert!(waits.load(Ordering::Relaxed), "no stranger has been told anything yet");
            for one in asking {
                assert!(!is_kiosk(&one.join().unwrap()), "the unknown's own profile");
            }
        });
        let error = told(server)["last_error"].as_str().unwrap().to_owned();
        assert!(error.contains("has not ended within 20 s") || error.contains("was not asked"), "{error}");
        assert!(nothing_left(sleep));
    });
}

#[test]
fn a_program_has_three_descriptors_little_of_an_environment_and_no_right_that_is_not_its_users() {
    let program = text(&format!(
        "exec 2>seen\nls -l /proc/$$/fd >&2\ncat /proc/$$/status /proc/$$/limits >&2\nenv >&2\npwd >&2\n{ANSWER}"
    ));
    with_machines(site("", &program), |server, _, [_, beta, _]| {
        assert!(is_kiosk(&script(beta)));
        let seen = fs::read_to_string(server.site.path().join("seen")).unwrap();
        let links: Vec<&str> =
            seen.lines().filter_map(|line| line.split_once(" -> ")).map(|(_, to)| to).collect();
        let kind =
            |link: &&str| link.starts_with("pipe:") || link.ends_with("/seen") || link.ends_with("/decide");
        assert!(links.iter().all(kind), "no socket and no file of the server's: {seen}");
        let ignored = seen.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
        let ignored = u64::from_str_radix(ignored, 16).unwrap();
        assert_eq!(
            ignored & (1 << 14 | 1 << 2 | 1 << 1 | 1),
            0,
            "TERM, QUIT, INT and HUP end it: {ignored:x}"
        );
        for line in ["CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"] {
            assert!(seen.contains(line), "{line}: {seen}");
        }
        let limit = |name: &str| seen.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        assert!(limit("Max data size").contains("536870912") && limit("Max core file size").contains(" 0 "));
        let known = ["PATH=", "LANG=C.UTF-8", "PWD=", "OLDPWD=", "SHLVL=", "_="];
        let variables = seen.lines().filter(|line| {
            line.split_once('=').is_some_and(|(name, _)| {
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
            })
        });
        for variable in variables {
            assert!(known.iter().any(|name| variable.starts_with(name)), "{variable}");
        }
        assert!(
            seen.lines().any(|line| line == server.site.path().to_str().unwrap()),
            "in the site's directory: {seen}"
        );
    });
}

#[test]
fn a_server_that_is_killed_leaves_no_program_behind_and_one_whose_launcher_is_killed_boots_machines_by_rules()
{
    let sleep = &sleep(3);
    let program = text(&format!("if [ -e slow ]; then setsid {sleep} & {sleep}; fi; {ANSWER}"));
    let lab = Lab::new().unwrap();
    let mut server = Server::start(site("timeout = \"60s\"\ncache = \"0s\"", &program)).unwrap();
    let launcher = below(server.pid().unwrap(), "or-decide")[0];
    let beta = |host: &Host| host.lease(0x0b, PATIENCE).unwrap().unwrap();
    lab.on_machines(RELAY, |host| {
        let beta = beta(host);
        assert!(is_kiosk(&script(beta)));
        fs::write(server.site.path().join("slow"), "").unwrap();
        thread::scope(|scope| {
            let _asking = scope.spawn(|| beta.get("/boot/52-54-00-00-00-0b.ipxe?"));
            assert!((0..2_000).any(|_| {
                thread::sleep(Duration::from_millis(5));
                sleepers(sleep) == 2
            }));
            server.kill9().unwrap();
            assert!(nothing_left(sleep), "{} are left", sleepers(sleep));
        });
    })
    .unwrap();
    let gone = (0..1_000).any(|_| {
        thread::sleep(Duration::from_millis(10));
        !is_alive(launcher)
    });
    assert!(gone, "the launcher ends with the server");
    fs::remove_file(server.site.path().join("slow")).unwrap();
    server.restart().unwrap();
    lab.on_machines([192, 168, 77, 3].into(), |host| {
        let beta = beta(host);
        assert!(is_kiosk(&script(beta)));
        kill(below(server.pid().unwrap(), "or-decide")[0]);
        assert!(!is_kiosk(&script(beta)));
        server.wait_for_log("the process that runs the site's program ", PATIENCE).unwrap();
        assert!(told(&server)["last_error"].as_str().unwrap().contains("can only be had again by a restart"));
    })
    .unwrap();
    server.signal("TERM").unwrap();
    assert_eq!(server.wait().unwrap(), Some(0));
}

fn is_alive(process: u32) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn kill(process: u32) {
    assert!(Command::new("kill").args(["-9", &process.to_string()]).status().unwrap().success());
}
