//! `oneroot sync`: a directory of this host is made equal to a tree of a server, and kept so.
//!
//! An index comes first, told against the one that is here; then, as one stream, the contents that are nowhere on this host; then
//! the directory is changed (`oneroot_tree::replica`). What is cut off goes on where it was.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use indicatif::{HumanBytes, ProgressBar};
use oneroot_ids::{GenerationId, ObjectId};
use oneroot_machines::sync::What;
use oneroot_tree::diff::Counts;
use oneroot_tree::replica::{Comparison, How, Incoming, Lack, Lacks, Replica, Tree, User, as_far_as};
use oneroot_tree::stage::Survey;
use oneroot_tree::{Error, Index, Store, stream};
use serde::Serialize;

use super::fetch::{Fetch, remote};
use super::generations::DiffLine;
use super::patience::{TRIES, patiently};
use super::progress::spinner;
use crate::cli::Exit;
use crate::cli::sync::SyncAsked;
use crate::clock;
use crate::print::{self, Document, Page};
use crate::remote::{Offered, Refused, Remote};

/// A look at a directory that is older than this is taken again.
const STALE: Duration = Duration::from_secs(5);

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
        let (what, done) = match self.what {
            Lack::Owner => ("the owner of", "set"),
            Lack::Mode => ("the mode of", "set"),
            Lack::Attribute => ("attributes of", "set"),
            Lack::Time => ("the time of", "set"),
            Lack::Device => ("the device", "made"),
        };
        write!(f, "{what} {}", self.first)?;
        if self.count > 1 {
            write!(f, " and {} more", self.count - 1)?;
        }
        write!(f, " can't be {done} here")
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
            "{directory} {would}{what} {generation}: {counts}; {}, {} came in {:.1} s",
            contents(*objects),
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
            "{} is {what} again; the same once more takes it back, and so does the next sync, also that of a timer or of --watch",
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

/// A tree, as the server has told it.
struct Told {
    index: Arc<Index>,
    generation: GenerationId,
    /// Whether the server has heard that it is here.
    is_heard: bool,
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
}

impl<'a> Run<'a> {
    fn of(asked: &'a SyncAsked) -> Result<Self> {
        let (Some(what), Some(directory)) = (&asked.what, &asked.directory) else {
            bail!("say what, and to which directory")
        };
        let store = asked.store.as_deref().map(Store::if_there).transpose()?.flatten();
        let how = How {
            whole: asked.atomic.then_some(asked.keep.into()),
            kept: asked.kept.iter().map(|kept| kept.0.clone()).collect(),
            only_compared: asked.dry_run,
        };
        let from = asked.server.from.as_ref().map(ToString::to_string).unwrap_or_default();
        let whole = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
        let own = whole.as_os_str().as_bytes().strip_prefix(b"/").filter(|own| !own.is_empty());
        if let Some(kept) = how.kept.iter().find(|kept| own.is_some_and(|own| kept.starts_with(own))) {
            bail!(
                "--keep-path /{}: a path as it is in the tree is meant, such as /etc/fstab, without {}",
                kept.escape_ascii(),
                directory.display()
            );
        }
        Ok(Self { asked, what, directory, remote: remote(&asked.server)?, from, store, how })
    }

