//! HTTP as no browser speaks it, against the real server: heads that never end, bodies that hide requests, requests before their
//! turn, and a disk that hangs in the midst of a download.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test stops at its first surprise"
)]

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oneroot_testkit::{Call, HungDisk, Lab, Machine, RELAY, Server, SiteFiles, http};
use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than what is put together in memory, and than a piece that is sent before others have their turn.
const KERNEL: usize = 5 << 20;

pub(crate) fn kernel() -> Vec<u8> {
    (0..KERNEL).map(|at| (at % 251 + at / 65_536) as u8).collect()
}

fn connect(machine: &Machine) -> TcpStream {
    let stream = machine.connect(80, 0).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What there is until the server closes, which it must do by the end of a stream and not by a reset.
fn rest(mut stream: &TcpStream) -> Vec<u8> {
    let mut told = Vec::new();
    stream.read_to_end(&mut told).unwrap();
    told
}

/// The next answer of a connection.
fn answer(stream: &TcpStream, has_body: bool) -> (String, Vec<u8>) {
    http::answer(stream, has_body).unwrap()
}

/// A machine with its kernel's path.
fn with_alpha<T: Send>(act: impl FnOnce(Machine, &str) -> T + Send) -> T {
    let lab = Lab::new().unwrap();
    let _server = Server::start(SiteFiles::with_alpha(&kernel()).unwrap()).unwrap();
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let path = format!("/b/{}/kernel", alpha.boot().unwrap().id);
        act(alpha, &path)
    })
    .unwrap()
}

#[test]
fn a_body_is_never_taken_for_a_request_and_ends_its_connection_behind_the_answer() {
    with_alpha(|alpha, path| {
        let hidden = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let length = hidden.len();
        for (line, fields, body, status) in [
            (format!("GET {path}"), format!("Content-Length: {length}\r\n"), hidden.clone(), " 200 "),
            ("PUT /x".to_owned(), format!("Content-Length: {length}\r\n"), hidden.clone(), " 405 "),
            (
                "POST /x".to_owned(),
                "Transfer-Encoding: chunked\r\n".to_owned(),
                format!("0\r\n\r\n{hidden}"),
                " 405 ",
            ),
            (
                "PUT /x".to_owned(),
                "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n".to_owned(),
                hidden.clone(),
                " 405 ",
            ),
            (
                "PUT /x".to_owned(),
                "Content-Length: 1\r\nContent-Length: 2\r\n".to_owned(),
                hidden.clone(),
                " 400 ",
            ),
            (
                "PUT /x".to_owned(),
                "Expect: 100-continue\r\nContent-Length: 100000\r\n".to_owned(),
                "x".repeat(100_000),
                " 405 ",
            ),
        ] {
            let mut stream = connect(&alpha);
            stream.write_all(format!("{line} HTTP/1.1\r\nHost: x\r\n{fields}\r\n{body}").as_bytes()).unwrap();
            let (head, _) = answer(&stream, true);
            assert!(
                head.contains(status) && head.contains("\r\nConnection: close\r\n"),
                "{line} {fields}: {head}"
            );
            assert!(rest(&stream).is_empty(), "{line} {fields}: another answer");
        }
    });
}

#[test]
fn requests_that_come_before_their_turn_are_answered_in_their_order_each_with_its_part() {
    with_alpha(|alpha, path| {
        let kernel = kernel();
        let stream = connect(&alpha);
        let mut writer = stream.try_clone().unwrap();
        // Whole, in parts on both sides of what is sent from memory, and not at all; some of it over and over.
        let parts: Vec<(usize, usize)> = (0..300)
            .map(|number: usize| {
                let from = number * 7919 * 131 % KERNEL;
                (from, (from + 1 + number * number * 37 % 90_000).min(KERNEL))
            })
            .collect();
        let requests: String = parts
            .iter()
            .map(|(from, to)| {
                format!(
                    "GET {path} HTTP/1.1\r\nRange: bytes={from}-{}\r\n\r\nHEAD {path} HTTP/1.1\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
                    to - 1
                )
            })
            .collect();
        std::thread::scope(|scope| {
            scope.spawn(move || write!(writer, "{requests}GET {path} HTTP/1.1\r\n\r\n").unwrap());
            for (from, to) in parts {
                let (head, body) = answer(&stream, true);
                assert!(head.starts_with("HTTP/1.1 206 "), "{head}");
                assert!(body == kernel[from..to], "{from} to {to}");
                let (head, _) = answer(&stream, false);
                assert!(head.contains(&format!("\r\nContent-Length: {KERNEL}\r\n")), "{head}");
                assert!(answer(&stream, true).0.starts_with("HTTP/1.1 404 "));
            }
            assert!(answer(&stream, true).1 == kernel);
        });
    });
}

