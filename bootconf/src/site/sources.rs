//! A profile's `source`: where its tree comes from. A new kind is a variant of [`Source`] and its keys here, and a driver in the
//! crate `sources`.

use std::path::{Path, PathBuf};

use crate::site::section::{Diagnostics, Located, Section};
use crate::site::table::path;

/// Where a profile's tree comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A directory, such as a chroot.
    Directory {
        /// Where it is.
        path: PathBuf,
        /// Whether other file systems that are mounted in it are left out. Those of the kernel always are.
        one_file_system: bool,
    },
    /// A tar archive, plain or compressed.
    Tar(PathBuf),
    /// An OCI image layout: a directory, or a tar archive of one.
    Image(PathBuf),
    /// An image in a registry.
    Registry(Registry),
    /// A distribution's packages, installed when it is staged.
    Packages(Packages),
    /// A program and its arguments that fill an empty directory, which is their last argument.
    Command(Vec<String>),
}

/// An image in a registry, named in full: no registry and no tag is anybody's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    /// `registry.example:5000/name:tag`, or with `@sha256:…` behind it.
    pub image: String,
    /// Speak HTTP without TLS.
    pub insecure: bool,
}

/// A list of packages, and where they come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packages {
    /// What installs them.
    pub with: Installer,
    /// The distribution's release: `bookworm`, `41`.
    pub release: String,
    /// Other mirrors than the release's usual one.
    pub mirrors: Vec<String>,
    /// The keys that the mirrors' signatures are checked with, where they are not the host's own.
    pub keyring: Option<PathBuf>,
    /// Take what no key has signed.
    pub insecure: bool,
    /// What is installed beside what every root needs.
    pub include: Vec<String>,
    /// The installer's own options.
    pub options: Vec<String>,
}

/// A program that installs packages into a new root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installer {
    /// For Debian and what descends from it.
    Mmdebstrap,
    /// For Fedora and its relatives.
    Dnf,
}

/// Reads `source = { … }`. One of six keys says which kind it is.
pub(crate) fn source_of(source: Section<'_>, home: &Path, diagnostics: &mut Diagnostics) -> Option<Source> {
    let span = source.span.clone();
    let said = Said::read(source, diagnostics);
    if said.kinds() != 1 {
        diagnostics.note(
            &span,
            "must say one of `tar`, `directory`, `oci`, `suite` or `release` (with `packages`) and `command`",
        );
        return None;
    }
    said.refuse(diagnostics);
    said.check(home, diagnostics)
}

/// All that a source's table says, before it is known which kind it is of.
struct Said {
    tar: Option<Located<String>>,
    directory: Option<Located<String>>,
    one_file_system: Option<Located<bool>>,
    oci: Option<Located<String>>,
    insecure: Option<Located<bool>>,
    command: Vec<Located<String>>,
    packages: PackageKeys,
}

impl Said {
    fn read(mut source: Section<'_>, diagnostics: &mut Diagnostics) -> Self {
        let said = Self {
            tar: source.string(diagnostics, "tar"),
            directory: source.string(diagnostics, "directory"),
            one_file_system: source.boolean(diagnostics, "one_file_system"),
            oci: source.string(diagnostics, "oci"),
            insecure: source.boolean(diagnostics, "insecure"),
            command: source.strings(diagnostics, "command", false),
            packages: PackageKeys {
                suite: source.string(diagnostics, "suite"),
                release: source.string(diagnostics, "release"),
                include: source.strings(diagnostics, "packages", false),
                mirrors: source.strings(diagnostics, "mirror", true),
                keyring: source.string(diagnostics, "keyring"),
                options: source.strings(diagnostics, "options", false),
            },
        };
        source.finish(diagnostics);
        said
    }

    /// How many kinds it says that it is of.
    fn kinds(&self) -> usize {
        let said = [
            self.tar.is_some(),
            self.directory.is_some(),
            self.oci.is_some(),
            self.packages.suite.is_some(),
            self.packages.release.is_some(),
            !self.command.is_empty(),
        ];
        said.into_iter().filter(|said| *said).count()
    }

