//! How far each boot has come, as `status` shows it. Nothing is decided by it, and anybody's request adds to it: so it has a
//! lock of its own, and changes nothing that NFS has remembered of the tables.

use std::collections::HashMap;

use oneroot_ids::Mac;
use serde::{Deserialize, Serialize};

use crate::index::refusals::Refusal;
use crate::index::stalls::{self, LOADED, REFUSED, Stalled};

/// One step of a boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootStep {
    /// `offer`, `address`, `loader`, `script`, `kernel`, `initrd`, `initramfs`, `root`, or the machine's own word; `refused`, `local`,
    /// `menu` and `held` where there is nothing to boot from here, `loaded` where all of a boot without a root is fetched.
    pub step: String,
    /// When it happened first in this boot, milliseconds since 1970.
    pub at_ms: u64,
}

/// The address that a machine asks for once its kernel runs.
pub const INITRAMFS: &str = "initramfs";
/// Our own init's first.
pub const SETTINGS: &str = "settings";
/// Steps kept for one MAC; a boot has about ten.
const MOST_STEPS: usize = 64;
/// MACs whose steps are kept; of others nothing is: their boots are answered all the same.
const MOST_SHOWN: usize = 20_000;

/// A moment by both clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moment {
    /// Site time, seconds: what durations are measured by.
    pub now: u64,
    /// Milliseconds since 1970 by the wall clock, for people.
    pub shown_ms: u64,
}

/// The present boot of one NIC.
#[derive(Default)]
struct Boot {
    /// Whether its beginning was seen: firmware or iPXE asked. Without that it may be a system that runs already.
    began: bool,
    steps: Vec<BootStep>,
    /// Site time of the last new step, and of the last sign of any kind.
    last: u64,
    seen: u64,
    /// Why there was nothing to boot, the last time that it asked. Kept by site time.
    refused: Option<Refusal>,
    /// It was said that it has stalled.
    told: bool,
    /// Its init has said why it does not go on: that is better than what usually holds others up.
    failed: bool,
}

/// The steps of each NIC's present boot.
#[derive(Default)]
pub struct BootSteps(HashMap<Mac, Boot>);

impl BootSteps {
    /// Notes a step of a boot; `first` begins a new boot.
    pub fn note(&mut self, mac: Mac, step: &str, first: bool, at: Moment) {
        if !self.0.contains_key(&mac) && self.0.len() >= MOST_SHOWN {
            return;
        }
        let boot = self.0.entry(mac).or_default();
        if first {
            *boot = Boot { began: true, ..Boot::default() };
        }
        // It asks again and again, and the answer may be another one meanwhile.
        if step == "script" || stalls::is_without_boot(step) {
            boot.steps.retain(|known| !stalls::is_without_boot(&known.step));
            boot.refused = None;
        }
        boot.seen = at.now;
        // A step that comes again is no progress: who asks the same again and again has stalled too.
        if boot.steps.len() < MOST_STEPS && !boot.steps.iter().any(|known| known.step == step) {
            boot.steps.push(BootStep { step: step.to_owned(), at_ms: at.shown_ms });
            (boot.last, boot.failed) = (at.now, false);
        }
    }

    /// A machine asks for its boot script and there is nothing to boot.
    pub fn refuse(&mut self, mac: Mac, why: String, at: Moment) {
        self.note(mac, REFUSED, false, at);
        if let Some(boot) = self.0.get_mut(&mac) {
            boot.refused = Some(Refusal { told: why, at: at.now });
        }
    }

    /// Its init says what it could not do.
    pub fn fail(&mut self, mac: Mac, at: Moment) {
        if let Some(boot) = self.0.get_mut(&mac) {
            (boot.seen, boot.failed) = (at.now, true);
        }
    }

    /// Why there was nothing to boot.
    pub fn refused(&self, mac: Mac) -> Option<Refusal> {
        self.0.get(&mac)?.refused.clone()
    }

    /// A client that is no firmware asks for an address: the initramfs, where a kernel was fetched and no root is mounted yet.
    pub fn asked(&mut self, mac: Mac, at: Moment) {
        let Some(boot) = self.0.get(&mac) else { return };
        let has = |step: &str| boot.steps.iter().any(|known| known.step == step);
        // Our own init says itself what it does.
        if has("kernel") && !has("root") && !has(LOADED) && !has(SETTINGS) {
            self.note(mac, INITRAMFS, false, at);
        }
    }

    /// The steps of a NIC's present boot.
    pub fn of(&self, mac: Mac) -> &[BootStep] {
        self.0.get(&mac).map_or(&[], |boot| boot.steps.as_slice())
    }

    /// Site time of a NIC's last step, new or not.
    pub fn seen(&self, mac: Mac) -> Option<u64> {
        self.0.get(&mac).map(|boot| boot.seen)
    }

