//! Archives against GNU tar and Python's tarfile: random ones, well-formed and not, are extracted by both and staged by us,
//! and the trees are compared path by path. As root, for owners and devices; in CI it fails without, elsewhere it says so.
//!
//! The rule, for each archive:
//!
//! | GNU tar | we |
//! |---|---|
//! | extracts it (exit code 0) | have its tree, whatever tarfile makes of it, or refuse with a reason of [`REFUSALS`] |
//! | has an error, and so may have left something out | refuse |
//!
//! A refusal names the entry or the byte. Of *tame* archives, whose fields are all such as some tar writes, those that GNU tar
//! extracts are not refused at all.
//!
//! Allowed differences, and why: the mode of a symbolic link (Linux has one for all), the time of a directory that no entry made
//! or that was written into later (the moment of extraction there); owner, mode and time of directories in archives that spell a
//! place in two ways (`a` and `./a`), for GNU tar keeps those of the first.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test stops at its first surprise"
)]

#[path = "archives/make.rs"]
mod make;
mod random;
#[path = "archives/target.rs"]
mod target;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use oneroot_tree::index::ROOT;
use oneroot_tree::node::Kind;
use oneroot_tree::{Index, Stage, Store};
use serde::Deserialize;

use make::Made;
use random::Random;

/// What we refuse and GNU tar takes, and why.
const REFUSALS: &[(&str, &str)] = &[
    ("the archive ends in the middle of a header", "it has been cut off, and GNU tar says nothing"),
    ("and the entry is missing", "it has been cut off, and GNU tar says nothing"),
    ("a long name without a name", "GNU tar reads on as if there were none"),
    ("in its header is not a number", "GNU tar knows a base-64 of its own past"),
    ("which is no file's", "GNU tar takes what it doesn't know for a file"),
    ("a device in a header of the old format", "device 0, 0 is overlayfs' whiteout"),
    ("negative or has over 32 bits", "Linux has no such owner"),
    ("here is no header of an entry", "GNU tar looks for the next one, and has sometimes none to miss"),
    (
        "another archive, or the rest of this one",
        "GNU tar ends at an empty block, and what follows would be missing",
    ),
    ("extended records that are not LENGTH KEY=VALUE", "GNU tar says nothing where no entry follows"),
    (
        "the map of its holes is not in order",
        "no tar writes places within blocks, and the two oracles read other bytes",
    ),
    ("in a header that has no room for them", "GNU tar takes it for a file, tarfile for its map"),
    ("an extended record", "GNU tar reads a part of it, or takes another one that replaces it"),
    ("of a kind that has no data", "it has been cut off, and GNU tar says nothing"),
    ("as --format=posix writes it", "a part of what describes it"),
    ("does not fit its size", "the two oracles read other bytes"),
    (THROUGH, "GNU tar goes where an earlier entry's link leads; tarfile, too, and out of the tree"),
    ("is longer than its header says", "GNU tar reads on to the next NUL, tarfile does not"),
    (COLLISION, "GNU tar gives the file the directory's owner and time, tarfile refuses"),
    ("which is a directory", "of itself"),
    ("a time after 2262", "an index has nanoseconds in 64 bits"),
    ("ends in '/.' and is not a directory's", "the kernel refuses most of them"),
    ("has a NUL in it", "GNU tar cuts it there"),
    ("has '..' in it", "GNU tar cuts the name behind it"),
    (OF_ITSELF, "GNU tar refuses most of them"),
    ("it has no entries", "an empty archive is hardly what was meant"),
    ("readers differ on", "GNU tar does not do what POSIX says"),
];

const THROUGH: &str = "the path runs through a file or a link";
const OF_ITSELF: &str = "is named as a directory";
const COLLISION: &str = "an earlier entry of this name is one";

/// The archives that CI looks at; `ONEROOT_ARCHIVES=FROM..TO` for others, `make archives` for 100,000.
const SEEDS: &str = "0..2000";

#[derive(Deserialize)]
struct Answer {
    gnu: Extracted,
    python: Extracted,
}

#[derive(Deserialize)]
struct Extracted {
    good: bool,
    said: String,
    tree: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    path: String,
    kind: u32,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: String,
    more: String,
    names: Vec<String>,
}

type Tree = BTreeMap<Vec<u8>, String>;

/// Kind, mode, owner, time, names, and what only the kind has.
fn line(kind: Kind, mode: u32, owner: (u32, u32), mtime: i128, names: &[Vec<u8>], more: &[u8]) -> String {
    let mode = if kind == Kind::Symlink { 0o777 } else { mode };
    let names: Vec<String> = names.iter().map(|name| name.escape_ascii().to_string()).collect();
    format!("{kind:?} {mode:o} {owner:?} at {mtime} names {names:?} {}", more.escape_ascii())
}

