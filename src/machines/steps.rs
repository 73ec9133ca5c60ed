//! How far each boot has come, as `status` shows it. Nothing is decided by it, and anybody's request adds to it: so it has a
//! lock of its own, and changes nothing that NFS has remembered of the tables.

use std::collections::HashMap;

use oneroot_bootconf::Mac;
use serde::{Deserialize, Serialize};

/// One step of a boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// `address`, `script`, `kernel`, `initrd`, `root`, or the machine's own word.
    pub step: String,
    /// When it happened first in this boot, milliseconds since 1970.
    pub at_ms: u64,
}

/// Steps kept for one MAC; a boot has about ten.
const MOST_STEPS: usize = 64;
/// MACs whose steps are kept; the rest is only counted.
const MOST_SHOWN: usize = 20_000;

/// The steps of each NIC's present boot.
#[derive(Default)]
pub struct Steps(HashMap<Mac, Vec<Step>>);

impl Steps {
    /// Notes a step of a boot; `first` begins a new boot.
    pub fn note(&mut self, mac: Mac, step: &str, first: bool, at_ms: u64) {
        if !self.0.contains_key(&mac) && self.0.len() >= MOST_SHOWN {
            return;
        }
        let steps = self.0.entry(mac).or_default();
        if first {
            steps.clear();
        }
        if steps.len() < MOST_STEPS && !steps.iter().any(|known| known.step == step) {
            steps.push(Step { step: step.to_owned(), at_ms });
        }
    }

    /// The steps of a NIC's present boot.
    pub fn of(&self, mac: Mac) -> &[Step] {
        self.0.get(&mac).map_or(&[], Vec::as_slice)
    }

    /// Every NIC that has taken one.
    pub fn macs(&self) -> impl Iterator<Item = Mac> + '_ {
        self.0.keys().copied()
    }

    /// A machine is forgotten, and this NIC with it.
    pub fn forget(&mut self, mac: Mac) {
        self.0.remove(&mac);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_boot_begins_anew_and_words_without_end_are_bounded() {
        let (mut steps, mac) = (Steps::default(), Mac::new([2, 0, 0, 0, 0, 1]).unwrap());
        steps.note(mac, "root", false, 1);
        steps.note(mac, "root", false, 2);
        assert_eq!(steps.of(mac), [Step { step: "root".to_owned(), at_ms: 1 }]);
        (0..1000).for_each(|number| steps.note(mac, &format!("x{number}"), false, 3));
        assert_eq!(steps.of(mac).len(), MOST_STEPS);
        steps.note(mac, "address", true, 4);
        assert_eq!(steps.of(mac).len(), 1);
    }
}
