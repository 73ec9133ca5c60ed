//! Any bytes as an archive: what is read of them does not depend on how the stream is cut, and is a tree or an error, however
//! large the sizes in it are.
//!
//! Input: how many bytes a read gives at most, then the stream. A block with `?` where its checksum begins gets the right one:
//! no fuzzer would find that.

use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use oneroot_tree::{Stage, Store};

/// Runs with one store: what is staged in it stays.
const RUNS: u64 = 500;

static PLACE: Mutex<Option<(PathBuf, Arc<Store>)>> = Mutex::new(None);
static COUNT: AtomicU64 = AtomicU64::new(0);

pub fn run(data: &[u8]) {
    let Some((step, stream)) = data.split_first() else { return };
    let stream = sealed(stream);
    let store = store();
    let whole = read(&store, &stream, usize::MAX);
    assert_eq!(read(&store, &stream, usize::from(*step).max(1)), whole, "cut after each {step} bytes");
}

/// What is made of a stream: a generation's name, or what is wrong with it.
fn read(store: &Arc<Store>, stream: &[u8], step: usize) -> Result<String, String> {
    let mut stage = Stage::begin(store, |_| {}).unwrap();
    stage.archive(Pieces { stream, step }).map_err(|cause| cause.to_string())?;
    Ok(stage.finish().unwrap().generation.to_string())
}

struct Pieces<'s> {
    stream: &'s [u8],
    step: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = into.len().min(self.step);
        self.stream.read(&mut into[..count])
    }
}

fn sealed(stream: &[u8]) -> Vec<u8> {
    let mut stream = stream.to_vec();
    for block in stream.chunks_exact_mut(512).filter(|block| block[148] == b'?') {
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    stream
}

/// The other way round, for what fuzzers begin with.
pub fn unsealed(stream: &[u8]) -> Vec<u8> {
    let mut stream = stream.to_vec();
    for block in stream.chunks_exact_mut(512) {
        let mut own = block.to_vec();
        own[148..156].fill(b' ');
        let sum: u64 = own.iter().map(|byte| u64::from(*byte)).sum();
        if block[148..156] == *format!("{sum:06o}\0 ").as_bytes() {
            block[148..156].copy_from_slice(b"???????\0");
        }
    }
    [&[7], stream.as_slice()].concat()
}

fn store() -> Arc<Store> {
    let mut place = PLACE.lock().unwrap_or_else(PoisonError::into_inner);
    if COUNT.fetch_add(1, Ordering::Relaxed).is_multiple_of(RUNS)
        && let Some((path, _)) = place.take()
    {
        std::fs::remove_dir_all(path).unwrap();
    }
    let (_, store) = place.get_or_insert_with(|| {
        let memory = PathBuf::from("/dev/shm");
        let home = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let number = COUNT.load(Ordering::Relaxed);
        let path = home.join(format!("oneroot-archives-{}-{number}", std::process::id()));
        (path.clone(), Store::open(&path).unwrap())
    });
    store.clone()
}

/// Takes away what is left of the last store.
pub fn done() {
    if let Some((path, _)) = PLACE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        std::fs::remove_dir_all(path).unwrap();
    }
}
