//! A backup of the state: one JSON document a line, which a person can read and another version too.
//!
//! The first line says what it is, each further one is a record, and the last one says how many there were and the BLAKE3 of
//! all bytes before it: what has lost its end or a bit is told from what is whole, by whoever writes it and by whoever reads
//! it. Format 1, which came before, has no such line.
//!
//! It has the keys that file handles are sealed with, so it is as secret as the state itself, and a server that is given it
//! goes on where the other one stopped.

use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use oneroot_state::{Backend, Listing, MAX_KEY, MAX_VALUE, Versioned};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// What this binary writes.
const FORMAT: u32 = 2;
/// What has no last line that vouches for it.
const UNVERIFIED: u32 = 1;
/// The tables of the state; a key of any other is not this program's.
const TABLES: [&str; 15] = [
    "addresses",
    "adopting",
    "assignments",
    "boots",
    "clock",
    "examined",
    "handle-keys",
    "leases",
    "machines",
    "nics",
    "pins",
    "plans",
    "rests",
    "secrets",
    "tokens",
];
/// Longest line that is read, in bytes: JSON takes six for a byte that it can't show.
const LONGEST: usize = 6 * (MAX_KEY + MAX_VALUE) + 64;
/// Bytes that are handed on at a time, and a line.
const PIECE: usize = 64 * 1024;
/// Takers that a running server has at once: each holds the records as they were when it asked.
const TAKERS: usize = 4;
/// Time for which a taker may take no byte: it may be stopped, or wait for a slow disk.
const STALLED: Duration = Duration::from_secs(600);

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

/// The last line.
#[derive(Serialize)]
struct End {
    end: usize,
    blake3: String,
}

/// In the place of the rest, when there can't be one.
#[derive(Serialize, Deserialize)]
struct Failed {
    failed: String,
}

impl End {
    fn line(records: usize, hasher: &blake3::Hasher) -> Result<String> {
        Ok(serde_json::to_string(&Self { end: records, blake3: hasher.finalize().to_hex().to_string() })?)
    }
}

/// A backup on its way out, a piece at a time.
pub struct Pieces {
    head: Option<Head>,
    records: std::vec::IntoIter<(String, Versioned<Arc<[u8]>>)>,
    count: usize,
    hasher: blake3::Hasher,
    ended: bool,
    /// For whoever reads: the last piece, and how much of it was read.
    held: (Vec<u8>, usize),
}

impl Pieces {
    /// Of everything that is in the state now. `at` is seconds since 1970.
    pub async fn of(state: &impl Backend, at: u64) -> Result<Self> {
        let Listing { records, .. } = state.list("").await?;
        let count = records.len();
        let head = Some(Head { format: FORMAT, at, records: count });
        let (records, hasher) = (records.into_iter(), blake3::Hasher::new());
        Ok(Self { head, records, count, hasher, ended: false, held: (Vec::new(), 0) })
    }

    /// The next piece, of whole lines; nothing when that was all.
    pub fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let mut piece = Vec::new();
        while piece.len() < PIECE
            && let Some(line) = self.line()?
        {
            piece.extend_from_slice(line.as_bytes());
            piece.push(b'\n');
        }
        Ok(Some(piece).filter(|piece| !piece.is_empty()))
    }

    fn line(&mut self) -> Result<Option<String>> {
        let line = if let Some(head) = self.head.take() {
            serde_json::to_string(&head)?
        } else if let Some((key, found)) = self.records.next() {
            let value = std::str::from_utf8(&found.value).with_context(|| format!("{key} is not text"))?;
            serde_json::to_string(&Record { value: value.to_owned(), key })?
        } else if self.ended {
            return Ok(None);
        } else {
            self.ended = true;
            return End::line(self.count, &self.hasher).map(Some);
        };
        self.hasher.update(line.as_bytes());
        self.hasher.update(b"\n");
        Ok(Some(line))
    }
}

impl io::Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.held.1 == self.held.0.len() {
            self.held = (self.next().map_err(io::Error::other)?.unwrap_or_default(), 0);
        }
        let count = self.held.0.get(self.held.1..).unwrap_or_default().read(into)?;
        self.held.1 += count;
        Ok(count)
    }
}

