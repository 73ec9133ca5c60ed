//! `oneroot generations`, `rollback` and `diff`: what was staged when, going back, and what changed between two.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use indicatif::HumanBytes;
use oneroot_bootconf::Site;
use oneroot_bootconf::decision::parts;
use oneroot_ids::GenerationId;
use oneroot_tree::diff::{Aspect, Change, Counts, diff};
use oneroot_tree::node::Kind;
use oneroot_tree::store::{History, How, Staged};
use oneroot_tree::{Ref, Store};
use serde::Serialize;
use serde_json::json;

use super::meant;
use super::names::{called, is, short};
use super::status::age;
use super::tell;
use crate::cli::Exit;
use crate::clock;
use crate::print;
use oneroot_machines::planner::{reference, shown};

/// Fewest characters by which a generation may be called.
const SHORTEST: usize = 6;

#[derive(Serialize)]
struct Line {
    name: String,
    /// How many before the present one: 0 is what machines boot now. What waits behind a rollback counts too.
    back: usize,
    generation: String,
    /// Seconds since 1970.
    at: u64,
    /// How it became the head: staged, edited, rolled-back, rolled-forward; or waiting, if it was staged while a rollback held.
    how: &'static str,
    /// Paths in it, its root too.
    entries: u64,
    /// Of all contents, holes too.
    bytes: u64,
}

/// The references that a name means: a profile's, machine's or layer's; all of the site's for no name.
fn references(site: &Site, name: Option<&str>) -> Result<Vec<(String, Ref)>> {
    let wanted =
        parts(site).into_iter().map(|(part, _)| part).filter(|part| name.is_none_or(|name| is(part, name)));
    wanted.map(|part| Ok((shown(&part), reference(&site.home, &part)?))).collect()
}

/// `oneroot generations [NAME]`.
pub fn list(site: &Site, name: Option<&str>, json: bool) -> Result<Exit> {
    let store = Store::open(&site.server.store)?;
    let mut lines = Vec::new();
    let found = references(site, name)?;
    if let Some(name) = name.filter(|_| found.is_empty()) {
        bail!("the site has no profile, machine or layer {name:?}{}", like(site, name));
    }
    for (shown, reference) in found {
        for (back, staged) in store.history(&reference)?.all().iter().enumerate() {
            let index = store.generation(staged.generation);
            let (entries, bytes) = index.map_or((0, 0), |index| (index.paths(), index.content_bytes()));
            let generation = staged.generation.to_string();
            lines.push(Line {
                name: shown.clone(),
                back,
                generation,
                at: staged.at,
                how: staged.how.as_str(),
                entries,
                bytes,
            });
        }
    }
    if json {
        print::json(&lines)?;
        return Ok(Exit::Done);
    }
    let mut rows = vec![["NAME", "GENERATION", "", "SINCE", "HOW", "ENTRIES", "CONTENTS"].map(str::to_owned)];
    rows.extend(lines.iter().map(|line| {
        [
            line.name.clone(),
            line.generation.chars().take(12).collect(),
            if line.back == 0 { "now".to_owned() } else { format!("~{}", line.back) },
            ago(line.at),
            line.how.to_owned(),
            line.entries.to_string(),
            HumanBytes(line.bytes).to_string(),
        ]
    }));
    print::rows(&rows)?;
    Ok(Exit::Done)
}

/// `oneroot rollback NAME [GENERATION]`: to the one before, or to any that the name has had.
pub fn rollback(site: &Site, name: &str, to: Option<&str>, json: bool) -> Result<Exit> {
    let store = Store::open(&site.server.store)?;
    let found = references(site, Some(name))?;
    let [(shown, reference)] = found.as_slice() else {
        ensure!(!found.is_empty(), "the site has no profile, machine or layer {name:?}{}", like(site, name));
        bail!("the site has {} profiles, machines or layers {name:?}; rollback takes one", found.len());
    };
    let history = store.history(reference)?;
    let head =
        history.head().with_context(|| format!("{shown} is not staged; run `oneroot stage {name}`"))?;
    let to = match to {
        Some(text) => one_of(&history, text)?,
        None => before(&history, shown, name)?,
    };
    ensure!(to != head.generation, "{shown} is {} already, since {}", short(to), ago(head.at));
    // What it points to must be whole before anything boots from it.
    store.generation(to)?;
    let how = history.way_to(to);
    let staged = Staged { generation: to, at: clock::now(), how };
    // "The one before" is another one, if somebody has staged meanwhile.
    ensure!(
        store.move_head(reference, head, staged)?,
        "{shown} was staged or rolled back meanwhile; look at `oneroot generations {name}`, and roll back again"
    );
    let left = short(head.generation);
    let holds = match how {
        How::RolledForward => String::new(),
        _ => format!(
            "; `oneroot stage` no longer moves it: once the source is right, stage it, and \
             `oneroot rollback {name} GENERATION` with the new one"
        ),
    };
    let document = json!({
        "name": shown,
        "generation": to.to_string(),
        "left": head.generation.to_string(),
        "how": how.as_str(),
    });
    let words = format!(
        "{shown} is {} again for new boots, and was {left}; running machines keep what they booted{holds}",
        short(to)
    );
    tell(json, &document, words)
}

