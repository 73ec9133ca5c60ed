//! What became of each boot, as servers saw it and as its init tells it. Nothing is decided by it: it has a lock of its own,
//! as the steps have, and changes nothing that NFS has remembered of the tables.
//!
//! Each machine has one record ([`BOOTS`]) with its last boots, written some of them at a time and behind the boots that it
//! tells of. What two servers hear of one boot is put together, whichever of them writes first.
//!
//! | bounded | by |
//! |---|---|
//! | boots of a machine; of one that nobody has named | [`MOST_BOOTS`]; [`MOST_OF_STRANGER`] |
//! | reports of a machine | [`BURST`] at once, then one in [`EVERY`] s |
//! | what is kept of a boot | its steps, one line for each phase, [`MOST_FAILURES`] failures, the kernel's words with the last |
//! | bytes of all machines that nobody has named | [`STRANGERS_BYTES`] |

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use oneroot_bootconf::Site;
use oneroot_bootconf::unknown::is_unknown;
use oneroot_ids::{BootId, Mac, MachineId, ViewId};
use oneroot_initrd::report::{LONGEST_FAILURE, LONGEST_KERNEL_LINE, MOST_KERNEL_LINES, Phase, Report, shown};
use oneroot_state::{Change, Table};
use serde::{Deserialize, Serialize};

use crate::index::MachineIndex;
use crate::index::steps::BootStep;
use crate::index::tables::MACHINES;

/// The last boots of each machine.
pub const BOOTS: Table<LastBoots> = Table::new("boots");

/// Boots kept of a machine.
pub const MOST_BOOTS: usize = 5;
/// Of one that nobody has named.
pub const MOST_OF_STRANGER: usize = 1;
/// Reports of a machine at once; a boot has about ten.
pub const BURST: u64 = 32;
/// Seconds for one more.
pub const EVERY: u64 = 2;
/// Failures kept of a boot: the last ones.
pub const MOST_FAILURES: usize = 4;
/// Of them, those that a running machine tells of by a word.
const MOST_COMPLAINTS: usize = MOST_FAILURES - 1;
/// Steps kept of a boot.
const MOST_STEPS: usize = 32;
/// Servers that are shown with a boot.
const MOST_SERVERS: usize = 4;
/// Bytes kept of all machines that nobody has named; who comes later has its steps kept by the present server alone.
pub const STRANGERS_BYTES: usize = 16 << 20;

/// What a machine is busy with that mounts what its site says beside its root.
pub const MOUNTS: &str = "mounts";
/// One that does what its site has it do before its real init.
pub const HOOKS: &str = "hooks";
/// One that fetches its secrets before that.
pub const SECRETS: &str = "secrets";
/// And one whose writable layer fills up.
pub const SPACE: &str = "space";

/// Whether a failure is of a machine that runs, and no phase of its init.
pub fn is_complaint(kind: &str) -> bool {
    [MOUNTS, SPACE, HOOKS, SECRETS].contains(&kind)
}

/// The record of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastBoots {
    /// The latest last.
    pub boots: Vec<Timeline>,
}

/// One boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// Its id.
    pub boot: BootId,
    /// The NIC that it was planned for.
    pub mac: Mac,
    /// Its profile.
    pub profile: String,
    /// Its root.
    pub view: ViewId,
    /// Site time at which it was planned.
    pub made: u64,
    /// The servers that heard of it, by the address that it knows them by.
    pub servers: Vec<IpAddr>,
    /// Times that its kernel was started: a boot of which nothing was mounted is tried again under the same id.
    pub tries: u32,
    /// What servers saw of it, and the words that it looked up.
    pub steps: Vec<BootStep>,
    /// What its init has done in the last try.
    pub phases: Vec<PhaseDone>,
    /// What it could not do, the latest last.
    pub failures: Vec<BootFailure>,
}

/// A phase of init that came to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseDone {
    /// Its word.
    pub phase: String,
    /// Milliseconds from the kernel's start to its end.
    pub at_ms: u64,
    /// Milliseconds that it took.
    pub took_ms: u64,
}

/// Something that init could not do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootFailure {
    /// What it was busy with.
    pub phase: String,
    /// Site time at which it was told of last.
    pub at: u64,
    /// Milliseconds from the kernel's start.
    pub at_ms: u64,
    /// Its own sentence.
    pub told: String,
    /// Times that it was told.
    pub times: u32,
    /// It could do it later, or went on without.
    pub is_over: bool,
    /// It went on without.
    #[serde(default)]
    pub is_note: bool,
    /// The kernel's last words; of a boot's last failure alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernel: Vec<String>,
}

