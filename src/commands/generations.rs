//! `oneroot generations`, `rollback` and `diff`: what was staged when, going back, and what changed between two.

use anyhow::{Context as _, Result, bail, ensure};
use indicatif::HumanBytes;
use oneroot_bootconf::Site;
use oneroot_bootconf::decision::{Part, parts};
use oneroot_ids::GenerationId;
use oneroot_tree::diff::{Aspect, Change, Counts, Difference, diff};
use oneroot_tree::node::Kind;
use oneroot_tree::store::{History, How, Staged};
use oneroot_tree::{Ref, Store};
use serde::Serialize;

use super::look::Look;
use super::meant;
use super::names::{called, first, is, short};
use super::status::age;
use crate::clock;
use crate::print::{self, Document, Page};
use oneroot_machines::planner::{reference, shown};

/// Fewest characters by which a generation may be called.
const SHORTEST: usize = 6;

/// What was staged when, newest first.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Generations {
    lines: Vec<Line>,
    /// Seconds since 1970: ages are told as of then.
    #[serde(skip)]
    now: u64,
}

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

impl Document for Generations {
    fn page(&self) -> Page {
        let mut rows =
            vec![["NAME", "GENERATION", "", "SINCE", "HOW", "ENTRIES", "CONTENTS"].map(str::to_owned)];
        rows.extend(self.lines.iter().map(|line| {
            [
                line.name.clone(),
                first(&line.generation),
                if line.back == 0 { "now".to_owned() } else { format!("~{}", line.back) },
                ago(self.now, line.at),
                line.how.to_owned(),
                line.entries.to_string(),
                HumanBytes(line.bytes).to_string(),
            ]
        }));
        let mut page = Page::default();
        page.rows(&rows);
        page
    }
}

