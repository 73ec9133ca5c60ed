//! Modules that were unpacked to see what they say, kept until they are packed a moment later: unpacking them twice took a third of
//! the time that an initrd takes. Bounded, and what is not kept is unpacked again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use oneroot_ids::ObjectId;

/// Bytes that are kept: the common drivers of a kernel that has all have some 36 MB.
const MOST: usize = 64 << 20;

/// Them.
#[derive(Default)]
pub struct Unpacked(Mutex<HashMap<ObjectId, Vec<u8>>>);

impl Unpacked {
    /// Keeps one, where there is room.
    pub fn keep(&self, object: ObjectId, bytes: Vec<u8>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before: usize = kept.values().map(Vec::capacity).sum();
        if before + bytes.capacity() <= MOST {
            kept.insert(object, bytes);
        }
    }

    /// Gives one away.
    pub fn take(&self, object: ObjectId) -> Option<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&object)
    }

    /// Forgets all of them: who looked at them has what it wanted. Another's, that are lost with them, are unpacked again.
    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = HashMap::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_given_once_and_never_more_than_there_is_room_for() {
        let unpacked = Unpacked::default();
        for number in 0..40 {
            unpacked.keep(ObjectId([number; 32]), vec![number; 2 << 20]);
        }
        let given = (0..40).filter_map(|number| unpacked.take(ObjectId([number; 32])));
        assert_eq!(given.map(|bytes| bytes.len()).sum::<usize>(), MOST);
        assert!(unpacked.take(ObjectId([0; 32])).is_none());
        unpacked.keep(ObjectId([1; 32]), vec![1]);
        unpacked.clear();
        assert!(unpacked.take(ObjectId([1; 32])).is_none());
    }
}
