//! The keys of handles and of all other seals: what an admin sees of them, and how one is replaced.
//!
//! A new key seals what is made from the next start of a server on. What the old one has sealed stays good, for machines hold
//! it as long as they run; the old one can go when each has booted since that start.

use std::collections::BTreeSet;

use oneroot_bootconf::pins::Pin;
use oneroot_ids::Mac;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::host::random;
use crate::machines::Machines;
use crate::tokens::keys::{HandleKeys, KEYS, RECORD, retire_handle_keys, rotate_handle_keys};

/// The keys as an admin sees them: no secret is among them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyStatus {
    /// Its number, which is in each handle.
    pub number: u8,
    /// Whether this server seals with it.
    pub seals: bool,
    /// Whether it is what a server seals with from its next start on.
    pub next: bool,
    /// Machines that may hold something that is sealed with it.
    pub machines: Vec<String>,
}

impl Machines {
    /// The keys that there are.
    ///
    /// # Errors
    /// The state's.
    pub async fn keys(&self) -> Result<Vec<KeyStatus>> {
        let stored = KEYS.get(self.state.as_ref(), RECORD).await?.map(|found| found.value);
        Ok(stored.map(|stored| self.keys_in(&stored)).unwrap_or_default())
    }

    /// Has every server that starts from now on seal with a new key. What was sealed before stays good.
    ///
    /// # Errors
    /// The state's, [`Error::NoKeyNumber`].
    pub async fn rotate_keys(&self) -> Result<Vec<KeyStatus>> {
        let fresh = random(self.host.as_ref()).map_err(Error::Random)?;
        Ok(self.keys_in(&rotate_handle_keys(self.state.as_ref(), fresh).await?))
    }

    /// Forgets the keys that no machine can hold anything of.
    ///
    /// # Errors
    /// [`Error::KeysInUse`]: a machine that booted before this server began may hold handles of an old key.
    pub async fn retire_keys(&self) -> Result<Vec<KeyStatus>> {
        let holders = self.holders_of_old_keys();
        if !holders.is_empty() {
            return Err(Error::KeysInUse(holders.join(", ")));
        }
        // After a rotation this server still seals with its own, which the state has as an old one then.
        let retired = retire_handle_keys(self.state.as_ref(), &[self.keys.current]).await?;
        Ok(retired.map(|stored| self.keys_in(&stored)).unwrap_or_default())
    }

    fn keys_in(&self, stored: &HandleKeys) -> Vec<KeyStatus> {
        let mut numbers: Vec<u8> = stored.keys.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        let status = |number| {
            let seals = number == self.keys.current;
            let is_known = self.keys.keys.iter().any(|(known, _)| *known == number);
            KeyStatus {
                number,
                seals,
                next: number == stored.current,
                machines: match (seals, is_known) {
                    (true, _) => self.holders(&|_| true),
                    (false, true) => self.holders_of_old_keys(),
                    // Made since this server began: nothing is sealed with it yet.
                    (false, false) => Vec::new(),
                },
            }
        };
        numbers.into_iter().map(status).collect()
    }

    /// Machines with a boot from before this server began: it has sealed with one key alone, and what came before is not known.
    fn holders_of_old_keys(&self) -> Vec<String> {
        // Both are whole seconds: one of the same second may be from before.
        self.holders(&|pin| pin.made <= self.began)
    }

    fn holders(&self, counts: &dyn Fn(&Pin) -> bool) -> Vec<String> {
        let macs: BTreeSet<Mac> = {
            let index = self.index();
            index.pins.values().map(|(pin, _)| pin).filter(|pin| counts(pin)).map(|pin| pin.mac).collect()
        };
        let names: BTreeSet<String> = macs.into_iter().map(|mac| self.name_of(mac)).collect();
        names.into_iter().collect()
    }
}
