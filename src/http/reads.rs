//! Reads that wait for a disk, off the event loop: so many at once and no more.
//!
//! A thread that waits for a disk can't be called back. It holds its place here until the disk has answered, however long the
//! connection that has asked is gone: whoever comes and goes again and again takes no thread of those that boots need.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use oneroot_machines::blocking;
use tokio::sync::Semaphore;

/// Reads at once, of all connections of HTTP and HTTPS.
const READS: usize = 64;
/// Those of trees' contents, which are apart: a kernel never waits behind a hundred copies.
const READS_OF_TREES: usize = 24;
/// Time that a connection waits for its turn.
const WITHIN: Duration = Duration::from_secs(30);

/// The places.
#[derive(Clone)]
pub struct Reads(Arc<Semaphore>);

impl Default for Reads {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(READS)))
    }
}

impl Reads {
    /// Those of trees' contents.
    pub fn of_trees() -> Self {
        Self(Arc::new(Semaphore::new(READS_OF_TREES)))
    }

    /// Reads something on a thread of its own.
    ///
    /// # Errors
    /// That of the work; `TimedOut` when there was no turn for it.
    pub async fn wait<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let place = tokio::time::timeout(WITHIN, self.0.clone().acquire_owned()).await;
        let place = place.map_err(|_| {
            let words = "so many reads wait for the disk that there was no turn for this one";
            io::Error::new(io::ErrorKind::TimedOut, words)
        })?;
        // They are never closed.
        let place = place.map_err(io::Error::other)?;
        blocking(place, work).await?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn connections_that_are_gone_while_the_disk_hangs_leave_no_more_threads_than_there_are_places() {
        let (reads, begun) = (Reads::default(), Arc::new(AtomicUsize::new(0)));
        let (ends, ended) = std::sync::mpsc::channel::<()>();
        let ended = Arc::new(Mutex::new(ended));
        for number in 0..3 * READS {
            let (reads, counts, ended) = (reads.clone(), begun.clone(), ended.clone());
            let hangs = move || {
                counts.fetch_add(1, Ordering::SeqCst);
                let _ = ended.lock().unwrap().recv();
                Ok(())
            };
            let asks = tokio::spawn(async move { reads.wait(hangs).await });
            // It hangs, or waits for a place.
            tokio::time::sleep(Duration::from_millis(1)).await;
            while begun.load(Ordering::SeqCst) <= number.min(READS - 1) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            asks.abort();
            let _ = asks.await;
        }
        assert_eq!(begun.load(Ordering::SeqCst), READS);
        drop(ends);
        assert!(reads.wait(|| Ok(())).await.is_ok(), "they are free again when the disk has answered");
    }
}
