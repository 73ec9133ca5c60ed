//! Packets on the wire (RFC 1350 §5, options by RFC 2347): checked parsing of what clients send, encoding of answers.
//!
//! Parsing is strict where a wrong guess would cost (numbers, the name and its mode), and lenient where RFC 2347 wants
//! it: an option that is unknown, cut short or out of range is as if it had not been sent.

use crate::limits::{MAX_BLKSIZE, MAX_REQUEST};
use crate::{TftpError, name};

const RRQ: u16 = 1;
const WRQ: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OACK: u16 = 6;

/// Smallest block size of RFC 2348.
const MIN_BLKSIZE: u16 = 8;

/// A datagram to port 69.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Read(ReadRequest),
    /// A request that gets an ERROR.
    Refused(TftpError),
    /// Whatever is not a request gets no answer: two servers would answer each other's errors without end (Loop DoS).
    NotARequest,
}

/// A read request whose name is safe and whose options are in range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadRequest {
    pub(crate) name: String,
    pub(crate) options: Options,
}

/// The options that the client asked for; only these may be answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// 8..=65464 (RFC 2348).
    pub(crate) blksize: Option<u16>,
    /// 1..=255 seconds (RFC 2349).
    pub(crate) timeout: Option<u8>,
    /// The client wants to know the size (RFC 2349).
    pub(crate) tsize: bool,
    /// 1..=65535 (RFC 7440).
    pub(crate) windowsize: Option<u16>,
}

/// A datagram to a transfer's own port.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Inside {
    Ack(u16),
    Error(u16),
    /// A known opcode that a reader has no business to send.
    Unexpected,
    Garbage,
}

pub(crate) fn incoming(datagram: &[u8]) -> Incoming {
    let head = datagram.get(..MAX_REQUEST).unwrap_or(datagram);
    let Some((opcode, body)) = head.split_first_chunk() else { return Incoming::NotARequest };
    match u16::from_be_bytes(*opcode) {
        RRQ => match read_request(body, datagram.len() > MAX_REQUEST) {
            Ok(request) => Incoming::Read(request),
            Err(cause) => Incoming::Refused(cause),
        },
        WRQ => Incoming::Refused(TftpError::ReadOnly),
        _ => Incoming::NotARequest,
    }
}

fn read_request(mut body: &[u8], cut: bool) -> Result<ReadRequest, TftpError> {
    let unterminated = if cut { TftpError::TooLong } else { TftpError::Malformed };
    let name = field(&mut body).ok_or(unterminated)?;
    // The last word of some clients' requests has no NUL, as they count the bytes of the datagram.
    let mode = match field(&mut body) {
        None if !cut && !body.is_empty() => std::mem::take(&mut body),
        mode => mode.ok_or(unterminated)?,
    };
    let netascii = mode.eq_ignore_ascii_case(b"netascii");
    if !netascii && !mode.eq_ignore_ascii_case(b"octet") {
        return Err(TftpError::BadMode);
    }
    let mut options = options(body);
    // Line ends are not translated: what boots by TFTP is binary, and a client that says netascii is misconfigured.
    // A size would be a promise about the translated text, so none is given.
    options.tsize &= !netascii;
    Ok(ReadRequest { name: name::clean(name)?, options })
}

fn options(mut body: &[u8]) -> Options {
    let (mut blksize, mut timeout, mut tsize, mut windowsize) = (None, None, None, None);
    while let Some(name) = field(&mut body)
        && let Some(value) = field(&mut body)
    {
        let first = if name.eq_ignore_ascii_case(b"blksize") {
            &mut blksize
        } else if name.eq_ignore_ascii_case(b"timeout") {
            &mut timeout
        } else if name.eq_ignore_ascii_case(b"tsize") {
            &mut tsize
        } else if name.eq_ignore_ascii_case(b"windowsize") {
            &mut windowsize
        } else {
            continue;
        };
        // Repeated: the first counts, even when it is out of range.
        first.get_or_insert(value);
    }
    let number = |value: Option<&[u8]>| value.and_then(decimal);
    let word = |value| number(value).and_then(|number| u16::try_from(number).ok());
    Options {
        blksize: word(blksize).filter(|size| (MIN_BLKSIZE..=MAX_BLKSIZE).contains(size)),
        timeout: number(timeout)
            .and_then(|seconds| u8::try_from(seconds).ok())
            .filter(|seconds| *seconds > 0),
        tsize: number(tsize).is_some(),
        windowsize: word(windowsize).filter(|blocks| *blocks > 0),
    }
}

/// Takes the bytes up to the next NUL; nothing if there is no NUL.
fn field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().position(|byte| *byte == 0)?;
    let (field, behind) = rest.split_at_checked(end)?;
    *rest = behind.get(1..)?;
    Some(field)
}

