//! Staging beside `cp -a` and `rsync -a`, and ten thousand machines' views, in one run.
//!
//! `make bench-tree` makes docs/benchmarks.md's figures. Everything lies in one directory on one file system
//! (`ONEROOT_BENCH_DIR`, else the temporary one), and each measurement is the best of three beside its peer's best of
//! three: a ratio in one run says more than a time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use oneroot_ids::GenerationId;
use oneroot_tree::node::{Meta, TreePath};
use oneroot_tree::stage::Finished;
use oneroot_tree::{Stage, Store, Views};

const ROUNDS: usize = 3;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// A tree as a distribution's: many small files, few large ones, a tenth links.
fn make(root: &Path, nodes: usize) -> u64 {
    let mut made = 0;
    let mut bytes = 0;
    let mut state = 1u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut directory = 0;
    while made < nodes {
        let path = root.join(format!("usr/{:02}/{:02}/d{directory}", directory % 23, directory % 11));
        fs::create_dir_all(&path).unwrap();
        directory += 1;
        made += 1;
        for file in 0..19.min(nodes - made) {
            let name = path.join(format!("file-{file:03}.so"));
            if file % 10 == 9 {
                symlink("file-000.so", name).unwrap();
            } else {
                // 200 bytes to 64 KiB, half of them below 2 KiB; one in 2,000 has a megabyte.
                let size = if random() % 2000 == 0 { 1 << 20 } else { 200 << (random() % 9) };
                let mut content = vec![0u8; usize::try_from(size).unwrap()];
                content.chunks_mut(8).for_each(|chunk| {
                    let word = random().to_le_bytes();
                    chunk.copy_from_slice(&word[..chunk.len()]);
                });
                bytes += size;
                fs::write(&name, content).unwrap();
                fs::set_permissions(&name, fs::Permissions::from_mode(0o644)).unwrap();
            }
            made += 1;
        }
    }
    bytes
}

/// One file in a hundred is another one.
fn change(root: &Path, round: usize) -> usize {
    let mut changed = 0;
    let mut todo = vec![root.to_owned()];
    let mut at = 0;
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                todo.push(entry.path());
            } else if entry.file_type().unwrap().is_file() {
                at += 1;
                if at % 100 == round {
                    fs::write(entry.path(), format!("changed {round} {at}")).unwrap();
                    changed += 1;
                }
            }
        }
    }
    changed
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let begun = Instant::now();
    let done = work();
    (begun.elapsed(), done)
}

fn run(program: &str, arguments: &[&str]) {
    assert!(Command::new(program).args(arguments).status().unwrap().success(), "{program} {arguments:?}");
}

fn stage(store: &Arc<Store>, root: &Path) -> Finished {
    let mut stage = Stage::begin(store, |_| {}).unwrap();
    // An hour from now, so that files that this program has just made are old enough to be remembered.
    let now = SystemTime::now() + Duration::from_secs(3600);
    stage.remember(now.duration_since(SystemTime::UNIX_EPOCH).unwrap(), false);
    stage.directory(root).unwrap();
    stage.finish().unwrap()
}

/// Before each measurement: nothing of the one before is still on its way to the disk.
fn settle() {
    run("sync", &[]);
}

fn staging(home: &Path, nodes: usize) -> GenerationId {
    let root = home.join("root");
    let bytes = make(&root, nodes);
    println!("\n{nodes} nodes, {} MB", bytes / 1_000_000);
    let (root_text, copy) = (root.to_str().unwrap(), home.join("copy"));
    let copy_text = copy.to_str().unwrap();
    let mut best = [Duration::MAX; 2];
    for _ in 0..ROUNDS {
        settle();
        let _ = fs::remove_dir_all(&copy);
        settle();
        best[0] = best[0].min(
            timed(|| {
                run("cp", &["-a", root_text, copy_text]);
                run("sync", &["-f", copy_text]);
            })
            .0,
        );
        let store = home.join("store");
        let _ = fs::remove_dir_all(&store);
        settle();
        let (time, _) = timed(|| stage(&Store::open(&store).unwrap(), &root));
        best[1] = best[1].min(time);
    }
    row("first: cp -a and sync", best[0], best[0]);
    row("first: stage", best[1], best[0]);
    let store = Store::open(&home.join("store")).unwrap();
    let mirror = home.join("mirror");
    let (from, to) = (format!("{root_text}/"), mirror.to_str().unwrap().to_owned());
    run("rsync", &["-a", "--delete", &from, &to]);
    let mut best = [Duration::MAX; 2];
    let mut last = None;
    for round in 1..=ROUNDS {
        let changed = change(&root, round);
        settle();
        best[0] = best[0].min(timed(|| run("rsync", &["-a", "--delete", &from, &to])).0);
        settle();
        let (time, finished) = timed(|| stage(&store, &root));
        assert_eq!(finished.progress.new_objects, changed as u64, "only what changed is written");
        best[1] = best[1].min(time);
        last = Some(finished.generation);
    }
    row("1 % changed: rsync -a", best[0], best[0]);
    row("1 % changed: stage", best[1], best[0]);
    last.unwrap()
}

