//! Ways between `oneroot sync` and its server on which connections are cut off, bits are flipped, and every byte takes its time.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test stops at its first surprise"
)]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use oneroot_testkit::SERVER;

use crate::sync_kit::{Home, Noise, assert_same, done, noise_bytes, refused, sync, tell};

/// What a way does to a piece of an answer that begins at a byte of its connection; false ends that.
type Does = Arc<dyn Fn(&mut Vec<u8>, u64) -> bool + Send + Sync>;

/// A way to the server; its URL, and the bytes that have gone back over it.
fn way(does: Does) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicU64::new(0));
    let counted = count.clone();
    std::thread::spawn(move || {
        for from in listener.incoming().flatten() {
            let Ok(to) = TcpStream::connect((SERVER, 80)) else { continue };
            let (does, counted) = (does.clone(), counted.clone());
            let (mut asks, mut asked) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut asks, &mut asked));
            std::thread::spawn(move || back(to, from, &*does, &counted));
        }
    });
    (url, count)
}

fn back(
    mut from: TcpStream,
    mut to: TcpStream,
    does: &dyn Fn(&mut Vec<u8>, u64) -> bool,
    counted: &AtomicU64,
) {
    let mut at = 0;
    loop {
        let mut piece = vec![0; 16 << 10];
        let count = from.read(&mut piece).unwrap_or(0);
        piece.truncate(count);
        let goes_on = count > 0 && does(&mut piece, at);
        if to.write_all(&piece).is_err() {
            break;
        }
        at += count as u64;
        counted.fetch_add(piece.len() as u64, Ordering::Relaxed);
        if !goes_on {
            break;
        }
    }
    for end in [from, to] {
        let _ = end.shutdown(Shutdown::Both);
    }
}

/// Bytes of the tree.
const LARGE: u64 = 10 * 900_000 + 4_000_000 + 200 * 1000;

fn home() -> Home {
    Home::new(|root| {
        for number in 0..10 {
            std::fs::write(root.join(format!("some{number}")), noise_bytes(number, 900_000)).unwrap();
        }
        std::fs::write(root.join("large"), noise_bytes(77, 4_000_000)).unwrap();
        for number in 0..200 {
            std::fs::write(root.join(format!("small{number}")), noise_bytes(1000 + number, 1000)).unwrap();
        }
    })
}

fn by(home: &Home, url: &str, more: &[&str]) -> Output {
    sync(home.server.binary(), &home.dir(), url, &home.token, more).output().unwrap()
}

#[test]
fn a_way_that_cuts_every_connection_brings_all_of_it_and_nothing_twice() {
    let home = home();
    // Each carries less than the half of most files.
    let (number, cuts) = (AtomicU64::new(0), AtomicU64::new(0));
    let cuts = Arc::new(cuts);
    let counted = cuts.clone();
    let (url, bytes) = way(Arc::new(move |piece, at| {
        let most = 100_000 + Noise::new(number.load(Ordering::Relaxed) + 3).below(600_000);
        let stays = most.saturating_sub(at);
        if stays >= piece.len() as u64 {
            return true;
        }
        piece.truncate(usize::try_from(stays).unwrap());
        number.fetch_add(1, Ordering::Relaxed);
        counted.fetch_add(1, Ordering::Relaxed);
        false
    }));
    done(&by(&home, &url, &[]), "cut");
    assert_same(&tell(&home.dir()), &home.exported(), "cut");
    let (bytes, cuts) = (bytes.load(Ordering::Relaxed), cuts.load(Ordering::Relaxed));
    println!("{bytes} bytes for {LARGE}, {cuts} cuts");
    assert!(cuts > 10, "{cuts}");
    assert!(bytes * 10 <= LARGE * 13, "{bytes} bytes came for {LARGE}");
}

#[test]
fn a_way_that_flips_bits_brings_the_tree_or_a_sentence() {
    let home = home();
    let pieces = AtomicU64::new(1);
    let (url, _) = way(Arc::new(move |piece, _| {
        let piece_number = pieces.fetch_add(1, Ordering::Relaxed);
        if Noise::new(piece_number).below(150) == 0 {
            let at = Noise::new(piece_number + 7).below(piece.len() as u64);
            piece[usize::try_from(at).unwrap()] ^= 4;
        }
        true
    }));
    let mut refusals = 0;
    for round in 0..12 {
        let more: &[&str] = if round % 2 == 0 { &[] } else { &["--atomic"] };
        let output = by(&home, &url, more);
        if output.status.success() {
            assert_same(&tell(&home.dir()), &home.exported(), "flipped");
            break;
        }
        refusals += 1;
        refused(&output, "", "flipped");
    }
    assert!(refusals > 0, "no bit was flipped");
    home.syncs(&[], "afterwards");
}

#[test]
fn a_slow_way_brings_all_of_it() {
    let home = Home::new(|root| std::fs::write(root.join("file"), noise_bytes(1, 300_000)).unwrap());
    let (url, _) = way(Arc::new(|_, at| {
        std::thread::sleep(Duration::from_millis(if at == 0 { 300 } else { 20 }));
        true
    }));
    done(&by(&home, &url, &["--atomic"]), "slow");
    assert_same(&tell(&home.dir()), &home.exported(), "slow");
}