    /// From the index to the directory; a tree that has become another one on the way is begun again.
    fn once(&self) -> Result<Synced> {
        let mut last = None;
        for _ in 0..TRIES {
            match self.attempt() {
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

    fn attempt(&self) -> Result<Synced> {
        let begun = Instant::now();
        let bar = spinner(&format!("sync {}", self.what), self.asked.output.json);
        // Who is refused a tree, or can't have it, has made nothing for it.
        let held = Replica::is_begun(self.directory)?.then(|| Replica::open(self.directory)).transpose()?;
        let (told, found) = self.asked_and_looked(held.as_ref(), &bar)?;
        let (generation, (wanted, left_out)) = (told.generation, self.wanted(&told.index)?);
        let replica = &held.map_or_else(|| Replica::open(self.directory), Ok)?;
        let found = found.map_or_else(|| self.looked(replica, &bar), Ok)?;
        let comparison = replica.compare(found, wanted.clone(), &self.how)?;
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
        let is_first = replica.record()?.current.is_none();
        ensure!(
            self.asked.dry_run || self.asked.force || !is_first || done.counts.removed == 0,
            "{} was never synced, and {} paths in it are not of {}: they would go. Look at them with --dry-run; if they may go, say --force",
            done.directory.display(),
            done.counts.removed,
            self.what
        );
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
            self.change(replica, &comparison, &told, tree, &mut done, &bar)?;
        }
        done.seconds = begun.elapsed().as_secs_f64();
        Ok(done)
    }

    /// The tree's index, and what the directory is where it was synced before: both take their time, and are had at once.
    fn asked_and_looked(&self, held: Option<&Replica>, bar: &ProgressBar) -> Result<(Told, Option<Survey>)> {
        let ask = || patiently(bar, || self.index(held));
        let Some(replica) = held else { return Ok((ask()?, None)) };
        std::thread::scope(|scope| {
            let found = scope.spawn(|| self.looked(replica, bar).map(|found| (found, Instant::now())));
            let index = ask();
            let found = found.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let (found, at) = found?;
            // A server may have let us wait long, and then the directory is what it is by now.
            Ok((index?, (at.elapsed() < STALE).then_some(found)))
        })
    }

    fn looked(&self, replica: &Replica, bar: &ProgressBar) -> Result<Survey> {
        bar.set_message("comparing");
        let found = replica.look(&self.how, clock::since_1970(), &mut |progress| {
            bar.set_message(format!("comparing, {} read", HumanBytes(progress.bytes)));
        });
        Ok(found?)
    }

    /// The tree's index: as it is here, where it is the same.
    fn index(&self, replica: Option<&Replica>) -> Result<Told> {
        let record = replica.map(Replica::record).transpose()?.unwrap_or_default();
        let current = record.current.filter(|tree| tree.from == self.from);
        let known = current.and_then(|tree| Some((tree.generation, replica?.known(tree.generation)?)));
        match self.remote.index(self.what, known.as_ref().map(|(generation, _)| *generation))? {
            Offered::Same(generation) => match known {
                Some((id, index)) if id == generation => Ok(Told { index, generation, is_heard: true }),
                _ => bail!("the server says that this tree is here already, and it is not"),
            },
            Offered::Index(generation, from) => {
                let older = |id| match known {
                    Some((generation, index)) if generation == id => Ok(index),
                    _ => Err(Error::NoGeneration(id)),
                };
                let index = Arc::new(stream::unpack(from, generation, older)?);
                Ok(Told { index, generation, is_heard: false })
            }
        }
    }

    /// The tree as this user may have it, and what is left out of it then.
    fn wanted(&self, index: &Arc<Index>) -> Result<(Arc<Index>, Lacks)> {
        let user = User::own();
        let user = if self.asked.unprivileged { user.unprivileged() } else { user };
        let (own, lacks) = as_far_as(user, index)?;
        // What a root may not do that is none of the host's, it hears by name.
        let rights: Vec<_> = user.may_not().collect();
        let with = if user.is_root() { rights.join(", ") } else { String::new() };
        let all = || Lacking::all(&lacks).iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        ensure!(
            self.asked.unprivileged || lacks.is_empty(),
            "{}; run it as root{}{with}, or leave that out with --unprivileged",
            all(),
            if with.is_empty() { "" } else { " with " }
        );
        Ok((own, lacks))
    }

    fn change(
        &self,
        replica: &Replica,
        comparison: &Comparison,
        told: &Told,
        tree: Tree,
        done: &mut Synced,
        bar: &ProgressBar,
    ) -> Result<()> {
        let (changes, index) = (!comparison.is_nothing(), &told.index);
        let record = replica.record()?;
        let owes = record.owed && self.asked.after.is_some();
        let is_known = record.current.is_some_and(|current| Tree { at: tree.at, ..current } == tree);
        // Nothing that was read is to be remembered either: such a round writes nothing.
        if !changes && !owes && told.is_heard && is_known && comparison.survey().read == 0 {
            return Ok(());
        }
        let mut incoming = Incoming::open(replica.place(), &mut |bytes| {
            bar.set_message(format!("looking at what has come, {}", HumanBytes(bytes)));
        })?;
        let missing = comparison.missing(&incoming, self.store.as_deref());
        let (remote, limit, generation) = (&self.remote, self.asked.limit, tree.generation);
        let describes = &comparison.describes();
        let fetch = Fetch { remote, what: self.what, generation, index, describes, limit, bar };
        let came = fetch.all(&missing, &mut incoming);
        let came = came.map_err(|cause| with_need(cause, &missing, &incoming, replica.place()))?;
        (done.objects, done.bytes) = (came.objects, came.bytes);
        let kept = tree.clone();
        if changes {
            // When all has come: what it stops is to stand still for the change, and not for the wire.
            hook(self.asked.before.as_deref(), "--before", replica.root(), &tree)?;
            if self.asked.after.is_some() && !record.owed {
                replica.owe(true)?;
            }
        }
        bar.set_message("changing the directory");
        let steps = &mut |at, of| bar.set_message(format!("changing the directory, {at} of {of}"));
        let store = self.store.as_deref();
        let applied = replica.apply(comparison, &self.how, &mut incoming, store, tree, steps)?;
        if index.generation() != kept.applied {
            // What the next index is told against.
            replica.keep_index(index)?;
        }
        done.lacking.extend(Lacking::all(&applied.lacks));
        if (changes || owes) && self.asked.after.is_some() {
            hook(self.asked.after.as_deref(), "--after", replica.root(), &kept)?;
            replica.owe(false)?;
        }
        if !told.is_heard {
            // Only so does the server know what is here.
            drop(self.remote.index(self.what, Some(kept.generation)));
        }
        Ok(())
    }
}

/// Says how much has to come, where a disk is full.
fn with_need(
    cause: anyhow::Error,
    missing: &[(ObjectId, u64)],
    incoming: &Incoming,
    place: &Path,
) -> anyhow::Error {
    let full = [std::io::ErrorKind::StorageFull, std::io::ErrorKind::QuotaExceeded];
    let mut causes = cause.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    if !causes.any(|cause| full.contains(&cause.kind())) {
        return cause;
    }
    let left = missing.iter().filter(|(object, _)| !incoming.has(*object));
    let left = left.fold(0u64, |sum, (_, size)| sum.saturating_add(*size));
    let free = rustix::fs::statvfs(place).map_or(0, |is| is.f_bavail.saturating_mul(is.f_frsize));
    let (left, free) = (HumanBytes(left), HumanBytes(free));
    cause.context(format!(
        "{left} of contents are still to come, and {free} are free beside the directory; make room, and the next run goes on from here"
    ))
}

/// So many contents, in words.
pub(super) fn contents(count: u64) -> String {
    format!("{count} {}", if count == 1 { "content" } else { "contents" })
}

/// Runs what was asked to be run before or after; it is told the directory and the tree by its environment.
fn hook(program: Option<&Path>, which: &str, directory: &Path, tree: &Tree) -> Result<()> {
    let Some(program) = program else { return Ok(()) };
    let status = std::process::Command::new(program)
        .arg(directory)
        .env("ONEROOT_WHAT", &tree.what)
        .env("ONEROOT_GENERATION", tree.generation.to_string())
        .env_remove("ONEROOT_TOKEN")
        // Ours has a document on it.
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("cannot run {which} {}", program.display()))?;
    ensure!(status.success(), "{which} {} has failed ({status})", program.display());
    Ok(())
}
