//! The way of the log to stderr: a queue of a bounded size and a thread of its own. Whoever logs never waits, whatever
//! reads the log: what finds no room is lost, counted, and the count is said as soon as lines are taken again.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Bytes that wait to be taken at most: some seconds of the loudest log that the limiter allows.
pub const MOST: usize = 1 << 20;
/// After an error that is not one of waiting (a full disk, a pipe without a reader), so that it does not turn in circles.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    lines: u64,
    lost: u64,
    /// The thread has taken something and not written it yet.
    is_writing: bool,
}

/// Lines on their way.
#[derive(Default)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line, or counts it as lost. Never waits for anybody who reads.
    pub fn push(&self, line: &str) {
        let mut waiting = self.lock();
        if waiting.bytes.len() + line.len() + 1 > MOST {
            waiting.lost += 1;
            return;
        }
        waiting.bytes.extend_from_slice(line.as_bytes());
        waiting.bytes.push(b'\n');
        waiting.lines += 1;
        drop(waiting);
        self.changed.notify_all();
    }

    /// Waits until all is written, for so long at most. Whether it was.
    pub fn flush(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut waiting = self.lock();
        while waiting.is_writing || waiting.lines > 0 || waiting.lost > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            waiting = self.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Takes all that waits, and after it what was lost, as `lost` says it. Empty when nothing came for `patience`.
    fn take(&self, patience: Duration, lost: impl Fn(u64) -> String) -> (Vec<u8>, u64) {
        let mut waiting = self.lock();
        // Without a loop: a wake-up for nothing is a tick that comes early.
        if waiting.lines == 0 && waiting.lost == 0 {
            waiting = self.changed.wait_timeout(waiting, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut bytes = std::mem::take(&mut waiting.bytes);
        let mut lines = std::mem::take(&mut waiting.lines);
        if waiting.lost > 0 {
            bytes.extend(lost(waiting.lost).into_bytes());
            bytes.push(b'\n');
            // If this is lost in its turn, so is what it counts.
            lines += std::mem::take(&mut waiting.lost);
        }
        waiting.is_writing = !bytes.is_empty();
        (bytes, lines)
    }

    fn written(&self, lost: u64) {
        let mut waiting = self.lock();
        waiting.is_writing = false;
        waiting.lost += lost;
        drop(waiting);
        self.changed.notify_all();
    }

    /// Writes what comes, for ever; once a second at least, `tick` may add lines.
    pub fn serve(&self, to: impl AsFd, lost: impl Fn(u64) -> String, tick: impl Fn()) {
        loop {
            let (bytes, lines) = self.take(Duration::from_secs(1), &lost);
            let written = write(to.as_fd(), &bytes);
            self.written(if written.is_ok() { 0 } else { lines });
            if written.is_err() {
                std::thread::sleep(PAUSE);
            }
            tick();
        }
    }
}

/// Writes all of it, however long that takes.
fn write(to: BorrowedFd<'_>, mut rest: &[u8]) -> Result<(), Errno> {
    while !rest.is_empty() {
        match rustix::io::write(to, rest) {
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            // Whoever shares it with us has made it so that it does not wait.
            Err(Errno::AGAIN) => {
                let timeout = Timespec { tv_sec: 1, tv_nsec: 0 };
                poll(&mut [PollFd::new(&to, PollFlags::OUT)], Some(&timeout))?;
            }
            Err(cause) => return Err(cause),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn lost(count: u64) -> String {
        format!("{count} lost")
    }

    fn serve(queue: &Arc<Queue>, to: std::io::PipeWriter) {
        let queue = queue.clone();
        std::thread::spawn(move || queue.serve(to, lost, || ()));
    }

    #[test]
    fn a_pipe_that_nobody_reads_holds_nobody_up_and_later_each_line_is_there_or_counted() {
        let (from, to) = std::io::pipe().unwrap();
        let queue = Arc::new(Queue::default());
        serve(&queue, to);
        let line = "x".repeat(999);
        for _ in 0..5_000 {
            queue.push(&line);
        }
        assert!(!queue.flush(Duration::from_millis(50)));
        assert!(queue.lock().bytes.len() <= MOST);
        let reader = std::thread::spawn(move || {
            let lines = BufReader::new(from).lines().map(Result::unwrap).take_while(|line| line != "end");
            let (counts, lines): (Vec<_>, Vec<_>) = lines.partition(|line| line.ends_with(" lost"));
            let counts = counts.iter().map(|line| line.split(' ').next().unwrap().parse::<usize>().unwrap());
            (lines.len(), counts.sum::<usize>())
        });
        assert!(queue.flush(Duration::from_secs(60)));
        queue.push("end");
        let (lines, counted) = reader.join().unwrap();
        assert_eq!(lines + counted, 5_000);
        assert!(counted > 0 && lines >= 1_000, "{lines} lines, {counted} lost");
    }

    #[test]
    fn what_a_pipe_without_a_reader_refuses_is_counted() {
        let (from, to) = std::io::pipe().unwrap();
        drop(from);
        let queue = Arc::new(Queue::default());
        serve(&queue, to);
        queue.push("a");
        queue.push("b");
        while queue.lock().lost < 2 {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(queue.lock().lost, 2);
    }

    #[test]
    fn a_descriptor_that_does_not_wait_gets_all_of_it_too() {
        let (from, to) = std::io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&to, true).unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let told = done.clone();
        let writer = std::thread::spawn(move || {
            write(to.as_fd(), &vec![b'x'; 1 << 20]).unwrap();
            told.store(true, Ordering::SeqCst);
        });
        assert!(!done.load(Ordering::SeqCst));
        assert_eq!(std::io::copy(&mut BufReader::new(from), &mut std::io::sink()).unwrap(), 1 << 20);
        writer.join().unwrap();
    }
}