    fn is_remote(&self) -> bool {
        self.oci.as_ref().is_some_and(|at| at.value.starts_with(REGISTRY))
    }

    fn is_installed(&self) -> bool {
        self.packages.suite.is_some() || self.packages.release.is_some()
    }

    /// Notes what means nothing for its kind.
    fn refuse(&self, diagnostics: &mut Diagnostics) {
        if let (Some(at), None) = (&self.one_file_system, &self.directory) {
            diagnostics.note(&at.span, "applies only to `directory`, which is not set");
        }
        if let (Some(at), false) = (&self.insecure, self.is_remote() || self.packages.release.is_some()) {
            diagnostics.note(
                &at.span,
                format!("goes with `release`, or an `oci` that begins with {REGISTRY}, and there is neither"),
            );
        }
        if !self.is_installed() {
            self.packages.refuse(diagnostics);
        }
    }

    fn check(self, home: &Path, diagnostics: &mut Diagnostics) -> Option<Source> {
        let (is_remote, is_installed) = (self.is_remote(), self.is_installed());
        let insecure = self.insecure.is_some_and(|at| at.value);
        if is_installed {
            return self.packages.check(insecure, home, diagnostics);
        }
        if let Some(tar) = self.tar {
            return path(tar, home, diagnostics).map(Source::Tar);
        }
        if let Some(directory) = self.directory {
            let one_file_system = self.one_file_system.is_none_or(|at| at.value);
            return path(directory, home, diagnostics)
                .map(|path| Source::Directory { path, one_file_system });
        }
        match self.oci {
            Some(oci) if is_remote => {
                let checked = oci.check(diagnostics, |text| image(&text));
                checked.map(|at| Source::Registry(Registry { image: at.value, insecure }))
            }
            Some(oci) => layout(oci, home, diagnostics),
            None => Some(Source::Command(self.command.into_iter().map(|at| at.value).collect())),
        }
    }
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
fn layout(at: Located<String>, home: &Path, diagnostics: &mut Diagnostics) -> Option<Source> {
    if at.value.contains("@sha256:") || at.value.contains("://") {
        diagnostics.note(
            &at.span,
            format!("{:?} is not a path; an image in a registry begins with {REGISTRY}", at.value),
        );
        return None;
    }
    path(at, home, diagnostics).map(Source::Image)
}

/// What a source says of packages, before it is checked.
struct PackageKeys {
    suite: Option<Located<String>>,
    release: Option<Located<String>>,
    include: Vec<Located<String>>,
    mirrors: Vec<Located<String>>,
    keyring: Option<Located<String>>,
    options: Vec<Located<String>>,
}

impl PackageKeys {
    fn check(self, insecure: bool, home: &Path, diagnostics: &mut Diagnostics) -> Option<Source> {
        let (with, release) = match (self.suite, self.release) {
            (Some(suite), _) => {
                let what = "a distribution's release, such as \"bookworm\"";
                (Installer::Mmdebstrap, word(suite, what, b"-", diagnostics))
            }
            (None, Some(release)) => {
                (Installer::Dnf, word(release, "a release, such as \"41\"", b".-", diagnostics))
            }
            (None, None) => return None,
        };
        let include = self.include.into_iter();
        let include = include.filter_map(|at| package(at, with, diagnostics)).collect();
        let mirror = self.mirrors.first().map(|at| at.span.clone());
        let mirrors = self.mirrors.into_iter().filter_map(|at| address(at, with, diagnostics)).collect();
        // dnf takes its distribution's repositories with their keys; these are for one that is named here.
        if let (Installer::Dnf, None, Some(at)) = (with, &mirror, &self.keyring) {
            diagnostics.note(&at.span, "applies only to `mirror`, which is not set");
        }
        let keyring = self.keyring.and_then(|at| path(at, home, diagnostics));
        let options = self.options.into_iter().filter_map(|at| option(at, with, diagnostics)).collect();
        // apt has the keys of its distribution; dnf has none for a mirror that the site brings.
        if let (Installer::Dnf, false, None, Some(span)) = (with, insecure, &keyring, mirror) {
            diagnostics.note(
                &span,
                "is signed with keys that nobody knows; say keyring = \"FILE\", or insecure = true for one without signatures",
            );
        }
        let release = release?;
        Some(Source::Packages(Packages { with, release, mirrors, keyring, insecure, include, options }))
    }

