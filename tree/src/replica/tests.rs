//! A directory that is synced is what was asked for, whatever it was before.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::SystemTime;

use super::*;
use crate::build::IndexBuilder;
use crate::node::{Content, Meta, TreePath};
use crate::stream;

/// Numbers that look random and are the same in every run (xorshift64).
struct Noise(u64);

impl Noise {
    fn below<N: TryFrom<u64>>(&mut self, most: u64) -> N {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        N::try_from((self.0 >> 11) % most).ok().unwrap()
    }
}

/// Contents by their objects.
#[derive(Default)]
struct Contents(HashMap<ObjectId, Vec<u8>>);

impl Contents {
    fn file(&mut self, bytes: Vec<u8>) -> Content {
        let object = ObjectId(*blake3::hash(&bytes).as_bytes());
        let size = bytes.len() as u64;
        self.0.insert(object, bytes);
        Content::Regular { object, size }
    }
}

/// A tree of a few names that meet in all sorts of ways: the next one has most of them again, as something else.
fn tree(noise: &mut Noise, contents: &mut Contents) -> Index {
    let is_root = rustix::process::geteuid().is_root();
    let owner = |noise: &mut Noise| {
        if is_root { noise.below(3) } else { rustix::process::geteuid().as_raw() }
    };
    let mut builder = IndexBuilder::new();
    let mut files: Vec<Vec<u8>> = Vec::new();
    for _ in 0..noise.below::<u32>(30) {
        let depth = 1 + noise.below::<u32>(3);
        let path: Vec<String> = (0..depth).map(|_| format!("n{}", noise.below::<u32>(5))).collect();
        let path = path.join("/").into_bytes();
        let parsed = TreePath::parse(&path).unwrap();
        let xattrs = match noise.below::<u32>(6) {
            0 => vec![(b"user.a".to_vec(), vec![b'x'; noise.below(4)])],
            _ => Vec::new(),
        };
        let mode = [0o644, 0o755, 0o600, 0o4755, 0o2711, 0o1777][noise.below::<usize>(6)];
        let mtime = noise.below::<i64>(4) * 1_000_000_007 + 1_700_000_000_000_000_000;
        let meta = Meta { mode, uid: owner(noise), gid: owner(noise), mtime, xattrs };
        let plain = Meta { xattrs: Vec::new(), ..meta.clone() };
        let done = match noise.below::<u32>(10) {
            0..=1 => builder.insert(&parsed, meta, Content::Directory { opaque: false }),
            2 => builder.insert(
                &parsed,
                Meta { mode: 0o777, ..plain },
                Content::Symlink(format!("n{}", noise.below::<u32>(4)).into()),
            ),
            3 => builder.insert(&parsed, plain, Content::Fifo),
            4 if is_root => builder.insert(&parsed, plain, Content::Character(1, noise.below(3))),
            5 if !files.is_empty() => {
                let first = &files[noise.below::<usize>(files.len() as u64)];
                builder.link(&parsed, &TreePath::parse(first).unwrap())
            }
            _ => {
                let length = [0, 3, 3, 5000, (1 << 20) + 5][noise.below::<usize>(5)];
                let bytes = vec![noise.below::<u8>(3); length];
                files.push(path.clone());
                builder.insert(&parsed, meta, contents.file(bytes))
            }
        };
        // A path that runs through a file is no tree; the next one may be.
        drop(done);
    }
    builder.finish().unwrap()
}

/// Runs of four trees; each waits for the disk some eight times.
const SEEDS: u64 = 60;

struct Home {
    home: tempfile::TempDir,
    contents: Contents,
}

impl Home {
    fn dir(&self) -> PathBuf {
        self.home.path().join("dir")
    }

    fn sync(&self, wanted: &Arc<Index>, how: &How) -> u64 {
        let replica = Replica::open(&self.dir()).unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let survey = replica.look(how, now, &mut |_| {}).unwrap();
        let change = replica.compare(survey, wanted.clone(), how).unwrap();
        let mut incoming = Incoming::open(replica.place(), &mut |_| {}).unwrap();
        let missing = change.missing(&incoming, None);
        let stream: Vec<u8> =
            missing.iter().flat_map(|(object, _)| self.contents.0[object].clone()).collect();
        incoming.receive_all(&missing, &change.describes(), &mut stream.as_slice()).unwrap();
        let generation = wanted.generation();
        let tree = Tree { what: "t".into(), from: "x".into(), generation, applied: generation, at: 1 };
        let applied = replica.apply(&change, how, &mut incoming, None, tree, &mut |_, _| {}).unwrap();
        assert!(applied.lacks.is_empty(), "{:?}", applied.lacks);
        assert_eq!(incoming.all().count(), 0, "nothing is left over");
        missing.len() as u64
    }

