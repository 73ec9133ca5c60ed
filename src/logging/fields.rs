//! An event's message and fields as the text of one line.

use std::fmt;
use std::net::SocketAddr;

use tracing::Event;
use tracing::field::{Field, Visit};

use crate::escape;

/// Longest text of a line, in bytes; the rest of it is left away. The longest of ours name a template's mistake.
const LONGEST: usize = 4096;
/// Longest name of a peer that the limiter keeps.
const LONGEST_NAME: usize = 64;

/// Somebody who takes an event's fields as text. It is written only where it is wanted.
pub trait Take {
    /// This field is there.
    fn take(&mut self, name: &str, value: impl FnOnce() -> String);
}

/// What an event's fields say to one of them.
pub fn of<T: Take + Default>(event: &Event<'_>) -> T {
    let mut texts = Texts(T::default());
    event.record(&mut texts);
    texts.0
}

struct Texts<T>(T);

impl<T: Take> Visit for Texts<T> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.take(field.name(), || value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.0.take(field.name(), || value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.take(field.name(), || format!("{value:?}"));
    }
}

/// Why an event happens, and whose it is: what the limiter has to know.
#[derive(Default)]
pub struct Cause {
    /// Why, where one place in the source has several reasons.
    pub reason: Option<String>,
    peer: Option<String>,
    machine: Option<String>,
}

impl Cause {
    /// Whose line it is: a peer's address, or a machine.
    pub fn whose(&self) -> Option<&str> {
        self.peer.as_deref().or(self.machine.as_deref())
    }
}

impl Take for Cause {
    fn take(&mut self, name: &str, value: impl FnOnce() -> String) {
        match name {
            "reason" => self.reason = Some(value()),
            // Each connection has a port of its own.
            "peer" => {
                let value = value();
                let address = value.parse().map(|peer: SocketAddr| peer.ip().to_string());
                self.peer = Some(short(address.unwrap_or(value)));
            }
            // Lines that have both say the machine first.
            "mac" | "machine" if self.machine.is_none() => self.machine = Some(short(value())),
            _ => {}
        }
    }
}

/// What an event says.
#[derive(Default)]
pub struct Fields {
    message: String,
    reason: Option<String>,
    /// ` name=value` for each of the others, escaped.
    others: String,
}

impl Fields {
    /// The text of the line: the message, the reason, the fields.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(self.message.len() + self.others.len());
        escape::push(&mut text, &self.message);
        if let Some(reason) = &self.reason {
            text.push_str(if self.message.is_empty() { "" } else { ": " });
            escape::push(&mut text, reason);
        }
        text.push_str(&self.others);
        cut(&mut text, LONGEST);
        text
    }
}

impl Take for Fields {
    fn take(&mut self, name: &str, value: impl FnOnce() -> String) {
        match name {
            "message" => self.message = value(),
            "reason" => self.reason = Some(value()),
            // How the `log` crate's records tell where they are from.
            _ if name.starts_with("log.") => {}
            _ => {
                self.others.push(' ');
                self.others.push_str(name);
                self.others.push('=');
                push_value(&mut self.others, &value());
            }
        }
    }
}

/// A value that could be taken for something else stands in quotation marks.
fn push_value(to: &mut String, value: &str) {
    let is_word = !value.is_empty() && !value.contains([' ', '"', '=']);
    if is_word {
        return escape::push(to, value);
    }
    to.push('"');
    escape::push(to, &value.replace('"', "\\\""));
    to.push('"');
}

fn short(mut name: String) -> String {
    cut(&mut name, LONGEST_NAME);
    name
}

fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        text.truncate((0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default());
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told<T: Take + Default>(of: &[(&str, &str)]) -> T {
        let mut told = T::default();
        of.iter().for_each(|(name, value)| told.take(name, || (*value).to_owned()));
        told
    }

    fn fields(of: &[(&str, &str)]) -> Fields {
        told(of)
    }

    fn cause(of: &[(&str, &str)]) -> Cause {
        told(of)
    }

    #[test]
    fn a_line_is_the_message_its_reason_and_its_fields() {
        let fields = fields(&[
            ("mac", "52:54:00:00:00:0a"),
            ("message", "dropped it"),
            ("reason", "no magic"),
            ("count", "3"),
        ]);
        assert_eq!(fields.text(), "dropped it: no magic mac=52:54:00:00:00:0a count=3");
        let cause = cause(&[("mac", "52:54:00:00:00:0a"), ("message", "dropped it"), ("reason", "no magic")]);
        assert_eq!((cause.whose(), cause.reason.as_deref()), (Some("52:54:00:00:00:0a"), Some("no magic")));
    }

    #[test]
    fn a_value_looks_like_no_other_field_and_like_no_other_line() {
        let text =
            fields(&[("message", "x"), ("name", "a\" peer=192.0.2.1\n2026 ERROR y"), ("none", "")]).text();
        assert_eq!(text, "x name=\"a\\\" peer=192.0.2.1\\n2026 ERROR y\" none=\"\"");
        assert!(fields(&[("message", "a\nb\x1b[2J")]).text() == "a\\nb\\x1b[2J");
    }

    #[test]
    fn all_connections_of_a_peer_are_its_own() {
        for peer in ["192.0.2.1:700", "192.0.2.1:701", "192.0.2.1"] {
            assert_eq!(cause(&[("mac", "m"), ("peer", peer)]).whose(), Some("192.0.2.1"));
        }
        assert_eq!(cause(&[("peer", "[2001:db8::1]:700")]).whose(), Some("2001:db8::1"));
        assert!(cause(&[("peer", &"é".repeat(1_000))]).whose().unwrap().len() < 80);
    }

    #[test]
    fn a_line_has_an_end() {
        assert!(fields(&[("message", &"\n".repeat(100_000))]).text().len() < LONGEST + 4);
    }
}
