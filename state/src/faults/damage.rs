//! A file that is not what was written: refused with what to do about it, never begun anew.

use redb::{Database, TableDefinition};

use super::machine::{Chance, Fault, Image, Machine, SECTOR};
use super::{Rows, brief, open, rows, with_script};
use crate::kv::Txn;
use crate::{Backend as _, Error};

/// Opens what may be damaged: its contents, or `None` when it is refused as damaged.
async fn read(image: &Image, context: &str) -> Option<Rows> {
    match open(&Machine::holding(image)) {
        Ok(disk) => Some(rows(&disk).await),
        Err(cause @ (Error::Damaged { .. } | Error::Format { .. })) => {
            let said = cause.to_string();
            assert!(
                said.contains("backup") || said.contains("use the oneroot that wrote it"),
                "{context}: {said}"
            );
            None
        }
        Err(cause) => panic!("{context}: {cause}"),
    }
}

/// redb's header: 64 bytes, and two commits of 128 bytes.
const HEADER: usize = 320;
/// Set: the second of them counts.
const WHICH_COMMIT: usize = 9 * 8;

#[tokio::test]
async fn a_flipped_bit_is_refused_or_has_no_meaning() {
    let mut refused = 0;
    for cut in [false, true] {
        let image = with_script(cut).await;
        let whole = read(&image, "undamaged").await.unwrap();
        assert!(whole.len() > 4);
        // In a file that was not closed the header alone says which commit counts, so every bit of it is tried.
        let mut chance = Chance(u64::from(cut));
        let elsewhere = (0..300).map(|_| chance.below(image.file.len() * 8));
        for bit in (0..HEADER * 8).step_by(if cut { 1 } else { 7 }).chain(elsewhere) {
            let context = format!("cut {cut}, bit {bit}");
            let mut bytes = image.clone();
            bytes.file[bit / 8] ^= 1 << (bit % 8);
            match read(&bytes, &context).await {
                None => refused += 1,
                // A limit of redb's format: no checksum covers the bit that says which of two commits counts.
                Some(found) if bit == WHICH_COMMIT && cut => {
                    assert!(found.contains_key("large"), "{context}");
                }
                Some(found) => assert!(found == whole, "{context}: {:?}", brief(&found)),
            }
        }
    }
    println!("{refused} flipped bits refused");
    assert!(refused > 500, "{refused}");
}

/// A file whose log has several records, as a power cut left it; and what is there of the script with each of them.
async fn with_log() -> (Image, Vec<Rows>) {
    let machine = Machine::new(5);
    let disk = open(&machine).unwrap();
    let mut after = Vec::new();
    for number in 0..6u8 {
        let key = format!("lease/{number}");
        disk.commit(Txn::new().put(key, vec![number; 300]).delete("lease/1")).await.unwrap();
        after.push(rows(&disk).await);
    }
    machine.fail(0, Fault::Cut, true);
    drop(disk);
    machine.restart();
    (machine.image(), after)
}

#[tokio::test]
async fn a_flipped_bit_of_a_log_is_refused_or_costs_what_may_not_have_been_answered() {
    let (image, after) = with_log().await;
    let (number, log) = image.logs.last_key_value().unwrap();
    // The first commit is in the file; each other one has a record of its own, two sectors long or one.
    let whole = after.last().unwrap();
    assert_eq!(read(&image, "undamaged").await.as_ref(), Some(whole));
    let (mut refused, mut torn) = (0, 0);
    for bit in (0..log.len() * 8).step_by(3) {
        let (context, mut damaged) = (format!("bit {bit}"), image.clone());
        damaged.logs.get_mut(number).unwrap()[bit / 8] ^= 1 << (bit % 8);
        match read(&damaged, &context).await {
            None => refused += 1,
            Some(found) if found == after[after.len() - 2] => torn += 1,
            Some(found) => assert!(found == *whole, "{context}: {:?}", brief(&found)),
        }
    }
    println!("{refused} flipped bits refused, {torn} taken for the end");
    assert!(refused > 2 * torn && torn > 0);
}

