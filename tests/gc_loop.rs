//! Collections without a pause beside everything that makes things needed: stages, rollbacks, boots, machines that read.
//! Some are killed. What a head or a pin needs is there at every moment.
//!
//! A collection spares what is younger than its grace time, an hour at least. Here it runs with a clock that is ahead by
//! all of that but [`GRACE`]. `ONEROOT_SECONDS` says for how long (20 unless set), `ONEROOT_SEED` from where.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at its first surprise"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use oneroot_testkit::{Boot, Host, Lab, Machine, RELAY, Server, SiteFiles, preload};

/// Seconds that collections really spare. A stage or a plan of this test takes a fraction of one.
const GRACE: u64 = 6;
const SOON: Duration = Duration::from_secs(60);
const FILES: u64 = 60;
/// Contents that a file has in turn, in no order: one that is needed again may have been let go of at this moment.
const CONTENTS: u64 = 80;

/// Where the rounds of the other profile begin.
const OTHER: u64 = 1_000_000;

/// The clock of the process that it is loaded into is ahead. What the kernel stamps files with is not.
const AHEAD: &str = "#include <sys/syscall.h>\n#include <time.h>\n#include <unistd.h>\n\
    int clock_gettime(clockid_t clock, struct timespec *time) {\n\
        long failed = syscall(SYS_clock_gettime, clock, time);\n\
        if (!failed && clock == CLOCK_REALTIME) time->tv_sec += SECONDS;\n\
        return failed;\n\
    }\n";

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// What happens when: the same again for the same seed, as far as threads allow.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn pause(&mut self, millis: u64) {
        std::thread::sleep(Duration::from_millis(self.below(millis)));
    }
}

/// Ends everything with the first failure, so that it is the one that is shown.
struct Run {
    over: AtomicBool,
    until: Instant,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    slowest: AtomicU64,
}

impl Run {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed) && Instant::now() < self.until
    }

    fn count(&self, what: &'static str, more: u64) {
        *self.counts.lock().unwrap().entry(what).or_default() += more;
    }

    /// What must be done within the grace time, for a collection to spare it.
    fn timed<T>(&self, act: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = act();
        self.slowest.fetch_max(u64::try_from(begun.elapsed().as_millis()).unwrap(), Ordering::Relaxed);
        done
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.over.store(true, Ordering::Relaxed);
        }
    }
}

struct Watch<'r>(&'r Run);

/// What a file has in a round.
fn content(round: u64, file: u64) -> String {
    let hash = blake3::hash(format!("{round} {file}").as_bytes());
    let which = u64::from(hash.as_bytes()[0]) % CONTENTS;
    format!("{which} {file} {}", "x".repeat(2000))
}

fn write(root: &Path, round: u64) {
    for file in 0..FILES {
        let path = root.join(format!("d{}/f{file}", file % 5));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content(round, file)).unwrap();
    }
    fs::create_dir_all(root.join("boot")).unwrap();
    fs::write(root.join("boot/vmlinuz-1"), format!("kernel {round}")).unwrap();
    fs::write(root.join("boot/initrd.img-1"), "initrd").unwrap();
    fs::write(root.join("round"), format!("{round}")).unwrap();
}

/// A root is all of one round.
fn assert_whole(files: &BTreeMap<String, Vec<u8>>) {
    let text = |path: &str| String::from_utf8(files[path].clone()).unwrap();
    let round: u64 = text("/round").parse().unwrap();
    for file in 0..FILES {
        assert_eq!(text(&format!("/d{}/f{file}", file % 5)), content(round, file), "round {round}");
    }
    assert_eq!(text("/boot/vmlinuz-1"), format!("kernel {round}"));
}

/// What was staged just now is in the store, or aside for a moment.
fn assert_stored(store: &Path, round: u64) {
    for file in 0..FILES {
        let name = blake3::hash(content(round, file).as_bytes()).to_hex();
        let path = store.join("objects").join(&name[..2]).join(&name[2..]);
        let there = || path.exists() || path.with_extension("gone").exists();
        assert!(there() || there(), "round {round}: what file {file} needs is gone");
    }
}

fn stage(run: &Run, server: &Server, chance: &mut Chance, name: &str, mut write: impl FnMut(u64)) {
    let _watch = Watch(run);
    for round in 1.. {
        if !run.goes_on() {
            break;
        }
        write(round);
        run.timed(|| server.run(&["stage", name]).unwrap());
        run.count("stages", 1);
        let store = server.site.path().join("store");
        match name {
            "debian" => assert_stored(&store, round),
            "other" => assert_stored(&store, round + OTHER),
            _ => {}
        }
        chance.pause(150);
    }
}

fn roll_back(run: &Run, server: &Server, chance: &mut Chance) {
    let _watch = Watch(run);
    while run.goes_on() {
        if let Err(refused) =
            run.timed(|| server.run(&["rollback", "debian", &format!("~{}", 1 + chance.below(4))]))
        {
            // What no collection has to keep may be gone; then it is no head. Who stages meanwhile is not undone unseen.
            let said = refused.to_string();
            let known =
                ["in the store", "there are", "there is no", "staged or rolled back meanwhile", "already"];
            assert!(known.iter().any(|reason| said.contains(reason)), "{said}");
        } else {
            run.count("rollbacks", 1);
        }
        server.run(&["cat", "debian", "/round"]).unwrap();
        chance.pause(700);
    }
}

