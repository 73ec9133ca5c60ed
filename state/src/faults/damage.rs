//! A file that is not what was written: refused with what to do about it, never begun anew.

use redb::{Database, TableDefinition};

use super::machine::{Chance, Machine, SECTOR};
use super::{Rows, brief, open, rows, with_script};
use crate::Error;

/// Opens what may be damaged: its contents, or `None` when it is refused as damaged.
async fn read(bytes: &[u8], context: &str) -> Option<Rows> {
    match open(&Machine::holding(bytes)) {
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
        let elsewhere = (0..300).map(|_| chance.below(image.len() * 8));
        for bit in (0..HEADER * 8).step_by(if cut { 1 } else { 7 }).chain(elsewhere) {
            let context = format!("cut {cut}, bit {bit}");
            let mut bytes = image.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
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

#[tokio::test]
async fn a_truncated_or_empty_file_is_refused() {
    for cut in [false, true] {
        let image = with_script(cut).await;
        let whole = read(&image, "undamaged").await.unwrap();
        let mut refused = 0;
        for sectors in (0..20).chain((20..image.len() / SECTOR).step_by(41)) {
            for length in [sectors * SECTOR, sectors * SECTOR + 1] {
                match read(&image[..length], &format!("{length} bytes")).await {
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
        let machine = Machine::holding(&bytes);
        let refused = open(&machine).err().unwrap();
        assert!(matches!(refused, Error::Damaged { .. }), "{refused}");
        machine.restart();
        assert!(machine.image() == bytes, "it was written to");
    }
    for (meta, expected) in [(None, 0), (Some(2), 2)] {
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
        let refused = open(&Machine::holding(&bytes)).err().unwrap();
        assert!(matches!(refused, Error::Format { found, known: 1, .. } if found == expected), "{refused}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let database = Database::create(file.path()).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(TableDefinition::<u64, u64>::new("meta")).unwrap().insert(1, 1).unwrap();
    write.commit().unwrap();
    drop(database);
    let refused = open(&Machine::holding(&std::fs::read(file.path()).unwrap())).err().unwrap();
    assert!(matches!(refused, Error::Format { found: 0, .. }), "{refused}");
}
