//! `POST /b/BOOT/examined`: what a machine has found out about itself while it comes up (docs/decisions/0023). It is its claim, as all that
//! it tells: kept with its record, and looked at when its next boot is decided. The boot that tells it stays as it is.
//!
//! | believed | why |
//! |---|---|
//! | from a port below 1024, of the boot whose root is mounted from that very address | no user of the machine, and no other machine, can say it |
//! | until the boot says that it is up, and for [`LASTS`] s after the mount at most | programs and users of the machine come later |
//! | as often as reports are | each may be a durable write |

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use oneroot_bootconf::hardware::{ExaminedRecord, NotTaken, Taken};
use oneroot_bootconf::pins::{Phase, Pin};
use oneroot_bootconf::unknown::is_unknown;
use oneroot_ids::{BootId, MachineId};
use oneroot_initrd::examined::Examination;
use oneroot_state::{Backend as _, Error as StateError, Expect, Txn};

use crate::boots::commit::TRIES;
use crate::boots::reports::{ReportRefused, Reporter};
use crate::index::MachineIndex;
use crate::index::tables::{EXAMINED, MACHINES, PINS};
use crate::machines::Machines;

/// Seconds from the mount of a boot's root in which it may tell. Programs of a minute each are many by then.
const LASTS: u64 = 3600;

/// Machines that nobody has named and whose facts are kept, each some 16 KiB at most: anybody on a segment can be many of them.
const MOST_STRANGERS: usize = 1_000;

/// What is to be written.
enum Change {
    Nothing,
    Write(Txn),
}

impl Machines {
    /// Whether a peer may tell what the machine of a boot has found out.
    ///
    /// # Errors
    /// It may not; the log says so.
    pub fn examiner(&self, peer: SocketAddr, boot: BootId) -> Result<Reporter, ReportRefused> {
        let reporter = self.reporter(peer, boot)?;
        if self.comes_up(&reporter) {
            return Ok(reporter);
        }
        Err(refuse(peer.ip(), boot, ReportRefused::NotComingUp))
    }

    fn comes_up(&self, Reporter { pin, peer, .. }: &Reporter) -> bool {
        let is_young = self.host.now().saturating_sub(pin.since) < LASTS;
        pin.phase == Phase::Running && pin.address == peer.to_canonical() && is_young && !self.is_up(pin)
    }

    /// Takes in what a machine has found out, durably. What it has told before is not written again.
    ///
    /// # Errors
    /// It is no list of that, or could not be written.
    pub async fn examined(self: &Arc<Self>, reporter: &Reporter, bytes: &[u8]) -> Result<(), ReportRefused> {
        let Reporter { pin, mac, peer } = reporter;
        let (machine, mac, boot) = (self.name_of(*mac), *mac, pin.boot);
        let examination = Examination::read(bytes).inspect_err(|cause| {
            tracing::warn!(%peer, machine, %mac, %boot, %cause, "refused what a machine has examined");
        })?;
        self.index().hear(pin.machine, self.host.now());
        for _ in 0..TRIES {
            let (change, refused) = match self.after_examination(reporter, &examination) {
                // The log has it, with its cause.
                Err(ReportRefused::Unwritten) => return Err(ReportRefused::Unwritten),
                Err(refused) => return Err(refuse(*peer, boot, refused)),
                Ok(after) => after,
            };
            let is_written = match change {
                Change::Nothing => Ok(false),
                Change::Write(txn) => self.state.commit(txn.clone()).await.map(|revision| {
                    self.committed(&txn, revision);
                    true
                }),
            };
            match is_written {
                Ok(is_new) => {
                    for (hook, cause) in refused {
                        self.keep_not_examined(pin, &hook, &cause.to_string());
                    }
                    if is_new {
                        tracing::info!(machine, %mac, %boot, "{machine} has found out something new about itself: its next boot goes by that");
                    }
                    return Ok(());
                }
                Err(StateError::Conflict { .. } | StateError::OutcomeUnknown(_)) => {
                    let read = self.read_anew().await;
                    read.map_err(|cause| unwritten(&machine, &cause))?;
                }
                Err(cause) => return Err(unwritten(&machine, &cause)),
            }
        }
        Err(ReportRefused::Unwritten)
    }

    /// Whether nobody has named a machine, and there is no room for the facts of another such.
    fn is_one_stranger_too_many(&self, index: &MachineIndex, pin: &Pin) -> bool {
        let site = self.site();
        let is_stranger = |machine: &MachineId| {
            index.machines.get(machine).is_some_and(|(record, _)| is_unknown(record, &site))
        };
        let strangers = || index.examined.keys().filter(|machine| is_stranger(machine)).count();
        is_stranger(&pin.machine) && strangers() >= MOST_STRANGERS
    }

