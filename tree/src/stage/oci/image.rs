//! Which image of a layout is meant, and what its layers are (image-spec v1: *image index*, *manifest*, *config*).

use serde::Deserialize;

use super::layout::{DeclaredPlatform, Descriptor, Layout, or_null};
use crate::error::{Error, Result};

/// How deep indexes may lie in each other; buildx makes two.
const DEPTH: usize = 4;
/// Most descriptors that are looked at, all indexes together.
const DESCRIPTORS: usize = 4096;
/// Most layers. overlayfs takes 500, Docker 127.
const LAYERS: usize = 1024;

const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
/// The layers that are tar archives and that a layout has to have in it. Non-distributable layers are not: the spec
/// has deprecated them, and their blobs are somewhere else.
const LAYER_TYPES: [&str; 6] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
];
/// How a layout says its images' names: `docker save` writes only the tag into the spec's own, and the whole name into
/// containerd's.
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
/// How BuildKit marks what is about an image and is none.
const ABOUT: &str = "vnd.docker.reference.type";

/// What an image has to run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`: Go's name of it, as the image spec asks.
    pub architecture: String,
}

impl Platform {
    /// This host's. A machine that boots from another architecture's image needs its own server, as with packages.
    #[must_use]
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned() }
    }

    /// Whether something that says this of itself runs here.
    #[must_use]
    pub fn takes(&self, os: &str, architecture: &str) -> bool {
        self.os == os && self.architecture == architecture
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{}/{}", self.os, self.architecture)
    }
}

#[derive(Deserialize)]
struct ImageIndex {
    #[serde(default, deserialize_with = "or_null")]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    #[serde(default, deserialize_with = "or_null")]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(flatten)]
    platform: DeclaredPlatform,
    /// Only images of file systems have one; artifacts, such as signatures and charts, have not.
    rootfs: Option<RootFs>,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default, deserialize_with = "or_null")]
    diff_ids: Vec<String>,
}

/// An image that was found, with the place among its kind where it stands.
struct Candidate {
    manifest: Descriptor,
    /// Needs a newer processor than the architecture's first one.
    special: bool,
    name: Option<String>,
}

/// Whether a registry gives this media type out as a manifest, and not as a blob (distribution-spec, *pull*).
#[must_use]
pub fn is_manifest(media_type: &str) -> bool {
    INDEXES.contains(&media_type) || MANIFESTS.contains(&media_type)
}

/// The layers of the layout's image for this platform, lowest first. Only documents are read; layers need not be there.
///
/// # Errors
/// [`Error::NoBlob`] for the first document that is not there: a registry's client fetches it and asks again.
/// [`Error::Image`], [`Error::Blob`] and [`Error::NoPlatform`]; the system's.
pub fn layers(layout: &Layout, platform: &Platform) -> Result<Vec<Descriptor>> {
    let manifest = choose(layout, platform)?;
    let Manifest { config, layers } = layout.document(&manifest)?;
    let Config { platform: said, rootfs } = layout.document(&config)?;
    let Some(rootfs) = rootfs else {
        return Err(Error::Image(
            "it is an artifact and no image of a file system: its config has no rootfs".to_owned(),
        ));
    };
    if !platform.takes(&said.os, &said.architecture) {
        return Err(Error::NoPlatform { wanted: platform.to_string(), there: spelled(&said) });
    }
    if layers.is_empty() || layers.len() > LAYERS {
        return Err(Error::Image(format!("it has {} layers, not 1 to {LAYERS}", layers.len())));
    }
    if rootfs.diff_ids.len() != layers.len() {
        return Err(Error::Image(format!(
            "its manifest has {} layers and its config {}",
            layers.len(),
            rootfs.diff_ids.len()
        )));
    }
    if let Some(layer) = layers.iter().find(|layer| !LAYER_TYPES.contains(&layer.media_type.as_str())) {
        return Err(Error::Image(format!(
            "a layer has the media type {:?}, which is not a tar archive",
            layer.media_type
        )));
    }
    Ok(layers)
}

