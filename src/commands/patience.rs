//! How long `sync` and `pull` go on with a server that has no time, cuts them off, or drips.

use std::io;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::ProgressBar;
use oneroot_tree::Error;

use crate::print;
use crate::remote::{Refused, Slow, Unreachable};

/// Tries without a byte of progress before a server is given up.
pub const TRIES: u32 = 5;
/// The wait before the first of them; it doubles. A debug build, which tests wait for, has less.
const PAUSE: Duration = Duration::from_millis(if cfg!(debug_assertions) { 100 } else { 500 });
/// How long a server may have no time before it is given up.
const BUSY: Duration = Duration::from_secs(15 * 60);
/// The longest wait that it may ask for.
const LONGEST: Duration = Duration::from_secs(60);
/// Bytes after which one that drips has shown that it can do better.
const FLOWS: u64 = 1 << 20;

/// What of it is used up.
#[derive(Default)]
pub struct Patience {
    tries: u32,
    slow: u32,
    /// Since when the server has had no time.
    busy: Option<Instant>,
}

impl Patience {
    /// Something has come since the last failure.
    pub fn has_come(&mut self, bytes: u64) {
        let slow = if bytes < FLOWS { self.slow } else { 0 };
        *self = Self { slow, ..Self::default() };
    }

    /// Waits before the next try, and tells so.
    ///
    /// # Errors
    /// The cause, when it is no use.
    pub fn wait(&mut self, cause: anyhow::Error, bar: &ProgressBar) -> Result<()> {
        let was_busy = self.busy.is_some();
        let Some(pause) = self.pause(&cause, Instant::now()) else { return Err(cause) };
        bar.set_message(format!("{cause:#}; trying again"));
        if bar.is_hidden() && self.busy.is_some() && !was_busy {
            let minutes = BUSY.as_secs() / 60;
            print::trouble(format_args!("oneroot: {cause:#}; trying for {minutes} minutes"));
        }
        std::thread::sleep(pause);
        Ok(())
    }

    fn pause(&mut self, cause: &anyhow::Error, now: Instant) -> Option<Duration> {
        if let Some(Refused::Busy { after, .. }) = cause.downcast_ref() {
            // Its answers take their time, too.
            if now.saturating_duration_since(*self.busy.get_or_insert(now)) >= BUSY {
                return None;
            }
            // A hundred who are told the same must not all come back at once.
            return Some(after.unwrap_or(PAUSE).clamp(PAUSE, LONGEST).mul_f64(1.0 + chance()));
        }
        self.slow += u32::from(is_slow(cause));
        self.tries += 1;
        let goes_on = self.tries <= TRIES && self.slow <= TRIES && may_pass(cause);
        goes_on.then(|| PAUSE * 2u32.pow(self.tries - 1))
    }
}

/// Asks a server until it answers. One that is not there at all is asked once: its name may be wrong.
///
/// # Errors
/// The last cause.
pub fn patiently<T>(bar: &ProgressBar, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let mut patience = Patience::default();
    loop {
        match ask() {
            Err(cause) if cause.downcast_ref::<Unreachable>().is_none() => patience.wait(cause, bar)?,
            answered => return answered,
        }
    }
}

/// Something from 0 to 1.
fn chance() -> f64 {
    f64::from(u16::from_le_bytes(crate::clock::random().unwrap_or_default())) / f64::from(u16::MAX)
}

fn is_slow(cause: &anyhow::Error) -> bool {
    let io = cause.chain().filter_map(|cause| match cause.downcast_ref() {
        Some(Error::Cut(cause) | Error::Stream(cause)) => Some(cause),
        _ => cause.downcast_ref::<io::Error>(),
    });
    io.filter_map(io::Error::get_ref).any(|cause| cause.is::<Slow>())
}

