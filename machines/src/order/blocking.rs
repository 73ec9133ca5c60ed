//! Work that waits for a disk, on a thread of its own, and the place that it has among those that may.

use std::io;

/// Does something that blocks, and holds a place until it has ended: a thread that waits for a disk can't be called back, so whoever
/// asks and goes again and again would have one more each time.
///
/// It begins at once. What is waited for is a handle and nothing else: each of thousands of connections has room for it all the time.
///
/// # Errors
/// The work panicked, or the runtime ends.
pub fn blocking<T: Send + 'static>(
    place: impl Send + 'static,
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = io::Result<T>> + Send {
    let running = tokio::task::spawn_blocking(move || {
        let _place = place;
        work()
    });
    async move { running.await.map_err(io::Error::other) }
}
