//! A tar stream's extended records, read by their lengths (POSIX.1-2001, *pax extended header*).
//!
//! A value may hold any byte, and those of ACLs and of extended attributes do. The crate `tar` takes a newline for a record's
//! end (0.4.46, `PaxExtensions`): it refuses such a header, or does not see what comes behind it, be it the file's size.
//! So it reads the archive through this: each header's records are kept as they are, and the crate gets them with other
//! bytes for the newlines in values, in the same places. Where it finds the next header, this finds it too.

use std::cell::RefCell;
use std::io::{self, Read};
use std::rc::Rc;

use tar::Header;

/// Bytes of a block, to which everything is padded.
const BLOCK: u64 = 512;
/// Bytes that one entry's records, its long name or the map of its holes may have. One attribute has 64 KiB at most, and a file
/// has few.
const MOST: u64 = 1 << 20;
/// Records of one entry.
const MOST_RECORDS: usize = 4096;

/// The records of one entry, in order.
#[derive(Debug, Default)]
pub(super) struct Records(Vec<(Vec<u8>, Vec<u8>)>);

impl Records {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    /// What the crate could not give: a value with a newline in it.
    pub(super) fn with_newline(&self, wanted: &[u8]) -> Option<&[u8]> {
        let mut found = self.iter().filter(|(key, value)| *key == wanted && value.contains(&b'\n'));
        found.next().map(|(_, value)| value)
    }

    /// As the crate reads a size, for the two must agree on it.
    fn size(&self) -> Option<u64> {
        let (_, value) = self.iter().find(|(key, _)| *key == b"size")?;
        std::str::from_utf8(value).ok()?.parse().ok()
    }
}

/// The records of the entry whose header was read last.
#[derive(Clone, Default)]
pub(super) struct Current(Rc<RefCell<Records>>);

impl Current {
    pub(super) fn take(&self) -> Records {
        self.0.take()
    }
}

/// The stream that the crate reads.
pub(super) struct Stream<R> {
    from: R,
    /// What has been read to be looked at, and how much of it has been handed on.
    held: Vec<u8>,
    handed: usize,
    /// Bytes up to the next header.
    left: u64,
    /// Blocks of a sparse file's map come first.
    map: bool,
    /// Bytes of the map so far.
    mapped: u64,
    /// For the entry that comes.
    pending: Records,
    current: Current,
    ended: bool,
}

impl<R: Read> Stream<R> {
    pub(super) fn new(from: R) -> (tar::Archive<Self>, Current) {
        let current = Current::default();
        let stream = Self {
            from,
            held: Vec::new(),
            handed: 0,
            left: 0,
            map: false,
            mapped: 0,
            pending: Records::default(),
            current: current.clone(),
            ended: false,
        };
        (tar::Archive::new(stream), current)
    }

    /// Holds the next bytes; fewer where the stream ends, which is the crate's to complain about.
    fn hold(&mut self, count: u64) -> io::Result<bool> {
        let before = self.held.len();
        self.from.by_ref().take(count).read_to_end(&mut self.held)?;
        Ok((self.held.len() - before) as u64 == count)
    }