fn choose(layout: &Layout, platform: &Platform) -> Result<Descriptor> {
    let (mut there, mut found) = (Vec::new(), Vec::new());
    for (descriptor, name) in manifests(layout)? {
        let Some(declared) = declared(layout, &descriptor)? else { continue };
        there.push(spelled(&declared));
        if platform.takes(&declared.os, &declared.architecture) {
            let special = !matches!(
                (declared.architecture.as_str(), declared.variant.as_deref()),
                (_, None | Some("")) | ("arm64", Some("v8")) | ("amd64", Some("v1"))
            );
            found.push(Candidate { manifest: descriptor, special, name });
        }
    }
    let mut names: Vec<&str> = found.iter().filter_map(|found| found.name.as_deref()).collect();
    names.sort_unstable();
    names.dedup();
    let same = found.windows(2).all(|two| matches!(two, [a, b] if a.manifest.digest == b.manifest.digest));
    if names.len() > 1 && !same {
        return Err(Error::Image(format!(
            "there are several in it ({}); save the one that is meant alone",
            names.iter().take(10).copied().collect::<Vec<_>>().join(", ")
        )));
    }
    there.sort();
    there.dedup();
    // The first of the least special ones: min_by_key keeps the first.
    found.into_iter().min_by_key(|found| found.special).map(|found| found.manifest).ok_or_else(|| {
        let there = there.iter().take(40).cloned().collect::<Vec<_>>().join(", ");
        let there = if there.is_empty() { "no image at all".to_owned() } else { there };
        Error::NoPlatform { wanted: platform.to_string(), there }
    })
}

/// The manifests of images, each with the name that it has, depth first and in order: the spec's "first matching entry".
fn manifests(layout: &Layout) -> Result<Vec<(Descriptor, Option<String>)>> {
    let top: ImageIndex = layout.index()?;
    let (mut manifests, mut seen) = (Vec::new(), 0);
    let mut todo: Vec<(Descriptor, usize, Option<String>)> =
        top.manifests.into_iter().rev().map(|descriptor| (descriptor, 0, None)).collect();
    while let Some((descriptor, depth, name)) = todo.pop() {
        seen += 1;
        if seen > DESCRIPTORS || depth > DEPTH {
            return Err(Error::Image(format!(
                "its indexes hold more than {DESCRIPTORS} descriptors, or lie deeper than {DEPTH} in each other"
            )));
        }
        if descriptor.annotations.contains_key(ABOUT) {
            continue;
        }
        let name = name.or_else(|| NAMES.iter().find_map(|key| descriptor.annotations.get(*key).cloned()));
        if INDEXES.contains(&descriptor.media_type.as_str()) {
            let inner: ImageIndex = layout.document(&descriptor)?;
            todo.extend(inner.manifests.into_iter().rev().map(|inner| (inner, depth + 1, name.clone())));
        } else if MANIFESTS.contains(&descriptor.media_type.as_str()) {
            manifests.push((descriptor, name));
        }
    }
    Ok(manifests)
}

/// What an image runs on; none for an artifact beside an image, in which there is nothing to boot. Docker and podman leave it
/// out of the descriptor where there is only one.
fn declared(layout: &Layout, descriptor: &Descriptor) -> Result<Option<DeclaredPlatform>> {
    if let Some(declared) = &descriptor.platform {
        return Ok(Some(declared.clone()));
    }
    let manifest: Manifest = layout.document(descriptor)?;
    let config: Config = layout.document(&manifest.config)?;
    Ok(config.rootfs.is_some().then_some(config.platform))
}

fn spelled(declared: &DeclaredPlatform) -> String {
    let word = |text: &str| -> String { text.chars().take(40).flat_map(char::escape_default).collect() };
    let variant = declared.variant.as_deref().filter(|text| !text.is_empty());
    let variant = variant.map(|text| format!("/{}", word(text))).unwrap_or_default();
    format!("{}/{}{variant}", word(&declared.os), word(&declared.architecture))
}
