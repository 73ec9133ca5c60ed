//! Contents that are served like an object and lie in no store: they are lent for as long as somebody holds them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use oneroot_ids::ObjectId;

type Contents = HashMap<ObjectId, (Arc<[u8]>, usize)>;

/// All that are lent, and how many hold each: two may have the same bytes.
#[derive(Clone, Default)]
pub struct Lending(Arc<Mutex<Contents>>);

/// One that is lent until this is dropped.
pub struct Lent {
    of: Lending,
    id: ObjectId,
}

impl Lending {
    /// Lends some.
    pub fn lend(&self, bytes: &[u8]) -> Lent {
        let id = ObjectId(*blake3::hash(bytes).as_bytes());
        let mut lent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lent.entry(id).or_insert_with(|| (Arc::from(bytes), 0)).1 += 1;
        Lent { of: self.clone(), id }
    }

    /// Those of this name.
    pub fn get(&self, id: ObjectId) -> Option<Arc<[u8]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).map(|(bytes, _)| bytes.clone())
    }
}

impl Lent {
    /// Their name.
    pub fn id(&self) -> ObjectId {
        self.id
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut lent = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, holders)) = lent.get_mut(&self.id) {
            *holders -= 1;
            if *holders == 0 {
                lent.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lent_twice_is_there_until_both_have_given_it_back() {
        let lending = Lending::default();
        let (one, other) = (lending.lend(b"secret"), lending.lend(b"secret"));
        let id = one.id();
        assert_eq!(other.id(), id);
        drop(one);
        assert_eq!(lending.get(id).as_deref(), Some(&b"secret"[..]));
        drop(other);
        assert_eq!(lending.get(id), None);
    }
}
