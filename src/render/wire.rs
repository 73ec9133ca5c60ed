//! What passes between the processes: a request and its reply as JSON with a length in front, and what the supervisor says
//! of workers in five bytes.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use oneroot_bootconf::facts::Facts;
use oneroot_bootconf::render::RenderError;
use serde::{Deserialize, Serialize};

/// Longest message, in bytes: a template of 1 MiB in which every byte takes six (`\u0000`), and its facts.
const LONGEST: usize = 16 << 20;

/// What is to be rendered.
#[derive(Serialize)]
pub struct Asking<'a> {
    pub file: &'a str,
    pub text: &'a str,
    /// Of one machine or of several.
    pub facts: &'a [Facts],
    /// Whether what it becomes is wanted, and not its faults alone.
    pub wanted: bool,
}

/// The same as it arrives.
#[derive(Deserialize)]
pub struct Asked {
    pub file: String,
    pub text: String,
    pub facts: Vec<Facts>,
    pub wanted: bool,
}

/// What it has become for each.
pub type Replies = Vec<Reply>;

/// What it has become.
pub type Reply = Result<String, RenderError>;

/// Sends one message.
pub fn send(mut stream: &UnixStream, message: &impl Serialize) -> io::Result<()> {
    // Room for the length, which is known once the rest is written.
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len().saturating_sub(4);
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too long"));
    }
    let length = u32::try_from(length).map_err(io::Error::other)?;
    for (to, from) in bytes.iter_mut().zip(length.to_le_bytes()) {
        *to = from;
    }
    stream.write_all(&bytes)
}

/// Receives one; the end of the stream is an error.
pub fn receive(mut stream: &UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_le_bytes(length)).map_err(io::Error::other)?;
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too long"));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// What the supervisor says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Here is a worker: its socket comes with this.
    Begun,
    /// There can be none now: an `errno`.
    NotBegun(i32),
    /// The worker was ended by this signal.
    Signal(i32),
    /// It has ended with this code; 0 when it only makes room for a fresh one.
    Exit(i32),
}

/// A word's length.
pub const WORD: usize = 5;

impl Word {
    /// As it is sent.
    pub fn bytes(self) -> [u8; WORD] {
        let (kind, number) = match self {
            Self::Begun => (0, 0),
            Self::NotBegun(errno) => (1, errno),
            Self::Signal(signal) => (2, signal),
            Self::Exit(code) => (3, code),
        };
        let [a, b, c, d] = number.to_le_bytes();
        [kind, a, b, c, d]
    }

    /// As it is understood.
    pub fn of([kind, a, b, c, d]: [u8; WORD]) -> Option<Self> {
        let number = i32::from_le_bytes([a, b, c, d]);
        match kind {
            0 => Some(Self::Begun),
            1 => Some(Self::NotBegun(number)),
            2 => Some(Self::Signal(number)),
            3 => Some(Self::Exit(number)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_arrive_as_they_were_said() {
        for word in [Word::Begun, Word::NotBegun(libc::EAGAIN), Word::Signal(libc::SIGSEGV), Word::Exit(-1)] {
            assert_eq!(Word::of(word.bytes()), Some(word));
        }
        assert_eq!(Word::of([9, 0, 0, 0, 0]), None);
    }

    #[test]
    fn a_length_from_a_stranger_allocates_nothing() {
        let (mut a, b) = UnixStream::pair().unwrap();
        a.write_all(&u32::MAX.to_le_bytes()).unwrap();
        assert_eq!(receive(&b).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
