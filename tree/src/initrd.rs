//! The names of the files in an initramfs: cpio archives of the form `newc`, one after the other, each packed or not, with
//! zeros between them (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).

use std::io::{self, BufRead, BufReader, Read};

use crate::stage::decompress;

/// Bytes that are unpacked at most: an initramfs for every machine that there is has some 300 MiB.
const MOST: u64 = 1 << 30;
/// Bytes of a name; the kernel's own limit is PATH_MAX.
const LONGEST: u64 = 4096;
/// Bytes of a file of which the content is asked for.
const LARGEST: u64 = 1 << 20;
const HEADER: usize = 110;
const END: &[u8] = b"TRAILER!!!";

/// Tells each file's path, as it stands there; and the content of those that `wanted` names, if it is not too large.
///
/// # Errors
/// `InvalidData` for what is no such archive, or packed with what is not read here; else the reader's.
pub fn files(
    initrd: impl Read,
    wanted: &dyn Fn(&str) -> bool,
    tell: &mut dyn FnMut(&str, Option<&[u8]>),
) -> io::Result<()> {
    let mut stream = BufReader::new(initrd);
    archives(&mut stream, wanted, tell)?;
    if begins(&mut stream)?.is_none() {
        return Ok(());
    }
    // What is packed comes last, and may be several archives in its turn.
    let mut unpacked = BufReader::new(decompress(stream)?.take(MOST));
    archives(&mut unpacked, wanted, tell)?;
    match begins(&mut unpacked)? {
        None => Ok(()),
        Some(_) => Err(invalid("its compression is not supported")),
    }
}

/// Every archive up to something else, or the end.
fn archives(
    stream: &mut impl BufRead,
    wanted: &dyn Fn(&str) -> bool,
    tell: &mut dyn FnMut(&str, Option<&[u8]>),
) -> io::Result<()> {
    while begins(stream)? == Some(b'0') {
        archive(stream, wanted, tell)?;
    }
    Ok(())
}

/// The first byte behind zeros.
fn begins(stream: &mut impl BufRead) -> io::Result<Option<u8>> {
    loop {
        let bytes = stream.fill_buf()?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        match bytes.get(zeros) {
            Some(first) => {
                let first = *first;
                stream.consume(zeros);
                return Ok(Some(first));
            }
            None if bytes.is_empty() => return Ok(None),
            None => stream.consume(zeros),
        }
    }
}

fn archive(
    stream: &mut impl BufRead,
    wanted: &dyn Fn(&str) -> bool,
    tell: &mut dyn FnMut(&str, Option<&[u8]>),
) -> io::Result<()> {
    loop {
        let mut header = [0; HEADER];
        stream.read_exact(&mut header)?;
        if !matches!(header.get(..6), Some(b"070701" | b"070702")) {
            return Err(invalid("it is not a newc archive"));
        }
        let (size, length) = (field(&header, 6)?, field(&header, 11)?);
        if !(1..=LONGEST).contains(&length) {
            return Err(invalid("a name in it is too long"));
        }
        let mut name = vec![0; usize::try_from(length).map_err(invalid)?];
        stream.read_exact(&mut name)?;
        skip(stream, padding(HEADER as u64 + length))?;
        name.pop();
        if name == END {
            return Ok(());
        }
        let name = String::from_utf8_lossy(&name);
        if size <= LARGEST && wanted(&name) {
            let mut content = vec![0; usize::try_from(size).map_err(invalid)?];
            stream.read_exact(&mut content)?;
            tell(&name, Some(&content));
        } else {
            skip(stream, size)?;
            tell(&name, None);
        }
        skip(stream, padding(size))?;
    }
}

/// One of the numbers behind the mark: eight hexadecimal digits each.
fn field(header: &[u8; HEADER], number: usize) -> io::Result<u64> {
    let start = 6 + number * 8;
    let digits = header.get(start..start + 8).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    let text = digits.and_then(|digits| std::str::from_utf8(digits).ok());
    text.and_then(|text| u64::from_str_radix(text, 16).ok()).ok_or_else(|| invalid("a number in it is none"))
}

/// Bytes up to the next multiple of four.
fn padding(length: u64) -> u64 {
    length.wrapping_neg() % 4
}

fn skip(stream: &mut impl BufRead, count: u64) -> io::Result<()> {
    let skipped = io::copy(&mut stream.take(count), &mut io::sink())?;
    if skipped < count { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

fn invalid(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, cause)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// An archive as cpio(1) writes it.
    fn newc(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = Vec::new();
        for (name, content) in files.iter().chain([&("TRAILER!!!", &b""[..])]) {
            let (size, length) = (content.len(), name.len() + 1);
            let numbers = [1, 0o100_644, 0, 0, 1, 0, size, 0, 0, 0, 0, length, 0];
            archive.extend(b"070701");
            numbers.iter().for_each(|number| archive.extend(format!("{number:08x}").bytes()));
            archive.extend(name.bytes().chain([0]));
            archive.resize(archive.len().next_multiple_of(4), 0);
            archive.extend(*content);
            archive.resize(archive.len().next_multiple_of(4), 0);
        }
        archive.resize(archive.len().next_multiple_of(512), 0);
        archive
    }

    fn told(bytes: &[u8]) -> io::Result<Vec<(String, Option<Vec<u8>>)>> {
        let mut told = Vec::new();
        files(bytes, &|name| name.ends_with("wanted"), &mut |name, content| {
            told.push((name.to_owned(), content.map(<[u8]>::to_vec)));
        })?;
        Ok(told)
    }

    #[test]
    fn archives_behind_one_another_packed_or_not_are_read_to_the_last() {
        let first = newc(&[("kernel/x86/microcode", b"abc"), ("a/wanted", b"hello")]);
        let second = newc(&[("usr/sbin/mount.nfs", b"x"), ("lib", b"")]);
        let names = [
            ("kernel/x86/microcode", None),
            ("a/wanted", Some(&b"hello"[..])),
            ("usr/sbin/mount.nfs", None),
            ("lib", None),
        ];
        let expected: Vec<_> =
            names.iter().map(|(name, content)| ((*name).to_owned(), content.map(<[u8]>::to_vec))).collect();
        let zstd = zstd::encode_all(second.as_slice(), 1).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&second).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&second).unwrap();
        for second in [second.clone(), zstd, gzip.finish().unwrap(), xz.finish().unwrap()] {
            assert_eq!(told(&[first.clone(), second].concat()).unwrap(), expected);
        }
        let both = zstd::encode_all([first, second].concat().as_slice(), 1).unwrap();
        assert_eq!(told(&both).unwrap(), expected, "all in one");
    }

    #[test]
    fn what_is_cut_short_or_is_no_archive_is_an_error_and_never_the_end() {
        let whole = newc(&[("a", b"12345"), ("b/wanted", b"6")]);
        let end = whole.windows(10).position(|bytes| bytes == b"TRAILER!!!").unwrap() + 11;
        for length in 1..end {
            assert!(told(&whole[..length]).is_err(), "{length}");
        }
        for bad in [&b"BZh9"[..], b"\x04\x22\x4d\x18", b"0707", b"hello"] {
            assert!(told(bad).is_err(), "{bad:?}");
        }
        assert_eq!(told(b"").unwrap(), []);
        let mut long = newc(&[("a", b"")]);
        long[6 + 11 * 8..6 + 12 * 8].copy_from_slice(b"ffffffff");
        assert!(told(&long).is_err());
    }
}
