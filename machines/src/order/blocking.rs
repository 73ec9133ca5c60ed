//! Work that waits for a disk, on a thread of its own, and the place that it has among those that may.

use std::io;

/// Does something that blocks, and holds a place until it has ended: a thread that waits for a disk can't be called back, so whoever
/// asks and goes again and again would have one more each time.
///
/// # Errors
/// The work panicked, or the runtime ends.
pub async fn blocking<T: Send + 'static>(
    place: impl Send + 'static,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let work = move || {
        let _place = place;
        work()
    };
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}
