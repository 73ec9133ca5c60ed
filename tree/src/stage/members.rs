//! A tar archive, member by member: what describes an entry is put together here, and its bytes are read through here, so
//! that one reader alone decides where the next header is.
//!
//! There is a reader of our own, for one that wants to agree with GNU tar has to look into every header anyway: the crate
//! `tar` (0.4.46) skips data that a hard link says it has and has not, ends records at newlines, takes the first of two
//! records, and forgets an entry's at a global header. Two readers that must agree are how archives are smuggled past one of
//! them (RUSTSEC-2025-0110). `tree/tests/archives.rs` compares this with GNU tar.
//!
//! * Only files, dumped directories and labels have data. What else says that it has some, has none.
//! * An archive ends with an empty block, or where its stream ends between two entries. Nothing but padding follows.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

use super::decompress;
use super::header::{BLOCK, Format, Header, REAL_SIZE, number, until_nul};
use super::pax::Records;
use crate::error::{Error, Result};

/// Bytes that one entry's records, its long name or the map of its holes may have. One attribute has 64 KiB at most, and a file
/// has few.
const MOST: u64 = 1 << 20;
/// What comes after it says where a file's holes are. GNU's older format says so in headers, which are understood.
const SPARSE: &[u8] = b"GNU.sparse.";

/// What an entry is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Regular,
    /// With the places of its data: offset and length, in order.
    Sparse(Vec<(u64, u64)>),
    Directory,
    HardLink,
    Symlink,
    Character,
    Block,
    Fifo,
    /// The archive's own name, which is no file's.
    Label,
}

/// One entry.
pub(super) struct Member {
    pub name: Vec<u8>,
    pub link: Vec<u8>,
    pub kind: Kind,
    /// Bytes of its content, with holes.
    pub size: u64,
    pub header: Header,
    pub records: Records,
    /// Where in the stream its data begin.
    pub at: u64,
}

/// How a source is passed over: the bytes that there were.
type Skip<R> = fn(&mut R, u64) -> io::Result<u64>;

/// An archive that is being read.
pub(super) struct Members<R> {
    from: R,
    skip: Skip<R>,
    /// Bytes read so far.
    at: u64,
    /// Bytes of data up to the next header, and of padding behind them.
    data: u64,
    padding: u64,
    global: Records,
    last: Option<Vec<u8>>,
    /// The last entry says that it has data, and is of a kind that has none.
    claims_data: bool,
    ended: bool,
}

