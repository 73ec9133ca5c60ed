//! What passes between the server and the process that runs the site's program: each message is one packet of a socket that
//! keeps their bounds (SOCK_SEQPACKET), so half a message is never read.
//!
//! | from | message | bytes |
//! |---|---|---|
//! | the server | the question | JSON |
//! | who runs it | how the run has gone | a kind, a number, what the program said on stderr with its length, what it printed |
//! | the launcher | nothing of the run is left, and the lane is free | one |

use oneroot_bootconf::answer::LONGEST as LONGEST_ANSWER;

/// Longest question, in bytes. A pipe has room for it, so who writes one waits for no reader.
pub const LONGEST_QUESTION: usize = 60 << 10;
/// Of what the program says on stderr the end, in bytes.
pub const LONGEST_SAID: usize = 2 << 10;
/// Longest message.
pub const LONGEST: usize = HEAD + LONGEST_SAID + LONGEST_ANSWER;
/// Kind, number, length.
const HEAD: usize = 7;
/// The launcher's word.
pub const FREE: [u8; 1] = [0xff];

/// How a run has gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    pub outcome: Outcome,
    /// The end of what it said on stderr.
    pub said: Vec<u8>,
}

/// How the program has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// By itself, with success: what it printed.
    Answered(Vec<u8>),
    /// With another exit code.
    Exit(i32),
    /// By this signal.
    Signal(i32),
    /// It was ended, for it took too long.
    Late,
    /// It was ended, for it printed too much.
    TooLong,
    /// It was not started: an `errno`.
    NotRun(i32),
    /// It was not started, for every user can change it.
    Open,
    /// Nobody waits for it any more.
    Gone,
}

impl Ran {
    /// Without a word of the program.
    pub fn silent(outcome: Outcome) -> Self {
        Self { outcome, said: Vec::new() }
    }

    /// As it is sent.
    pub fn bytes(&self) -> Vec<u8> {
        let (kind, number, printed) = match &self.outcome {
            Outcome::Answered(printed) => (0, 0, printed.as_slice()),
            Outcome::Exit(code) => (1, *code, &[][..]),
            Outcome::Signal(signal) => (2, *signal, &[][..]),
            Outcome::Late => (3, 0, &[][..]),
            Outcome::TooLong => (4, 0, &[][..]),
            Outcome::NotRun(errno) => (5, *errno, &[][..]),
            Outcome::Open => (6, 0, &[][..]),
            Outcome::Gone => (7, 0, &[][..]),
        };
        let said = self.said.get(..self.said.len().min(LONGEST_SAID)).unwrap_or_default();
        let length = u16::try_from(said.len()).unwrap_or(0);
        [&[kind], &number.to_le_bytes()[..], &length.to_le_bytes(), said, printed].concat()
    }

    /// As it is understood.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
        let [kind, a, b, c, d, low, high] = *head;
        let number = i32::from_le_bytes([a, b, c, d]);
        let (said, printed) = rest.split_at_checked(usize::from(u16::from_le_bytes([low, high])))?;
        let outcome = match kind {
            0 => Outcome::Answered(printed.to_vec()),
            1 => Outcome::Exit(number),
            2 => Outcome::Signal(number),
            3 => Outcome::Late,
            4 => Outcome::TooLong,
            5 => Outcome::NotRun(number),
            6 => Outcome::Open,
            7 => Outcome::Gone,
            _ => return None,
        };
        Some(Self { outcome, said: said.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_a_run_arrives_as_it_was_told() {
        let outcomes = [
            Outcome::Answered(b"{}".to_vec()),
            Outcome::Answered(Vec::new()),
            Outcome::Exit(-1),
            Outcome::Signal(libc::SIGKILL),
            Outcome::Late,
            Outcome::TooLong,
            Outcome::NotRun(libc::ENOENT),
            Outcome::Open,
            Outcome::Gone,
        ];
        for outcome in outcomes {
            for said in [&b""[..], b"no such host", &[0xff; LONGEST_SAID]] {
                let ran = Ran { outcome: outcome.clone(), said: said.to_vec() };
                assert_eq!(Ran::of(&ran.bytes()), Some(ran));
            }
        }
        let most = Ran { outcome: Outcome::Answered(vec![0; LONGEST_ANSWER]), said: vec![0; LONGEST_SAID] };
        assert_eq!(most.bytes().len(), LONGEST);
    }

    #[test]
    fn what_is_cut_short_or_of_no_kind_is_no_message() {
        let whole = Ran { outcome: Outcome::Exit(3), said: b"no".to_vec() }.bytes();
        for length in 0..whole.len() {
            assert_eq!(Ran::of(&whole[..length]), None, "{length}");
        }
        assert_eq!(Ran::of(&FREE), None);
        assert_eq!(Ran::of(&[9, 0, 0, 0, 0, 0, 0]), None);
    }
}