    /// What an examination changes, and the programs of which nothing was taken, and why. Nobody may have changed the machine's
    /// record or the boot's pin meanwhile: one that was forgotten, or is up, tells nothing more.
    fn after_examination(
        &self,
        reporter: &Reporter,
        examination: &Examination,
    ) -> Result<(Change, Vec<Refused>), ReportRefused> {
        let index = self.index();
        let known = index.machines.get(&reporter.pin.machine).zip(index.pins.get(&reporter.pin.boot));
        let Some(((_, of_machine), (pin, of_pin))) = known else { return Err(ReportRefused::NoBoot) };
        if !self.comes_up(&Reporter { pin: pin.clone(), ..*reporter }) {
            return Err(ReportRefused::NotComingUp);
        }
        let found = index.examined.get(&pin.machine);
        let before = found.map(|(record, _)| record.clone()).unwrap_or_default();
        let Taken { record, refused } = before.after(examination, self.host.now());
        if record == before {
            return Ok((Change::Nothing, refused));
        }
        if found.is_none() && self.is_one_stranger_too_many(&index, &reporter.pin) {
            return Err(ReportRefused::NoRoom);
        }
        let expected = found.map_or(Expect::Absent, |(_, revision)| Expect::At(*revision));
        let txn = MACHINES.expect(Txn::new(), pin.machine, Expect::At(*of_machine));
        let txn = PINS.expect(txn, pin.boot, Expect::At(*of_pin));
        let txn = EXAMINED.expect(txn, pin.machine, expected);
        let txn = if record == ExaminedRecord::default() {
            Ok(EXAMINED.delete(txn, pin.machine))
        } else {
            EXAMINED.put(txn, pin.machine, &record)
        };
        let txn = txn.map_err(|cause| unwritten(&self.name_of(reporter.mac), &cause))?;
        Ok((Change::Write(txn), refused))
    }
}

type Refused = (String, NotTaken);

/// Says in the log that a machine was not heard.
fn refuse(peer: IpAddr, boot: BootId, refused: ReportRefused) -> ReportRefused {
    tracing::warn!(%peer, %boot, reason = %refused, "refused what a machine has examined");
    refused
}

