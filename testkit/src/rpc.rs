//! ONC RPC as a client speaks it, for tests: calls in records (RFC 5531 §11), results word by word (RFC 4506). Written from
//! the RFCs, and sharing nothing with `nfsd`.

use std::io::{self, Read};

use anyhow::{Context as _, Result, ensure};

/// Bytes of a node's attributes (fattr3).
const ATTRIBUTES: usize = 84;
/// Set in the mark of a record's last fragment.
const LAST: u32 = 0x8000_0000;

/// Words, as XDR has them.
#[must_use]
pub fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A counted opaque, padded.
#[must_use]
pub fn opaque(bytes: &[u8]) -> Vec<u8> {
    let mut out = words(&[u32::try_from(bytes.len()).unwrap_or(u32::MAX)]);
    out.extend(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// A message without its record mark: what a datagram holds. The caller is root.
#[must_use]
pub fn message(xid: u32, [program, version, procedure]: [u32; 3], arguments: &[u8]) -> Vec<u8> {
    // AUTH_SYS: stamp, no name, uid, gid, no groups; then no verifier.
    let head = words(&[xid, 0, 2, program, version, procedure, 1, 20, 0, 0, 0, 0, 0, 0, 0]);
    [head, arguments.to_vec()].concat()
}

/// A call as one record.
#[must_use]
pub fn call(xid: u32, procedure: [u32; 3], arguments: &[u8]) -> Vec<u8> {
    let message = message(xid, procedure, arguments);
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [words(&[LAST | length]), message].concat()
}

/// Reads one record, of however many fragments.
pub fn record(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut record = Vec::new();
    loop {
        let mut mark = [0; 4];
        from.read_exact(&mut mark)?;
        let mark = u32::from_be_bytes(mark);
        let begun = record.len();
        record.resize(begun + usize::try_from(mark & !LAST).unwrap_or(usize::MAX), 0);
        from.read_exact(record.get_mut(begun..).unwrap_or_default())?;
        if mark & LAST != 0 {
            return Ok(record);
        }
    }
}

/// A result, being read.
pub struct Answer {
    bytes: Vec<u8>,
    read: usize,
}

impl Answer {
    /// What follows the head of an accepted reply with status SUCCESS to this call.
    pub fn accepted(record: Vec<u8>, xid: u32) -> Result<Self> {
        let mut answer = Self { bytes: record, read: 0 };
        for word in [xid, 1, 0, 0, 0, 0] {
            ensure!(answer.word()? == word, "an RPC answer that is no success");
        }
        Ok(answer)
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Result<Vec<u8>> {
        let bytes = self.bytes.get(self.read..self.read + count).context("a short answer")?;
        self.read += count;
        Ok(bytes.to_vec())
    }

    /// A word.
    pub fn word(&mut self) -> Result<u32> {
        let four: [u8; 4] = self.bytes(4)?.try_into().ok().context("a short answer")?;
        Ok(u32::from_be_bytes(four))
    }

    /// A counted opaque.
    pub fn opaque(&mut self) -> Result<Vec<u8>> {
        let count = usize::try_from(self.word()?)?;
        let bytes = self.bytes(count)?;
        self.bytes(count.next_multiple_of(4) - count)?;
        Ok(bytes)
    }

    /// `post_op_attr`: the type, where there are attributes.
    pub fn attributes(&mut self) -> Result<Option<u32>> {
        if self.word()? == 0 {
            return Ok(None);
        }
        let kind = self.word()?;
        self.bytes(ATTRIBUTES - 4)?;
        Ok(Some(kind))
    }
}
