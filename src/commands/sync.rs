//! `oneroot sync`: a directory of this host is made equal to a tree of a server, and kept so.
//!
//! An index comes first, told against the one that is here; then, as one stream, the contents that are nowhere on this host; then
//! the directory is changed (`oneroot_tree::replica`). What is cut off goes on where it was.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use indicatif::{HumanBytes, ProgressBar};
use oneroot_ids::{GenerationId, ObjectId};
use oneroot_machines::sync::What;
use oneroot_tree::diff::Counts;
use oneroot_tree::replica::{Comparison, How, Incoming, Lack, Lacks, Replica, Tree, as_far_as};
use oneroot_tree::wants::Wants;
use oneroot_tree::{Error, Index, Store, replica, stream};
use serde::Serialize;

use super::generations::DiffLine;
use super::progress::{expect, spinner};
use crate::cli::Exit;
use crate::cli::sync::{From, Rate, SyncAsked};
use crate::clock;
use crate::print::{self, Document, Page};
use crate::remote::{Offered, Refused, Remote};

/// Tries without a byte of progress before a server is given up.
const TRIES: u32 = 5;
/// The wait before the first of them; it doubles.
const PAUSE: Duration = Duration::from_millis(500);

/// What a sync did.
#[derive(Serialize)]
pub struct Synced {
    directory: PathBuf,
    what: String,
    from: String,
    generation: GenerationId,
    /// Whether nothing was changed, and only said.
    dry_run: bool,
    #[serde(flatten)]
    counts: Counts,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changes: Vec<DiffLine>,
    /// Contents that came, and their bytes.
    objects: u64,
    bytes: u64,
    seconds: f64,
    lacking: Vec<Lacking>,
    #[serde(skip)]
    tolerant: bool,
}

/// What could not be set.
#[derive(Serialize)]
struct Lacking {
    what: Lack,
    count: u64,
    first: String,
}

impl Lacking {
    fn all(lacks: &Lacks) -> Vec<Self> {
        let line = |(what, count, path): (Lack, u64, &[u8])| Self { what, count, first: shown(path) };
        lacks.each().map(line).collect()
    }
}

impl std::fmt::Display for Lacking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.what {
            Lack::Owner => "the owner",
            Lack::Mode => "the mode",
            Lack::Attribute => "attributes",
            Lack::Device => "the device itself",
        };
        write!(f, "{} lack {what}, {} first", self.count, self.first)
    }
}

fn shown(path: &[u8]) -> String {
    format!("/{}", path.escape_ascii())
}

impl Document for Synced {
    fn page(&self) -> Page {
        let mut page = Page::default();
        if !self.changes.is_empty() {
            let rows: Vec<[String; 3]> = self.changes.iter().map(DiffLine::row).collect();
            page.text(print::table(&rows));
        }
        let Self { what, counts, objects, bytes, .. } = self;
        let (directory, would) = (self.directory.display(), if self.dry_run { "would be " } else { "" });
        let generation = self.generation.to_string();
        let generation = generation.get(..12).unwrap_or_default();
        page.line(format_args!(
            "{directory} {would}{what} {generation}: {counts}; {objects} contents, {} came in {:.1} s",
            HumanBytes(*bytes),
            self.seconds
        ));
        for lacking in &self.lacking {
            page.trouble(format_args!("oneroot: {lacking}"));
        }
        page
    }

    fn exit(&self) -> Exit {
        if self.lacking.is_empty() || self.tolerant { Exit::Done } else { Exit::Failed }
    }
}

/// A tree that came back.
#[derive(Serialize)]
pub struct RolledBack {
    directory: PathBuf,
    now: Option<Tree>,
}

impl Document for RolledBack {
    fn page(&self) -> Page {
        let what = self.now.as_ref().map_or_else(String::new, |now| {
            format!("{} {}", now.what, now.generation.to_string().get(..12).unwrap_or_default())
        });
        Page::of_line(format_args!(
            "{} is {what} again; the same once more takes it back",
            self.directory.display()
        ))
    }
}

/// `oneroot sync --rollback DIRECTORY`.
pub fn roll_back(directory: &Path) -> Result<RolledBack> {
    let replica = Replica::open(directory)?;
    let record = replica.roll_back()?;
    Ok(RolledBack { directory: replica.root().to_owned(), now: record.current })
}