fn unwritten(machine: &str, cause: &dyn std::fmt::Display) -> ReportRefused {
    tracing::error!(machine, %cause, "cannot write what a machine has found out about itself");
    ReportRefused::Unwritten
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boots::tests_on::{Server, two};
    use oneroot_bootconf::MachineRecord;
    use oneroot_bootconf::again::Ask;
    use oneroot_bootconf::hardware::Key;
    use oneroot_ids::Mac;
    use oneroot_state::Trouble;

    /// A boot of the machine, whose root is mounted.
    async fn mounted(server: &Server, peer: IpAddr) -> Pin {
        server.machines.boot_script(peer, server.mac, None, Ask::Whole).await.unwrap();
        let newest = || {
            let index = server.machines.index();
            index.pins.values().map(|(pin, _)| pin).max_by_key(|pin| pin.made).cloned().unwrap()
        };
        let pin = newest();
        let path = format!("/v/{}.{}", pin.view, pin.boot);
        server.machines.mount(SocketAddr::new(peer, 700), path.as_bytes()).await.unwrap();
        newest()
    }

    async fn tell(server: &Server, peer: IpAddr, boot: BootId, printed: &str) -> Result<(), ReportRefused> {
        let reporter = server.machines.examiner(SocketAddr::new(peer, 700), boot)?;
        let bytes = format!("printed rack {}\n{printed}\n", printed.len());
        server.machines.examined(&reporter, bytes.as_bytes()).await
    }

    fn rack(server: &Server, mac: Mac) -> Option<String> {
        let claims = server.machines.claims(mac, None);
        claims.examined.get(&"rack".parse::<Key>().unwrap()).map(ToString::to_string)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_told_again_writes_nothing_and_what_two_servers_hear_is_known_to_both() {
        let home = tempfile::tempdir().unwrap();
        let ([one, mut other], peer) = two(home.path()).await;
        let pin = mounted(&one, peer).await;
        tell(&one, peer, pin.boot, "{\"rack\": \"b7\"}").await.unwrap();
        assert_eq!(rack(&one, one.mac).as_deref(), Some("b7"));
        let revision = async || one.machines.state.list("").await.unwrap().revision;
        let before = revision().await;
        tell(&one, peer, pin.boot, "{ \"rack\": \"b7\" }").await.unwrap();
        tell(&one, peer, pin.boot, "{\"rack\": null}").await.unwrap();
        assert_eq!(revision().await, before, "a complaint is written behind it");
        // The other one has not heard of what it is to change.
        other.hear();
        tell(&one, peer, pin.boot, "{\"rack\": \"b8\"}").await.unwrap();
        tell(&other, peer, pin.boot, "{\"rack\": \"b9\"}").await.unwrap();
        assert_eq!(rack(&other, one.mac).as_deref(), Some("b9"));
        for lost in [Trouble::AnswerLost, Trouble::RequestLost] {
            one.memory().trouble([Some(lost)]);
            tell(&one, peer, pin.boot, &format!("{{\"rack\": \"{lost:?}\"}}")).await.unwrap();
            assert_eq!(rack(&one, one.mac), Some(format!("{lost:?}")));
        }
        one.memory().set_unreachable(true);
        assert_eq!(tell(&one, peer, pin.boot, "{}").await, Err(ReportRefused::Unwritten));
        one.memory().set_unreachable(false);
        tell(&one, peer, pin.boot, "{}").await.unwrap();
        assert_eq!(
            EXAMINED
                .get(one.machines.state.as_ref(), pin.machine)
                .await
                .unwrap()
                .map(|at| at.value.facts().is_empty()),
            Some(true)
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn it_is_believed_where_the_root_is_mounted_while_the_machine_comes_up_and_goes_with_its_record() {
        let home = tempfile::tempdir().unwrap();
        let ([mut one, _], peer) = two(home.path()).await;
        let told = "{\"rack\": \"b7\"}";
        one.machines.boot_script(peer, one.mac, None, Ask::Whole).await.unwrap();
        let boot = *one.machines.index().pins.keys().next().unwrap();
        assert_eq!(tell(&one, peer, boot, told).await, Err(ReportRefused::NotComingUp), "nothing is mounted");
        let pin = mounted(&one, peer).await;
        let asks = |port| one.machines.examiner(SocketAddr::new(peer, port), pin.boot).map(drop);
        assert_eq!(asks(1024), Err(ReportRefused::Port));
        assert_eq!(tell(&one, [10, 0, 0, 11].into(), pin.boot, told).await, Err(ReportRefused::NotYours));
        one.clock.pass(LASTS - 1);
        tell(&one, peer, pin.boot, told).await.unwrap();
        one.clock.pass(1);
        assert_eq!(tell(&one, peer, pin.boot, told).await, Err(ReportRefused::NotComingUp));
        // A stranger's record makes room for another one's, or somebody forgets it.
        let txn = crate::index::tables::PINS.delete(Txn::new(), pin.boot);
        let txn = EXAMINED.delete(MACHINES.delete(txn, pin.machine), pin.machine);
        one.machines.state.commit(txn).await.unwrap();
        one.hear();
        assert_eq!(rack(&one, one.mac), None);
        assert!(one.machines.index().examined.is_empty());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_machines_that_nobody_has_named_so_many_are_kept_and_those_tell_on() {
        let home = tempfile::tempdir().unwrap();
        let ([mut one, _], peer) = two(home.path()).await;
        let pin = mounted(&one, peer).await;
        let stranger = |number: usize| {
            let [_, _, _, _, a, b, c, d] = (number as u64).to_be_bytes();
            let id = MachineId::from_random([9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, a, b, c, d]);
            let macs = vec![Mac::new([2, 9, a, b, c, d]).unwrap()];
            MachineRecord { id, macs, name: None, claimed: None, first_seen: 1 }
        };
        let all: Vec<MachineRecord> = (0..MOST_STRANGERS).map(stranger).collect();
        for some in all.chunks(50) {
            let txn = some.iter().fold(Txn::new(), |txn, record| {
                let txn = MACHINES.put(txn, record.id, record).unwrap();
                EXAMINED.put(txn, record.id, &ExaminedRecord::default()).unwrap()
            });
            one.machines.state.commit(txn).await.unwrap();
        }
        one.hear();
        assert!(one.machines.site().machine(one.mac).is_none(), "nobody has named it");
        let told = "{\"rack\": \"b7\"}";
        assert_eq!(tell(&one, peer, pin.boot, told).await, Err(ReportRefused::NoRoom));
        one.machines.state.commit(EXAMINED.delete(Txn::new(), all[0].id)).await.unwrap();
        one.hear();
        tell(&one, peer, pin.boot, told).await.unwrap();
        tell(&one, peer, pin.boot, "{\"rack\": \"b8\"}").await.unwrap();
        assert_eq!(rack(&one, one.mac).as_deref(), Some("b8"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_machine_that_is_forgotten_or_up_while_it_tells_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let ([one, _], peer) = two(home.path()).await;
        let pin = mounted(&one, peer).await;
        let reporter = one.machines.examiner(SocketAddr::new(peer, 700), pin.boot).unwrap();
        // Another server, of which nothing was heard here yet.
        let txn = MACHINES.delete(PINS.delete(Txn::new(), pin.boot), pin.machine);
        one.machines.state.commit(txn).await.unwrap();
        let refused = one.machines.examined(&reporter, b"printed rack 13\n{\"rack\": \"b\"}\n").await;
        assert_eq!(refused, Err(ReportRefused::NoBoot));
        assert!(EXAMINED.get(one.machines.state.as_ref(), pin.machine).await.unwrap().is_none());
    }
}
