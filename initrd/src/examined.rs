//! What a machine tells once it has examined itself (docs/decisions/0023): which programs of `/etc/oneroot/examine.d` it has run, and what
//! each has printed. One HTTP POST to `/b/BOOT/examined` from a port below 1024, its body at most [`LONGEST`] bytes:
//!
//! ```text
//! printed NAME LENGTH
//! LENGTH bytes, and a line end
//! failed NAME
//! ```
//!
//! What was printed are bytes here. Whoever sends it, it is a claim: who reads it decides what of it is a fact.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Programs of one machine at most.
pub const MOST_HOOKS: usize = 32;
/// Bytes that one may print.
pub const MOST_PRINTED: usize = 4096;
/// Bytes that all of a machine's may print together.
pub const LARGEST: usize = 16 << 10;
/// Bytes of a body: what was printed, and a line for each.
pub const LONGEST: usize = LARGEST + MOST_HOOKS * 64;

/// A program's name as it is told of: 1 to 32 letters, digits and hyphens. What else stands in its file's name is a hyphen here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HookName(String);

/// What became of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It ended well and has printed this.
    Printed(Vec<u8>),
    /// It failed, was late, has printed too much, or was not run.
    Failed,
}

/// What a machine tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examination {
    /// Every program of its tree, the first ones by their files' names where there are more.
    pub hooks: BTreeMap<HookName, Outcome>,
}

/// It is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadExamination {
    /// More bytes than one has.
    #[error("what a machine has examined has at most {LONGEST} bytes")]
    TooLong,
    /// Not the lines that it consists of.
    #[error("what a machine has examined is a line for each program, and what it has printed")]
    Malformed,
}

impl HookName {
    /// Bytes of one at most: with its word and a boot's id it is a name that is heard.
    pub const LONGEST: usize = 32;

    /// What a file's name becomes: its first bytes, a hyphen for each that is no letter or digit of ASCII's.
    #[must_use]
    pub fn of_file(name: &str) -> Self {
        let plain = |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte) } else { '-' };
        let word: String = name.bytes().take(Self::LONGEST).map(plain).collect();
        Self(if word.is_empty() { "-".to_owned() } else { word })
    }

    /// Its characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HookName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for HookName {
    type Err = BadExamination;

    fn from_str(text: &str) -> Result<Self, BadExamination> {
        let is_good = (1..=Self::LONGEST).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if is_good { Ok(Self(text.to_owned())) } else { Err(BadExamination::Malformed) }
    }
}

impl Examination {
    /// As it is sent.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, outcome) in &self.hooks {
            match outcome {
                Outcome::Printed(printed) => {
                    bytes.extend(format!("printed {name} {}\n", printed.len()).as_bytes());
                    bytes.extend(printed);
                    bytes.push(b'\n');
                }
                Outcome::Failed => bytes.extend(format!("failed {name}\n").as_bytes()),
            }
        }
        bytes
    }

    /// Reads what was sent. The programs stand in the order of their names, each once.
    ///
    /// # Errors
    /// [`BadExamination`].
    pub fn read(bytes: &[u8]) -> Result<Self, BadExamination> {
        if bytes.len() > LONGEST {
            return Err(BadExamination::TooLong);
        }
        let (mut examination, mut rest) = (Self::default(), bytes);
        while !rest.is_empty() {
            let (line, behind) = line(rest)?;
            let mut words = line.split(' ');
            let (Some(word), Some(name)) = (words.next(), words.next()) else {
                return Err(BadExamination::Malformed);
            };
            let name: HookName = name.parse()?;
            let (outcome, behind) = match (word, words.next(), words.next()) {
                ("printed", Some(length), None) => printed(behind, length)?,
                ("failed", None, None) => (Outcome::Failed, behind),
                _ => return Err(BadExamination::Malformed),
            };
            let is_next = examination.hooks.last_key_value().is_none_or(|(last, _)| *last < name);
            if !is_next || examination.hooks.len() == MOST_HOOKS {
                return Err(BadExamination::Malformed);
            }
            examination.hooks.insert(name, outcome);
            rest = behind;
        }
        Ok(examination)
    }
}

