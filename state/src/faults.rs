//! A disk that forgets what was not synced, and one that fails: what was answered is there, whatever happens.
//!
//! The disk keeps each write apart until it is synced. A power cut keeps any of the writes since, each whole, torn at a
//! sector, or not at all, in no order; so a commit that counted on order or on luck loses here sooner or later.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at its first surprise")]

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use crate::kv::{Backend, Health, Txn};
use crate::store::Medium;
use crate::{Disk, Error};

const SECTOR: usize = 512;

/// splitmix64: enough chance for a test, the same for the same seed.
#[derive(Debug, Clone)]
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap()
    }
}

#[derive(Debug, Clone)]
enum Write {
    At(usize, Vec<u8>),
    Length(usize),
}

/// One file: what the platter has, and what is only in the cache.
#[derive(Debug, Clone, Default)]
struct Platter {
    durable: Vec<u8>,
    seen: Vec<u8>,
    since: Vec<Write>,
}

fn apply(bytes: &mut Vec<u8>, write: &Write) {
    match write {
        Write::Length(length) => bytes.resize(*length, 0),
        Write::At(offset, data) => {
            bytes.resize(bytes.len().max(offset + data.len()), 0);
            bytes[*offset..offset + data.len()].copy_from_slice(data);
        }
    }
}

#[derive(Debug, Default)]
struct Machine {
    /// By generation of the file; the last is the one with the name, unless a fresh one is being made.
    files: Vec<Platter>,
    current: Option<usize>,
    /// Operations until the power goes, or until one fails.
    fails_in: Option<usize>,
    off: bool,
}

