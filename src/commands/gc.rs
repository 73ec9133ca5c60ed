//! `oneroot gc`: what no machine, profile or layer needs any more leaves the store.
//!
//! The pins are the running server's to say, or the state's where none runs. A store that several servers share must be
//! collected where all their pins are known; a copy of it may be collected by each for itself.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use indicatif::HumanBytes;
use oneroot_bootconf::Site;
use oneroot_bootconf::assignment::Mapped;
use oneroot_ids::GenerationId;
use oneroot_state::Disk;
use oneroot_tree::Store;
use oneroot_tree::store::Needed;
use serde::Serialize;

use super::status::age;
use crate::cli::GcAsked;
use crate::clock;
use crate::control::{self, Released};
use crate::print::{Document, Page};
use oneroot_machines::PinStatus;
use oneroot_machines::{ASSIGNMENTS, PINS, PLANS};

/// Who holds what, and what has gone.
#[derive(Serialize)]
pub struct Collection {
    dry_run: bool,
    views: u64,
    generations: u64,
    objects: u64,
    /// Of the disk. Contents have another length where they have holes.
    freed_bytes: u64,
    held: Vec<PinStatus>,
}

/// Seconds.
const DAY: u64 = 86_400;
/// Days without a sign after which a machine is shown as abandoned. Linux reads a cached root for a day without a word.
const ABANDONED: u64 = 7;

/// Collects.
pub fn collect(site: &Site, asked: &GcAsked) -> Result<Collection> {
    let GcAsked { dry_run, keep, grace, release } = *asked;
    let store = Store::open(&site.server.store)?;
    // Before the pins are asked for, so that what those machines held goes with this collection.
    if let (Some(days), false) = (release, dry_run) {
        match control::ask_release_quiet(&site.server.state, u64::from(days) * DAY)? {
            None => bail!("no server is running, and only a running one knows which machines are quiet"),
            Some(Released { error: Some(error), .. }) => bail!(error),
            Some(_) => {}
        }
    }
    let Keepers { held, assigned, ahead, state } = match of_server(site)? {
        Some(keepers) => keepers,
        None => offline(site)?,
    };
    let mut needed = Needed::default();
    for pin in &held {
        needed.views.insert(pin.view.parse().with_context(|| format!("the view of {}", pin.machine))?);
    }
    // So many of each name can be rolled back to.
    for (_, history) in store.references()? {
        needed
            .generations
            .extend(history.all().iter().take(usize::from(keep)).map(|staged| staged.generation));
    }
    needed.generations.extend(assigned);
    let grace = Duration::from_secs(u64::from(grace) * 3600);
    let collected = store.collect(&needed, grace, now(ahead), dry_run)?;
    // Until here no server could start and make a pin that this has not heard of.
    drop(state);
    Ok(Collection {
        dry_run,
        views: collected.stacks,
        generations: collected.generations,
        objects: collected.objects,
        freed_bytes: collected.freed,
        held,
    })
}

impl Document for Collection {
    fn page(&self) -> Page {
        let mut page = Page::default();
        if !self.held.is_empty() {
            let mut rows = vec![["MACHINE", "PHASE", "LAST SIGN", "HOLDS VIEW"].map(str::to_owned)];
            rows.extend(self.held.iter().map(|pin| {
                let sign = pin.quiet.map_or_else(|| "-".to_owned(), |quiet| format!("{} ago", age(quiet)));
                [pin.machine.clone(), pin.phase.clone(), sign, pin.view.clone()]
            }));
            page.rows(&rows);
            page.line("");
        }
        let abandoned =
            self.held.iter().filter(|pin| pin.quiet.is_some_and(|quiet| quiet >= ABANDONED * DAY));
        let abandoned = abandoned.count();
        if abandoned > 0 {
            page.line(format_args!(
                "{abandoned} of them have not been seen for {ABANDONED} days; `oneroot gc --release {ABANDONED}` releases such machines"
            ));
        }
        page.line(format_args!(
            "{}: {} views, {} generations, {} objects; {} of the disk",
            if self.dry_run { "would go" } else { "gone" },
            self.views,
            self.generations,
            self.objects,
            HumanBytes(self.freed_bytes)
        ));
        page
    }
}

/// The time, as files that were written lately have it. A wall clock that was set ahead makes what is being staged look
/// old, and old is what may go: so it is taken back by as much. One that was set back only keeps things longer.
fn now(ahead: i64) -> SystemTime {
    let ahead = Duration::from_secs(u64::try_from(ahead).unwrap_or(0));
    SystemTime::now().checked_sub(ahead).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// What of the state keeps something in the store, and the time.
#[derive(Default)]
struct Keepers {
    held: Vec<PinStatus>,
    /// Generations that machines are assigned though they may be no head.
    assigned: Vec<GenerationId>,
    /// By how many seconds the wall clock is ahead.
    ahead: i64,
    /// The state, locked where no server has it.
    state: Option<Disk>,
}

fn generations_of(mapped: Mapped) -> impl Iterator<Item = GenerationId> {
    mapped.assigned.into_iter().chain(mapped.for_now).flat_map(|assigned| assigned.generations.into_values())
}

/// What a running server says; none where it does not answer every question, for it may have ended between two.
fn of_server(site: &Site) -> Result<Option<Keepers>> {
    let state = &site.server.state;
    let Some(held) = control::ask_pins(state)? else { return Ok(None) };
    let Some(records) = control::ask_mapped(state)? else { return Ok(None) };
    let Some(ahead) = control::ask_clock(state)? else { return Ok(None) };
    let assigned = records.mapped.into_iter().flat_map(|(mapped, _)| generations_of(mapped));
    Ok(Some(Keepers { held, assigned: assigned.collect(), ahead, state: None }))
}

/// What the state says, where no server runs. It stays locked, so none can start and make a pin. Where none ever
/// ran there is no pin, and one that starts now makes its first for a view that is young.
fn offline(site: &Site) -> Result<Keepers> {
    if !Disk::is_there(&site.server.state)? {
        return Ok(Keepers::default());
    }
    let state = Disk::open(&site.server.state)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (pins, unreadable) = runtime.block_on(PINS.list(&state))?;
    if let Some(record) = unreadable.first() {
        // It could hold anything.
        anyhow::bail!("{} cannot be parsed ({}), so nothing is removed", record.key, record.cause);
    }
    let (mapped, unreadable) = runtime.block_on(ASSIGNMENTS.list(&state))?;
    if let Some(record) = unreadable.first() {
        anyhow::bail!("{} cannot be parsed ({}), so nothing is removed", record.key, record.cause);
    }
    let (plans, _) = runtime.block_on(PLANS.list(&state))?;
    let name = |boot| {
        plans.iter().find(|(_, plan)| plan.value.boot == boot).map(|(_, plan)| plan.value.name.clone())
    };
    let held = pins.into_iter().map(|(_, pin)| PinStatus::of(&pin.value, name(pin.value.boot)));
    Ok(Keepers {
        held: held.collect(),
        assigned: mapped.into_iter().flat_map(|(_, mapped)| generations_of(mapped.value)).collect(),
        ahead: runtime.block_on(clock::ahead_of(&state))?,
        state: Some(state),
    })
}
