//! What a machine lacks that runs: something that it could not mount, room for what it writes. It tells so by a word like every other
//! (`.oneroot/say`), which is no step of its boot but is kept with it and shown until the machine boots again.
//!
//! | word | of what |
//! |---|---|
//! | `mount-failed-N` | the mount of that number, which the boot's plan knows by place and source (docs/decisions/0022, 0024) |
//! | `hook-failed-NAME` | a program of `/etc/oneroot/early.d`, with a hyphen for what can't stand in a word (docs/decisions/0023) |
//! | `examine-failed-NAME` | one of `/etc/oneroot/examine.d`, likewise |
//! | `secret-failed-N` | the secret of that number, likewise (docs/decisions/0025) |
//! | `space-80`, `space-95` | its writable layer, by how full that is |

use oneroot_bootconf::mounts::What;
use oneroot_bootconf::pins::{Phase, Pin};
use oneroot_bootconf::plan::BootPlan;
use oneroot_bootconf::plan::mounts::{numbered, source};
use oneroot_bootconf::plan::secrets;
use oneroot_bootconf::secrets::Secret;

use crate::index::remedies::{self, EXAMINE, MEMORY};
use crate::index::steps::BootStep;
use crate::index::timelines::{HOOKS, MOUNTS, SECRETS, SPACE};
use crate::machines::Machines;

/// The beginning of the word for a mount.
const MOUNT_FAILED: &str = "mount-failed-";
/// Of that for a hook.
const HOOK_FAILED: &str = "hook-failed-";
/// Of that for one that examines the machine.
const EXAMINE_FAILED: &str = "examine-failed-";
/// Of that for a secret.
const SECRET_FAILED: &str = "secret-failed-";
/// And of that for a writable layer that fills up.
const SPACE_LEFT: &str = "space-";
/// What a machine says when its users are there: that it is up, or that `watch` could not find out.
const UP: [&str; 2] = ["up", "up-unknown"];
/// Percent of which a machine tells.
const FULL: [&str; 2] = ["80", "95"];

/// What a machine says that it lacks.
struct Complaint {
    /// Under which word it is shown.
    kind: &'static str,
    told: String,
    /// Its consequence, in the log's sentence.
    so: &'static str,
}

impl Machines {
    /// Whether a word is such a one. Then it is taken in, if it is one of that boot's: anybody on the machine may say any word.
    pub(crate) fn complains(&self, pin: &Pin, word: &str) -> bool {
        let complaint = if let Some(number) = word.strip_prefix(MOUNT_FAILED) {
            let index = self.index();
            let plan = index.plans.get(&pin.boot);
            number.parse().ok().zip(plan).and_then(|(number, plan)| not_mounted(plan, number))
        } else if let Some(number) = word.strip_prefix(SECRET_FAILED) {
            let index = self.index();
            let secrets = index.plans.get(&pin.boot).map(|plan| &plan.secrets);
            let number = number.parse().ok();
            let named = number.zip(secrets).and_then(|(number, secrets)| secrets::numbered(secrets, number));
            named.filter(|_| !self.is_up(pin)).map(not_had)
        } else if let Some(percent) = word.strip_prefix(SPACE_LEFT) {
            FULL.contains(&percent).then(|| filling(percent))
        } else if let Some(hook) = word.strip_prefix(HOOK_FAILED) {
            (!hook.is_empty() && !self.is_up(pin)).then(|| failed(hook))
        } else if let Some(hook) = word.strip_prefix(EXAMINE_FAILED) {
            (!hook.is_empty() && !self.is_up(pin)).then(|| not_examined(hook, "failed"))
        } else {
            return false;
        };
        if let Some(complaint) = complaint {
            self.keep(pin, &complaint);
        }
        true
    }

    /// Whether a boot has come up, or nobody knows when it does: what is said of the time before the real init is some user's word
    /// later. Steps are the NIC's, and where firmware boots by another one they may be of a boot before.
    pub(super) fn is_up(&self, pin: &Pin) -> bool {
        let mounted = self.host.shown(pin.since).saturating_mul(1000);
        let ends = |step: &BootStep| UP.contains(&step.step.as_str()) && step.at_ms >= mounted;
        pin.phase == Phase::Up || self.steps().of(pin.mac).iter().any(ends)
    }

    /// What a machine that examined itself has told is no fact.
    pub(super) fn keep_not_examined(&self, pin: &Pin, hook: &str, why: &str) {
        self.keep(pin, &not_examined(hook, why));
    }

    fn keep(&self, pin: &Pin, Complaint { kind, told, so }: &Complaint) {
        let mac = pin.mac;
        let is_new = self.in_boot(pin, mac, |timeline, now| {
            let is_new = timeline.lacks(kind, told, now);
            (is_new, is_new)
        });
        if is_new {
            let (name, helps) = (self.name_of(mac), remedies::of(kind, told).unwrap_or_default());
            tracing::warn!(machine = name, %mac, boot = %pin.boot, "{name}: {told}, and {so}; {helps}");
        }
    }
}

/// What becomes of a machine that lacks something.
fn without(is_required: bool) -> &'static str {
    if is_required { "it does not come up without it" } else { "it goes on without it" }
}

fn not_mounted(plan: &BootPlan, number: usize) -> Option<Complaint> {
    let (at, mount) = numbered(&plan.mounts, number)?;
    let so = without(mount.required);
    let told = match &mount.what {
        What::Copied(_) | What::Empty(_) => format!("{at} could not be given {MEMORY} ({})", mount.what),
        _ => {
            let name = plan.facts.as_ref().map_or(&plan.name, |facts| &facts.name);
            format!("{at} could not be mounted from {}", source(at, mount, name))
        }
    };
    Some(Complaint { kind: MOUNTS, told, so })
}

fn not_had((name, secret): (&str, &Secret)) -> Complaint {
    let so = without(secret.required);
    Complaint { kind: SECRETS, told: format!("its secret {name} could not be had"), so }
}

fn failed(hook: &str) -> Complaint {
    let so = without(hook.ends_with("-required"));
    Complaint { kind: HOOKS, told: format!("its hook {hook} failed"), so }
}

fn not_examined(hook: &str, why: &str) -> Complaint {
    let told = format!("its hook {EXAMINE}{hook} {why}");
    Complaint { kind: HOOKS, told, so: "what it found out the last time stays" }
}

fn filling(percent: &str) -> Complaint {
    let told = format!("its writable layer is {percent} % full");
    Complaint { kind: SPACE, told, so: "when it is full nothing more can be written there" }
}