/// Whether the next try may do better: what the way has done, and no certificate, no word of another protocol, no disk of ours.
fn may_pass(cause: &anyhow::Error) -> bool {
    let is_for_good = cause.chain().any(|cause| match cause.downcast_ref() {
        Some(Error::Cut(_)) => false,
        // An index that has all come and is none will be none again.
        Some(Error::Stream(cause)) => !is_cut(cause),
        Some(_) => true,
        None => match (cause.downcast_ref::<io::Error>(), cause.downcast_ref::<hyper::Error>()) {
            (Some(cause), _) => is_distrust(cause),
            (_, Some(cause)) => cause.is_parse(),
            _ => false,
        },
    });
    let is_on_the_way = |cause: &(dyn std::error::Error + 'static)| {
        let is_streams = matches!(cause.downcast_ref(), Some(Error::Cut(_) | Error::Stream(_)));
        is_streams
            || cause.is::<io::Error>()
            || cause.is::<hyper::Error>()
            || cause.is::<tokio::time::error::Elapsed>()
    };
    !is_for_good && cause.chain().any(is_on_the_way)
}

/// Whether a conversation has ended before its end.
fn is_cut(cause: &io::Error) -> bool {
    cause.kind() == io::ErrorKind::TimedOut || cause.get_ref().is_some_and(|cause| cause.is::<hyper::Error>())
}

/// Whether a server is not known by its certificate, or speaks no TLS.
fn is_distrust(cause: &io::Error) -> bool {
    let cause = cause.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    cause.is_some_and(|cause| {
        matches!(
            cause,
            rustls::Error::InvalidCertificate(_)
                | rustls::Error::NoCertificatesPresented
                | rustls::Error::InvalidMessage(_)
                | rustls::Error::General(_)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy() -> anyhow::Error {
        Refused::Busy { words: String::new(), after: Some(Duration::from_secs(1)) }.into()
    }

    #[test]
    fn a_server_without_time_is_waited_for_as_it_says_for_minutes_and_not_for_ever() {
        let (mut patience, mut asked) = (Patience::default(), 0u32);
        let (begun, answers) = (Instant::now(), Duration::from_secs(20));
        let mut waited = Duration::ZERO;
        while let Some(pause) = patience.pause(&busy(), begun + waited) {
            assert!((Duration::from_secs(1)..=Duration::from_secs(2)).contains(&pause), "{pause:?}");
            (waited, asked) = (waited + pause + answers, asked + 1);
        }
        assert!(waited >= BUSY && waited < BUSY + 2 * answers && asked > 20, "{waited:?}");
    }

    #[test]
    fn one_that_always_drips_is_given_up_though_it_always_brings_a_little() {
        let drips = || Error::Cut(io::Error::new(io::ErrorKind::TimedOut, Slow)).into();
        let mut patience = Patience::default();
        let tries = (0..100).take_while(|_| {
            patience.has_come(100);
            patience.pause(&drips(), Instant::now()).is_some()
        });
        assert_eq!(tries.count(), TRIES as usize);
    }

    #[test]
    fn what_is_for_good_is_not_tried_again() {
        let rustls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        for (cause, passes) in [
            (io::Error::new(io::ErrorKind::InvalidData, rustls), false),
            (io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError), true),
            (io::ErrorKind::ConnectionReset.into(), true),
        ] {
            assert_eq!(
                Patience::default().pause(&anyhow::Error::from(cause), Instant::now()).is_some(),
                passes
            );
        }
        let full = Error::io("write", "file")(io::Error::from(io::ErrorKind::StorageFull));
        assert!(Patience::default().pause(&full.into(), Instant::now()).is_none());
        for kind in [io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof, io::ErrorKind::Other] {
            assert!(
                Patience::default().pause(&Error::Stream(kind.into()).into(), Instant::now()).is_none(),
                "{kind:?}"
            );
        }
        let silent = Error::Stream(io::ErrorKind::TimedOut.into());
        assert!(Patience::default().pause(&silent.into(), Instant::now()).is_some());
    }
}
