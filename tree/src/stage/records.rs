//! Extended records of a tar archive: `LENGTH KEY=VALUE`, for one entry or for all that follow (POSIX.1-2001, *pax extended
//! header*).
//!
//! They are read by their lengths, for a value may hold any byte, and those of ACLs and of extended attributes do. A key that
//! comes again replaces what it said before, an entry's own stand before those for all.

use std::borrow::Cow;
use std::rc::Rc;

/// Records of one entry.
const MOST: usize = 4096;
/// Keys that decide what a tree is made of. POSIX has an empty value take back what was said before, and no tar writes
/// that; the oracles make three things of it.
const SAY_SOMETHING: [&[u8]; 6] = [b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime"];

/// Bytes of all records for all entries.
const MOST_BYTES: usize = 1 << 20;

type List = Vec<(Vec<u8>, Vec<u8>)>;

/// The records of one entry: those for all that follow, and its own.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Records {
    global: Rc<List>,
    own: List,
}

impl Records {
    /// Reads a header's records.
    ///
    /// # Errors
    /// Says in a few words what is wrong.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Cow<'static, str>> {
        const MALFORMED: &str = "extended records that are not LENGTH KEY=VALUE";
        let mut records = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (record, after) = split(rest).ok_or(MALFORMED)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or(MALFORMED)?;
            let (key, value) = record.split_at(equals);
            let value = value.get(1..).unwrap_or_default();
            if key.contains(&b'\n') {
                return Err(MALFORMED.into());
            }
            if records.len() == MOST {
                return Err("over 4,096 extended records for one entry".into());
            }
            if value.is_empty() && SAY_SOMETHING.contains(&key) {
                return Err(format!("an extended record {:?} without a value", key.escape_ascii().to_string()).into());
            }
            records.push((key.to_vec(), value.to_vec()));
            rest = after;
        }
        Ok(Self { global: Rc::default(), own: records })
    }

    /// Keeps these for all entries that follow.
    ///
    /// # Errors
    /// When there are too many.
    pub(super) fn add(&mut self, more: Self) -> Result<(), Cow<'static, str>> {
        let global = Rc::make_mut(&mut self.global);
        for (key, value) in more.own {
            global.retain(|(known, _)| *known != key);
            global.push((key, value));
        }
        let bytes: usize = global.iter().map(|(key, value)| key.len() + value.len()).sum();
        if global.len() > MOST || bytes > MOST_BYTES {
            return Err("over 1 MiB, or 4,096, of extended records for all entries".into());
        }
        Ok(())
    }

    /// An entry's own with those for all that are here.
    pub(super) fn with(&self, own: Self) -> Self {
        Self { global: self.global.clone(), own: own.own }
    }

    /// In order; a later one counts.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> {
        self.global.iter().chain(&self.own).map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    /// What a key says in the end.
    pub(super) fn get(&self, wanted: &[u8]) -> Option<&[u8]> {
        self.iter().rfind(|(key, _)| *key == wanted).map(|(_, value)| value)
    }

    /// A number that is not negative.
    ///
    /// # Errors
    /// Says in a few words what is wrong.
    pub(super) fn number(&self, key: &'static str) -> Result<Option<u64>, Cow<'static, str>> {
        let Some(value) = self.get(key.as_bytes()) else { return Ok(None) };
        let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number = digits.and_then(|text| text.parse().ok());
        number.map(Some).ok_or_else(|| {
            format!("an extended record {key} that is no number: {:?}", value.escape_ascii().to_string()).into()
        })
    }
}

/// The first record without its length and newline, and what comes behind it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(bytes.get(..space)?).ok()?.parse().ok()?;
    let (record, after) = bytes.split_at_checked(length)?;
    let (last, record) = record.get(space + 1..)?.split_last()?;
    (*last == b'\n').then_some((record, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_wrong_lengths_are_refused() {
        for text in ["x", "9 a=b\n", "5 a=b\n", "6 a=bc", "6 abc\n", "0 a=b\n", "7 \na=b\n", "-1 a=b\n"] {
            assert!(Records::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert_eq!(Records::parse(b"6 a=b\n7 c=\n\n\n").unwrap().own.len(), 2);
        assert!(Records::parse(&b"4 =\n".repeat(MOST)).is_ok());
        assert!(Records::parse(&b"4 =\n".repeat(MOST + 1)).is_err());
    }

    #[test]
    fn a_newline_in_a_value_ends_no_record_and_a_later_one_counts() {
        let records = Records::parse(b"9 path=a\n12 path=b\nc\n11 size=12\n").unwrap();
        assert_eq!(records.get(b"path"), Some(&b"b\nc"[..]));
        assert_eq!(records.number("size"), Ok(Some(12)));
        let mut global = Records::default();
        global.add(Records::parse(b"8 gid=1\n8 uid=1\n").unwrap()).unwrap();
        global.add(Records::parse(b"8 uid=2\n").unwrap()).unwrap();
        let all = global.with(Records::parse(b"8 gid=3\n").unwrap());
        assert_eq!((all.number("uid"), all.number("gid")), (Ok(Some(2)), Ok(Some(3))));
    }
}