/// What a report is to those who have heard the ones before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// A phase is over.
    Done,
    /// A failure that this boot has not told of before.
    Failed,
    /// Something that it goes on with.
    Noted,
    /// One that it tells of again.
    Again {
        /// Whether that is written down: a machine that tries again for days is no reason to write every few seconds.
        is_due: bool,
    },
}

/// More reports than a boot has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

impl Timeline {
    /// Of nothing yet.
    pub fn of(boot: BootId, mac: Mac, profile: &str, view: ViewId, made: u64) -> Self {
        let profile = profile.to_owned();
        let (servers, steps, phases, failures) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { boot, mac, profile, view, made, servers, tries: 1, steps, phases, failures }
    }

    /// A server has heard of it, which has seen these steps.
    pub fn seen(&mut self, server: IpAddr, steps: &[BootStep]) {
        if self.servers.len() < MOST_SERVERS && !self.servers.contains(&server) {
            self.servers.push(server);
        }
        for step in steps {
            if self.steps.len() < MOST_STEPS && !self.steps.iter().any(|known| known.step == step.step) {
                self.steps.push(step.clone());
            }
        }
        self.steps.sort_by_key(|step| step.at_ms);
    }

    /// Its init has told something.
    pub fn told(&mut self, report: &Report, now: u64) -> News {
        // The kernel's clock begins anew with each start.
        if self.last_ms().is_some_and(|last| report.at_ms < last) && report.phase == Phase::Settings {
            self.tries = self.tries.saturating_add(1);
            self.phases.clear();
            self.failures.iter_mut().for_each(|failure| failure.is_over = true);
        }
        let word = report.phase.to_string();
        let is_note = report.note.is_some();
        let told = report.failure.as_deref().or(report.note.as_deref());
        let Some(told) = told else {
            self.phases.retain(|done| done.phase != word);
            self.phases.push(PhaseDone { phase: word, at_ms: report.at_ms, took_ms: report.took_ms });
            self.end_failures(report.phase);
            return News::Done;
        };
        let told = shown(told, LONGEST_FAILURE);
        let known = self
            .failures
            .iter()
            .position(|known| known.phase == word && known.told == told && known.is_note == is_note);
        let times = known.map_or(0, |at| self.failures.remove(at).times).saturating_add(1);
        self.failures.iter_mut().for_each(|failure| failure.kernel.clear());
        let lines = report
            .kernel
            .iter()
            .take(MOST_KERNEL_LINES)
            .map(|line| shown(line, LONGEST_KERNEL_LINE))
            .collect();
        self.failures.push(BootFailure {
            phase: word,
            at: now,
            at_ms: report.at_ms,
            told,
            times,
            is_over: is_note,
            is_note,
            kernel: lines,
        });
        self.cut();
        if times > 1 {
            return News::Again { is_due: times.is_power_of_two() };
        }
        if is_note { News::Noted } else { News::Failed }
    }

    /// What it can't get past as far as is known.
    pub fn failed(&self) -> Option<&BootFailure> {
        self.failures.iter().rev().find(|failure| !failure.is_over)
    }

    /// It has come up, whatever it told before; what a running machine lacks it lacks all the same.
    pub fn is_up(&mut self) {
        let past = self.failures.iter_mut().filter(|failure| !is_complaint(&failure.phase));
        past.for_each(|failure| failure.is_over = true);
    }

    /// It lacks something of a kind that no phase of init is; whether that is new.
    pub fn lacks(&mut self, kind: &str, told: &str, now: u64) -> bool {
        let told = shown(told, LONGEST_FAILURE);
        let complaints = self.failures.iter().filter(|known| is_complaint(&known.phase));
        // Any user of the machine may say any word, and what its init could not do is not to give way to that.
        if complaints.clone().count() >= MOST_COMPLAINTS
            || complaints.clone().any(|known| known.phase == kind && known.told == told)
        {
            return false;
        }
        let at_ms = self.last_ms().unwrap_or_default();
        let phase = kind.to_owned();
        self.failures.push(BootFailure {
            phase,
            at: now,
            at_ms,
            told,
            times: 1,
            is_over: false,
            is_note: false,
            kernel: Vec::new(),
        });
        self.cut();
        true
    }

    /// A phase came to its end, so what was in its way and in the way of all before it is not there any more.
    fn end_failures(&mut self, phase: Phase) {
        let is_past = |word: &str| word.parse::<Phase>().is_ok_and(|failed| failed <= phase);
        let past = self.failures.iter_mut().filter(|failure| is_past(&failure.phase));
        past.for_each(|failure| failure.is_over = true);
    }

    fn last_ms(&self) -> Option<u64> {
        let phases = self.phases.iter().map(|done| done.at_ms);
        phases.chain(self.failures.iter().filter(|failure| !failure.is_over).map(|one| one.at_ms)).max()
    }