    /// None of it means anything for the other kinds.
    fn refuse(&self, diagnostics: &mut Diagnostics) {
        let lists = self.include.iter().chain(&self.mirrors).chain(&self.keyring).chain(&self.options);
        for at in lists {
            diagnostics.note(&at.span, "applies only to `suite` or `release`, and neither is set");
        }
    }
}

fn package(at: Located<String>, with: Installer, diagnostics: &mut Diagnostics) -> Option<String> {
    match with {
        Installer::Mmdebstrap => word(at, "a package's name", b"+-.:=~_", diagnostics),
        // A group is @NAME, an environment @^NAME.
        Installer::Dnf => {
            let group = ["@^", "@"].into_iter().find(|mark| at.value.starts_with(mark)).unwrap_or_default();
            let name = at.value.strip_prefix(group).unwrap_or_default().to_owned();
            let plain = Located { value: name, span: at.span };
            word(plain, "a package's or group's name", b"+-.:~_", diagnostics)
                .map(|name| format!("{group}{name}"))
        }
    }
}

/// What oneroot says itself: said twice, the tree would not come to where it is staged from.
fn ours(with: Installer) -> &'static [&'static str] {
    match with {
        Installer::Mmdebstrap => &["--format", "--mode", "--variant"],
        Installer::Dnf => &["--installroot", "--releasever"],
    }
}

fn option(at: Located<String>, with: Installer, diagnostics: &mut Diagnostics) -> Option<String> {
    let checked = at.check(diagnostics, |text| {
        let name = text.split('=').next().unwrap_or_default();
        // Both take a name that is cut short, and mmdebstrap takes it in capitals.
        let mut ours = ours(with).iter().filter(|ours| ours.starts_with(&name.to_ascii_lowercase()));
        if !text.starts_with("--") || text.len() < 3 || text.contains('\0') {
            Err(format!("{text:?} is not an option in one word, such as \"--components=main,contrib\""))
        } else {
            match ours.next() {
                None => Ok(text),
                Some(ours) if *ours == name => Err(format!("{name} is for oneroot to say")),
                Some(ours) => Err(format!(
                    "{name} can mean {ours}, which is for oneroot to say; write another option's name in full"
                )),
            }
        }
    });
    checked.map(|at| at.value)
}

/// A word that goes onto a command line: it must not look like an option or a list.
fn word(at: Located<String>, what: &str, marks: &[u8], diagnostics: &mut Diagnostics) -> Option<String> {
    let checked = at.check(diagnostics, |text| {
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let good = first && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || marks.contains(&byte));
        if good { Ok(text) } else { Err(format!("{text:?} is not {what}")) }
    });
    checked.map(|at| at.value)
}

fn address(at: Located<String>, with: Installer, diagnostics: &mut Diagnostics) -> Option<String> {
    let schemes = match with {
        Installer::Mmdebstrap => ["http://", "https://", "file:/", "copy:/"].as_slice(),
        Installer::Dnf => &["http://", "https://", "file:///"],
    };
    let checked = at.check(diagnostics, |text| {
        let known = schemes.iter().any(|scheme| text.starts_with(scheme));
        let good = known && text.bytes().all(|byte| byte.is_ascii_graphic());
        if good {
            Ok(text)
        } else if known && with == Installer::Dnf && text.contains(' ') {
            Err(format!("{text:?} has a space, which no address has; write it as %20"))
        } else {
            Err(format!("{text:?} is not a mirror's address, such as \"http://deb.debian.org/debian\""))
        }
    });
    checked.map(|at| at.value)
}
