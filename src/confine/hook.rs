//! A worker that somebody has taken over, for tests: it makes the system calls that it is told, from inside the server.
//!
//! Only in builds with debug assertions. A release binary has no trace of it, which `packaging/deb/check` looks for; a
//! variable of the environment or a hidden option would be one that somebody sets.

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Arguments of a system call.
const ARGUMENTS: usize = 6;

/// What the kernel answered.
#[derive(Serialize)]
pub struct Answered {
    /// The result, or the number of the error below zero.
    result: i64,
}

/// One argument: a number, or bytes that the kernel is given the address of.
enum Argument {
    Number(i64),
    Bytes(Vec<u8>),
}

impl Argument {
    /// `-100`, `0x22`, `@/etc/shadow` for text with a zero behind it, `:0200` for bytes in hexadecimal.
    fn parse(word: &str) -> Result<Self> {
        if let Some(text) = word.strip_prefix('@') {
            return Ok(Self::Bytes([text.as_bytes(), b"\0"].concat()));
        }
        if let Some(digits) = word.strip_prefix(':') {
            let pairs = digits.as_bytes().chunks(2).map(|pair| {
                let pair = std::str::from_utf8(pair).context("hexadecimal digits")?;
                u8::from_str_radix(pair, 16).with_context(|| format!("{pair:?} is not a byte"))
            });
            return Ok(Self::Bytes(pairs.collect::<Result<_>>()?));
        }
        let number = match word.strip_prefix("0x") {
            Some(digits) => i64::from_str_radix(digits, 16),
            None => word.parse(),
        };
        number.map(Self::Number).with_context(|| format!("{word:?} is not an argument"))
    }

    fn value(&self) -> i64 {
        match self {
            Self::Number(number) => *number,
            // An address of this architecture is 64 bits wide; the kernel takes it as it is.
            Self::Bytes(bytes) => bytes.as_ptr() as i64,
        }
    }
}

/// Makes the system call in `words`: its number and up to six arguments.
pub fn call(words: &str) -> Result<Answered> {
    let arguments = words.split_whitespace().map(Argument::parse).collect::<Result<Vec<_>>>()?;
    let mut values = arguments.iter().map(Argument::value);
    let number = values.next().context("which system call?")?;
    let mut given = [0; ARGUMENTS];
    given.iter_mut().zip(values).for_each(|(to, value)| *to = value);
    let [a, b, c, d, e, f] = given;
    // SAFETY: there is no proof that any call is harmless, and that is the point: this is what an attacker would do. The
    // code exists in debug builds alone, and only who may open the control socket, root, can ask for it. Addresses that
    // it is given are those of `arguments`, which live until after the call.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    let failed = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
    Ok(Answered { result: if result == -1 { -i64::from(failed) } else { result } })
}