/// `oneroot generations [NAME]`.
pub fn list(site: &Site, name: Option<&str>) -> Result<Generations> {
    let store = Look::into_store_of(site)?;
    let mut lines = Vec::new();
    let found = references(site, name)?;
    if let Some(name) = name.filter(|_| found.is_empty()) {
        bail!("the site has no profile, machine or layer {name:?}{}", like(site, name));
    }
    for (shown, reference) in found {
        for (back, staged) in store.history(&reference)?.all().iter().enumerate() {
            // One that was lost keeps its line: when it was the head is known without it.
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
    Ok(Generations { lines, now: clock::now() })
}

/// A head that was moved back, or on.
#[derive(Serialize)]
pub struct RolledBack {
    name: String,
    generation: String,
    left: String,
    how: &'static str,
    /// The name as it was asked for.
    #[serde(skip)]
    asked: String,
    /// Whether `stage` moves the head again.
    #[serde(skip)]
    is_newest: bool,
}

impl Document for RolledBack {
    fn page(&self) -> Page {
        let Self { name, generation, left, asked, .. } = self;
        let holds = if self.is_newest {
            String::new()
        } else {
            format!(
                "; `oneroot stage` no longer moves it: once the source is right, stage it, and \
                 `oneroot rollback {asked} GENERATION` with the new one"
            )
        };
        Page::of_line(format_args!(
            "{name} is {} again for new boots, and was {}; running machines keep what they booted{holds}",
            first(generation),
            first(left)
        ))
    }
}

/// `oneroot rollback NAME [GENERATION]`: to the one before, or to any that the name has had.
pub fn rollback(site: &Site, name: &str, to: Option<&str>) -> Result<RolledBack> {
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
    ensure!(to != head.generation, "{shown} is {} already, since {}", short(to), ago(clock::now(), head.at));
    // What it points to must be whole before anything boots from it.
    store.generation(to)?;
    let how = history.way_to(to);
    let staged = Staged { generation: to, at: clock::now(), how };
    // "The one before" is another one, if somebody has staged meanwhile.
    ensure!(
        store.move_head(reference, head, staged)?,
        "{shown} was staged or rolled back meanwhile; look at `oneroot generations {name}`, and roll back again"
    );
    Ok(RolledBack {
        name: shown.clone(),
        generation: to.to_string(),
        left: head.generation.to_string(),
        how: how.as_str(),
        asked: name.to_owned(),
        is_newest: matches!(how, How::RolledForward),
    })
}

/// The generation that was the head before, unless that is what a rollback has left.
fn before(history: &History, shown: &str, name: &str) -> Result<GenerationId> {
    if let Some(held) = history.held() {
        bail!(
            "{shown} was rolled back {} already, and the generation before that is the one that it was rolled back from; \
             say which one is meant: `oneroot generations {name}` lists them, and `oneroot rollback {name} GENERATION` takes it",
            ago(clock::now(), held.at)
        );
    }
    let before = history.before().with_context(|| format!("{shown} has no generation before this one"))?;
    Ok(before.generation)
}

/// What of the site may have been meant.
fn like(site: &Site, name: &str) -> String {
    meant(name, parts(site).iter().map(|(part, _)| called(part)))
}

fn ago(now: u64, at: u64) -> String {
    format!("{} ago", age(now.saturating_sub(at)))
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
    // One that was rolled back to has been the head several times.
    fits.sort_unstable();
    fits.dedup();
    match fits.as_slice() {
        [one] => Ok(*one),
        [] => bail!("it never had a generation {text}; see `oneroot generations`"),
        _ => bail!("{text} means several generations; say more of it"),
    }
}

/// The generation that a person means: `NAME`, `NAME~2`, or the first characters of a generation of the site.
pub fn find(site: &Site, store: &Store, text: &str) -> Result<GenerationId> {
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

/// The profile and the generation of it that a person means: `NAME~2`, or the first characters of one.
pub fn of_profile(site: &Site, text: &str) -> Result<(String, GenerationId)> {
    let store = Look::into_store_of(site)?;
    let (name, back) =
        text.split_once('~').map_or((text, None), |(name, back)| (name, Some(format!("~{back}"))));
    let mut found = Vec::new();
    for (part, _) in parts(site) {
        let Part::Profile { name: profile } = &part else { continue };
        let history = store.history(&reference(&site.home, &part)?)?;
        if profile == name {
            let generation = one_of(&history, back.as_deref().unwrap_or("~0"));
            return Ok((profile.clone(), generation.with_context(|| shown(&part))?));
        }
        // Another profile may have it.
        found.extend(one_of(&history, text).ok().map(|generation| (profile.clone(), generation)));
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => bail!("no profile of the site has or had a generation {text:?}; see `oneroot generations`"),
        more => {
            let names: Vec<&str> = more.iter().map(|(name, _)| name.as_str()).collect();
            bail!("{text:?} is a generation of {}; say NAME~N", names.join(" and of "))
        }
    }
}

/// The generation of this profile that a person means: `~2`, or its first characters.
pub fn of_this_profile(site: &Site, profile: &str, text: &str) -> Result<(String, GenerationId)> {
    let store = Look::into_store_of(site)?;
    let part = Part::Profile { name: profile.to_owned() };
    ensure!(
        site.profiles.contains_key(profile),
        "the site has no profile {profile:?}{}",
        like(site, profile)
    );
    let history = store.history(&reference(&site.home, &part)?)?;
    one_of(&history, text).map(|found| (profile.to_owned(), found)).with_context(|| shown(&part))
}

/// What changed from one generation to another.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Diff {
    lines: Vec<DiffLine>,
    #[serde(skip)]
    from: GenerationId,
    #[serde(skip)]
    to: GenerationId,
    #[serde(skip)]
    counts: Counts,
}

#[derive(Serialize)]
pub struct DiffLine {
    change: &'static str,
    path: String,
    what: String,
}

impl Document for Diff {
    fn page(&self) -> Page {
        let rows: Vec<[String; 3]> = self.lines.iter().map(DiffLine::row).collect();
        let mut page = Page::default();
        page.text(print::table(&rows));
        page.line(format_args!("{} -> {}: {}", short(self.from), short(self.to), self.counts));
        page
    }
}

/// `oneroot diff A B`.
pub fn compare(site: &Site, a: &str, b: &str) -> Result<Diff> {
    let store = Look::into_store_of(site)?;
    let (from, to) = (find(site, &store, a)?, find(site, &store, b)?);
    let differences = diff(&store.generation(from)?, &store.generation(to)?);
    let counts = Counts::of(&differences);
    Ok(Diff { lines: differences.into_iter().map(DiffLine::of).collect(), from, to, counts })
}

impl DiffLine {
    /// A path that is not the same in two trees.
    pub fn of(difference: Difference) -> Self {
        let (change, what) = match difference.what {
            Change::Added(kind) => ("added", word(kind).to_owned()),
            Change::Removed(kind) => ("removed", word(kind).to_owned()),
            Change::Changed(aspects) => {
                ("changed", aspects.into_iter().map(aspect).collect::<Vec<_>>().join(", "))
            }
        };
        Self { change, path: format!("/{}", difference.path.escape_ascii()), what }
    }

    /// As a row of a table.
    pub fn row(&self) -> [String; 3] {
        [self.change.to_owned(), self.path.clone(), self.what.clone()]
    }
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
