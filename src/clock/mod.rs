//! The one place that asks the host for the time and for randomness; everywhere else they are arguments.
//!
//! Leases, pins and all that waits are measured in *site time*: seconds since 1970 that go on with CLOCK_BOOTTIME. The wall
//! clock is looked at once for each start of the host ([`anchor`]): who sets it a day ahead, by hand, by NTP or by an empty
//! battery, gives nobody's address away. People are shown the wall's time ([`shown`]).

mod anchor;

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use oneroot_machines::{Host, Passing};
use oneroot_state::{Backend, Txn};
use rustix::time::{ClockId, clock_gettime};

use anchor::{ANCHORS, Anchor};

/// A difference between the wall clock and site time that has changed by less is no news: NTP slews, and both round.
const JUMP: i64 = 30;
/// How often it is written down that site time has come so far, in seconds.
const NOTED: u64 = 600;

/// For how long a start of a host is remembered that writes down nothing any more, in seconds; and how many of them go at once.
const KEPT: u64 = 7 * 86_400;
const SWEPT_AT_ONCE: usize = 64;

static ANCHOR: OnceLock<Anchor> = OnceLock::new();
/// By how much the wall clock was ahead of site time when that was last said.
static SAID: AtomicI64 = AtomicI64::new(0);

/// The wall clock: the time since 1970, as far as the host knows it. For what people read and for times of files.
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Site time, in seconds since 1970: never goes back, and goes on while the host sleeps. Before [`fix`], the wall clock.
pub fn now() -> u64 {
    ANCHOR.get().map_or_else(|| since_1970().as_secs(), |anchor| anchor.time_at(since_start()))
}

/// A site time as the wall clock has it now, for people.
pub fn shown(time: u64) -> u64 {
    time.saturating_add_signed(ahead())
}

/// Seconds by which the wall clock is ahead of site time: negative when it is behind.
pub fn ahead() -> i64 {
    let between = |a: u64, b: u64| i64::try_from(a.saturating_sub(b)).unwrap_or(i64::MAX);
    let (wall, site) = (since_1970().as_secs(), now());
    between(wall, site).saturating_sub(between(site, wall))
}

/// The site time from which on every duration is sure: what began before it may have lasted any time, for the host was off
/// in between and only the wall clock says for how long.
pub fn sure_since() -> u64 {
    ANCHOR.get().map_or(0, |anchor| anchor.time)
}

/// Seconds since the host started, its sleep included.
fn since_start() -> u64 {
    let since = u64::try_from(clock_gettime(ClockId::Boottime).tv_sec).unwrap_or(0);
    #[cfg(debug_assertions)]
    let since = since.saturating_add(PASSED.load(Ordering::Relaxed));
    since
}

/// Seconds by which a test lets time go on: nothing outside of the process can move CLOCK_BOOTTIME, for no library is asked.
#[cfg(debug_assertions)]
static PASSED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// Lets so many seconds have passed, in all.
#[cfg(debug_assertions)]
pub fn let_pass(seconds: u64) -> u64 {
    PASSED.store(seconds, Ordering::Relaxed);
    seconds
}

/// Begins site time, from what the state says of it; the first to call this in a process decides. Nothing is written:
/// machines that run wait for this start, and the disk may be full or hang. [`watch`] writes.
pub async fn fix(state: &impl Backend) -> Result<()> {
    let kernel = kernel()?;
    let (known, _) = ANCHORS.list(state).await?;
    let known = known.into_iter().map(|(_, at)| at.value);
    ANCHOR.get_or_init(|| anchor::choose(known, &kernel, since_start(), since_1970().as_secs()));
    tell_of_jumps();
    Ok(())
}

/// Which start of the host this is: the kernel's boot_id.
fn kernel() -> Result<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .context("cannot tell one start of this host from another")?;
    Ok(id.trim().to_owned())
}

/// Says when the wall clock was set, and writes down now and then how far site time has come. `last` is when that was
/// written last, 0 for not since the start; the new one is returned.
pub async fn watch(state: &impl Backend, last: u64) -> u64 {
    tell_of_jumps();
    let (now, Some(anchor)) = (now(), ANCHOR.get()) else { return last };
    if now.saturating_sub(last) < NOTED {
        return last;
    }
    match note(state, &Anchor { seen: now, ..anchor.clone() }).await {
        Ok(()) => now,
        // The state says by itself that it cannot be written; the next look tries again.
        Err(cause) => {
            tracing::debug!(%cause, "the clock's record stays as it was");
            last
        }
    }
}

