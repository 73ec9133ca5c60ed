//! What one transfer sends at a time: an OACK, an ERROR, or all blocks of a window, one behind the other.
//!
//! All datagrams of a window but the last are of one length, headers included, so a window is one piece of memory with a
//! stride. The kernel takes exactly that in one call (UDP_SEGMENT, udp(7)) and cuts it up where it leaves the machine.

/// Datagrams to one peer, in the order in which they go out; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagrams {
    bytes: Vec<u8>,
    stride: usize,
}

impl Datagrams {
    /// A single one, which is not empty.
    pub(crate) fn one(bytes: Vec<u8>) -> Self {
        Self { stride: bytes.len().max(1), bytes }
    }

    /// Datagrams of `stride` bytes each, but for the last, which may be shorter.
    pub(crate) fn many(bytes: Vec<u8>, stride: usize) -> Self {
        Self { stride: stride.max(1), bytes }
    }

    /// All of them, one behind the other.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The length of each but the last, which is no longer.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.bytes.len().div_ceil(self.stride)
    }

    /// Each of them, as the client gets it.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks(self.stride)
    }
}
