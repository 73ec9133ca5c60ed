//! What is wrong with a site: everything at once, each with file, line, column, key, reason, and what may have been meant.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, as it was named.
    pub file: String,
    /// From 1; 0 when the whole file is meant.
    pub line: usize,
    /// From 1, in characters; 0 likewise.
    pub column: usize,
    /// The key, from the top: `machine.alpha.mac`.
    pub key: String,
    /// Why it is refused.
    pub reason: String,
    /// What may have been meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.reason)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// All mistakes of a site, in the order of its files and lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct Report {
    /// At least one, when this is an error.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.problems.iter();
        lines.next().map_or(Ok(()), |first| write!(f, "{first}"))?;
        lines.try_for_each(|problem| write!(f, "\n{problem}"))
    }
}

impl std::error::Error for Report {}

/// A place in a file, by byte offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) file: usize,
    pub(crate) span: Range<usize>,
    pub(crate) key: String,
}

/// Line and column of a byte offset, both from 1.
pub(crate) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset.min(text.len())).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// The known word that a wrong one is most like, if it is like any.
#[must_use]
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    let scored = known.into_iter().map(|candidate| (strsim::osa_distance(word, candidate), candidate));
    let (distance, candidate) = scored.min()?;
    (distance <= 1 + word.len() / 4).then(|| format!("did you mean `{candidate}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_fingers_finds_the_key_that_was_meant() {
        let keys = ["address", "interface", "store"];
        assert_eq!(nearest("adress", keys), Some("did you mean `address`?".to_owned()));
        assert_eq!(nearest("nothing-like-it", keys), None);
        // Two letters that have changed places are one slip, in a short word too.
        assert_eq!(nearest("amc", ["mac", "name"]), Some("did you mean `mac`?".to_owned()));
    }

    #[test]
    fn lines_and_columns_count_from_one() {
        assert_eq!(line_and_column("ab\nü=1", 0), (1, 1));
        assert_eq!(line_and_column("ab\nü=1", 5), (2, 2));
        assert_eq!(line_and_column("ab", 99), (1, 3));
    }
}
