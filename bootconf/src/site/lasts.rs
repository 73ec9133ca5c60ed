//! What lasts of what a machine writes: the `lasts` table of a profile, group, workload, rule or machine (docs/decisions/0024). It is one
//! table by place with `mounts`: of one place the nearest word of the two counts.

use std::path::Path;

use oneroot_initrd::settings::size as amount;

use crate::site::hides::conflicts;
use crate::site::mounts::{EARLY, HOMES, Mount, Mounts, NAME, TOO_EARLY, What, nfs, options, place};
use crate::site::section::{Diagnostics, Item, Located, Section};

/// What may stand where it is said.
const FORMS: &str =
    "\"volatile\", \"copied\", \"empty\", \"SERVER:/PATH\", or a table such as { empty = \"2g\" }";
/// What a tmpfs may have at most where nothing is said, as the kernel itself has it.
const HALF: &str = "50%";
/// Directories that a machine can't have empty.
const NEEDED: [&str; 6] = ["/etc", "/usr", "/bin", "/sbin", "/lib", "/lib64"];
/// Words for mount(8) by which nothing could be written there, or not from the beginning.
const UNFIT: [&str; 3] = ["bg", "ro", "noauto"];
/// Why a disk of the machine's own is none of the words.
const LOCAL: &str = "\"local\" is reserved for a disk of the machine's own, which is not made here yet: \
                     say { device = \"LABEL=…\", type = \"ext4\" } in `mounts` for one that has a file system";
/// And what is to be said for a file server's.
const SERVER: &str =
    "\"server\" needs the directory that has what lasts of this machine, such as \"nas:/state/{name}\"";

/// Takes what a table says of it into what that mounts.
pub(crate) fn lasts(section: &mut Section<'_>, mounts: &mut Mounts, diagnostics: &mut Diagnostics) {
    // All machines of any other table would write into one directory.
    let is_ones_own = section.span.key.starts_with("machine.");
    let mut said = Vec::new();
    for (at, item) in section.each(diagnostics, "lasts", FORMS) {
        let span = at.span.clone();
        let lasting = match item {
            Item::Text(text) => text.check(diagnostics, |text| short(&text)).map(|said| said.value),
            Item::Table(table) => long(table, diagnostics),
        };
        let (Some(at), Some(lasting)) = (at.check(diagnostics, place), lasting) else { continue };
        match refused(&at.value, &lasting.what, is_ones_own) {
            Some(told) => diagnostics.note(&span, told),
            None if mounts.contains_key(&at.value) => {
                diagnostics.note(&span, "is in `mounts` of this table, too; say one of the two");
            }
            None => said.push((at, lasting)),
        }
    }
    let mut spans = Vec::new();
    for (Located { value, span }, lasting) in said {
        spans.push((value.clone(), span));
        mounts.insert(value, lasting);
    }
    for (at, told) in conflicts(mounts) {
        // What `mounts` says by itself is as it was.
        if let Some((_, span)) = spans.iter().find(|(place, _)| *place == at.0 || *place == at.1) {
            diagnostics.note(span, told);
        }
    }
}

/// What is said in a word.
fn short(text: &str) -> Result<Mount, String> {
    let half = HALF.to_owned();
    Ok(Mount::of(match text {
        "volatile" => What::Nothing,
        "copied" => What::Copied(half),
        "empty" => What::Empty(half),
        "local" => return Err(LOCAL.to_owned()),
        "server" => return Err(SERVER.to_owned()),
        _ => What::Server(nfs(text).map_err(|cause| format!("{cause}; say {FORMS}"))?),
    }))
}

/// What is said in a table.
fn long(mut table: Section<'_>, diagnostics: &mut Diagnostics) -> Option<Mount> {
    let mut memory = |key| {
        let text = table.string(diagnostics, key)?;
        text.check(diagnostics, |text| size(&text)).map(|at| at.value)
    };
    let (copied, empty) = (memory("copied"), memory("empty"));
    let server = table.string(diagnostics, "server").and_then(|at| at.check(diagnostics, |text| nfs(&text)));
    let words =
        table.string(diagnostics, "options").and_then(|at| at.check(diagnostics, |text| options(&text)));
    let required = table.boolean(diagnostics, "required").is_some_and(|at| at.value);
    let said = ["copied", "empty", "server"].into_iter().filter(|key| table.has(key)).count();
    if said != 1 {
        diagnostics.note(&table.span, "must say one of `copied`, `empty` and `server`");
    }
    if let Some(at) = words.as_ref().filter(|_| !table.has("server")) {
        diagnostics.note(&at.span, "goes with `server`");
    }
    if let Some(at) = &words
        && let Some(word) = UNFIT.iter().find(|word| at.value.iter().any(|said| said == *word))
    {
        let told = format!(
            "{word} and what lasts don't go together: it is mounted before anybody writes there, or not at all"
        );
        diagnostics.note(&at.span, told);
    }
    table.finish(diagnostics);
    let what = copied.map(What::Copied).or(empty.map(What::Empty));
    let what = what.or(server.map(|at| What::Server(at.value)))?;
    let automount = matches!(what, What::Server(_)) && !required;
    Some(Mount { what, options: words.map(|at| at.value).unwrap_or_default(), required, automount })
}

/// An amount of memory, as tmpfs takes it.
fn size(text: &str) -> Result<String, String> {
    let size = amount(text).ok_or_else(|| {
        format!("{text:?} is no amount of memory such as \"2g\", \"512m\" or \"10%\", of 1 MiB at least")
    })?;
    Ok(size.to_string())
}

/// Whether a place is systemd's own, which it needs before it has a network.
fn is_systemds(at: &str) -> bool {
    Path::new(at).starts_with("/var/lib/systemd")
}

/// Why this can't be at a place.
fn refused(at: &str, what: &What, is_ones_own: bool) -> Option<String> {
    match what {
        _ if at.ends_with(HOMES) => {
            Some("is for homes of a file server; say it in `mounts`, or without the /*".to_owned())
        }
        What::Empty(_) if NEEDED.contains(&at) => {
            Some("is what the machine runs; nothing comes up where that is empty".to_owned())
        }
        What::Server(_) if EARLY.contains(&at) || is_systemds(at) => Some(TOO_EARLY.to_owned()),
        What::Server(source) if !is_ones_own && !source.contains(NAME) => Some(format!(
            "has {source} for all its machines, and each needs one of its own: put {NAME} in the path, or say it in a machine's table"
        )),
        _ => None,
    }
}