    /// What the directory is, read whole.
    fn found(&self) -> Arc<Index> {
        let memory = tempfile::tempdir().unwrap();
        let memory = Store::open(&memory.path().join("m")).unwrap();
        survey(&memory, &self.dir(), &BTreeSet::new(), Duration::ZERO, &mut |_| {}).unwrap().index
    }
}

fn assert_same(found: &Index, wanted: &Index, when: &str) {
    let names = |index: &Index| {
        let mut all = Vec::new();
        index.each(&mut |path, inode| {
            all.push((
                String::from_utf8_lossy(path).into_owned(),
                inode.nlink(),
                inode.meta(),
                inode.content(),
            ));
        });
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    };
    assert_eq!(names(found), names(wanted), "{when}");
    assert_eq!(found.generation(), wanted.generation(), "{when}");
}

#[test]
fn whatever_a_directory_was_it_is_what_was_asked_for_in_place_and_as_a_whole() {
    for seed in 1..=SEEDS {
        let mut noise = Noise(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut home = Home { home: tempfile::tempdir().unwrap(), contents: Contents::default() };
        let how =
            How { whole: (seed % 2 == 0).then_some(usize::try_from(seed % 3).unwrap()), ..How::default() };
        for step in 0..4 {
            let wanted = Arc::new(tree(&mut noise, &mut home.contents));
            home.sync(&wanted, &how);
            assert_same(&home.found(), &wanted, &format!("seed {seed}, step {step}, {how:?}"));
            assert_eq!(home.sync(&wanted, &how), 0, "a second time nothing comes");
            assert_same(&home.found(), &wanted, &format!("seed {seed}, step {step} again"));
        }
    }
}

#[test]
fn a_stream_says_the_index_it_was_made_of_alone_and_against_an_older_one() {
    let mut noise = Noise(7);
    let mut contents = Contents::default();
    let mut before = tree(&mut noise, &mut contents);
    for _ in 0..300 {
        let index = tree(&mut noise, &mut contents);
        let whole = stream::pack(&index, None).unwrap();
        let read = stream::unpack(whole.as_slice(), index.generation(), |_| unreachable!()).unwrap();
        assert_eq!(read.bytes(), index.bytes());
        let told = stream::pack(&index, Some(&before)).unwrap();
        let have = Arc::new(Index::parse(before.bytes().to_vec()).unwrap());
        let read = stream::unpack(told.as_slice(), index.generation(), |id| {
            assert_eq!(id, have.generation());
            Ok(have)
        });
        assert_eq!(read.unwrap().bytes(), index.bytes());
        before = index;
    }
}

#[test]
fn what_is_kept_stays_with_what_is_above_it_and_all_else_goes() {
    for whole in [None, Some(0), Some(1)] {
        let mut home = Home { home: tempfile::tempdir().unwrap(), contents: Contents::default() };
        let mut builder = IndexBuilder::new();
        let file = home.contents.file(b"x".to_vec());
        for path in ["etc/fstab", "etc/motd"] {
            let meta = Meta { mode: 0o644, uid: uid(), gid: gid(), ..Meta::default() };
            builder.insert(&TreePath::parse(path.as_bytes()).unwrap(), meta, file.clone()).unwrap();
        }
        let wanted = as_far_as(User::own(), &Arc::new(builder.finish().unwrap())).unwrap().0;
        let dir = home.dir();
        for path in ["etc/fstab", "home/me/mine", "home/gone", "var/lib/gone"] {
            fs::create_dir_all(dir.join(path).parent().unwrap()).unwrap();
            fs::write(dir.join(path), "own").unwrap();
        }
        fs::set_permissions(dir.join("home"), fs::Permissions::from_mode(0o711)).unwrap();
        let kept = ["etc/fstab", "home/me", "not/there"].map(|path| path.as_bytes().to_vec()).into();
        let how = How { whole, kept, ..How::default() };
        for _ in 0..2 {
            home.sync(&wanted, &how);
            assert_eq!(fs::read(dir.join("etc/fstab")).unwrap(), b"own", "{whole:?}");
            assert_eq!(fs::read(dir.join("home/me/mine")).unwrap(), b"own");
            assert_eq!(fs::read(dir.join("etc/motd")).unwrap(), b"x");
            assert!(!dir.join("home/gone").exists() && !dir.join("var").exists());
            assert_eq!(fs::metadata(dir.join("home")).unwrap().mode() & 0o7777, 0o711);
        }
    }
}

fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn gid() -> u32 {
    rustix::process::getegid().as_raw()
}

#[test]
fn what_a_pull_names_is_young_whenever_it_came_and_so_is_what_was_there() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(&home.path().join("store")).unwrap();
    let (mut builder, mut contents) = (IndexBuilder::new(), Contents::default());
    let content = contents.file(b"came days ago".to_vec());
    builder.insert(&TreePath::parse(b"file").unwrap(), Meta::default(), content).unwrap();
    let index = builder.finish().unwrap();
    let (object, size) = objects(&index).next().unwrap();
    let age = |path: &Path| {
        let days_ago = SystemTime::now() - Duration::from_secs(30 * 86_400);
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::File::options().write(true).open(path).unwrap().set_modified(days_ago).unwrap();
    };
    let is_young = |path: &Path| {
        let old = fs::metadata(path).unwrap().modified().unwrap().elapsed().unwrap_or_default();
        old < Duration::from_secs(86_400)
    };
    let mut incoming = Incoming::open(store.path(), &mut |_| {}).unwrap();
    incoming.receive(object, size, &mut contents.0[&object].as_slice()).unwrap();
    age(&incoming.path(object));
    store.receive(&index, &mut incoming).unwrap();
    let named = store.object_path(object);
    assert!(is_young(&named), "a collection takes what is old and in no index yet");
    age(&named);
    assert!(store.missing(&index, &incoming).is_empty());
    assert!(is_young(&named), "it may go while the others come");
}

