//! One block of a tar archive as a header: whether it is one, and its fields (POSIX.1-2001 ustar, GNU, and the old format
//! that both grew out of).

/// Bytes of a block, to which everything is padded.
pub(super) const BLOCK: usize = 512;

/// Which tar wrote a header; it decides what the bytes behind the owner's name mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Before POSIX: no devices, no prefix.
    Old,
    /// POSIX, with a prefix to the name.
    Ustar,
    /// GNU, with a map of holes.
    Gnu,
}

/// A field's place in a header.
pub(super) struct Field {
    at: usize,
    length: usize,
    /// How a message calls it.
    pub what: &'static str,
}

pub(super) const MODE: Field = Field { at: 100, length: 8, what: "mode" };
pub(super) const UID: Field = Field { at: 108, length: 8, what: "uid" };
pub(super) const GID: Field = Field { at: 116, length: 8, what: "gid" };
const SIZE: Field = Field { at: 124, length: 12, what: "size" };
pub(super) const MTIME: Field = Field { at: 136, length: 12, what: "time" };
pub(super) const MAJOR: Field = Field { at: 329, length: 8, what: "device's major number" };
pub(super) const MINOR: Field = Field { at: 337, length: 8, what: "device's minor number" };
/// A sparse file's size with its holes.
pub(super) const REAL_SIZE: Field = Field { at: 483, length: 12, what: "size with holes" };
const CHECKSUM: Field = Field { at: 148, length: 8, what: "checksum" };
const NAME: Field = Field { at: 0, length: 100, what: "name" };
const LINK: Field = Field { at: 157, length: 100, what: "link" };
const PREFIX: Field = Field { at: 345, length: 155, what: "prefix" };

/// A block whose checksum is right.
#[derive(Clone)]
pub(super) struct Header([u8; BLOCK]);

impl Header {
    /// None where the block is no header.
    pub(super) fn parse(block: &[u8; BLOCK]) -> Option<Self> {
        let header = Self(*block);
        let said = number(header.bytes(&CHECKSUM))?;
        let counted = |value: fn(u8) -> i64| -> i64 {
            let place = CHECKSUM.at..CHECKSUM.at + CHECKSUM.length;
            let each = block.iter().enumerate();
            each.map(|(at, byte)| value(if place.contains(&at) { b' ' } else { *byte })).sum()
        };
        // Some old tars took bytes for signed numbers.
        (said == counted(i64::from) || said == counted(|byte| i64::from(byte.cast_signed())))
            .then_some(header)
    }

    pub(super) fn format(&self) -> Format {
        match self.0.get(257..265) {
            Some([b'u', b's', b't', b'a', b'r', 0, ..]) => Format::Ustar,
            Some(b"ustar  \0") => Format::Gnu,
            _ => Format::Old,
        }
    }

    /// What the entry is: `'0'`, `'5'`, `'x'`.
    pub(super) fn kind(&self) -> u8 {
        self.0.get(156).copied().unwrap_or_default()
    }

    /// The name in the header, joined to its prefix.
    pub(super) fn name(&self) -> Vec<u8> {
        let (name, prefix) = (self.text(&NAME), self.text(&PREFIX));
        if self.format() == Format::Ustar && !prefix.is_empty() {
            [prefix, name].join(&b'/')
        } else {
            name.to_vec()
        }
    }

    pub(super) fn link(&self) -> &[u8] {
        self.text(&LINK)
    }

    /// A number in the header; none where the field holds something else.
    pub(super) fn number(&self, field: &Field) -> Option<i64> {
        number(self.bytes(field))
    }

    /// How many bytes follow.
    pub(super) fn size(&self) -> Option<u64> {
        self.number(&SIZE).and_then(|size| u64::try_from(size).ok())
    }

    /// The four places of data that stand in a sparse file's header, and whether a block of more follows.
    pub(super) fn sparse(&self) -> (&[u8], bool) {
        (self.0.get(386..482).unwrap_or_default(), self.0.get(482).is_some_and(|more| *more != 0))
    }

    fn bytes(&self, field: &Field) -> &[u8] {
        self.0.get(field.at..field.at + field.length).unwrap_or_default()
    }

    fn text(&self, field: &Field) -> &[u8] {
        until_nul(self.bytes(field))
    }
}

/// A C string in a fixed place.
pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number as headers have them: octal with blanks around, NULs for zero, or binary behind a first byte 0x80 or 0xff. Blanks
/// alone are a number that nobody has filled in.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    if let Some((first @ (0x80 | 0xff), rest)) = field.split_first() {
        let start = if *first == 0xff { -1i64 } else { 0 };
        return rest.iter().try_fold(start, |sum, byte| sum.checked_mul(256)?.checked_add(i64::from(*byte)));
    }
    // One tar wrote a NUL first.
    let text = field.strip_prefix(&[0]).unwrap_or(field);
    let text = std::str::from_utf8(until_nul(text)).ok()?.trim_matches([' ', '\t', '\n']);
    if text.is_empty() {
        return field.contains(&0).then_some(0);
    }
    if !text.bytes().all(|digit| (b'0'..=b'7').contains(&digit)) {
        return None;
    }
    i64::from_str_radix(text, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_binary_or_nothing() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\x30\x36\x34\x34\0\0\0", Some(0o644)),
            (b"77777777", Some(0o77_777_777)),
            (b"\0\0\0\0", Some(0)),
            (b"    ", None),
            (b"  \0 ", Some(0)),
            (b"\x80\0\0\x01\x02", Some(0x102)),
            (b"\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"0000648\0", None),
            (b"-1\0", None),
            (b"1 2\0", None),
            (b"\x81\0\0\x01", None),
        ] {
            assert_eq!(number(field), value, "{:?}", field.escape_ascii().to_string());
        }
    }
}
