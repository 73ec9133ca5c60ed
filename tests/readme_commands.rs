//! The README's two commands on a machine that is not the authors': what is missing is said at once, in one command that
//! works, and nothing is installed for a build that can't begin.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

/// What every Debian has, and nothing that a task needs.
const ESSENTIAL: [&str; 15] = [
    "sh", "sed", "sort", "head", "tail", "dirname", "uname", "mktemp", "rm", "cat", "grep", "tr", "cc",
    "printf", "chmod",
];
const CARGO: &str = "echo cargo 1.90.0";
/// An apt that knows of each package what it has; the words that it was called with are in `told`.
const APT: &str = "echo \"$*\" >>told; [ $1 = install ] || exit 0; for package; do case $package in \
                   qemu-system-x86) made=qemu-system-x86_64 ;; iproute2) made=ip ;; uidmap) made=newuidmap ;; \
                   util-linux) made=unshare ;; mmdebstrap | tar) made=$package ;; *) made= ;; esac; \
                   [ -z \"$made\" ] || { printf '#!/bin/sh\\n' >bin/$made; chmod 755 bin/$made; }; done";

/// A host that has these programs besides, each with the script that it is.
fn host(programs: &[(&str, &str)]) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let bin = home.path().join("bin");
    fs::create_dir(&bin).unwrap();
    for name in ESSENTIAL {
        let found = ["/bin", "/usr/bin"].map(|directory| Path::new(directory).join(name));
        symlink(found.into_iter().find(|path| path.exists()).unwrap(), bin.join(name)).unwrap();
    }
    for (name, script) in programs {
        let path = bin.join(name);
        fs::write(&path, format!("#!/bin/sh\ncd '{}' || exit\n{script}\n", home.path().display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    home
}

/// Exit code, and what was said.
fn need(host: &tempfile::TempDir, words: &[&str]) -> (Option<i32>, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/need");
    let mut command = Command::new(host.path().join("bin/sh"));
    command.arg(script).args(words).env_clear().env("PATH", host.path().join("bin"));
    let done = command.output().unwrap();
    let said = String::from_utf8(done.stdout).unwrap() + &String::from_utf8(done.stderr).unwrap();
    (done.status.code(), said)
}

fn told(host: &tempfile::TempDir) -> String {
    fs::read_to_string(host.path().join("told")).unwrap_or_default()
}

#[test]
fn an_ordinary_user_is_told_one_command_that_works_on_a_machine_whose_apt_has_no_lists_yet() {
    for (sudo, begins) in
        [(true, "  sudo apt-get update && sudo apt-get install -y"), (false, "  su - -c 'apt-get update && ")]
    {
        let mut programs = vec![("cargo", CARGO), ("id", "echo 1000"), ("apt-get", APT)];
        programs.extend(sudo.then_some(("sudo", "")));
        let host = host(&programs);
        let (code, said) = need(&host, &["demo"]);
        assert_eq!(code, Some(1), "{said}");
        let commands: Vec<&str> = said.lines().filter(|line| line.contains("apt-get")).collect();
        assert!(
            matches!(commands[..], [one] if one.starts_with(begins) && one.contains(" mmdebstrap")),
            "{said}"
        );
        assert_eq!(told(&host), "", "nothing is installed");
    }
}

#[test]
fn without_a_rust_that_can_build_it_nothing_is_installed_and_the_line_that_gets_one_is_said() {
    let broken = "echo 'error: no default is configured' >&2; exit 1";
    for (cargo, expected) in [
        (None, "no cargo here"),
        (Some("echo 'cargo 1.85.0 (d73d2caf9 2024-12-31)'"), "this is Rust 1.85.0, and oneroot needs 1.90"),
        (Some("echo cargo 1.9.0"), "this is Rust 1.9.0"),
        (Some(broken), "no default is configured"),
    ] {
        let mut programs = vec![("id", "echo 0"), ("apt-get", APT)];
        programs.extend(cargo.map(|script| ("cargo", script)));
        let host = host(&programs);
        let (code, said) = need(&host, &["demo"]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(expected) && said.contains("rustup"), "{said}");
        assert_eq!(told(&host), "", "{said}");
    }
}

#[test]
fn what_the_tests_ask_of_rust_besides_is_said_before_an_hour_of_them() {
    let bare = "case $1 in clippy) echo 'error: no such command: `clippy`' >&2; exit 1 ;; *) echo cargo 1.99.1 ;; esac";
    let host = host(&[("cargo", bare), ("id", "echo 0"), ("apt-get", APT)]);
    let (code, said) = need(&host, &["test"]);
    assert!(code == Some(1) && said.contains("rustup component add"), "{said}");
    assert_eq!(told(&host), "");
}

#[test]
fn root_has_it_installed_once_and_a_package_that_did_not_bring_what_is_looked_for_is_named() {
    let host = host(&[("cargo", CARGO), ("id", "echo 0"), ("apt-get", APT)]);
    let is_whole = ["/usr/lib/ipxe/undionly.kpxe"].into_iter().all(|file| Path::new(file).exists())
        && ["/usr/share/qemu", "/usr/lib/ipxe/qemu"]
            .iter()
            .any(|directory| Path::new(directory).join("pxe-virtio.rom").exists());
    if !is_whole {
        println!("skipped: ROMs and loaders are not here, and a stub can't bring them");
        return;
    }
    let (code, said) = need(&host, &["demo"]);
    assert!(code == Some(0) && said.starts_with("installing: "), "{said}");
    let first = told(&host);
    assert!(first.starts_with("update -qq\ninstall -y --no-install-recommends qemu-system-x86 "), "{first}");
    assert_eq!(need(&host, &["demo"]), (Some(0), String::new()));
    assert_eq!(told(&host), first, "once");

    fs::remove_file(host.path().join("bin/newuidmap")).unwrap();
    fs::write(host.path().join("bin/apt-get"), "#!/bin/sh\n").unwrap();
    let (code, said) = need(&host, &["demo"]);
    assert!(code == Some(1) && said.contains("uidmap") && said.contains("no newuidmap"), "{said}");
}

#[test]
fn asked_what_is_missing_it_installs_nothing_though_it_is_root() {
    let host = host(&[("id", "echo 0"), ("apt-get", APT)]);
    let (code, said) = need(&host, &["--missing", "demo"]);
    assert!(code == Some(1) && said.contains("apt-get update && "), "{said}");
    assert_eq!(told(&host), "");
}

/// What `scripts/test` says with these cases of virtual machines; of each, whether it is `#[ignore]`d. What cargo was to run
/// is in `told`.
fn with_cases(cases: &[(&str, bool)], words: &[&str]) -> (Option<i32>, String, String) {
    let list = |wanted: &dyn Fn(bool) -> bool| {
        let named = cases.iter().filter(|(_, ignored)| wanted(*ignored)).map(|(name, _)| *name);
        named.map(|name| format!("echo {name}: test")).collect::<Vec<_>>().join("; ")
    };
    let cargo = format!(
        "case \"$*\" in *--ignored*) true; {} ;; *--list*) true; {} ;; *) echo \"$ONEROOT_LONG $*\" >>told ;; esac",
        list(&|ignored| ignored),
        list(&|_| true)
    );
    let host = host(&[("cargo", cargo.as_str()), ("id", "echo 0")]);
    let path = format!("{}:{}", host.path().join("bin").display(), std::env::var("PATH").unwrap());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/test");
    let done = Command::new(script).args(words).env("PATH", path).env("ONEROOT_LONG", "").output().unwrap();
    let said = String::from_utf8(done.stdout).unwrap() + &String::from_utf8(done.stderr).unwrap();
    (done.status.code(), said, told(&host))
}

#[test]
fn a_run_of_the_virtual_machines_has_at_most_24_cases_and_a_part_has_the_modules_that_it_names() {
    let names: Vec<String> = (0..30).map(|number| format!("boots::case_{number}")).collect();
    let cases = |ignored: usize| -> Vec<(&str, bool)> {
        names.iter().enumerate().map(|(at, name)| (name.as_str(), at < ignored)).collect()
    };
    let (code, said, told) = with_cases(&cases(5), &["vm"]);
    assert!(code == Some(1) && said.contains("24") && said.contains("#[ignore"), "{said}");
    assert!(!told.contains("--nocapture"), "nothing is begun: {told}");
    let (code, said, told) = with_cases(&cases(6), &["vm"]);
    assert!(
        code == Some(0) && told.contains("--nocapture") && !told.contains("--include-ignored"),
        "{said}{told}"
    );

    let (code, said, told) = with_cases(&cases(6), &["vm-all", "firmware"]);
    assert_eq!(code, Some(0), "{said}");
    let run = told.lines().find(|line| line.contains("--include-ignored")).unwrap();
    assert!(run.starts_with("1 ") && run.ends_with(" firmware:: ipxe:: proxy::"), "{run}");
    assert_eq!(with_cases(&cases(6), &["vm-all", "none"]).0, Some(2));

    let (code, said, _) = with_cases(&[("moons::case", false)], &["vm"]);
    assert!(code == Some(1) && said.contains("moons.rs"), "{said}");
}
