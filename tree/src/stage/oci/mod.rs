//! An OCI image as a source: all its layers applied in order into one tree without whiteouts (image-spec v1, *layer*).
//!
//! What a tree shows is what overlayfs shows over layers that containerd unpacked:
//!
//! * a later layer wins; a directory over a directory keeps the lower one's children; anything else replaces;
//! * a whiteout removes a name that lower layers gave, and no other name of the same file; of its own layer nothing,
//!   wherever in the archive it stands;
//! * a layer's path that runs through a lower layer's link replaces the link by a directory: containerd makes the
//!   missing parents in the layer's own directory and does not look through the links of lower ones. An image whose
//!   builder writes `lib/x` over `lib -> usr/lib` so loses its `/lib` there as well as here. Within one layer such a path
//!   is refused, as in every archive.

mod image;
mod layout;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::io::{Read, Seek as _};
use std::path::Path;

pub use image::{Platform, is_manifest, layers};
pub use layout::{DOCUMENT_MAX, Descriptor, Digest, Layout};

use super::Stage;
use super::archive::Brings;
use super::decompress::decompress;
use super::members::{Kind, Members};
use crate::build::is_aufs_own;
use crate::confine::open_file;
use crate::error::{Error, Result};
use crate::node::{Content, Meta, TreePath};

/// What marks a whiteout's name, and what follows the mark in an opaque directory's.
const MARK: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..opq";
/// Most entries of one layer: they are held until the layer is whole.
const ENTRIES: usize = 16 << 20;

/// One layer as its archive has it.
#[derive(Default)]
struct Layer {
    /// Names that lower layers gave and this one takes away.
    hidden: Vec<Vec<u8>>,
    /// Directories whose lower names this one takes away.
    opaque: Vec<Vec<u8>>,
    brings: Vec<(Vec<u8>, Brings)>,
}

impl Stage<'_> {
    /// Reads an image for this platform from a layout: a directory, or a tar archive of one, compressed or not.
    ///
    /// # Errors
    /// [`Error::Image`], [`Error::Blob`] and [`Error::NoPlatform`] for the image; [`Error::Archive`] and
    /// [`Error::Entry`] for a layer; the system's.
    pub fn oci(&mut self, path: &Path, platform: &Platform) -> Result<()> {
        let layout = if path.is_dir() { Layout::directory(path)? } else { self.open_archive(path)? };
        for descriptor in layers(&layout, platform)? {
            let blob = layout.blob(&descriptor)?;
            self.read_layer(blob).and_then(|layer| self.apply(layer)).map_err(|cause| match cause {
                Error::Archive(_) | Error::Entry { .. } => {
                    Error::Layer { digest: descriptor.digest.clone(), cause: Box::new(cause) }
                }
                other => other,
            })?;
        }
        Ok(())
    }

    /// Blobs are read by place, which a compressed archive does not allow; such a one is unpacked into the stage first.
    fn open_archive(&mut self, path: &Path) -> Result<Layout> {
        let mut file = open_file(path).map_err(Error::io("open", path))?;
        let mut head = [0u8; 262];
        let count = file.read(&mut head).map_err(Error::io("read", path))?;
        file.rewind().map_err(Error::io("read", path))?;
        // ustar's mark; every archive of a layout has it, and no compressed file at this place but by chance.
        if head.get(257..count).is_some_and(|mark| mark.starts_with(b"ustar")) {
            return Layout::archive(file);
        }
        let mut stream = decompress(file).map_err(Error::Archive)?;
        Layout::archive(self.contents.spooled(&mut stream)?)
    }

    /// Reads a layer whole before any of it is applied: its whiteouts may stand behind what they must not hide.
    fn read_layer(&mut self, stream: impl Read) -> Result<Layer> {
        let mut layer = Layer::default();
        let mut members = Members::new(decompress(stream).map_err(Error::Archive)?);
        while let Some(member) = members.next()? {
            if member.kind == Kind::Label {
                continue;
            }
            let path = member.path()?;
            let whole = path.names().join(&b'/');
            let Some((parent, name)) = path.split_last() else {
                layer.take(whole, self.read_member(&mut members, &member)?);
                continue;
            };
            if is_aufs_own(parent.names())? {
                continue;
            }
            match name.strip_prefix(MARK) {
                Some(OPAQUE) => layer.opaque.push(parent.names().join(&b'/')),
                Some(rest) if rest.starts_with(MARK) => {}
                Some(b"" | b"." | b"..") => {
                    return Err(Error::entry(&member.name, "a whiteout without a name"));
                }
                Some(hidden) => layer.hidden.push(parent.join(hidden).names().join(&b'/')),
                None => layer.take(whole, self.read_member(&mut members, &member)?),
            }
            if layer.brings.len() + layer.hidden.len() + layer.opaque.len() > ENTRIES {
                return Err(Error::TooLarge("entries in a layer"));
            }
        }
        members.finish()?;
        Ok(layer)
    }

    /// First what the layer takes away, then what it brings.
    fn apply(&mut self, layer: Layer) -> Result<()> {
        for hidden in &layer.hidden {
            self.builder.remove(&TreePath::parse(hidden)?);
        }
        for opaque in &layer.opaque {
            self.builder.clear(&TreePath::parse(opaque)?);
        }
        // What of this layer is no directory: a path through it is the layer's own fault, and no lower layer's.
        let mut own = HashSet::new();
        for (raw, brings) in layer.brings {
            let path = TreePath::parse(&raw)?;
            self.make_way(&path, &own)?;
            match brings {
                Brings::Node(meta, content @ Content::Directory { .. }) => {
                    own.remove(&raw);
                    self.insert(&path, meta, content)?;
                }
                Brings::Node(meta, content) => {
                    self.insert(&path, meta, content)?;
                    own.insert(raw);
                }
                Brings::Link(target) => {
                    self.link(&path, &TreePath::parse(&target)?)?;
                    own.insert(raw);
                }
            }
        }
        Ok(())
    }

    /// Replaces the first of the lower layers' files and links on the way to a path by a directory.
    fn make_way(&mut self, path: &TreePath<'_>, own: &HashSet<Vec<u8>>) -> Result<()> {
        for parent in path.parents() {
            match self.builder.kind(&parent) {
                Some(kind) if kind.is_directory() => {}
                None => break,
                Some(_) if own.contains(&parent.names().join(&b'/')) => break,
                Some(_) => {
                    let directory = Content::Directory { opaque: false };
                    self.builder.insert(&parent, Meta::implied_directory(), directory)?;
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Layer {
    /// Sorts what an entry brings; overlayfs' own marks, which images made from its directories can have, mean the same
    /// as the image spec's.
    fn take(&mut self, path: Vec<u8>, brings: Brings) {
        match brings {
            Brings::Node(_, Content::Whiteout) => self.hidden.push(path),
            Brings::Node(meta, Content::Directory { opaque: true }) => {
                self.opaque.push(path.clone());
                self.brings.push((path, Brings::Node(meta, Content::Directory { opaque: false })));
            }
            brings => self.brings.push((path, brings)),
        }
    }
}
