//! A server with ten thousand machines, each with twenty files of its own over one profile of 200,000 nodes: how long it
//! takes from the start of the process until everything is served, and how much memory it has then.
//!
//! `make bench-tree` makes docs/benchmarks.md's figures, the second half of them. The site, the store and the state are as a server leaves them that
//! was killed while all machines ran: a layer's directory, a generation of that and one of what the machine is given, a stack, and
//! two pins: one that runs, and a boot under way. Then it asks for the status of all of them, while somebody else asks what takes
//! a look at the same tables. Needs root, in a network namespace with an interface `lan` that has 10.77.0.1/16:
//! `scripts/bench-tree` makes one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark stops at its first surprise"
)]

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use oneroot_bootconf::MachineRecord;
use oneroot_bootconf::facts::{Facts, SiteFacts};
use oneroot_bootconf::given::{Given, HOME};
use oneroot_bootconf::mounts::Mounts;
use oneroot_bootconf::pins::{Phase, Pin};
use oneroot_bootconf::root::Initramfs;
use oneroot_ids::{BootId, GenerationId, Mac, MachineId};
use oneroot_tree::node::{Content, Meta, TreePath};
use oneroot_tree::{IndexBuilder, Stage, Store};
use serde_json::json;

const FILES: usize = 20;
const ROUNDS: usize = 3;
const NOW: u64 = 1_790_000_000;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Directory of the `number`th file of a machine, which the profile has too: it becomes part of the view's spine.
fn directory(number: usize) -> String {
    format!("usr/{:02}/{:02}/d{number}", number % 23, number % 11)
}

fn insert(builder: &mut IndexBuilder, path: &str, content: Content) {
    let meta = Meta { mode: 0o644, ..Meta::default() };
    builder.insert(&TreePath::parse(path.as_bytes()).unwrap(), meta, content).unwrap();
}

/// Puts an index under its name as the store does; ten thousand stages of their own would measure the syncs.
fn put(store: &Store, builder: IndexBuilder) -> GenerationId {
    let index = builder.finish().unwrap();
    let path = store.path().join("generations").join(index.generation().to_string());
    fs::write(path, index.bytes()).unwrap();
    index.generation()
}

/// The generation of what a machine is given.
fn given(name: &str, mac: Mac, address: Ipv4Addr, content: &Content) -> IndexBuilder {
    let facts = Facts {
        name: name.to_owned(),
        mac: mac.to_string(),
        macs: vec![mac.to_string()],
        address: Some(address.into()),
        profile: "p".to_owned(),
        workloads: Vec::new(),
        groups: Vec::new(),
        hardware: oneroot_bootconf::hardware::Hardware::default(),
        location: oneroot_bootconf::hardware::Location::default(),
        examined: oneroot_bootconf::hardware::Examined::default(),
        vars: [].into(),
        site: SiteFacts { server: [10, 77, 0, 1].into(), domain: None, dns: Vec::new(), ntp: Vec::new() },
    };
    let mut layer = IndexBuilder::new();
    for (path, _) in Given::of(&facts, Initramfs::InitramfsTools, &Mounts::new(), None).files() {
        insert(&mut layer, &format!("{HOME}/{path}"), content.clone());
    }
    // All of them have one content here, and would be one generation.
    insert(&mut layer, &format!("{HOME}/{name}"), content.clone());
    layer
}

