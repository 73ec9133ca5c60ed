//! A disk that forgets what was not synced, and one that fails: what was answered is there, whatever happens.
//!
//! Each run compares the whole contents, revisions too, with what the answers said. A run prints its seed when it
//! fails; `ONEROOT_SEED=n` runs that one alone.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at its first surprise"
)]

mod damage;
mod machine;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use self::machine::{Chance, Fault, Image, Machine};
use crate::backend::{Backend as _, Health};
use crate::kv::{Txn, Versioned};
use crate::{Disk, Error, Revision};

/// Keys, with their value and revision.
type Rows = BTreeMap<String, Versioned<Arc<[u8]>>>;

fn open(machine: &Machine) -> Result<Disk, Error> {
    Disk::over(machine.clone(), Path::new("state.redb"))
}

async fn rows(disk: &Disk) -> Rows {
    disk.list("").await.unwrap().records.into_iter().collect()
}

/// What a reader must find: all that was answered, and of what was refused since, at most one transaction, whole. A
/// disk that fails can't say whether it has it.
#[derive(Default)]
struct Told {
    rows: Rows,
    refused: Vec<Rows>,
    revision: u64,
    /// Starts since the last answer that may have found what was refused: each has then counted on from there.
    found: u64,
}

impl Told {
    fn with(&self, txn: &Txn, revision: u64) -> Rows {
        let mut rows = self.rows.clone();
        for (key, value) in &txn.writes {
            match value {
                Some(value) => {
                    let at = Versioned { value: value.clone(), revision: Revision(revision) };
                    drop(rows.insert(key.to_string(), at));
                }
                None => drop(rows.remove(&**key)),
            }
        }
        rows
    }

    /// Commits, and keeps the answer in mind; whether it was made.
    async fn commit(&mut self, disk: &Disk, txn: &Txn, context: &str) -> bool {
        match disk.commit(txn.clone()).await {
            Ok(Revision(revision)) => {
                assert!(revision > self.revision, "{context}: revision {revision} after {}", self.revision);
                self.rows = self.with(txn, revision);
                self.refused.clear();
                (self.revision, self.found) = (revision, 0);
            }
            Err(Error::NotDurable(_)) => {
                let next = self.revision + 1;
                for revision in next..=next + self.found {
                    self.refused.push(self.with(txn, revision));
                }
                assert!(matches!(disk.health(), Health::Degraded { .. }), "{context}");
            }
            Err(cause) => panic!("{context}: {cause}"),
        }
        assert_eq!(rows(disk).await, self.rows, "{context}: readers see what was answered");
        self.refused.is_empty()
    }

    /// Compares with what a start finds, which counts from here on.
    async fn found(&mut self, disk: &Disk, context: &str) {
        let found = rows(disk).await;
        assert!(
            found == self.rows || self.refused.contains(&found),
            "{context}: answered was {:?}, there is {:?}",
            brief(&self.rows),
            brief(&found)
        );
        self.rows = found;
        self.found += u64::from(!self.refused.is_empty());
        self.refused.clear();
    }
}

fn brief(rows: &Rows) -> Vec<(&str, u64)> {
    rows.iter().map(|(key, at)| (key.as_str(), at.revision.0)).collect()
}

