//! Requests as clients send them, made of choices; and a plain reading of any message, which shares nothing with the crate.

use oneroot_testkit::Tape;

/// Length of header and cookie.
pub const HEADER: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// A message around these options.
pub fn message(mac: [u8; 6], ciaddr: [u8; 4], giaddr: [u8; 4], options: &[u8]) -> Vec<u8> {
    let mut packet = vec![1, 1, 6, 0, 0, 0, 0, 7, 0, 0, 0, 0];
    packet.extend(ciaddr);
    packet.resize(24, 0);
    packet.extend(giaddr);
    packet.extend(mac);
    packet.resize(236, 0);
    packet.extend(COOKIE);
    packet.extend(options);
    packet
}

/// Code, length and value.
pub fn option(code: u8, value: &[u8]) -> Vec<u8> {
    let value = &value[..value.len().min(255)];
    [&[code, u8::try_from(value.len()).unwrap()], value].concat()
}

/// An option that the engine reads, with a value that it may believe, or with any.
pub fn some_option(tape: &mut Tape<'_>) -> Vec<u8> {
    let address = |tape: &mut Tape<'_>| [10, tape.byte() % 3, tape.byte() % 3, tape.byte() % 24];
    match tape.below(8) {
        0 => option(tape.pick(&[50, 54, 118]), &address(tape)),
        1 => option(tape.pick(&[60, 77]), tape.pick(&[&b"PXEClient:Arch:00000"[..], b"HTTPClient", b"iPXE"])),
        2 => option(93, &[0, tape.pick(&[0, 7, 11, 16])]),
        3 => option(82, &option(tape.pick(&[5, 11, 1]), &address(tape))),
        4 => option(57, &[tape.byte(), tape.byte()]),
        5 => option(tape.pick(&[55, 61, 77, 82, 93, 97, 175, 52]), tape.counted()),
        6 => option(55, &[66, 67, 1, 3, 6]),
        _ => tape.counted().to_vec(),
    }
}

/// What everybody reads the same in a message: options in one part each, up to the end mark.
#[derive(Debug, PartialEq, Eq)]
pub struct Plain<'a> {
    pub op: u8,
    pub xid: &'a [u8],
    pub mac: &'a [u8],
    pub options: Vec<(u8, &'a [u8])>,
    /// Whether they end with an end mark, and only zeros follow it.
    pub whole: bool,
}

pub fn plain(datagram: &[u8]) -> Option<Plain<'_>> {
    if datagram.len() < HEADER || datagram[236..HEADER] != COOKIE {
        return None;
    }
    let mut options = vec![];
    let mut rest = &datagram[HEADER..];
    let whole = loop {
        match rest {
            [] => break false,
            [0, tail @ ..] => rest = tail,
            [255, tail @ ..] => break tail.iter().all(|byte| *byte == 0),
            [code, length, tail @ ..] if tail.len() >= usize::from(*length) => {
                let (value, tail) = tail.split_at(usize::from(*length));
                options.push((*code, value));
                rest = tail;
            }
            _ => break false,
        }
    };
    Some(Plain { op: datagram[0], xid: &datagram[4..8], mac: &datagram[28..34], options, whole })
}

impl Plain<'_> {
    /// The value of an option that is there once.
    pub fn once(&self, code: u8) -> Option<&[u8]> {
        let mut found = self.options.iter().filter(|(its, _)| *its == code);
        found.next().filter(|_| found.next().is_none()).map(|(_, value)| *value)
    }
}
