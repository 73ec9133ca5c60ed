//! The secret that file handles are sealed with. Made once; a server that shares or restores the state has the same one,
//! so handles survive restart, upgrade and failover.

use serde::{Deserialize, Serialize};

use crate::kv::{Backend, Expect, Txn};
use crate::{Error, Table};

const KEYS: Table<HandleKeys> = Table::new("handle-keys");
const RECORD: &str = "nfs";

/// All keys that handles in the field may be sealed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandleKeys {
    /// Number of the key that new handles are sealed with.
    pub current: u8,
    /// Every key by its number, the current one too.
    pub keys: Vec<(u8, [u8; 32])>,
}

impl HandleKeys {
    /// The secret of the current key.
    #[must_use]
    pub fn secret(&self) -> Option<&[u8; 32]> {
        self.keys.iter().find(|(id, _)| *id == self.current).map(|(_, secret)| secret)
    }
}

/// The handle keys; made from `fresh` random bytes where there are none. When two servers start at once, one key wins.
///
/// # Errors
/// The backend's.
pub async fn handle_keys(backend: &impl Backend, fresh: [u8; 32]) -> Result<HandleKeys, Error> {
    loop {
        if let Some(found) = KEYS.get(backend, RECORD).await? {
            return Ok(found.value);
        }
        let made = HandleKeys { current: 1, keys: vec![(1, fresh)] };
        let txn = KEYS.put(KEYS.expect(Txn::new(), RECORD, Expect::Absent), RECORD, &made)?;
        match backend.commit(txn).await {
            Ok(_) => return Ok(made),
            Err(Error::Conflict { .. }) => {}
            Err(cause) => return Err(cause),
        }
    }
}
