//! A profile's `source`: where its tree comes from.

use std::path::Path;

use crate::section::{At, Mistakes, Section};
use crate::site::{Packages, Registry, Source};
use crate::tables::path;

/// Reads `source = { … }`. One of five keys says which kind it is.
pub(crate) fn source_of(mut source: Section<'_>, home: &Path, mistakes: &mut Mistakes) -> Option<Source> {
    let tar = source.string(mistakes, "tar");
    let directory = source.string(mistakes, "directory");
    let oci = source.string(mistakes, "oci");
    let insecure = source.boolean(mistakes, "insecure");
    let suite = source.string(mistakes, "suite");
    let command = source.strings(mistakes, "command", false);
    let packages = source.strings(mistakes, "packages", false);
    let mirror = source.string(mistakes, "mirror");
    let spot = source.spot.clone();
    source.finish(mistakes);
    let kinds = [tar.is_some(), directory.is_some(), oci.is_some(), suite.is_some(), !command.is_empty()];
    if kinds.into_iter().filter(|said| *said).count() != 1 {
        mistakes.note(
            &spot,
            "must say one of `tar`, `directory`, `oci`, `suite` (with `packages`) and `command`",
        );
        return None;
    }
    if suite.is_none() {
        for at in packages.iter().chain(&mirror) {
            mistakes.note(&at.spot, "goes with `suite`, and there is none");
        }
    }
    let remote = oci.as_ref().is_some_and(|at| at.value.starts_with(REGISTRY));
    if let (Some(at), false) = (&insecure, remote) {
        mistakes.note(&at.spot, format!("goes with an `oci` that begins with {REGISTRY}, and there is none"));
    }
    if let Some(tar) = tar {
        return path(tar, home, mistakes).map(Source::Tar);
    }
    if let Some(directory) = directory {
        return path(directory, home, mistakes).map(Source::Directory);
    }
    if let Some(oci) = oci {
        let insecure = insecure.is_some_and(|at| at.value);
        return if remote {
            let checked = oci.check(mistakes, |text| image(&text));
            checked.map(|at| Source::Registry(Registry { image: at.value, insecure }))
        } else {
            layout(oci, home, mistakes)
        };
    }
    if let Some(suite) = suite {
        let suite = word(suite, "a distribution's release, such as \"bookworm\"", b"-", mistakes);
        let include =
            packages.into_iter().filter_map(|at| word(at, "a package's name", b"+-.:=~_", mistakes));
        let include = include.collect();
        let mirror = mirror.and_then(|at| address(at, mistakes));
        return Some(Source::Packages(Packages { suite: suite?, mirror, include }));
    }
    let words = command.into_iter().map(|at| at.value).collect();
    Some(Source::Command(words))
}

/// What a registry's image begins with, as skopeo and podman write it. Anything else is a path.
const REGISTRY: &str = "docker://";

/// An image's full name (distribution-spec, *pulling manifests*): a default registry would be one that nobody chose.
fn image(text: &str) -> Result<String, String> {
    let wrong = |why: &str| {
        Err(format!("{text:?} {why}, such as \"{REGISTRY}registry.example/name:tag\" or \"…/name@sha256:…\""))
    };
    let full = text.strip_prefix(REGISTRY).unwrap_or(text);
    let Some((host, rest)) = full.split_once('/') else { return wrong("has no registry's name and image") };
    let host_name = host.split(':').next().unwrap_or_default();
    let known = host_name == "localhost" || host.contains(['.', ':']);
    let plain = |text: &str, marks: &[u8]| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || marks.contains(&byte))
    };
    if !known || host_name.is_empty() || !plain(host, b".-:") {
        return wrong("does not begin with a registry's name");
    }
    let (rest, digest) = rest.split_once('@').map_or((rest, None), |(rest, digest)| (rest, Some(digest)));
    let (name, tag) = rest.split_once(':').map_or((rest, None), |(name, tag)| (name, Some(tag)));
    let part = |part: &str| {
        part.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte))
    };
    if name.len() > 255 || !name.split('/').all(part) {
        return wrong("has a name that no registry takes: small letters, digits and . _ - between slashes");
    }
    if tag.is_none() && digest.is_none() {
        return wrong("says no tag and no digest");
    }
    if tag.is_some_and(|tag| tag.len() > 128 || !plain(tag, b"._-") || tag.starts_with(['.', '-'])) {
        return wrong("has a tag that no registry takes");
    }
    let hex = |text: &str| {
        text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    if digest.is_some_and(|digest| !digest.strip_prefix("sha256:").is_some_and(hex)) {
        return wrong("has a digest that is not sha256: and 64 digits");
    }
    Ok(full.to_owned())
}

/// A layout's path. A registry's image without its beginning would only be a path that is never there.
fn layout(at: At<String>, home: &Path, mistakes: &mut Mistakes) -> Option<Source> {
    if at.value.contains("@sha256:") || at.value.contains("://") {
        mistakes.note(
            &at.spot,
            format!("{:?} is no path; an image in a registry begins with {REGISTRY}", at.value),
        );
        return None;
    }
    path(at, home, mistakes).map(Source::Image)
}

/// A word that goes onto a command line: it must not look like an option or a list.
fn word(at: At<String>, what: &str, marks: &[u8], mistakes: &mut Mistakes) -> Option<String> {
    let checked = at.check(mistakes, |text| {
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let good = first && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || marks.contains(&byte));
        if good { Ok(text) } else { Err(format!("{text:?} is not {what}")) }
    });
    checked.map(|at| at.value)
}

fn address(at: At<String>, mistakes: &mut Mistakes) -> Option<String> {
    let checked = at.check(mistakes, |text| {
        let known = ["http://", "https://", "file:/", "copy:/"].iter().any(|scheme| text.starts_with(scheme));
        let good = known && text.bytes().all(|byte| byte.is_ascii_graphic());
        if good {
            Ok(text)
        } else {
            Err(format!("{text:?} is not a mirror's address, such as \"http://deb.debian.org/debian\""))
        }
    });
    checked.map(|at| at.value)
}
