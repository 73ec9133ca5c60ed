//! An HTTP answer: all that init wants of one is whether it was taken, what time it is (RFC 9110 §6.6.1), and why it was not taken.

use oneroot_initrd::report::shown;

/// Bytes of a refusal that are shown.
const WORDS: usize = 160;

/// What a server says to a POST.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The server's clock, seconds since 1970.
    pub date: Option<u64>,
    /// Why it is a refusal, as a terminal may be shown it: a line. It may be cut short.
    pub words: String,
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Answer {
    /// Out of an answer, which may be cut short behind its first line.
    #[must_use]
    pub fn read(answer: &str) -> Option<Self> {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
        let mut lines = head.split("\r\n");
        let status = lines.next()?.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
        let date = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("date").then(|| seconds(value.trim())).flatten()
        });
        let words = body.trim().lines().next().map(|line| shown(line, WORDS)).unwrap_or_default();
        Some(Self { status, date, words })
    }

    /// Whether all of it is there that is of use here: of what was taken, the head.
    #[must_use]
    pub fn is_whole(answer: &str) -> bool {
        let behind = answer.split_once("\r\n\r\n");
        behind.is_some_and(|(_, body)| {
            body.len() > WORDS || Self::read(answer).is_none_or(|answer| answer.status < 300)
        })
    }

    /// Whether the same may be taken later: the server has too much to do (RFC 6585 §4), or is in trouble itself.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.status == 429 || self.status >= 500
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the one form that servers write.
fn seconds(text: &str) -> Option<u64> {
    let mut words = text.split(' ').skip(1);
    let day: u64 = words.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let month = words.next()?;
    let month = u64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()?;
    let year: u64 = words.next()?.parse().ok().filter(|year| (1970..10_000).contains(year))?;
    let mut time =
        words.next()?.splitn(3, ':').map(|part| part.parse::<u64>().ok().filter(|part| *part <= 60));
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    if words.next() != Some("GMT") {
        return None;
    }
    Some(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days since 1970, of the Gregorian calendar; January is month 0.
fn days(year: u64, month: u64, day: u64) -> u64 {
    // Years that begin in March have their leap day last.
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let before = 365 * year + year / 4 - year / 100 + year / 400;
    before + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answers_head_tells_whether_it_was_taken_and_what_time_it_is() {
        let answer = |status, date| Answer { status, date, words: String::new() };
        for (head, answer) in [
            (
                "HTTP/1.1 204 No Content\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n",
                Some(answer(204, Some(784_111_777))),
            ),
            (
                "HTTP/1.1 204 No Content\r\nDate: Thu, 29 Feb 2024 00:00:00 GMT\r\n\r\n",
                Some(answer(204, Some(1_709_164_800))),
            ),
            ("HTTP/1.1 403 F\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n", Some(answer(403, Some(0)))),
            ("HTTP/1.1 403 F\r\nDate: soon\r\n\r\n", Some(answer(403, None))),
            ("HTTP/1.1 403 F\r\nDate: Thu, 01 Jan 1970 99:00:00 GMT\r\n", Some(answer(403, None))),
            ("HTTP/1.1 20", None),
            ("SSH-2.0-OpenSSH\r\n", None),
            ("", None),
        ] {
            assert_eq!(Answer::read(head), answer, "{head:?}");
        }
    }
    #[test]
    fn a_refusal_is_a_line_that_no_terminal_obeys() {
        let said = |body: &str| {
            let whole = format!("HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\n{body}");
            (Answer::read(&whole).unwrap().words, Answer::is_whole(&whole))
        };
        assert_eq!(said("there is no such boot\n"), ("there is no such boot".to_owned(), false));
        assert_eq!(said("a\u{1b}[2Jb\r\nmore"), ("a [2Jb".to_owned(), false));
        assert_eq!(said(""), (String::new(), false));
        let (words, is_whole) = said(&"x".repeat(5000));
        assert!(words.len() == WORDS && is_whole);
        assert!(Answer::is_whole("HTTP/1.1 204 No Content\r\n\r\n") && !Answer::is_whole("HTTP/1.1 204 N"));
        assert!(Answer::is_whole("SSH\r\n\r\n"), "it is none, and nothing more is of use");
    }
}
