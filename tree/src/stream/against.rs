//! A stream told against that of an older index, which the other side has: what is taken from there, and what is new.
//!
//! ```text
//! pieces, to the end:   where in the older stream, how many bytes of it; how many new bytes, and those
//! ```
//! Both are walked side by side, directory by directory and name by name: what a name stands for is the same bytes in both, or is
//! told anew. That costs a comparison a name, where a packer that knows nothing of names has to look for what is the same.

use std::io::{self, Read};

use super::{Laid, malformed, number, read_number};
use crate::error::{Error, Result};
use crate::index::{Index, ROOT};

/// A part of a stream.
type Part = (usize, usize);

/// What is told so far.
#[derive(Default)]
struct Pieces {
    told: Vec<u8>,
    /// What is taken from the older stream,
    taken: Part,
    /// and the part of the newer one that is told behind it.
    new: Part,
}

impl Pieces {
    /// The next part of the newer stream, which may be one of the older.
    fn next(&mut self, part: Part, of: &Laid, older: Option<Part>, from: &Laid) {
        let same = older.filter(|older| {
            let bytes = from.bytes.get(older.0..older.1);
            bytes.is_some() && bytes == of.bytes.get(part.0..part.1)
        });
        let is_told = self.new.0 == self.new.1;
        match same {
            Some(older) if is_told && older.0 == self.taken.1 => self.taken.1 = older.1,
            Some(older) => {
                self.end(of);
                (self.taken, self.new) = (older, (0, 0));
            }
            None if is_told => self.new = part,
            None => self.new.1 = part.1,
        }
    }

    /// Writes down what is known of the last piece.
    fn end(&mut self, of: &Laid) {
        let new = of.bytes.get(self.new.0..self.new.1).unwrap_or_default();
        if self.taken.0 == self.taken.1 && new.is_empty() {
            return;
        }
        for word in [self.taken.0, self.taken.1 - self.taken.0, new.len()] {
            number(&mut self.told, word as u64);
        }
        self.told.extend_from_slice(new);
    }
}

/// What an index's stream is beside that of an older one.
pub(super) fn tell(index: &Index, older: &Index) -> Vec<u8> {
    let (of, from) = (Laid::out(index), Laid::out(older));
    let mut pieces = Pieces::default();
    pieces.next((0, of.root), &of, Some((0, from.root)), &from);
    // By inode number, the directory of the older index that is in the same place.
    let mut was: Vec<u32> = vec![0; index.inodes() as usize + 1];
    let place = |number: u32| number as usize;
    if let Some(root) = was.get_mut(place(ROOT)) {
        *root = ROOT;
    }
    for directory in 1..=index.inodes() {
        let Some((first, count)) = run(index, directory) else { continue };
        let before = was.get(place(directory)).copied().filter(|before| *before != 0);
        let (mut at, end) =
            before.and_then(|before| run(older, before)).map_or((0, 0), |(at, count)| (at, at + count));
        let head = before.and_then(|before| from.heads.get(place(before)).copied());
        pieces.next(of.heads.get(place(directory)).copied().unwrap_or_default(), &of, head, &from);
        for name in first..first.saturating_add(count) {
            let Some(entry) = index.entry(name) else { continue };
            while at < end && older.entry(at).is_some_and(|one| one.name < entry.name) {
                at += 1;
            }
            let same = older.entry(at).filter(|one| at < end && one.name == entry.name);
            let part = same.and_then(|_| from.names.get(place(at)).copied());
            pieces.next(of.names.get(place(name)).copied().unwrap_or_default(), &of, part, &from);
            if let (Some(same), Some(is)) = (same, was.get_mut(place(entry.inode))) {
                *is = same.inode;
            }
        }
    }
    pieces.end(&of);
    pieces.told
}

/// A directory's names; none for what is no directory.
fn run(index: &Index, number: u32) -> Option<(u32, u32)> {
    index.inode(number).filter(|inode| inode.kind().is_directory()).map(|inode| inode.run())
}

/// Puts a stream together again. `most` says how long it may be after so much was sent.
pub(super) fn put_together(from: &mut impl Read, older: &[u8], most: impl Fn() -> u64) -> Result<Vec<u8>> {
    let mut stream = Vec::with_capacity(older.len());
    loop {
        let mut first = [0];
        if from.read(&mut first).map_err(Error::Stream)? == 0 {
            return Ok(stream);
        }
        let at = read_number(&mut first.as_slice().chain(&mut *from))?;
        let (count, new) = (read_number(from)?, read_number(from)?);
        let place = |word: u64| usize::try_from(word).ok();
        let taken = place(at).zip(place(count)).and_then(|(at, count)| older.get(at..at.checked_add(count)?));
        let taken = taken.ok_or_else(|| malformed("it takes what the older one has not"))?;
        let length = (stream.len() as u64).saturating_add(count).saturating_add(new);
        if length > most() {
            return Err(malformed("it is far longer than a tree of its size"));
        }
        stream.extend_from_slice(taken);
        if from.by_ref().take(new).read_to_end(&mut stream).map_err(Error::Stream)? as u64 != new {
            return Err(Error::Stream(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}
