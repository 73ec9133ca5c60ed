//! A profile's `source`: where its tree comes from.

use std::path::Path;

use crate::section::{At, Mistakes, Section};
use crate::site::{Packages, Source};
use crate::tables::path;

/// Reads `source = { … }`. One of four keys says which kind it is.
pub(crate) fn source_of(mut source: Section<'_>, home: &Path, mistakes: &mut Mistakes) -> Option<Source> {
    let tar = source.string(mistakes, "tar");
    let directory = source.string(mistakes, "directory");
    let suite = source.string(mistakes, "suite");
    let command = source.strings(mistakes, "command", false);
    let packages = source.strings(mistakes, "packages", false);
    let mirror = source.string(mistakes, "mirror");
    let spot = source.spot.clone();
    source.finish(mistakes);
    let kinds = [tar.is_some(), directory.is_some(), suite.is_some(), !command.is_empty()];
    if kinds.into_iter().filter(|said| *said).count() != 1 {
        mistakes.note(&spot, "must say one of `tar`, `directory`, `suite` (with `packages`) and `command`");
        return None;
    }
    if suite.is_none() {
        for at in packages.iter().chain(&mirror) {
            mistakes.note(&at.spot, "goes with `suite`, and there is none");
        }
    }
    if let Some(tar) = tar {
        return path(tar, home, mistakes).map(Source::Tar);
    }
    if let Some(directory) = directory {
        return path(directory, home, mistakes).map(Source::Directory);
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