/// Site, store and a backup of the state.
fn make(home: &Path, machines: usize, nodes: usize) {
    let store = Store::open(&home.join("store")).unwrap();
    let mut stage = Stage::begin(&store, |_| {}).unwrap();
    let own = stage.object(b"own".as_slice(), b"own").unwrap();
    stage.finish().unwrap();
    let mut profile = IndexBuilder::new();
    for node in 0..nodes {
        insert(
            &mut profile,
            &format!("{}/file-{:03}.so", directory(node / FILES), node % FILES),
            own.clone(),
        );
    }
    let profile = put(&store, profile);
    let mut site = String::from(
        "[server]\naddress = \"10.77.0.1\"\ninterface = \"lan\"\nstore = \"store\"\nstate = \"state\"\n\
         [[network]]\nsubnet = \"10.77.0.0/16\"\n[profile.p]\nsource = { directory = \"root\" }\n",
    );
    let mut records = Vec::new();
    for machine in 0..machines {
        let [.., high, low] = u32::try_from(machine).unwrap().to_be_bytes();
        let mac = Mac::new([0x52, 0x54, 0, 1, high, low]).unwrap();
        let address = Ipv4Addr::new(10, 77, high + 1, low);
        let mut layer = IndexBuilder::new();
        for file in 0..FILES {
            let path = format!("{}/own-{machine}", directory(file));
            insert(&mut layer, &path, own.clone());
        }
        let layer_directory = home.join(format!("layers/{machine}/etc"));
        fs::create_dir_all(&layer_directory).unwrap();
        (0..FILES).for_each(|file| fs::write(layer_directory.join(format!("own-{file}")), "own").unwrap());
        let name = format!("m{machine}");
        let given = put(&store, given(&name, mac, address, &own));
        let view = store.put_stack(&[profile, put(&store, layer), given]).unwrap();
        writeln!(
            site,
            "[machine.{name}]\nmac = \"{mac}\"\naddress = \"{address}\"\nprofile = \"p\"\nlayer = \"layers/{machine}\""
        )
        .unwrap();
        let mut id = [7; 16];
        // In bytes that no version of an id is written over.
        id[..4].copy_from_slice(&u32::try_from(machine).unwrap().to_be_bytes());
        let (id, boot) = (MachineId::from_random(id), BootId::from_random((machine as u64).to_be_bytes()));
        let pin = Pin {
            machine: id,
            boot,
            view,
            phase: Phase::Up,
            mac,
            address: address.into(),
            made: NOW,
            since: NOW,
            named: true,
        };
        let record = MachineRecord { id, macs: vec![mac], name: Some(name), claimed: None, first_seen: NOW };
        records.push((format!("machines/{id}"), serde_json::to_string(&record).unwrap()));
        records.push((format!("pins/{boot}"), serde_json::to_string(&pin).unwrap()));
        let next = BootId::from_random((machine as u64 | 1 << 40).to_be_bytes());
        let booting = Pin { boot: next, phase: Phase::Booting, made: NOW + 1, since: NOW + 1, ..pin };
        records.push((format!("pins/{next}"), serde_json::to_string(&booting).unwrap()));
    }
    fs::write(home.join("site.toml"), site).unwrap();
    let mut backup = fs::File::create(home.join("backup")).unwrap();
    writeln!(backup, "{}", json!({ "oneroot-state": 1, "at": NOW, "records": records.len() })).unwrap();
    for (key, value) in records {
        writeln!(backup, "{}", json!({ "key": key, "value": value })).unwrap();
    }
}

fn oneroot(home: &Path) -> Command {
    let mut command = Command::new(oneroot_testkit::binary().unwrap());
    command.current_dir(home);
    command
}

/// Starts the server, and waits until it tells systemd that it is ready: every view is in memory, every socket is bound.
fn start(home: &Path) -> (Child, Duration) {
    let notify = home.join("notify");
    let _ = fs::remove_file(&notify);
    let socket = UnixDatagram::bind(&notify).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(600))).unwrap();
    let log = fs::File::create(home.join("log")).unwrap();
    let begun = Instant::now();
    let mut server = oneroot(home).arg("serve").env("NOTIFY_SOCKET", &notify).stderr(log).spawn().unwrap();
    let mut told = [0; 256];
    let mut ready = false;
    while !ready {
        let Ok(length) = socket.recv(&mut told) else { break };
        ready = told.get(..length).unwrap().windows(7).any(|word| word == b"READY=1");
    }
    let time = begun.elapsed();
    if !ready {
        server.kill().unwrap();
        server.wait().unwrap();
        panic!("the server does not get ready: {}", fs::read_to_string(home.join("log")).unwrap());
    }
    (server, time)
}