/// A tree as an extractor left it; `since` is when it began.
fn theirs(found: &Extracted, since: i128) -> Tree {
    let decoded = |hex: &str| -> Vec<u8> {
        hex.as_bytes()
            .chunks(2)
            .map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap())
            .collect()
    };
    let each = found.tree.iter().map(|node| {
        let kind = match node.kind {
            1 => Kind::Fifo,
            2 => Kind::Character,
            4 => Kind::Directory,
            6 => Kind::Block,
            8 => Kind::Regular,
            10 => Kind::Symlink,
            other => panic!("a node of kind {other}"),
        };
        let more = match kind {
            Kind::Character | Kind::Block => node.more.clone().into_bytes(),
            _ => decoded(&node.more),
        };
        let mtime = node.mtime.parse().unwrap();
        let mtime = if kind == Kind::Directory && mtime >= since { 0 } else { mtime };
        let mut names: Vec<Vec<u8>> = node.names.iter().map(|name| decoded(name)).collect();
        names.sort();
        (decoded(&node.path), line(kind, node.mode, (node.uid, node.gid), mtime, &names, &more))
    });
    each.collect()
}

fn ours(store: &Store, index: &Index) -> Tree {
    let mut paths = vec![(Vec::new(), ROOT)];
    let mut names: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
    let mut todo = paths.clone();
    while let Some((path, directory)) = todo.pop() {
        let (first, count) = index.inode(directory).unwrap().run();
        for entry in (first..first + count).map(|place| index.entry(place).unwrap()) {
            let below = if path.is_empty() { entry.name.to_vec() } else { [&path, entry.name].join(&b'/') };
            match index.inode(entry.inode).unwrap().kind() {
                Kind::Directory | Kind::OpaqueDirectory => todo.push((below.clone(), entry.inode)),
                _ => names.entry(entry.inode).or_default().push(below.clone()),
            }
            paths.push((below, entry.inode));
        }
    }
    names.values_mut().for_each(|names| names.sort());
    let each = paths.into_iter().map(|(path, number)| {
        let inode = index.inode(number).unwrap();
        let more = match inode.kind() {
            Kind::Regular => {
                let mut bytes = Vec::new();
                store.object(inode.object().unwrap()).unwrap().read_to_end(&mut bytes).unwrap();
                assert_eq!(bytes.len() as u64, inode.size());
                bytes
            }
            Kind::Symlink => inode.target().unwrap().to_vec(),
            Kind::Character | Kind::Block => format!("{},{}", inode.rdev().0, inode.rdev().1).into_bytes(),
            _ => Vec::new(),
        };
        let names = names.get(&number).map(Vec::as_slice).unwrap_or_default();
        let (mode, owner) = (u32::from(inode.mode()), (inode.uid(), inode.gid()));
        (path, line(inode.kind(), mode, owner, i128::from(inode.mtime()), names, &more))
    });
    each.collect()
}

