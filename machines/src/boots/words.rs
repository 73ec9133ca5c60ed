//! Words, by which machines say how far they are: `BOOT.WORD`, looked up under `/.oneroot/say`.
//!
//! Any user of any machine that holds the view can look up what she likes there, so a word is believed of a boot whose root is mounted, from
//! where it is mounted, and in its own view. It is heard where the call is answered: whoever shouts is in the way of nobody's words but her own.
//!
//! Two of them are written, and no call waits for that. What can't be written is tried again with each tick, for as long as the boot
//! has its pin: a machine says it once.

use std::sync::{Arc, MutexGuard, PoisonError};

use oneroot_bootconf::pins::{Event, Pin};
use oneroot_ids::BootId;
use oneroot_nfsd::FIRST_UNPRIVILEGED_PORT;
use tokio::task::JoinHandle;

use crate::machines::Machines;
use crate::order::unwritten::{Lasting, Unwritten};
use crate::views::tree::ProgressReport;

/// What a boot says once it has its secrets.
const SECRETS_TAKEN: &str = "secrets-taken";
/// What it says once it is up.
const UP: &str = "up";

impl Machines {
    /// Takes in a word, at once. What is returned ends when that is written, which happens whether or not anybody waits for it.
    pub fn heard(self: &Arc<Self>, report: &ProgressReport) -> impl Future<Output = ()> + Send + use<> {
        let written = self.take_in(report);
        async move {
            if let Some(written) = written {
                let _ = written.await;
            }
        }
    }

    fn take_in(self: &Arc<Self>, report: &ProgressReport) -> Option<JoinHandle<()>> {
        let (boot, word) = report.text.split_once('.')?;
        let boot = boot.parse::<BootId>().ok()?;
        // It is shown and logged as it is.
        if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return None;
        }
        let pin = self.index().pins.get(&boot).map(|(pin, _)| pin.clone())?;
        if !pin.hears(report.peer.ip(), report.view) {
            tracing::debug!(peer = %report.peer, %boot, "left a word of that boot unheard: its root is not mounted from there");
            return None;
        }
        let mac = pin.mac;
        if self.complains(&pin, word) {
            return None;
        }
        tracing::info!(machine = self.name_of(mac), %mac, %boot, "reached: {word}");
        self.step(mac, word, false);
        self.seen_in_boot(&pin, mac, word == UP);
        match word {
            // Here it counts at once.
            SECRETS_TAKEN => {
                self.secrets.close(boot);
                self.write_word(pin, Lasting::SecretsTaken)
            }
            // Where the site lets users call from ports of their own, their words are shown and end nothing.
            UP if report.peer.port() < FIRST_UNPRIVILEGED_PORT => self.write_word(pin, Lasting::Up),
            _ => None,
        }
    }

    /// Those that could not be written are tried again.
    pub(crate) fn write_heard(self: &Arc<Self>) {
        let is_held = |boot| self.index().pins.contains_key(&boot);
        let waiting = self.unwritten().take(is_held);
        for (pin, lasting) in waiting {
            drop(self.begin_writing(pin, lasting));
        }
    }

    /// Has a word written, unless that is under way.
    fn write_word(self: &Arc<Self>, pin: Pin, lasting: Lasting) -> Option<JoinHandle<()>> {
        let is_due = self.unwritten().hear(&pin, lasting);
        is_due.then(|| self.begin_writing(pin, lasting))
    }

    fn begin_writing(self: &Arc<Self>, pin: Pin, lasting: Lasting) -> JoinHandle<()> {
        let machines = self.clone();
        tokio::spawn(async move {
            let (of, written) = match lasting {
                Lasting::SecretsTaken => ("its secrets are closed", machines.write_closed(&pin).await),
                Lasting::Up => {
                    ("it is up", machines.apply(pin.machine, &Event::Up(pin.boot)).await.map(drop))
                }
            };
            machines.unwritten().end(pin.boot, lasting, written.is_ok());
            if let Err(cause) = written {
                let (name, mac) = (machines.name_of(pin.mac), pin.mac);
                tracing::error!(machine = name, %mac, boot = %pin.boot, %cause, "cannot write of a machine that {of}; it is tried again");
            }
        })
    }

    fn unwritten(&self) -> MutexGuard<'_, Unwritten> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
