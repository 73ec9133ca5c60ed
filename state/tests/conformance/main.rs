//! The conformance suite, run over the backends that there are. One of another crate takes `suite.rs` by `#[path]`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at its first surprise"
)]

mod suite;

use oneroot_state::{Backend, Disk, Memory, State};
use suite::Fresh;

struct InMemory;

impl Fresh for InMemory {
    type Backend = Memory;

    fn fresh(&mut self) -> Memory {
        Memory::default()
    }
}

/// Each in a directory of its own, which goes with the last of them.
struct OnDisk(tempfile::TempDir, u32);

impl OnDisk {
    fn new() -> Self {
        // In memory where there is some: thousands of syncs are not what is tested.
        Self(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap(), 0)
    }
}

impl Fresh for OnDisk {
    type Backend = Disk;

    fn fresh(&mut self) -> Disk {
        self.1 += 1;
        Disk::open(&self.0.path().join(self.1.to_string())).unwrap()
    }
}

/// As a server has it.
struct Chosen<F>(F);

impl<F: Fresh> Fresh for Chosen<F>
where
    State: From<F::Backend>,
{
    type Backend = State;

    fn fresh(&mut self) -> State {
        self.0.fresh().into()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_conforms() {
    suite::conforms(&mut InMemory).await;
    assert_eq!(Memory::default().health(), oneroot_state::Health::Durable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_conforms() {
    suite::conforms(&mut OnDisk::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_was_started_with_conforms() {
    suite::conforms(&mut Chosen(InMemory)).await;
    suite::conforms(&mut Chosen(OnDisk::new())).await;
}