/// MiB of a process: what is resident, and how much of that is its own and not of files.
fn memory(process: u32) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let field = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    };
    (field("VmRSS:"), field("RssAnon:"))
}

/// Seconds of processor time that a process has had, in user and kernel mode: what other work beside it does not change.
fn processor(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let ticks: f64 =
        after_name.split_whitespace().skip(11).take(2).map(|field| field.parse::<f64>().unwrap()).sum();
    // USER_HZ has been 100 on every Linux that this runs on.
    ticks / 100.0
}

/// Milliseconds that an HTTP request takes which looks at the machines' tables and is refused; the longest of as many as are made
/// until `stop`.
fn longest_question(stop: &AtomicBool) -> (f64, u32) {
    let (mut longest, mut count) = (0.0_f64, 0);
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let mut stream = TcpStream::connect("10.77.0.1:80").unwrap();
        stream
            .write_all(b"GET /b/0000000000000000/kernel HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 404"));
        longest = longest.max(begun.elapsed().as_secs_f64() * 1000.0);
        count += 1;
        std::thread::sleep(Duration::from_millis(2));
    }
    (longest, count)
}

/// The longest question while `work` is done.
fn beside(work: impl FnOnce()) -> (f64, u32) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asker = scope.spawn(|| longest_question(&stop));
        work();
        stop.store(true, Ordering::Relaxed);
        asker.join().unwrap()
    })
}

/// The status of all machines, three times.
fn status(home: &Path, server: &Child, machines: usize) {
    let (longest, count) = beside(|| std::thread::sleep(Duration::from_secs(2)));
    println!(
        "a question of the tables       {longest:8.2} ms at most, of {count}, while nobody asks for the status"
    );
    for _ in 0..ROUNDS {
        let before = processor(server.id());
        let begun = Instant::now();
        let mut told = Vec::new();
        let (longest, count) = beside(|| {
            told = oneroot(home).args(["status", "--json"]).output().unwrap().stdout;
        });
        let time = begun.elapsed().as_secs_f64();
        let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
        assert_eq!(told["machines"].as_array().map(Vec::len), Some(machines));
        println!(
            "status                       {time:8.2} s   {:5.2} s of the server's processor   a question meanwhile {longest:.2} ms at most, of {count}",
            processor(server.id()) - before
        );
    }
}

/// Measures, and prints a line for each measurement.
pub fn run() {
    let base =
        std::env::var_os("ONEROOT_BENCH_DIR").map_or_else(std::env::temp_dir, std::path::PathBuf::from);
    let home = tempfile::tempdir_in(base).unwrap();
    let home = home.path();
    let (machines, nodes) =
        (number("ONEROOT_BENCH_MACHINES", 10_000), number("ONEROOT_BENCH_NODES", 200_000));
    make(home, machines, nodes);
    let restored = oneroot(home).args(["state", "restore", "--unverified", "backup"]).output().unwrap();
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    assert!(Command::new("sync").status().unwrap().success());
    println!(
        "\n{machines} machines with {FILES} files each over {nodes} nodes, `oneroot serve` until READY=1"
    );
    for round in 0..ROUNDS {
        let (mut server, time) = start(home);
        let (resident, own) = memory(server.id());
        println!(
            "start                        {:8.2} s   {:5.2} s of processor   {resident} MiB resident, {own} of it anonymous",
            time.as_secs_f64(),
            processor(server.id())
        );
        let log = fs::read_to_string(home.join("log")).unwrap();
        assert!(!log.contains("ERROR"), "{log}");
        if round + 1 == ROUNDS {
            status(home, &server, machines);
        }
        // As it comes: the next start finds what a killed server leaves.
        server.kill().unwrap();
        server.wait().unwrap();
    }
}
