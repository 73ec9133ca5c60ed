//! Boots: a mount, a word or time moves a machine's pins (rules: `oneroot_bootconf::pins`). What makes a pin is a plan
//! (`plans.rs`).

use std::sync::Arc;

use anyhow::{Result, bail};
use oneroot_bootconf::pins::{Event, Pin, changes};
use oneroot_bootconf::{BootId, MachineId};

use super::Machines;
use super::commit::{Changed, TRIES, Thing};
use crate::clock;

impl Machines {
    /// Applies an event to one machine's pins, durably.
    pub(super) async fn apply(self: &Arc<Self>, machine: MachineId, event: &Event) -> Result<bool> {
        for _ in 0..TRIES {
            let turn = self.turns.take([Thing::Machine(machine)]).await;
            let pins: Vec<Pin> = self.known().pins_of(machine).map(|(pin, _)| pin.clone()).collect();
            let made = changes(&pins, event, &|pin| self.in_use(pin), clock::now());
            if made.is_empty() {
                return Ok(false);
            }
            if self.commit(turn, Changed { pins: made, ..Changed::default() }).await? {
                return Ok(true);
            }
        }
        bail!("another server keeps changing this machine's boots")
    }

    /// Whether an NFS client has used a pin's view of late; a client that is only idle closes after five minutes.
    pub(super) fn in_use(&self, pin: &Pin) -> bool {
        let trees = self.trees.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        trees.get(&pin.view).is_some_and(|tree| tree.used_lately())
    }

    /// A machine has said a word: `BOOT.WORD`, looked up under `/.oneroot/say`.
    pub async fn heard(self: &Arc<Self>, saying: &str) {
        let Some((boot, word)) = saying.split_once('.') else { return };
        let Ok(boot) = boot.parse::<BootId>() else { return };
        let known = self.known().pins.get(&boot).map(|(pin, _)| (pin.machine, pin.mac));
        let Some((machine, mac)) = known else { return };
        if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return;
        }
        tracing::info!(machine = self.name_of(mac), %mac, %boot, "says it has come to: {word}");
        self.step(mac, word, false);
        if word == "up"
            && let Err(cause) = self.apply(machine, &Event::Up(boot)).await
        {
            tracing::error!(%mac, cause = format!("{cause:#}"), "cannot write that a machine is up");
        }
    }

    /// The admin lets go of a machine, by its name or a MAC: how many pins ended.
    pub async fn release(self: &Arc<Self>, machine: &str) -> Result<usize> {
        let id = {
            let known = self.known();
            let named = known.machines.values().find(|(record, _)| record.name.as_deref() == Some(machine));
            let by_mac = || known.machine_of(machine.parse().ok()?);
            named.map(|(record, _)| record.id).or_else(by_mac)
        };
        let Some(id) = id else { bail!("no machine {machine:?} has ever booted here") };
        let held = self.known().pins_of(id).count();
        self.apply(id, &Event::Released).await?;
        tracing::info!(machine, pins = held, "released");
        Ok(held)
    }

    /// Lets go of all machines that have given no sign for so many seconds: how many pins ended.
    pub async fn release_quiet(self: &Arc<Self>, seconds: u64) -> Result<usize> {
        let quiet: Vec<(MachineId, usize)> = {
            let known = self.known();
            let mut latest: std::collections::BTreeMap<MachineId, (u64, usize)> =
                std::collections::BTreeMap::new();
            for (pin, _) in known.pins.values() {
                let sign = self.last_sign(pin, known.heard(pin.machine));
                let (last, pins) = latest.entry(pin.machine).or_default();
                (*last, *pins) = ((*last).max(sign), *pins + 1);
            }
            let now = clock::now();
            let silent = latest.into_iter().filter(|(_, (last, _))| now.saturating_sub(*last) >= seconds);
            silent.map(|(machine, (_, pins))| (machine, pins)).collect()
        };
        let mut ended = 0;
        for (machine, pins) in quiet {
            self.apply(machine, &Event::Released).await?;
            tracing::info!(%machine, pins, "released: it has given no sign for {seconds} s");
            ended += pins;
        }
        Ok(ended)
    }

    /// Time has passed: boots that never said `up` count as up, and what they replaced is let go.
    pub async fn tick(self: &Arc<Self>) {
        let mut machines: Vec<MachineId> = self.known().pins.values().map(|(pin, _)| pin.machine).collect();
        machines.sort_unstable();
        machines.dedup();
        for machine in machines {
            if let Err(cause) = self.apply(machine, &Event::Tick).await {
                tracing::error!(%machine, cause = format!("{cause:#}"), "cannot let go of old boots");
            }
        }
    }
}