/// Several keys at once, of which half would show; some go, and some are large enough to need pages of their own.
fn some_txn(chance: &mut Chance) -> Txn {
    (0..=chance.below(4)).fold(Txn::new(), |txn, _| {
        let key = format!("lease/{}", chance.below(40));
        let byte = u8::try_from(chance.below(256)).unwrap();
        match chance.below(10) {
            0..2 => txn.delete(key),
            2 => txn.put(key, vec![byte; chance.below(20_000)]),
            _ => txn.put(key, vec![byte; chance.below(600)]),
        }
    })
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    let one = std::env::var("ONEROOT_SEED").ok().and_then(|seed| seed.parse().ok());
    one.map_or(0..count, |seed| seed..seed + 1)
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_power_cut_and_no_half_of_what_was_not() {
    let (mut answered, mut cut_opens, mut remade) = (0, 0, 0);
    for seed in seeds(200) {
        let (machine, mut chance, mut told) = (Machine::new(seed), Chance(!seed), Told::default());
        let context = format!("seed {seed}");
        for _boot in 0..4 {
            // Half of the runs have a failed operation first, so that the cut comes while the file is made anew.
            if chance.below(2) == 0 {
                machine.fail(chance.below(200), [Fault::Full, Fault::Broken][chance.below(2)], false);
                machine.fail(chance.below(40), Fault::Cut, true);
            } else {
                machine.fail(chance.below(400), Fault::Cut, true);
            }
            let Ok(disk) = open(&machine) else {
                cut_opens += 1;
                machine.restart();
                continue;
            };
            told.found(&disk, &context).await;
            // Refusals: the one that the file is made anew after, and those in the dark.
            let mut refused = 0;
            while refused < 3 {
                if told.commit(&disk, &some_txn(&mut chance), &context).await {
                    answered += 1;
                } else {
                    refused += 1;
                }
            }
            drop(disk);
            machine.restart();
        }
        let disk = open(&machine).unwrap_or_else(|cause| panic!("{context}: {cause}"));
        told.found(&disk, &context).await;
        assert!(told.commit(&disk, &some_txn(&mut chance), &context).await, "{context}");
        remade += machine.made() - 1;
    }
    println!("{answered} commits answered, {cut_opens} starts cut, {remade} files made anew");
    assert!(std::env::var("ONEROOT_SEED").is_ok() || (answered > 4000 && cut_opens > 20 && remade > 50));
}

#[tokio::test]
async fn a_file_that_is_removed_under_the_writer_is_made_anew_and_nothing_is_answered_on_the_old_one() {
    let mut noticed = 0;
    for seed in seeds(200) {
        let (machine, mut chance, mut told) = (Machine::new(seed), Chance(!seed), Told::default());
        let context = format!("seed {seed}");
        let disk = open(&machine).unwrap();
        told.found(&disk, &context).await;
        for _ in 0..2 {
            machine.fail(chance.below(60), Fault::Removed, false);
            while told.commit(&disk, &some_txn(&mut chance), &context).await {}
            noticed += 1;
            // What was answered before is in the one that the next commit makes.
            assert!(told.commit(&disk, &some_txn(&mut chance), &context).await, "{context}");
        }
        // With nothing written since, the end does it.
        machine.fail(0, Fault::Removed, false);
        let last = told.commit(&disk, &some_txn(&mut chance), &context).await;
        assert!(!last, "{context}");
        drop(disk);
        machine.restart();
        told.found(&open(&machine).unwrap(), &context).await;
    }
    assert!(noticed > 0);
}

#[tokio::test]
async fn another_state_that_takes_the_place_is_never_written_over_and_nothing_is_answered() {
    for seed in seeds(60) {
        let (machine, mut chance, mut told) = (Machine::new(seed), Chance(!seed), Told::default());
        let context = format!("seed {seed}");
        let disk = open(&machine).unwrap();
        told.found(&disk, &context).await;
        machine.fail(chance.below(60), Fault::Replaced, false);
        while told.commit(&disk, &some_txn(&mut chance), &context).await {}
        let (made, image) = (machine.made(), machine.image());
        for _ in 0..5 {
            assert!(!told.commit(&disk, &some_txn(&mut chance), &context).await, "{context}");
        }
        drop(disk);
        assert_eq!((machine.made(), machine.image()), (made, image), "{context}");
    }
}

#[tokio::test]
async fn a_power_cut_takes_from_the_end_of_a_burst_and_never_what_was_answered() {
    for seed in seeds(60) {
        let (machine, mut chance) = (Machine::new(seed), Chance(!seed));
        let disk = Arc::new(open(&machine).unwrap());
        machine.fail(chance.below(120), Fault::Cut, true);
        let mut burst = tokio::task::JoinSet::new();
        let txns: Vec<Txn> = (0..40).map(|_| some_txn(&mut chance)).collect();
        for (number, txn) in txns.iter().cloned().enumerate() {
            let disk = disk.clone();
            burst.spawn(async move { (number, disk.commit(txn).await.is_ok()) });
        }
        let mut answers: Vec<(usize, bool)> = burst.join_all().await;
        answers.sort_unstable();
        let answered = answers.iter().take_while(|(_, ok)| *ok).count();
        assert!(answers.iter().skip(answered).all(|(_, ok)| !ok), "seed {seed}: an answer after a refusal");
        drop(disk);
        machine.restart();
        let found = rows(&open(&machine).unwrap()).await;
        let mut told = Told::default();
        let mut after: Vec<Rows> = vec![told.rows.clone()];
        for (txn, revision) in txns.iter().zip(1..) {
            told.rows = told.with(txn, revision);
            after.push(told.rows.clone());
        }
        assert!(after[answered..].contains(&found), "seed {seed}: {answered} answered, {:?}", brief(&found));
    }
}

/// The script that failures are put into: every kind of write, and a file that has to grow.
fn script() -> Vec<Txn> {
    let mut chance = Chance(7);
    let mut script: Vec<Txn> = (0..4).map(|_| some_txn(&mut chance)).collect();
    script.push(Txn::new().put("large", vec![1; 100_000]).delete("lease/1"));
    script.push(Txn::new().delete("large").put("last", *b"1"));
    script
}

/// What the operator does about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Mends the disk.
    GoOn,
    /// Mends the disk and starts the process again, not the machine: the kernel's cache still shows what is lost.
    StartAgain,
}

