//! Text of others, for people: nothing that a terminal obeys, nothing that begins a line of its own, nothing that is not
//! seen. Peers, file names, archives and sites all reach the log and the terminal through here.

use std::borrow::Cow;
use std::fmt::Write as _;

pub use oneroot_ids::is_plain;

/// Appends text with everything else written out: `\n`, `\x1b`, `\u{202e}`. Backslashes stay as they are.
pub fn push(to: &mut String, text: &str) {
    for char in text.chars() {
        match char {
            _ if is_plain(char) => to.push(char),
            '\n' => to.push_str("\\n"),
            '\r' => to.push_str("\\r"),
            '\t' => to.push_str("\\t"),
            // Writing to a string can't fail.
            _ if u32::from(char) < 0x100 => drop(write!(to, "\\x{:02x}", u32::from(char))),
            _ => drop(write!(to, "{}", char.escape_unicode())),
        }
    }
}

/// Text on one line, with nothing in it that a terminal obeys.
pub fn line(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    push(&mut escaped, text);
    Cow::Owned(escaped)
}

/// The same for text that may have several lines: what a program has said, a file of the site.
pub fn lines(text: &str) -> Cow<'_, str> {
    if text.chars().all(|char| char == '\n' || is_plain(char)) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for part in text.split_inclusive('\n') {
        let (line, end) = part.strip_suffix('\n').map_or((part, ""), |line| (line, "\n"));
        push(&mut escaped, line);
        escaped.push_str(end);
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_text_stays_as_it_is() {
        for text in ["", "alpha", "C:\\x", "Grüße, 世界 é", "a b\u{a0}c"] {
            assert_eq!(line(text), text);
        }
    }

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        assert_eq!(line("a\nb\r\tc\0"), "a\\nb\\r\\tc\\x00");
        assert_eq!(lines("a\r\n\tb\n"), "a\\r\n\\tb\n");
        assert_eq!(line("\x1b[2J\x7f\u{9b}1m"), "\\x1b[2J\\x7f\\x9b1m");
        assert_eq!(
            line("x\u{202e}fdp.exe\u{2066}\u{feff}\u{2028}"),
            "x\\u{202e}fdp.exe\\u{2066}\\u{feff}\\u{2028}"
        );
    }

    #[test]
    fn no_character_at_all_gets_through_that_is_not_seen() {
        let all: String = ('\0'..=char::MAX).collect();
        let escaped = line(&all);
        assert!(escaped.chars().all(is_plain));
        assert!(!escaped.chars().any(|char| char < ' ' || ('\x7f'..'\u{a0}').contains(&char)));
    }
}