/// Gives a backup to somebody who may take it slowly. Nobody else waits meanwhile; one who takes nothing for [`STALLED`] is
/// given up, and finds that the last line is missing.
pub async fn give(state: &impl Backend, at: u64, mut to: impl AsyncWrite + Unpin) {
    static FREE: Semaphore = Semaphore::const_new(TAKERS);
    let given = async {
        let _place = FREE.try_acquire().ok().with_context(|| {
            format!("{TAKERS} others take a backup at this moment; end those that hang, or wait")
        })?;
        let mut pieces = Pieces::of(state, at).await?;
        while let Some(piece) = pieces.next()? {
            timeout(STALLED, to.write_all(&piece)).await.context("it was not taken")??;
        }
        anyhow::Ok(())
    };
    if let Err(cause) = given.await {
        tracing::warn!("a backup was not sent completely: {cause:#}");
        let failed = serde_json::to_vec(&Failed { failed: format!("{cause:#}") }).unwrap_or_default();
        // Whoever is gone or hangs finds that the last line is missing.
        let _ = timeout(Duration::from_secs(1), to.write_all(&failed)).await;
    }
}

/// A backup on its way in, looked at line by line.
struct Check {
    format: u32,
    promised: usize,
    count: usize,
    hasher: blake3::Hasher,
    ended: bool,
    /// A key of a table that this program does not have, and how many there are.
    strange: Option<(String, usize)>,
}

/// What a whole backup has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Records.
    pub records: usize,
    /// A key of a table that this program does not have, and how many there are.
    pub strange: Option<(String, usize)>,
}

impl Check {
    /// Looks at the first line.
    fn begin(first: &[u8]) -> Result<Self> {
        refused(first)?;
        let head: Head = serde_json::from_slice(first).context("it does not begin as a backup does")?;
        ensure!(
            [UNVERIFIED, FORMAT].contains(&head.format),
            "the backup is of format {}, this oneroot knows {FORMAT}",
            head.format
        );
        let mut hasher = blake3::Hasher::new();
        hasher.update(first);
        let (format, promised) = (head.format, head.records);
        Ok(Self { format, promised, count: 0, hasher, ended: false, strange: None })
    }

    /// Takes the next line, with its end. A record, unless it is the last line.
    fn line(&mut self, line: &[u8]) -> Result<Option<Record>> {
        ensure!(!self.ended, "something follows the backup's last line");
        // No record begins so, for its key comes first.
        if self.format == FORMAT && line.starts_with(b"{\"end\":") {
            ensure!(
                line == format!("{}\n", End::line(self.count, &self.hasher)?).as_bytes(),
                "the backup is damaged: its bytes are not those that were written; take another one"
            );
            self.ended = true;
            return Ok(None);
        }
        refused(line)?;
        let record: Record = serde_json::from_slice(line).with_context(|| {
            format!("record {} cannot be parsed: the backup is cut off or damaged", self.count + 1)
        })?;
        self.hasher.update(line);
        self.count += 1;
        // Counted and not refused: what a running server has is taken down whole, and a restore refuses it.
        if !is_known(&record.key) {
            self.strange.get_or_insert_with(|| (record.key.clone(), 0)).1 += 1;
        }
        Ok(Some(record))
    }

    /// What it has, now that it has ended.
    fn finish(self) -> Result<Checked> {
        ensure!(
            (self.ended || self.format == UNVERIFIED) && self.count == self.promised,
            "the backup says that it has {} records, and {} came: it was cut off",
            self.promised,
            self.count
        );
        Ok(Checked { records: self.count, strange: self.strange })
    }
}

/// What the server has said in the place of the rest.
fn refused(line: &[u8]) -> Result<()> {
    if line.starts_with(b"{\"failed\":")
        && let Ok(Failed { failed }) = serde_json::from_slice(line)
    {
        bail!("{failed}");
    }
    Ok(())
}

fn is_known(key: &str) -> bool {
    let parts = key.split_once('/').filter(|(table, _)| TABLES.contains(table));
    parts.is_some_and(|(_, record)| !record.is_empty() && !record.contains(char::is_control))
}

/// Hands on a backup that comes from a running server, and checks it on the way.
pub fn take(mut from: impl BufRead, mut hand_on: impl FnMut(&[u8]) -> Result<()>) -> Result<Checked> {
    let mut line = Vec::new();
    ensure!(next_line(&mut from, &mut line)?, "nothing came");
    let mut check = Check::begin(&line)?;
    hand_on(&line)?;
    while next_line(&mut from, &mut line)? {
        check.line(&line)?;
        hand_on(&line)?;
    }
    check.finish()
}