/// The server that was asked for, with the token that is told for it.
pub fn remote(server: &From) -> Result<Remote> {
    let address = server.from.clone().context("say which server: --from http://SERVER[:PORT]")?;
    let token = match &server.token_file {
        Some(path) => {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            Some(text)
        }
        None => std::env::var("ONEROOT_TOKEN").ok(),
    };
    let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
    Ok(Remote::new(address, token))
}

/// `oneroot sync WHAT DIRECTORY`, once or for as long as it is watched.
pub fn sync(asked: &SyncAsked) -> Result<Exit> {
    if let Some(directory) = &asked.rollback {
        return print::document(&roll_back(directory)?, asked.output.json);
    }
    if asked.nice {
        give_way();
    }
    let run = Run::of(asked)?;
    let Some(seconds) = asked.watch else {
        return print::document(&run.once()?, asked.output.json);
    };
    loop {
        match run.once() {
            Ok(done) if done.is_nothing() => {}
            Ok(done) => drop(print::document(&done, asked.output.json)?),
            // Whoever watches goes on: the server may be there again the next time.
            Err(cause) => print::trouble(format_args!("oneroot: {cause:#}")),
        }
        std::thread::sleep(Duration::from_secs(seconds.into()));
    }
}

/// The lowest place of all, for processors and disks.
fn give_way() {
    let _ = rustix::process::nice(19);
    const IDLE: i32 = 3 << 13;
    // SAFETY: ioprio_set(2) takes three numbers and touches no memory of ours. 1 is IOPRIO_WHO_PROCESS, 0 the caller.
    unsafe { libc::syscall(libc::SYS_ioprio_set, 1, 0, IDLE) };
}

impl Synced {
    fn is_nothing(&self) -> bool {
        self.counts == Counts::default() && self.lacking.is_empty()
    }
}

/// One sync, as it was asked for.
struct Run<'a> {
    asked: &'a SyncAsked,
    what: &'a What,
    directory: &'a Path,
    remote: Remote,
    from: String,
    store: Option<Arc<Store>>,
    how: How,
    /// Kept while the store is looked into.
    _scratch: Option<tempfile::TempDir>,
}

impl<'a> Run<'a> {
    fn of(asked: &'a SyncAsked) -> Result<Self> {
        let (Some(what), Some(directory)) = (&asked.what, &asked.directory) else {
            bail!("say what, and to which directory")
        };
        let scratch = asked.store.as_ref().map(|_| tempfile::tempdir()).transpose()?;
        let store = match (&asked.store, &scratch) {
            (Some(store), Some(scratch)) => Some(Store::look(store, &scratch.path().join("look"))?),
            _ => None,
        };
        let how = How {
            whole: asked.atomic.then_some(asked.keep.into()),
            kept: asked.kept.iter().map(|kept| kept.0.clone()).collect(),
        };
        let from = asked.server.from.as_ref().map(ToString::to_string).unwrap_or_default();
        Ok(Self {
            asked,
            what,
            directory,
            remote: remote(&asked.server)?,
            from,
            store,
            how,
            _scratch: scratch,
        })
    }

    /// From the index to the directory; a tree that has become another one on the way is begun again.
    fn once(&self) -> Result<Synced> {
        let replica = Replica::open(self.directory)?;
        let mut last = None;
        for _ in 0..TRIES {
            match self.attempt(&replica) {
                Err(cause)
                    if cause.downcast_ref().is_some_and(|cause| matches!(cause, Refused::Changed(_))) =>
                {
                    last = Some(cause);
                }
                done => return done,
            }
        }
        Err(last.context("nothing was tried")?)
    }

