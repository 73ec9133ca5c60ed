//! Objects of a stream become files on several threads: one reads, and others check, write and describe.
//!
//! Most files of a tree are small, and what one costs is calls of the system. So small ones are read one behind the other into a
//! batch, which a thread takes whole; a large one is written by whoever reads. There are so many batches and no more, so that memory
//! is bounded however fast a stream comes.

use std::io::{self, Read};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::{Mode, OFlags};

use super::incoming::{Incoming, fill, name};
use crate::confine::Dir;
use crate::error::{Error, Result};
use crate::node::Meta;
use crate::parallel::beside;
use oneroot_ids::ObjectId;

/// Bytes of an object up to which it is in a batch with others, and bytes after which a batch is taken.
const SMALL: usize = 256 * 1024;
/// Objects after which it is.
const OBJECTS: usize = 128;
/// Batches for each thread.
const EACH: usize = 3;

/// What an object is to be described as, where that is known when it comes: the one file that is made of it.
pub type Describes<'d> = &'d (dyn Fn(ObjectId) -> Option<Meta> + Sync);

/// Small objects one behind the other, each with the place where it ends.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    used: usize,
    objects: Vec<(ObjectId, usize)>,
}

/// What was written.
#[derive(Default)]
struct Written {
    objects: Vec<(ObjectId, bool)>,
    failed: Option<Error>,
}

#[derive(Default)]
struct Queue {
    todo: Vec<Batch>,
    spare: Vec<Batch>,
    /// Batches that are being written.
    busy: usize,
    is_over: bool,
    written: Written,
}

/// The batches of one stream.
#[derive(Default)]
struct Batches {
    queue: Mutex<Queue>,
    /// There is a batch to write, or it is over.
    more: Condvar,
    /// There is an empty one, or all are written.
    less: Condvar,
}

impl Batches {
    fn of(threads: usize) -> Self {
        let spare = (0..threads.max(1) * EACH).map(|_| Batch::default()).collect();
        Self { queue: Mutex::new(Queue { spare, ..Queue::default() }), ..Self::default() }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what there is, until it is over.
    fn work(&self, write: &dyn Fn(&Batch, &mut Written)) {
        let _ended = Ended(self);
        let mut queue = self.queue();
        loop {
            let Some(mut batch) = queue.todo.pop() else {
                if queue.is_over {
                    return;
                }
                queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            queue.busy += 1;
            drop(queue);
            let mut written = Written::default();
            write(&batch, &mut written);
            (batch.used, queue) = (0, self.queue());
            batch.objects.clear();
            queue.busy -= 1;
            queue.spare.push(batch);
            queue.written.objects.append(&mut written.objects);
            let before = queue.written.failed.take();
            queue.written.failed = before.or(written.failed);
            self.less.notify_one();
        }
    }

    /// An empty batch, as soon as there is one; none where something could not be written.
    fn empty(&self) -> Option<Batch> {
        let mut queue = self.queue();
        loop {
            if queue.written.failed.is_some() {
                return None;
            }
            if let Some(batch) = queue.spare.pop() {
                return Some(batch);
            }
            queue = self.less.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until all that was given is written, or something could not be; whether all was.
    fn rest(&self) -> bool {
        let mut queue = self.queue();
        while queue.written.failed.is_none() && (queue.busy > 0 || !queue.todo.is_empty()) {
            queue = self.less.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.written.failed.is_none()
    }

    fn give(&self, batch: Batch) {
        // An empty one that was never taken from the spare ones would be one more of them.
        if batch.bytes.is_empty() {
            return;
        }
        self.queue().todo.push(batch);
        self.more.notify_one();
    }

    /// No more come.
    fn end(&self) {
        self.queue().is_over = true;
        self.more.notify_all();
    }
}

/// Whoever reads ends them, also where it ends by a panic: nobody waits for more then.
struct Over<'b>(&'b Batches);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A thread that ends by a panic must not be waited for.
struct Ended<'b>(&'b Batches);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.queue().written.failed = Some(Error::Mistake("a thread that writes has panicked"));
            self.0.less.notify_all();
        }
    }
}

