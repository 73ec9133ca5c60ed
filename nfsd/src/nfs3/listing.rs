//! READDIR and READDIRPLUS (RFC 1813 §3.3.16, §3.3.17).
//!
//! A page is written straight into the reply, entry by entry, and stops before the byte that would be one too
//! many. The cookie verifier is always 0 and never checked: cookies are good for as long as the view is (see
//! [`crate::ops::list`]), and a client that kept a verifier from an older server must not lose its place.

use super::encode::{FATTR_LEN, OK, failure, post_op, post_op_attr};
use crate::handle::{BATCH, HANDLE_LEN};
use crate::ops::{self, Entry, Fault};
use crate::replies::Replies;
use crate::request::{Opened, Request};
use crate::xdr::{Malformed, Reader, Writer, halves, pad};
use crate::{Attr, Exports, Tree};

/// The most bytes of a READDIR or READDIRPLUS result (READDIR3resok), whatever the client allows. With the
/// record mark, the RPC head and the status before it, one reply stays within 64 KiB.
pub const MAX_LISTING: u32 = 64 * 1024 - 32;

/// The result around the entries: directory attributes, verifier, end of list, eof.
const AROUND_LEN: usize = 4 + FATTR_LEN + 8 + 4 + 4;
/// fileid, name length and cookie: an entry but for its name and list marker.
const ENTRY_LEN: usize = 8 + 4 + 8;
/// What READDIRPLUS adds to an entry: attributes and handle, both present.
const PLUS_LEN: usize = 4 + FATTR_LEN + 4 + 4 + HANDLE_LEN;

/// How much may be told, and in which of the two shapes.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// The whole result structure: READDIR's count, READDIRPLUS' maxcount.
    total: usize,
    /// READDIRPLUS' dircount: names, fileids and cookies alone. It ends a page, but never makes an empty one:
    /// Linux' server ignores it, so clients have grown careless with it.
    names: usize,
    plus: bool,
}

pub(super) fn readdir<E: Exports>(
    request: &Request<'_, E>,
    mut args: Reader<'_>,
    out: &mut Replies,
) -> Result<(), Malformed> {
    let (handle, cookie, _verifier, count) = (args.opaque()?, args.u64()?, args.u64()?, args.u32()?);
    args.finish()?;
    reply(request, handle, cookie, Bounds { total: clamp(count), names: usize::MAX, plus: false }, out);
    Ok(())
}

pub(super) fn readdirplus<E: Exports>(
    request: &Request<'_, E>,
    mut args: Reader<'_>,
    out: &mut Replies,
) -> Result<(), Malformed> {
    let (handle, cookie, _verifier) = (args.opaque()?, args.u64()?, args.u64()?);
    let (dircount, maxcount) = (args.u32()?, args.u32()?);
    args.finish()?;
    reply(
        request,
        handle,
        cookie,
        Bounds { total: clamp(maxcount), names: clamp(dircount), plus: true },
        out,
    );
    Ok(())
}

fn clamp(count: u32) -> usize {
    usize::try_from(count.min(MAX_LISTING)).unwrap_or_default()
}

fn reply<E: Exports>(
    request: &Request<'_, E>,
    handle: &[u8],
    cookie: u64,
    bounds: Bounds,
    out: &mut Replies,
) {
    let dir = match request.open(handle) {
        Ok(dir) => dir,
        Err(fault) => return failure::<E::Tree>(&mut out.writer(), fault, None),
    };
    let start = out.checkpoint();
    if let Err(fault) = page(request, &dir, cookie, bounds, &mut out.writer()) {
        out.rollback(start);
        failure(&mut out.writer(), fault, Some(&dir));
    }
}

