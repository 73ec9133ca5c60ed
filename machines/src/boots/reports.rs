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
use std::sync::atomic::Ordering;

use oneroot_bootconf::pins::Pin;
use oneroot_bootconf::unknown::is_unknown;
use oneroot_ids::{BootId, Mac, MachineId};
use oneroot_initrd::examined::BadExamination;
use oneroot_initrd::report::{BadReport, Phase, Report};
use oneroot_nfsd::FIRST_UNPRIVILEGED_PORT;
use oneroot_state::{Backend as _, Error as StateError, Expect, MAX_TXN, Txn};
use thiserror::Error;

use crate::boots::commit::TRIES;
use crate::index::remedies;
use crate::index::steps::SETTINGS;
use crate::index::timelines::{BOOTS, News, Timeline, Whose};
use crate::machines::{Machines, present};

/// Machines whose boots are written in one transaction: each record has 20 KiB at most, and a machine that fails once some 3.
const WRITTEN_AT_ONCE: usize = 32;
/// Bytes of such a transaction from which nothing more is added to it.
const ENOUGH: usize = MAX_TXN / 2;

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
    /// What a machine finds out is heard while it comes up, from where its root is mounted.
    #[error("this boot's root is not mounted from this address, or it has come up already")]
    NotComingUp,
    /// It is no list of what a machine has found out.
    #[error(transparent)]
    BadExamination(#[from] BadExamination),
    /// So many strangers' are kept.
    #[error("there is no room for what one more machine has found out that nobody has named; name it")]
    NoRoom,
    /// It could not be written.
    #[error("this server can't write that now; say it again")]
    Unwritten,
}

/// A boot whose machine may tell of it.
#[derive(Debug)]
pub struct Reporter {
    pub(super) pin: Pin,
    /// The NIC that it was planned for, whichever has mounted its root.
    pub(super) mac: Mac,
    pub(super) peer: IpAddr,
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
        let known = known.map(|(mac, is_there, pin)| {
            let is_its = is_there || self.is_neighbour(peer.ip(), pin.machine);
            (mac, is_its, pin)
        });
        let refused = match known {
            None => ReportRefused::NoBoot,
            Some((_, false, _)) => ReportRefused::NotYours,
            Some(_) if peer.port() >= FIRST_UNPRIVILEGED_PORT => ReportRefused::Port,
            Some((mac, true, pin)) => match self.timelines().admit(pin.machine, self.host.now()) {
                Ok(()) => return Ok(Reporter { pin, mac, peer: peer.ip() }),
                Err(_) => ReportRefused::TooMany,
            },
        };
        tracing::warn!(peer = %peer.ip(), %boot, reason = %refused, "refused a report of a boot");
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
        if report.failure.is_none() && report.note.is_none() {
            self.step(mac, step_of(report.phase), false);
        }
        let news = self.in_boot(pin, mac, |timeline, now| {
            let news = timeline.told(&report, now);
            (news, news != News::Again { is_due: false })
        });
        if let Some(note) = &report.note {
            if news == News::Noted {
                tracing::info!(machine = name, %mac, %boot, "{name} boots on ({}): {note}", report.phase);
            }
            return Ok(());
        }
        let Some(told) = &report.failure else {
            tracing::debug!(machine = name, %mac, %boot, took_ms = report.took_ms, "init is past: {}", report.phase);
            return Ok(());
        };
        self.steps().fail(mac, present(self.host.as_ref()));
        let helps = remedies::of(report.phase.as_str(), told).map(|helps| format!("; {helps}"));
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

    pub(super) fn in_boot<T>(
        &self,
        pin: &Pin,
        mac: Mac,
        change: impl FnOnce(&mut Timeline, u64) -> (T, bool),
    ) -> T {
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
                    self.has_complained_of_timelines.store(false, Ordering::Relaxed);
                }
                Err(cause) => {
                    self.timelines().is_due_again(machines);
                    let is_told_otherwise =
                        matches!(cause, StateError::Conflict { .. } | StateError::OutcomeUnknown(_));
                    if !is_told_otherwise && !matches!(cause, StateError::Unavailable(_)) {
                        // It does not pass by itself, and is tried again with whatever is told next.
                        if !self.has_complained_of_timelines.swap(true, Ordering::Relaxed) {
                            tracing::error!(%cause, "cannot write what became of boots");
                        }
                        return false;
                    }
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
        let mut left = boots.iter();
        for (machine, boots) in left.by_ref() {
            machines.push(*machine);
            let known = applied.revision(&BOOTS.key(machine));
            txn = BOOTS.expect(txn, machine, known.map_or(Expect::Absent, Expect::At));
            txn = BOOTS.put(txn, machine, boots)?;
            if txn.bytes() >= ENOUGH {
                break;
            }
        }
        self.timelines().is_due_again(left.map(|(machine, _)| *machine));
        Ok(Some(orphans.iter().fold(txn, |txn, machine| BOOTS.delete(txn, machine))))
    }
}