    fn next_block(&mut self) -> io::Result<()> {
        self.held.clear();
        self.handed = 0;
        let whole = self.hold(BLOCK)?;
        if self.map {
            // Behind a map's 21 pairs of numbers stands whether it goes on (GNU tar, `sparse_header`).
            self.map = self.held.get(504) == Some(&1);
            self.mapped += BLOCK;
            return if self.mapped > MOST { Err(invalid("a file with too many holes")) } else { Ok(()) };
        }
        if !whole || self.held.iter().all(|byte| *byte == 0) {
            self.ended = true;
            return Ok(());
        }
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(&self.held);
        let Ok(size) = header.entry_size() else {
            self.ended = true;
            return Ok(());
        };
        let kind = header.entry_type();
        let known = header.as_gnu().is_some() || header.as_ustar().is_some();
        let describes_next =
            kind.is_gnu_longname() || kind.is_gnu_longlink() || kind.is_pax_local_extensions();
        self.left = size;
        if known && describes_next && size > MOST {
            return Err(invalid("over 1 MiB of extended records, or of a name, for one entry"));
        }
        if known && kind.is_pax_local_extensions() {
            self.left = 0;
            self.hold(padded(size))?;
            let start = usize::try_from(BLOCK).unwrap_or_default();
            let end = start.saturating_add(usize::try_from(size).unwrap_or_default()).min(self.held.len());
            self.pending = parse(self.held.get_mut(start..end).unwrap_or_default())?;
        } else if !(known && describes_next) {
            let records = std::mem::take(&mut self.pending);
            if !describes_next && !kind.is_pax_global_extensions() {
                self.left = records.size().unwrap_or(size);
            }
            self.mapped = 0;
            self.map = kind.is_gnu_sparse() && header.as_gnu().is_some_and(tar::GnuHeader::is_extended);
            self.current.0.replace(records);
        }
        self.left = padded(self.left);
        Ok(())
    }
}

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.handed == self.held.len() && !self.ended && (self.left == 0 || self.map) {
            self.next_block()?;
        }
        let mut held = self.held.get(self.handed..).unwrap_or_default();
        if !held.is_empty() {
            let count = held.read(into)?;
            self.handed += count;
            return Ok(count);
        }
        if self.ended {
            return self.from.read(into);
        }
        let count = self.from.by_ref().take(self.left).read(into)?;
        self.left -= count as u64;
        self.ended = count == 0 && !into.is_empty();
        Ok(count)
    }
}