/// Runs the script with a failure at one operation of it; whether that came.
async fn fails_at(place: usize, fault: Fault, lasting: bool, then: Then, refusals: &mut usize) -> bool {
    let context = format!("{fault:?} at operation {place}, lasting {lasting}, then {then:?}");
    let (machine, mut told) = (Machine::new(place as u64), Told::default());
    machine.fail(place, fault, lasting);
    let mut disk = match open(&machine) {
        Ok(disk) => disk,
        Err(Error::Open { .. }) => {
            machine.mend();
            open(&machine).unwrap_or_else(|cause| panic!("{context}: {cause}"))
        }
        Err(cause) => panic!("{context}: {cause}"),
    };
    let mut came = false;
    for txn in script() {
        if told.commit(&disk, &txn, &context).await {
            continue;
        }
        *refusals += 1;
        if lasting {
            assert!(!told.commit(&disk, &txn, &context).await, "{context}: the disk is still full");
            assert!(matches!(disk.health(), Health::Degraded { refused: 2, .. }), "{context}");
        }
        came |= machine.mend();
        if then == Then::StartAgain {
            drop(disk);
            disk = open(&machine).unwrap_or_else(|cause| panic!("{context}: {cause}"));
            told.found(&disk, &context).await;
            continue;
        }
        let made = machine.made();
        assert!(told.commit(&disk, &txn, &context).await, "{context}: it goes on when the disk does");
        assert_eq!(machine.made(), made + 1, "{context}: in a new file");
        assert_eq!(disk.health(), Health::Durable, "{context}");
    }
    came |= machine.mend();
    drop(disk);
    // What was not synced is gone, so this is not only what the kernel's cache shows.
    machine.restart();
    assert!(told.refused.is_empty(), "{context}");
    let disk = open(&machine).unwrap_or_else(|cause| panic!("{context}: {cause}"));
    told.found(&disk, &context).await;
    came
}

async fn fails_everywhere(then: Then) {
    let (mut places, mut refusals) = (0, 0);
    for (fault, lasting) in
        [(Fault::Full, false), (Fault::Full, true), (Fault::Broken, false), (Fault::Broken, true)]
    {
        for place in 0.. {
            if !fails_at(place, fault, lasting, then, &mut refusals).await {
                break;
            }
            places += 1;
        }
    }
    println!("{then:?}: {places} places of failure, {refusals} refusals");
    assert!(refusals > 200, "{refusals}");
}

#[tokio::test]
async fn a_disk_that_fails_at_any_operation_is_told_and_the_next_commit_makes_the_file_anew() {
    fails_everywhere(Then::GoOn).await;
}

#[tokio::test]
async fn a_process_that_starts_again_on_a_disk_that_failed_keeps_what_it_then_answers() {
    fails_everywhere(Then::StartAgain).await;
}

#[tokio::test]
async fn a_start_on_a_failing_disk_is_refused_and_the_next_one_finds_everything() {
    let image = with_script(true).await;
    let disk = open(&Machine::holding(&image)).unwrap();
    let told = rows(&disk).await;
    drop(disk);
    for fault in [Fault::Full, Fault::Broken] {
        for place in 0.. {
            let machine = Machine::holding(&image);
            machine.fail(place, fault, true);
            let started = open(&machine);
            let came = machine.mend();
            match started {
                Err(Error::Open { .. }) => assert!(came, "{fault:?} at {place}"),
                Err(cause) => panic!("{fault:?} at {place}: {cause}"),
                Ok(disk) => {
                    assert_eq!(rows(&disk).await, told, "{fault:?} at {place}");
                    drop(disk);
                }
            }
            machine.restart();
            assert_eq!(rows(&open(&machine).unwrap()).await, told, "{fault:?} at {place}");
            if !came {
                break;
            }
        }
    }
}

/// A file with the script's contents: closed, or as a power cut left it.
async fn with_script(cut: bool) -> Image {
    let machine = Machine::new(3);
    let disk = open(&machine).unwrap();
    for txn in script() {
        disk.commit(txn).await.unwrap();
    }
    if cut {
        machine.fail(0, Fault::Cut, true);
    }
    drop(disk);
    machine.restart();
    machine.image()
}