fn page<E: Exports>(
    request: &Request<'_, E>,
    dir: &Opened<E::Tree>,
    cookie: u64,
    bounds: Bounds,
    out: &mut Writer<'_>,
) -> Result<(), Fault> {
    let mut names = ops::list(&*dir.tree, &request.caller, &dir.found, cookie)?;
    let room = Room { bounds, total: AROUND_LEN, names: 0, told: 0 };
    if room.total > bounds.total {
        return Err(Fault::TooSmall);
    }
    out.u32(OK);
    post_op(out, Some(dir));
    out.u64(0);
    let nothing = Entry { cookie: 0, name: b"", node: dir.found.node };
    let mut page = Page { request, dir, room, waiting: [nothing; BATCH], count: 0 };
    let told = names.try_for_each(|entry| page.add(entry, out)).and_then(|()| page.tell(out));
    let eof = match told {
        Ok(()) => true,
        Err(End::Full) => false,
        Err(End::Fault(fault)) => return Err(fault),
    };
    // An empty page that is not the end would have the client ask for ever.
    if page.room.told == 0 && !eof {
        return Err(Fault::TooSmall);
    }
    out.boolean(false);
    out.boolean(eof);
    Ok(())
}

/// Why a page ends before its directory does.
enum End {
    /// The next entry has no room.
    Full,
    Fault(Fault),
}

/// A page that is being written.
struct Page<'p, E: Exports> {
    request: &'p Request<'p, E>,
    dir: &'p Opened<E::Tree>,
    room: Room,
    /// Names that are not yet written, because so many handles are sealed at once.
    waiting: [Entry<'p>; BATCH],
    count: usize,
}

impl<'p, E: Exports> Page<'p, E> {
    fn add(&mut self, entry: Entry<'p>, out: &mut Writer<'_>) -> Result<(), End> {
        if let Some(place) = self.waiting.get_mut(self.count) {
            *place = entry;
        }
        self.count += 1;
        if self.count < BATCH { Ok(()) } else { self.tell(out) }
    }

    /// Writes those that wait, as far as there is room.
    fn tell(&mut self, out: &mut Writer<'_>) -> Result<(), End> {
        let plus = self.room.bounds.plus;
        let handles = plus.then(|| {
            let nodes = self.waiting.each_ref().map(|entry| entry.node);
            self.request.keyring.seal_batch(&self.dir.view, &nodes)
        });
        let mut handles = handles.iter().flatten();
        let fsid = self.dir.tree.fsid();
        for entry in self.waiting.iter().take(std::mem::take(&mut self.count)) {
            if !self.room.take(entry.name) {
                return Err(End::Full);
            }
            // A name without a node would be a broken index. It fails the listing: leaving it out would hide the damage.
            let attr = self.dir.tree.attr(entry.node).ok_or(End::Fault(Fault::Io))?;
            write_entry(out, entry, &attr);
            if let Some(handle) = handles.next() {
                write_plus(out, fsid, &attr, handle);
            }
        }
        Ok(())
    }
}

/// What of a page's bounds is used up.
struct Room {
    bounds: Bounds,
    total: usize,
    names: usize,
    told: usize,
}

impl Room {
    /// Takes the room of an entry with this name, if there is so much left.
    fn take(&mut self, name: &[u8]) -> bool {
        let bare = ENTRY_LEN + name.len() + pad(name.len());
        self.total += 4 + bare + if self.bounds.plus { PLUS_LEN } else { 0 };
        self.names += bare;
        let fits = self.total <= self.bounds.total && (self.names <= self.bounds.names || self.told == 0);
        self.told += usize::from(fits);
        fits
    }
}

/// entry3, or the front of entryplus3, with its list marker.
fn write_entry(out: &mut Writer<'_>, entry: &Entry<'_>, attr: &Attr) {
    let [high, low] = halves(attr.fileid);
    out.words([1, high, low]);
    out.opaque(entry.name);
    out.u64(entry.cookie);
}

/// The rest of entryplus3. The attributes' fileid is the entry's own by construction: where the two differ,
/// Linux takes the name for a mount point.
fn write_plus(out: &mut Writer<'_>, fsid: u64, attr: &Attr, handle: &[u8; HANDLE_LEN]) {
    post_op_attr(out, fsid, attr);
    out.boolean(true);
    out.opaque(handle);
}