/// Everything that a backup has, once all of it was looked at. With `unverified`, one without a last line that vouches for it
/// is taken too.
pub fn parse(mut from: impl BufRead, unverified: bool) -> Result<BTreeMap<String, Arc<[u8]>>> {
    let mut line = Vec::new();
    ensure!(next_line(&mut from, &mut line)?, "the file is empty");
    let mut check = Check::begin(&line)?;
    ensure!(
        unverified || check.format != UNVERIFIED,
        "the backup is an older oneroot's (format {UNVERIFIED}) and has no checksum, so that damage can't be seen; \
         --unverified restores it all the same"
    );
    let mut records = BTreeMap::new();
    while next_line(&mut from, &mut line)? {
        if let Some(Record { key, value }) = check.line(&line)? {
            ensure!(
                is_known(&key),
                "{key:?} is not a key of any table that this oneroot has ({})",
                TABLES.join(", ")
            );
            if let Some(twice) = records.insert(key, Arc::from(value.into_bytes())).map(|_| check.count) {
                bail!("record {twice} has a key that came before");
            }
        }
    }
    check.finish()?;
    Ok(records)
}

/// Fills a state that has nothing in it. One that is cut off on the way leaves a state that no server starts with.
pub async fn restore(state: &impl Backend, records: BTreeMap<String, Arc<[u8]>>) -> Result<usize> {
    ensure!(
        state.list("").await?.records.is_empty(),
        "the state has records already; stop the server, move the state directory away, and restore into a new one"
    );
    let count = records.len();
    oneroot_state::restore(state, records).await?;
    Ok(count)
}

