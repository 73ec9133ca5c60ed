//! `oneroot stage`: every source of the site becomes a generation; machines get it at their next boot.

use anyhow::{Context as _, Result};
use indicatif::{HumanBytes, ProgressBar};
use oneroot_bootconf::decision::{Part, parts};
use oneroot_bootconf::{Site, Source};
use oneroot_sources::{Run, driver};
use oneroot_tree::diff::{Counts, diff};
use oneroot_tree::stage::{Finished, Noted, Progress};
use oneroot_tree::store::{How, Placed, Staged};
use oneroot_tree::{Stage, Store};
use serde::Serialize;
use std::sync::Arc;

use super::lacks::Budget;
use super::names::{called, first, is, short, titled};
use super::progress::{Shown, expect, spinner};
use super::{findings, layers};
use super::{host, meant};
use crate::cli::{Exit, StageHow};
use crate::clock;
use crate::print::{self, Document, Page};
use oneroot_machines::planner::reference;

/// What became of one source.
#[derive(Serialize)]
struct Outcome {
    name: String,
    generation: String,
    changed: bool,
    /// A rollback holds what new boots get: this waits.
    waits: bool,
    /// Paths in it, its root too.
    entries: u64,
    /// Of all contents, holes too.
    bytes: u64,
    /// Files that were not read, for they are as they were.
    unread: u64,
    new_objects: u64,
    /// Of the new objects' contents, holes too.
    new_bytes: u64,
    /// What those take of the store's disk.
    new_on_disk: u64,
    /// Bytes of contents that the store had already, or that the tree has several times.
    shared_bytes: u64,
    /// Paths that the generation before did not have, had otherwise, or had and this one has not.
    changes: Counts,
    /// What should be looked at before a machine boots it.
    warnings: Vec<String>,
}

/// A source that could not be staged.
#[derive(Serialize)]
struct Failed {
    name: String,
    /// Why, and what to do.
    error: String,
}

/// What was staged, and what was not.
#[derive(Serialize)]
pub struct Staging {
    staged: Vec<Outcome>,
    failed: Vec<Failed>,
}

impl Document for Staging {
    fn page(&self) -> Page {
        let Self { staged, failed } = self;
        let mut page = Page::default();
        if !staged.is_empty() {
            let head =
                ["STAGED", "GENERATION", "", "ENTRIES", "CONTENTS", "SHARED", "NEW ON DISK", "CHANGES"];
            let mut rows = vec![head.map(str::to_owned)];
            rows.extend(staged.iter().map(Outcome::row));
            page.rows(&rows);
        }
        for Outcome { name, warnings, .. } in staged {
            warnings.iter().for_each(|warning| page.trouble(format_args!("warning: {name}: {warning}")));
        }
        failed.iter().for_each(|Failed { error, .. }| page.trouble(format_args!("oneroot: {error}")));
        if !failed.is_empty() && !staged.is_empty() {
            let count = match failed.len() {
                1 => "one source".to_owned(),
                count => format!("{count} sources"),
            };
            page.trouble(format_args!("oneroot: {count} could not be staged; what the table shows was"));
        }
        page
    }

    fn exit(&self) -> Exit {
        if self.failed.is_empty() { Exit::Done } else { Exit::Failed }
    }
}

impl Outcome {
    /// What is to be said of it in a word.
    fn state(&self) -> &'static str {
        match (self.changed, self.waits) {
            (_, true) => "waits",
            (true, false) => "new",
            (false, false) => "unchanged",
        }
    }

    fn row(&self) -> [String; 8] {
        [
            self.name.clone(),
            first(&self.generation),
            self.state().to_owned(),
            self.entries.to_string(),
            HumanBytes(self.bytes).to_string(),
            HumanBytes(self.shared_bytes).to_string(),
            HumanBytes(self.new_on_disk).to_string(),
            if self.changed { self.changes.to_string() } else { String::new() },
        ]
    }
}

/// Stages what was named, or everything.
pub fn stage(site: &Site, names: &[String], how: StageHow, quiet: bool) -> Result<Staging> {
    let store = Store::open(&site.server.store)?;
    let all = parts(site);
    for name in names {
        anyhow::ensure!(
            all.iter().any(|(part, _)| is(part, name)),
            "the site has no profile, machine or layer {name:?}{}",
            meant(name, all.iter().map(|(part, _)| called(part)))
        );
    }
    // Two at once would each read all of it, and the one that began earlier may end later. A source's own program that
    // stages would wait for itself.
    let _turn = if host(site).is_staging_into(store.path()) {
        None
    } else {
        Some(store.turn(&mut || {
            let store = store.path().display();
            print::trouble(format_args!(
                "oneroot: another `oneroot stage` is at work in {store}; waiting for it"
            ));
        })?)
    };
    let stages = Stages { store: &store, site, how, quiet };
    let mut staged = Vec::new();
    // What is wrong with one source is no reason to leave the others as they were.
    let mut failed = Vec::new();
    for (part, source) in &all {
        if names.is_empty() || names.iter().any(|name| is(part, name)) {
            match stages.one(part, source) {
                Ok(outcome) => staged.push(outcome),
                Err(cause) => failed.push(Failed { name: titled(part), error: format!("{cause:#}") }),
            }
        }
    }
    Ok(Staging { staged, failed })
}

/// What stages, and how.
struct Stages<'s> {
    store: &'s Arc<Store>,
    site: &'s Site,
    how: StageHow,
    /// Whether no progress is shown.
    quiet: bool,
}

