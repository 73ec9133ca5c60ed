//! The patterns of `modules.alias`, matched as kmod does by fnmatch(3) without flags: `*`, `?`, `[…]`, `\`; and `-` is `_`, but
//! for what stands in brackets.

/// How the two spellings of a name are one.
pub(super) const fn folded(byte: u8) -> u8 {
    if byte == b'-' { b'_' } else { byte }
}

/// Whether all of `value` is what `pattern` says; not where that takes more steps than are left of a budget. The last `*` alone
/// is tried again, for one before it could only take less.
pub(super) fn matches(pattern: &str, value: &str, left: &mut u64) -> bool {
    let (mut pattern, mut value) = (pattern.as_bytes(), value.as_bytes());
    // Behind the last star, and what of the value it has not taken yet.
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        // A bracket is read to its end for each byte that it is asked of.
        let cost = if let [b'[', ..] = pattern { pattern.len() as u64 } else { 1 };
        let Some(less) = left.checked_sub(cost) else {
            *left = 0;
            return false;
        };
        *left = less;
        if let [b'*', rest @ ..] = pattern {
            star = Some((rest, value));
            pattern = rest;
            continue;
        }
        if let Some((rest, [_, left @ ..])) = one(pattern, value.first().copied()).zip(Some(value)) {
            (pattern, value) = (rest, left);
            continue;
        }
        if pattern.is_empty() && value.is_empty() {
            return true;
        }
        let Some((behind, [_, left @ ..])) = star else { return false };
        star = Some((behind, left));
        (pattern, value) = (behind, left);
    }
}

/// What is left of the pattern where its first part says this byte.
fn one(pattern: &[u8], byte: Option<u8>) -> Option<&[u8]> {
    let byte = folded(byte?);
    match pattern {
        [b'?', rest @ ..] => Some(rest),
        [b'[', inside @ ..] => match bracket(inside, byte) {
            Some((told, rest)) => told.then_some(rest),
            // A bracket that nothing closes is a bracket.
            None => (byte == b'[').then_some(inside),
        },
        [b'\\', said, rest @ ..] | [said, rest @ ..] => (folded(*said) == byte).then_some(rest),
        [] => None,
    }
}

/// Whether a set has this byte, and what is behind it; none where it has no end.
fn bracket(inside: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let (negated, mut rest) = match inside {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, inside),
    };
    let mut has = false;
    let mut first = true;
    loop {
        rest = match rest {
            [b']', behind @ ..] if !first => return Some((has != negated, behind)),
            [low, b'-', high, behind @ ..] if *high != b']' => {
                has |= (*low..=*high).contains(&byte);
                behind
            }
            [said, behind @ ..] => {
                has |= *said == byte;
                behind
            }
            [] => return None,
        };
        first = false;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, value: &str) -> bool {
        super::matches(pattern, value, &mut u64::MAX.clone())
    }

    #[test]
    fn patterns_say_what_fnmatch_says() {
        for (pattern, value, same) in [
            (
                "pci:v00008086d000015F3sv*sd*bc*sc*i*",
                "pci:v00008086d000015F3sv00008086sd00000000bc02sc00i00",
                true,
            ),
            (
                "pci:v00008086d000015F2sv*sd*bc*sc*i*",
                "pci:v00008086d000015F3sv00008086sd00000000bc02sc00i00",
                false,
            ),
            ("usb:v13FDp3940d0[0-2]*dc*", "usb:v13FDp3940d0210dc00", true),
            ("usb:v13FDp3940d0[0-2]*dc*", "usb:v13FDp3940d0310dc00", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[]a]", "]", true),
            ("[!a]", "b", true),
            ("[!a]", "a", false),
            ("[^a]", "b", true),
            ("[a", "[a", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("crypto-lz4", "crypto_lz4", true),
            ("crypto_lz4", "crypto-lz4", true),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*", "a/b.c", true),
        ] {
            assert_eq!(matches(pattern, value), same, "{pattern} {value}");
        }
    }

    /// A second way: what the pattern says, tried by recursion.
    fn slow(pattern: &[u8], value: &[u8]) -> bool {
        match pattern {
            [] => value.is_empty(),
            [b'*', rest @ ..] => (0..=value.len()).any(|taken| slow(rest, &value[taken..])),
            _ => one(pattern, value.first().copied()).is_some_and(|rest| slow(rest, &value[1..])),
        }
    }

    proptest! {
        #[test]
        fn the_quick_way_is_the_slow_way(pattern in "[ab*?\\[\\]!-]{0,8}", value in "[ab\\[\\]_-]{0,8}") {
            prop_assert_eq!(matches(&pattern, &value), slow(pattern.as_bytes(), value.as_bytes()));
        }
    }

    #[test]
    fn a_pattern_of_stars_is_told_at_once() {
        let stars = "*a".repeat(500);
        assert!(!matches(&stars, &"a".repeat(4000).replace("aaaa", "aaab")));
        assert!(!matches(&(stars + "b"), &"a".repeat(4000)));
    }

    #[test]
    fn a_budget_that_is_used_up_ends_it_and_stays_used_up() {
        let mut left = 1000;
        assert!(super::matches("a*[ab]c", "axxbc", &mut left) && left < 1000);
        assert!(!super::matches(&format!("*[{}]", "a".repeat(900)), &"b".repeat(900), &mut left));
        assert_eq!(left, 0);
        assert!(!super::matches("a", "a", &mut left));
    }
}
