//! What a request asks of a file: all of it, a part, or nothing because of what the client has (RFC 9110 §13, §14).

/// The fields of a request that say on what conditions it asks, and for which part. Of fields that may stand once, the first
/// counts.
#[derive(Debug, Default)]
pub struct Conditions<'a> {
    /// Range.
    pub range: Option<&'a [u8]>,
    /// If-Range.
    pub if_range: Option<&'a [u8]>,
    /// Each If-Match.
    pub if_match: Vec<&'a [u8]>,
    /// Each If-None-Match.
    pub if_none_match: Vec<&'a [u8]>,
}

impl<'a> Conditions<'a> {
    /// Takes a field in, if it is one of these.
    pub fn note(&mut self, name: &str, value: &'a [u8]) {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        if is("range") {
            self.range.get_or_insert(value);
        } else if is("if-range") {
            self.if_range.get_or_insert(value);
        } else if is("if-match") {
            self.if_match.push(value);
        } else if is("if-none-match") {
            self.if_none_match.push(value);
        }
    }
}

/// A value that is visible ASCII, spaces and tabs, as nearly all are.
pub(crate) fn text(value: &[u8]) -> Option<&str> {
    let plain = value.iter().all(|byte| *byte == b'\t' || (b' '..0x7f).contains(byte));
    std::str::from_utf8(value).ok().filter(|_| plain)
}

/// What is to be answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// The file.
    All,
    /// From the first to before the second.
    Part(u64, u64),
    /// A part that it has not.
    Nothing,
    /// A condition names another file than this one.
    Other,
    /// The client has it already.
    Known,
}

/// By the fields, in the order of RFC 9110 §13.2.2. `ranged` says whether a Range means something; `tag` is the file's ETag.
///
/// Dates are no conditions here, for files have none: If-Unmodified-Since and If-Modified-Since are passed over, as §13.1
/// has it, and a Range with a date in If-Range gives the whole file (§13.1.5).
#[must_use]
pub fn asked(conditions: &Conditions<'_>, ranged: bool, tag: Option<&str>, length: u64) -> Asked {
    let any = |values: &[&[u8]], weak: bool| {
        values.iter().any(|value| text(value).is_some_and(|list| lists(list, tag, weak)))
    };
    if !conditions.if_match.is_empty() && !any(&conditions.if_match, false) {
        return Asked::Other;
    }
    // A script has no tag, and is never known already: it may be another boot's.
    if tag.is_some() && any(&conditions.if_none_match, true) {
        return Asked::Known;
    }
    let is_same = |value: &[u8]| tag.is_some_and(|tag| value == tag.as_bytes());
    let range = conditions.range.filter(|_| ranged && conditions.if_range.is_none_or(is_same));
    match range.map_or(ByteRange::All, |value| wanted(value, length)) {
        ByteRange::All => Asked::All,
        ByteRange::Part(from, to) => Asked::Part(from, to),
        ByteRange::Nothing => Asked::Nothing,
    }
}

/// Whether a list of tags has this one. `*` is any file that is there. Compared weakly, a tag is as good with `W/` before it
/// as without (§8.8.3.2).
fn lists(text: &str, tag: Option<&str>, weak: bool) -> bool {
    let same = |one: &str| Some(if weak { one.strip_prefix("W/").unwrap_or(one) } else { one }) == tag;
    text.split(',').map(str::trim).any(|one| one == "*" || same(one))
}

/// What a Range header asks of a file.
#[derive(Debug, PartialEq, Eq)]
enum ByteRange {
    All,
    /// From the first to before the second.
    Part(u64, u64),
    Nothing,
}

