//! Record marking under hostile input: lengths that promise too much, fragments without end, and streams cut anywhere.

use oneroot_nfsd::{Error, MAX_FRAGMENTS, MAX_RECORD, RecordStream};
use proptest::prelude::*;

/// A fragment with its mark.
fn fragment(last: bool, body: &[u8]) -> Vec<u8> {
    let mark = body.len() as u32 | if last { 0x8000_0000 } else { 0 };
    [&mark.to_be_bytes(), body].concat()
}

/// All records of a stream that comes in these pieces, and the error that ended it, if one did.
fn records<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Option<Error>) {
    let (mut stream, mut found) = (RecordStream::new(), Vec::new());
    for mut piece in pieces {
        loop {
            match stream.next(&mut piece) {
                Ok(Some(record)) => found.push(record.to_vec()),
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
        assert!(piece.is_empty(), "None means that all has been taken");
    }
    (found, None)
}

#[test]
fn a_mark_that_announces_gigabytes_ends_the_stream_before_any_body() {
    for mark in [0x7fff_ffff_u32, 0xffff_ffff, 0x8001_0001, 0x0001_0001] {
        assert_eq!(records([&mark.to_be_bytes()[..]]), (vec![], Some(Error::RecordTooLong)), "{mark:#x}");
    }
}

#[test]
fn a_record_may_be_as_long_as_the_limit_and_no_byte_longer() {
    let body = vec![1; MAX_RECORD];
    assert_eq!(records([&fragment(true, &body)[..]]), (vec![body.clone()], None));
    let in_two = [fragment(false, &body[..9]), fragment(true, &body[9..])].concat();
    assert_eq!(records([&in_two[..]]), (vec![body.clone()], None));
    let over = [fragment(false, &body), fragment(true, b"x")].concat();
    assert_eq!(records([&over[..]]), (vec![], Some(Error::RecordTooLong)));
}

#[test]
fn fragments_of_no_bytes_count_until_they_are_too_many() {
    let most: Vec<u8> = (1..MAX_FRAGMENTS).flat_map(|_| fragment(false, b"")).collect();
    let good = [most.clone(), fragment(true, b"abcd")].concat();
    assert_eq!(records([&good[..]]), (vec![b"abcd".to_vec()], None));
    let bad = [most, fragment(false, b""), fragment(true, b"abcd")].concat();
    assert_eq!(records([&bad[..]]), (vec![], Some(Error::TooManyFragments)));
}

#[test]
fn fragments_of_one_byte_make_a_record_until_they_are_too_many() {
    let ones: Vec<u8> = (0..10_000).flat_map(|_| fragment(false, b"x")).collect();
    assert_eq!(records([&ones[..]]), (vec![], Some(Error::TooManyFragments)));
}

#[test]
fn a_last_fragment_of_no_bytes_ends_a_record_that_has_some() {
    let stream = [fragment(false, b"abcd"), fragment(true, b""), fragment(true, b"next")].concat();
    assert_eq!(records([&stream[..]]), (vec![b"abcd".to_vec(), b"next".to_vec()], None));
}

#[test]
fn a_record_of_no_bytes_ends_the_stream() {
    assert_eq!(records([&fragment(true, b"")[..]]), (vec![], Some(Error::EmptyRecord)));
    let two = [fragment(false, b""), fragment(true, b"")].concat();
    assert_eq!(records([&two[..]]), (vec![], Some(Error::EmptyRecord)));
    assert_eq!(records(two.chunks(1)), (vec![], Some(Error::EmptyRecord)));
}

#[test]
fn a_failed_stream_stays_failed() {
    let mut stream = RecordStream::new();
    assert_eq!(stream.next(&mut &[0xff; 4][..]), Err(Error::RecordTooLong));
    let good = fragment(true, b"abcd");
    assert_eq!(stream.next(&mut &good[..]), Err(Error::RecordTooLong));
}

#[test]
fn a_record_that_came_in_one_piece_is_not_copied() {
    let sent = fragment(true, b"abcdefgh");
    let mut stream = RecordStream::new();
    let record = stream.next(&mut &sent[..]).unwrap().unwrap();
    assert!(std::ptr::eq(record, &raw const sent[4..]));
}

#[test]
fn a_stream_is_idle_only_between_records() {
    let sent = [fragment(false, b""), fragment(true, b"abcd")].concat();
    let mut stream = RecordStream::new();
    assert!(stream.is_idle());
    for (at, byte) in sent.iter().enumerate() {
        let whole = stream.next(&mut std::slice::from_ref(byte)).unwrap().is_some();
        assert_eq!(whole, at == sent.len() - 1);
        assert_eq!(stream.is_idle(), whole, "after byte {at}");
    }
}

proptest! {
    #[test]
    fn however_the_stream_is_cut_the_records_are_the_same(
        bodies in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..5), 0..6),
        cuts in prop::collection::vec(1_usize..50, 0..100),
    ) {
        let mut sent = Vec::new();
        for fragments in &bodies {
            for (at, body) in fragments.iter().enumerate() {
                sent.extend(fragment(at + 1 == fragments.len(), body));
            }
        }
        let whole: Vec<Vec<u8>> = bodies.iter().map(|fragments| fragments.concat()).collect();
        let (mut pieces, mut rest) = (Vec::new(), &sent[..]);
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        prop_assert_eq!(records(pieces), (whole, None));
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_no_record_is_too_long(
        bytes in prop::collection::vec(prop_oneof![Just(0_u8), Just(0x80), any::<u8>()], 0..2000),
        cut in 1_usize..100,
    ) {
        let (found, _) = records(bytes.chunks(cut));
        prop_assert!(found.iter().all(|record| (1..=MAX_RECORD).contains(&record.len())));
        prop_assert!(found.iter().map(Vec::len).sum::<usize>() <= bytes.len());
    }
}