/// Reads one line, with its end; false where nothing follows.
fn next_line(from: &mut impl BufRead, line: &mut Vec<u8>) -> Result<bool> {
    line.clear();
    let mut limited = io::Read::take(&mut *from, LONGEST as u64);
    limited.read_until(b'\n', line)?;
    ensure!(line.len() < LONGEST, "a line is longer than any record: this is not a backup");
    Ok(!line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use oneroot_state::{Memory, Txn};

    async fn some() -> Memory {
        let memory = Memory::default();
        let txn = Txn::new()
            .put("leases/a", br#"{"x":1}"#.to_vec())
            .put("machines/b", "\u{1}\n\u{7f}\u{2028}é".as_bytes().to_vec())
            .put("pins/b", b"\"two\\n\"".to_vec());
        memory.commit(txn).await.unwrap();
        memory
    }

    async fn text(state: &Memory) -> Vec<u8> {
        let mut text = Vec::new();
        let mut pieces = Pieces::of(state, 7).await.unwrap();
        while let Some(piece) = pieces.next().unwrap() {
            text.extend(piece);
        }
        text
    }

    /// As a version before this one wrote it.
    const OLD: &str =
        "{\"oneroot-state\":1,\"at\":7,\"records\":1}\n{\"key\":\"leases/a\",\"value\":\"1\"}\n";

    async fn rows(state: &Memory) -> Vec<(String, Vec<u8>)> {
        let listing = state.list("").await.unwrap().records.into_iter();
        listing.map(|(key, found)| (key, found.value.to_vec())).collect()
    }

    #[tokio::test]
    async fn what_was_backed_up_is_what_is_restored() {
        let (some, fresh) = (some().await, Memory::default());
        let text = text(&some).await;
        let mut handed_on = Vec::new();
        let checked = take(text.as_slice(), |line| {
            handed_on.extend_from_slice(line);
            Ok(())
        })
        .unwrap();
        assert_eq!((checked, handed_on), (Checked { records: 3, strange: None }, text.clone()));
        assert_eq!(restore(&fresh, parse(text.as_slice(), false).unwrap()).await.unwrap(), 3);
        assert_eq!(rows(&fresh).await, rows(&some).await);
    }

    /// Neither by whoever takes it from a server nor by whoever restores it, with a promise to look or without.
    fn refused_by_all(text: &[u8], context: &str) {
        assert!(parse(text, false).is_err(), "{context}");
        assert!(parse(text, true).is_err(), "{context}, unverified");
        assert!(take(text, |_| Ok(())).is_err(), "{context}, taken");
    }

    #[tokio::test]
    async fn a_backup_that_was_cut_off_or_goes_on_is_none() {
        let text = text(&some().await).await;
        for end in 0..text.len() {
            refused_by_all(text.get(..end).unwrap(), &format!("cut at {end}"));
        }
        for more in [&b"\n"[..], b"x", b"{\"key\":\"leases/b\",\"value\":\"1\"}\n", text.as_slice()] {
            refused_by_all(&[text.as_slice(), more].concat(), "with more behind it");
        }
    }

    #[tokio::test]
    async fn no_bit_can_be_another_and_no_line_gone_doubled_or_elsewhere() {
        let text = text(&some().await).await;
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            refused_by_all(&flipped, &format!("bit {bit}"));
        }
        let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        for at in 0..lines.len() {
            let (mut less, mut twice, mut swapped) = (lines.clone(), lines.clone(), lines.clone());
            less.remove(at);
            twice.insert(at, lines[at]);
            swapped.swap(at, (at + 1) % lines.len());
            for wrong in [less, twice, swapped] {
                refused_by_all(&wrong.concat(), &format!("line {at}"));
            }
        }
    }

    #[test]
    fn an_older_backup_takes_a_word_and_is_looked_at_as_far_as_that_goes() {
        assert!(parse(OLD.as_bytes(), false).unwrap_err().to_string().contains("--unverified"));
        assert_eq!(parse(OLD.as_bytes(), true).unwrap().len(), 1);
        for end in 0..OLD.len() - 1 {
            assert!(parse(&OLD.as_bytes()[..end], true).is_err(), "cut at {end}");
        }
        let twice = OLD.replace("\"records\":1", "\"records\":2") + OLD.lines().next_back().unwrap();
        assert!(parse(twice.as_bytes(), true).unwrap_err().to_string().contains("came before"));
    }

    #[tokio::test]
    async fn keys_of_no_table_are_told_when_they_are_backed_up_and_never_restored() {
        for key in
            ["../x", "x", "", "/", "leases", "leases/", "leases/a\nb", "lease/a", "leasesx/a", "Leases/a"]
        {
            let memory = Memory::default();
            memory.commit(Txn::new().put(key, b"1".to_vec())).await.unwrap();
            let text = text(&memory).await;
            let checked = take(text.as_slice(), |_| Ok(())).unwrap();
            assert_eq!(checked.strange, Some((key.to_owned(), 1)));
            assert!(
                parse(text.as_slice(), false).unwrap_err().to_string().contains("not a key of any table"),
                "{key:?}"
            );
        }
    }

    /// A table that is not in the list would be lost with the next backup.
    #[test]
    fn every_table_of_the_program_can_be_restored() {
        let mut found = BTreeMap::new();
        let home = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut todo = ["src", "machines/src", "state/src"].map(|part| home.join(part)).to_vec();
        while let Some(directory) = todo.pop() {
            for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
                let path = entry.path();
                let name = entry.file_name().into_string().unwrap();
                if path.is_dir() {
                    todo.push(path);
                } else if name.ends_with(".rs") && name != "backup.rs" {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
                    for rest in shipped.split("= Table::new(\"").skip(1) {
                        found.insert(rest.split('"').next().unwrap().to_owned(), path.clone());
                    }
                }
            }
        }
        assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), TABLES, "{found:?}");
    }

    #[tokio::test]
    async fn a_state_that_is_in_use_is_never_written_over() {
        let some = some().await;
        let records = parse(text(&some).await.as_slice(), false).unwrap();
        assert!(restore(&some, records).await.unwrap_err().to_string().contains("has records already"));
    }

    #[tokio::test]
    async fn takers_that_hang_hold_a_few_places_and_no_more() {
        let some = Arc::new(some().await);
        let mut others = Vec::new();
        let mut held = Vec::new();
        for _ in 0..TAKERS {
            let (ours, theirs) = tokio::io::duplex(1);
            held.push(theirs);
            let some = some.clone();
            others.push(tokio::spawn(async move { give(some.as_ref(), 7, ours).await }));
        }
        tokio::task::yield_now().await;
        let mut said = std::io::Cursor::new(Vec::new());
        give(some.as_ref(), 7, &mut said).await;
        let said = String::from_utf8(said.into_inner()).unwrap();
        assert!(take(said.as_bytes(), |_| Ok(())).unwrap_err().to_string().contains("others take a backup"));
        drop(held);
        for other in others {
            other.await.unwrap();
        }
        let mut said = std::io::Cursor::new(Vec::new());
        give(some.as_ref(), 7, &mut said).await;
        assert!(take(said.into_inner().as_slice(), |_| Ok(())).is_ok());
    }

    #[tokio::test]
    async fn a_state_that_is_no_text_says_so_to_whoever_takes_it() {
        let memory = Memory::default();
        memory.commit(Txn::new().put("leases/a", vec![0xff])).await.unwrap();
        let mut said = std::io::Cursor::new(Vec::new());
        give(&memory, 7, &mut said).await;
        let refusal = take(said.into_inner().as_slice(), |_| Ok(())).unwrap_err();
        assert!(refusal.to_string().contains("leases/a is not text"), "{refusal}");
    }
}