impl Machine {
    /// Counts an operation; the one that is due fails, and after a power cut all do.
    fn operate(&mut self) -> io::Result<()> {
        if self.off {
            return Err(io::Error::other("no power"));
        }
        match self.fails_in.as_mut() {
            Some(0) => {
                self.fails_in = None;
                Err(io::ErrorKind::StorageFull.into())
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn cut(&mut self, chance: &mut Chance) {
        for file in &mut self.files {
            let mut bytes = file.durable.clone();
            for write in &file.since {
                match (chance.below(3), write) {
                    (0, _) => {}
                    (1, Write::At(offset, data)) => {
                        let whole = chance.below(data.len() / SECTOR + 1) * SECTOR;
                        apply(&mut bytes, &Write::At(*offset, data[..whole.min(data.len())].to_vec()));
                    }
                    (_, write) => apply(&mut bytes, write),
                }
            }
            *file = Platter { durable: bytes.clone(), seen: bytes, since: Vec::new() };
        }
        self.off = false;
        self.fails_in = None;
    }
}

#[derive(Debug, Clone, Default)]
struct Power(Arc<Mutex<Machine>>);

impl Power {
    fn with<R>(&self, act: impl FnOnce(&mut Machine) -> R) -> R {
        act(&mut self.0.lock().unwrap())
    }
}

/// A file of the machine, as redb has it open.
#[derive(Debug)]
struct Storage {
    power: Power,
    file: usize,
}

impl Storage {
    fn write(&self, write: Write) -> Result<(), io::Error> {
        self.power.with(|machine| {
            machine.operate()?;
            let file = &mut machine.files[self.file];
            apply(&mut file.seen, &write);
            file.since.push(write);
            Ok(())
        })
    }
}

impl StorageBackend for Storage {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.power.with(|machine| machine.files[self.file].seen.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let offset = usize::try_from(offset).unwrap();
        self.power.with(|machine| {
            let bytes = machine.files[self.file].seen.get(offset..offset + out.len());
            out.copy_from_slice(bytes.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.write(Write::Length(usize::try_from(len).unwrap()))
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.power.with(|machine| {
            machine.operate()?;
            let file = &mut machine.files[self.file];
            file.durable = file.seen.clone();
            file.since.clear();
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        Storage::write(self, Write::At(usize::try_from(offset).unwrap(), data.to_vec()))
    }
}

impl Medium for Power {
    type Storage = Storage;

    fn current(&mut self) -> io::Result<Option<Storage>> {
        let current = self.with(|machine| machine.current);
        Ok(current.map(|file| Storage { power: self.clone(), file }))
    }

    fn fresh(&mut self) -> io::Result<Storage> {
        let file = self.with(|machine| {
            machine.operate()?;
            machine.files.push(Platter::default());
            Ok::<_, io::Error>(machine.files.len() - 1)
        })?;
        Ok(Storage { power: self.clone(), file })
    }

    fn adopt(&mut self) -> io::Result<()> {
        self.with(|machine| {
            machine.operate()?;
            machine.current = Some(machine.files.len() - 1);
            Ok(())
        })
    }

    fn abandon(&mut self) {}
}

fn open(power: &Power) -> Result<Disk, Error> {
    Disk::over(power.clone(), Path::new("state.redb"))
}

async fn value(disk: &Disk, key: &str) -> Option<u64> {
    let found = disk.get(key).await.unwrap()?;
    std::str::from_utf8(&found.value).unwrap().parse().ok()
}

/// Two keys that every transaction writes alike: half of one would show.
fn both(number: u64) -> Txn {
    let text = number.to_string().into_bytes();
    Txn::new().put("one", text.clone()).put("two", text).put(format!("n/{number}"), vec![7; 600])
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_power_cut_and_no_half_of_what_was_not() {
    let from = std::env::var("ONEROOT_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = from.map_or(0..150u64, |seed| seed..seed + 1);
    let mut cuts = 0;
    for seed in seeds {
        let mut chance = Chance(seed);
        let power = Power::default();
        let mut answered = 0;
        let mut number = 0;
        for _boot in 0..3 {
            let disk = open(&power).unwrap_or_else(|cause| panic!("seed {seed}: {cause}"));
            let (one, two) = (value(&disk, "one").await, value(&disk, "two").await);
            assert_eq!(one, two, "seed {seed}: half of a transaction");
            assert!(one.unwrap_or(0) >= answered, "seed {seed}: {answered} was answered, {one:?} is there");
            let due = chance.below(120);
            power.with(|machine| machine.fails_in = Some(due));
            loop {
                number += 1;
                match disk.commit(both(number)).await {
                    Ok(_) => answered = number,
                    Err(Error::NotDurable(_)) => break,
                    Err(cause) => panic!("seed {seed}: {cause}"),
                }
            }
            // The write that failed was the last thing before the lights went out.
            power.with(|machine| machine.off = true);
            drop(disk);
            power.with(|machine| machine.cut(&mut chance));
            cuts += 1;
        }
    }
    assert!(cuts >= 3);
}

#[tokio::test]
async fn a_write_that_fails_at_any_place_changes_nothing_and_the_next_one_goes_through() {
    for place in 0.. {
        let power = Power::default();
        let disk = open(&power).unwrap();
        disk.commit(both(1)).await.unwrap();
        power.with(|machine| machine.fails_in = Some(place));
        let failed = disk.commit(both(2)).await;
        let hit = power.with(|machine| machine.fails_in.take().is_none());
        if failed.is_ok() {
            assert!(!hit || place > 0, "a failure that nobody noticed");
            if !hit {
                return;
            }
            continue;
        }
        assert!(matches!(failed, Err(Error::NotDurable(_))), "{place}");
        assert_eq!(value(&disk, "one").await, Some(1), "{place}: readers see what was there");
        assert!(matches!(disk.health(), Health::Degraded { refused: 1, .. }), "{place}");
        disk.commit(both(3)).await.unwrap();
        assert_eq!(disk.health(), Health::Durable);
        drop(disk);
        let disk = open(&power).unwrap();
        assert_eq!((value(&disk, "one").await, value(&disk, "two").await), (Some(3), Some(3)), "{place}");
        assert!(disk.get("n/2").await.unwrap().is_none(), "{place}: what was refused does not come back");
    }
}

#[tokio::test]
async fn a_file_that_is_damaged_torn_or_empty_is_refused_and_never_begun_anew() {
    let power = Power::default();
    let disk = open(&power).unwrap();
    for number in 1..40 {
        disk.commit(both(number)).await.unwrap();
    }
    drop(disk);
    let whole = power.with(|machine| machine.files[machine.current.unwrap()].seen.clone());
    let put = |bytes: Vec<u8>| {
        power.with(|machine| {
            let current = machine.current.unwrap();
            machine.files[current] = Platter { durable: bytes.clone(), seen: bytes, since: Vec::new() };
        });
    };
    let mut refused = 0;
    let mut chance = Chance(1);
    for _ in 0..200 {
        let mut bytes = whole.clone();
        let bit = chance.below(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        put(bytes);
        match open(&power) {
            // In a page that nothing uses, a bit has no meaning.
            Ok(disk) => assert_eq!(value(&disk, "one").await, Some(39), "bit {bit}"),
            Err(cause) => {
                refused += 1;
                assert!(!matches!(cause, Error::InUse { .. }), "{cause}");
            }
        }
    }
    assert!(refused > 0, "no damage was ever found");
    for length in [0, 1, SECTOR, whole.len() / 2] {
        put(whole[..length].to_vec());
        assert!(open(&power).is_err(), "{length} bytes are left");
    }
}
