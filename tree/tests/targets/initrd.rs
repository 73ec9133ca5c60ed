//! Any bytes as an initramfs: cpio archives, one after the other, packed or not.
//!
//! What must hold: it ends, and a file of which the content is told was wanted and is not larger than what is read.

use oneroot_tree::initrd::files;
use oneroot_tree::packed::gzip;

pub fn run(data: &[u8]) {
    let told = |bytes: &[u8]| {
        let mut told = Vec::new();
        let read = files(bytes, &|name| name.contains('a'), &mut |name, content| {
            assert!(content.is_none_or(|content| name.contains('a') && content.len() <= 1 << 20), "{name}");
            told.push((name.to_owned(), content.map(<[u8]>::to_vec)));
        });
        (read.is_ok(), told)
    };
    // Packed, it is the same; but what is packed already is not read if it is packed once more.
    let plain = told(data);
    if plain.0 && data.starts_with(b"070701") {
        let packed = told(&gzip(data).unwrap());
        assert!(packed == plain || !packed.0, "{packed:?} {plain:?}");
    }
}

/// A node of an archive.
fn node(name: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = format!("070701{:08x}", 1).into_bytes();
    let numbers = [0o100_644, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
    numbers.iter().for_each(|number| bytes.extend(format!("{number:08x}").bytes()));
    bytes.extend(name.bytes());
    bytes.push(0);
    for part in [&[][..], content] {
        bytes.extend(part);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

pub fn seeds() -> Vec<Vec<u8>> {
    let end = node("TRAILER!!!", b"");
    let one = [node("a", b"hello"), node("b", b""), end.clone()].concat();
    let two = [one.clone(), vec![0; 512], node("kernel/a.ko", &[1; 40]), end].concat();
    let packed = [one.clone(), gzip(&two).unwrap()].concat();
    let cut = two[..two.len() - 60].to_vec();
    vec![one, two, packed, cut, vec![0; 8]]
}
