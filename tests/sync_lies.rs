//! Servers that lie in every field that `oneroot sync` reads: each is refused with a sentence, nothing outside the directory and its
//! own place is touched, and the directory is as it was.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test stops at its first surprise"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use oneroot_ids::ObjectId;
use oneroot_testkit::binary;
use oneroot_tree::node::{Content, Meta, TreePath};
use oneroot_tree::wants::Wants;
use oneroot_tree::{Index, IndexBuilder, replica, stream};

use crate::sync_kit::{Sentinel, assert_same, done, noise_bytes, refused, said, tell};

/// What a server says: the raw bytes of its answer.
type Says = Arc<dyn Fn(&Asked, &mut TcpStream) + Send + Sync>;

/// What it was asked.
struct Asked {
    line: String,
    body: Vec<u8>,
}

/// Serves on loopback for as long as the test runs; the URL.
fn serve(says: Says) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let says = says.clone();
            std::thread::spawn(move || {
                let mut connection = connection;
                if let Some(asked) = read(&connection) {
                    says(&asked, &mut connection);
                }
            });
        }
    });
    url
}

fn read(connection: &TcpStream) -> Option<Asked> {
    let mut from = BufReader::new(connection);
    let (mut line, mut length) = (String::new(), 0);
    from.read_line(&mut line).ok()?;
    loop {
        let mut field = String::new();
        from.read_line(&mut field).ok()?;
        if field.trim().is_empty() {
            break;
        }
        if let Some(text) = field.to_ascii_lowercase().strip_prefix("content-length:") {
            length = text.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).ok()?;
    Some(Asked { line, body })
}

fn answer(to: &mut TcpStream, head: &str, body: &[u8]) {
    let head = format!("HTTP/1.1 {head}\r\nConnection: close\r\n");
    let _ = to.write_all(format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    let _ = to.write_all(body);
}

/// A directory with a file in it, and a sentinel beside it.
struct Client {
    home: tempfile::TempDir,
    sentinel: Sentinel,
    before: String,
}

/// Runs a program, and tells at the end how much memory it has had (KiB) at most.
const MEASURE: &str = "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode; \
    print('memory', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code % 256)";

impl Client {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("dir")).unwrap();
        fs::write(home.path().join("dir/own"), "as it was").unwrap();
        let sentinel = Sentinel::new(home.path());
        let before = tell(&home.path().join("dir"));
        Self { home, sentinel, before }
    }

    fn dir(&self) -> PathBuf {
        self.home.path().join("dir")
    }

    fn sync(&self, url: &str, more: &[&str]) -> Output {
        let mut command = Command::new("python3");
        command
            .args(["-c", MEASURE])
            .arg(binary().unwrap())
            .args(["sync", "debian", "--force"])
            .arg(self.dir());
        command.args(["--from", url]).args(more).env("ONEROOT_TOKEN", "one").output().unwrap()
    }

    /// It was refused with these words, in bounded memory, and nothing has changed.
    fn refuses(&self, url: &str, words: &str, when: &str) {
        for more in [&[][..], &["--atomic"]] {
            let output = self.sync(url, more);
            refused(&output, words, when);
            assert!(memory(&output) < MEMORY, "{when}: {} KiB", memory(&output));
            self.assert_as_it_was(when);
        }
    }

    fn assert_as_it_was(&self, when: &str) {
        assert_same(&tell(&self.dir()), &self.before, when);
        self.sentinel.assert_untouched(when);
        let mut names: Vec<_> =
            fs::read_dir(self.home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        let usual = names.iter().all(|name| {
            ["dir", "dir.next", ".dir.oneroot-sync", "sentinel"].contains(&name.to_str().unwrap())
        });
        assert!(usual, "{when}: {names:?}");
    }
}

/// KiB that a client may have, whatever a server says: with a small tree it has some 30,000.
const MEMORY: u64 = 128 << 10;

fn memory(output: &Output) -> u64 {
    let said = said(output);
    said.lines().find_map(|line| line.strip_prefix("memory ")).unwrap().parse().unwrap()
}

// Streams as tree/src/stream.rs writes them, by hand.

fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn text(bytes: &[u8]) -> Vec<u8> {
    [number(bytes.len() as u64), bytes.to_vec()].concat()
}

const FILE: u8 = 1;
const DIRECTORY: u8 = 2;

/// A node: its kind as the index numbers them, then what that kind has, then attributes.
fn node(kind: u8, more: &[u8]) -> Vec<u8> {
    attributed(kind, more, &[])
}

fn attributed(kind: u8, more: &[u8], attributes: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut bytes = [&[kind, 0xed, 0x01, 0, 0][..], &[0; 8], more, &number(attributes.len() as u64)].concat();
    for (name, value) in attributes {
        bytes.extend_from_slice(&text(name));
        bytes.extend_from_slice(&text(value));
    }
    bytes
}

fn file(size: u64) -> Vec<u8> {
    node(FILE, &[number(size), vec![7; 32]].concat())
}

/// A directory's names: each with what comes behind it.
fn names(all: &[(&[u8], Vec<u8>)]) -> Vec<u8> {
    let mut bytes = number(all.len() as u64);
    for (name, what) in all {
        bytes.extend_from_slice(&text(name));
        bytes.extend_from_slice(what);
    }
    bytes
}

/// A file that is met first.
fn new(node: Vec<u8>) -> Vec<u8> {
    [vec![0], node].concat()
}

/// A root with these names in it.
fn root(all: &[(&[u8], Vec<u8>)]) -> Vec<u8> {
    [node(DIRECTORY, &[]), names(all)].concat()
}

fn packed(stream: &[u8]) -> Vec<u8> {
    [vec![0], zstd::encode_all(stream, 3).unwrap()].concat()
}

const SOME: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A server that answers whatever is asked with this index.
fn telling(tag: &str, body: Vec<u8>) -> Says {
    let head = format!("200 OK\r\nEtag: \"{tag}\"");
    Arc::new(move |_, to| answer(to, &head, &body))
}

/// The number of a kind, as an honest stream has it.
fn kind_of(content: &Content) -> u8 {
    content.kind() as u8
}

#[test]
fn an_index_that_no_tree_can_have_is_refused_and_nothing_has_changed() {
    assert_eq!(kind_of(&Content::Directory { opaque: false }), DIRECTORY);
    assert_eq!(kind_of(&Content::Regular { object: ObjectId([0; 32]), size: 0 }), FILE);
    let link = kind_of(&Content::Symlink(Vec::new()));
    let fifo = kind_of(&Content::Fifo);
    let empty = |size: u64| new(node(FILE, &[number(size), blake3::hash(b"").as_bytes().to_vec()].concat()));
    let one = |name: &[u8]| root(&[(name, new(file(5)))]);
    let deep = |depth: usize| {
        let below = names(&[(&[b'd'; 255][..], new(node(DIRECTORY, &[])))]);
        [node(DIRECTORY, &[]), below.repeat(depth), names(&[])].concat()
    };
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("..", one(b".."), "no file can have this name"),
        (".", one(b"."), "no file can have this name"),
        ("no name", one(b""), "no file can have this name"),
        ("a slash", one(b"a/b"), "no file can have this name"),
        ("a NUL", one(b"a\0b"), "no file can have this name"),
        ("a whiteout", one(b".wh.a"), "no file can have this name"),
        ("a long name", one(&[b'a'; 256]), "too long"),
        ("twice", root(&[(b"a", new(file(5))), (b"a", new(file(5)))]), "twice"),
        (
            "a link that is a directory then",
            root(&[(b"a", new(node(link, &text(b"../sentinel")))), (b"a", new(node(DIRECTORY, &[])))]),
            "twice",
        ),
        ("out of order", root(&[(b"b", new(file(5))), (b"a", new(file(5)))]), "not in its place"),
        ("a hard link to the root", root(&[(b"a", number(1))]), "a hard link to no file"),
        (
            "a hard link to its directory",
            root(&[(b"a", new(node(DIRECTORY, &[]))), (b"b", number(1))]),
            "a hard link to no file",
        ),
        ("a hard link to nothing", root(&[(b"a", number(77))]), "a hard link to no file"),
        ("a hard link far away", root(&[(b"a", number(u64::MAX))]), "a hard link to no file"),
        ("a root that is a file", [file(5), names(&[])].concat(), "its root is no directory"),
        ("an unknown kind", root(&[(b"a", new(node(99, &[])))]), "no known kind"),
        (
            "a mode of other bits",
            {
                let mut odd = root(&[(b"a", new(node(fifo, &[])))]);
                let at = odd.len() - 15;
                assert_eq!(odd[at + 1], fifo);
                odd[at + 3] = 0xff;
                odd
            },
            "a mode has bits",
        ),
        ("a link to nowhere", root(&[(b"a", new(node(link, &text(b""))))]), "no link can lead"),
        ("a link with a NUL", root(&[(b"a", new(node(link, &text(b"a\0b"))))]), "no link can lead"),
        ("a long link", root(&[(b"a", new(node(link, &text(&[b'a'; 4096]))))]), "too long"),
        ("a size past every file", root(&[(b"a", new(file(1 << 63)))]), "a size that it can't have"),
        ("the empty content with bytes", root(&[(b"a", empty(5))]), "a size that it can't have"),
        ("no bytes of some content", root(&[(b"a", new(file(0)))]), "a size that it can't have"),
        ("two sizes", root(&[(b"a", new(file(5))), (b"b", new(file(6)))]), "two sizes"),
        (
            "an attribute twice",
            root(&[(b"a", new(attributed(fifo, &[], &[(b"user.a", b"1"), (b"user.a", b"2")])))]),
            "an attribute",
        ),
        (
            "an attribute with a NUL",
            root(&[(b"a", new(attributed(fifo, &[], &[(b"user.\0", b"1")])))]),
            "an attribute",
        ),
        (
            "a large attribute",
            root(&[(b"a", new(attributed(fifo, &[], &[(b"user.a", &[0; 65537])])))]),
            "too long",
        ),
        ("too deep", deep(17), "no path can be so long"),
        ("names without end", [node(DIRECTORY, &[]), number(u64::MAX)].concat(), "the index that came"),
        ("a number without end", [node(DIRECTORY, &[]), vec![0xff; 20]].concat(), "a number is too large"),
        ("cut off", one(b"a")[..20].to_vec(), "the index that came"),
        ("more behind it", [one(b"a"), vec![1]].concat(), "more follows"),
        ("nothing", Vec::new(), "the index that came"),
    ];
    let client = Client::new();
    for (what, stream, words) in cases {
        client.refuses(&serve(telling(SOME, packed(&stream))), words, what);
    }
    // Packed in other ways.
    let another = packed(&one(b"a"));
    let unknown = [&[2][..], &[9; 32], &another[1..]].concat();
    for (what, body, words) in [
        ("another generation's", another.clone(), "was asked for, and that of"),
        ("against what nobody has", unknown, "no generation 0909"),
        ("an unknown way", [&[7], &another[1..]].concat(), "does not know"),
        ("no zstd", [vec![0], noise_bytes(1, 5000)].concat(), "the index that came"),
        ("half of it", another[..another.len() / 2].to_vec(), "the index that came"),
        ("nothing at all", Vec::new(), "the index that came"),
    ] {
        client.refuses(&serve(telling(SOME, body)), words, what);
    }
}