/// What stands before an entry and is about it.
#[derive(Default)]
struct Pending {
    records: Option<Records>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<R: Read> Members<R> {
    /// Reads a stream from here on.
    pub(super) fn new(from: R) -> Self {
        Self::skipping(from, |from, count| io::copy(&mut from.take(count), &mut io::sink()))
    }

    fn skipping(from: R, skip: Skip<R>) -> Self {
        let global = Records::default();
        Self { from, skip, at: 0, data: 0, padding: 0, global, last: None, claims_data: false, ended: false }
    }

    /// The next entry; none at the end. What was not read of the last one is passed over.
    ///
    /// # Errors
    /// [`Error::Entry`] and [`Error::Archive`]: nothing is left out in silence.
    pub(super) fn next(&mut self) -> Result<Option<Member>> {
        self.pass()?;
        let mut pending = Pending::default();
        loop {
            let Some(header) = self.header()? else {
                let is_pending =
                    pending.records.is_some() || pending.name.is_some() || pending.link.is_some();
                return if is_pending {
                    Err(self.broken("it ends behind what describes an entry, and the entry is missing"))
                } else {
                    Ok(None)
                };
            };
            match header.kind() {
                b'x' | b'X' => pending.records = Some(self.records(&header)?),
                b'g' => {
                    let records = self.records(&header)?;
                    self.global.add(records).map_err(|reason| self.broken(reason))?;
                }
                b'L' => pending.name = Some(self.long(&header)?),
                b'K' => pending.link = Some(self.long(&header)?),
                _ => return self.member(header, pending).map(Some),
            }
        }
    }

    /// Reads to the end of the stream: a compressed one's checksum is still to come, and a program that is not read to its
    /// end takes the closed pipe for a failure.
    ///
    /// # Errors
    /// [`Error::Archive`], also when another archive follows: what is in it would be missing.
    pub(super) fn finish(mut self) -> Result<()> {
        let mut block = [0; BLOCK];
        while fill(&mut self.from, &mut block).map_err(Error::Archive)? == BLOCK {
            if is_empty(&block) || Header::parse(&block).is_none() {
                self.at += BLOCK as u64;
                continue;
            }
            return Err(self.broken(
                "another archive, or the rest of this one, behind an empty block, where an archive ends; `cat` does not join archives, `tar --concatenate` does",
            ));
        }
        Ok(())
    }

    /// The bytes of the entry that [`next`](Self::next) gave last.
    pub(super) fn body<'m>(&'m mut self, member: &Member) -> Body<'m, R> {
        let places = match &member.kind {
            Kind::Sparse(places) => places.clone(),
            _ => vec![(0, member.size)],
        };
        Body { members: self, places: places.into_iter(), place: (0, 0), at: 0, size: member.size }
    }

    /// An error about the archive where it is read.
    fn broken(&self, reason: impl Into<Cow<'static, str>>) -> Error {
        let reason = reason.into();
        let behind = self.last.as_ref().map(|name| format!(", behind entry {}", name.escape_ascii()));
        let text = format!("byte {}{}: {reason}", self.at, behind.unwrap_or_default());
        Error::Archive(io::Error::new(ErrorKind::InvalidData, text))
    }

    /// Goes behind the last entry.
    fn pass(&mut self) -> Result<()> {
        let count = std::mem::take(&mut self.data).saturating_add(std::mem::take(&mut self.padding));
        let passed = (self.skip)(&mut self.from, count).map_err(Error::Archive)?;
        self.at += passed;
        if passed < count {
            return Err(self.broken("the archive ends in the middle of this entry"));
        }
        Ok(())
    }

    /// The next header; none at the end.
    fn header(&mut self) -> Result<Option<Header>> {
        let mut block = [0; BLOCK];
        let count = if self.ended { 0 } else { fill(&mut self.from, &mut block).map_err(Error::Archive)? };
        if count == 0 || count == BLOCK && is_empty(&block) {
            self.ended = true;
            return Ok(None);
        }
        let header = if count == BLOCK { Header::parse(&block) } else { None };
        let Some(header) = header else { return Err(self.no_header(block.get(..count).unwrap_or_default())) };
        self.at += BLOCK as u64;
        Ok(Some(header))
    }

    fn no_header(&self, block: &[u8]) -> Error {
        match &self.last {
            None if self.at == 0 => {
                let reason = match decompress::unread(block) {
                    Some(packing) => format!("{packing} is not supported; recompress with zstd, xz or gzip"),
                    None => {
                        "byte 0: this is not a tar archive, nor one packed with zstd, xz or gzip".to_owned()
                    }
                };
                Error::Archive(io::Error::new(ErrorKind::InvalidData, reason))
            }
            Some(name) if self.claims_data => Error::entry(
                name,
                "it is of a kind that has no data, and what follows it is not a header; if these are its data, pack it without",
            ),
            _ if block.len() < BLOCK => self.broken("the archive ends in the middle of a header"),
            _ => self.broken(
                "here should be the header of an entry, and it is missing or damaged (wrong checksum)",
            ),
        }
    }

    /// The bytes behind a header that describes another entry, and their padding.
    fn payload(&mut self, header: &Header) -> Result<(Vec<u8>, Vec<u8>)> {
        let size = header
            .size()
            .ok_or_else(|| self.broken("the size of extended records, or of a name, is not a number"))?;
        if size > MOST {
            return Err(self.broken("over 1 MiB of extended records, or of a name, for one entry"));
        }
        let padded = size.next_multiple_of(BLOCK as u64);
        let mut bytes = Vec::new();
        self.from.by_ref().take(padded).read_to_end(&mut bytes).map_err(Error::Archive)?;
        self.at += bytes.len() as u64;
        if (bytes.len() as u64) < padded {
            return Err(self.broken("the archive ends in the middle of extended records, or of a name"));
        }
        let padding = bytes.split_off(usize::try_from(size).unwrap_or(bytes.len()).min(bytes.len()));
        Ok((bytes, padding))
    }

    fn records(&mut self, header: &Header) -> Result<Records> {
        let (bytes, _) = self.payload(header)?;
        Records::parse(&bytes).map_err(|reason| self.broken(reason))
    }

    fn long(&mut self, header: &Header) -> Result<Vec<u8>> {
        let (bytes, padding) = self.payload(header)?;
        let text = until_nul(&bytes);
        if text.is_empty() {
            return Err(self.broken("a long name without a name"));
        }
        // GNU tar reads on to the next NUL.
        if text.len() == bytes.len() && padding.first().is_some_and(|byte| *byte != 0) {
            return Err(self.broken("a long name that is longer than its header says"));
        }
        Ok(text.to_vec())
    }

    /// Puts together what header, records and long names say.
    fn member(&mut self, header: Header, pending: Pending) -> Result<Member> {
        let records = self.global.with(pending.records.unwrap_or_default());
        let said = |key: &[u8]| records.get(key).map(<[u8]>::to_vec);
        let name = said(b"path").or(pending.name).unwrap_or_else(|| header.name());
        let link = said(b"linkpath").or(pending.link).unwrap_or_else(|| header.link().to_vec());
        self.last = Some(name.clone());
        let refused = |reason: Cow<'static, str>| Error::entry(&name, reason);
        if let Some((key, _)) = records.iter().find(|(key, _)| key.starts_with(b"GNU.volume.")) {
            return Err(refused(
                format!("part of an archive of several volumes ({})", key.escape_ascii()).into(),
            ));
        }
        if records.iter().any(|(key, _)| key.starts_with(SPARSE) || key == b"SCHILY.realsize") {
            return Err(refused(
                "a file with holes as --format=posix writes it, which is not read; pack with --format=gnu, or without --sparse"
                    .into(),
            ));
        }
        let own = header.size().ok_or_else(|| refused("the size in its header is not a number".into()))?;
        let size = records.number(b"size").unwrap_or(own);
        let mut kind = kind_of(header.kind(), &name).map_err(&refused)?;
        self.data = match kind {
            Kind::Regular | Kind::Sparse(_) | Kind::Label => size,
            // A directory as GNU dumps it: the names that were in it.
            Kind::Directory if header.kind() == b'D' => size,
            _ => 0,
        };
        self.claims_data = size > 0 && self.data == 0;
        self.padding = padding(self.data).ok_or_else(|| refused("a size that is no file's".into()))?;
        let mut whole = self.data;
        if matches!(kind, Kind::Sparse(_)) {
            let (places, real) = self.sparse(&header, own, &records).map_err(|cause| match cause {
                Broken::Here(reason) => refused(reason),
                Broken::Stream(cause) => Error::Archive(cause),
            })?;
            (kind, whole) = (Kind::Sparse(places), real);
        }
        Ok(Member { name, link, kind, size: whole, header, records, at: self.at })
    }

    /// The places of a sparse file's data, and its size with holes. The rest of its map stands before its data.
    fn sparse(
        &mut self,
        header: &Header,
        size: u64,
        records: &Records,
    ) -> Result<(Vec<(u64, u64)>, u64), Broken> {
        if header.format() != Format::Gnu || records.get(b"size").is_some() {
            return Err(Broken::Here("a file with holes in a header that has no room for them".into()));
        }
        let (first, mut more) = header.sparse();
        let mut map = Map::default();
        map.read(first)?;
        let mut read = 0u64;
        while more {
            let mut block = [0; BLOCK];
            if fill(&mut self.from, &mut block).map_err(Broken::Stream)? < BLOCK {
                return Err(Broken::Here("the archive ends in the map of this file's holes".into()));
            }
            self.at += BLOCK as u64;
            read += BLOCK as u64;
            if read > MOST {
                return Err(Broken::Here("a file with too many holes".into()));
            }
            // 21 places, and whether it goes on.
            map.read(block.get(..504).unwrap_or_default())?;
            more = block.get(504).is_some_and(|more| *more != 0);
        }
        let real = header.number(&REAL_SIZE).and_then(|size| u64::try_from(size).ok());
        let real = real.ok_or(Broken::Here("its size with holes is no number".into()))?;
        if map.held != size || map.end > real {
            return Err(Broken::Here("the map of its holes does not fit its size".into()));
        }
        Ok((map.places, real))
    }
}