/// Reads a header's records, and leaves newlines nowhere but at their ends.
fn parse(bytes: &mut [u8]) -> io::Result<Records> {
    let malformed = || invalid("extended records that are not LENGTH KEY=VALUE");
    let mut records = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let space = rest.iter().position(|byte| *byte == b' ').ok_or_else(malformed)?;
        let length = rest.get(..space).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        let (record, after) =
            rest.split_at_mut_checked(length.ok_or_else(malformed)?).ok_or_else(malformed)?;
        let Some((b'\n', text)) = record.get_mut(space + 1..).and_then(|text| text.split_last_mut()) else {
            return Err(malformed());
        };
        let equals = text.iter().position(|byte| *byte == b'=').ok_or_else(malformed)?;
        let (key, value) = text.split_at_mut(equals);
        let value = value.get_mut(1..).unwrap_or_default();
        if key.contains(&b'\n') {
            return Err(malformed());
        }
        if records.len() == MOST_RECORDS {
            return Err(invalid("over 4,096 extended records for one entry"));
        }
        records.push((key.to_vec(), value.to_vec()));
        value.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
        rest = after;
    }
    Ok(Records(records))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn padded(size: u64) -> u64 {
    size.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt as _;
    use std::sync::Arc;

    use super::*;
    use crate::node::TreePath;
    use crate::{Stage, Store, Views};

    type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

    /// Of each path its size, its time and its attributes.
    fn staged(store: &Arc<Store>, tar: &[u8], paths: &[&str]) -> Vec<(u64, i64, Attributes)> {
        let mut stage = Stage::begin(store, |_| {}).unwrap();
        stage.archive(tar).unwrap();
        let generation = stage.finish().unwrap().generation;
        let view = Views::new(store.clone()).load(store.put_stack(&[generation]).unwrap()).unwrap();
        let each = paths.iter().map(|path| {
            let node = view.resolve(&TreePath::parse(path.as_bytes()).unwrap()).unwrap();
            let stat = view.stat(node).unwrap();
            (stat.size, stat.mtime, view.inode(node).unwrap().xattrs())
        });
        each.collect()
    }

    fn add(builder: &mut tar::Builder<Vec<u8>>, name: &str, records: &[(&str, &[u8])], size: u64) {
        builder.append_pax_extensions(records.iter().copied()).unwrap();
        let mut header = Header::new_ustar();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_path(name).unwrap();
        header.set_cksum();
        builder.append(&header, io::repeat(b'x').take(600)).unwrap();
    }

    #[test]
    fn a_newline_in_a_value_ends_no_record_and_hides_none_behind_it() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("store")).unwrap();
        let mut builder = tar::Builder::new(Vec::new());
        // The wheel group's ACL has such a byte in it: its number is ten.
        let records: &[(&str, &[u8])] = &[
            ("SCHILY.xattr.user.a", b"1\n2\n\n"),
            ("path", b"new\nline"),
            ("size", b"600"),
            ("mtime", b"1.5"),
        ];
        add(&mut builder, "short", records, 0);
        add(&mut builder, "next", &[("SCHILY.xattr.user.b", b"\n")], 600);
        let tar = builder.into_inner().unwrap();
        assert_eq!(
            staged(&store, &tar, &["new\nline", "next"]),
            [
                (600, 1_500_000_000, vec![(b"user.a".to_vec(), b"1\n2\n\n".to_vec())]),
                (600, 0, vec![(b"user.b".to_vec(), b"\n".to_vec())])
            ]
        );
    }

    #[test]
    fn behind_a_sparse_files_long_map_the_next_header_is_found() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("store")).unwrap();
        let file = fs::File::create(home.path().join("holes")).unwrap();
        for place in 1..60 {
            file.write_at(&[1; 4096], place * 65_536).unwrap();
        }
        let out = std::process::Command::new("tar")
            .args(["--sparse", "--format=gnu", "-cf", "-", "-C"])
            .arg(home.path())
            .arg("holes")
            .output()
            .unwrap();
        assert!(out.stdout.len() < 60 * 8192, "this file system keeps holes");
        let end = out.stdout.iter().rposition(|byte| *byte != 0).unwrap();
        let mut tar = out.stdout[..=end].to_vec();
        tar.resize(tar.len().next_multiple_of(512), 0);
        let mut builder = tar::Builder::new(tar);
        add(&mut builder, "next", &[("SCHILY.xattr.user.b", b"\n")], 600);
        let tar = builder.into_inner().unwrap();
        let found = staged(&store, &tar, &["holes", "next"]);
        assert_eq!(found.iter().map(|(size, ..)| *size).collect::<Vec<_>>(), [59 * 65_536 + 4096, 600]);
        assert_eq!(found[1].2, [(b"user.b".to_vec(), b"\n".to_vec())]);
    }

    #[test]
    fn records_of_wrong_lengths_are_refused() {
        for text in ["x", "9 a=b\n", "5 a=b\n", "6 a=bc", "6 abc\n", "0 a=b\n", "7 \na=b\n", "-1 a=b\n"] {
            assert!(parse(&mut text.as_bytes().to_vec()).is_err(), "{text:?}");
        }
        assert_eq!(parse(&mut b"6 a=b\n7 c=\n\n\n".to_vec()).unwrap().0.len(), 2);
    }

    /// A header of a type that describes the next entry, and says that it has so many bytes.
    fn describing(kind: tar::EntryType, size: u64) -> Vec<u8> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        header.as_bytes().to_vec()
    }

    #[test]
    fn names_records_and_maps_without_end_are_refused_before_they_are_in_memory() {
        use tar::EntryType;
        for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
            let start = describing(kind, MOST + 1);
            let (mut archive, _) = Stream::new(start.as_slice().chain(io::repeat(0)));
            let cause = archive.entries().unwrap().next().unwrap().err().unwrap();
            assert!(cause.to_string().contains("over 1 MiB"), "{kind:?}: {cause}");
        }
        let mut sparse = Header::new_gnu();
        sparse.set_entry_type(EntryType::GNUSparse);
        sparse.set_size(0);
        sparse.as_gnu_mut().unwrap().isextended = [1];
        sparse.set_cksum();
        let mut more = [0; 512];
        more[504] = 1;
        let map = more.repeat(usize::try_from(MOST / BLOCK).unwrap() + 2);
        let (mut archive, _) = Stream::new(sparse.as_bytes().chain(map.as_slice()));
        let cause = archive.entries().unwrap().next().unwrap().err().unwrap();
        assert!(cause.to_string().contains("too many holes"), "{cause}");
        assert!(parse(&mut b"4 =\n".repeat(MOST_RECORDS)).is_ok());
        assert!(parse(&mut b"4 =\n".repeat(MOST_RECORDS + 1)).is_err());
    }
}
