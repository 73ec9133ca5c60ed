//! A template is somebody's program: what the worst of them costs the server, its other machines, and who runs a command.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at its first surprise"
)]

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use oneroot_testkit::{Host, Lab, Machine, RELAY, Server, SiteFiles};

const PATIENCE: Duration = Duration::from_secs(60);
/// What all processes of a server may have resident beyond what it has before, in KiB: a template's 256 MiB (`MEMORY`,
/// src/render/mod.rs), its stack, and what a debug build is by itself.
const MOST: u64 = (256 + 8 + 56) << 10;
/// What is said of a template that ends its process.
const DEEP: &str = "nests too deeply";
const LONG: &str = "takes more than 5 s of a processor";
const LARGE: &str = "takes more than 256 MiB of memory";
const STEPS: &str = "takes too many steps";

/// What a template does, its text, and what may be said of it: which bound it meets first is the host's to decide.
fn bombs() -> Vec<(&'static str, String, &'static [&'static str])> {
    let many = |from: &str, each: &str, times: usize, to: &str| format!("{from}{}{to}", each.repeat(times));
    vec![
        ("holds itself", "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}".into(), &[DEEP]),
        ("a chain of not", many("{{ ", "not ", 50_000, "1 }}"), &[DEEP]),
        ("a chain of minus", many("{{ ", "-", 200_000, "1 }}"), &[DEEP]),
        ("a chain of ~", many("{{ ", "\"a\"~", 100_000, "1 }}"), &[DEEP]),
        ("a chain of **", many("{{ ", "2**", 100_000, "2 }}"), &[DEEP]),
        ("a chain of filters", many("{{ 1", "|string", 100_000, " }}"), &[DEEP]),
        ("a chain of attributes", many("{{ name", ".a", 100_000, " }}"), &[DEEP]),
        ("lists in lists", many("{% set x = [] %}", "{% set x = [x] %}", 50_000, "{{ x }}"), &[DEEP]),
        ("lists in lists, let go", many("{% set x = [] %}", "{% set x = [x] %}", 50_000, "ok"), &[DEEP]),
        (
            "lists that double",
            many("{% set x = [1] %}", "{% set x = x + x %}", 60, "{{ x|length }}"),
            &[LONG, LARGE],
        ),
        (
            "large texts that are kept",
            many("{% set ns = namespace(x=[]) %}", "{% set ns.x = [ns.x, 'x' * 900000] %}", 600, ""),
            &[LARGE, STEPS],
        ),
    ]
}

fn site() -> SiteFiles {
    let mut site = SiteFiles::with_two().unwrap();
    site.machine("gamma", "0c", "address = \"192.168.77.12\"").unwrap();
    site.file("beta", "etc/of.j2", "{{ name }}\n").unwrap();
    site
}

fn with_machines(act: impl FnOnce(&mut Server, &Host, [Machine; 3]) + Send) {
    let lab = Lab::new().unwrap();
    let mut server = Server::start(site()).unwrap();
    lab.on_machines(RELAY, |host| {
        let machines = [0x0a, 0x0b, 0x0c].map(|last| host.lease(last, PATIENCE).unwrap().unwrap());
        act(&mut server, host, machines);
    })
    .unwrap();
}

fn script(machine: Machine) -> String {
    let path = format!("/boot/52-54-00-00-00-{:02x}.ipxe?", machine.last);
    // Whoever has no answer within the patience of one asks again, as iPXE does.
    let answer = (0..4).find_map(|_| machine.get(&path).ok());
    String::from_utf8(answer.unwrap().1).unwrap()
}

/// A template of alpha's, staged; the server that runs has it at alpha's next boot.
fn put(server: &Server, text: &str) {
    server.site.file("alpha", "etc/bomb.j2", text).unwrap();
    server.stage().unwrap();
}

/// Processes that have this one above them, itself among them: ids, and their names.
fn family(process: u32) -> Vec<(u32, String)> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((head, rest)) = stat.rsplit_once(") ") else { continue };
        let Some((id, name)) = head.split_once(" (") else { continue };
        let mut fields = rest.split(' ');
        // What is dead and only waits to be counted is no process.
        if fields.next() == Some("Z") {
            continue;
        }
        let parent: u32 = fields.next().unwrap().parse().unwrap();
        all.push((id.parse::<u32>().unwrap(), parent, name.to_owned()));
    }
    let mut found: Vec<(u32, String)> = Vec::new();
    let mut todo = vec![process];
    while let Some(id) = todo.pop() {
        found.extend(all.iter().filter(|one| one.0 == id).map(|one| (id, one.2.clone())));
        todo.extend(all.iter().filter(|one| one.1 == id).map(|one| one.0));
    }
    found
}

