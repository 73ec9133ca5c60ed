//! Filling an empty state, which may take more than one transaction: a mark says that it has not ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Error;
use crate::backend::Backend;
use crate::kv::{Expect, Txn};

/// There while a restore goes on, and after one that was cut off. It is of no table.
pub(crate) const MARK: &str = "restore/unfinished";

/// Writes all of these into a state that is empty.
///
/// One that is cut off leaves a state that no server opens ([`Error::HalfRestored`]): without its handle keys or its pins it
/// would take every running machine's root away.
///
/// # Errors
/// The backend's.
pub async fn restore(backend: &impl Backend, records: BTreeMap<String, Arc<[u8]>>) -> Result<(), Error> {
    let mut parts = parts(records);
    let Some(last) = parts.pop() else { return Ok(()) };
    // One transaction is all or nothing by itself, and needs no mark.
    if parts.is_empty() {
        return backend.commit(last).await.map(drop);
    }
    backend.commit(Txn::new().expect(MARK, Expect::Absent).put(MARK, Vec::new())).await?;
    for part in parts {
        backend.commit(part).await?;
    }
    backend.commit(last).await?;
    backend.commit(Txn::new().delete(MARK)).await.map(drop)
}

/// As few transactions as these take.
fn parts(records: BTreeMap<String, Arc<[u8]>>) -> Vec<Txn> {
    let mut parts = vec![Txn::new()];
    for (key, value) in records {
        let full = parts.last().is_none_or(|part| !part.has_room_for(&key, &value));
        if full {
            parts.push(Txn::new());
        }
        if let Some(part) = parts.pop() {
            parts.push(part.put(key, value));
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}