    /// Whether a NIC's boot does not go on. `runs` when its machine has a root mounted: then what was not seen to begin is no
    /// boot, but a request of a system that runs.
    pub fn stalled(&self, mac: Mac, runs: bool, now: u64) -> Option<Stalled> {
        let boot = self.0.get(&mac).filter(|boot| (boot.began || !runs) && !boot.failed)?;
        let over = boot.steps.iter().any(|step| stalls::ends(&step.step));
        stalls::stalled(&boot.steps.last()?.step, over, now.saturating_sub(boot.last))
    }

    /// The same, once for each boot.
    pub fn stalls(&mut self, mac: Mac, runs: bool, now: u64) -> Option<Stalled> {
        let stalled = self.stalled(mac, runs, now)?;
        let boot = self.0.get_mut(&mac).filter(|boot| !boot.told)?;
        boot.told = true;
        Some(stalled)
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

    fn mac() -> Mac {
        Mac::new([2, 0, 0, 0, 0, 1]).unwrap()
    }

    fn at(now: u64) -> Moment {
        Moment { now, shown_ms: now * 1000 }
    }

    /// A boot with these steps, one a second from 1 on.
    fn boot(first: bool, steps: &[&str]) -> BootSteps {
        let mut noted = BootSteps::default();
        for (now, step) in (1..).zip(steps) {
            noted.note(mac(), step, first && now == 1, at(now));
        }
        noted
    }

    #[test]
    fn a_new_boot_begins_anew_and_words_without_end_are_bounded() {
        let mut steps = boot(false, &["root", "root"]);
        assert_eq!(steps.of(mac()), [BootStep { step: "root".to_owned(), at_ms: 1000 }]);
        (0..1000).for_each(|number| steps.note(mac(), &format!("x{number}"), false, at(3)));
        assert_eq!(steps.of(mac()).len(), MOST_STEPS);
        steps.note(mac(), "address", true, at(4));
        assert_eq!(steps.of(mac()).len(), 1);
    }

    #[test]
    fn a_boot_that_takes_no_step_is_told_of_once_and_its_successor_again() {
        let mut steps = boot(true, &["address", "script", "kernel", "initrd"]);
        assert_eq!(steps.stalls(mac(), false, 4 + 119), None);
        // What it has done before is no step forward.
        steps.note(mac(), "kernel", false, at(60));
        assert_eq!(steps.seen(mac()), Some(60));
        let told = steps.stalls(mac(), false, 4 + 120).unwrap();
        assert_eq!((told.step.as_str(), told.seconds), ("initrd", 120));
        assert_eq!(steps.stalls(mac(), false, 4 + 500), None, "said once");
        assert!(steps.stalled(mac(), false, 4 + 500).is_some(), "and shown on");
        steps.note(mac(), "address", true, at(1000));
        assert_eq!(steps.stalled(mac(), false, 1000), None);
        assert_eq!(steps.stalls(mac(), false, 1060).unwrap().step, "address");
    }

    #[test]
    fn an_address_for_the_initramfs_tells_an_initrd_without_nfs_from_one_without_a_driver() {
        let mut steps = boot(true, &["address", "script", "kernel", "initrd"]);
        steps.asked(mac(), at(10));
        assert_eq!(steps.stalled(mac(), false, 200).unwrap().step, INITRAMFS);
        let mut early = boot(true, &["address", "script"]);
        early.asked(mac(), at(10));
        let mut late = boot(true, &["address", "kernel", "root"]);
        late.asked(mac(), at(10));
        for steps in [early, late] {
            assert!(!steps.of(mac()).iter().any(|step| step.step == INITRAMFS));
        }
    }

    #[test]
    fn a_system_that_runs_has_not_stalled_whatever_it_fetches_or_says() {
        for steps in [&["address"][..], &["script"], &["script", "kernel"]] {
            assert_eq!(boot(false, steps).stalled(mac(), true, u64::MAX), None);
            assert!(boot(true, steps).stalled(mac(), true, u64::MAX).is_some(), "a machine that boots again");
        }
        for end in ["up", "up-unknown"] {
            let steps = boot(true, &["address", "root", end, "script", "kernel", "word"]);
            assert_eq!(steps.stalled(mac(), true, u64::MAX), None);
        }
    }

    #[test]
    fn a_refused_machine_is_no_stalled_one_and_what_was_mended_is_forgotten() {
        let mut steps = boot(true, &["address", REFUSED]);
        assert_eq!(steps.stalled(mac(), false, u64::MAX), None);
        steps.note(mac(), "script", false, at(50));
        assert_eq!(steps.stalled(mac(), false, 110).unwrap().step, "script");
    }
}