/// The generation before the head, unless that is what a rollback has left.
fn before(history: &History, shown: &str, name: &str) -> Result<GenerationId> {
    if let Some(held) = history.held() {
        bail!(
            "{shown} was rolled back {} already, and the generation before that is the one that it was rolled back from; \
             say which one is meant: `oneroot generations {name}` lists them, and `oneroot rollback {name} GENERATION` takes it",
            ago(held.at)
        );
    }
    let before =
        history.all().get(1).with_context(|| format!("{shown} has no generation before this one"))?;
    Ok(before.generation)
}

/// What of the site may have been meant.
fn like(site: &Site, name: &str) -> String {
    meant(name, parts(site).iter().map(|(part, _)| called(part)))
}

fn ago(at: u64) -> String {
    format!("{} ago", age(clock::now().saturating_sub(at)))
}

fn one_of(history: &History, text: &str) -> Result<GenerationId> {
    one_of_all(history.all(), text)
}

fn one_of_all(history: &[Staged], text: &str) -> Result<GenerationId> {
    if let Some(back) = text.strip_prefix('~').and_then(|back| back.parse::<usize>().ok()) {
        return Ok(history
            .get(back)
            .with_context(|| match history.len() {
                0 | 1 => "there is not a generation before the present one; nothing to go back to".to_owned(),
                count => format!(
                    "there are {} generations before the present one, so ~{back} is none of them",
                    count - 1
                ),
            })?
            .generation);
    }
    ensure!(text.len() >= SHORTEST, "{text:?} is too short for a generation's name");
    let mut fits: Vec<GenerationId> = history
        .iter()
        .map(|staged| staged.generation)
        .filter(|id| id.to_string().starts_with(text))
        .collect();
    fits.sort_unstable();
    fits.dedup();
    match fits.as_slice() {
        [one] => Ok(*one),
        [] => bail!("it never had a generation {text}; see `oneroot generations`"),
        _ => bail!("{text} means several generations; say more of it"),
    }
}

/// The generation that a person means: `NAME`, `NAME~2`, or the first characters of a generation of the site.
pub fn find(site: &Site, store: &Arc<Store>, text: &str) -> Result<GenerationId> {
    let (name, back) =
        text.split_once('~').map_or((text, None), |(name, back)| (name, Some(format!("~{back}"))));
    let named = references(site, Some(name))?;
    if let [(shown, reference)] = named.as_slice() {
        let history = store.history(reference)?;
        return one_of(&history, back.as_deref().unwrap_or("~0")).with_context(|| shown.clone());
    }
    ensure!(
        named.is_empty(),
        "{name:?} means several: {}",
        named.iter().map(|(shown, _)| shown.as_str()).collect::<Vec<_>>().join(", ")
    );
    let mut all = Vec::new();
    for (_, reference) in references(site, None)? {
        all.extend_from_slice(store.history(&reference)?.all());
    }
    one_of_all(&all, text).with_context(|| {
        format!("the site has no machine, profile or layer {name:?}, nor a generation{}", like(site, name))
    })
}

#[derive(Serialize)]
struct DiffLine {
    change: &'static str,
    path: String,
    what: String,
}

/// `oneroot diff A B`.
pub fn compare(site: &Site, a: &str, b: &str, json: bool) -> Result<Exit> {
    let store = Store::open(&site.server.store)?;
    let (old, new) = (find(site, &store, a)?, find(site, &store, b)?);
    let differences = diff(&store.generation(old)?, &store.generation(new)?);
    let counts = Counts::of(&differences);
    let lines: Vec<DiffLine> = differences
        .into_iter()
        .map(|difference| {
            let (change, what) = match difference.what {
                Change::Added(kind) => ("added", word(kind).to_owned()),
                Change::Removed(kind) => ("removed", word(kind).to_owned()),
                Change::Changed(aspects) => {
                    ("changed", aspects.into_iter().map(aspect).collect::<Vec<_>>().join(", "))
                }
            };
            DiffLine { change, path: format!("/{}", difference.path.escape_ascii()), what }
        })
        .collect();
    if json {
        print::json(&lines)?;
        return Ok(Exit::Done);
    }
    let rows: Vec<[String; 3]> =
        lines.iter().map(|line| [line.change.to_owned(), line.path.clone(), line.what.clone()]).collect();
    print::text(print::table(&rows))?;
    print::line(format_args!("{} -> {}: {counts}", short(old), short(new)))?;
    Ok(Exit::Done)
}

fn aspect(aspect: Aspect) -> &'static str {
    match aspect {
        Aspect::Kind => "kind",
        Aspect::Content => "content",
        Aspect::Mode => "mode",
        Aspect::Owner => "owner",
        Aspect::Time => "time",
        Aspect::Attributes => "attributes",
    }
}

/// A kind of node, for people.
pub fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Regular => "file",
        Kind::Directory => "directory",
        Kind::OpaqueDirectory => "directory that begins anew",
        Kind::Symlink => "symbolic link",
        Kind::Character => "character device",
        Kind::Block => "block device",
        Kind::Fifo => "pipe",
        Kind::Socket => "socket",
        Kind::Whiteout => "whiteout",
    }
}
