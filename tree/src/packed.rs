//! Contents that are packed as a whole, and are needed as a whole: a kernel's modules, firmware, the parts of an initrd.

use std::io::{self, Read, Write as _};

use crate::stage::decompress;

/// Unpacks all of a stream, whatever it is packed with; one that is not packed is taken as it is.
///
/// # Errors
/// `FileTooLarge` where that is more than `most` bytes; `InvalidData` and others where it is damaged or cut short.
pub fn unpacked(stream: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    decompress(stream)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {} MiB when it is unpacked", most >> 20),
        ));
    }
    Ok(bytes)
}

/// Packs bytes as zstd, at one of its levels. The same bytes are packed to the same.
///
/// # Errors
/// For want of memory.
pub fn zstd(bytes: &[u8], level: i32) -> io::Result<Vec<u8>> {
    // As a whole and no stream: that is a twelfth quicker, and a hundredth smaller.
    let mut whole = zstd::bulk::Compressor::new(level)?;
    whole.include_checksum(true)?;
    whole.compress(bytes)
}

/// Packs bytes as gzip, without a name or a time. The same bytes are packed to the same.
///
/// # Errors
/// None that writing to memory has.
pub fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_and_packed_the_same_twice() {
        let bytes = b"oneroot ".repeat(1000);
        for packed in [zstd(&bytes, 9).unwrap(), gzip(&bytes).unwrap()] {
            assert!(packed.len() < bytes.len());
            assert_eq!(unpacked(packed.as_slice(), 8000).unwrap(), bytes);
            assert_eq!(unpacked(packed.as_slice(), 7999).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
            let cut = packed.get(..packed.len() - 3).unwrap();
            assert!(unpacked(cut, 8000).is_err());
        }
        assert_eq!(unpacked(bytes.as_slice(), 8000).unwrap(), bytes);
        assert_eq!(gzip(&bytes).unwrap(), gzip(&bytes).unwrap());
    }
}
