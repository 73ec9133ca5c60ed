//! What the fuzzer runs (`http_range` of fuzz/), and `corpus` replays: any Range and any conditions.
//!
//! Input: the file's length and whether it has a tag, then values of the four header fields. What must hold: a part is within
//! the file and not empty; without conditions it is what a plain reading of RFC 9110 §14 makes of the Range; a condition is
//! obeyed only where it stands.

use oneroot_http::{Asked, Conditions, asked};

/// The file's tag.
const TAG: &str = "\"a1\"";

/// Runs one input.
pub fn run(data: &[u8]) {
    let Some((head, mut rest)) = data.split_first_chunk::<9>() else { return };
    let [flags, length @ ..] = *head;
    // Small files are as likely as large ones.
    let length = u64::from_be_bytes(length) >> (flags & 0x3f);
    let tag = (flags & 0x40 == 0).then_some(TAG);
    let mut conditions = Conditions::default();
    for name in ["Range", "If-Match", "If-None-Match", "If-Range"] {
        let (value, tail) = rest.iter().position(|byte| *byte == b'\n').map_or((rest, &[][..]), |end| {
            let (value, tail) = rest.split_at(end);
            (value, tail.get(1..).unwrap_or_default())
        });
        rest = tail;
        // An empty one is none.
        let is_value = value.iter().all(|byte| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f);
        if is_value && !value.is_empty() {
            conditions.note(name, value);
        }
    }
    judge(&conditions, tag, length);
}

fn judge(conditions: &Conditions<'_>, tag: Option<&str>, length: u64) {
    let range = conditions.range;
    let found = asked(conditions, true, tag, length);
    match found {
        Asked::Part(from, to) => {
            assert!(from < to && to <= length, "{from} to {to} of {length}");
            assert!(range.is_some(), "a part that nobody asked for");
        }
        Asked::Nothing => assert!(range.is_some()),
        Asked::Known => assert!(!conditions.if_none_match.is_empty() && tag.is_some()),
        Asked::Other => assert!(!conditions.if_match.is_empty()),
        Asked::All => {}
    }
    let Conditions { if_match, if_none_match, if_range, .. } = conditions;
    if if_match.is_empty() && if_none_match.is_empty() && if_range.is_none() {
        let due = range.map_or(Asked::All, |range| plain(range, length));
        assert_eq!(found, due, "{range:?} of {length}");
    }
    // A file of which the client has a part stays that file only while its tag is the same.
    if if_range.is_some_and(|value| value != TAG.as_bytes()) {
        assert!(!matches!(found, Asked::Part(..) | Asked::Nothing), "a part of another file");
    }
}

/// RFC 9110 §14.1.2 and §14.2, byte by byte: what is not exactly one range in bytes is as if it were not there.
fn plain(range: &[u8], length: u64) -> Asked {
    let visible = |byte: &u8| *byte == b'\t' || (0x20..0x7f).contains(byte);
    let Some(spec) = range.strip_prefix(b"bytes=").filter(|spec| spec.iter().all(visible)) else {
        return Asked::All;
    };
    let spec = spec.trim_ascii();
    let Some(dash) = spec.iter().position(|byte| *byte == b'-') else { return Asked::All };
    let (first, last) = (number(spec.get(..dash)), number(spec.get(dash + 1..)));
    match (first, last) {
        (Digits::None, Digits::Some(0)) => Asked::Nothing,
        (Digits::None, Digits::Some(_)) if length == 0 => Asked::Nothing,
        (Digits::None, Digits::Some(count)) => Asked::Part(length - count.min(length), length),
        (Digits::Some(from), Digits::None) if from < length => Asked::Part(from, length),
        (Digits::Some(from), Digits::Some(to)) if from > to => Asked::All,
        (Digits::Some(from), Digits::Some(to)) if from < length => {
            Asked::Part(from, (length - 1).min(to) + 1)
        }
        (Digits::Some(_), Digits::None | Digits::Some(_)) => Asked::Nothing,
        _ => Asked::All,
    }
}

enum Digits {
    None,
    Some(u64),
    Others,
}

fn number(text: Option<&[u8]>) -> Digits {
    let text = text.unwrap_or_default();
    if text.is_empty() {
        return Digits::None;
    }
    let mut value: u64 = 0;
    for byte in text {
        if !byte.is_ascii_digit() {
            return Digits::Others;
        }
        value = value.saturating_mul(10).saturating_add(u64::from(byte - b'0'));
    }
    Digits::Some(value)
}

/// Ranges of every kind in files of several lengths, with and without conditions.
pub fn seeds() -> Vec<Vec<u8>> {
    let ranges = [
        "bytes=0-0",
        "bytes=3-",
        "bytes=-4",
        "bytes=9-18446744073709551615",
        "bytes=-0",
        "bytes=0-1,3-4",
        "bytes=5-2",
        "bytes=99999999999999999999-",
        "bytes=",
        "bytes=-",
        "lines=1-2",
        "bytes= 1-2 ",
        "bytes=+1-2",
        "bytes=1--2",
        "",
    ];
    let conditions = [
        "",
        "\n\"a1\"",
        "\n\"b2\", \"a1\"",
        "\n\n*",
        "\n\nW/\"a1\"",
        "\n\n\n\"a1\"",
        "\n\n\n\"b2\"",
        "\n*\n\"b2\"\n",
    ];
    let mut found = vec![];
    for range in ranges {
        for condition in conditions {
            for (flags, length) in [(0, 10_u64), (0, 0), (0, u64::MAX), (0x40, 10)] {
                found.push(
                    [&[flags][..], &length.to_be_bytes(), range.as_bytes(), condition.as_bytes()].concat(),
                );
            }
        }
    }
    found
}
