//! What became of machines' last boots, as `oneroot boots` shows it.

use oneroot_ids::MachineId;
use serde::{Deserialize, Serialize};

use crate::index::remedies;
use crate::index::steps::BootStep;
use crate::index::timelines::{BootFailure, PhaseDone, Timeline, is_complaint};
use crate::machines::Machines;

/// The last boots of some machines.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BootsStatus {
    /// Seconds since 1970 at the server.
    pub now: u64,
    /// In the order of their machines, the latest of each last.
    pub boots: Vec<BootStatus>,
}

/// One boot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BootStatus {
    /// Its machine: a name, or a MAC.
    pub machine: String,
    /// The NIC that it was planned for.
    pub mac: String,
    /// Its id.
    pub boot: String,
    /// Its profile.
    pub profile: String,
    /// Its root.
    pub view: String,
    /// When it was planned, seconds since 1970.
    pub made: u64,
    /// The servers that heard of it.
    pub servers: Vec<String>,
    /// `booting`, `running` or `up`; none where it is over.
    pub phase: Option<String>,
    /// Times that its kernel was started.
    pub tries: u32,
    /// What servers saw of it, and the words that it said.
    pub steps: Vec<BootStep>,
    /// What its init has done.
    pub phases: Vec<PhaseDone>,
    /// What its init could not do.
    pub failures: Vec<FailedBoot>,
}

/// What init could not do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FailedBoot {
    /// What it was busy with.
    pub phase: String,
    /// When it said so last, seconds since 1970.
    pub at: u64,
    /// Its own sentence.
    pub told: String,
    /// What helps.
    pub helps: Option<String>,
    /// Times that it said so.
    pub times: u32,
    /// It could do it later, or went on without.
    pub is_over: bool,
    /// It went on without.
    #[serde(default)]
    pub is_note: bool,
    /// The kernel's last words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernel: Vec<String>,
}

impl FailedBoot {
    /// As a sentence without a full stop, with what helps.
    pub fn in_words(&self) -> String {
        let Self { phase, told, helps, .. } = self;
        let helps = helps.as_ref().map_or(String::new(), |helps| format!("; {helps}"));
        if is_complaint(phase) {
            return format!("{told}{helps}");
        }
        format!("does not come up ({phase}): {told}{helps}")
    }
}

impl Machines {
    /// The last boots of all machines, or of the one that has this name or MAC; none where there is no such machine.
    pub fn boots(&self, machine: Option<&str>) -> Option<BootsStatus> {
        let mut rows = self.rows();
        if let Some(asked) = machine {
            rows.retain(|row| row.is(asked));
            if rows.is_empty() {
                return None;
            }
        }
        let known = rows.into_iter().filter_map(|row| Some((row.called(), row.id?)));
        let mut known: Vec<(String, MachineId)> = known.collect();
        known.sort();
        let boots = known.into_iter().flat_map(|(name, id)| {
            let timelines = self.timelines().of(id).to_vec();
            timelines.into_iter().map(move |timeline| (name.clone(), timeline))
        });
        let boots = boots.map(|(name, timeline)| self.boot_status(name, timeline)).collect();
        Some(BootsStatus { now: self.host.shown(self.host.now()), boots })
    }

    fn boot_status(&self, machine: String, timeline: Timeline) -> BootStatus {
        let phase = self.index().pins.get(&timeline.boot).map(|(pin, _)| pin.phase.to_string());
        BootStatus {
            machine,
            mac: timeline.mac.to_string(),
            boot: timeline.boot.to_string(),
            profile: timeline.profile,
            view: timeline.view.to_string(),
            made: self.host.shown(timeline.made),
            servers: timeline.servers.iter().map(ToString::to_string).collect(),
            phase,
            tries: timeline.tries,
            steps: timeline.steps,
            phases: timeline.phases,
            failures: timeline.failures.into_iter().map(|failure| self.failed_boot(failure)).collect(),
        }
    }

    pub(crate) fn failed_boot(&self, failure: BootFailure) -> FailedBoot {
        let BootFailure { phase, at, told, times, is_over, is_note, kernel, .. } = failure;
        let helps = remedies::of(&phase, &told).map(str::to_owned);
        FailedBoot { phase, at: self.host.shown(at), told, helps, times, is_over, is_note, kernel }
    }
}
