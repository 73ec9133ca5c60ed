//! A backup of the state: one JSON document a line, which a person can read and another version too.
//!
//! The first line says what it is; each other one is a record. It has the keys that file handles are sealed with, so it is
//! as secret as the state itself, and a server that is given it goes on where the other one stopped.

use std::io::{BufRead, Write};

use anyhow::{Context as _, Result, bail, ensure};
use oneroot_state::{Backend, Txn};
use serde::{Deserialize, Serialize};

/// What this binary writes and reads.
const FORMAT: u32 = 1;
/// Longest line that is read: a record's largest value, twice, for what JSON escapes.
const LONGEST: u64 = 4 << 20;

#[derive(Serialize, Deserialize)]
struct Head {
    #[serde(rename = "oneroot-state")]
    format: u32,
    /// Seconds since 1970.
    at: u64,
    records: usize,
}

#[derive(Serialize, Deserialize)]
struct Record {
    key: String,
    value: String,
}

/// Writes everything that is in the state. `at` is seconds since 1970.
pub async fn write(state: &impl Backend, at: u64, to: &mut impl Write) -> Result<usize> {
    let records = state.list("").await?;
    let head = Head { format: FORMAT, at, records: records.len() };
    writeln!(to, "{}", serde_json::to_string(&head)?)?;
    for (key, found) in &records {
        let value = std::str::from_utf8(&found.value).with_context(|| format!("{key} is not text"))?;
        let record = Record { key: key.clone(), value: value.to_owned() };
        writeln!(to, "{}", serde_json::to_string(&record)?)?;
    }
    Ok(records.len())
}

/// Reads a backup into a state that has nothing in it: all of it, or none.
pub async fn read(state: &impl Backend, mut from: impl BufRead) -> Result<usize> {
    ensure!(
        state.list("").await?.is_empty(),
        "the state has records already; stop the server, move the state directory away, and restore into a new one"
    );
    let head: Head = line(&mut from)?.context("the file is empty")?;
    ensure!(head.format == FORMAT, "the backup is of format {}, this oneroot knows {FORMAT}", head.format);
    let (mut txn, mut count) = (Txn::new(), 0usize);
    while let Some(Record { key, value }) = line(&mut from)? {
        txn = txn.put(key, value.into_bytes());
        count += 1;
    }
    if count != head.records {
        bail!("the backup says that it has {} records, and has {count}: it was cut off", head.records);
    }
    state.commit(txn).await?;
    Ok(count)
}

fn line<T: for<'de> Deserialize<'de>>(from: &mut impl BufRead) -> Result<Option<T>> {
    let mut text = String::new();
    let mut limited = std::io::Read::take(&mut *from, LONGEST);
    if limited.read_line(&mut text)? == 0 {
        return Ok(None);
    }
    serde_json::from_str(&text).context("a line of the backup does not read").map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oneroot_state::Memory;

    async fn some() -> Memory {
        let memory = Memory::default();
        let txn = Txn::new().put("leases/a", br#"{"x":1}"#.to_vec()).put("pins/b", b"\"two\\n\"".to_vec());
        memory.commit(txn).await.unwrap();
        memory
    }

    #[tokio::test]
    async fn what_was_backed_up_is_what_is_restored() {
        let mut text = Vec::new();
        assert_eq!(write(&some().await, 7, &mut text).await.unwrap(), 2);
        let fresh = Memory::default();
        assert_eq!(read(&fresh, text.as_slice()).await.unwrap(), 2);
        let values = |listing: oneroot_state::Listing| -> Vec<_> {
            listing.into_iter().map(|(key, found)| (key, found.value.to_vec())).collect()
        };
        assert_eq!(values(fresh.list("").await.unwrap()), values(some().await.list("").await.unwrap()));
    }

    #[tokio::test]
    async fn a_backup_that_was_cut_off_restores_nothing() {
        let mut text = Vec::new();
        write(&some().await, 7, &mut text).await.unwrap();
        for end in 0..text.len() - 1 {
            let fresh = Memory::default();
            assert!(read(&fresh, text.get(..end).unwrap()).await.is_err(), "cut at {end}");
            assert!(fresh.list("").await.unwrap().is_empty());
        }
    }

    #[tokio::test]
    async fn a_state_that_is_in_use_is_never_written_over() {
        let mut text = Vec::new();
        write(&some().await, 7, &mut text).await.unwrap();
        assert!(
            read(&some().await, text.as_slice())
                .await
                .unwrap_err()
                .to_string()
                .contains("has records already")
        );
    }
}