impl Incoming {
    /// Takes in objects, in their order, what is here of the [begun](Self::begun) one left out. Those that `describes` knows are
    /// described at once.
    ///
    /// # Errors
    /// [`Error::OtherObject`] for bytes that are not the object's; [`Error::Cut`] when the stream ends before its end, and what
    /// came is kept; the system's.
    pub fn receive_all(
        &mut self,
        wanted: &[(ObjectId, u64)],
        describes: Describes<'_>,
        from: &mut dyn Read,
    ) -> Result<()> {
        // Only of the first one that is wanted the beginning is left out.
        if let Some(begun) =
            self.begun_one().filter(|begun| wanted.first().is_none_or(|(first, _)| first != begun))
        {
            self.forget(begun);
        }
        let batches = Batches::of(crate::parallel::threads());
        let held = self.held.clone();
        let write = |batch: &Batch, to: &mut Written| {
            let mut begin = 0;
            for (object, end) in &batch.objects {
                let bytes = batch.bytes.get(begin..*end).unwrap_or_default();
                begin = *end;
                match written(&held, *object, bytes, describes) {
                    Ok(is_described) => to.objects.push((*object, is_described)),
                    Err(cause) => {
                        to.failed = Some(cause);
                        return;
                    }
                }
            }
        };
        let read = beside(
            || batches.work(&write),
            |alone| {
                let _over = Over(&batches);
                self.read_all(wanted, from, &batches, &|| {
                    if alone {
                        batches.end();
                        batches.work(&write);
                    }
                })
            },
        );
        let Written { objects, failed } =
            batches.queue.into_inner().unwrap_or_else(PoisonError::into_inner).written;
        for (object, is_described) in objects {
            self.came(object, is_described);
        }
        failed.map_or(read, Err)
    }

    /// Reads a stream into batches. `written` is called for each where nobody else takes them.
    fn read_all(
        &mut self,
        wanted: &[(ObjectId, u64)],
        from: &mut dyn Read,
        batches: &Batches,
        written: &dyn Fn(),
    ) -> Result<()> {
        let mut batch = Batch::default();
        for (object, size) in wanted {
            let Some(size) = small(*size).filter(|_| self.begun(*object, *size) == 0) else {
                // All before it is here before its beginning is: so it is the first that is wanted where this is cut off.
                batches.give(std::mem::take(&mut batch));
                written();
                if !batches.rest() {
                    return Ok(());
                }
                self.large(*object, *size, from)?;
                continue;
            };
            if batch.bytes.is_empty() {
                let Some(mut empty) = batches.empty() else { return Ok(()) };
                empty.bytes.resize(2 * SMALL, 0);
                batch = empty;
            }
            let end = batch.used + size;
            let (count, cut) = fill(from, batch.bytes.get_mut(batch.used..end).unwrap_or_default());
            if let Some(cut) = cut {
                // Even of a small one: a connection that is cut off every few bytes would never bring it.
                let came = batch.bytes.get(batch.used..batch.used + count).unwrap_or_default().to_vec();
                batches.give(batch);
                written();
                if !batches.rest() {
                    return Ok(());
                }
                return self.large(*object, size as u64, &mut came.as_slice().chain(Cut(Some(cut))));
            }
            batch.used = end;
            batch.objects.push((*object, end));
            if end >= SMALL || batch.objects.len() >= OBJECTS {
                batches.give(std::mem::take(&mut batch));
                written();
            }
        }
        batches.give(batch);
        written();
        Ok(())
    }
}

/// An object's size, where it is a small one.
pub(super) fn small(size: u64) -> Option<usize> {
    usize::try_from(size).ok().filter(|size| *size <= SMALL)
}

/// The end of a stream that has ended before its end.
pub(super) struct Cut(pub Option<io::Error>);

impl Read for Cut {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(self.0.take().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()))
    }
}

/// Writes an object, if these are its bytes; whether it is described, too.
pub(super) fn written(held: &Dir, object: ObjectId, bytes: &[u8], describes: Describes<'_>) -> Result<bool> {
    if blake3::hash(bytes).as_bytes() != &object.0 {
        return Err(Error::OtherObject(object));
    }
    let name = name(object);
    let failed = |cause: io::Error| Error::io("write", held.path().join(&name))(cause);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(held, &name, flags, Mode::RUSR | Mode::WUSR);
    let file = file.map_err(|cause| failed(cause.into()))?;
    let mut rest = bytes;
    while !rest.is_empty() {
        match rustix::io::write(&file, rest) {
            Ok(0) => return Err(failed(io::ErrorKind::WriteZero.into())),
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(cause) => return Err(failed(cause.into())),
        }
    }
    // What can't be set is told when the file gets its name. One that its own user could not read is described then, too: the next
    // run could do nothing with it.
    let described = describes(object).filter(|meta| meta.mode & 0o400 != 0).map(|meta| {
        use std::os::fd::AsFd as _;
        crate::disk::describe(file.as_fd(), &meta, false, &mut |_| false)
    });
    Ok(described.is_some_and(|described| described.is_ok()))
}
