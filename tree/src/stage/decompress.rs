//! What a stream is packed with, told by its first bytes: gzip (RFC 1952), zstd (RFC 8878), xz, or nothing.
//!
//! A stream is read to its end: its checksum stands there. `pigz` and `cat` make several members of one, and a tape or a
//! block device pads the last: what does not begin as a member is left out, as gzip(1) does it.

use std::io::{self, BufRead, BufReader, Read};

/// Bytes that an xz stream may make its decoder allocate; `xz -9` asks for 65 MiB.
const XZ_MEMORY: u64 = 256 << 20;

/// Unpacks whatever it is.
pub(crate) fn decompress<'r>(stream: impl Read + 'r) -> io::Result<Box<dyn Read + 'r>> {
    let mut stream = BufReader::with_capacity(super::contents::CHUNK, stream);
    let head = stream.fill_buf()?;
    Ok(match head {
        [0x1f, 0x8b, ..] => Box::new(Members::<_, flate2::bufread::GzDecoder<_>>::of(stream)?),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            let decoder =
                liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(stream, decoder))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            Box::new(Members::<_, zstd::Decoder<'static, _>>::of(stream)?)
        }
        _ => Box::new(stream),
    })
}

/// How what begins so is packed, where it is known and not read here.
pub(super) fn unread(head: &[u8]) -> Option<&'static str> {
    const ALL: [(&[u8], &str); 13] = [
        (b"BZh", "bzip2"),
        (b"\x04\x22\x4d\x18", "lz4"),
        (b"LZIP", "lzip"),
        (b"\x5d\0\0", "lzma"),
        (b"\x89LZO", "lzop"),
        (b"\x1f\x9d", "compress"),
        (b"PK\x03\x04", "zip"),
        (b"7z\xbc\xaf", "7-Zip"),
        (b"07070", "cpio"),
        (b"!<arch>\n", "ar (a .deb?)"),
        (b"\xed\xab\xee\xdb", "rpm"),
        (b"hsqs", "squashfs"),
        (b"QFI\xfb", "qcow2"),
    ];
    ALL.iter().find(|(mark, _)| head.starts_with(mark)).map(|(_, name)| *name)
}

/// One member of a stream.
trait Member<R>: Read + Sized {
    fn begin(stream: R) -> io::Result<Self>;

    /// The stream behind it.
    fn end(self) -> R;

    /// Whether a member may begin with this byte.
    fn begins(first: u8) -> bool;
}

impl<R: BufRead> Member<R> for flate2::bufread::GzDecoder<R> {
    fn begin(stream: R) -> io::Result<Self> {
        Ok(Self::new(stream))
    }

    fn end(self) -> R {
        self.into_inner()
    }

    fn begins(first: u8) -> bool {
        first == 0x1f
    }
}

impl<R: BufRead> Member<R> for zstd::Decoder<'static, R> {
    fn begin(stream: R) -> io::Result<Self> {
        Ok(Self::with_buffer(stream)?.single_frame())
    }

    fn end(self) -> R {
        self.finish()
    }

    fn begins(first: u8) -> bool {
        // A frame, or one of those that are skipped.
        matches!(first, 0x28 | 0x50..=0x5f)
    }
}

/// Members one after the other; nothing at the end of the last.
struct Members<R, M> {
    member: Option<M>,
    stream: std::marker::PhantomData<R>,
}

impl<R: BufRead, M: Member<R>> Members<R, M> {
    fn of(stream: R) -> io::Result<Self> {
        Ok(Self { member: Some(M::begin(stream)?), stream: std::marker::PhantomData })
    }
}

impl<R: BufRead, M: Member<R>> Read for Members<R, M> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(member) = &mut self.member else { return Ok(0) };
            let count = member.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some(mut stream) = self.member.take().map(M::end) else { return Ok(0) };
            if stream.fill_buf()?.first().is_some_and(|first| M::begins(*first)) {
                self.member = Some(M::begin(stream)?);
            } else {
                // A program that writes it must not find its pipe closed.
                io::copy(&mut stream, &mut io::sink())?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text).unwrap();
        gzip.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        let mut zstd = zstd::Encoder::new(Vec::new(), 1).unwrap();
        zstd.include_checksum(true).unwrap();
        zstd.write_all(text).unwrap();
        zstd.finish().unwrap()
    }

    fn xz(text: &[u8]) -> Vec<u8> {
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(text).unwrap();
        xz.finish().unwrap()
    }

    fn unpacked(stream: &[u8]) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        decompress(stream)?.read_to_end(&mut all).map(|_| all)
    }

    #[test]
    fn members_are_one_stream_and_padding_behind_the_last_is_none() {
        for pack in [gzip, zstd, xz] {
            let two = [pack(b"one "), pack(b"two")].concat();
            assert_eq!(unpacked(&two).unwrap(), b"one two");
            assert_eq!(unpacked(&[two, vec![0; 512]].concat()).unwrap(), b"one two");
        }
        // pzstd begins with a frame that says how long the next is, and is skipped.
        let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 9, 9, 9, 9][..], &zstd(b"one")].concat();
        assert_eq!(unpacked(&skipped).unwrap(), b"one");
    }

    #[test]
    fn a_checksum_that_is_wrong_and_a_stream_that_is_cut_are_errors() {
        for pack in [gzip, zstd, xz] {
            let good = pack(&[7; 5000]);
            for cut in [good.len() - 1, good.len() - 5, good.len() / 2] {
                assert!(unpacked(good.get(..cut).unwrap()).is_err(), "cut at {cut} of {}", good.len());
            }
        }
        // gzip's CRC stands before its length, zstd's at the very end.
        for (mut stream, from_end) in [(gzip(&[7; 5000]), 6), (zstd(&[7; 5000]), 1)] {
            let at = stream.len() - from_end;
            if let Some(byte) = stream.get_mut(at) {
                *byte ^= 1;
            }
            assert!(unpacked(&stream).is_err());
        }
    }
}
