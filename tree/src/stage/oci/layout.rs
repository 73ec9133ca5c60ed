//! The OCI image layout (image-spec v1, *image-layout*): documents and blobs by digest, in a directory or a tar archive.
//!
//! No byte of a blob gets out of here before the whole blob was read once and has the size and the SHA-256 that its
//! descriptor says. A file's name is made from a parsed digest, so none can lead out of `blobs/`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use super::super::members::{Kind, Members};
use crate::confine::Dir;
use crate::error::{Error, Result};

/// Largest manifest, index or config that is read, in bytes: what the distribution spec asks registries to take.
pub const DOCUMENT_MAX: u64 = 4 << 20;
/// Most members that an archive of a layout may have.
const MEMBERS_MAX: usize = 100_000;

/// A blob's name: `sha256:` and 64 hexadecimal digits. It is the only algorithm here; sha512 is optional in the spec
/// and nobody writes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(String);

impl Digest {
    /// Checks a digest as a descriptor writes it.
    ///
    /// # Errors
    /// [`Error::Blob`].
    pub fn parse(text: &str) -> Result<Self> {
        let hex = text.strip_prefix("sha256:").filter(|hex| {
            hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        });
        hex.map(|hex| Self(hex.to_owned())).ok_or_else(|| Error::Blob {
            digest: text.chars().take(100).flat_map(char::escape_default).collect(),
            reason: "is not named by sha256: and 64 digits".to_owned(),
        })
    }

    /// The 64 digits, which are also the file's name in `blobs/sha256`.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.0
    }

    fn fault(&self, reason: impl Into<String>) -> Error {
        Error::Blob { digest: format!("sha256:{}", self.0), reason: reason.into() }
    }
}

/// What is absent may be `null`, too: Go writes an empty list or map so, and the spec's schema lets it.
pub(super) fn or_null<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// How one document speaks of another (image-spec, *descriptor*).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Which kind of document or archive lies there, such as `application/vnd.oci.image.layer.v1.tar+gzip`.
    #[serde(default, deserialize_with = "or_null")]
    pub media_type: String,
    /// Its name, unchecked.
    pub digest: String,
    /// Its length in bytes.
    pub size: u64,
    /// What it runs on, in an index.
    pub platform: Option<DeclaredPlatform>,
    /// Keys and values for people and tools; a layout's tags are `org.opencontainers.image.ref.name`.
    #[serde(default, deserialize_with = "or_null")]
    pub annotations: BTreeMap<String, String>,
}

/// A platform as an index or a config says it.
#[derive(Debug, Clone, Deserialize)]
pub struct DeclaredPlatform {
    /// `amd64`, in Go's spelling.
    #[serde(default, deserialize_with = "or_null")]
    pub architecture: String,
    /// The operating system, `linux`.
    #[serde(default, deserialize_with = "or_null")]
    pub os: String,
    /// The processor's variant, such as `v8` of arm64.
    pub variant: Option<String>,
}

/// An open layout.
#[derive(Debug)]
pub struct Layout(Source);

#[derive(Debug)]
enum Source {
    Directory(Dir),
    Archive { file: File, members: BTreeMap<String, (u64, u64)> },
}

impl Layout {
    /// Opens a layout's directory.
    ///
    /// # Errors
    /// [`Error::Image`] when it is none; the system's.
    pub fn directory(path: &Path) -> Result<Self> {
        Self(Source::Directory(Dir::open(path).map_err(Error::io("open", path))?)).checked()
    }

    /// Opens a layout in an uncompressed tar archive, whose blobs are then read where they lie.
    ///
    /// # Errors
    /// [`Error::Image`] when there is none in it, [`Error::Archive`] for a broken one; the system's.
    pub fn archive(file: File) -> Result<Self> {
        let mut members = BTreeMap::new();
        let mut archive = Members::seeking(&file);
        while let Some(member) = archive.next()? {
            if member.kind != Kind::Regular {
                continue;
            }
            if members.len() == MEMBERS_MAX {
                return Err(Error::Image(format!("the archive has more than {MEMBERS_MAX} files")));
            }
            let name = String::from_utf8_lossy(&member.name).into_owned();
            let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
            members.insert(name, (member.at, member.size));
        }
        Self(Source::Archive { file, members }).checked()
    }