#[tokio::test]
async fn a_log_that_is_cut_off_or_missing_or_of_another_state_is_never_taken_for_more_than_it_is() {
    let (image, after) = with_log().await;
    let (number, log) = image.logs.last_key_value().unwrap();
    for length in 0..=log.len() {
        if length % SECTOR > 1 {
            continue;
        }
        let mut short = image.clone();
        short.logs.insert(*number, log[..length].to_vec());
        let found = read(&short, "cut off").await.unwrap();
        assert!(after.contains(&found), "{length} bytes: {:?}", brief(&found));
    }
    let missing = Image { logs: std::collections::BTreeMap::new(), ..image.clone() };
    assert_eq!(read(&missing, "missing").await, None);
    let other = Machine::new(6);
    let disk = open(&other).unwrap();
    for number in 0..6u8 {
        disk.commit(Txn::new().put(format!("other/{number}"), *b"x")).await.unwrap();
    }
    other.fail(0, Fault::Cut, true);
    drop(disk);
    other.restart();
    let foreign = Image { logs: other.image().logs, ..image.clone() };
    assert_eq!(read(&foreign, "another state's").await.as_ref(), Some(&after[0]));
}

#[tokio::test]
async fn a_truncated_or_empty_file_is_refused() {
    for cut in [false, true] {
        let image = with_script(cut).await;
        let whole = read(&image, "undamaged").await.unwrap();
        let mut refused = 0;
        for sectors in (0..20).chain((20..image.file.len() / SECTOR).step_by(41)) {
            for length in [sectors * SECTOR, sectors * SECTOR + 1] {
                let file = image.file[..length].to_vec();
                match read(&Image { file, ..image.clone() }, &format!("{length} bytes")).await {
                    None => refused += 1,
                    Some(found) => assert!(found == whole, "{length} bytes: {:?}", brief(&found)),
                }
            }
        }
        assert!(refused > 40, "{refused}");
    }
}

#[tokio::test]
async fn a_file_of_another_format_is_refused() {
    let foreign: [Vec<u8>; 4] =
        [b"leases {}\n".to_vec(), b"SQLite format 3\0".repeat(512), vec![0; 1 << 16], vec![0xff; 4096]];
    for bytes in foreign {
        let image = Image { file: bytes, ..Image::default() };
        let machine = Machine::holding(&image);
        let refused = open(&machine).err().unwrap();
        assert!(matches!(refused, Error::Damaged { .. }), "{refused}");
        machine.restart();
        assert!(machine.image() == image, "it was written to");
    }
    for (meta, expected) in [(None, 0), (Some(3), 3)] {
        let file = tempfile::NamedTempFile::new().unwrap();
        let database = Database::create(file.path()).unwrap();
        let write = database.begin_write().unwrap();
        if let Some(format) = meta {
            let mut meta = write.open_table(TableDefinition::<&str, u64>::new("meta")).unwrap();
            meta.insert("format", format).unwrap();
        } else {
            write.open_table(TableDefinition::<u64, u64>::new("jobs")).unwrap().insert(1, 1).unwrap();
        }
        write.commit().unwrap();
        drop(database);
        let bytes = std::fs::read(file.path()).unwrap();
        let refused = open(&Machine::holding(&Image { file: bytes, ..Image::default() })).err().unwrap();
        assert!(matches!(refused, Error::Format { found, known: 2, .. } if found == expected), "{refused}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let database = Database::create(file.path()).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(TableDefinition::<u64, u64>::new("meta")).unwrap().insert(1, 1).unwrap();
    write.commit().unwrap();
    drop(database);
    let image = Image { file: std::fs::read(file.path()).unwrap(), ..Image::default() };
    let refused = open(&Machine::holding(&image)).err().unwrap();
    assert!(matches!(refused, Error::Format { found: 0, .. }), "{refused}");
}
