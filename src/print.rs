//! What commands print. File names, archives and sites are others' text: all of it but the contents that `cat` and `export`
//! are asked for is shown as [`escape`] writes it, on a terminal and in a pipe alike, for most pipes end on a terminal
//! (`less`, `head`, `ssh`). Programs read `--json`.

use std::fmt::{Display, Write as _};
use std::io::{self, IsTerminal, Write as _};

use anyhow::Result;
use serde::Serialize;

use crate::cli::Exit;
use crate::escape;

/// What an action returns. `--json` prints it as it is, and people are shown its page: two faces of the same thing.
pub trait Document: Serialize {
    /// What people are shown of it.
    fn page(&self) -> Page;

    /// What the command exits with, whichever face was asked for.
    fn exit(&self) -> Exit {
        Exit::Done
    }
}

/// What people are shown, piece by piece in the order in which it is printed.
#[derive(Default)]
pub struct Page(Vec<Piece>);

enum Piece {
    /// On standard output.
    Text(String),
    /// On standard output: the first line is a heading, which stands out on a terminal.
    Table(String),
    /// A line on standard error.
    Trouble(String),
}

impl Page {
    /// A page of one line.
    pub fn of_line(words: impl Display) -> Self {
        let mut page = Self::default();
        page.line(words);
        page
    }

    /// A line, whatever is in it.
    pub fn line(&mut self, words: impl Display) {
        self.0.push(Piece::Text(format!("{}\n", escape::line(&words.to_string()))));
    }

    /// Text, as it is but for what a terminal would obey.
    pub fn text(&mut self, text: impl Display) {
        self.0.push(Piece::Text(text.to_string()));
    }

    /// A table: the first row is its heading.
    pub fn rows<const N: usize>(&mut self, rows: &[[String; N]]) {
        self.0.push(Piece::Table(table(rows)));
    }

    /// A line on standard error, whatever is in it.
    pub fn trouble(&mut self, words: impl Display) {
        self.0.push(Piece::Trouble(words.to_string()));
    }
}

/// Prints a document, and says what to exit with.
///
/// # Errors
/// As [`text`].
pub fn document(document: &impl Document, json: bool) -> Result<Exit> {
    if json {
        text(ascii(&serde_json::to_string_pretty(document)?) + "\n")?;
    } else {
        for piece in document.page().0 {
            match piece {
                Piece::Text(words) => text(words)?,
                Piece::Table(table) => headed(&table)?,
                Piece::Trouble(words) => trouble(words),
            }
        }
    }
    Ok(document.exit())
}

/// Text on standard output, as it is but for what a terminal would obey.
///
/// # Errors
/// Standard output takes no more. A reader that has seen enough (`| head`) is no error.
pub fn text(text: impl Display) -> Result<()> {
    plain(&escape::lines(&text.to_string()))
}

/// What has nothing in it that a terminal should not obey.
fn plain(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

fn headed(table: &str) -> Result<()> {
    let (heading, below) = table.split_once('\n').unwrap_or((table, ""));
    let heading = styled(heading, Style::Heading, shows_colour(&io::stdout()));
    plain(&format!("{heading}\n{below}"))
}

/// How words stand out.
#[derive(Clone, Copy)]
enum Style {
    Heading,
    Warning,
    Error,
}

fn styled(words: &str, style: Style, colour: bool) -> String {
    let code = match style {
        _ if !colour => return words.to_owned(),
        Style::Heading => "1",
        Style::Warning => "33",
        Style::Error => "31",
    };
    format!("\x1b[{code}m{words}\x1b[0m")
}

/// Whether whoever reads wants colours (<https://no-color.org>).
fn shows_colour(stream: &impl IsTerminal) -> bool {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|word| !word.is_empty());
    stream.is_terminal() && !plain && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// A line on standard error, whatever is in it. One that nobody reads is no reason to fail.
pub fn trouble(words: impl Display) {
    let words = words.to_string();
    let words = escape::line(&words);
    let colour = shows_colour(&io::stderr());
    let begins = [("warning:", Style::Warning), ("oneroot:", Style::Error)];
    let style = begins.into_iter().find(|(begin, _)| words.starts_with(begin));
    let words = match style.and_then(|(begin, style)| Some((words.strip_prefix(begin)?, begin, style))) {
        Some((rest, begin, style)) => styled(begin, style, colour) + rest,
        None => words.into_owned(),
    };
    let _ = writeln!(io::stderr().lock(), "{words}");
}

/// JSON in which every character that is not plain is an escape: serde_json leaves those that are not below a space, and a
/// terminal obeys some of them. They can only be in strings.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for char in json.chars() {
        if char == '\n' || escape::is_plain(char) {
            out.push(char);
        } else {
            let mut units = [0; 2];
            for unit in char.encode_utf16(&mut units) {
                // Writing to a string can't fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

/// Columns as wide as their widest cell. A row is one line, whatever is in it.
pub fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let rows: Vec<_> = rows.iter().map(|row| row.each_ref().map(|cell| escape::line(cell))).collect();
    let mut widths = [0; N];
    for row in &rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = (*width).max(cell.chars().count()));
    }
    let mut out = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_up() {
        let rows = [["A".to_owned(), "B".to_owned()], ["long".to_owned(), "x".to_owned()]];
        assert_eq!(table(&rows), "A     B\nlong  x\n");
    }

    #[test]
    fn what_stands_out_is_coded_for_a_terminal_alone() {
        assert_eq!(styled("MACHINE", Style::Heading, true), "\x1b[1mMACHINE\x1b[0m");
        assert_eq!(styled("warning:", Style::Warning, false), "warning:");
        let file = tempfile::tempfile().unwrap();
        assert!(!shows_colour(&file), "a file is no terminal");
    }

    #[test]
    fn a_name_makes_no_row_of_its_own() {
        let rows = [["a\nb\x1b[2J".to_owned(), "x".to_owned()], ["c".to_owned(), "y".to_owned()]];
        assert_eq!(table(&rows), "a\\nb\\x1b[2J  x\nc            y\n");
    }

    #[test]
    fn a_document_reads_as_what_it_was_and_has_nothing_that_a_terminal_obeys() {
        let all: String = ('\0'..=char::MAX).collect();
        let written = ascii(&serde_json::to_string_pretty(&[&all]).unwrap());
        assert!(written.chars().all(|char| char == '\n' || escape::is_plain(char)));
        assert_eq!(serde_json::from_str::<[String; 1]>(&written).unwrap(), [all]);
    }
}