/// Digits and nothing else: `str::parse` alone would take `+8`.
fn decimal(value: &[u8]) -> Option<u64> {
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

pub(crate) fn inside(datagram: &[u8]) -> Inside {
    let Some((opcode, body)) = datagram.split_first_chunk() else { return Inside::Garbage };
    let number = body.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
    match (u16::from_be_bytes(*opcode), number) {
        (ACK, Some(block)) => Inside::Ack(block),
        // An ERROR cut short still says that the client has gone.
        (ERROR, code) => Inside::Error(code.unwrap_or(0)),
        (RRQ | WRQ | DATA | OACK, _) => Inside::Unexpected,
        _ => Inside::Garbage,
    }
}

/// The number that stands for a block on the wire: after 65535 comes 0.
pub(crate) fn wire_number(block: u64) -> u16 {
    let [.., high, low] = block.to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// Length of what stands before a block's data: opcode and block number.
pub(crate) const DATA_HEADER: usize = 4;

pub(crate) fn data_header(block: u64) -> [u8; DATA_HEADER] {
    let ([a, b], [c, d]) = (DATA.to_be_bytes(), wire_number(block).to_be_bytes());
    [a, b, c, d]
}

pub(crate) fn error(cause: TftpError) -> Vec<u8> {
    let mut out = [ERROR.to_be_bytes(), cause.code().to_be_bytes()].concat();
    out.extend(cause.to_string().bytes());
    out.push(0);
    out
}

/// `options` as granted; `size` answers `tsize`.
pub(crate) fn oack(options: Options, size: u64) -> Vec<u8> {
    let granted = [
        ("blksize", options.blksize.map(u64::from)),
        ("timeout", options.timeout.map(u64::from)),
        ("tsize", options.tsize.then_some(size)),
        ("windowsize", options.windowsize.map(u64::from)),
    ];
    let mut out = OACK.to_be_bytes().to_vec();
    for (name, value) in granted {
        if let Some(value) = value {
            out.extend(format!("{name}\0{value}\0").bytes());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Incoming, Inside, Options, decimal, incoming, inside, options, wire_number};
    use proptest::prelude::*;

    #[test]
    fn numbers_are_digits_and_nothing_else() {
        for value in ["", "+8", " 8", "8 ", "-1", "0x200", "8.0", "18446744073709551616"] {
            assert_eq!(decimal(value.as_bytes()), None, "{value:?}");
        }
        assert_eq!(decimal(b"100000000000"), Some(100_000_000_000));
    }

    #[test]
    fn a_mode_that_ends_with_the_datagram_is_a_mode() {
        let Incoming::Read(request) = incoming(b"\0\x01ipxe.efi\0octet") else { panic!() };
        assert_eq!((request.name.as_str(), request.options), ("ipxe.efi", Options::default()));
        for other in [&b"\0\x01ipxe.efi\0oct"[..], b"\0\x01ipxe.efi\0", b"\0\x01ipxe.efi"] {
            assert!(matches!(incoming(other), Incoming::Refused(_)), "{other:?}");
        }
    }

    #[test]
    fn an_option_without_value_or_end_is_ignored_and_those_before_it_count() {
        let expected = Options { blksize: Some(1024), ..Options::default() };
        for body in ["blksize\x001024\0", "blksize\x001024\0tsize\0", "blksize\x001024\0tsize\x000"] {
            assert_eq!(options(body.as_bytes()), expected, "{body:?}");
        }
    }

    #[test]
    fn the_first_of_a_repeated_option_counts_even_if_it_is_bad() {
        assert_eq!(options(b"BLKSIZE\x00512\0blksize\x001024\0").blksize, Some(512));
        assert_eq!(options(b"blksize\x007\0blksize\x001024\0").blksize, None);
    }

    #[test]
    fn block_numbers_wrap_to_zero() {
        assert_eq!([65_535, 65_536, 65_537].map(wire_number), [65_535, 0, 1]);
    }

    #[test]
    fn a_short_error_is_still_an_error() {
        assert_eq!(inside(&[0, 5]), Inside::Error(0));
        assert_eq!(inside(&[0, 4, 1]), Inside::Garbage);
    }

    proptest! {
        #[test]
        fn no_datagram_breaks_the_parsers(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            incoming(&bytes);
            inside(&bytes);
        }

        #[test]
        fn no_options_are_out_of_range(body in "((?i)blksize|timeout|tsize|windowsize)\0[0-9]{0,6}\0.{0,20}") {
            let options = options(body.as_bytes());
            prop_assert!(options.blksize.is_none_or(|size| (8..=65464).contains(&size)));
            prop_assert!(options.timeout != Some(0) && options.windowsize != Some(0));
        }
    }
}
