//! Eight tags at once with AVX2: each vector has one word of eight compressions.
//!
//! Names and order are those of the BLAKE3 paper, section 2.2 (the compression function): state `v`, message `m`, round, G.
//! A body is the only block of the only chunk and ends the hash, so counter, length and flags are the same for all.

use std::arch::x86_64::{
    __m256i, _mm_set_epi8, _mm256_add_epi32, _mm256_broadcastsi128_si256, _mm256_extract_epi32,
    _mm256_or_si256, _mm256_set1_epi32, _mm256_setr_epi32, _mm256_shuffle_epi8, _mm256_slli_epi32,
    _mm256_srli_epi32, _mm256_xor_si256,
};

use super::{BODY_LEN, Body, LANES, Tag};

/// The first words of the initial value (table 1 of the paper, that of SHA-256).
const IV: [i32; 4] = [0x6a09_e667, 0xbb67_ae85_u32.cast_signed(), 0x3c6e_f372, 0xa54f_f53a_u32.cast_signed()];
/// CHUNK_START, CHUNK_END, ROOT and KEYED_HASH.
const FLAGS: i32 = 1 | 2 | 8 | 16;
/// Bytes of the block that are not padding.
const BLOCK_LEN: i32 = 28;
const _: () = assert!(BODY_LEN == 28);

type Words = [__m256i; 16];

/// The tags of eight bodies.
#[target_feature(enable = "avx2")]
pub(super) fn tags(key: &[u8; 32], bodies: &[Body; LANES]) -> [Tag; LANES] {
    let mut m = message(bodies);
    let mut v = state(key);
    v = round(v, m);
    for _ in 0..6 {
        m = permuted(m);
        v = round(v, m);
    }
    output(v)
}

/// The message: seven words of the bodies, the rest padding.
#[target_feature(enable = "avx2")]
#[inline]
fn message(bodies: &[Body; LANES]) -> Words {
    let mut m = [_mm256_set1_epi32(0); 16];
    let [a, b, c, d, e, f, g, h] = bodies.each_ref().map(|body| body.map(u32::cast_signed));
    let rows = a.into_iter().zip(b).zip(c).zip(d).zip(e).zip(f).zip(g).zip(h);
    for (to, (((((((a, b), c), d), e), f), g), h)) in m.iter_mut().zip(rows) {
        *to = _mm256_setr_epi32(a, b, c, d, e, f, g, h);
    }
    m
}

/// The state before the first round: the key, the initial value, counter 0, length and flags.
#[target_feature(enable = "avx2")]
#[inline]
fn state(key: &[u8; 32]) -> Words {
    let mut words = [0, 0, 0, 0, 0, 0, 0, 0, IV[0], IV[1], IV[2], IV[3], 0, 0, BLOCK_LEN, FLAGS];
    for (to, word) in words.iter_mut().zip(key.as_chunks::<4>().0) {
        *to = i32::from_le_bytes(*word);
    }
    words.map(|word| _mm256_set1_epi32(word))
}

/// The first four words of the output, of each lane.
#[target_feature(enable = "avx2")]
#[inline]
fn output(v: Words) -> [Tag; LANES] {
    let [v0, v1, v2, v3, _, _, _, _, v8, v9, v10, v11, ..] = v;
    let [a, b, c, d] =
        [(v0, v8), (v1, v9), (v2, v10), (v3, v11)].map(|(low, high)| lanes(_mm256_xor_si256(low, high)));
    let mut tags = [Tag::default(); LANES];
    for (tag, (((a, b), c), d)) in tags.iter_mut().zip(a.into_iter().zip(b).zip(c).zip(d)) {
        *tag = [a, b, c, d];
    }
    tags
}

#[target_feature(enable = "avx2")]
#[inline]
fn lanes(words: __m256i) -> [u32; LANES] {
    let lanes = [
        _mm256_extract_epi32::<0>(words),
        _mm256_extract_epi32::<1>(words),
        _mm256_extract_epi32::<2>(words),
        _mm256_extract_epi32::<3>(words),
        _mm256_extract_epi32::<4>(words),
        _mm256_extract_epi32::<5>(words),
        _mm256_extract_epi32::<6>(words),
        _mm256_extract_epi32::<7>(words),
    ];
    lanes.map(i32::cast_unsigned)
}

/// The message for the next round (table 2).
#[target_feature(enable = "avx2")]
#[inline]
fn permuted([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]: Words) -> Words {
    [c, g, d, k, h, a, e, n, b, l, m, f, j, o, p, i]
}

/// One round: columns, then diagonals.
#[target_feature(enable = "avx2")]
#[inline]
fn round(v: Words, m: Words) -> Words {
    let [v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15] = v;
    let [v0, v4, v8, v12] = g([v0, v4, v8, v12], m[0], m[1]);
    let [v1, v5, v9, v13] = g([v1, v5, v9, v13], m[2], m[3]);
    let [v2, v6, v10, v14] = g([v2, v6, v10, v14], m[4], m[5]);
    let [v3, v7, v11, v15] = g([v3, v7, v11, v15], m[6], m[7]);
    let [v0, v5, v10, v15] = g([v0, v5, v10, v15], m[8], m[9]);
    let [v1, v6, v11, v12] = g([v1, v6, v11, v12], m[10], m[11]);
    let [v2, v7, v8, v13] = g([v2, v7, v8, v13], m[12], m[13]);
    let [v3, v4, v9, v14] = g([v3, v4, v9, v14], m[14], m[15]);
    [v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15]
}

/// G: mixes two words of the message into four of the state.
#[target_feature(enable = "avx2")]
#[inline]
fn g([a, b, c, d]: [__m256i; 4], x: __m256i, y: __m256i) -> [__m256i; 4] {
    // Turns by whole bytes are moves of bytes: one step for three.
    let right_16 =
        _mm256_broadcastsi128_si256(_mm_set_epi8(13, 12, 15, 14, 9, 8, 11, 10, 5, 4, 7, 6, 1, 0, 3, 2));
    let right_8 =
        _mm256_broadcastsi128_si256(_mm_set_epi8(12, 15, 14, 13, 8, 11, 10, 9, 4, 7, 6, 5, 0, 3, 2, 1));
    let a = _mm256_add_epi32(_mm256_add_epi32(a, b), x);
    let d = _mm256_shuffle_epi8(_mm256_xor_si256(d, a), right_16);
    let c = _mm256_add_epi32(c, d);
    let b = _mm256_xor_si256(b, c);
    let b = _mm256_or_si256(_mm256_srli_epi32::<12>(b), _mm256_slli_epi32::<20>(b));
    let a = _mm256_add_epi32(_mm256_add_epi32(a, b), y);
    let d = _mm256_shuffle_epi8(_mm256_xor_si256(d, a), right_8);
    let c = _mm256_add_epi32(c, d);
    let b = _mm256_xor_si256(b, c);
    let b = _mm256_or_si256(_mm256_srli_epi32::<7>(b), _mm256_slli_epi32::<25>(b));
    [a, b, c, d]
}
