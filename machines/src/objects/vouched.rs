//! Objects whose bytes were hashed against their names: a machine must not be given a kernel that the disk has changed.
//!
//! Kernel and initrd are asked for at the same moment by every machine of a room that is switched on, so each is hashed once:
//! the first to ask hashes, off the event loop, and the others wait for that. What was found counts as long as the file is
//! the same by device, inode number, times and size. A file that was found to be wrong is not hashed again either.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::{AtomicU64, Ordering};

use oneroot_ids::ObjectId;
use oneroot_tree::store::FileMark;
use quick_cache::sync::Cache;
use tokio::sync::Mutex as Turn;

/// Objects that are remembered; a site has a kernel and an initrd for each profile.
const MOST: usize = 1024;
/// Bytes read at a time.
const CHUNK: usize = 256 * 1024;

/// A file as it was hashed last, and whether it had the bytes that it is named by.
type Hashed = Option<(FileMark, bool)>;

/// What was hashed.
pub struct Vouched {
    known: Cache<ObjectId, Arc<Turn<Hashed>>>,
    #[cfg(test)]
    hashed: AtomicU64,
}

impl Default for Vouched {
    fn default() -> Self {
        Self {
            known: Cache::new(MOST),
            #[cfg(test)]
            hashed: AtomicU64::new(0),
        }
    }
}

impl Vouched {
    /// Whether an open object has the bytes that its name says. Hashes it where that is not known.
    pub async fn is_good(&self, id: ObjectId, file: &Arc<File>) -> io::Result<bool> {
        let place = self.place(id);
        let mut last = place.lock().await;
        let mark = FileMark::of(file)?;
        if let Some((known, good)) = *last
            && known == mark
        {
            return Ok(good);
        }
        #[cfg(test)]
        self.hashed.fetch_add(1, Ordering::Relaxed);
        let reading = file.clone();
        let hashed =
            tokio::task::spawn_blocking(move || hash(&reading)).await.map_err(io::Error::other)??;
        // One that was written to meanwhile is hashed again by whoever asks next.
        if FileMark::of(file)? == mark {
            *last = Some((mark, hashed == id.0));
        }
        Ok(hashed == id.0)
    }

    fn place(&self, id: ObjectId) -> Arc<Turn<Hashed>> {
        let place = self.known.get_or_insert_with(&id, || Ok(Arc::default()));
        place.unwrap_or_else(|never: Infallible| match never {})
    }
}

fn hash(file: &File) -> io::Result<[u8; 32]> {
    let (mut hasher, mut buffer, mut at) = (blake3::Hasher::new(), vec![0; CHUNK], 0);
    loop {
        match file.read_at(&mut buffer, at) {
            Ok(0) => return Ok(*hasher.finalize().as_bytes()),
            Ok(count) => {
                hasher.update(buffer.get(..count).unwrap_or_default());
                at += count as u64;
            }
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    fn id(bytes: &[u8]) -> ObjectId {
        ObjectId(*blake3::hash(bytes).as_bytes())
    }

    fn open(path: &Path) -> Arc<File> {
        Arc::new(File::open(path).unwrap())
    }

    #[tokio::test]
    async fn what_a_file_was_found_to_be_counts_until_it_changes() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("kernel");
        let vouched = Vouched::default();
        fs::write(&path, "kernel").unwrap();
        let file = open(&path);
        let good = async || vouched.is_good(id(b"kernel"), &file).await.unwrap();
        assert!(good().await && good().await);
        fs::write(&path, "kerneL").unwrap();
        assert!(!good().await && !good().await, "in place, with the same size");
        fs::write(&path, "kernel").unwrap();
        assert!(good().await);
        // Another file of the name.
        fs::write(home.path().join("new"), "kerneL").unwrap();
        fs::rename(home.path().join("new"), &path).unwrap();
        assert!(!vouched.is_good(id(b"kernel"), &open(&path)).await.unwrap());
    }

    #[tokio::test]
    async fn five_hundred_who_ask_at_once_have_it_hashed_once() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("kernel");
        let bytes = vec![7; 4 << 20];
        fs::write(&path, &bytes).unwrap();
        let (vouched, id) = (Arc::new(Vouched::default()), id(&bytes));
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..500 {
            let (vouched, file) = (vouched.clone(), open(&path));
            asking.spawn(async move { vouched.is_good(id, &file).await.unwrap() });
        }
        assert!(asking.join_all().await.into_iter().all(|good| good));
        assert_eq!(vouched.hashed.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn no_more_are_remembered_than_was_said() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("kernel");
        fs::write(&path, "kernel").unwrap();
        let (vouched, file) = (Vouched::default(), open(&path));
        for number in 0..3 * u32::try_from(MOST).unwrap() {
            assert!(!vouched.is_good(id(&number.to_le_bytes()), &file).await.unwrap());
        }
        assert!(vouched.known.len() <= MOST);
    }
}
