//! Which objects of an index another host wants: a bit each, in the order in which [`crate::replica::objects`] counts them.
//!
//! So a request for a hundred thousand files is a few kilobytes, whatever the other host has and wherever it was cut off: what it
//! has by now is not asked for again, and of a large object that has begun to come, the first bytes are not.
//!
//! ```text
//! bytes of the first wanted object that are there already (8)    then a bit an object, the first in the lowest bit
//! ```
//! All numbers are little-endian. The answer is the objects' bytes, one behind the other and nothing between them: both sides
//! know where one ends.

use oneroot_ids::ObjectId;

/// Bytes before the bits.
const HEADER: usize = 8;

/// What is wanted of a list of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wants {
    skip: u64,
    bits: Vec<u8>,
}

/// What came is no such request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("that is no list of objects of this tree")]
pub struct NoWants;

impl Wants {
    /// Those of a list of which this is true; of the first, so many bytes are there already.
    pub fn of(
        objects: impl Iterator<Item = ObjectId>,
        skip: u64,
        mut is_wanted: impl FnMut(ObjectId) -> bool,
    ) -> Self {
        let mut bits = Vec::new();
        for (place, object) in objects.enumerate() {
            if place % 8 == 0 {
                bits.push(0);
            }
            if let (true, Some(last)) = (is_wanted(object), bits.last_mut()) {
                *last |= 1 << (place % 8);
            }
        }
        Self { skip, bits }
    }

    /// As it is sent.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        [self.skip.to_le_bytes().as_slice(), &self.bits].concat()
    }

    /// Bytes that a request has for so many objects.
    #[must_use]
    pub fn length(objects: usize) -> usize {
        HEADER + objects.div_ceil(8)
    }

    /// Reads what was sent, for a list of so many objects.
    ///
    /// # Errors
    /// [`NoWants`] for any other length, and for bits behind the last object.
    pub fn parse(bytes: &[u8], objects: usize) -> Result<Self, NoWants> {
        let (skip, bits) = bytes.split_first_chunk::<HEADER>().ok_or(NoWants)?;
        let spare = match (objects % 8, bits.last()) {
            (0, _) | (_, None) => 0,
            (used, Some(last)) => last >> used,
        };
        if bytes.len() != Self::length(objects) || spare != 0 {
            return Err(NoWants);
        }
        Ok(Self { skip: u64::from_le_bytes(*skip), bits: bits.to_vec() })
    }

    /// Bytes of the first wanted object that are not wanted.
    #[must_use]
    pub fn skip(&self) -> u64 {
        self.skip
    }

    /// Whether the object at a place of the list is wanted.
    #[must_use]
    pub fn has(&self, place: usize) -> bool {
        self.bits.get(place / 8).is_some_and(|byte| byte >> (place % 8) & 1 == 1)
    }

    /// Bytes of the answer, for a list of objects and sizes.
    ///
    /// # Errors
    /// [`NoWants`] when more is skipped than the first one has, or there is none.
    pub fn total(&self, objects: &[(ObjectId, u64)]) -> Result<u64, NoWants> {
        let mut wanted =
            objects.iter().enumerate().filter(|(place, _)| self.has(*place)).map(|(_, (_, size))| *size);
        let first = wanted.next().unwrap_or(0);
        let first = first.checked_sub(self.skip).ok_or(NoWants)?;
        wanted.try_fold(first, u64::checked_add).ok_or(NoWants)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn object(number: usize) -> ObjectId {
        ObjectId([u8::try_from(number).unwrap(); 32])
    }

    proptest! {
        #[test]
        fn what_is_wanted_is_what_the_other_side_reads(wanted in proptest::collection::vec(any::<bool>(), 0..70), skip: u64) {
            let made = Wants::of((0..wanted.len()).map(object), skip, |one| wanted[usize::from(one.0[0])]);
            let read = Wants::parse(&made.bytes(), wanted.len()).unwrap();
            prop_assert_eq!(read.skip(), skip);
            for (place, is) in wanted.iter().enumerate() {
                prop_assert_eq!(read.has(place), *is);
            }
            prop_assert!(!read.has(wanted.len()));
            prop_assert_eq!(Wants::parse(&[made.bytes(), vec![0]].concat(), wanted.len()), Err(NoWants));
        }
    }

    #[test]
    fn bits_for_no_object_and_more_than_the_first_one_has_are_refused() {
        let bytes = [[0; 8].as_slice(), &[0b1000]].concat();
        assert_eq!(Wants::parse(&bytes, 3), Err(NoWants));
        assert!(Wants::parse(&bytes, 4).is_ok());
        let objects = [(object(0), 10), (object(1), 5)];
        let total = |skip, bits: u8| Wants { skip, bits: vec![bits] }.total(&objects);
        assert_eq!((total(0, 3), total(4, 3), total(4, 2)), (Ok(15), Ok(11), Ok(1)));
        assert_eq!((total(6, 2), total(1, 0), total(0, 0)), (Err(NoWants), Err(NoWants), Ok(0)));
    }
}
