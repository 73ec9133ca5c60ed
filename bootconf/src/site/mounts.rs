//! What a machine mounts on its tree: the `mounts` table of a profile, group, workload, rule or machine, and with it what its table
//! `lasts` says (`site/lasts.rs`). A key is the place, and of one place the nearest table's word counts.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::site::hides::conflicts;
use crate::site::lasts::lasts;
use crate::site::section::{Diagnostics, Item, Section};
use crate::site::table::Places;

/// Mounts, by their places in the tree; a parent comes before what is mounted below it.
pub type Mounts = BTreeMap<String, Mount>;

/// What may stand where a mount is said.
const FORMS: &str = "\"SERVER:/PATH\", \"none\", or a table such as { profile = \"apps\" }";
/// Directories that the machine's init needs for itself.
const TAKEN: [&str; 6] = ["/dev", "/proc", "/sys", "/run", "/.oneroot", "/boot"];
/// Directories that a system needs before it has a network of its own.
/// Some by services that are there themselves by then: systemd's journal, AppArmor, and whose `PrivateTmp=` is said.
pub(crate) const EARLY: [&str; 10] = [
    "/etc",
    "/usr",
    "/var",
    "/var/cache",
    "/var/cache/apparmor",
    "/var/lib",
    "/var/log",
    "/var/log/journal",
    "/var/tmp",
    "/tmp",
];
/// Why none of them comes from a file server.
pub(crate) const TOO_EARLY: &str = "is looked at before there is a network, and a system that waits for it does not come up; mount what is below it";
/// What stands for a machine's name in the path of a file server's directory.
pub const NAME: &str = "{name}";
/// Bytes of a file's name: systemd writes some letters of a path as four in that of its unit.
const LONGEST_UNIT: usize = 240;
/// A path that is longer than this is some mistake, and so is a list of options.
const LONGEST: usize = 255;

/// Something that is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mount {
    /// What it is.
    pub what: What,
    /// Words for mount(8).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Whether the machine is not to come up without it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// Whether it is mounted when somebody first looks, and not before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub automount: bool,
}

/// What can be mounted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Another profile's tree, which is a part of the machine's own view.
    Profile(String),
    /// A directory of a file server.
    Nfs(String),
    /// Whatever else mount(8) takes.
    Device {
        /// As fstab(5) has it in its first field.
        source: String,
        /// And in its third.
        kind: String,
    },
    /// A directory below this one of a file server, by its own path, which is made as the tree's and lasts.
    Server(String),
    /// The tree's directory, copied into a tmpfs of this size.
    Copied(String),
    /// A tmpfs of this size, with the owner and mode of the tree's directory.
    Empty(String),
    /// Nothing: what a table that is further away says does not count.
    Nothing,
}

impl What {
    /// Whether the table `lasts` says it, and not `mounts`.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::Server(_) | Self::Copied(_) | Self::Empty(_))
    }

    /// Whether it outlives the machine's boot.
    #[must_use]
    pub fn outlives(&self) -> bool {
        matches!(self, Self::Nfs(_) | Self::Device { .. } | Self::Server(_))
    }
}

/// A file server's directory as this machine has it: hosts' names have no letters that mean something in one.
#[must_use]
pub fn own(source: &str, machine: &str) -> String {
    source.replace(NAME, machine)
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Profile(profile) => write!(f, "profile {profile}"),
            Self::Nfs(source) | Self::Server(source) => f.write_str(source),
            Self::Copied(size) => write!(f, "copied, {size}"),
            Self::Empty(size) => write!(f, "empty, {size}"),
            Self::Device { source, kind } => write!(f, "{source} ({kind})"),
            Self::Nothing => f.write_str("none"),
        }
    }
}

impl Mount {
    /// One of which no more is said.
    pub(crate) fn of(what: What) -> Self {
        let automount = matches!(what, What::Nfs(_) | What::Server(_));
        Self { what, options: Vec::new(), required: false, automount }
    }
}

/// The mounts of a table, whose places are kept, and what lasts of what its machines write.
pub(crate) fn mounts(
    section: &mut Section<'_>,
    places: &mut Places,
    diagnostics: &mut Diagnostics,
) -> Mounts {
    let (mut mounts, mut spans) = (Mounts::new(), Vec::new());
    for (at, item) in section.each(diagnostics, "mounts", FORMS) {
        let mount = match item {
            Item::Text(text) => {
                text.check(diagnostics, |text| short(&text)).map(|said| Mount::of(said.value))
            }
            Item::Table(table) => long(table, places, diagnostics),
        };
        let (Some(at), Some(mount)) = (at.check(diagnostics, place), mount) else { continue };
        if matches!(mount.what, What::Nfs(_)) && EARLY.contains(&at.value.as_str()) {
            diagnostics.note(&at.span, TOO_EARLY);
        }
        let is_for_homes = matches!(mount.what, What::Nfs(_) | What::Nothing) && !mount.required;
        if at.value.ends_with(HOMES) && !is_for_homes {
            diagnostics.note(&at.span, "is for homes of a file server that are mounted when somebody looks: say { nfs = \"SERVER:/PATH/&\" }");
        }
        mounts.insert(at.value.clone(), mount);
        spans.push(at);
    }
    for ((_, homes), told) in conflicts(&mounts) {
        let span = spans.iter().find(|at| at.value == homes && homes.ends_with(HOMES));
        span.into_iter().for_each(|at| diagnostics.note(&at.span, told.clone()));
    }
    lasts(section, &mut mounts, diagnostics);
    mounts
}

/// The end of a place that stands for each name there is on a file server.
pub const HOMES: &str = "/*";

