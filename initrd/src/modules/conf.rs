//! What a tree's admin says of modules, in modprobe.d(5), and what the kernel's command line says of them as kmod takes it.
//!
//! | line | what becomes of it |
//! |---|---|
//! | `alias PATTERN MODULE` | asked before the module's own name and before `modules.alias` |
//! | `blacklist MODULE` | no device and no alias loads it; its name does |
//! | `install MODULE /bin/true`, `… /bin/false` | nothing loads it but what a root can't be mounted without, nor what needs it |
//! | any other `install`, and `remove` | nothing: there is no shell to run it |
//! | `options MODULE …` | the kernel is told them when it is loaded, all lines of a module in their order |
//! | `softdep MODULE …` | as a line of `modules.softdep` |
//! | `modprobe.blacklist=A,B`, `MODULE.PARAMETER=VALUE` on the command line | `blacklist` of each; `options`, the last of all |

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::{BadTables, LONGEST, folded, lines};

/// Bytes of all of it.
pub const LARGEST: usize = 256 << 10;
/// Lines that say something.
pub const MOST: usize = 4096;
/// Bytes of the options of one module: a line that does not fit any more is left out.
pub const LONGEST_OPTIONS: usize = 1024;
/// Programs that do nothing: who says them as a module's `install` wants it not loaded.
const NOTHING: [&str; 2] = ["true", "false"];

/// It.
#[derive(Debug, Default)]
pub(super) struct Conf<'t> {
    /// Patterns, and the modules that they stand for.
    pub aliases: Vec<(&'t str, &'t str)>,
    blacklist: HashSet<Cow<'t, str>>,
    off: HashSet<Cow<'t, str>>,
    options: HashMap<Cow<'t, str>, Vec<&'t str>>,
    /// What stands behind `softdep`.
    pub softdeps: Vec<&'t str>,
}

impl<'t> Conf<'t> {
    /// Reads lines that are whole, as [`joined`] writes them.
    pub fn parse(text: &'t str) -> Result<Self, BadTables> {
        const NAME: &str = "modprobe.d";
        if text.len() > LARGEST {
            return Err(BadTables::TooLarge(NAME));
        }
        let mut conf = Self::default();
        for (number, line) in lines(text).enumerate() {
            if number == MOST {
                return Err(BadTables::TooMany(NAME));
            }
            // A line that says less than it has to is none, as for kmod.
            let _ = conf.take(line);
        }
        Ok(conf)
    }

    fn take(&mut self, line: &'t str) -> Option<()> {
        let (word, rest) = first(line)?;
        let (name, rest) = first(rest)?;
        let more = || Some(rest).filter(|rest| !rest.is_empty() && !rest.contains('\0'));
        match word {
            "alias" if name.len() <= LONGEST => self.aliases.push((name, first(rest)?.0)),
            "blacklist" => drop(self.blacklist.insert(folded(name))),
            "install" => {
                let program = first(rest)?.0.rsplit('/').next()?;
                NOTHING.contains(&program).then(|| self.off.insert(folded(name)));
            }
            "options" => {
                let (more, known) = (more()?, self.options.entry(folded(name)).or_default());
                let before: usize = known.iter().map(|known| known.len() + 1).sum();
                (before + more.len() <= LONGEST_OPTIONS).then(|| known.push(more));
            }
            "softdep" => self.softdeps.push(line.strip_prefix(word)?),
            _ => {}
        }
        Some(())
    }

    pub fn is_blacklisted(&self, name: &str) -> bool {
        self.blacklist.contains(folded(name).as_ref())
    }

    pub fn has_off(&self) -> bool {
        !self.off.is_empty()
    }

    pub fn is_off(&self, name: &str) -> bool {
        self.off.contains(folded(name).as_ref())
    }

    /// The options of a module, as the kernel takes them.
    pub fn options(&self, name: &str) -> String {
        self.options.get(folded(name).as_ref()).map(|lines| lines.join(" ")).unwrap_or_default()
    }

    /// All aliases, for one that leads elsewhere says what does not drive a device; and of these modules the rest but softdeps.
    pub fn narrowed(&self, names: &[Cow<'_, str>]) -> String {
        let mut text = String::new();
        for (pattern, module) in &self.aliases {
            text += &format!("alias {pattern} {module}\n");
        }
        for name in names {
            if self.is_blacklisted(name) {
                text += &format!("blacklist {name}\n");
            }
            if self.is_off(name) {
                text += &format!("install {name} /bin/false\n");
            }
            let options = self.options(name);
            if !options.is_empty() {
                text += &format!("options {name} {options}\n");
            }
        }
        text
    }
}

/// The first word, and what is behind it without the space around.
fn first(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_ascii_start();
    let end = text.find(|char: char| char.is_ascii_whitespace()).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end).filter(|(word, _)| !word.is_empty())?;
    Some((word, rest.trim_ascii()))
}

/// Files of modprobe.d as one text of whole lines: one that ends in `\` goes on in the next.
#[must_use]
pub fn joined<'f>(files: impl IntoIterator<Item = &'f str>) -> String {
    let mut text = String::new();
    for file in files {
        text += &file.replace("\\\n", "");
        text.push('\n');
    }
    text
}

/// The words of the kernel's command line; a quote holds spaces together, as it does for the kernel.
pub fn words(line: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    line.split(move |char: char| {
        quoted ^= char == '"';
        char.is_ascii_whitespace() && !quoted
    })
    .filter(|word| !word.is_empty())
}

/// What the kernel's command line says of modules, as lines of modprobe.d.
#[must_use]
pub fn of_command_line(line: &str) -> String {
    let mut text = String::new();
    for word in words(line) {
        // A quote may be around all of it, or around the value.
        let is_quoted = word.starts_with('"');
        let word = if is_quoted { word.trim_matches('"') } else { word };
        let (key, value) = word.split_once('=').map_or((word, None), |(key, value)| (key, Some(value)));
        let Some((module, parameter)) = key.split_once('.') else { continue };
        let is_plain = |text: &str| !text.contains(['\0', '\n']);
        let is_name = |name: &str| {
            !name.is_empty()
                && !name.contains(|char: char| char == '"' || char == '\0' || char.is_ascii_whitespace())
        };
        if !is_name(module) || !is_name(parameter) || !value.is_none_or(is_plain) {
            continue;
        }
        text += &match (module, parameter, value) {
            ("modprobe", "blacklist", Some(names)) => {
                let names = names.split(',').filter(|name| is_name(name));
                names.map(|name| format!("blacklist {name}\n")).collect()
            }
            (_, _, None) => format!("options {module} {parameter}\n"),
            (_, _, Some(value)) if is_quoted => format!("options {module} {parameter}=\"{value}\"\n"),
            (_, _, Some(value)) => format!("options {module} {parameter}={value}\n"),
        };
    }
    text
}
