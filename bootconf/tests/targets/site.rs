//! Any text as a site file.
//!
//! Input: the text. What must hold: a site or a report; a report names at least one mistake, and for each the line, the
//! column and a reason of bounded length; the same text gives the same answer.

use std::path::Path;

use oneroot_bootconf::{EXAMPLE, load_str};

/// What is told at most, and one line that says how many more there are.
const MOST: usize = 1001;

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let first = load_str("site.toml", &text, Path::new("/etc/oneroot"));
    let Err(report) = first else {
        assert!(load_str("site.toml", &text, Path::new("/etc/oneroot")).is_ok(), "a site, and then none");
        return;
    };
    assert!((1..=MOST).contains(&report.problems.len()), "{} mistakes", report.problems.len());
    let lines = text.lines().count() + 1;
    for problem in &report.problems {
        assert!(problem.line <= lines, "line {} of {lines}", problem.line);
        assert!(!problem.reason.is_empty(), "a mistake without a reason");
        // A mistake may quote the file, and never more than the file.
        let bytes = problem.to_string().len();
        assert!(bytes <= 4096 + 4 * text.len(), "{bytes} bytes of one mistake");
    }
    assert_eq!(load_str("site.toml", &text, Path::new("/etc/oneroot")).err(), Some(report), "two answers");
}

/// The example, the tests' sites, and each of those cut at its tables.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut texts = vec![EXAMPLE.to_owned()];
    for folder in ["valid", "invalid"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bootconf/tests").join(folder);
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|end| end == "toml"));
        files.sort();
        texts.extend(files.iter().map(|file| std::fs::read_to_string(file).unwrap()));
    }
    texts.into_iter().map(String::into_bytes).collect()
}