    fn attempt(&self, replica: &Replica) -> Result<Synced> {
        let begun = Instant::now();
        let bar = spinner(&format!("sync {}", self.what), self.asked.output.json);
        let (index, generation) = self.index(replica)?;
        let (wanted, left_out) = self.wanted(&index)?;
        bar.set_message("comparing");
        let comparison =
            replica.compare(wanted.clone(), &self.how, clock::since_1970(), &mut |progress| {
                bar.set_message(format!("comparing, {} read", HumanBytes(progress.bytes)));
            })?;
        let differences = comparison.differences();
        let mut done = Synced {
            directory: replica.root().to_owned(),
            what: self.what.to_string(),
            from: self.from.clone(),
            generation,
            dry_run: self.asked.dry_run,
            counts: Counts::of(&differences),
            changes: Vec::new(),
            objects: 0,
            bytes: 0,
            seconds: 0.0,
            lacking: Lacking::all(&left_out),
            tolerant: self.asked.unprivileged,
        };
        if self.asked.dry_run {
            done.changes = differences.into_iter().map(DiffLine::of).collect();
        } else {
            let tree = Tree {
                what: done.what.clone(),
                from: self.from.clone(),
                generation,
                applied: wanted.generation(),
                at: clock::since_1970().as_secs(),
            };
            self.change(replica, &comparison, &index, tree, &mut done, &bar)?;
        }
        done.seconds = begun.elapsed().as_secs_f64();
        Ok(done)
    }

    /// The tree's index: as it is here, where it is the same.
    fn index(&self, replica: &Replica) -> Result<(Arc<Index>, GenerationId)> {
        let current = replica.record()?.current.filter(|tree| tree.from == self.from);
        let known = current.and_then(|tree| Some((tree.generation, replica.known(tree.generation)?)));
        match self.remote.index(self.what, known.as_ref().map(|(generation, _)| *generation))? {
            Offered::Same(generation) => match known {
                Some((id, index)) if id == generation => Ok((Arc::new(index), generation)),
                _ => bail!("the server says that this tree is here already, and it is not"),
            },
            Offered::Index(generation, from) => {
                let older = |id| match known {
                    Some((generation, index)) if generation == id => Ok(index),
                    _ => Err(Error::NoGeneration(id)),
                };
                Ok((Arc::new(stream::unpack(from, generation, older)?), generation))
            }
        }
    }

    /// The tree as this user may have it, and what is left out of it then.
    fn wanted(&self, index: &Arc<Index>) -> Result<(Arc<Index>, Lacks)> {
        let user = rustix::process::geteuid();
        if user.is_root() && !self.asked.unprivileged {
            return Ok((index.clone(), Lacks::default()));
        }
        let (own, lacks) = as_far_as(user.as_raw(), rustix::process::getegid().as_raw(), index)?;
        ensure!(
            self.asked.unprivileged || lacks.is_empty(),
            "{}; run it as root, or leave that out with --unprivileged",
            Lacking::all(&lacks).iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        );
        Ok((own, lacks))
    }

    fn change(
        &self,
        replica: &Replica,
        comparison: &Comparison,
        index: &Arc<Index>,
        tree: Tree,
        done: &mut Synced,
        bar: &ProgressBar,
    ) -> Result<()> {
        let changes = !comparison.is_nothing();
        if changes {
            hook(self.asked.before.as_deref(), "--before", replica.root(), &tree)?;
        }
        let mut incoming = Incoming::open(replica.place(), &mut |bytes| {
            bar.set_message(format!("looking at what has come, {}", HumanBytes(bytes)));
        })?;
        self.fetch(comparison, index, tree.generation, &mut incoming, done, bar)?;
        let kept = tree.clone();
        bar.set_message("changing the directory");
        let applied = replica.apply(
            comparison,
            &self.how,
            &mut incoming,
            self.store.as_deref(),
            tree,
            &mut |at, of| {
                bar.set_message(format!("changing the directory, {at} of {of}"));
            },
        )?;
        if index.generation() != kept.applied {
            // What the next index is told against.
            replica.keep_index(index)?;
        }
        done.lacking.extend(Lacking::all(&applied.lacks));
        if changes {
            hook(self.asked.after.as_deref(), "--after", replica.root(), &kept)?;
        }
        // Only so does the server know what is here.
        drop(self.remote.index(self.what, Some(kept.generation)));
        Ok(())
    }