/// A first line, and what is behind it.
fn line(bytes: &[u8]) -> Result<(&str, &[u8]), BadExamination> {
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(BadExamination::Malformed)?;
    let line = bytes.get(..end).and_then(|line| std::str::from_utf8(line).ok());
    line.zip(bytes.get(end + 1..)).ok_or(BadExamination::Malformed)
}

/// So many bytes and a line end, and what is behind them.
fn printed<'b>(bytes: &'b [u8], length: &str) -> Result<(Outcome, &'b [u8]), BadExamination> {
    let number: Option<usize> = length.parse().ok();
    // Written in one way alone: no sign, no zero before it.
    let is_plain = |number: &usize| *number <= MOST_PRINTED && number.to_string() == length;
    let length = number.filter(is_plain).ok_or(BadExamination::Malformed)?;
    let (printed, behind) = bytes.split_at_checked(length).ok_or(BadExamination::Malformed)?;
    let behind = behind.strip_prefix(b"\n").ok_or(BadExamination::Malformed)?;
    Ok((Outcome::Printed(printed.to_vec()), behind))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_told_is_read_as_it_was_whatever_was_printed() {
        let hooks = [
            ("10-rack", Outcome::Printed(b"{\"rack\": \"b7\"}\n".to_vec())),
            ("20-gpu", Outcome::Failed),
            ("30-odd", Outcome::Printed(b"failed 40-x\nprinted 50 9\n\xff\0".to_vec())),
            ("40-none", Outcome::Printed(Vec::new())),
        ];
        let hooks = hooks.map(|(name, outcome)| (name.parse().unwrap(), outcome));
        let told = Examination { hooks: hooks.into_iter().collect() };
        assert_eq!(Examination::read(&told.bytes()), Ok(told));
        assert_eq!(Examination::read(b""), Ok(Examination::default()));
    }

    #[test]
    fn what_is_cut_short_out_of_order_or_too_much_is_none() {
        let whole = b"printed a 3\nxyz\nfailed b\n";
        for length in 1..whole.len() {
            // Behind the first program's part another one may have ended.
            let read = Examination::read(&whole[..length]);
            assert_eq!(read.is_ok(), length == 16, "{length}");
        }
        for bad in [
            "failed b\nfailed a\n",
            "failed a\nfailed a\n",
            "failed a.b\n",
            "failed \n",
            "failed a b\n",
            "failed  a\n",
            "printed a\n",
            "printed a -1\n\n",
            "printed a +1\nx\n",
            "printed a 1\nxy\n",
            "printed a 99999999999999999999\n",
            "printed a 4097\n",
            "ran a\n",
            "\n",
            "failed \u{1b}\n",
        ] {
            assert_eq!(Examination::read(bad.as_bytes()), Err(BadExamination::Malformed), "{bad:?}");
        }
        let many: String = (0..=MOST_HOOKS).map(|number| format!("failed h{number:02}\n")).collect();
        assert_eq!(Examination::read(many.as_bytes()), Err(BadExamination::Malformed));
        assert_eq!(Examination::read(&vec![b'x'; LONGEST + 1]), Err(BadExamination::TooLong));
    }

    proptest! {
        #[test]
        fn any_files_name_becomes_a_word_that_can_be_told(name in "\\PC{0,60}") {
            let word = HookName::of_file(&name);
            prop_assert_eq!(word.as_str().parse(), Ok(word.clone()));
        }

        #[test]
        fn any_bytes_are_read_or_refused_and_what_is_read_is_written_as_it_was(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(read) = Examination::read(&bytes) {
                prop_assert_eq!(read.bytes(), bytes);
            }
        }
    }
}
