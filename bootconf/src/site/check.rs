//! From site files to a checked [`Site`], or to all that is wrong with them at once.
//!
//! A file is read whole and bounded, parsed with places, then table by table ([`crate::site::tables`]), then the tables are
//! compared with each other ([`crate::site::validate`]). Each step goes on after a mistake, so that one run tells them all.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use oneroot_tree::confine::open_file;
use toml::de::DeTable;

use crate::site::draft::Draft;
use crate::site::report::{Problem, Report, Span, line_and_column};
use crate::site::rules::Rule;
use crate::site::section::{Diagnostics, Section};
use crate::site::table::Table;
use crate::site::tables;
use crate::site::{Lookup, Site};

/// A site file that is larger was not written by a person.
const LARGEST: u64 = 16 * 1024 * 1024;
/// `S_ISVTX`.
const STICKY: u32 = 0o1000;
/// What is told of one site at most; a file of nothing but mistakes is one mistake.
const MOST_TOLD: usize = 1000;

/// One file of a site.
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// Reads `site.toml` at `path` and the files of `machines.d` beside it, in the order of their names.
///
/// # Errors
/// A [`Report`] with every mistake.
pub fn load(path: &Path) -> Result<Site, Report> {
    // Absolute, for a layer is known by its path: it must be the same one from whatever directory a command is run.
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let home = whole.parent().unwrap_or(Path::new("/"));
    let mut unreadable = Vec::new();
    let mut names = vec![path.to_owned()];
    let beside = home.join("machines.d");
    match beside_site(&beside) {
        Ok(more) => names.extend(more),
        // Machines that can't be read must not look like machines that were taken away.
        Err(cause) => unreadable.push(whole_file(&beside, cannot_be_read(&cause))),
    }
    unreadable.extend([home, &beside].into_iter().filter_map(|directory| {
        let meta = fs::metadata(directory).ok()?;
        // In a directory like /tmp nobody can take another's file away.
        let reason = open_to_all(meta.mode()).filter(|_| meta.mode() & STICKY == 0)?;
        Some(whole_file(directory, reason))
    }));
    let mut files = Vec::new();
    for name in names {
        match read(&name) {
            Ok(text) => files.push(File { name: name.display().to_string(), text }),
            Err(reason) => unreadable.push(whole_file(&name, reason)),
        }
    }
    if unreadable.is_empty() {
        return check(&files, home);
    }
    // Only what is inside the other files can be told: without the missing one, names that it has would seem not to exist.
    let (_, diagnostics) = read_tables(&files, home);
    unreadable.extend(told(diagnostics, &files));
    Err(Report { problems: unreadable })
}

/// Where a site says that its state is, whatever else is wrong with it: for asking a server that runs with the site as it
/// was. `None` where nothing of its `[server]` can be read.
#[must_use]
pub fn state_of(path: &Path) -> Option<PathBuf> {
    let whole = std::path::absolute(path).ok()?;
    let text = read(path).ok()?;
    let (root, errors) = DeTable::parse_recoverable(&text);
    let server = root.get_ref().get("server").and_then(|server| server.get_ref().as_table());
    // Where a line is no TOML, nothing is said of a table of which nothing could be read.
    let server = server.filter(|server| errors.is_empty() || !server.is_empty());
    if server.is_none() && !errors.is_empty() {
        return None;
    }
    let said = server.and_then(|server| server.get("state")).and_then(|state| state.get_ref().as_str());
    Some(whole.parent()?.join(said.unwrap_or(tables::STATE)))
}

/// Reads a site from text, with relative paths taken from `home`; for tests and for `oneroot init`'s example.
///
/// # Errors
/// A [`Report`] with every mistake.
pub fn load_str(name: &str, text: &str, home: &Path) -> Result<Site, Report> {
    check(&[File { name: name.to_owned(), text: text.to_owned() }], home)
}

fn whole_file(path: &Path, reason: String) -> Problem {
    let file = path.display().to_string();
    Problem { file, line: 0, column: 0, key: String::new(), reason, hint: None }
}

fn beside_site(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut more = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<PathBuf>>>()?;
    // An editor's copy of a file, `.lab.toml.swp` or `.#lab.toml`, is no second file.
    let hidden =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    more.retain(|path| path.extension().is_some_and(|end| end == "toml") && !hidden(path));
    // A directory has no order: which of two machines of one name is told of must be the same each time.
    more.sort();
    Ok(more)
}

fn cannot_be_read(cause: &std::io::Error) -> String {
    match cause.kind() {
        ErrorKind::PermissionDenied => {
            format!("cannot be read: {cause}; run this as root, or as a user who may read it")
        }
        _ => format!("cannot be read: {cause}"),
    }
}

/// What is wrong with a mode by which everybody may write: a site says what is run as root, and what machines run.
fn open_to_all(mode: u32) -> Option<String> {
    let mode = mode & 0o7777;
    (mode & 0o002 != 0).then(|| {
        format!("can be changed by every user (mode {mode:04o}), and what a site says is run as root; chmod o-w it")
    })
}

fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = open_file(path).map_err(|cause| match cause.kind() {
        ErrorKind::InvalidInput => "is not a regular file".to_owned(),
        _ => cannot_be_read(&cause),
    })?;
    // Of the file that is open, and not of what has its name by now.
    let meta = file.metadata().map_err(|cause| cannot_be_read(&cause))?;
    if let Some(reason) = open_to_all(meta.mode()) {
        return Err(reason);
    }
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|cause| cannot_be_read(&cause))?;
    if bytes.len() as u64 > LARGEST {
        return Err("is larger than 16 MiB, too large for a site file".to_owned());
    }
    String::from_utf8(bytes).map_err(|cause| {
        format!("is not UTF-8 from byte {} on; save it as UTF-8", cause.utf8_error().valid_up_to())
    })
}

fn check(files: &[File], home: &Path) -> Result<Site, Report> {
    let (draft, mut diagnostics) = read_tables(files, home);
    // What the parser could make of a broken file would only give rise to more complaints.
    if !draft.partial {
        crate::site::validate::tables(&draft, &mut diagnostics);
        crate::site::rule_checks::rules(&draft, &mut diagnostics);
        crate::site::paths::compare(&draft, &mut diagnostics);
    }
    let problems = told(diagnostics, files);
    match draft.server {
        Some(server) if problems.is_empty() => {
            let machines = plain(draft.machines);
            Ok(Site {
                home: home.to_owned(),
                server,
                networks: draft.networks.into_iter().map(|network| network.value).collect(),
                profiles: plain(draft.profiles),
                workloads: plain(draft.workloads),
                groups: in_order(draft.groups),
                rules: with_lines(draft.rules, files),
                lookup: Lookup::of(&machines),
                machines,
                menus: plain(draft.menus),
                unknown: draft.unknown.and_then(|unknown| unknown.value),
                decide: draft.decide,
                make_secrets: draft.make_secrets,
                vars: draft.vars,
            })
        }
        _ => Err(Report { problems }),
    }
}

/// Rules, each with its line.
fn with_lines(rules: Vec<Table<Rule>>, files: &[File]) -> Vec<Rule> {
    let rules = rules.into_iter().map(|Table { value, span, .. }| {
        let file = files.get(span.file);
        let line = file.map_or(0, |file| line_and_column(&file.text, span.span.start).0);
        Rule { line, ..value }
    });
    rules.collect()
}

/// Tables in the order in which they stand.
fn in_order<T>(tables: BTreeMap<String, Table<T>>) -> Vec<(String, T)> {
    let mut tables: Vec<(String, Table<T>)> = tables.into_iter().collect();
    tables.sort_by_key(|(_, table)| table.order());
    tables.into_iter().map(|(name, table)| (name, table.value)).collect()
}

fn plain<T>(tables: BTreeMap<String, Table<T>>) -> BTreeMap<String, T> {
    tables.into_iter().map(|(name, table)| (name, table.value)).collect()
}

fn read_tables(files: &[File], home: &Path) -> (Draft, Diagnostics) {
    let (mut draft, mut diagnostics) = (Draft::default(), Diagnostics::default());
    for (number, file) in files.iter().enumerate() {
        let span = Span { file: number, span: 0..0, key: String::new() };
        let text = file.text.strip_prefix('\u{feff}').unwrap_or(&file.text);
        if text.len() < file.text.len() {
            diagnostics.note(&span, "begins with a byte order mark; save it without one");
            draft.partial = true;
            continue;
        }
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let span = Span { span: error.span().unwrap_or(0..0), ..span.clone() };
            diagnostics.note(&span, syntax(text, span.span.start, error.message()));
        }
        if errors.is_empty() {
            draft.read(Section::new(root.get_ref(), span), home, number == 0, &mut diagnostics);
        }
        draft.partial |= !errors.is_empty();
    }
    (draft, diagnostics)
}

/// What is wrong with a line that is no TOML. Of the commonest two the parser's words say what TOML is like, and not what was
/// written.
fn syntax(text: &str, at: usize, message: &str) -> String {
    let start = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1);
    let line = text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let Some((key, value)) = line.split_once('=').filter(|_| message.contains("must be quoted")) else {
        return message.to_owned();
    };
    let (key, value) = (key.trim(), value.split('#').next().unwrap_or_default().trim());
    match value {
        "" => format!("`{key}` has no value"),
        word if word.chars().all(|char| char.is_alphanumeric() || "-_./:".contains(char)) => {
            format!("a string is written in quotes: {key} = \"{word}\"")
        }
        _ => message.to_owned(),
    }
}

fn told(diagnostics: Diagnostics, files: &[File]) -> Vec<Problem> {
    let mut all = diagnostics.0;
    all.sort_by_key(|(span, ..)| (span.file, span.span.start));
    let more = all.len().saturating_sub(MOST_TOLD);
    let problem = |(span, reason, hint): (Span, String, Option<String>)| {
        let file = files.get(span.file);
        let (line, column) = file.map_or((0, 0), |file| line_and_column(&file.text, span.span.start));
        let name = file.map_or(String::new(), |file| file.name.clone());
        Problem { file: name, line, column, key: span.key, reason, hint }
    };
    let mut problems: Vec<Problem> = all.into_iter().take(MOST_TOLD).map(problem).collect();
    if let (true, Some(last)) = (more > 0, problems.last()) {
        problems.push(whole_file(Path::new(&last.file), format!("and {more} mistakes more")));
    }
    problems
}
