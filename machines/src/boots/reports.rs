//! What init tells of its boot by HTTP, before it has a root and after. Whoever may send it can be any root of that machine: it
//! is shown, and decides nothing.
//!
//! | believed | of whom |
//! |---|---|
//! | from a port below 1024 | no other user of the machine can send from there |
//! | from the address that is bound to the boot's machine | as its kernel and initrd are given to that address alone |
//!
//! A phase told by HTTP and a word that is looked up by NFS are steps of the same boot.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use oneroot_bootconf::pins::Pin;
use oneroot_bootconf::unknown::is_unknown;
use oneroot_ids::{BootId, Mac, MachineId};
use oneroot_initrd::report::{BadReport, Phase, Report};
use oneroot_nfsd::FIRST_UNPRIVILEGED_PORT;
use oneroot_state::{Backend as _, Error as StateError, Expect, Txn};
use thiserror::Error;

use crate::boots::commit::TRIES;
use crate::index::remedies;
use crate::index::steps::SETTINGS;
use crate::index::timelines::{BOOTS, News, Timeline, Whose};
use crate::machines::{Machines, present};

/// Machines whose boots are written in one transaction: each record has 20 KiB at most, and a machine that fails once some 3.
const WRITTEN_AT_ONCE: usize = 32;

/// Why a report is not heard.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReportRefused {
    /// Any user of a machine could have sent it.
    #[error("a report comes from a port below 1024")]
    Port,
    /// There is no such boot, or it is over.
    #[error("there is no such boot")]
    NoBoot,
    /// It is not where its machine is.
    #[error("this address is not that boot's machine")]
    NotYours,
    /// It tells more than a boot has to tell.
    #[error("this machine tells more than is heard; say less, and later")]
    TooMany,
    /// It is none.
    #[error(transparent)]
    Bad(#[from] BadReport),
}

/// A boot whose machine may tell of it.
#[derive(Debug)]
pub struct Reporter {
    pin: Pin,
    /// The NIC that it was planned for, whichever has mounted its root.
    mac: Mac,
    peer: IpAddr,
}

impl Machines {
    /// Whether a peer may tell of a boot.
    ///
    /// # Errors
    /// It may not; the log says so.
    pub fn reporter(&self, peer: SocketAddr, boot: BootId) -> Result<Reporter, ReportRefused> {
        let known = {
            let index = self.index();
            let pin = index.pins.get(&boot).map(|(pin, _)| pin.clone());
            let mac = index.plans.get(&boot).map(|plan| plan.mac);
            pin.map(|pin| (mac.unwrap_or(pin.mac), index.machine_at(peer.ip()) == Some(pin.machine), pin))
        };
        let refused = match known {
            None => ReportRefused::NoBoot,
            Some((_, false, _)) => ReportRefused::NotYours,
            Some(_) if peer.port() >= FIRST_UNPRIVILEGED_PORT => ReportRefused::Port,
            Some((mac, true, pin)) => match self.timelines().admit(pin.machine, self.host.now()) {
                Ok(()) => return Ok(Reporter { pin, mac, peer: peer.ip() }),
                Err(_) => ReportRefused::TooMany,
            },
        };
        tracing::warn!(peer = %peer.ip(), %boot, reason = %refused, "refused a report of a boot: {refused}");
        Err(refused)
    }

    /// Takes in what a boot's machine tells.
    ///
    /// # Errors
    /// It is no report.
    pub fn report(&self, reporter: &Reporter, text: &[u8]) -> Result<(), ReportRefused> {
        let Reporter { pin, mac, peer } = reporter;
        let (mac, boot, name) = (*mac, pin.boot, self.name_of(*mac));
        let read = std::str::from_utf8(text).map_err(|_| BadReport::Malformed);
        let report: Report = read.and_then(str::parse).inspect_err(|cause| {
            tracing::warn!(%peer, machine = name, %mac, %boot, %cause, "refused a report that can't be read");
        })?;
        self.index().hear(pin.machine, self.host.now());
        if report.failure.is_none() {
            self.step(mac, step_of(report.phase), false);
        }
        let news = self.in_boot(pin, mac, |timeline, now| {
            let news = timeline.told(&report, now);
            (news, news != News::Again { is_due: false })
        });
        let Some(told) = &report.failure else {
            tracing::debug!(machine = name, %mac, %boot, took_ms = report.took_ms, "init is past: {}", report.phase);
            return Ok(());
        };
        self.steps().fail(mac, present(self.host.as_ref()));
        let helps = remedies::of(report.phase.name(), told).map(|helps| format!("; {helps}"));
        let helps = helps.unwrap_or_default();
        if news == News::Failed {
            tracing::warn!(machine = name, %mac, %boot, "{name} does not come up ({}): {told}{helps}", report.phase);
        } else {
            tracing::debug!(machine = name, %mac, %boot, "does not come up yet ({}): {told}", report.phase);
        }
        Ok(())
    }