/// RFC 9110 §14.2: one range in bytes is honoured; several, or anything malformed, mean the whole file.
fn wanted(value: &[u8], length: u64) -> ByteRange {
    let spec = text(value).and_then(|text| text.strip_prefix("bytes="));
    let Some((first, last)) =
        spec.filter(|spec| !spec.contains(',')).and_then(|spec| spec.trim().split_once('-'))
    else {
        return ByteRange::All;
    };
    let number = |text: &str| -> Option<u64> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // A number past 2^64 is past the end of any file.
            Some(text.parse().unwrap_or(u64::MAX))
        } else {
            None
        }
    };
    match (first, number(first), last, number(last)) {
        ("", None, _, Some(0)) => ByteRange::Nothing,
        ("", None, _, Some(_)) if length == 0 => ByteRange::Nothing,
        ("", None, _, Some(count)) => ByteRange::Part(length.saturating_sub(count), length),
        (_, Some(from), "", None) if from < length => ByteRange::Part(from, length),
        (_, Some(from), _, Some(to)) if from <= to && from < length => {
            ByteRange::Part(from, to.saturating_add(1).min(length))
        }
        (_, Some(from), _, Some(to)) if from > to => ByteRange::All,
        (_, Some(_), "", None) | (_, Some(_), _, Some(_)) => ByteRange::Nothing,
        _ => ByteRange::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(spec: &str, length: u64) -> ByteRange {
        wanted(spec.as_bytes(), length)
    }

    #[test]
    fn one_range_is_honoured() {
        assert_eq!(of("bytes=0-0", 10), ByteRange::Part(0, 1));
        assert_eq!(of("bytes=3-", 10), ByteRange::Part(3, 10));
        assert_eq!(of("bytes=-4", 10), ByteRange::Part(6, 10));
        assert_eq!(of("bytes=-40", 10), ByteRange::Part(0, 10));
        assert_eq!(of("bytes=9-18446744073709551615", 10), ByteRange::Part(9, 10));
    }

    #[test]
    fn a_range_past_the_end_has_nothing() {
        for spec in ["bytes=10-", "bytes=10-12", "bytes=-0", "bytes=99999999999999999999-"] {
            assert_eq!(of(spec, 10), ByteRange::Nothing, "{spec}");
        }
        assert_eq!(of("bytes=-1", 0), ByteRange::Nothing);
    }

    #[test]
    fn what_is_no_single_range_means_the_whole_file() {
        for spec in
            ["bytes=0-1,3-4", "bytes=5-2", "bytes=-", "bytes=", "lines=1-2", "bytes=a-b", "bytes=+1-2"]
        {
            assert_eq!(of(spec, 10), ByteRange::All, "{spec}");
        }
    }

    #[test]
    fn conditions_are_looked_at_before_the_range_and_a_range_of_another_file_is_all_of_this_one() {
        let of = |fields: &[(&str, &'static str)]| {
            let mut conditions = Conditions::default();
            fields.iter().for_each(|(name, value)| conditions.note(name, value.as_bytes()));
            asked(&conditions, true, Some("\"a1\""), 10)
        };
        let part = ("Range", "bytes=5-");
        assert_eq!(of(std::slice::from_ref(&part)), Asked::Part(5, 10));
        for (condition, expected) in [
            (("if-range", "\"a1\""), Asked::Part(5, 10)),
            (("if-range", "\"b2\""), Asked::All),
            (("if-range", "W/\"a1\""), Asked::All),
            (("if-range", "Sun, 29 Nov 2026 10:00:00 GMT"), Asked::All),
            (("If-Match", "\"a1\""), Asked::Part(5, 10)),
            (("If-Match", "\"b2\", \"a1\""), Asked::Part(5, 10)),
            (("If-Match", "*"), Asked::Part(5, 10)),
            (("If-Match", "\"b2\""), Asked::Other),
            (("If-None-Match", "\"a1\""), Asked::Known),
            (("If-None-Match", "\"b2\""), Asked::Part(5, 10)),
            (("If-None-Match", "W/\"a1\""), Asked::Known),
            (("If-Match", "W/\"a1\""), Asked::Other),
            (("If-Unmodified-Since", "Sun, 29 Nov 2026 10:00:00 GMT"), Asked::Part(5, 10)),
        ] {
            assert_eq!(of(&[part, condition]), expected, "{condition:?}");
        }
    }

    #[test]
    fn a_script_is_sent_whatever_the_client_has() {
        let mut conditions = Conditions::default();
        conditions.note("If-None-Match", b"*");
        assert_eq!(asked(&conditions, true, None, 10), Asked::All);
    }
}