/// Earlier starts of the host say nothing that this one does not. But another one's record may be that of another server on
/// the same state, which would not know its own time any more after a restart: so it goes when it was not written for long.
async fn note(state: &impl Backend, anchor: &Anchor) -> Result<(), oneroot_state::Error> {
    let (known, _) = ANCHORS.list(state).await?;
    let is_over =
        |other: &Anchor| other.kernel != anchor.kernel && anchor.seen.saturating_sub(other.seen) > KEPT;
    let over = known.into_iter().map(|(_, at)| at.value).filter(is_over).take(SWEPT_AT_ONCE);
    let txn = over.fold(Txn::new(), |txn, other| ANCHORS.delete(txn, other.kernel));
    state.commit(ANCHORS.put(txn, &anchor.kernel, anchor)?).await.map(drop)
}

fn tell_of_jumps() {
    let ahead = ahead();
    if ahead.saturating_sub(SAID.load(Ordering::Relaxed)).abs() < JUMP {
        return;
    }
    SAID.store(ahead, Ordering::Relaxed);
    tracing::warn!("{}", in_words(ahead));
}

/// What people are told of a wall clock that was set.
pub fn in_words(ahead: i64) -> String {
    let (length, way) = (ahead.unsigned_abs(), if ahead < 0 { "behind" } else { "ahead of" });
    format!(
        "the host's clock is {length} s {way} the time that has passed since the host started: leases and boots go by the latter"
    )
}

/// Whether a wall clock that is so far off is worth a word.
pub fn is_off(ahead: i64) -> bool {
    ahead.abs() >= JUMP
}

/// By how much a wall clock is ahead of the site time that this state has, where no server runs that could be asked.
/// Nothing is known after another start of the host.
pub async fn ahead_of(state: &impl Backend) -> Result<i64> {
    let Some(at) = ANCHORS.get(state, kernel()?).await? else { return Ok(0) };
    let (wall, site) =
        (i64::try_from(since_1970().as_secs())?, i64::try_from(at.value.time_at(since_start()))?);
    Ok(wall.saturating_sub(site))
}

/// Milliseconds since the host started, from 1000, some milliseconds late: no call into the kernel and no reading of the
/// hardware, for what is asked on every NFS call.
pub fn coarse_ms() -> u64 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    let (seconds, nanoseconds) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    // Never 0, which elsewhere stands for never.
    seconds.unwrap_or(0).max(1) * 1000 + nanoseconds.unwrap_or(0) / 1_000_000
}

/// The host, as the domain asks it.
#[derive(Debug, Clone, Copy)]
pub struct ThisHost;

impl Host for ThisHost {
    fn now(&self) -> u64 {
        now()
    }

    fn shown(&self, time: u64) -> u64 {
        shown(time)
    }

    fn sure_since(&self) -> u64 {
        sure_since()
    }

    fn shown_ms(&self) -> u64 {
        u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX)
    }

    fn coarse(&self) -> u64 {
        coarse_ms() / 1000
    }

    fn after(&self, seconds: u64) -> Passing {
        Box::pin(tokio::time::sleep(Duration::from_secs(seconds)))
    }

    fn fill_random(&self, bytes: &mut [u8]) -> io::Result<()> {
        let count = rustix::rand::getrandom(&mut *bytes, rustix::rand::GetRandomFlags::empty())?;
        if count == bytes.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// Bytes that nobody can guess.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    ThisHost.fill_random(&mut bytes).context("the kernel has no random bytes")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oneroot_state::Memory;

    #[tokio::test]
    async fn the_record_of_another_server_on_the_state_stays_while_that_one_writes_it() {
        let memory = Memory::default();
        let at = |kernel: &str, seen| Anchor { kernel: kernel.to_owned(), since_start: 0, time: 0, seen };
        for (kernel, seen) in [("other", KEPT), ("long gone", 1)] {
            note(&memory, &at(kernel, seen)).await.unwrap();
        }
        note(&memory, &at("this", KEPT + 2)).await.unwrap();
        let (known, _) = ANCHORS.list(&memory).await.unwrap();
        let known: Vec<String> = known.into_iter().map(|(kernel, _)| kernel).collect();
        assert_eq!(known, ["other", "this"]);
    }
}
