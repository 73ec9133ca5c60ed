//! Bytes as a row of choices. Past the end every choice is the first one, so that any prefix of an input is an input
//! and the fuzzer may cut where it likes.

/// An input of a fuzzer, read from its beginning.
pub struct Tape<'a> {
    rest: &'a [u8],
}

impl<'a> Tape<'a> {
    /// From its first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Tape { rest: bytes }
    }

    /// Whether all that follows is the first choice.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte; 0 past the end.
    pub fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *byte
    }

    /// Four bytes, big-endian.
    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    /// Eight bytes, big-endian.
    pub fn u64(&mut self) -> u64 {
        u64::from(self.u32()) << 32 | u64::from(self.u32())
    }

    /// 0 to `n - 1`.
    pub fn below(&mut self, n: usize) -> usize {
        let choice = if n > 256 {
            usize::from(self.byte()) << 8 | usize::from(self.byte())
        } else {
            usize::from(self.byte())
        };
        choice % n
    }

    /// One of a list that is not empty.
    #[allow(clippy::indexing_slicing, reason = "below its length")]
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// The next `len` bytes, or what is left.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (head, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        head
    }

    /// So many of the next bytes as the first of them says.
    pub fn counted(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte());
        self.take(len)
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        self.take(usize::MAX)
    }
}