fn collect(run: &Run, server: &Server, chance: &mut Chance, clock: &str) {
    let _watch = Watch(run);
    while run.goes_on() {
        let mut gc = Command::new(server.binary())
            .current_dir(server.site.path())
            .args(["gc", "--keep", "2", "--grace", "1", "--json"])
            .env("LD_PRELOAD", clock)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let killed = chance.below(4) == 0;
        if killed {
            chance.pause(15);
            gc.kill().unwrap();
        }
        let done = gc.wait_with_output().unwrap();
        if done.status.success() {
            let told: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
            for what in ["views", "generations", "objects"] {
                run.count(what, told[what].as_u64().unwrap());
            }
            run.count("collections", 1);
        } else {
            assert!(killed, "{}", String::from_utf8_lossy(&done.stderr));
            run.count("collections killed", 1);
        }
    }
}

/// A machine that boots, reads its root, runs for a while, and reads it again. Its last boot.
fn live(
    run: &Run,
    machine: Machine,
    chance: &mut Chance,
) -> Option<(Machine, Boot, BTreeMap<String, Vec<u8>>)> {
    let _watch = Watch(run);
    let mut last = None;
    while run.goes_on() {
        let boot = run.timed(|| machine.boot().unwrap());
        let (status, kernel) = machine.get(&format!("/b/{}/kernel", boot.id)).unwrap();
        let mut root = machine.mount(&boot.export).unwrap();
        let files = root.read_all().unwrap();
        assert_whole(&files);
        assert_eq!((status, &kernel), (200, &files["/boot/vmlinuz-1"]));
        chance.pause(2000 * GRACE);
        assert_eq!(root.read_all().unwrap(), files, "{machine:?} has another root than it booted");
        run.count("boots", 1);
        last = Some((machine, boot, files));
    }
    last
}

fn clock(home: &Path) -> String {
    preload(home, "ahead", &AHEAD.replace("SECONDS", &(3600 - GRACE).to_string())).unwrap()
}

fn everything(
    host: &Host,
    run: &Run,
    server: &Server,
    seed: u64,
) -> Vec<(Machine, Boot, BTreeMap<String, Vec<u8>>)> {
    let clock = clock(server.site.path());
    let clock = clock.as_str();
    let home = server.site.path();
    let machines: Vec<Machine> = (1..=5).map(|last| host.lease(last, SOON).unwrap().unwrap()).collect();
    std::thread::scope(|scope| {
        let chance = |number: u64| Chance(seed.wrapping_mul(1000) + number);
        scope.spawn(move || {
            stage(run, server, &mut chance(1), "debian", |round| write(&home.join("root"), round));
        });
        scope.spawn(move || {
            stage(run, server, &mut chance(2), "other", |round| write(&home.join("other"), round + OTHER));
        });
        scope.spawn(move || {
            stage(run, server, &mut chance(3), "layers/common", |round| {
                let text = format!("{{{{ name }}}} {}\n", round % CONTENTS);
                server.site.file("common", "etc/name.j2", &text).unwrap();
            });
        });
        scope.spawn(move || roll_back(run, server, &mut chance(4)));
        scope.spawn(move || collect(run, server, &mut chance(5), clock));
        let living = machines.into_iter().map(|machine| {
            scope.spawn(move || live(run, machine, &mut chance(10 + u64::from(machine.last))))
        });
        let living: Vec<_> = living.collect();
        living.into_iter().filter_map(|machine| machine.join().unwrap()).collect()
    })
}

#[test]
fn a_collection_takes_nothing_that_a_head_or_a_running_machine_needs_whatever_goes_on_beside_it() {
    let seed = number("ONEROOT_SEED", 1);
    let lab = Lab::new().unwrap();
    let mut site =
        SiteFiles::with_source("directory = \"root\"", "192.168.77.100-192.168.77.199", "12h").unwrap();
    write(&site.path().join("root"), 0);
    write(&site.path().join("other"), 0);
    site.file("common", "etc/name.j2", "{{ name }} 0\n").unwrap();
    for last in 1..=3 {
        site.machine(&format!("m{last}"), &format!("0{last}"), "").unwrap();
    }
    site.add("[profile.other]\nsource = { directory = \"other\" }\nlayers = [\"layers/common\"]\n");
    site.add("[unknown]\nprofile = \"other\"\n");
    let mut server = Server::start(site).unwrap();
    let run = Run {
        over: AtomicBool::new(false),
        until: Instant::now() + Duration::from_secs(number("ONEROOT_SECONDS", 20)),
        counts: Mutex::default(),
        slowest: AtomicU64::new(0),
    };
    let lasting = lab.on_machines(RELAY, |host| everything(host, &run, &server, seed));
    let slowest = run.slowest.load(Ordering::Relaxed);
    println!("seed {seed}: {:?}; slowest stage, rollback or plan: {slowest} ms", run.counts.lock().unwrap());
    let lasting = lasting.unwrap();
    assert_eq!(lasting.len(), 5, "each machine has booted");

    assert!(server.run(&["verify"]).unwrap().contains("all good"));
    server.kill9().unwrap();
    server.restart().unwrap();
    lab.on_machines([192, 168, 77, 3].into(), |host| {
        for (machine, boot, files) in lasting {
            // The host is another one; the machine has its lease, and its address again.
            assert_eq!(host.lease(machine.last, SOON).unwrap().unwrap().address, machine.address);
            assert_eq!(machine.mount(&boot.export).unwrap().read_all().unwrap(), files);
        }
    })
    .unwrap();
    let counts = run.counts.lock().unwrap();
    for what in ["stages", "rollbacks", "boots", "collections", "views", "generations", "objects"] {
        assert!(counts.get(what).is_some_and(|count| *count > 0), "no {what}: {counts:?}");
    }
}