#[test]
fn a_sync_that_was_killed_over_a_whole_tree_is_gone_on_with_after_a_way_back() {
    let mut noise = Noise(11);
    let mut home = Home { home: tempfile::tempdir().unwrap(), contents: Contents::default() };
    let how = How { whole: Some(1), ..How::default() };
    let trees = [(); 3].map(|()| Arc::new(tree(&mut noise, &mut home.contents)));
    home.sync(&trees[0], &how);
    home.sync(&trees[1], &how);
    let replica = Replica::open(&home.dir()).unwrap();
    // As far as one had come that was killed.
    let next = exchange::begin(&replica.root, &replica.place.path).unwrap();
    fs::write(next.join("file"), "half").unwrap();
    replica.roll_back().unwrap();
    drop(replica);
    assert_same(&home.found(), &trees[0], "a way back");
    home.sync(&trees[2], &how);
    assert_same(&home.found(), &trees[2], "the next one");
    assert!(!next.exists());
}

#[test]
fn a_directory_that_has_the_number_of_a_tree_that_is_gone_is_not_taken_for_it() {
    let mut noise = Noise(5);
    let mut home = Home { home: tempfile::tempdir().unwrap(), contents: Contents::default() };
    let how = How { whole: Some(0), ..How::default() };
    let wanted = Arc::new(tree(&mut noise, &mut home.contents));
    home.sync(&wanted, &how);
    let replica = Replica::open(&home.dir()).unwrap();
    let mut record = replica.record().unwrap();
    let born = Birth::of(&home.dir());
    // A turn was written down, and the tree that it was of is gone, with its number.
    let then = Record { current: Some(Tree::unknown()), ..record.clone() };
    let number = fs::metadata(home.dir()).unwrap().ino();
    let turn = |birth: serde_json::Value| {
        let then = serde_json::to_value(&then).unwrap();
        serde_json::from_value(
            serde_json::json!({ "inode": number, "birth": birth, "keep": 0, "then": then }),
        )
        .unwrap()
    };
    record.turn =
        Some(Box::new(turn(serde_json::json!({ "inode": number, "seconds": 1, "nanoseconds": 0 }))));
    replica.place.write(&record).unwrap();
    replica.settle().unwrap();
    assert_eq!(replica.record().unwrap().current.unwrap().generation, wanted.generation());
    if born.is_some() {
        record.turn = Some(Box::new(turn(serde_json::to_value(born).unwrap())));
        replica.place.write(&record).unwrap();
        replica.settle().unwrap();
        assert_eq!(replica.record().unwrap().current, Some(Tree::unknown()), "its own is gone on with");
    }
}

const MADE: i64 = 1_700_000_000_000_000_007;