impl Stages<'_> {
    /// Makes a generation of one source, and the head of it, unless a rollback holds.
    fn one(&self, part: &Part, source: &Source) -> Result<Outcome> {
        let Self { store, site, .. } = *self;
        let reference = reference(&site.home, part)?;
        let name = titled(part);
        let bar = spinner(&name, self.quiet);
        // As many as last time, more or less: then it can be seen how far it is.
        let last = store.head(&reference)?.and_then(|head| store.generation(head.generation).ok());
        if let Some(last) = last {
            expect(&bar, last.paths());
        }
        let finished = self.make(part, source, &bar);
        bar.finish_and_clear();
        let finished = finished.with_context(|| format!("cannot stage {name}"))?;
        // Before it becomes the head: what is refused, no machine may boot.
        layers::refuse(store, site, part, finished.generation)
            .with_context(|| format!("cannot stage {name}"))?;
        let mut warnings = findings::of(store, site, part, &finished.index, &mut Budget::of_one());
        warnings.extend(noted(&finished.noted));
        warnings.extend(mended(finished.progress.mended));
        // Somebody else may have been quicker: what is replaced is what was there in that moment.
        let staged = Staged { generation: finished.generation, at: clock::now(), how: How::Staged };
        let (placed, before) = match self.how.hold {
            true => store.stage_held(&reference, staged)?,
            false => store.stage_head(&reference, staged)?,
        };
        warnings.extend(held(part, &finished, placed, (self.how, before.as_ref())));
        Ok(Outcome {
            name,
            generation: finished.generation.to_string(),
            changed: placed != Placed::Unchanged,
            waits: placed == Placed::Waits,
            entries: finished.index.paths(),
            bytes: finished.index.content_bytes(),
            unread: finished.progress.unread,
            new_objects: finished.progress.new_objects,
            new_bytes: finished.progress.new_bytes,
            new_on_disk: finished.progress.new_on_disk,
            shared_bytes: finished.index.content_bytes().saturating_sub(finished.progress.new_bytes),
            changes: changes(store, &finished, before.as_ref()),
            warnings,
        })
    }

    /// Reads a source into the store.
    fn make(&self, part: &Part, source: &Source, bar: &ProgressBar) -> Result<Finished> {
        let begun = std::time::Instant::now();
        let report = |progress: Progress| {
            let rate = progress.bytes / begun.elapsed().as_secs().max(1);
            bar.set_position(progress.entries);
            bar.set_message(format!(
                "{} entries, {}, {}/s",
                progress.entries,
                HumanBytes(progress.bytes),
                HumanBytes(rate)
            ));
        };
        let mut stage = Stage::begin(self.store, report)?;
        // Layers are the admin's own files, in a checkout that belongs to the admin; on the machine they are root's.
        if !matches!(part, Part::Profile { .. }) {
            stage.own_all(0, 0);
        }
        if self.how.afresh {
            stage.distrust();
        }
        let run = Run {
            host: &host(self.site),
            left_out: &self.site.server.state,
            now: clock::since_1970(),
            afresh: self.how.afresh,
            progress: &Shown(bar),
        };
        driver(source).stage(&mut stage, &run)?;
        Ok(stage.finish()?)
    }
}

/// Objects that were damaged and are not any more.
fn mended(count: u64) -> Option<String> {
    match count {
        0 => None,
        1 => Some("an object that the store's disk had damaged was put right".to_owned()),
        count => Some(format!("{count} objects that the store's disk had damaged were put right")),
    }
}

/// What an admin did to the head before, and what that means for what was staged now.
fn held(
    part: &Part,
    finished: &Finished,
    placed: Placed,
    (how, before): (StageHow, Option<&Staged>),
) -> Option<String> {
    if how.hold {
        return on_hold(part, finished, placed);
    }
    if placed == Placed::Waits {
        let (head, new) = (before.map(|before| short(before.generation)), short(finished.generation));
        return Some(format!(
            "new boots still get {}, for it was rolled back; `oneroot rollback {} {new}` gives them what was staged now",
            head.unwrap_or_default(),
            called(part)
        ));
    }
    let edited = placed == Placed::Head && before.is_some_and(|before| before.how == How::Edited);
    edited.then(|| {
        "what was staged does not have the changes of `oneroot edit`; `oneroot rollback` brings them back"
            .to_owned()
    })
}

/// What was asked to wait.
fn on_hold(part: &Part, finished: &Finished, placed: Placed) -> Option<String> {
    let new = short(finished.generation);
    match placed {
        Placed::Unchanged => None,
        Placed::Head => {
            Some("new boots get it, for there was nothing before it that they could get".to_owned())
        }
        Placed::Waits => Some(format!(
            "waits: `oneroot assign MACHINE --generation {new}` gives it to one machine, and `oneroot rollback {} {new}` to all",
            called(part)
        )),
    }
}

/// What comes first is all new. One that was lost or damaged can't be compared with, and is no reason not to stage.
fn changes(store: &Store, finished: &Finished, before: Option<&Staged>) -> Counts {
    let Some(before) = before else {
        let added = usize::try_from(finished.index.paths()).unwrap_or(usize::MAX);
        return Counts { added, ..Counts::default() };
    };
    let old = store.generation(before.generation);
    old.map_or_else(|_| Counts::default(), |old| Counts::of(&diff(&old, &finished.index)))
}

/// What was left out of a directory, and what was read and is mostly nothing.
fn noted(noted: &Noted) -> Vec<String> {
    let mut warnings = Vec::new();
    for path in &noted.own {
        warnings.push(format!("{path} is one of oneroot's own directories, so what is in it was left out"));
    }
    for path in &noted.file_systems {
        warnings.push(format!(
            "{path} has another file system mounted on it, which was left out; `one_file_system = false` in the source takes in all but the kernel's own"
        ));
    }
    for (path, holes) in &noted.sparse {
        warnings.push(format!(
            "{path} has {} of holes, which are read like any other bytes each time it changes; is it needed in a root?",
            HumanBytes(*holes)
        ));
    }
    warnings
}