#[test]
fn what_unpacks_to_far_more_than_was_sent_takes_little_memory() {
    let fifo = kind_of(&Content::Fifo);
    // One node after the other with as many zeros as its attributes may have.
    let attributes = [vec![0u8; 13], number(60)].concat();
    let mut zeros = [node(DIRECTORY, &[]), number(1 << 40)].concat();
    for number in 0..40u32 {
        zeros.extend_from_slice(&text(format!("{number:07}").as_bytes()));
        zeros.extend_from_slice(&[0, fifo, 0xed, 0x01]);
        zeros.extend_from_slice(&attributes[..10]);
        zeros.push(60);
        for attribute in 0..60 {
            zeros.extend_from_slice(&text(format!("user.{attribute:02}").as_bytes()));
            zeros.extend_from_slice(&text(&[0; 65536]));
        }
    }
    let body = [vec![0], zstd::encode_all(zeros.as_slice(), 1).unwrap()].concat();
    assert!(body.len() * 1000 < zeros.len(), "{} bytes for {}", body.len(), zeros.len());
    Client::new().refuses(&serve(telling(SOME, body)), "unpacks to far more", "zeros");
}

#[test]
fn answers_that_are_none_are_refused() {
    let page = b"<html><body>It works!</body></html>";
    let raw = |bytes: &'static [u8]| -> Says { Arc::new(move |_, to| drop(to.write_all(bytes))) };
    let heads = |head: &'static str| -> Says { Arc::new(move |_, to| answer(to, head, page)) };
    let endless: Says = Arc::new(|_, to| {
        let _ = to.write_all(b"HTTP/1.1 200 OK\r\n");
        while to.write_all(&b"X-More: and more and more and more and more and more\r\n".repeat(100)).is_ok() {
        }
    });
    let line: Says = Arc::new(|_, to| {
        let _ = to.write_all(b"HTTP/1.1 200 OK\r\nX: ");
        while to.write_all(&[b'x'; 65536]).is_ok() {}
    });
    let huge: Says = Arc::new(|_, to| {
        let head =
            format!("HTTP/1.1 200 OK\r\nEtag: \"{SOME}\"\r\nContent-Length: 18446744073709551615\r\n\r\n\0");
        let _ = to.write_all(head.as_bytes());
    });
    let chunks: Says = Arc::new(|_, to| {
        let head = format!("HTTP/1.1 200 OK\r\nEtag: \"{SOME}\"\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
        let _ = to.write_all(head.as_bytes());
    });
    let cases = [
        ("a page", heads("200 OK\r\nContent-Type: text/html"), "is it a oneroot?"),
        ("a page with a tag", heads("200 OK\r\nEtag: \"5f-abc\""), "in a way that is none"),
        ("a weak tag", heads("200 OK\r\nEtag: W/\"5f-abc\""), "in a way that is none"),
        (
            "the same as nothing",
            heads(
                "304 Not Modified\r\nEtag: \"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"",
            ),
            "and it is not",
        ),
        ("a redirect", heads("302 Found\r\nLocation: http://127.0.0.1:1/"), "302"),
        ("a redirect for good", heads("301 Moved\r\nLocation: file:///etc/shadow"), "301"),
        ("an error", heads("500 Internal Server Error"), "500"),
        ("part of it", heads("206 Partial Content\r\nEtag: \"0011\""), "206"),
        ("a status that is none", raw(b"HTTP/1.1 999999 Odd\r\n\r\n"), "asked http"),
        ("garbage", raw(b"\x00\xff\x13\x37 nothing of this is HTTP\r\n\r\n"), "asked http"),
        ("SSH", raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "asked http"),
        ("nothing", raw(b""), "asked http"),
        ("a head without end", endless, "asked http"),
        ("a line without end", line, "asked http"),
        ("a length past all", huge, ""),
        ("chunks that are none", chunks, "the index that came"),
    ];
    std::thread::scope(|scope| {
        for (what, says, words) in cases {
            scope.spawn(move || Client::new().refuses(&serve(says), words, what));
        }
    });
    // And nobody there at all.
    Client::new().refuses("http://127.0.0.1:1", "cannot reach", "nobody");
}

/// A tree of some contents; what they are.
fn tree() -> (Index, Vec<Vec<u8>>) {
    tree_of(vec![
        b"hello".to_vec(),
        b"world".to_vec(),
        noise_bytes(1, 3 << 20),
        noise_bytes(2, 200_000),
        noise_bytes(3, 3 << 20),
    ])
}

fn tree_of(contents: Vec<Vec<u8>>) -> (Index, Vec<Vec<u8>>) {
    let mut builder = IndexBuilder::new();
    for (place, bytes) in contents.iter().enumerate() {
        let path = format!("etc/f{place}").into_bytes();
        let object = ObjectId(*blake3::hash(bytes).as_bytes());
        let content = Content::Regular { object, size: bytes.len() as u64 };
        let meta = Meta { mode: 0o644, ..Meta::default() };
        builder.insert(&TreePath::parse(&path).unwrap(), meta, content).unwrap();
    }
    (builder.finish().unwrap(), contents)
}

/// A server that tells the index as it is, and objects as this says, which is given the right bytes.
fn objects(lie: impl Fn(Vec<u8>, &mut TcpStream) + Send + Sync + 'static) -> Says {
    objects_of(tree(), lie)
}

fn objects_of(
    (index, contents): (Index, Vec<Vec<u8>>),
    lie: impl Fn(Vec<u8>, &mut TcpStream) + Send + Sync + 'static,
) -> Says {
    let head = format!("200 OK\r\nEtag: \"{}\"", index.generation());
    let body = stream::pack(&index, None).unwrap();
    Arc::new(move |asked, to| {
        if !asked.line.starts_with("POST") {
            return answer(to, &head, &body);
        }
        let all: Vec<_> = replica::objects(&index).collect();
        let wants = Wants::parse(&asked.body, all.len()).unwrap();
        let mut bytes = Vec::new();
        for (place, (object, _)) in all.iter().enumerate().filter(|(place, _)| wants.has(*place)) {
            let content = contents.iter().find(|bytes| *blake3::hash(bytes).as_bytes() == object.0).unwrap();
            let _ = place;
            bytes.extend_from_slice(content);
        }
        lie(bytes[usize::try_from(wants.skip()).unwrap()..].to_vec(), to);
    })
}

#[test]
fn other_contents_than_those_that_were_asked_for_are_refused() {
    type Lie = Box<dyn Fn(Vec<u8>, &mut TcpStream) + Send + Sync>;
    // How long a server may be busy is shown where no clock is waited for (src/commands/patience.rs).
    let asked = AtomicUsize::new(0);
    let cases: Vec<(&str, &str, Lie)> = vec![
        (
            "swapped",
            "other bytes came",
            Box::new(|mut bytes, to| {
                bytes[..10].copy_from_slice(b"worldhello");
                answer(to, "200 OK", &bytes);
            }),
        ),
        (
            "a bit of a large one",
            "other bytes came",
            Box::new(|mut bytes, to| {
                bytes[2 << 20] ^= 1;
                answer(to, "200 OK", &bytes);
            }),
        ),
        ("zeros", "other bytes came", Box::new(|bytes, to| answer(to, "200 OK", &vec![0; bytes.len()]))),
        ("a page", "", Box::new(|_, to| answer(to, "200 OK\r\nContent-Type: text/html", b"<html>"))),
        ("nothing", "cut off", Box::new(|_, to| answer(to, "200 OK", b""))),
        ("not modified", "", Box::new(|_, to| answer(to, "304 Not Modified", b""))),
        ("gone", "404", Box::new(|_, to| answer(to, "404 Not Found", b"oneroot: gone\n"))),
        (
            "another tree for ever",
            "another tree",
            Box::new(|_, to| {
                answer(to, "409 Conflict", b"oneroot: it is another tree by now\n");
            }),
        ),
        (
            "busy, and then gone",
            "busy",
            Box::new(move |_, to| match asked.fetch_add(1, Ordering::SeqCst) % 4 {
                3 => answer(to, "404 Not Found", b"oneroot: gone\n"),
                _ => answer(to, "503 Service Unavailable", b"busy\n"),
            }),
        ),
        ("closed", "", Box::new(|_, _| {})),
    ];
    std::thread::scope(|scope| {
        for (what, words, lie) in cases {
            scope.spawn(move || {
                let client = Client::new();
                let url = serve(objects(lie));
                refused(&client.sync(&url, &[]), words, what);
                client.assert_as_it_was(what);
                refused(&client.sync(&url, &["--atomic"]), words, what);
                client.assert_as_it_was(what);
            });
        }
    });
}

#[test]
fn one_wrong_content_among_many_small_ones_is_never_a_file() {
    // As one piece comes: several batches, on several threads.
    let contents: Vec<_> = (0..600).map(|seed| noise_bytes(seed, 900)).collect();
    for (which, more) in [(0, &[][..]), (150, &[]), (599, &[]), (150, &["--atomic"])] {
        let client = Client::new();
        let lies = objects_of(tree_of(contents.clone()), move |mut bytes, to| {
            // Of the first time, when all of them are asked for.
            if bytes.len() == 600 * 900 {
                bytes[which * 900 + 77] ^= 1;
            }
            answer(to, "200 OK", &bytes);
        });
        let url = serve(lies);
        refused(&client.sync(&url, more), "other bytes came", &which.to_string());
        client.assert_as_it_was(&which.to_string());
        // What is left of those that came has the bytes that its name says.
        let incoming = client.home.path().join(".dir.oneroot-sync/incoming");
        let mut left = 0;
        for part in fs::read_dir(incoming).unwrap() {
            for file in fs::read_dir(part.unwrap().path()).unwrap() {
                let file = file.unwrap();
                let hash = blake3::hash(&fs::read(file.path()).unwrap()).to_hex().to_string();
                assert_eq!(file.file_name().to_str(), Some(hash.as_str()), "{which}");
                left += 1;
            }
        }
        assert!(left < 600, "{which}");
        if left == 0 {
            continue;
        }
        done(&client.sync(&url, more), "the rest, as it is");
        for (place, bytes) in contents.iter().enumerate() {
            assert_eq!(&fs::read(client.dir().join(format!("etc/f{place}"))).unwrap(), bytes, "{which}");
        }
    }
}

#[test]
fn more_than_was_asked_for_and_chunks_do_no_harm() {
    let more = objects(|bytes, to| answer(to, "200 OK", &[bytes, vec![1; 1 << 20]].concat()));
    let chunks = objects(|bytes, to| {
        let _ = to.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for chunk in bytes.chunks(70_001) {
            let _ = to.write_all(format!("{:x};odd=1\r\n", chunk.len()).as_bytes());
            let _ = to.write_all(chunk);
            let _ = to.write_all(b"\r\n");
        }
        let _ = to.write_all(b"0\r\nEtag: \"x\"\r\n\r\n");
    });
    for (what, says) in [("more", more), ("chunks", chunks)] {
        let client = Client::new();
        done(&client.sync(&serve(says), &[]), what);
        for (place, bytes) in tree().1.iter().enumerate() {
            assert_eq!(&fs::read(client.dir().join(format!("etc/f{place}"))).unwrap(), bytes, "{what}");
        }
        client.sentinel.assert_untouched(what);
    }
}

/// How often a server is asked that does not answer.
const TRIES: usize = 6;

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    // Nothing at first and in the end; in between it is as short with whoever asks again as this test would have it.
    let quiet: Says = Arc::new(move |_, _| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        if [1, TRIES].contains(&number) {
            std::thread::sleep(Duration::from_secs(300));
        }
    });
    let client = Client::new();
    refused(&client.sync(&serve(quiet), &[]), "says nothing", "silence");
    assert_eq!(asked.load(Ordering::SeqCst), TRIES, "it is asked again, and not for ever");
    client.assert_as_it_was("silence");
}
