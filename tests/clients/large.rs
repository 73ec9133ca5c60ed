//! What is large: a directory of a million names, a file beyond 4 GiB.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use nfs3_client::nfs3_types::nfs3::{READ3args, READDIR3args, cookieverf3};
use oneroot_testkit::SiteFiles;
use tar::Header;

use super::{as_machine, lookup, mount, on_tokio, run, url};

/// More than this much growth, in KiB, is a leak or a page that is not the size of a page.
const GROWTH: u64 = 16 * 1024;

/// An empty file of root's.
fn header(path: &str) -> Header {
    let mut header = Header::new_ustar();
    header.set_path(path).unwrap();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_000_000_000);
    header.set_size(0);
    header.set_cksum();
    header
}

/// Whether these are the numbers from 0, as names have them, each once, and nothing else.
fn are_all(mut names: Vec<Vec<u8>>, count: u64) -> bool {
    names.sort_unstable();
    names.len() as u64 == count
        && (0..count).zip(&names).all(|(number, name)| format!("{number:06}").as_bytes() == name)
}

#[test]
fn a_million_names_are_listed_whole_and_once_each_and_the_server_does_not_grow() {
    const NAMES: u64 = 1_000_000;
    let site =
        SiteFiles::with_source("tar = \"root.tar.zst\"", "192.168.77.100-192.168.77.199", "12h").unwrap();
    let file = File::create(site.path().join("root.tar.zst")).unwrap();
    let mut archive = BufWriter::with_capacity(1 << 20, zstd::Encoder::new(file, 1).unwrap());
    for path in ["boot/vmlinuz-1", "boot/initrd.img-1"] {
        archive.write_all(header(path).as_bytes()).unwrap();
    }
    // A million headers are most of what this test does: each is the first one with other digits.
    let first = header("many/000000");
    let (zeros, mut bytes) = (first.cksum().unwrap(), *first.as_bytes());
    for number in 0..NAMES {
        // In no order.
        let name = format!("{:06}", (number * 7_919) % NAMES);
        let sum = zeros + name.bytes().map(|digit| u32::from(digit - b'0')).sum::<u32>();
        bytes[5..11].copy_from_slice(name.as_bytes());
        bytes[148..155].copy_from_slice(format!("{sum:07o}").as_bytes());
        archive.write_all(&bytes).unwrap();
    }
    archive.write_all(&[0; 1024]).unwrap();
    archive.into_inner().ok().unwrap().finish().unwrap();
    as_machine(site, |server, _, boot| {
        let before = server.resident().unwrap();
        let (names, mut ids, pages) = on_tokio(async {
            let mut client = mount(boot).await;
            let root = client.root_nfs_fh3();
            let (dir, _) = lookup(&mut client, &root, b"many").await;
            let mut ids = Vec::new();
            let (mut names, mut pages, mut cookie, mut cookieverf) = (Vec::new(), 0, 0, cookieverf3([0; 8]));
            loop {
                let args = READDIR3args { dir: dir.clone(), cookie, cookieverf, count: 65_536 };
                let told = client.readdir(&args).await.unwrap().unwrap();
                (cookieverf, pages) = (told.cookieverf, pages + 1);
                for entry in told.reply.entries.into_inner() {
                    cookie = entry.cookie;
                    ids.push(entry.fileid);
                    if entry.name.0.as_ref() != b"." && entry.name.0.as_ref() != b".." {
                        names.push(entry.name.0.to_vec());
                    }
                }
                if told.reply.eof {
                    return (names, ids, pages);
                }
            }
        });
        let after = server.resident().unwrap();
        println!("{} names in {pages} pages: {before} KiB before, {after} KiB after", names.len());
        assert!(are_all(names, NAMES));
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len() as u64, NAMES + 2, "each name is another file's");

        // libnfs lists by READDIRPLUS.
        let listed = run("nfs-ls", &[&url(boot, "/many")]);
        let name = |line: &[u8]| line.rsplit(|byte| *byte == b' ').next().unwrap().to_vec();
        assert!(are_all(
            listed.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(name).collect(),
            NAMES
        ));
        let listed = server.resident().unwrap();
        println!("{listed} KiB after libnfs");
        assert!(listed < before + GROWTH, "{before} KiB before, {after} KiB and {listed} KiB after");
    });
}

#[test]
fn a_file_beyond_four_gibibytes_is_read_at_any_place() {
    const FIVE: u64 = 5 << 30;
    let site =
        SiteFiles::with_source("directory = \"root\"", "192.168.77.100-192.168.77.199", "12h").unwrap();
    let root = site.path().join("root");
    fs::create_dir_all(root.join("boot")).unwrap();
    fs::write(root.join("boot/vmlinuz-1"), "kernel").unwrap();
    fs::write(root.join("boot/initrd.img-1"), "initrd").unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.write_all_at(b"across", FIVE - 3).unwrap();
    sparse.write_all_at(b"below", (4 << 30) - 5).unwrap();
    sparse.write_all_at(b"end", FIVE + 1000).unwrap();
    let size = FIVE + 1003;
    as_machine(site, |server, _, boot| {
        let objects = fs::read_dir(server.site.path().join("store/objects")).unwrap();
        let files = objects.flat_map(|directory| fs::read_dir(directory.unwrap().path()).unwrap());
        let kept: u64 = files.map(|file| file.unwrap().metadata().unwrap().blocks() * 512).sum();
        assert!(kept < 64 << 20, "a hole stays a hole in the store: {kept} bytes");
        on_tokio(async {
            let mut client = mount(boot).await;
            let root = client.root_nfs_fh3();
            let (file, attributes) = lookup(&mut client, &root, b"sparse").await;
            assert_eq!(attributes.size, size);
            let mut read = async |offset: u64, count: u32| -> (Vec<u8>, bool) {
                let args = READ3args { file: file.clone(), offset, count };
                let told = client.read(&args).await.unwrap().unwrap();
                assert_eq!(told.count as usize, told.data.len());
                (told.data.to_vec(), told.eof)
            };
            assert_eq!(read((4 << 30) - 5, 7).await, (b"below\0\0".to_vec(), false));
            assert_eq!(read(FIVE - 3, 6).await, (b"across".to_vec(), false));
            assert_eq!(read(FIVE, 3).await, (b"oss".to_vec(), false));
            assert_eq!(read(FIVE + 1000, 3).await, (b"end".to_vec(), true));
            assert_eq!(read(FIVE + 1000, 4096).await, (b"end".to_vec(), true));
            assert_eq!(read(size - 1, 1).await, (b"d".to_vec(), true));
            let (last, eof) = read(size - (1 << 20) + 1, u32::MAX).await;
            assert_eq!((last.len(), eof, last.ends_with(b"end")), ((1 << 20) - 1, true, true));
            // At the end and past it there is nothing, however far (RFC 1813 §3.3.6).
            for offset in [size, size + 1, (1 << 63) - 1, 1 << 63, u64::MAX - 1, u64::MAX] {
                for count in [0, 1, 4096, u32::MAX] {
                    assert_eq!(read(offset, count).await, (Vec::new(), true), "{count} at {offset}");
                }
            }
        });
    });
}
