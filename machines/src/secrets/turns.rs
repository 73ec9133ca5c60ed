//! For whom the site's program is making secrets: for one machine it runs once at a time, whoever wants that (docs/decisions/0025).

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oneroot_ids::BootId;
use tokio::sync::OwnedMutexGuard;

/// Secrets that a machine goes without, by name, and why.
pub type Lacks = BTreeMap<String, Lack>;
/// Seconds between two lines of the log about one secret of a machine.
const QUIET: u64 = 60;

/// Why a machine goes without a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    pub cause: String,
    /// Whether the log has it.
    pub is_logged: bool,
}

impl Lack {
    /// One that nobody has said yet.
    pub fn new(cause: String) -> Self {
        Self { cause, is_logged: false }
    }
}

/// Turns by the names of machines. Those that nobody has any more are dropped at each tick, and only machines of the site have one.
#[derive(Default)]
pub struct Turns(Mutex<HashMap<String, Arc<tokio::sync::Mutex<Last>>>>);

/// How it went the last time.
#[derive(Default)]
pub struct Last {
    boot: Option<BootId>,
    lacks: Lacks,
    was_told: Arc<AtomicBool>,
    /// When the log last said of a secret that it was not made.
    said: BTreeMap<String, u64>,
}

/// A machine's turn, for as long as this lives.
pub struct Turn {
    last: OwnedMutexGuard<Last>,
    has_waited: bool,
}

impl Turns {
    /// A machine's turn, once nobody else has it.
    pub async fn take(&self, machine: &str) -> Turn {
        let turn = self.all().entry(machine.to_owned()).or_default().clone();
        match turn.clone().try_lock_owned() {
            Ok(last) => Turn { last, has_waited: false },
            Err(_) => Turn { last: turn.lock_owned().await, has_waited: true },
        }
    }

    /// Lets go of those that nobody has and nobody is to be told of: `comes_up` says of a boot whether it may ask still.
    pub fn keep(&self, comes_up: impl Fn(BootId) -> bool) {
        let is_of_use = |last: &Last| {
            let is_awaited = !last.was_told.load(Ordering::Relaxed) || !last.said.is_empty();
            last.boot.is_some_and(&comes_up) && is_awaited
        };
        // A turn is handed out under this lock only, so one that has no second owner here has none.
        self.all().retain(|_, turn| {
            Arc::strong_count(turn) > 1 || turn.try_lock().is_ok_and(|last| is_of_use(&last))
        });
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Arc<tokio::sync::Mutex<Last>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Machines that have a turn or had one of late.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.all().len()
    }
}

impl Turn {
    /// What has failed already while a boot waited, and is not tried again before it was told that: it may have waited for this turn, or
    /// have been told meanwhile to ask again.
    pub fn known(&self, boot: BootId) -> Lacks {
        let is_its_own = self.last.boot == Some(boot) && !self.last.was_told.load(Ordering::Relaxed);
        if self.has_waited || is_its_own { self.last.lacks.clone() } else { Lacks::default() }
    }

    /// It has ended. Whoever tells the boot of it says so in what this gives.
    pub fn end(mut self, boot: BootId, lacks: Lacks) -> Arc<AtomicBool> {
        let was_told = Arc::<AtomicBool>::default();
        let said = std::mem::take(&mut self.last.said);
        *self.last = Last { boot: Some(boot), lacks, was_told: was_told.clone(), said };
        was_told
    }

    /// Nobody is told any more how it went the last time: this turn is for nothing that a boot has asked for.
    pub fn forget(&mut self) {
        let said = std::mem::take(&mut self.last.said);
        *self.last = Last { said, ..Last::default() };
    }

    /// Whether the log is to say that a secret was not made: once a minute at most, for a machine asks as often as it likes.
    pub fn is_news(&mut self, secret: &str, now: u64) -> bool {
        self.last.said.retain(|_, said| now.abs_diff(*said) < QUIET);
        let is_news = !self.last.said.contains_key(secret);
        if is_news {
            self.last.said.insert(secret.to_owned(), now);
        }
        is_news
    }
}
