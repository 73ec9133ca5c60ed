//! The tag of a handle: the front of keyed BLAKE3 over the bytes before it (docs/decisions/0004), for one handle or for eight at
//! once.
//!
//! A page of READDIRPLUS seals a handle for each of its names, and a hash of one block is a chain of steps that wait for each
//! other. The blake3 crate does several at once only for messages of whole blocks, and by no public function; so the compression
//! of eight such blocks side by side is here. Its bytes are those of [`blake3::keyed_hash`], and tests hold it to that.

#[cfg(target_arch = "x86_64")]
mod avx2;

/// Bytes that a tag covers: version, key id, view, layer and inode number.
pub(crate) const BODY_LEN: usize = size_of::<Body>();
/// Bytes of a tag.
pub(crate) const TAG_LEN: usize = size_of::<Tag>();
/// Tags that are computed at once.
pub(crate) const LANES: usize = 8;

/// What a tag covers, in the little-endian words that BLAKE3 takes it for.
pub(crate) type Body = [u32; 7];
/// A tag, likewise.
pub(crate) type Tag = [u32; 4];

/// The tag of one handle.
pub(crate) fn one(key: &[u8; 32], body: &Body) -> Tag {
    let hash = blake3::keyed_hash(key, body.map(u32::to_le_bytes).as_flattened());
    let mut tag = Tag::default();
    for (to, word) in tag.iter_mut().zip(hash.as_bytes().as_chunks().0) {
        *to = u32::from_le_bytes(*word);
    }
    tag
}

/// The tags of eight handles.
pub(crate) fn eight(key: &[u8; 32], bodies: &[Body; LANES]) -> [Tag; LANES] {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: what it asks of its caller is a processor that has AVX2, and this one says that it has.
        return unsafe { avx2::tags(key, bodies) };
    }
    bodies.map(|body| one(key, &body))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn eight_tags_are_those_of_each_handle_alone(
            key in any::<[u8; 32]>(),
            bodies in any::<[Body; LANES]>(),
        ) {
            prop_assert_eq!(eight(&key, &bodies), bodies.map(|body| one(&key, &body)));
        }

        /// Bodies of one listing differ in few bits, so that a lane mistaken for its neighbour would often pass for the right one.
        #[test]
        fn no_lane_is_mistaken_for_another(bit in 0..BODY_LEN * 8, lane in 0..LANES) {
            let same = [[0x5a5a_5a5a; 7]; LANES];
            let mut other = same;
            other[lane][bit / 32] ^= 1 << (bit % 32);
            let (before, after) = (eight(&[7; 32], &same), eight(&[7; 32], &other));
            for at in 0..LANES {
                prop_assert_eq!(before[at] == after[at], at != lane);
            }
        }
    }
}