impl<R: Read + Seek> Members<R> {
    /// Reads what can be sought in: contents are passed over without being read.
    pub(super) fn seeking(from: R) -> Self {
        Self::skipping(from, |from, count| {
            let count = i64::try_from(count).map_err(|_| ErrorKind::InvalidData)?;
            from.seek(SeekFrom::Current(count))?;
            Ok(count.unsigned_abs())
        })
    }
}

/// What is wrong with a sparse file: it, or the stream.
enum Broken {
    Here(Cow<'static, str>),
    Stream(io::Error),
}

/// A sparse file's map as far as it is read.
#[derive(Default)]
struct Map {
    places: Vec<(u64, u64)>,
    /// Bytes of data.
    held: u64,
    /// Where the last place ends.
    end: u64,
    ended: bool,
}

impl Map {
    fn read(&mut self, pairs: &[u8]) -> Result<(), Broken> {
        let wrong = || Broken::Here("the map of its holes is not in order".into());
        for pair in pairs.chunks_exact(24) {
            let (offset, length) = pair.split_at(12);
            if self.ended || length.first() == Some(&0) {
                self.ended = true;
                return Ok(());
            }
            let value = |field| number(field).and_then(|number| u64::try_from(number).ok()).ok_or_else(wrong);
            let (offset, length) = (value(offset)?, value(length)?);
            // Each place begins with a block, so only the last may end in one.
            if offset < self.end || length > 0 && !self.held.is_multiple_of(BLOCK as u64) {
                return Err(wrong());
            }
            self.end = offset.checked_add(length).ok_or_else(wrong)?;
            self.held = self.held.checked_add(length).ok_or_else(wrong)?;
            self.places.push((offset, length));
        }
        Ok(())
    }
}

fn kind_of(kind: u8, name: &[u8]) -> Result<Kind, Cow<'static, str>> {
    Ok(match kind {
        // Before there was a type for directories, a slash said that it is one.
        b'0' | 0 | b'7' if name.ends_with(b"/") => Kind::Directory,
        b'0' | 0 | b'7' => Kind::Regular,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::Character,
        b'4' => Kind::Block,
        b'5' | b'D' => Kind::Directory,
        b'6' => Kind::Fifo,
        b'S' => Kind::Sparse(Vec::new()),
        b'V' => Kind::Label,
        b'M' => return Err("the rest of a file whose beginning is in another volume of the archive".into()),
        other => {
            return Err(format!("an entry of type '{}', which is no file's", other.escape_ascii()).into());
        }
    })
}

