//! `kill -9` at any moment loses nothing that was answered, and never prevents the next start.
//!
//! The test runs itself as a child that commits without end and prints each key after its answer; the child is killed at
//! random moments, and every key that it printed must be there at the next open.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use oneroot_state::{Backend as _, Disk, Txn};

const CHILD: &str = "ONEROOT_STATE_CHILD";
const KILLS: u64 = 25;

#[test]
fn whatever_was_acknowledged_before_a_kill_is_there_after_it() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return child(std::path::Path::new(&dir));
    }
    let home = tempfile::tempdir().unwrap();
    let mut acknowledged = 0usize;
    // A host that has other work lets a child do little before its end; then there are more of them.
    for round in 0..20 * KILLS {
        if round >= KILLS && acknowledged > 100 {
            break;
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "whatever_was_acknowledged_before_a_kill_is_there_after_it", "--nocapture"]);
        let mut process =
            command.env(CHILD, home.path().join("state")).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let reader = std::thread::spawn(move || -> Vec<String> {
            let said = lines.map_while(Result::ok);
            said.filter_map(|line| line.strip_prefix("ACK ").map(str::to_owned)).collect()
        });
        // Spread over start, first commits and full run; the exact moment does not matter, that they differ does.
        std::thread::sleep(Duration::from_millis(5 + round * 37 % 400));
        process.kill().unwrap();
        process.wait().unwrap();
        let promised = reader.join().unwrap();
        acknowledged += promised.len();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let disk = Disk::open(&home.path().join("state")).unwrap();
        for key in promised {
            assert!(
                runtime.block_on(disk.get(&key)).unwrap().is_some(),
                "round {round}: {key} was answered and is lost"
            );
        }
        drop(disk);
        wait_until_closed(&home.path().join("state"));
    }
    assert!(acknowledged > 100, "the child hardly ran: {acknowledged}");
}

fn wait_until_closed(dir: &std::path::Path) {
    while Disk::open(dir).is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
    // That open must close again too, before the next child starts.
    std::thread::sleep(Duration::from_millis(20));
}

fn child(dir: &std::path::Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let disk = loop {
        match Disk::open(dir) {
            Ok(disk) => break disk,
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    let mut out = std::io::stdout();
    for number in 0u64.. {
        let key = format!("lease/{}-{number}", std::process::id());
        runtime.block_on(disk.commit(Txn::new().put(key.as_str(), vec![7; 200]))).unwrap();
        writeln!(out, "\nACK {key}").unwrap();
        out.flush().unwrap();
    }
}