    /// Has all contents come that are nowhere here, as one stream, and another one where it is cut off.
    fn fetch(
        &self,
        comparison: &Comparison,
        index: &Index,
        generation: GenerationId,
        incoming: &mut Incoming,
        done: &mut Synced,
        bar: &ProgressBar,
    ) -> Result<()> {
        let all = comparison.missing(incoming, self.store.as_deref());
        let total: u64 = all.iter().map(|(_, size)| size).sum();
        expect(bar, total);
        let mut tries = 0;
        let mut missing = all.as_slice();
        while let Some((first, _)) = missing.first() {
            let begun = incoming.begun(*first);
            let (before, had) = (missing.len(), begun);
            let fetched = self.stream(index, generation, missing, begun, incoming, &mut |bytes| {
                done.bytes += bytes;
                bar.inc(bytes);
                bar.set_message(format!("{} of {}", HumanBytes(bar.position()), HumanBytes(total)));
            });
            let came = missing.iter().take_while(|(object, _)| incoming.has(*object)).count();
            missing = missing.get(came..).unwrap_or_default();
            done.objects += came as u64;
            let Err(cause) = fetched else { continue };
            let first = missing.first().map_or(0, |(object, _)| incoming.begun(*object));
            if missing.len() < before || first > had {
                tries = 0;
            }
            tries += 1;
            if tries > TRIES || !may_pass(&cause) {
                return Err(cause);
            }
            bar.set_message(format!("{cause:#}; trying again"));
            std::thread::sleep(PAUSE * 2u32.pow(tries - 1));
        }
        Ok(())
    }

    fn stream(
        &self,
        index: &Index,
        generation: GenerationId,
        missing: &[(ObjectId, u64)],
        begun: u64,
        incoming: &mut Incoming,
        report: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let wanted: std::collections::HashSet<ObjectId> = missing.iter().map(|(object, _)| *object).collect();
        let all = replica::objects(index).map(|(object, _)| object);
        let wants = Wants::of(all, begun, |object| wanted.contains(&object));
        let mut from = Measured {
            from: self.remote.objects(self.what, generation, &wants)?,
            limit: self.asked.limit,
            since: Instant::now(),
            bytes: 0,
            told: 0,
        };
        for (object, size) in missing {
            incoming.receive(*object, *size, &mut from)?;
            if from.bytes - from.told >= 1 << 20 {
                report(from.bytes - from.told);
                from.told = from.bytes;
            }
        }
        report(from.bytes - from.told);
        Ok(())
    }
}

/// Whether the next try may do better.
fn may_pass(cause: &anyhow::Error) -> bool {
    cause.chain().any(|cause| {
        let tree = cause.downcast_ref::<Error>();
        cause.is::<io::Error>()
            || tree.is_some_and(|tree| matches!(tree, Error::Cut(_)))
            || cause.downcast_ref::<Refused>().is_some_and(|refused| matches!(refused, Refused::Busy(_)))
            || cause.is::<hyper::Error>()
    })
}

/// A stream of which is known how much has come, and that comes no faster than it may.
struct Measured<R> {
    from: R,
    limit: Option<Rate>,
    since: Instant,
    bytes: u64,
    told: u64,
}

impl<R: Read> Read for Measured<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        // A tenth of a second at a time at most, so that it flows.
        let most =
            self.limit.map_or(to.len(), |Rate(rate)| usize::try_from(rate / 10).unwrap_or(usize::MAX).max(1));
        let length = to.len().min(most);
        let count = self.from.read(to.get_mut(..length).unwrap_or_default())?;
        self.bytes += count as u64;
        if let Some(Rate(rate)) = self.limit {
            #[allow(clippy::cast_precision_loss, reason = "a rate is no exact thing")]
            let due = Duration::from_secs_f64(self.bytes as f64 / rate as f64);
            std::thread::sleep(due.saturating_sub(self.since.elapsed()));
        }
        Ok(count)
    }
}

/// Runs what was asked to be run before or after; it is told the directory and the tree by its environment.
fn hook(program: Option<&Path>, which: &str, directory: &Path, tree: &Tree) -> Result<()> {
    let Some(program) = program else { return Ok(()) };
    let status = std::process::Command::new(program)
        .arg(directory)
        .env("ONEROOT_WHAT", &tree.what)
        .env("ONEROOT_GENERATION", tree.generation.to_string())
        .env_remove("ONEROOT_TOKEN")
        .status()
        .with_context(|| format!("cannot run {which} {}", program.display()))?;
    ensure!(status.success(), "{which} {} has failed ({status})", program.display());
    Ok(())
}