fn row(name: &str, time: Duration, beside: Duration) {
    println!("{name:28} {:8.2} s   {:5.2}", time.as_secs_f64(), time.as_secs_f64() / beside.as_secs_f64());
}

/// Resident memory, KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A layer of `files` files for each machine; the views are read by a process of its own, as after a start.
fn machines(home: &Path, profile: GenerationId, machines: usize, files: usize) {
    let store = Store::open(&home.join("store")).unwrap();
    let mut list = String::new();
    let mut stage = Stage::begin(&store, |_| {}).unwrap();
    let object = stage.object(b"own".as_slice(), b"own").unwrap();
    stage.finish().unwrap();
    for machine in 0..machines {
        let mut builder = oneroot_tree::IndexBuilder::new();
        for file in 0..files {
            let path = format!("usr/{:02}/{:02}/d{file}/own-{machine}", file % 23, file % 11);
            let meta = Meta { mode: 0o644, ..Meta::default() };
            builder.insert(&TreePath::parse(path.as_bytes()).unwrap(), meta, object.clone()).unwrap();
        }
        // As the store names an index; ten thousand stages of their own would measure the syncs.
        let index = builder.finish().unwrap();
        fs::write(store.path().join("generations").join(index.generation().to_string()), index.bytes())
            .unwrap();
        list.push_str(&format!("{}\n", store.put_stack(&[profile, index.generation()]).unwrap()));
    }
    let listed = home.join("views");
    fs::write(&listed, list).unwrap();
    let program = std::env::current_exe().unwrap();
    let begun = Instant::now();
    let out = Command::new(program)
        .env("ONEROOT_BENCH_VIEWS", &listed)
        .env("ONEROOT_BENCH_STORE", store.path())
        .output()
        .unwrap();
    let all = begun.elapsed();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    println!(
        "\n{machines} machines, {files} files each, from process start to the last view: {:.2} s",
        all.as_secs_f64()
    );
    print!("{}", String::from_utf8_lossy(&out.stdout));
}

fn views(list: &Path, store: &Path) {
    let begun = Instant::now();
    let views = Views::new(Store::open(store).unwrap());
    let mut held = Vec::new();
    for (number, line) in fs::read_to_string(list).unwrap().lines().enumerate() {
        held.push(views.load(line.parse().unwrap()).unwrap());
        if number == 0 {
            println!(
                "first view                   {:8.3} s   {} MiB resident",
                begun.elapsed().as_secs_f64(),
                resident() / 1024
            );
        }
    }
    println!(
        "all views                    {:8.3} s   {} MiB resident",
        begun.elapsed().as_secs_f64(),
        resident() / 1024
    );
}

fn main() {
    if let (Some(list), Some(store)) =
        (std::env::var_os("ONEROOT_BENCH_VIEWS"), std::env::var_os("ONEROOT_BENCH_STORE"))
    {
        return views(Path::new(&list), Path::new(&store));
    }
    let base = std::env::var_os("ONEROOT_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let home = tempfile::tempdir_in(base).unwrap();
    let profile = staging(home.path(), number("ONEROOT_BENCH_NODES", 200_000));
    machines(home.path(), profile, number("ONEROOT_BENCH_MACHINES", 10_000), 20);
}
