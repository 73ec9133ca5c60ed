//! A batch of replies: inline bytes, and ranges of file contents that the shell sends as it likes.
//!
//! Contents never pass through this crate. A READ reply is header, range, padding; its record mark already
//! counts all three. Many replies go into one batch, so that a pipelined client is answered with one write,
//! and each reply is one contiguous piece: klibc's nfsmount takes whatever one read(2) gives it for the whole
//! reply.

use crate::xdr::Writer;

/// How a message came, and so how its reply is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A record; replies carry record marks.
    Tcp,
    /// A datagram; the reply is the datagram to send back.
    Udp,
}

/// A run of bytes of one object, to be sent in place. An object that turns out shorter is the shell's to
/// handle: as long as nothing of the reply has been sent, with [`crate::lost`]; later it can only close the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileRange {
    /// The content id, as given by [`crate::Tree::object`].
    pub object: [u8; 32],
    /// Of its first byte, from the object's beginning.
    pub offset: u64,
    /// Number of bytes, 1 to [`crate::MAX_READ`].
    pub len: u32,
}

/// A piece of the output, in sending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment<'a> {
    /// Send these bytes; never empty.
    Bytes(&'a [u8]),
    /// Send these file contents.
    File(FileRange),
}

/// Replies waiting to be sent on one connection, or in one datagram.
#[derive(Debug, Default, Clone)]
pub struct Replies {
    bytes: Vec<u8>,
    /// Each range with its position: it is sent before the byte of `bytes` at that index.
    ranges: Vec<(usize, FileRange)>,
    /// For each range, the bytes of its reply that stand before it.
    heads: Vec<usize>,
    file_bytes: u64,
}

/// A point to go back to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checkpoint {
    bytes: usize,
    ranges: usize,
    file_bytes: u64,
}

/// A reply that has been begun and not yet ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    start: Checkpoint,
    transport: Transport,
}

impl Replies {
    /// An empty batch. Keep it and [`clear`](Replies::clear) it: its room is used again.
    pub fn new() -> Self {
        Replies::default()
    }

    /// What to send, in order.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        let mut from = 0;
        let tail = self.ranges.last().map_or(0, |(position, _)| *position);
        let ranged = self.ranges.iter().flat_map(move |(position, range)| {
            let inline = self.bytes.get(from..*position).unwrap_or_default();
            from = *position;
            [Segment::Bytes(inline), Segment::File(*range)]
        });
        let rest = Segment::Bytes(self.bytes.get(tail..).unwrap_or_default());
        ranged.chain([rest]).filter(|segment| !matches!(segment, Segment::Bytes([])))
    }

    /// The inline bytes alone; the whole output when [`ranges`](Replies::ranges) is empty.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The file ranges, each with the index into [`bytes`](Replies::bytes) before which it is sent.
    pub fn ranges(&self) -> &[(usize, FileRange)] {
        &self.ranges
    }

    /// How many bytes before the range with this number are of its own reply, mark included. Until those are sent, the
    /// reply can still be [another one](crate::lost).
    pub fn head(&self, range: usize) -> usize {
        self.heads.get(range).copied().unwrap_or_default()
    }

    /// Bytes that follow a range and belong to its reply.
    pub fn padding(range: &FileRange) -> usize {
        usize::try_from(range.len).map_or(0, crate::xdr::pad)
    }

    /// Bytes that sending this batch will put on the wire, contents included: what in-flight limits count.
    pub fn len(&self) -> u64 {
        self.file_bytes.saturating_add(u64::try_from(self.bytes.len()).unwrap_or(u64::MAX))
    }

    /// True when there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of memory that this batch and its room take up.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity() + self.ranges.capacity() * size_of::<(usize, FileRange)>()
    }

    /// Forgets what has been sent, keeps the room.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ranges.clear();
        self.heads.clear();
        self.file_bytes = 0;
    }

    pub(crate) fn writer(&mut self) -> Writer<'_> {
        Writer::new(&mut self.bytes)
    }

    pub(crate) fn file(&mut self, range: FileRange) {
        // The frame says at its end where the reply began.
        self.heads.push(0);
        self.ranges.push((self.bytes.len(), range));
        self.file_bytes += u64::from(range.len);
    }

    pub(crate) fn checkpoint(&self) -> Checkpoint {
        Checkpoint { bytes: self.bytes.len(), ranges: self.ranges.len(), file_bytes: self.file_bytes }
    }

    pub(crate) fn rollback(&mut self, to: Checkpoint) {
        self.bytes.truncate(to.bytes);
        self.ranges.truncate(to.ranges);
        self.heads.truncate(to.ranges);
        self.file_bytes = to.file_bytes;
    }

    /// Begins a reply; over TCP it leaves room for the record mark.
    pub(crate) fn open(&mut self, transport: Transport) -> Frame {
        let start = self.checkpoint();
        if transport == Transport::Tcp {
            self.writer().u32(0);
        }
        Frame { start, transport }
    }

    /// Ends a reply: its record mark says how much has been written since, as one last fragment.
    pub(crate) fn close(&mut self, frame: Frame) {
        if frame.transport == Transport::Udp {
            return;
        }
        let contents = self.file_bytes.saturating_sub(frame.start.file_bytes);
        let own = self.heads.iter_mut().zip(&self.ranges).skip(frame.start.ranges);
        own.for_each(|(head, (position, _))| *head = position.saturating_sub(frame.start.bytes));
        if let Some(reply) = self.bytes.get_mut(frame.start.bytes..)
            && let Some((mark, body)) = reply.split_first_chunk_mut::<4>()
        {
            let len = u64::try_from(body.len()).unwrap_or(u64::MAX).saturating_add(contents);
            *mark = (0x8000_0000 | u32::try_from(len).unwrap_or(u32::MAX)).to_be_bytes();
        }
    }

    /// Takes back a reply that has been begun.
    pub(crate) fn cancel(&mut self, frame: Frame) {
        self.rollback(frame.start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: FileRange = FileRange { object: [1; 32], offset: 0, len: 5 };

    #[test]
    fn the_mark_counts_inline_bytes_contents_and_padding() {
        let mut out = Replies::new();
        for _ in 0..2 {
            let frame = out.open(Transport::Tcp);
            out.writer().u64(9);
            out.file(RANGE);
            out.writer().padding(5);
            out.close(frame);
        }
        let reply = [0x80, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 9];
        let middle = [&[0; 3][..], &reply].concat();
        let sent: Vec<_> = out.segments().collect();
        let file = Segment::File(RANGE);
        assert_eq!(
            sent,
            [Segment::Bytes(&reply), file, Segment::Bytes(&middle), file, Segment::Bytes(&[0; 3])]
        );
        assert_eq!(out.len(), 40);
    }

    #[test]
    fn a_reply_taken_back_leaves_no_trace() {
        let mut out = Replies::new();
        let frame = out.open(Transport::Tcp);
        out.writer().u64(9);
        out.file(RANGE);
        out.cancel(frame);
        assert!(out.is_empty());
        assert_eq!((out.len(), out.segments().count()), (0, 0));
    }
}
