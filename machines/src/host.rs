//! What the domain asks of the host that it runs on: what time it is, and for bytes that nobody can guess. Both are handed
//! in, so that a test says what time it is.

use std::future::Future;
use std::io;
use std::pin::Pin;

/// Something that ends once time has passed.
pub type Passing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The host. Two kinds of time: *site time*, by which leases and boots go, never jumps; the wall clock is for people
/// (docs/decisions/0009).
pub trait Host: Send + Sync {
    /// Site time, in seconds since 1970.
    fn now(&self) -> u64;

    /// A site time as the wall clock has it now, for people.
    fn shown(&self, time: u64) -> u64;

    /// The site time from which on every duration is sure: the host was off before, and nobody knows for how long.
    fn sure_since(&self) -> u64;

    /// Milliseconds since 1970 by the wall clock.
    fn shown_ms(&self) -> u64;

    /// Seconds of a clock that is cheap to ask and may be some milliseconds late; never 0. For what is asked on every NFS
    /// call, and compared with itself only.
    fn coarse(&self) -> u64;

    /// Ends once so many seconds have passed from now on.
    fn after(&self, seconds: u64) -> Passing;

    /// Fills `bytes` with what nobody can guess.
    ///
    /// # Errors
    /// The kernel has none.
    fn fill_random(&self, bytes: &mut [u8]) -> io::Result<()>;
}

/// So many bytes that nobody can guess.
pub(crate) fn random<const N: usize>(host: &dyn Host) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    host.fill_random(&mut bytes)?;
    Ok(bytes)
}

/// A host whose time stands still unless a test moves it.
#[cfg(test)]
pub(crate) mod still {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Where its clocks stand at first.
    pub const NOW: u64 = 1_800_000_000;

    #[derive(Debug)]
    pub struct Still(Arc<AtomicU64>);

    /// Counted over all hosts of a process: what a server made is not made again after its restart.
    static ASKED: AtomicU64 = AtomicU64::new(1 << 40);

    impl Still {
        pub fn new() -> Arc<Self> {
            Arc::new(Self(Arc::new(AtomicU64::new(NOW))))
        }

        /// So many seconds pass.
        pub fn pass(&self, seconds: u64) {
            self.0.fetch_add(seconds, Ordering::Relaxed);
        }

        /// The clock is set back.
        pub fn go_back(&self, seconds: u64) {
            self.0.fetch_sub(seconds, Ordering::Relaxed);
        }
    }

    impl Host for Still {
        fn now(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }

        fn shown(&self, time: u64) -> u64 {
            time
        }

        fn sure_since(&self) -> u64 {
            0
        }

        fn shown_ms(&self) -> u64 {
            NOW * 1000
        }

        fn coarse(&self) -> u64 {
            NOW
        }

        fn after(&self, seconds: u64) -> Passing {
            let (clock, end) = (self.0.clone(), self.now() + seconds);
            Box::pin(async move {
                while clock.load(Ordering::Relaxed) < end {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            })
        }

        /// Never the same twice.
        fn fill_random(&self, bytes: &mut [u8]) -> io::Result<()> {
            let next = ASKED.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            bytes.iter_mut().zip(next.iter().cycle()).for_each(|(to, from)| *to = *from);
            Ok(())
        }
    }
}
