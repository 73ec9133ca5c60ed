//! The log: each event becomes one line on stderr, and nobody waits for it.
//!
//! | what could go wrong | what holds |
//! |---|---|
//! | nobody reads the log | a bounded queue; what finds no room is counted, and the count is said ([`writer`]) |
//! | a peer makes us log without end | an allowance for each reason, each peer, and all together ([`limiter`]) |
//! | a peer's text is obeyed by a terminal, or looks like a line of ours | everything but plain text is written out ([`escape`]) |
//!
//! All of it happens to every event, so nobody who logs has to think of it. **The reason of a line is its place in the
//! source**, and its field `reason` where one place has several; whose it is say the fields `peer`, `mac` or `machine`.

mod fields;
mod limiter;
mod writer;

use std::io::{self, IsTerminal as _};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::Duration;

use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use crate::{clock, escape};
use fields::{Cause, Fields};
use limiter::{Allowance, Allowances, LeftOut, Limiter};
use writer::Queue;

/// Time that the last lines have to be taken in at the end.
const LAST: Duration = Duration::from_secs(1);
/// Time that the lines of a panic have, while others may go on.
const PANIC: Duration = Duration::from_millis(200);

/// Of refusals and troubles, which strangers cause: ten lines, then one a second.
const TROUBLE: Allowance = Allowance { burst: 10, every: 1_000 };
const TROUBLE_OF_PEER: Allowance = Allowance { burst: 3, every: 5_000 };
/// Of the steps of machines, and of what was asked for by `-v`: a room that is switched on at once is shown whole.
const STEPS: Allowance = Allowance { burst: 200, every: 100 };
const STEPS_OF_PEER: Allowance = Allowance { burst: 20, every: 1_000 };
/// Of everything: 50 lines a second.
const ALL: Allowance = Allowance { burst: 500, every: 20 };
/// Our own troubles have some room that strangers can't use up.
const ALL_AND_ERRORS: Allowance = Allowance { burst: 600, ..ALL };

fn allowances(level: Level) -> Allowances {
    match level {
        Level::ERROR => Allowances { reason: TROUBLE, peer: TROUBLE_OF_PEER, all: ALL_AND_ERRORS },
        Level::WARN => Allowances { reason: TROUBLE, peer: TROUBLE_OF_PEER, all: ALL },
        _ => Allowances { reason: STEPS, peer: STEPS_OF_PEER, all: ALL },
    }
}

/// Why a line is written, as the limiter tells them apart.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Reason {
    /// None for a panic.
    place: Option<Identifier>,
    level: Level,
    detail: Option<String>,
}

/// The log of this process, once it was started.
static LOG: OnceLock<Arc<Log>> = OnceLock::new();

struct Log {
    limiter: Mutex<Limiter<Reason>>,
    queue: Queue,
    /// Levels are coloured.
    is_terminal: bool,
}

/// Takes the log from here on: a line a step at info; `ONEROOT_LOG` takes a filter of its own. [`write()`] writes it.
pub fn start(verbose: u8) {
    let level = match verbose {
        0 => "info",
        1 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("ONEROOT_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let log = Arc::new(Log {
        limiter: Mutex::new(Limiter::new()),
        queue: Queue::default(),
        is_terminal: io::stderr().is_terminal(),
    });
    tracing_subscriber::registry().with(filter).with(Lines(log.clone())).init();
    let panicking = log.clone();
    std::panic::set_hook(Box::new(move |panic| panicking.panicked(panic)));
    // Whoever calls this twice has failed above.
    let _ = LOG.set(log);
}

/// Starts the thread that writes to stderr. A step of its own, for what confines threads does so for those that come later.
///
/// # Errors
/// There is no thread for it.
pub fn write() -> io::Result<()> {
    let Some(log) = LOG.get().cloned() else { return Ok(()) };
    let serve = move || {
        let lost = |lines| {
            log.line(Level::WARN, &format!("{lines} lines of the log were lost: they were not taken in time"))
        };
        log.queue.serve(io::stderr(), lost, || log.report(log.limiter().due(clock::coarse_ms())));
    };
    std::thread::Builder::new().name("log".to_owned()).spawn(serve).map(drop)
}