/// KiB that all of them have resident.
fn resident(process: u32) -> u64 {
    let of = |id: u32| -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    };
    family(process).iter().filter_map(|(id, _)| of(*id)).sum()
}

fn member(process: u32, name: &str) -> Option<u32> {
    family(process).into_iter().find(|one| one.1 == name).map(|one| one.0)
}

/// What a process has had of a processor, in ticks of 10 ms; 0 once it is gone.
fn worked(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    rest.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

fn kill(process: u32) {
    assert!(Command::new("kill").args(["-9", &process.to_string()]).status().unwrap().success());
}

#[test]
fn a_template_that_ends_or_eats_its_process_costs_its_machine_this_boot_and_nobody_else_anything() {
    with_machines(|server, _, [alpha, beta, gamma]| {
        let mut root = beta.mount(&beta.boot().unwrap().export).unwrap();
        let files = root.read_all().unwrap();
        assert_eq!(files["/etc/of"], b"beta\n");
        let process = server.pid().unwrap();
        let before = resident(process);
        for (what, text, reasons) in bombs() {
            put(server, &text);
            let (done, reads, most) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
            let told = thread::scope(|scope| {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        most.fetch_max(resident(process), Ordering::Relaxed);
                        thread::sleep(Duration::from_millis(5));
                    }
                });
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) || reads.load(Ordering::Relaxed) == 0 {
                        assert_eq!(root.read_all().unwrap(), files, "{what}");
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                });
                let told = script(alpha);
                done.store(true, Ordering::Relaxed);
                told
            });
            assert!(reasons.iter().any(|reason| told.contains(reason)), "{what}: {told}");
            assert!(told.contains("bomb.j2"), "{what}: {told}");
            let (reads, most) = (reads.into_inner(), most.into_inner());
            println!("{what}: {reads} times read meanwhile, {before} KiB before, {most} KiB at most");
            assert!(most < before + MOST, "{what}: {before} KiB before, {most} KiB at most");
            // What has ended one process is not tried again for the same machine, and others are rendered.
            assert!(reasons.iter().any(|reason| script(alpha).contains(reason)), "{what}");
            server.site.file("gamma", "etc/of.j2", &format!("{{{{ name }}}} after {what}\n")).unwrap();
            server.stage().unwrap();
            let mut again = gamma.mount(&gamma.boot().unwrap().export).unwrap();
            assert_eq!(again.read_all().unwrap()["/etc/of"], format!("gamma after {what}\n").as_bytes());
            assert_eq!(server.pid().unwrap(), process);
            assert!(server.resident().is_ok(), "{what}: the server lives");
        }
        put(server, "{{ name }} is mended\n");
        let mut root = alpha.mount(&alpha.boot().unwrap().export).unwrap();
        assert_eq!(root.read_all().unwrap()["/etc/bomb"], b"alpha is mended\n");
    });
}

#[test]
fn a_server_reads_a_site_again_whose_template_ends_its_process_and_refuses_it_with_the_reason() {
    with_machines(|server, _, [alpha, ..]| {
        server.site.file("alpha", "etc/bomb.j2", &bombs()[0].1).unwrap();
        let told = server.reload().unwrap();
        assert!(told.contains(DEEP) && told.contains("the old one stays in force"), "{told}");
        server.site.file("alpha", "etc/bomb.j2", "fine\n").unwrap();
        assert!(server.reload().unwrap().contains("is in force for new boots"));
        alpha.boot().unwrap();
    });
}

#[test]
fn commands_say_what_a_template_would_do_and_are_not_ended_by_it() {
    let server = Server::new(site()).unwrap();
    server.stage().unwrap();
    let run = |words: &[&str]| {
        Command::new(server.binary()).current_dir(server.site.path()).args(words).output().unwrap()
    };
    for (what, text, reasons) in bombs() {
        put(&server, &text);
        for (words, code) in [
            (&["check"][..], 3),
            (&["render", "alpha"], 1),
            (&["explain", "alpha"], 1),
            (&["ls", "alpha", "/"], 1),
        ] {
            let done = run(words);
            let said = String::from_utf8(done.stderr).unwrap();
            assert_eq!(done.status.code(), Some(code), "{what}: {words:?}: {said}");
            let reason = said.lines().find(|line| line.contains("bomb.j2")).unwrap_or_default();
            assert!(reasons.iter().any(|known| reason.contains(known)), "{what}: {words:?}: {said}");
            if reasons.contains(&LONG) {
                break;
            }
        }
        assert!(run(&["render", "beta"]).status.success(), "{what}");
    }
}