    /// A boot was seen to go on: what servers know of its steps is kept with it.
    pub(crate) fn seen_in_boot(&self, pin: &Pin, mac: Mac, is_up: bool) {
        self.in_boot(pin, mac, |timeline, _| {
            if is_up {
                timeline.is_up();
            }
            ((), true)
        });
    }

    fn in_boot<T>(&self, pin: &Pin, mac: Mac, change: impl FnOnce(&mut Timeline, u64) -> (T, bool)) -> T {
        let (site, now) = (self.site(), self.host.now());
        let server = site.server_for(pin.address);
        // Steps are those of the NIC's present boot, which may be a later one by now.
        let steps = self.steps().of(mac).to_vec();
        let index = self.index();
        let newest = index.pins_of(pin.machine).map(|(pin, _)| (pin.made, pin.boot)).max();
        let is_present = newest.is_some_and(|(_, boot)| boot == pin.boot);
        let is_named = index.machines.get(&pin.machine).is_some_and(|(record, _)| !is_unknown(record, &site));
        let profile = index.plans.get(&pin.boot).map(|plan| plan.profile.as_str()).unwrap_or_default();
        let fresh = Timeline::of(pin.boot, mac, profile, pin.view, pin.made);
        let done = self.timelines().change(Whose { machine: pin.machine, is_named }, fresh, |timeline| {
            timeline.seen(server, if is_present { &steps } else { &[] });
            change(timeline, now)
        });
        drop(index);
        self.timelines_due.notify_one();
        done
    }

    /// Waits until something of boots is to be written.
    pub async fn timelines_due(&self) {
        self.timelines_due.notified().await;
    }

    /// Writes what is new of boots; false where it could not be written, and is kept for the next time.
    pub async fn write_timelines(self: &Arc<Self>) -> bool {
        for _ in 0..TRIES {
            let (mut machines, mut orphans) = (Vec::new(), Vec::new());
            let txn = match self.timelines_txn(&mut machines, &mut orphans) {
                Ok(None) => return true,
                Ok(Some(txn)) => txn,
                Err(cause) => {
                    tracing::error!(%cause, "cannot write what became of boots");
                    return false;
                }
            };
            match self.state.commit(txn.clone()).await {
                Ok(revision) => {
                    self.committed(&txn, revision);
                    self.timelines().are_gone(&orphans);
                }
                Err(cause) => {
                    self.timelines().is_due_again(machines);
                    let is_told_otherwise =
                        matches!(cause, StateError::Conflict { .. } | StateError::OutcomeUnknown(_));
                    // Another server has written of the same boots: both are put together, and written again.
                    if !is_told_otherwise || self.read_anew().await.is_err() {
                        tracing::debug!(%cause, "what became of boots is written later");
                        return false;
                    }
                }
            }
        }
        // There is more of it than is written at once.
        self.timelines_due.notify_one();
        true
    }

    /// Some of what is to be written, and whose it is.
    fn timelines_txn(
        &self,
        machines: &mut Vec<MachineId>,
        orphans: &mut Vec<String>,
    ) -> Result<Option<Txn>, StateError> {
        let applied = self.applied();
        let (boots, gone) = self.timelines().due(WRITTEN_AT_ONCE);
        orphans.extend(gone);
        if boots.is_empty() && orphans.is_empty() {
            return Ok(None);
        }
        let mut txn = Txn::new();
        for (machine, boots) in &boots {
            machines.push(*machine);
            let known = applied.revision(&BOOTS.key(machine));
            txn = BOOTS.expect(txn, machine, known.map_or(Expect::Absent, Expect::At));
            txn = BOOTS.put(txn, machine, boots)?;
        }
        Ok(Some(orphans.iter().fold(txn, |txn, machine| BOOTS.delete(txn, machine))))
    }
}

/// The step that the end of a phase is, among those that servers see themselves. A mounted root is one, whoever tells of it.
fn step_of(phase: Phase) -> &'static str {
    match phase {
        Phase::Settings => SETTINGS,
        Phase::Address => "network",
        Phase::Overlay => "layer",
        phase => phase.name(),
    }
}
