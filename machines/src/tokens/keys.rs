//! The secrets that file handles are sealed with. Made once; a server that shares or restores the state has the same
//! ones, so handles survive restart, upgrade and failover.

use std::fmt;

use serde::{Deserialize, Serialize};

use oneroot_state::{Backend, Error as StateError, Expect, Table, Txn};

use crate::error::{Error, Result};

pub(crate) const KEYS: Table<HandleKeys> = Table::new("handle-keys");
pub(crate) const RECORD: &str = "nfs";
/// Handles carry the key's number in one byte.
const NUMBERS: std::ops::RangeInclusive<u8> = 0..=u8::MAX;
const FIRST: u8 = 1;

/// All keys that handles in the field may be sealed with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct HandleKeys {
    /// Number of the key that new handles are sealed with.
    pub current: u8,
    /// Every key by its number, the current one too.
    pub keys: Vec<(u8, [u8; 32])>,
}

/// [`HandleKeys`] as they were written, not yet looked at.
#[derive(Deserialize)]
struct Stored {
    current: u8,
    keys: Vec<(u8, [u8; 32])>,
}

impl TryFrom<Stored> for HandleKeys {
    type Error = &'static str;

    fn try_from(Stored { current, keys }: Stored) -> Result<Self, Self::Error> {
        let keys = Self { current, keys };
        keys.secret().is_some().then_some(keys).ok_or("the current key is not among the keys")
    }
}

impl HandleKeys {
    /// One key.
    #[must_use]
    pub fn of(secret: [u8; 32]) -> Self {
        Self { current: FIRST, keys: vec![(FIRST, secret)] }
    }

    /// The secret of the current key.
    #[must_use]
    pub fn secret(&self) -> Option<&[u8; 32]> {
        self.keys.iter().find(|(number, _)| *number == self.current).map(|(_, secret)| secret)
    }
}

impl HandleKeys {
    /// The secrets, the current one first.
    pub fn secrets(&self) -> impl Iterator<Item = (u8, &[u8; 32])> {
        let old = self.keys.iter().filter(|(number, _)| *number != self.current);
        let all = self.secret().map(|secret| (self.current, secret)).into_iter();
        all.chain(old.map(|(number, secret)| (*number, secret)))
    }
}

/// Numbers alone: a secret in a log would open every machine's root.
impl fmt::Debug for HandleKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<u8> = self.keys.iter().map(|(number, _)| *number).collect();
        f.debug_struct("HandleKeys").field("current", &self.current).field("numbers", &numbers).finish()
    }
}

/// The handle keys; made from `fresh` random bytes where there are none. When two servers start at once, one key wins.
///
/// # Errors
/// The backend's. [`StateError::Unreadable`]: new keys in place of ones that don't read would take every running machine's
/// root away, so that is left to a person.
pub async fn handle_keys(backend: &impl Backend, fresh: [u8; 32]) -> Result<HandleKeys> {
    change(backend, |found| match found {
        Some(found) => Ok(found),
        None => Ok(HandleKeys::of(fresh)),
    })
    .await
}

/// Seals new handles with `fresh` random bytes from now on. Handles in the field keep their old key.
///
/// # Errors
/// The backend's, [`StateError::Unreadable`], [`Error::NoKeyNumber`].
pub async fn rotate_handle_keys(backend: &impl Backend, fresh: [u8; 32]) -> Result<HandleKeys> {
    change(backend, |found| {
        let Some(mut keys) = found else {
            return Ok(HandleKeys::of(fresh));
        };
        // After the current one, so that a retired number comes back as late as can be.
        let (after, before) = (NUMBERS.filter(|n| *n > keys.current), NUMBERS.filter(|n| *n < keys.current));
        let taken = |number: &u8| keys.keys.iter().any(|(other, _)| other == number);
        keys.current = after.chain(before).find(|number| !taken(number)).ok_or(Error::NoKeyNumber)?;
        keys.keys.push((keys.current, fresh));
        Ok(keys)
    })
    .await
}

/// Forgets old keys, but for those in `used`: the numbers in handles that a pin's machine may still hold. The current
/// key stays whatever `used` says.
///
/// # Errors
/// The backend's, [`StateError::Unreadable`].
pub async fn retire_handle_keys(backend: &impl Backend, used: &[u8]) -> Result<Option<HandleKeys>> {
    if KEYS.get(backend, RECORD).await?.is_none() {
        return Ok(None);
    }
    let retired = change(backend, |found| {
        let mut keys = found.ok_or(StateError::Closed)?;
        keys.keys.retain(|(number, _)| *number == keys.current || used.contains(number));
        Ok(keys)
    });
    retired.await.map(Some)
}

/// Reads, changes, and writes the keys where they differ; again, when another server was quicker.
async fn change(
    backend: &impl Backend,
    change: impl Fn(Option<HandleKeys>) -> Result<HandleKeys>,
) -> Result<HandleKeys> {
    loop {
        let found = KEYS.get(backend, RECORD).await?;
        let expect = found.as_ref().map_or(Expect::Absent, |found| Expect::At(found.revision));
        let found = found.map(|found| found.value);
        let keys = change(found.clone())?;
        if found.as_ref() == Some(&keys) {
            return Ok(keys);
        }
        let txn = KEYS.put(KEYS.expect(Txn::new(), RECORD, expect), RECORD, &keys)?;
        match backend.commit(txn).await {
            Ok(_) => return Ok(keys),
            Err(StateError::Conflict { .. }) => {}
            Err(cause) => return Err(cause.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oneroot_state::Memory;

    #[tokio::test]
    async fn there_is_one_key_whoever_asks_first_and_an_old_one_stays_as_long_as_it_is_used() {
        let memory = Memory::default();
        let backend = &memory;
        let keys = handle_keys(backend, [1; 32]).await.unwrap();
        assert_eq!(handle_keys(backend, [2; 32]).await.unwrap(), keys);
        assert_eq!(keys.secret(), Some(&[1; 32]));
        let rotated = rotate_handle_keys(backend, [3; 32]).await.unwrap();
        assert_eq!((rotated.secret(), rotated.keys.len()), (Some(&[3; 32]), 2));
        let secrets: Vec<[u8; 32]> = rotated.secrets().map(|(_, secret)| *secret).collect();
        assert_eq!(secrets, [[3; 32], [1; 32]], "the current one first");
        let kept = retire_handle_keys(backend, &[keys.current]).await.unwrap().unwrap();
        assert_eq!(kept.keys.len(), 2, "a pin may hold handles of the old one");
        let retired = retire_handle_keys(backend, &[]).await.unwrap().unwrap();
        assert_eq!((retired.secret(), retired.keys.len()), (Some(&[3; 32]), 1));
    }
}