    fn cut(&mut self) {
        self.failures.sort_by_key(|failure| failure.at);
        let surplus = self.failures.len().saturating_sub(MOST_FAILURES);
        self.failures.drain(..surplus);
    }

    /// Takes in what another server knows of the same boot.
    fn merge(&mut self, other: Self) {
        other.servers.iter().for_each(|server| self.seen(*server, &[]));
        if let Some(server) = self.servers.first().copied() {
            self.seen(server, &other.steps);
        }
        if other.tries > self.tries {
            (self.tries, self.phases) = (other.tries, other.phases);
        } else if other.tries == self.tries {
            let known = |word: &str| self.phases.iter().any(|done| done.phase == word);
            let new: Vec<PhaseDone> = other.phases.into_iter().filter(|done| !known(&done.phase)).collect();
            self.phases.extend(new);
            self.phases.sort_by_key(|done| done.at_ms);
        }
        for failure in other.failures {
            let same = |known: &&mut BootFailure| known.phase == failure.phase && known.told == failure.told;
            match self.failures.iter_mut().find(same) {
                Some(known) => {
                    // Who has heard of it last knows whether it is over: one that came back was over before.
                    let (mine, theirs) = ((known.at, known.times), (failure.at, failure.times));
                    known.is_over = match theirs.cmp(&mine) {
                        Ordering::Greater => failure.is_over,
                        Ordering::Equal => known.is_over || failure.is_over,
                        Ordering::Less => known.is_over,
                    };
                    known.times = known.times.max(failure.times);
                    known.at = known.at.max(failure.at);
                }
                None => self.failures.push(failure),
            }
        }
        self.cut();
    }

    /// About as many bytes as it takes.
    fn weight(&self) -> usize {
        let failures = self.failures.iter().map(|failure| {
            failure.told.len() + 96 + failure.kernel.iter().map(|line| line.len() + 24).sum::<usize>()
        });
        let steps = self.steps.iter().map(|step| step.step.len() + 32).sum::<usize>();
        192 + self.profile.len() + steps + self.phases.len() * 48 + failures.sum::<usize>()
    }
}

/// What is known of one machine's boots.
#[derive(Debug, Default)]
struct Known {
    boots: LastBoots,
    /// It is not written yet.
    is_due: bool,
    /// Bytes that it takes of the strangers'.
    weight: usize,
    /// Reports that it may make now, and since when.
    left: Option<(u64, u64)>,
}

/// The boots of all machines.
#[derive(Debug, Default)]
pub struct Timelines {
    machines: HashMap<MachineId, Known>,
    /// Records of machines that there are no more.
    orphans: BTreeSet<String>,
    strangers: usize,
}

/// Whose boot it is.
#[derive(Debug, Clone, Copy)]
pub struct Whose {
    /// Its machine.
    pub machine: MachineId,
    /// Whether the site, or somebody who has adopted it, names that.
    pub is_named: bool,
}

impl Timelines {
    /// Whether a machine may make one more report now.
    pub fn admit(&mut self, machine: MachineId, now: u64) -> Result<(), TooMany> {
        let known = self.machines.entry(machine).or_default();
        let (left, since) = known.left.unwrap_or((BURST, now));
        let gained = now.saturating_sub(since) / EVERY;
        let left = left.saturating_add(gained).min(BURST);
        // What is not yet a whole report is not lost.
        let since = if left == BURST { now } else { since.saturating_add(gained * EVERY) };
        known.left = Some((left.saturating_sub(1), since));
        if left == 0 { Err(TooMany) } else { Ok(()) }
    }

    /// Changes what is known of a boot, of which `fresh` is all where nothing is. `change` says whether it is of a kind that
    /// is written down.
    pub fn change<T>(
        &mut self,
        whose: Whose,
        fresh: Timeline,
        change: impl FnOnce(&mut Timeline) -> (T, bool),
    ) -> T {
        let (known, boot) = (self.machines.entry(whose.machine).or_default(), fresh.boot);
        let at = known.boots.boots.iter().position(|timeline| timeline.boot == boot);
        let before = at.map(|at| known.boots.boots.remove(at));
        let mut timeline = before.clone().unwrap_or(fresh);
        let (done, is_written) = change(&mut timeline);
        known.is_due |= is_written && before.as_ref() != Some(&timeline);
        known.boots.boots.push(timeline);
        known.boots.tidy(whose.is_named);
        let weight = if whose.is_named { 0 } else { known.boots.weight() };
        let others = self.strangers.saturating_sub(known.weight);
        if others + weight > STRANGERS_BYTES {
            // There is no room for more of it than there was.
            known.boots.boots.retain(|timeline| timeline.boot != boot);
            known.boots.boots.extend(before);
            known.boots.tidy(whose.is_named);
        }
        known.weight = if whose.is_named { 0 } else { known.boots.weight() };
        self.strangers = others + known.weight;
        done
    }