/// The step that the end of a phase is, among those that servers see themselves. A mounted root is one, whoever tells of it.
fn step_of(phase: Phase) -> &'static str {
    match phase {
        Phase::Settings => SETTINGS,
        Phase::Address => "network",
        Phase::Overlay => "layer",
        phase => phase.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::around::ProbeResult;
    use crate::around::made_up::Links;
    use crate::boots::tests_on::{Server, two};
    use crate::index::timelines::LastBoots;
    use oneroot_bootconf::Site;
    use oneroot_bootconf::admission::Seen;
    use oneroot_bootconf::again::Ask;
    use oneroot_state::Trouble;
    use std::sync::Arc;

    /// A boot of the machine, planned on this server.
    async fn boot(server: &Server, peer: IpAddr) -> BootId {
        server.machines.boot_script(peer, server.mac, None, Ask::Whole).await.unwrap();
        let index = server.machines.index();
        *index.pins.keys().next().unwrap()
    }

    fn tell(server: &Server, peer: IpAddr, boot: BootId, text: &str) -> Result<(), ReportRefused> {
        let reporter = server.machines.reporter(SocketAddr::new(peer, 700), boot)?;
        server.machines.report(&reporter, text.as_bytes())
    }

    const LOST: &str = "phase carrier\nat 3000\ntook 20000\nfailed no carrier on eth0\nkernel igc: down\n";

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_report_is_believed_from_its_machines_address_and_a_low_port_before_anything_is_mounted() {
        let home = tempfile::tempdir().unwrap();
        let ([one, _], peer) = two(home.path()).await;
        let boot = boot(&one, peer).await;
        let refused =
            |peer: IpAddr, port, boot| one.machines.reporter(SocketAddr::new(peer, port), boot).unwrap_err();
        assert_eq!(refused(peer, 1024, boot), ReportRefused::Port);
        assert_eq!(refused([10, 0, 0, 11].into(), 700, boot), ReportRefused::NotYours);
        assert_eq!(refused(peer, 700, BootId::from_random([9; 8])), ReportRefused::NoBoot);
        tell(&one, peer, boot, "phase settings\nat 900\ntook 3\n").unwrap();
        assert_eq!(one.machines.steps().of(one.mac).last().unwrap().step, "settings");
        tell(&one, peer, boot, LOST).unwrap();
        let boots = one.machines.boots(Some(&one.mac.to_string())).unwrap().boots;
        assert_eq!((boots.len(), boots[0].phases.len()), (1, 1));
        assert_eq!(boots[0].failures[0].told, "no carrier on eth0");
        assert!(boots[0].failures[0].helps.as_ref().unwrap().contains("cable"));
        let shown = one.machines.one(&one.mac.to_string()).unwrap().status;
        assert!(shown.failed.unwrap().in_words().contains("no carrier"));
        // Ten minutes later it still is what it says, and not what usually holds others up.
        one.clock.pass(600);
        let shown = one.machines.one(&one.mac.to_string()).unwrap().status;
        assert!(shown.failed.is_some() && shown.stalled.is_none());
        tell(&one, peer, boot, "phase carrier\nat 90000\ntook 80000\n").unwrap();
        assert!(one.machines.one(&one.mac.to_string()).unwrap().status.failed.is_none());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn where_another_server_gives_addresses_a_report_is_believed_from_the_one_that_the_machine_was_given_since()
     {
        let home = tempfile::tempdir().unwrap();
        let ([one, mut other], peer) = two(home.path()).await;
        let boot = boot(&one, peer).await;
        other.hear();
        let since: IpAddr = [10, 0, 0, 12].into();
        let mut site = Site::clone(&one.machines.site());
        site.networks.iter_mut().for_each(|network| network.proxy = true);
        for (server, seen) in [(&one, one.mac.bytes()), (&other, [2; 6])] {
            server.machines.ask_by(Links::of(Seen::Neighbour(seen), ProbeResult::Silent));
            assert_eq!(
                tell(server, since, boot, LOST),
                Err(ReportRefused::NotYours),
                "addresses are ours to give"
            );
            server.machines.put_site(Arc::new(site.clone()));
        }
        tell(&one, since, boot, LOST).unwrap();
        assert_eq!(tell(&other, since, boot, LOST), Err(ReportRefused::NotYours), "somebody else is there");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_two_servers_hear_of_a_boot_is_one_boot_on_both_whichever_writes_first() {
        let home = tempfile::tempdir().unwrap();
        let ([one, mut other], peer) = two(home.path()).await;
        let boot = boot(&one, peer).await;
        other.hear();
        tell(&one, peer, boot, "phase settings\nat 900\ntook 3\n").unwrap();
        tell(&other, peer, boot, LOST).unwrap();
        assert!(one.machines.write_timelines().await);
        assert!(other.machines.write_timelines().await, "a conflict, and then both");
        let mut one = one;
        one.hear();
        other.hear();
        for server in [&one, &other] {
            let boots = server.machines.boots(None).unwrap().boots;
            let boot = boots.iter().find(|shown| shown.boot == boot.to_string()).unwrap();
            assert_eq!((boot.phases.len(), boot.failures.len()), (1, 1));
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn boots_are_written_behind_what_they_tell_of_and_go_with_their_machine() {
        let home = tempfile::tempdir().unwrap();
        let ([mut one, mut other], peer) = two(home.path()).await;
        let boot = boot(&one, peer).await;
        tell(&one, peer, boot, LOST).unwrap();
        let machine = one.machines.index().pins[&boot].0.machine;
        let written = async |server: &Server| {
            BOOTS.get(server.machines.state.as_ref(), machine).await.unwrap().map(|at| at.value)
        };
        assert_eq!(written(&one).await, None);
        one.memory().trouble([Some(Trouble::RequestLost)]);
        assert!(one.machines.write_timelines().await);
        let kept: LastBoots = written(&one).await.unwrap();
        assert_eq!(kept.boots[0].failures[0].kernel, ["igc: down"]);
        // An epoch would end all that NFS has remembered.
        let before = other.machines.epoch.at(1);
        other.hear();
        let after = other.machines.epoch.at(1);
        assert_ne!(before, after, "a boot was planned");
        tell(&one, peer, boot, "phase carrier\nat 90000\ntook 80000\n").unwrap();
        assert!(one.machines.write_timelines().await);
        other.hear();
        assert_eq!(other.machines.epoch.at(1), after);
        // The machine is forgotten by whichever server.
        let txn = crate::index::tables::MACHINES.delete(Txn::new(), machine);
        let txn = crate::index::tables::PINS.delete(txn, boot);
        one.machines.state.commit(txn).await.unwrap();
        one.hear();
        other.hear();
        assert!(other.machines.timelines().of(machine).is_empty());
        assert!(other.machines.write_timelines().await && one.machines.write_timelines().await);
        assert_eq!(written(&one).await, None);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn boots_that_tell_all_that_they_may_are_written_in_as_many_parts_as_it_takes() {
        let home = tempfile::tempdir().unwrap();
        let ([one, _], peer) = two(home.path()).await;
        let known = boot(&one, peer).await;
        let pin = one.machines.index().pins[&known].0.clone();
        for machine in 0..30 {
            let whose = Whose { machine: MachineId::from_random([machine + 1; 16]), is_named: true };
            for (boot, failure) in (0..5).flat_map(|boot| (0..4).map(move |failure| (boot, failure))) {
                // JSON writes each of these as two.
                let kernel = format!("kernel {}\n", "\\".repeat(250)).repeat(12);
                let told = "\\".repeat(630);
                let text = format!("phase carrier\nat {failure}\ntook 1\nfailed {failure}{told}\n{kernel}");
                let report: Report = text.parse().unwrap();
                let fresh =
                    Timeline::of(BootId::from_random([boot + 1; 8]), one.mac, "a", pin.view, pin.made);
                one.machines.timelines().change(whose, fresh, |timeline| (timeline.told(&report, 1), true));
            }
        }
        let (mut written, mut machines) = (0, Vec::new());
        // Each of them once: a transaction that takes more is refused, and none would be written any more.
        while machines.len() < 30 {
            let txn = one.machines.timelines_txn(&mut machines, &mut Vec::new()).unwrap().unwrap();
            assert!(txn.check_size().is_ok(), "{} bytes", txn.bytes());
            written += txn.bytes();
        }
        assert!(written > MAX_TXN, "{written} bytes are more than one takes");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn bytes_that_are_no_report_change_nothing() {
        let home = tempfile::tempdir().unwrap();
        let ([one, _], peer) = two(home.path()).await;
        let boot = boot(&one, peer).await;
        let reporter = one.machines.reporter(SocketAddr::new(peer, 700), boot).unwrap();
        for text in [&b""[..], b"\xff\xfe", b"phase up\nat 1\ntook 1\n", b"phase root\nat -1\ntook 1\n", b"x"]
        {
            let refused = one.machines.report(&reporter, text);
            assert!(matches!(refused, Err(ReportRefused::Bad(_))), "{text:?}");
        }
        assert!(one.machines.boots(None).unwrap().boots.is_empty());
    }
}
