//! `[decide]`: the admin's program that says what machines boot; `[make_secrets]`: the one that makes their secrets; and what holds for a
//! run of either.

use std::path::{Path, PathBuf};

use crate::site::networks::seconds_of;
use crate::site::section::{Diagnostics, Located, Section};

/// A run that takes longer holds up the machine that waits for it, and its firmware gives up some time.
const LONGEST_RUN: u32 = 60;
/// And one that makes a secret: whoever has one made anew waits too, for a place and for the run.
const LONGEST_MAKING: u32 = 20;
/// How long an answer may count.
const LONGEST_KEPT: u32 = 86_400;
/// Runs at once: two, for one is kept for the machines that the site names, to as many as a small server has memory for.
const AT_ONCE: std::ops::RangeInclusive<u16> = 2..=32;

/// The `[decide]` or `[make_secrets]` table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Program {
    /// The program's file.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Seconds after which a run is ended.
    pub timeout: u32,
    /// Runs at once.
    pub at_once: u16,
    /// Seconds for which an answer counts for the same question; nobody asks for a secret that there is.
    pub cache: u32,
}

/// Reads `[decide]`.
pub(crate) fn decider(
    mut section: Section<'_>,
    home: &Path,
    diagnostics: &mut Diagnostics,
) -> Option<Program> {
    let cache = time(&mut section, "cache", (0, LONGEST_KEPT), "0s to one day", diagnostics);
    let told = "one second to one minute";
    let timeout = time(&mut section, "timeout", (1, LONGEST_RUN), told, diagnostics);
    Some(Program { cache: cache.unwrap_or(60), ..program(section, timeout, home, diagnostics)? })
}

/// Reads `[make_secrets]`.
pub(crate) fn maker(mut section: Section<'_>, home: &Path, diagnostics: &mut Diagnostics) -> Option<Program> {
    let told = "one to twenty seconds";
    let timeout = time(&mut section, "timeout", (1, LONGEST_MAKING), told, diagnostics);
    program(section, timeout, home, diagnostics)
}

/// What both have.
fn program(
    mut section: Section<'_>,
    timeout: Option<u32>,
    home: &Path,
    diagnostics: &mut Diagnostics,
) -> Option<Program> {
    let mut words = section.strings(diagnostics, "program", true).into_iter();
    let path = words.next().and_then(|at| file(at, home, diagnostics));
    let args = words.filter_map(|at| Some(word(at, diagnostics)?.value)).collect();
    section.required(diagnostics, "program", "the program's path, then its arguments");
    let at_once = section.number(diagnostics, "at_once", AT_ONCE);
    section.finish(diagnostics);
    Some(Program {
        path: path?,
        args,
        timeout: timeout.unwrap_or(5),
        at_once: at_once.map_or(4, |at| at.value),
        cache: 0,
    })
}

/// A path, which is looked for nowhere else: what `PATH` would find is not this file's to say.
fn file(at: Located<String>, home: &Path, diagnostics: &mut Diagnostics) -> Option<PathBuf> {
    let checked = word(at, diagnostics)?.check(diagnostics, |text| {
        if text.contains('/') {
            Ok(home.join(text))
        } else {
            Err(format!("must be a path, such as \"/usr/local/lib/{text}\" or \"./{text}\""))
        }
    });
    checked.map(|at| at.value)
}

/// A word of a command line.
fn word(at: Located<String>, diagnostics: &mut Diagnostics) -> Option<Located<String>> {
    at.check(diagnostics, |text| match text.contains('\0') {
        true => Err("has a zero byte, which no argument can have"),
        false => Ok(text),
    })
}

fn time(
    section: &mut Section<'_>,
    key: &'static str,
    (least, most): (u32, u32),
    told: &str,
    diagnostics: &mut Diagnostics,
) -> Option<u32> {
    let said = section.string(diagnostics, key)?.check(diagnostics, |text| {
        let seconds = seconds_of(&text)?;
        seconds
            .filter(|seconds| (least..=most).contains(seconds))
            .ok_or_else(|| format!("{text:?} must be from {told}"))
    });
    said.map(|at| at.value)
}