    /// The boots of a machine, the latest last.
    pub fn of(&self, machine: MachineId) -> &[Timeline] {
        self.machines.get(&machine).map_or(&[], |known| known.boots.boots.as_slice())
    }

    /// A boot.
    pub fn boot(&self, machine: MachineId, boot: BootId) -> Option<&Timeline> {
        self.of(machine).iter().find(|timeline| timeline.boot == boot)
    }

    /// Shows changes of the state, which `index` has taken in already: a machine that there is no more has no boots.
    pub fn take_in(&mut self, changes: &[Change], index: &MachineIndex, site: &Site) {
        for change in changes {
            if let (Some(id), None) = (MACHINES.record(&change.key), &change.value) {
                id.parse().into_iter().for_each(|machine| self.forget(machine));
            }
            let Some(id) = BOOTS.record(&change.key) else { continue };
            let (machine, boots) = match (id.parse::<MachineId>(), BOOTS.changed(change)) {
                (Ok(machine), Ok(Some((_, boots)))) => (machine, boots),
                (_, Err(cause)) => {
                    tracing::error!(%cause, "ignored what the state has of a machine's last boots");
                    continue;
                }
                _ => continue,
            };
            let record = index.machines.get(&machine).map(|(record, _)| record);
            let is_named = record.is_some_and(|record| !is_unknown(record, site));
            self.take_one(Whose { machine, is_named }, boots, record.is_some());
        }
    }

    fn take_one(&mut self, whose: Whose, boots: Option<LastBoots>, is_there: bool) {
        let machine = whose.machine;
        let Some(boots) = boots else {
            // Removed with its machine; what is still to be written of one that is there is written.
            self.machines.retain(|id, known| *id != machine || known.is_due);
            self.orphans.remove(&machine.to_string());
            return;
        };
        if !is_there {
            self.forget(machine);
            self.orphans.insert(machine.to_string());
            return;
        }
        let known = self.machines.entry(machine).or_default();
        if known.is_due {
            known.boots.merge(boots);
        } else {
            known.boots = boots;
        }
        known.boots.tidy(whose.is_named);
        self.strangers = self.strangers.saturating_sub(known.weight);
        known.weight = if whose.is_named { 0 } else { known.boots.weight() };
        self.strangers += known.weight;
    }

    /// A machine is forgotten, and its boots with it.
    pub fn forget(&mut self, machine: MachineId) {
        if let Some(known) = self.machines.remove(&machine) {
            self.strangers = self.strangers.saturating_sub(known.weight);
            if !known.boots.boots.is_empty() {
                self.orphans.insert(machine.to_string());
            }
        }
    }

    /// What is to be written: some records, and some that go. They count as written until [`Self::is_due_again`].
    pub fn due(&mut self, most: usize) -> (Vec<(MachineId, LastBoots)>, Vec<String>) {
        let due = self.machines.iter_mut().filter(|(_, known)| known.is_due).take(most);
        let boots = due.map(|(machine, known)| {
            known.is_due = false;
            (*machine, known.boots.clone())
        });
        (boots.collect(), self.orphans.iter().take(most).cloned().collect())
    }

    /// Those records are gone, or were never there.
    pub fn are_gone(&mut self, orphans: &[String]) {
        self.orphans.retain(|orphan| !orphans.contains(orphan));
    }

    /// What was to be written is not.
    pub fn is_due_again(&mut self, machines: impl IntoIterator<Item = MachineId>) {
        for machine in machines {
            if let Some(known) = self.machines.get_mut(&machine) {
                known.is_due = true;
            }
        }
    }
}

impl LastBoots {
    fn tidy(&mut self, is_named: bool) {
        self.boots.sort_by_key(|timeline| (timeline.made, timeline.boot));
        let most = if is_named { MOST_BOOTS } else { MOST_OF_STRANGER };
        let surplus = self.boots.len().saturating_sub(most);
        self.boots.drain(..surplus);
    }

    fn merge(&mut self, other: Self) {
        for theirs in other.boots {
            match self.boots.iter_mut().find(|known| known.boot == theirs.boot) {
                Some(known) => known.merge(theirs),
                None => self.boots.push(theirs),
            }
        }
    }

    fn weight(&self) -> usize {
        self.boots.iter().map(Timeline::weight).sum()
    }
}

#[cfg(test)]
mod tests;
