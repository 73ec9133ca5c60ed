//! How one decision differs from another, in words: for what would change (`plan`, `reload`) and for what a machine runs that it
//! would not boot any more (`behind`).

use crate::decide::decision::Decision;

/// What is chosen otherwise than this profile with these workloads, and who says so now.
#[must_use]
pub fn chosen_otherwise((profile, workloads): (&str, &[String]), now: &Decision) -> Vec<String> {
    let says = |what: &str, value: &str| {
        let mut why = now.why.iter().filter(|why| !why.hidden);
        let found = why.find(|why| why.what == what && why.value == value);
        found.map_or(String::new(), |why| format!(" ({})", why.from))
    };
    let mut words = Vec::new();
    if profile != now.profile {
        words.push(format!("profile {}, not {profile}{}", now.profile, says("profile", &now.profile)));
    }
    words.extend(lists("workloads", (workloads, &now.workloads), |name| says("workload", name)));
    words
}

/// What has come into a list and what has gone, as `+a -b`; `says` is what stands behind each that has come.
pub fn lists(
    what: &str,
    (before, after): (&[String], &[String]),
    says: impl Fn(&str) -> String,
) -> Option<String> {
    if before == after {
        return None;
    }
    let come =
        after.iter().filter(|word| !before.contains(word)).map(|word| format!("+{word}{}", says(word)));
    let gone = before.iter().filter(|word| !after.contains(word)).map(|word| format!("-{word}"));
    let words: Vec<String> = come.chain(gone).collect();
    Some(if words.is_empty() {
        format!("{what} in another order")
    } else {
        format!("{what} {}", words.join(" "))
    })
}
