//! A test that takes too long ends with its name (`scripts/limited`, by which scripts/test runs every test binary).
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Where the test that hangs writes the process that it waits for.
const HANG: &str = "ONEROOT_TEST_HANGS";

/// Runs a program with this limit for each of its tests, in seconds.
fn limited(limit: &str, program: &Path, arguments: &[&str], hang: Option<&Path>) -> Output {
    let runner = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/limited");
    let mut command = Command::new(runner);
    command.arg(program).args(arguments).env("ONEROOT_TEST_LIMIT", limit).stdin(Stdio::null());
    if let Some(file) = hang {
        command.env(HANG, file);
    }
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Passes, but where the tests below run it.
#[test]
fn hangs_where_it_is_told_to() {
    let Some(file) = std::env::var_os(HANG) else { return };
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    std::fs::write(file, child.id().to_string()).unwrap();
    child.wait().unwrap();
}

#[test]
fn passes_before_the_one_that_hangs() {}

#[test]
fn a_test_that_hangs_is_ended_with_its_name_and_with_what_it_waits_for() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("pid");
    // One thread: libtest says which test it begins with. Else it says so after 60 s, which is the next test's matter.
    let arguments = ["--quiet", "--test-threads=1", "hangs"];
    let output = limited(
        "2",
        &std::env::current_exe().unwrap(),
        &[&arguments[..], &["--skip", "ended"]].concat(),
        Some(&file),
    );
    let told = said(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("the test hangs_where_it_is_told_to takes more than the 2 s"), "{told}");
    assert!(
        told.contains("sleep 1000") && !told.contains("passes_before_the_one_that_hangs ... ok"),
        "{told}"
    );
    let pid = std::fs::read_to_string(&file).unwrap();
    assert!(told.contains(&format!("process {pid}: ")), "{told}");
    assert!(!Path::new("/proc").join(&pid).join("exe").exists(), "its child runs on");
}

#[test]
fn of_tests_side_by_side_the_one_that_libtest_calls_slow_is_ended() {
    let script = "echo 'test a::slow has been running for over 60 seconds'; \
        echo 'test a::hangs has been running for over 60 seconds'; echo 'test a::slow ... ok'; sleep 1000";
    let output = limited("61", Path::new("/bin/sh"), &["-c", script], None);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("the test a::hangs takes more than the 61 s"), "{told}");
    assert!(!told.contains("the test a::slow takes"), "{told}");
}

#[test]
fn what_ends_by_itself_ends_as_it_would_without_a_limit() {
    let script = "echo 'test a::slow has been running for over 60 seconds'; echo 'test a::slow ... ok'; echo done; exit 7";
    let output = limited("61", Path::new("/bin/sh"), &["-c", script], None);
    assert_eq!(output.status.code(), Some(7));
    assert!(said(&output).ends_with("... ok\ndone\n"));
    let output = limited("100", &std::env::current_exe().unwrap(), &["--quiet", "passes"], None);
    let told = said(&output);
    assert!(
        output.status.success() && told.contains("test result: ok. 1 passed") && !told.contains("... ok"),
        "{told}"
    );
}
