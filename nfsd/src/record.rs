//! Record marking over TCP (RFC 5531 §11): from a byte stream to whole records, within stated bounds.
//!
//! Bounds are checked when a mark is read, before anything is stored, and memory follows the bytes that have
//! really arrived. A peer that announces 2 GiB costs itself a connection and us nothing.

use crate::Error;
use crate::limits::{MAX_FRAGMENTS, MAX_RECORD};

/// What is kept of the buffer between records. Thousands of idle connections must not each hold a large
/// record's room.
const KEPT_CAPACITY: usize = 4 * 1024;

/// The top bit of a mark: this fragment ends the record.
const LAST_FRAGMENT: u32 = 0x8000_0000;

/// Puts records together from what a TCP connection delivers, in pieces of any size.
#[derive(Debug, Default)]
pub struct RecordStream {
    /// Bytes of the record so far, when it did not arrive in one piece.
    partial: Vec<u8>,
    /// The mark so far, when it was cut by the end of a read.
    mark: [u8; 4],
    mark_len: usize,
    /// Bytes of the current fragment that are still to come.
    left: usize,
    last: bool,
    fragments: u32,
    /// `partial` was handed out as a record by the call before.
    handed_out: bool,
    failed: Option<Error>,
}

impl RecordStream {
    /// A stream at its start, or one that begins anew after a reconnect.
    pub fn new() -> Self {
        RecordStream::default()
    }

    /// True between records: nothing of a record has arrived. The shell's idle and first-record deadlines
    /// need it.
    pub fn is_idle(&self) -> bool {
        self.mark_len == 0 && self.left == 0 && self.fragments == 0
    }

    /// Takes bytes off the front of `input` until a record is whole, and returns it without its marks.
    ///
    /// `Ok(None)` means that `input` is used up; call again with what the next read brings. A record that
    /// lies whole in `input` is returned in place, without a copy.
    ///
    /// # Errors
    /// [`Error::RecordTooLong`], [`Error::TooManyFragments`] and [`Error::EmptyRecord`] say that the
    /// connection must be closed. The stream stays failed: what follows such a mark has no known meaning.
    pub fn next<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Result<Option<&'s [u8]>, Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.handed_out {
            self.handed_out = false;
            self.partial.clear();
            self.partial.shrink_to(KEPT_CAPACITY);
        }
        loop {
            if self.left == 0 && !self.last {
                if !self.read_mark(input)? {
                    return Ok(None);
                }
                if self.partial.is_empty()
                    && self.last
                    && let Some((record, rest)) = input.split_at_checked(self.left)
                {
                    *input = rest;
                    self.end_record();
                    return if record.is_empty() {
                        Err(self.fail(Error::EmptyRecord))
                    } else {
                        Ok(Some(record))
                    };
                }
            }
            let (piece, rest) = input.split_at_checked(self.left).unwrap_or((input, &[]));
            self.partial.extend_from_slice(piece);
            self.left = self.left.saturating_sub(piece.len());
            *input = rest;
            if self.left > 0 {
                return Ok(None);
            }
            if self.last {
                self.end_record();
                self.handed_out = true;
                return Ok(Some(&self.partial));
            }
        }
    }

    /// Reads as much of a mark as `input` has; true once it is whole and within bounds.
    fn read_mark(&mut self, input: &mut &[u8]) -> Result<bool, Error> {
        while let Some(slot) = self.mark.get_mut(self.mark_len) {
            let Some((byte, rest)) = input.split_first() else { return Ok(false) };
            *slot = *byte;
            *input = rest;
            self.mark_len += 1;
        }
        self.mark_len = 0;
        let mark = u32::from_be_bytes(self.mark);
        let len = usize::try_from(mark & !LAST_FRAGMENT).map_err(|_| self.fail(Error::RecordTooLong))?;
        if len > MAX_RECORD.saturating_sub(self.partial.len()) {
            return Err(self.fail(Error::RecordTooLong));
        }
        self.fragments += 1;
        if self.fragments > MAX_FRAGMENTS {
            return Err(self.fail(Error::TooManyFragments));
        }
        self.left = len;
        self.last = mark & LAST_FRAGMENT != 0;
        Ok(true)
    }

    fn end_record(&mut self) {
        self.left = 0;
        self.last = false;
        self.fragments = 0;
    }

    fn fail(&mut self, error: Error) -> Error {
        self.partial = Vec::new();
        self.failed = Some(error);
        error
    }
}