/// Gives a name its time back.
fn back(path: &Path) {
    let time = std::time::UNIX_EPOCH + Duration::from_nanos(u64::try_from(MADE).unwrap());
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

/// Takes a name of a directory away and puts something else there.
fn instead(dir: &Path, name: &str, does: impl FnOnce(&Path)) {
    fs::remove_file(dir.join(name)).unwrap();
    does(&dir.join(name));
    back(&dir.join("d"));
}

#[test]
fn a_directory_that_is_as_it_was_is_said_by_the_index_that_is_here_and_whatever_is_done_to_it_is_seen() {
    use std::os::unix::fs::symlink;
    type Done = (&'static str, fn(&Path));
    let done: [Done; 8] = [
        ("another mode", |dir| {
            fs::set_permissions(dir.join("d/a"), fs::Permissions::from_mode(0o600)).unwrap();
        }),
        ("another mode of a directory", |dir| {
            fs::set_permissions(dir.join("d"), fs::Permissions::from_mode(0o700)).unwrap();
        }),
        ("another time of a directory", |dir| {
            fs::File::open(dir.join("d")).unwrap().set_modified(SystemTime::now()).unwrap();
        }),
        ("other bytes", |dir| {
            fs::write(dir.join("d/a"), "SAME").unwrap();
            back(&dir.join("d/a"));
        }),
        ("another link", |dir| instead(dir, "d/link", |path| symlink("b", path).unwrap())),
        ("two files that are one", |dir| {
            instead(dir, "d/b", |path| fs::hard_link(dir.join("d/a"), path).unwrap());
        }),
        ("one that are two", |dir| {
            instead(dir, "d/names", |path| fs::write(path, "same").unwrap());
            fs::set_permissions(dir.join("d/names"), fs::Permissions::from_mode(0o644)).unwrap();
            back(&dir.join("d/names"));
        }),
        ("another name", |dir| {
            fs::rename(dir.join("fifo"), dir.join("fofi")).unwrap();
            fs::File::open(dir).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        }),
    ];
    for (what, does) in done {
        let mut home = Home { home: tempfile::tempdir().unwrap(), contents: Contents::default() };
        let mut builder = IndexBuilder::new();
        let meta = |mode| Meta { mode, uid: uid(), gid: gid(), mtime: MADE, xattrs: Vec::new() };
        let path = |path: &'static str| TreePath::parse(path.as_bytes()).unwrap();
        builder.describe_root(Meta { mtime: 0, ..meta(0o755) }).unwrap();
        builder.insert(&path("d"), meta(0o755), Content::Directory { opaque: false }).unwrap();
        for name in ["d/a", "d/b", "d/two"] {
            let file = home.contents.file(b"same".to_vec());
            builder.insert(&path(name), meta(0o644), file).unwrap();
        }
        builder.link(&path("d/names"), &path("d/two")).unwrap();
        builder.insert(&path("d/link"), meta(0o777), Content::Symlink(b"a".to_vec())).unwrap();
        builder.insert(&path("fifo"), meta(0o600), Content::Fifo).unwrap();
        let wanted = Arc::new(builder.finish().unwrap());
        let how = How::default();
        home.sync(&wanted, &how);
        let replica = Replica::open(&home.dir()).unwrap();
        let look = || {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            replica.look(&how, now, &mut |_| {}).unwrap()
        };
        let survey = look();
        assert_eq!((survey.index.generation(), survey.read), (wanted.generation(), 0), "{what}");
        let known = replica.known(wanted.generation()).unwrap();
        assert!(Arc::ptr_eq(&survey.index, &known), "none was made: {what}");
        does(&home.dir());
        let survey = look();
        assert_same(&survey.index, &home.found(), what);
        assert_ne!(survey.index.generation(), wanted.generation(), "{what}");
    }
}

#[test]
fn a_file_that_was_linked_is_known_by_its_number_and_where_that_is_another_by_its_bytes() {
    let home = tempfile::tempdir().unwrap();
    let (mut contents, mut builder) = (Contents::default(), IndexBuilder::new());
    let file = contents.file(b"same".to_vec());
    let meta = Meta { mode: 0o644, uid: uid(), gid: gid(), mtime: MADE, xattrs: Vec::new() };
    builder.insert(&TreePath::parse(b"a").unwrap(), meta, file).unwrap();
    let index = builder.finish().unwrap();
    let wanted = (1..=index.inodes()).filter_map(|number| index.inode(number));
    let wanted = wanted.into_iter().find(|inode| !inode.kind().is_directory()).unwrap();
    let make = |name: &str, content: &str, mode| {
        fs::write(home.path().join(name), content).unwrap();
        fs::set_permissions(home.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        back(&home.path().join(name));
    };
    make("a", "same", 0o644);
    make("copy", "same", 0o644);
    make("other", "SAME", 0o644);
    make("described", "same", 0o600);
    let dir = Dir::open(home.path()).unwrap();
    let known = crate::disk::look(&dir, b"a").unwrap();
    for (name, is_one) in [("a", true), ("copy", true), ("other", false), ("described", false)] {
        let is = staying::is_still(&dir, name.as_bytes(), &wanted, Some(&known)).unwrap();
        assert_eq!(is, is_one, "{name}");
    }
    assert!(staying::is_still(&dir, b"copy", &wanted, None).unwrap());
}

#[test]
fn a_stream_that_is_cut_at_any_byte_is_gone_on_with_there_and_brings_nothing_twice() {
    let mut contents = Contents::default();
    let mut wanted = Vec::new();
    for (number, length) in [(1u8, 10), (2, 300_000), (3, 20), (4, 30), (5, 270_000), (6, 1)] {
        let Content::Regular { object, size } = contents.file(vec![number; length]) else { unreachable!() };
        wanted.push((object, size));
    }
    let all: u64 = wanted.iter().map(|(_, size)| size).sum();
    let at = [0, 5, 11, 300_010, 300_035, 500_000, all - 1];
    for (first, second) in at.iter().flat_map(|first| at.map(|second| (*first, second))) {
        let home = tempfile::tempdir().unwrap();
        let mut incoming = Incoming::open(home.path(), &mut |_| {}).unwrap();
        let mut came = 0;
        for (cut, again) in [(first, false), (second, true), (all, true)] {
            if again {
                // As a run that is killed leaves it.
                drop(incoming);
                incoming = Incoming::open(home.path(), &mut |_| {}).unwrap();
            }
            let missing: Vec<_> =
                wanted.iter().filter(|(object, _)| !incoming.has(*object)).copied().collect();
            let Some((next, size)) = missing.first() else { break };
            let skip = usize::try_from(incoming.begun(*next, *size)).unwrap();
            let stream: Vec<u8> = missing.iter().flat_map(|(object, _)| contents.0[object].clone()).collect();
            let end = usize::try_from(cut.saturating_sub(came)).unwrap() + skip;
            let mut part = &stream[skip..end.clamp(skip, stream.len())];
            came += part.len() as u64;
            let received = incoming.receive_all(&missing, &|_| None, &mut part);
            assert_eq!(received.is_ok(), came == all, "{first}, {second}: {received:?}");
        }
        assert_eq!(came, all, "{first}, {second}");
        assert!(wanted.iter().all(|(object, _)| incoming.has(*object)), "{first}, {second}");
    }
}

#[test]
fn a_link_in_the_place_of_a_tree_that_goes_is_removed_and_not_what_it_leads_to() {
    let home = tempfile::tempdir().unwrap();
    let (theirs, next) = (home.path().join("etc"), home.path().join("lab.next"));
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("passwd"), "x").unwrap();
    std::os::unix::fs::symlink(&theirs, &next).unwrap();
    super::removal::remove(&next).unwrap();
    assert!(theirs.join("passwd").exists() && next.symlink_metadata().is_err());
}

#[test]
fn what_lies_where_the_next_tree_is_made_is_removed_once_and_whatever_comes_there_later_is_somebody_elses() {
    let home = tempfile::tempdir().unwrap();
    let (root, place) = (home.path().join("dir"), home.path().join("place"));
    let (next, sign) = (home.path().join("dir.next"), place.join("next"));
    fs::create_dir_all(next.join("a/b")).unwrap();
    fs::create_dir(&place).unwrap();
    fs::write(&sign, b"").unwrap();
    exchange::clear(&root, &place).unwrap();
    assert!(!next.exists() && !sign.exists(), "it was ours");
    fs::create_dir_all(next.join("theirs")).unwrap();
    assert!(matches!(exchange::clear(&root, &place), Err(Error::InTheWay { .. })));
    assert!(next.join("theirs").exists());
    // A run that ended before it made one leaves its sign.
    fs::remove_dir_all(&next).unwrap();
    fs::write(&sign, b"").unwrap();
    exchange::clear(&root, &place).unwrap();
    assert!(!sign.exists());
}

#[test]
fn a_file_in_the_place_of_an_older_tree_is_not_removed_with_it() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("dir.2");
    fs::write(&file, "somebody's").unwrap();
    assert!(matches!(removal::remove(&file), Err(Error::InTheWay { .. })));
    assert_eq!(fs::read_to_string(&file).unwrap(), "somebody's");
}