/// Says what was left out, and waits until the log is written: for [`LAST`] at most.
pub fn finish() {
    if let Some(log) = LOG.get() {
        log.report(log.limiter().rest());
        log.queue.flush(LAST);
    }
}

/// The error that ends a server: in order with its log, and not for ever when nobody reads that.
pub fn last_words(text: &str) {
    if let Some(log) = LOG.get() {
        log.queue.push(&escape::line(text));
    }
}

impl Log {
    fn limiter(&self) -> MutexGuard<'_, Limiter<Reason>> {
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, level: Level, text: &str) -> String {
        let mut line = String::with_capacity(text.len() + 48);
        // Writing to a string can't fail.
        let _ = SystemTime.format_time(&mut Writer::new(&mut line));
        let (before, after) = match level {
            _ if !self.is_terminal => ("", ""),
            Level::ERROR => ("\x1b[31m", "\x1b[0m"),
            Level::WARN => ("\x1b[33m", "\x1b[0m"),
            Level::INFO => ("\x1b[32m", "\x1b[0m"),
            _ => ("\x1b[34m", "\x1b[0m"),
        };
        line.push_str(&format!(" {before}{level:>5}{after} {text}"));
        line
    }

    fn report(&self, left_out: Vec<LeftOut<Reason>>) {
        for left in left_out {
            let level = left.reason.map_or(Level::WARN, |reason| reason.level);
            let mut text = format!("left out {} more lines like this: {}", left.lines, left.example);
            if let Some((peer, lines)) = left.worst {
                text.push_str(&format!(" ({lines} of them of {peer})"));
            }
            self.queue.push(&self.line(level, &text));
        }
    }

    /// The process may go on, so the thread that panics does not wait for a reader of the log; nor for the limiter, which
    /// it may hold itself.
    fn panicked(&self, panic: &std::panic::PanicHookInfo<'_>) {
        let mut text = String::new();
        escape::push(&mut text, &panic.to_string());
        let reason =
            Reason { place: None, level: Level::ERROR, detail: panic.location().map(ToString::to_string) };
        let mut limiter = match self.limiter.try_lock() {
            Ok(limiter) => limiter,
            Err(TryLockError::Poisoned(limiter)) => limiter.into_inner(),
            Err(TryLockError::WouldBlock) => return self.queue.push(&self.line(Level::ERROR, &text)),
        };
        let allowed = limiter.allows(clock::coarse_ms(), reason, None, &allowances(Level::ERROR), &text);
        drop(limiter);
        if allowed {
            self.queue.push(&self.line(Level::ERROR, &text));
            // Where none is wanted (RUST_BACKTRACE) it is a sentence without a colon.
            for line in
                std::backtrace::Backtrace::capture().to_string().lines().filter(|line| line.contains(':'))
            {
                self.queue.push(&escape::line(line));
            }
            self.queue.flush(PANIC);
        }
    }
}

/// Makes a line of each event.
struct Lines(Arc<Log>);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let (level, place) = (*event.metadata().level(), Some(event.metadata().callsite()));
        let now = clock::coarse_ms();
        // To write a line that is then left out would cost a storm of machines more than most of what is done for them.
        let mut cause: Cause = fields::of(event);
        let reason = Reason { place: place.clone(), level, detail: cause.reason.take() };
        if self.0.limiter().leaves_out(now, &reason, cause.whose(), &allowances(level)) {
            return;
        }
        let text = fields::of::<Fields>(event).text();
        if self.0.limiter().allows(now, reason, cause.whose(), &allowances(level), &text) {
            self.0.queue.push(&self.0.line(level, &text));
        }
    }
}