#[test]
fn a_server_that_is_killed_leaves_no_process_behind_and_one_that_renders_neither() {
    for busy in [false, true] {
        with_machines(|server, _, [alpha, beta, _]| {
            beta.boot().unwrap();
            let process = server.pid().unwrap();
            let all = family(process);
            let names: Vec<&str> = all.iter().map(|one| one.1.as_str()).collect();
            assert_eq!(names, ["oneroot", "or-templates", "or-render"]);
            if busy {
                put(server, &bombs().iter().find(|bomb| bomb.0 == "lists that double").unwrap().1);
                let mut stream = alpha.connect(80, 0).unwrap();
                std::io::Write::write_all(
                    &mut stream,
                    b"GET /boot/52-54-00-00-00-0a.ipxe? HTTP/1.1\r\nHost: x\r\n\r\n",
                )
                .unwrap();
                let idle = resident(process);
                let works = (0..2000).any(|_| {
                    thread::sleep(Duration::from_millis(5));
                    resident(process) > idle + (8 << 10)
                });
                assert!(works, "the worker has begun");
                server.kill9().unwrap();
            } else {
                server.kill9().unwrap();
            }
            let worker = all[2].0;
            let used = worked(worker);
            let mut most = used;
            let left = || {
                let there = all.iter().flat_map(|one| family(one.0));
                there.filter(|one| all.contains(one)).count()
            };
            let gone = (0..10_000).any(|_| {
                most = most.max(worked(worker));
                thread::sleep(Duration::from_millis(10));
                left() == 0
            });
            assert!(gone, "{all:?}");
            // Not when its template has run out of time: that would be hundreds.
            assert!(
                most - used.min(most) < 100,
                "{} ticks of a processor after the server's end",
                most - used
            );
        });
    }
}

#[test]
fn whoever_stops_the_processes_that_render_stops_rendering_and_nothing_else() {
    with_machines(|server, _, [alpha, beta, gamma]| {
        let mut root = beta.mount(&beta.boot().unwrap().export).unwrap();
        let process = server.pid().unwrap();
        // A worker that somebody has killed is no template's fault, and there is another.
        kill(member(process, "or-render").unwrap());
        put(server, "{{ name }}\n");
        alpha.boot().unwrap();
        // systemd's SIGTERM goes to all of a service: only the server heeds it.
        let supervisor = member(process, "or-templates").unwrap();
        Command::new("kill").arg(supervisor.to_string()).status().unwrap();
        put(server, "{{ name }} again\n");
        alpha.boot().unwrap();
        kill(supervisor);
        put(server, "{{ name }} and again\n");
        let told = script(alpha);
        assert!(told.contains("the process that renders templates has ended"), "{told}");
        server.wait_for_log("the process that renders templates has ended", PATIENCE).unwrap();
        assert!(!root.read_all().unwrap().is_empty());
        gamma.boot().unwrap();
        beta.boot().unwrap();
    });
}

#[test]
fn what_renders_can_do_next_to_nothing() {
    with_machines(|server, _, [_, beta, _]| {
        beta.boot().unwrap();
        let process = server.pid().unwrap();
        for name in ["or-templates", "or-render"] {
            let id = member(process, name).unwrap();
            let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
            for line in
                ["NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000"]
            {
                assert!(status.contains(line), "{name}: {status}");
            }
            let open: Vec<String> = fs::read_dir(format!("/proc/{id}/fd"))
                .unwrap()
                .map(|fd| fs::read_link(fd.unwrap().path()).unwrap().display().to_string())
                .collect();
            assert_eq!(open.iter().filter(|path| *path == "/dev/null").count(), 3, "{name}: {open:?}");
            let known =
                |path: &str| path == "/dev/null" || path.starts_with("socket:") || path.contains("pidfd");
            assert!(open.iter().all(|path| known(path)), "{name} has no file: {open:?}");
            let sockets = open.iter().filter(|path| path.starts_with("socket:")).count();
            assert_eq!(sockets, 1, "{name} has its own socket, and none of the server's: {open:?}");
        }
    });
}