/// An entry's bytes, holes too.
pub(super) struct Body<'m, R> {
    members: &'m mut Members<R>,
    places: std::vec::IntoIter<(u64, u64)>,
    /// The place of data that is read, or that comes next: where it begins and what is left of it.
    place: (u64, u64),
    at: u64,
    size: u64,
}

impl<R: Read> Read for Body<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.place.1 == 0 {
            match self.places.next() {
                Some(place) => self.place = place,
                None => break,
            }
        }
        let (begins, left) = self.place;
        let until = if left == 0 { self.size } else { begins };
        let want = |most: u64| usize::try_from(most).unwrap_or(usize::MAX).min(into.len());
        if self.at < until {
            let count = want(until - self.at);
            into.get_mut(..count).unwrap_or_default().fill(0);
            self.at += count as u64;
            return Ok(count);
        }
        let count = want(left.min(self.members.data));
        if count == 0 && left == 0 {
            return Ok(0);
        }
        let count = self.members.from.read(into.get_mut(..count).unwrap_or_default())?;
        if count == 0 && left > 0 && !into.is_empty() {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "the archive ends in the middle of it"));
        }
        let read = count as u64;
        self.place = (begins + read, left - read);
        self.at += read;
        self.members.at += read;
        self.members.data -= read;
        Ok(count)
    }
}

fn padding(size: u64) -> Option<u64> {
    Some(size.checked_next_multiple_of(BLOCK as u64)? - size)
}

fn is_empty(block: &[u8]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// Reads until the buffer is full or the stream ends; how many bytes there are.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(filled)
}
