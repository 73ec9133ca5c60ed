//! The program that installs packages is run apart: it may hang up its whole process group, as mmdebstrap does when it
//! fails, and neither we nor who called us are in it; it is read to its end; and what ends us ends it.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// A site with one profile of packages, and a mmdebstrap of the test's own that does what `script` says.
fn with(script: &str) -> (tempfile::TempDir, Command) {
    let home = tempfile::tempdir().unwrap();
    let site = "[server]\naddress = \"10.0.0.1\"\ninterface = \"lo\"\nstore = \"store\"\nstate = \"state\"\n\
                [profile.debian]\nsource = { suite = \"bookworm\", packages = [\"vim\"] }\n";
    fs::write(home.path().join("site.toml"), site).unwrap();
    let program = home.path().join("mmdebstrap");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", home.path().display(), std::env::var("PATH").unwrap());
    let mut oneroot = Command::new(env!("CARGO_BIN_EXE_oneroot"));
    // A group of its own, so that it is not the test that is hung up where this is broken.
    oneroot.current_dir(home.path()).env("PATH", path).arg("stage").process_group(0);
    (home, oneroot)
}

fn ended(script: &str) -> Output {
    let (_home, mut oneroot) = with(script);
    oneroot.output().unwrap()
}

#[test]
fn an_installer_that_hangs_up_its_process_group_is_an_error_message_and_not_the_end_of_the_caller() {
    let done = ended("echo no mirror >&2; kill -HUP 0; sleep 9");
    assert_eq!(done.status.code(), Some(1), "signal {:?}", done.status.signal());
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(said.contains("mmdebstrap ended with") && said.contains("no mirror"), "{said}");
}

#[test]
fn a_sources_program_ignores_no_signal_whatever_oneroot_was_started_under() {
    let script = "grep -E '^Sig(Ign|Blk)' /proc/self/status >told; exit 1";
    let (home, oneroot) = with(script);
    let site = fs::read_to_string(home.path().join("site.toml")).unwrap();
    let of_a_command = site.clone() + "[profile.other]\nsource = { command = [\"./a=1/mmdebstrap\"] }\n";
    fs::write(home.path().join("site.toml"), of_a_command).unwrap();
    // A path that env(1) would take for a variable.
    fs::create_dir(home.path().join("a=1")).unwrap();
    fs::copy(home.path().join("mmdebstrap"), home.path().join("a=1/mmdebstrap")).unwrap();
    // As `nohup` and a shell's `&` leave it.
    let heedless = |profile: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' HUP INT QUIT; exec \"$@\"", "sh"]).arg(oneroot.get_program());
        shell.args(["stage", profile]).current_dir(home.path());
        shell.envs(oneroot.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let told = home.path().join("told");
        let done = shell.output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        let told = fs::read_to_string(&told).unwrap_or_else(|_| panic!("it did not run: {said}"));
        fs::remove_file(home.path().join("told")).unwrap();
        told
    };
    for profile in ["debian", "other"] {
        let told = heedless(profile);
        // 32 and 33 are the C library's own, and what started us may have ignored them.
        let is_clean = |mask: &str| u64::from_str_radix(mask, 16).unwrap() & !(3 << 31) == 0;
        let masks: Vec<&str> = told.split_whitespace().filter(|word| !word.contains(':')).collect();
        assert!(masks.len() == 2 && masks.into_iter().all(is_clean), "{profile}: {told}");
    }
}

#[test]
fn an_installer_makes_what_machines_may_read_whatever_umask_the_admin_has() {
    let (home, oneroot) = with("umask >told; exit 1");
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 077; exec \"$@\"", "sh"]).arg(oneroot.get_program()).arg("stage");
    shell.current_dir(home.path());
    shell.envs(oneroot.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.output().unwrap();
    assert_eq!(fs::read_to_string(home.path().join("told")).unwrap().trim(), "0022");
}

#[test]
fn an_installer_is_read_to_its_end_though_the_archive_ends_before() {
    // Two blocks of zeros end an archive; tar fills up to 10,240 bytes, and may do so later.
    let done = ended(
        "mkdir r && echo x >r/x && tar -C r -b 1 -cf - . && sleep 0.5 && head -c 7168 /dev/zero || kill -HUP 0",
    );
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn an_entry_that_no_tree_can_have_is_named_and_not_the_pipe_that_broke_over_it() {
    let done = ended(
        "mkdir r && echo x >r/x && tar -C r -cf - --transform 's,^x,a/../x,' -P x && yes | head -c 9000000 || echo pipe >&2; exit 1",
    );
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(said.contains("a/../x") && said.contains("'..'") && !said.contains("ended with"), "{said}");
}

#[test]
fn where_the_installer_is_missing_its_package_is_named() {
    let (home, mut oneroot) = with("");
    fs::remove_file(home.path().join("mmdebstrap")).unwrap();
    let tools = home.path().join("tools");
    fs::create_dir(&tools).unwrap();
    let done = oneroot.env("PATH", tools).output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(said.contains("install the package mmdebstrap"), "{said}");
}

#[test]
fn whatever_ends_a_stage_ends_the_installer_too() {
    // As a terminal does it, to the whole group in front; and as the kernel or an admin does it, to one process.
    let all: fn(Pid) -> rustix::io::Result<()> = |group| kill_process_group(group, Signal::INT);
    let quit: fn(Pid) -> rustix::io::Result<()> = |group| kill_process_group(group, Signal::QUIT);
    let one: fn(Pid) -> rustix::io::Result<()> = |process| kill_process(process, Signal::KILL);
    for end in [all, quit, one] {
        let (home, mut oneroot) = with("echo $$ >pid.new; mv pid.new pid; sleep 600 & wait");
        let mut stage = oneroot.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let pid = home.path().join("pid");
        wait_until("the installer runs", || pid.exists());
        let installer = fs::read_to_string(pid).unwrap();
        end(Pid::from_child(&stage)).unwrap();
        stage.wait().unwrap();
        let proc = Path::new("/proc").join(installer.trim());
        wait_until("the installer is gone", || !proc.exists());
    }
}

#[test]
fn what_an_installer_leaves_running_is_not_waited_for() {
    let mut output = None;
    let (_home, mut oneroot) =
        with("mkdir r && echo x >r/x && tar -C r -cf - . && sleep 600 &\nsleep 1; exit 0");
    let mut stage = oneroot.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the stage is over", || {
        output = stage.try_wait().unwrap();
        output.is_some()
    });
    assert!(output.unwrap().success());
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
