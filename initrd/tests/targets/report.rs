//! Any bytes as a report of a boot.
//!
//! What must hold: what is read is bounded, has nothing in it that is not shown as it is, and is the same when it is written and read
//! again.

use oneroot_ids::is_plain;
use oneroot_initrd::report::{
    LONGEST, LONGEST_FAILURE, LONGEST_KERNEL_LINE, MOST_KERNEL_LINES, Phase, Report,
};

pub fn run(data: &[u8]) {
    let Some(report) = std::str::from_utf8(data).ok().and_then(|text| text.parse::<Report>().ok()) else {
        return;
    };
    assert!(report.failure.is_none() || report.note.is_none());
    assert!(report.kernel.len() <= MOST_KERNEL_LINES);
    assert!(report.kernel.iter().all(|line| line.len() <= LONGEST_KERNEL_LINE));
    assert!(report.failure.iter().chain(&report.note).all(|told| told.len() <= LONGEST_FAILURE));
    let text = report.to_string();
    assert!(text.len() <= LONGEST && text.chars().all(|char| char == '\n' || is_plain(char)), "{text:?}");
    assert_eq!(text.parse(), Ok(report));
}

pub fn seeds() -> Vec<Vec<u8>> {
    let whole = Phase::ALL.map(|phase| format!("phase {phase}\nat 5\ntook 2\n"));
    let failed = whole[4].clone() + "failed refused\u{61c}\u{202e}: x\nkernel a\tb\nkernel \n";
    let noted = whole[0].clone() + "noted another boot's\n";
    let kernel = "kernel x\n".repeat(MOST_KERNEL_LINES + 1);
    let many = format!("{}{kernel}", whole[1]);
    let long = format!("{}failed {}\n", whole[2], "é".repeat(LONGEST_FAILURE));
    whole.into_iter().chain([failed, noted, many, long]).map(String::into_bytes).collect()
}