#[test]
fn a_head_that_does_not_end_ends_its_connection_however_busily_it_comes() {
    with_alpha(|alpha, path| {
        let (mut silent, mut slow) = (connect(&alpha), connect(&alpha));
        let mut kept = connect(&alpha);
        write!(kept, "HEAD {path} HTTP/1.1\r\n\r\n").unwrap();
        assert!(answer(&kept, false).0.contains(" 200 "));
        slow.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
        slow.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let (begun, mut byte) = (Instant::now(), [0]);
        while slow.write_all(b"y").is_ok()
            && slow.read(&mut byte).is_err_and(|cause| cause.kind() == ErrorKind::WouldBlock)
        {
            assert!(begun.elapsed() < PATIENCE, "a head without an end is listened to for ever");
        }
        assert!(matches!(silent.read(&mut byte), Ok(0)), "it has said nothing");
        assert!(matches!(kept.read(&mut byte), Ok(0)), "it has asked for nothing more");
    });
}

pub(crate) fn object(home: &Path, contents: &[u8]) -> PathBuf {
    let name = blake3::hash(contents).to_hex().to_string();
    let (head, tail) = name.split_at(2);
    home.join("store/objects").join(head).join(tail)
}

/// Bytes between two looks whether a file is in memory.
const STEP: u64 = 64 << 10;

/// Makes a file one that takes the disk to be read, wherever somebody begins.
pub(crate) fn forget(path: &Path) {
    let file = File::open(path).unwrap();
    let length = file.metadata().unwrap().len();
    let drop_it = || fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    let is_gone = |at: u64| {
        let mut byte = [0];
        let asked = preadv2(&file, &mut [std::io::IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT);
        asked == Err(Errno::AGAIN)
    };
    let begun = Instant::now();
    loop {
        drop_it();
        // From behind: to be asked makes the kernel read ahead. And a socket may hold a page of it for a moment, anywhere in it.
        let is_all_gone =
            (0..=length / STEP).rev().all(|step| is_gone((step * STEP).min(length.saturating_sub(1))));
        std::thread::sleep(Duration::from_millis(100));
        if is_all_gone {
            return drop_it();
        }
        assert!(begun.elapsed() < PATIENCE, "{} stays in memory", path.display());
    }
}

#[test]
fn downloads_that_wait_for_a_disk_keep_no_other_machine_waiting_and_are_whole_in_the_end() {
    let lab = Lab::new().unwrap();
    let kernel = kernel();
    let site = SiteFiles::with_alpha(&kernel).unwrap();
    let (server, disk) = HungDisk::start(site, Call::Read, "/objects/").unwrap();
    let stored = object(server.site.path(), &kernel);
    lab.on_machines(RELAY, |host| {
        let alpha = host.lease(10, PATIENCE).unwrap().unwrap();
        let boot = alpha.boot().unwrap().id;
        let (path, initrd) = (format!("/b/{boot}/kernel"), format!("/b/{boot}/initrd"));
        // Both are known to be good from here on, and are not hashed again.
        assert!(alpha.get(&path).unwrap() == (200, kernel.clone()));
        assert_eq!(alpha.get(&initrd).unwrap().1, b"initrd");
        forget(&stored);
        std::thread::scope(|scope| {
            let hanging = disk.hang().unwrap();
            // More than the server has threads that look after sockets.
            let waiting: Vec<_> = (0..16).map(|_| scope.spawn(|| alpha.get(&path))).collect();
            hanging.wait(PATIENCE).unwrap();
            let served: Vec<_> = (0..50).map(|_| alpha.get(&initrd)).collect();
            let waited = waiting.iter().all(|download| !download.is_finished());
            drop(hanging);
            assert!(waited, "the downloads were not waiting for the disk");
            assert!(served.into_iter().all(|served| served.unwrap() == (200, b"initrd".to_vec())));
            for download in waiting {
                assert!(download.join().unwrap().unwrap() == (200, kernel.clone()));
            }
        });
    })
    .unwrap();
}
