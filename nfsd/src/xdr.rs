//! XDR (RFC 4506): a reader that borrows and can't run over, and a writer onto a byte vector.
//!
//! No length read from the wire is ever allocated: the reader hands out slices of the message, which the
//! record layer has already bounded. Padding is skipped whatever it holds (RFC 4506 §3 wants zeros, but old
//! clients send rubbish).

/// The bytes do not decode as the type that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The zero bytes that follow an opaque of 1, 2 or 3 bytes over a multiple of four.
const PADDING: [u8; 3] = [0; 3];

/// How many padding bytes follow `len` bytes of opaque data.
pub(crate) const fn pad(len: usize) -> usize {
    len.wrapping_neg() & 3
}

/// Reads XDR items off the front of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Reader { rest: message }
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<4>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*head))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<8>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(u64::from_be_bytes(*head))
    }

    /// Variable-length opaque or string: length, bytes, padding. The caller judges the length; it can't
    /// exceed the message.
    pub(crate) fn opaque(&mut self) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(self.u32()?).map_err(|_| Malformed)?;
        self.opaque_body(len)
    }

    /// The bytes and padding of an opaque whose length was read apart, so that it could be refused first.
    pub(crate) fn opaque_body(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (body, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        let (_, rest) = rest.split_at_checked(pad(len)).ok_or(Malformed)?;
        self.rest = rest;
        Ok(body)
    }

    /// Arguments must end where the procedure's type ends; what follows would be somebody else's meaning.
    pub(crate) fn finish(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// Appends XDR items to a vector.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Writer { out }
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn boolean(&mut self, value: bool) {
        self.u32(u32::from(value));
    }

    /// A run of words in one copy: attributes are 21 of them, and each append on its own would check the
    /// capacity.
    #[inline]
    pub(crate) fn words<const N: usize>(&mut self, words: [u32; N]) {
        let mut bytes = [[0; 4]; N];
        for (to, word) in bytes.iter_mut().zip(words) {
            *to = word.to_be_bytes();
        }
        self.out.extend_from_slice(bytes.as_flattened());
    }

    /// Variable-length opaque or string. Nothing this crate writes comes near 4 GiB; longer input is cut, so
    /// that length and bytes always agree.
    #[inline]
    pub(crate) fn opaque(&mut self, bytes: &[u8]) {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.u32(len);
        self.out.extend_from_slice(bytes);
        self.padding(bytes.len());
    }

    /// Only the padding that belongs after `len` bytes; the bytes themselves may travel outside this vector.
    pub(crate) fn padding(&mut self, len: usize) {
        // A copy of known length, of which some is taken back, is no call.
        let end = self.out.len() + pad(len);
        self.out.extend_from_slice(&PADDING);
        self.out.truncate(end);
    }
}

/// The two words of an XDR hyper, for [`Writer::words`].
pub(crate) const fn halves(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_be_bytes();
    [u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_longer_than_the_message_is_malformed() {
        for len in [5_u32, 0x7fff_fffc, u32::MAX] {
            let mut message = len.to_be_bytes().to_vec();
            message.extend(b"abcd");
            assert_eq!(Reader::new(&message).opaque(), Err(Malformed));
        }
    }

    #[test]
    fn padding_may_hold_anything_but_must_be_there() {
        assert_eq!(Reader::new(b"\0\0\0\x01a\xff\xff\xff").opaque(), Ok(&b"a"[..]));
        assert_eq!(Reader::new(b"\0\0\0\x01a\xff\xff").opaque(), Err(Malformed));
    }

    #[test]
    fn what_is_written_reads_back() {
        for len in 0..9 {
            let body = vec![7_u8; len];
            let mut out = Vec::new();
            let mut writer = Writer::new(&mut out);
            writer.u64(0x0102_0304_0506_0708);
            writer.words(halves(0x0102_0304_0506_0708));
            writer.opaque(&body);
            writer.boolean(true);
            assert_eq!(out.len() % 4, 0);
            let mut reader = Reader::new(&out);
            assert_eq!(reader.u64(), reader.u64());
            assert_eq!(reader.opaque(), Ok(&body[..]));
            assert_eq!(reader.u32(), Ok(1));
            assert_eq!(reader.finish(), Ok(()));
        }
    }
}