    fn checked(self) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Marker {
            image_layout_version: String,
        }
        let marker: Option<Marker> = self.named("oci-layout")?.and_then(|slice| json(slice).ok());
        match marker {
            Some(marker) if marker.image_layout_version == "1.0.0" => Ok(self),
            Some(marker) => Err(Error::Image(format!(
                "its layout has version {:?}, and only 1.0.0 is known",
                marker.image_layout_version
            ))),
            None => Err(Error::Image(
                "it has no good file oci-layout, so it is not an OCI layout; write one with `skopeo copy … oci:DIRECTORY` or `docker save` (Docker 25 or newer)"
                    .to_owned(),
            )),
        }
    }

    /// Reads `index.json`, where a layout begins.
    ///
    /// # Errors
    /// [`Error::Image`] when it is not there or does not read.
    pub fn index<T: DeserializeOwned>(&self) -> Result<T> {
        let slice =
            self.named("index.json")?.ok_or_else(|| Error::Image("it has no index.json".to_owned()))?;
        json(slice).map_err(|reason| Error::Image(format!("index.json {reason}")))
    }

    /// Reads a JSON document, checked against its descriptor.
    ///
    /// # Errors
    /// [`Error::Blob`]; the system's.
    pub fn document<T: DeserializeOwned>(&self, descriptor: &Descriptor) -> Result<T> {
        let digest = Digest::parse(&descriptor.digest)?;
        if descriptor.size > DOCUMENT_MAX {
            return Err(digest.fault(format!("{} bytes are too many for a document", descriptor.size)));
        }
        json(self.blob(descriptor)?).map_err(|reason| digest.fault(reason))
    }

    /// A blob whose bytes are those that its descriptor means.
    ///
    /// # Errors
    /// [`Error::Blob`]; the system's.
    pub fn blob(&self, descriptor: &Descriptor) -> Result<Slice> {
        let digest = Digest::parse(&descriptor.digest)?;
        let slice = match self.named(&format!("blobs/sha256/{}", digest.hex())) {
            Ok(Some(slice)) => slice,
            Ok(None) => {
                return Err(Error::NoBlob {
                    digest: descriptor.digest.clone(),
                    media_type: descriptor.media_type.clone(),
                    size: descriptor.size,
                });
            }
            Err(cause) => return Err(digest.fault(format!("cannot be opened ({cause})"))),
        };
        if slice.left != descriptor.size {
            return Err(digest.fault(format!("has {} bytes, not {}", slice.left, descriptor.size)));
        }
        let mut hasher = Sha256::new();
        let mut reading = slice.again()?;
        let mut buffer = vec![0; super::super::contents::CHUNK];
        loop {
            let count = reading
                .read(&mut buffer)
                .map_err(|cause| digest.fault(format!("cannot be read ({cause})")))?;
            if count == 0 {
                break;
            }
            hasher.update(buffer.get(..count).unwrap_or_default());
        }
        // A file that shrinks while it is read ends early, and its hash is another.
        let found = oneroot_ids::hex(&hasher.finalize());
        if found != digest.0 {
            return Err(digest.fault(format!("its bytes have the hash {found}")));
        }
        Ok(slice)
    }

    fn named(&self, name: &str) -> Result<Option<Slice>> {
        match &self.0 {
            Source::Directory(dir) => {
                let path = dir.path().join(name);
                let file = match dir.file(name.as_bytes()) {
                    Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
                    other => other.map_err(Error::io("open", &path))?,
                };
                let left = file.metadata().map_err(Error::io("stat", &path))?.len();
                Ok(Some(Slice { file, at: 0, left }))
            }
            Source::Archive { file, members } => {
                let Some((at, left)) = members.get(name).copied() else { return Ok(None) };
                let file = file.try_clone().map_err(Error::io("open", name))?;
                Ok(Some(Slice { file, at, left }))
            }
        }
    }
}

/// A part of a file, read by place: two of one archive do not disturb each other.
#[derive(Debug)]
pub struct Slice {
    file: File,
    at: u64,
    left: u64,
}

impl Slice {
    fn again(&self) -> Result<Self> {
        let file = self.file.try_clone().map_err(Error::io("open", "a blob"))?;
        Ok(Self { file, at: self.at, left: self.left })
    }
}

impl Read for Slice {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(buffer.get_mut(..most).unwrap_or_default(), self.at)?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

fn json<T: DeserializeOwned>(slice: Slice) -> Result<T, String> {
    if slice.left > DOCUMENT_MAX {
        return Err(format!("has {} bytes, too many for a document", slice.left));
    }
    let mut bytes = Vec::new();
    // A file may have grown since its length was read.
    slice.take(DOCUMENT_MAX).read_to_end(&mut bytes).map_err(|cause| format!("cannot be read ({cause})"))?;
    serde_json::from_slice(&bytes).map_err(|cause| format!("is not valid JSON ({cause})"))
}
