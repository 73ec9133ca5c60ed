//! When, where and with what something was measured: a figure without that says nothing.

use std::process::Command;

fn say(program: &str, words: &[&str]) -> String {
    let said = Command::new(program).args(words).output().map(|done| done.stdout).unwrap_or_default();
    String::from_utf8_lossy(&said).trim().to_owned()
}

/// The version of a package that is installed here.
#[must_use]
pub fn version(package: &str) -> String {
    say("dpkg-query", &["-W", "-f", "${Version}", package])
}

/// In one line, up to the QEMU.
#[must_use]
pub fn told() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    format!(
        "{}, commit {}; {} cores, {}, Linux {}, load {}; QEMU {} with TCG",
        say("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        say("git", &["rev-parse", "--short", "HEAD"]),
        std::thread::available_parallelism().map_or(0, usize::from),
        model.trim_start_matches(['\t', ' ', ':']),
        say("uname", &["-r"]),
        read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
        version("qemu-system-x86"),
    )
}
