//! Refused mounts: the last of each machine, for `status`, and in the log. Whoever knows a path can be refused without end,
//! so one machine's refusals are said once a minute.

use std::collections::HashMap;

use oneroot_ids::MachineId;
use serde::{Deserialize, Serialize};

/// Seconds between two lines of one machine.
const QUIET: u64 = 60;

/// A refusal, for people. Kept by site time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Who asked for whose root, and where the machine is.
    pub told: String,
    /// When, seconds since 1970.
    pub at: u64,
}

/// The last of each machine: never more than there are machines that hold a pin.
#[derive(Default)]
pub struct Refusals(HashMap<MachineId, (Refusal, u64)>);

impl Refusals {
    /// Notes one, and says whether it is to be logged.
    pub fn note(&mut self, machine: MachineId, told: String, now: u64) -> bool {
        let said = self.0.get(&machine).map(|(_, said)| *said);
        // A clock that was set back silences nobody.
        let due = said.is_none_or(|said| now.abs_diff(said) >= QUIET);
        let said = if due { now } else { said.unwrap_or(now) };
        self.0.insert(machine, (Refusal { told, at: now }, said));
        due
    }

    /// A machine has mounted a root, or is gone: what was in its way is of no interest any more.
    pub fn forget(&mut self, machine: MachineId) {
        self.0.remove(&machine);
    }

    /// The last refusal of a machine.
    pub fn of(&self, machine: MachineId) -> Option<Refusal> {
        self.0.get(&machine).map(|(refusal, _)| refusal.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_refusal_is_kept_and_one_a_minute_is_logged() {
        let (mut refusals, machine) = (Refusals::default(), MachineId::from_random([1; 16]));
        let other = MachineId::from_random([2; 16]);
        let logged: Vec<u64> =
            (1000..1130).filter(|now| refusals.note(machine, format!("at {now}"), *now)).collect();
        assert_eq!(logged, [1000, 1060, 1120]);
        assert!(refusals.note(other, "another".to_owned(), 1001), "each machine has its own minute");
        assert_eq!(refusals.of(machine).unwrap().told, "at 1129");
        assert!(refusals.note(machine, "earlier".to_owned(), 500), "a clock was set back");
        refusals.forget(machine);
        assert_eq!(refusals.of(machine), None);
    }
}
