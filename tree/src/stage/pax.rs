//! Extended records of a tar archive: `LENGTH KEY=VALUE`, for one entry or for all that follow (POSIX.1-2001, *pax extended
//! header*).
//!
//! They are read by their lengths, for a value may hold any byte, and those of ACLs and of extended attributes do. A key that
//! comes again replaces what it said before, an entry's own stand before those for all.

use std::borrow::Cow;
use std::rc::Rc;

/// Records of one entry.
const MOST: usize = 4096;
/// Keys that decide what a tree is made of. POSIX has an empty value take back what was said before; no tar writes that, and
/// the readers make three things of it, so it is refused.
const COUNT: [&[u8]; 6] = [b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime"];

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
            check(key, value)?;
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
        let counting = |list: &List| -> List {
            list.iter().filter(|(key, _)| COUNT.contains(&key.as_slice())).cloned().collect()
        };
        let (before, now) = (counting(&self.global), counting(&more.own));
        // POSIX keeps what is not said again, and of two the last; GNU tar forgets the former and takes the first.
        let is_said = |key: &[u8]| now.iter().filter(|(known, _)| known == key).count();
        if let Some((key, _)) = before.iter().find(|(key, _)| is_said(key) == 0) {
            return Err(format!(
                "records for all entries, without {} of earlier ones: readers differ on whether it stays",
                key.escape_ascii()
            )
            .into());
        }
        if let Some((key, _)) = now.iter().find(|(key, _)| is_said(key) > 1) {
            return Err(format!(
                "records for all entries with {} twice: readers differ on which counts",
                key.escape_ascii()
            )
            .into());
        }
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

    /// A number that is not negative. That it is one was checked.
    pub(super) fn number(&self, key: &[u8]) -> Option<u64> {
        whole(self.get(key)?)
    }

    /// A time in nanoseconds since 1970. That it is one was checked.
    pub(super) fn time(&self) -> Option<i64> {
        nanoseconds(self.get(b"mtime")?)
    }
}

/// Whether a tree's record says what it is for; those that others replace have to, too.
fn check(key: &[u8], value: &[u8]) -> Result<(), Cow<'static, str>> {
    let good = match key {
        b"path" | b"linkpath" => !value.is_empty(),
        b"size" | b"uid" | b"gid" => whole(value).is_some(),
        b"mtime" => nanoseconds(value).is_some(),
        _ => true,
    };
    if good {
        return Ok(());
    }
    let [key, value] = [key, value].map(|text| text.escape_ascii().to_string());
    Err(format!("an extended record {key} that says {value:?}").into())
}

fn whole(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

/// The first record without its length and newline, and what comes behind it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(bytes.get(..space)?).ok()?.parse().ok()?;
    let (record, after) = bytes.split_at_checked(length)?;
    let (last, record) = record.get(space + 1..)?.split_last()?;
    (*last == b'\n').then_some((record, after))
}

/// PAX times are decimal seconds, with a fraction and a sign where they need one. What is finer than a nanosecond is cut off
/// downwards.
fn nanoseconds(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let finer = fraction.bytes().skip(9).any(|digit| digit != b'0');
    let fraction: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let total = seconds.checked_mul(1_000_000_000)?.checked_add(fraction.parse().ok()?)?;
    if negative { total.checked_neg()?.checked_sub(i64::from(finer)) } else { Some(total) }
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
    fn what_counts_has_to_say_something() {
        for wrong in [
            "path=",
            "linkpath=",
            "size=",
            "size=-1",
            "uid=x",
            "gid=+1",
            "mtime=",
            "mtime=1.5.5",
            "mtime=99999999999",
        ] {
            let text = format!("{} {wrong}\n", wrong.len() + if wrong.len() > 6 { 4 } else { 3 });
            assert!(Records::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        for (text, value) in [
            ("7", 7_000_000_000),
            ("1.5", 1_500_000_000),
            ("-1.5", -1_500_000_000),
            ("-0.0000000001", -1),
            ("0.0000000019", 1),
        ] {
            assert_eq!(nanoseconds(text.as_bytes()), Some(value), "{text}");
        }
    }

    #[test]
    fn a_newline_in_a_value_ends_no_record_and_a_later_one_counts() {
        let records = Records::parse(b"9 path=a\n12 path=b\nc\n11 size=12\n").unwrap();
        assert_eq!(records.get(b"path"), Some(&b"b\nc"[..]));
        assert_eq!(records.number(b"size"), Some(12));
        let mut global = Records::default();
        global.add(Records::parse(b"8 uid=1\n").unwrap()).unwrap();
        global.add(Records::parse(b"8 uid=2\n8 gid=1\n").unwrap()).unwrap();
        for unclear in [&b"8 uid=2\n"[..], b"8 uid=2\n8 gid=1\n8 gid=2\n", b"6 a=b\n"] {
            assert!(global.clone().add(Records::parse(unclear).unwrap()).is_err(), "readers do not agree");
        }
        let all = global.with(Records::parse(b"8 gid=3\n").unwrap());
        assert_eq!((all.number(b"uid"), all.number(b"gid")), (Some(2), Some(3)));
    }
}