/// What is said in a word.
fn short(text: &str) -> Result<What, String> {
    if text == "none" {
        return Ok(What::Nothing);
    }
    nfs(text).map(What::Nfs).map_err(|cause| format!("{cause}; say {FORMS}"))
}

/// What is said in a table.
fn long(mut table: Section<'_>, places: &mut Places, diagnostics: &mut Diagnostics) -> Option<Mount> {
    let profile = table.string(diagnostics, "profile").map(|at| What::Profile(places.keep("mounts", at)));
    let from = table.string(diagnostics, "nfs");
    let from = from.and_then(|at| at.check(diagnostics, |text| nfs(&text))).map(|at| What::Nfs(at.value));
    let source =
        table.string(diagnostics, "device").and_then(|at| at.check(diagnostics, |text| device(&text)));
    let kind = table.string(diagnostics, "type").and_then(|at| at.check(diagnostics, |text| kind(&text)));
    let options =
        table.string(diagnostics, "options").and_then(|at| at.check(diagnostics, |text| options(&text)));
    let required = table.boolean(diagnostics, "required").is_some_and(|at| at.value);
    let automount = table.boolean(diagnostics, "automount");
    let said = ["profile", "nfs", "device"].into_iter().filter(|key| table.has(key)).count();
    if said != 1 {
        diagnostics.note(&table.span, "must say one of `profile`, `nfs` and `device`");
    }
    if table.has("device") {
        table.missing(diagnostics, "type", "its file system, such as \"ext4\" or \"tmpfs\"");
    } else if let Some(at) = &kind {
        diagnostics.note(&at.span, "goes with `device`");
    }
    let other = profile.is_none().then_some(());
    if let (None, Some(at)) = (other, &options) {
        diagnostics
            .note(&at.span, "goes with `nfs` or `device`: a profile is a part of the machine's own tree");
    }
    if let (None, Some(at)) = (other, &automount) {
        diagnostics
            .note(&at.span, "goes with `nfs` or `device`: a profile is there with the machine's own tree");
    }
    if let Some(at) = automount.as_ref().filter(|at| at.value && required) {
        diagnostics.note(&at.span, "and `required` say two things: it is mounted before the machine comes up, or when somebody looks");
    }
    table.finish(diagnostics);
    let device =
        source.zip(kind).map(|(source, kind)| What::Device { source: source.value, kind: kind.value });
    let what = profile.or(from).or(device)?;
    // A server that is down for an hour must cost no machine more than whoever looks there in that hour.
    let automount = automount.map_or(matches!(what, What::Nfs(_)) && !required, |at| at.value);
    Some(Mount { what, options: options.map(|at| at.value).unwrap_or_default(), required, automount })
}

/// A place in the tree.
pub(crate) fn place(text: String) -> Result<String, String> {
    let path = text.strip_suffix(HOMES).unwrap_or(&text);
    let names =
        path.strip_prefix('/').ok_or_else(|| format!("{text:?} must be a path in the tree, from /"))?;
    let is_plain = names.split('/').all(|name| !matches!(name, "" | "." | ".."));
    let is_in = |taken: &&&str| Path::new(path).starts_with(**taken);
    if !is_plain {
        Err(format!("{text:?} must name a directory below /, without empty names, `.` and `..`"))
    } else if let Some(taken) = TAKEN.iter().find(is_in) {
        Err(format!("{taken} is the machine's own: nothing can be mounted in it"))
    } else {
        word(path, "/._-+@")?;
        let unit: usize = path.chars().map(|letter| if "-+@".contains(letter) { 4 } else { 1 }).sum();
        if unit > LONGEST_UNIT {
            return Err(format!("{text:?} is too long for the name of a unit"));
        }
        Ok(text)
    }
}

/// Text that every program which reads it takes as it stands: systemd, mount(8), fstab(5), autofs(5).
fn word(text: &str, besides: &str) -> Result<(), String> {
    let is_good = |letter: char| letter.is_ascii_alphanumeric() || besides.contains(letter);
    match text.chars().find(|letter| !is_good(*letter)) {
        _ if text.is_empty() => Err("is empty".to_owned()),
        _ if text.len() > LONGEST => Err(format!("has more than {LONGEST} bytes")),
        Some(letter) => {
            Err(format!("{text:?} has {letter:?} in it; letters, digits and {besides} are taken"))
        }
        None => Ok(()),
    }
}

/// `SERVER:/PATH`, with an IPv6 address in brackets.
pub(crate) fn nfs(text: &str) -> Result<String, String> {
    let (server, path) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once("]:").unwrap_or_default(),
        None => text.split_once(':').unwrap_or_default(),
    };
    if server.is_empty() || !path.starts_with('/') || path.split('/').any(|name| name == "..") {
        return Err(format!("{text:?} is no directory of a file server, such as \"nas:/export/home\""));
    }
    let plain = path.replace(NAME, "name");
    if plain.contains(['{', '}']) {
        return Err(format!(
            "{text:?} has a brace in it that is not {NAME}, which stands for the machine's name"
        ));
    }
    word(server, "._-:").and_then(|()| word(&plain, "/._-+@~=,&"))?;
    Ok(text.to_owned())
}

/// What fstab(5) has in its first field.
fn device(text: &str) -> Result<String, String> {
    word(text, "/._-+@~=:,").map(|()| text.to_owned())
}

/// A file system's name.
fn kind(text: &str) -> Result<String, String> {
    word(text, "._-").map(|()| text.to_owned())
}

/// Options, as mount(8) takes them.
pub(crate) fn options(text: &str) -> Result<Vec<String>, String> {
    word(text, "/._-+@~=:,")
        .map(|()| text.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect())
}
