//! A view as a tar stream: POSIX.1-2001 (PAX) records for times below the second and extended attributes, GNU records for
//! long names, numbers that do not fit and all else.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::{Item, count, items};
use crate::error::{Error, Result};
use crate::node::{Kind, Meta};
use crate::stage::Progress;
use crate::stage::archive::ACL;
use crate::store::Store;
use crate::view::View;

const SECOND: i64 = 1_000_000_000;

/// Writes a whole view. Sockets are left out, and counted in neither entries nor bytes.
///
/// # Errors
/// [`Error::Archive`] for the stream, or the system's for an object of the store.
pub fn archive(
    view: &View,
    store: &Store,
    out: impl Write,
    report: &mut dyn FnMut(Progress),
) -> Result<Progress> {
    let mut builder = Builder::new(out);
    let mut progress = Progress::default();
    for item in items(view) {
        if item.kind != Kind::Socket {
            append(&mut builder, store, &item)?;
            count(&mut progress, &item, report);
        }
    }
    let mut out = builder.into_inner().map_err(Error::Archive)?;
    out.flush().map_err(Error::Archive)?;
    Ok(progress)
}

fn append<W: Write>(builder: &mut Builder<W>, store: &Store, item: &Item<'_>) -> Result<()> {
    let path = if item.path.is_empty() { Path::new(".") } else { Path::new(OsStr::from_bytes(&item.path)) };
    let meta = &item.meta;
    if item.first.is_none() {
        let records = records(meta);
        let records = records.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        builder.append_pax_extensions(records).map_err(Error::Archive)?;
    }
    let mut header = Header::new_gnu();
    header.set_mode(u32::from(meta.mode));
    header.set_uid(u64::from(meta.uid));
    header.set_gid(u64::from(meta.gid));
    header.set_mtime(u64::try_from(meta.mtime.div_euclid(SECOND)).unwrap_or(0));
    header.set_size(0);
    let nothing = io::empty();
    let link = |text: &[u8]| PathBuf::from(OsStr::from_bytes(text));
    let appended = match (item.kind, &item.first) {
        (_, Some(first)) => {
            header.set_entry_type(EntryType::Link);
            builder.append_link(&mut header, path, link(first))
        }
        (Kind::Symlink, None) => {
            header.set_entry_type(EntryType::Symlink);
            builder.append_link(&mut header, path, link(item.target.unwrap_or_default()))
        }
        (Kind::Regular, None) => {
            let Some((object, size)) = item.content else { return Ok(()) };
            let file = store.object(object).map_err(Error::io("open", store.object_path(object)))?;
            header.set_entry_type(EntryType::Regular);
            header.set_size(size);
            builder.append_data(&mut header, path, file)
        }
        (Kind::Directory | Kind::OpaqueDirectory, None) => {
            header.set_entry_type(EntryType::Directory);
            builder.append_data(&mut header, path, nothing)
        }
        (Kind::Fifo, None) => {
            header.set_entry_type(EntryType::Fifo);
            builder.append_data(&mut header, path, nothing)
        }
        (Kind::Character | Kind::Block, None) => {
            header.set_entry_type(if item.kind == Kind::Block { EntryType::Block } else { EntryType::Char });
            let set =
                header.set_device_major(item.rdev.0).and_then(|()| header.set_device_minor(item.rdev.1));
            set.and_then(|()| builder.append_data(&mut header, path, nothing))
        }
        (Kind::Socket | Kind::Whiteout, None) => Ok(()),
    };
    appended.map_err(Error::Archive)
}

/// What a header has no room for: a time that is no whole second, and attributes.
fn records(meta: &Meta) -> Vec<(String, Vec<u8>)> {
    let mut records: Vec<(String, Vec<u8>)> = Vec::new();
    if meta.mtime < 0 || meta.mtime % SECOND != 0 {
        records.push(("mtime".to_owned(), decimal(meta.mtime).into_bytes()));
    }
    for (name, value) in &meta.xattrs {
        // An attribute's name is UTF-8 wherever tar has met one; others can't stand in a record.
        if let Ok(name) = std::str::from_utf8(name) {
            let is_record = name.starts_with(ACL);
            let key = if is_record { name.to_owned() } else { format!("SCHILY.xattr.{name}") };
            records.push((key, value.clone()));
        }
    }
    records
}

/// Decimal seconds with all nine digits, as PAX writes times.
fn decimal(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let all = nanoseconds.unsigned_abs();
    format!("{sign}{}.{:09}", all / 1_000_000_000, all % 1_000_000_000)
}