/// A running oracle.
struct Oracle {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Oracle {
    fn new() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/archives/oracle.py");
        let mut child =
            Command::new("python3").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, to, from }
    }

    fn ask(&mut self, archive: &std::path::Path) -> Answer {
        writeln!(self.to, "{}", archive.display()).unwrap();
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What became of the archives.
#[derive(Default, Debug, Clone)]
struct Counts {
    archives: u64,
    tame: u64,
    as_gnu: u64,
    /// Of those, the ones that tarfile makes the same tree of.
    as_both: u64,
    /// Of those, the ones whose directories are only compared by their names.
    respelled: u64,
    all_refuse: u64,
    refused: BTreeMap<&'static str, u64>,
    wrong: Vec<String>,
}

fn staged(store: &Arc<Store>, bytes: &[u8]) -> Result<Tree, String> {
    let mut stage = Stage::begin(store, |_| {}).unwrap();
    stage.archive(bytes).map_err(|cause| cause.to_string())?;
    Ok(ours(store, &stage.finish().unwrap().index))
}

/// The tree without the times of those directories that have the moment of extraction there.
fn with_their_moments(mut tree: Tree, theirs: &Tree) -> Tree {
    for (path, line) in &mut tree {
        if theirs.get(path).is_some_and(|line| line.starts_with("Directory") && line.contains(" at 0 ")) {
            let (owner, rest) = line.split_once(" at ").unwrap();
            *line = format!("{owner} at 0 {}", rest.split_once(' ').unwrap().1);
        }
    }
    tree
}

/// The tree without what is said of its directories.
fn bare(tree: &Tree) -> Tree {
    let plain =
        |line: &String| if line.starts_with("Directory") { "Directory".to_owned() } else { line.clone() };
    tree.iter().map(|(path, line)| (path.clone(), plain(line))).collect()
}

/// tarfile leaves the times of symbolic links as they come.
fn without_link_times(tree: &Tree) -> Tree {
    let plain = |line: &String| match line.split_once(" at ") {
        Some((owner, rest)) if line.starts_with("Symlink") => {
            format!("{owner} names{}", rest.split_once(" names").unwrap().1)
        }
        _ => line.clone(),
    };
    tree.iter().map(|(path, line)| (path.clone(), plain(line))).collect()
}

/// What differs, a line for each path.
fn differences(ours: &Tree, theirs: &Tree) -> String {
    let mut all: Vec<&Vec<u8>> = ours.keys().chain(theirs.keys()).collect();
    all.sort();
    all.dedup();
    let mut text = String::new();
    for path in all {
        let (we, they) = (ours.get(path), theirs.get(path));
        if we != they {
            text += &format!("\n    {:?}: we {we:?}, they {they:?}", path.escape_ascii().to_string());
        }
    }
    text
}

fn judge(
    made: &Made,
    got: Result<Tree, String>,
    answer: &Answer,
    since: i128,
    counts: &mut Counts,
) -> Result<(), String> {
    counts.archives += 1;
    counts.tame += u64::from(made.tame);
    let gnu = theirs(&answer.gnu, since);
    let python = theirs(&answer.python, since);
    match got {
        Ok(tree) if answer.gnu.good => {
            let tree = with_their_moments(tree, &gnu);
            counts.respelled += u64::from(made.respelled);
            let (tree, gnu) = if made.respelled { (bare(&tree), bare(&gnu)) } else { (tree, gnu) };
            if tree != gnu {
                return Err(format!("not GNU tar's tree:{}", differences(&tree, &gnu)));
            }
            counts.as_gnu += 1;
            counts.as_both +=
                u64::from(answer.python.good && without_link_times(&gnu) == without_link_times(&python));
        }
        Ok(_) => return Err("taken, and GNU tar refuses".to_owned()),
        Err(said) => {
            if !["entry ", "byte ", "it has no entries"].iter().any(|name| said.contains(name)) {
                return Err(format!("a refusal that names nothing: {said}"));
            }
            if !answer.gnu.good {
                counts.all_refuse += 1;
                return Ok(());
            }
            let Some((reason, _)) = REFUSALS.iter().find(|(reason, _)| said.contains(reason)) else {
                return Err(format!("refused, and GNU tar takes it: {said}"));
            };
            // Tame entries meet as others do.
            if made.tame && ![COLLISION, OF_ITSELF, THROUGH].contains(reason) {
                return Err(format!("refused, though nothing is wrong with it: {said}"));
            }
            *counts.refused.entry(reason).or_default() += 1;
        }
    }
    Ok(())
}

fn run(seeds: std::ops::Range<u64>, number: usize) -> Counts {
    let home = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let store = Store::open(&home.path().join("store")).unwrap();
    let mut oracle = Oracle::new();
    let mut counts = Counts::default();
    let path = home.path().join("a.tar");
    for seed in seeds {
        let made = make::archive(&mut Random::new(seed));
        fs::write(&path, &made.bytes).unwrap();
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        // The kernel stamps with the last tick's time.
        let since = i128::try_from(since.as_nanos()).unwrap() - 1_000_000_000;
        let answer = oracle.ask(&path);
        let got = staged(&store, &made.bytes);
        if let Err(wrong) = judge(&made, got, &answer, since, &mut counts) {
            let wrong = format!(
                "seed {seed}{}: {wrong}\n    {}\n    GNU tar: {} {:?}; tarfile: {}",
                if made.tame { " (tame)" } else { "" },
                made.story,
                answer.gnu.good,
                answer.gnu.said,
                answer.python.said
            );
            if counts.wrong.len() < 10 {
                eprintln!("{wrong}");
            }
            counts.wrong.push(wrong);
        }
        if counts.archives.is_multiple_of(1000) {
            eprintln!("{number}: {} archives, {} wrong", counts.archives, counts.wrong.len());
        }
    }
    counts
}

#[test]
fn every_random_archive_is_gnu_tars_tree_or_is_refused_by_name() {
    let root = rustix::process::geteuid().is_root();
    assert!(root || std::env::var_os("CI").is_none(), "CI must run this as root");
    if !root {
        eprintln!("skipped: needs root for owners and devices");
        return;
    }
    let range = std::env::var("ONEROOT_ARCHIVES").unwrap_or_else(|_| SEEDS.to_owned());
    let (from, to) = range.split_once("..").unwrap();
    let (from, to): (u64, u64) = (from.parse().unwrap(), to.parse().unwrap());
    let middle = from + (to - from) / 2;
    let parts = std::thread::scope(|scope| {
        let both = [from..middle, middle..to].into_iter().enumerate();
        let both: Vec<_> = both.map(|(number, part)| scope.spawn(move || run(part, number))).collect();
        both.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let mut wrong = Vec::new();
    for counts in parts {
        wrong.extend(counts.wrong.iter().cloned());
        eprintln!("{:?}", Counts { wrong: Vec::new(), ..counts });
    }
    assert!(wrong.is_empty(), "{} archives", wrong.len());
}

/// Each input goes through the very function that the fuzzer calls; a finding lies in the corpus as `broke-WHAT`.
#[test]
fn what_fuzzers_begin_with_and_have_kept_is_read_the_same_however_it_is_cut() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/archive");
    let mut files: Vec<_> = fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "{} inputs in {corpus}", files.len());
    let seeds = (0..200).map(|seed| target::unsealed(&make::archive(&mut Random::new(seed)).bytes));
    for input in seeds.chain(files.iter().map(|file| fs::read(file).unwrap())) {
        target::run(&input);
    }
    target::done();
}
