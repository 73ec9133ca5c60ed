//! Record marking: a stream that comes in pieces means what the same bytes mean in one piece, and what a plain reading
//! of RFC 5531 §11 with the two bounds says they mean.
//!
//! Input: the number of cuts, where each piece ends, then the stream.

use oneroot_nfsd::{Error, MAX_FRAGMENTS, MAX_RECORD, RecordStream};
use oneroot_testkit::Tape;

type Outcome = (Vec<Vec<u8>>, Option<Error>);

pub fn run(data: &[u8]) {
    let mut tape = Tape::new(data);
    let cuts: Vec<usize> = (0..tape.byte()).map(|_| usize::from(tape.byte())).collect();
    let stream = stretched(tape.rest());
    let due = plain(&stream);
    assert_eq!(read(&[&stream]), due, "in one piece");

    let (mut pieces, mut rest) = (Vec::new(), &stream[..]);
    for cut in &cuts {
        let (piece, after) = rest.split_at((*cut).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    assert_eq!(read(&pieces), due, "cut at {cuts:?}");
    if stream.len() <= 4096 {
        assert_eq!(read(&stream.chunks(1).collect::<Vec<_>>()), due, "byte by byte");
    }
}

/// Long records are what the bounds are for, and no fuzzer writes 64 KiB by itself: at the front of the stream 0x40 and a
/// length of three bytes stand for a last fragment of that many bytes, 0x41 for one with more to follow, and so on. Both would else
/// be marks of a gigabyte, which end a stream whatever follows.
fn stretched(mut stream: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let [kind @ (0x40 | 0x41), high, middle, low, rest @ ..] = stream {
        let len =
            (usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low)).min(MAX_RECORD + 2);
        let last = if *kind == 0x40 { 0x8000_0000 } else { 0 };
        out.extend((last | len as u32).to_be_bytes());
        out.resize(out.len() + len, 0x55);
        stream = rest;
        // A few bounds' worth; a stream of them all would only be slow.
        if out.len() > 4 * MAX_RECORD {
            break;
        }
    }
    out.extend(stream);
    out
}

fn read(pieces: &[&[u8]]) -> Outcome {
    let (mut stream, mut found) = (RecordStream::new(), Vec::new());
    for mut piece in pieces.iter().copied() {
        loop {
            match stream.next(&mut piece) {
                Ok(Some(record)) => {
                    assert!((1..=MAX_RECORD).contains(&record.len()));
                    found.push(record.to_vec());
                    assert!(stream.is_idle(), "idle between records");
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(
                        stream.next(&mut &b"\x80\0\0\x01x"[..]),
                        Err(error),
                        "failed once is failed for ever"
                    );
                    return (found, Some(error));
                }
            }
        }
        assert!(piece.is_empty(), "None means that all has been taken");
    }
    (found, None)
}

/// The same with the whole stream at hand.
fn plain(mut rest: &[u8]) -> Outcome {
    let (mut found, mut record, mut fragments) = (Vec::new(), Vec::new(), 0);
    while let Some((mark, after)) = rest.split_first_chunk::<4>() {
        let mark = u32::from_be_bytes(*mark);
        let len = (mark & 0x7fff_ffff) as usize;
        fragments += 1;
        if record.len() + len > MAX_RECORD {
            return (found, Some(Error::RecordTooLong));
        }
        if fragments > MAX_FRAGMENTS {
            return (found, Some(Error::TooManyFragments));
        }
        let Some((body, after)) = after.split_at_checked(len) else { break };
        record.extend(body);
        rest = after;
        if mark & 0x8000_0000 != 0 {
            if record.is_empty() {
                return (found, Some(Error::EmptyRecord));
            }
            found.push(std::mem::take(&mut record));
            fragments = 0;
        }
    }
    (found, None)
}
