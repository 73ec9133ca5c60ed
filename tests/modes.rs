//! Nobody but root and the server's own user reads the state, the store, or asks the server: whatever the umask, and whatever
//! became of the directories' modes.
#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use oneroot_testkit::{Lab, Server, SiteFiles};

use crate::program::copy_program;

/// Not root, and nobody who has anything here.
const SOMEBODY: u32 = 65_534;
const PATIENCE: Duration = Duration::from_secs(60);

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// `oneroot WORDS` under a umask.
fn under(umask: &str, server: &Server, words: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("umask {umask}; exec {} {words}", server.binary().display())]);
    command.current_dir(server.site.path()).stdin(Stdio::null());
    command
}

/// A process that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a command says that must refuse, killed if it goes on.
fn refusal(server: &Server, words: &str) -> String {
    let mut command = under("022", server, words);
    let mut running = Running(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let begun = Instant::now();
    let status = loop {
        match running.0.try_wait().unwrap() {
            Some(status) => break status,
            None => assert!(begun.elapsed() < PATIENCE, "{words} goes on"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut told = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(!status.success(), "{words}: {told}");
    told
}

/// A directory and all that is in it, as deep as it goes.
fn all(path: &Path, found: &mut Vec<(String, u32)>) {
    let meta = fs::symlink_metadata(path).unwrap();
    if meta.file_type().is_symlink() {
        return;
    }
    found.push((path.display().to_string(), meta.mode() & 0o7777));
    if meta.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| all(&entry.unwrap().path(), found));
    }
}

/// Runs the binary as an ordinary user, from where that one may enter: a checkout may lie in a home that is closed.
fn of_somebody(server: &Server, words: &[&str]) -> Output {
    let open = tempfile::tempdir().unwrap();
    chmod(open.path(), 0o755);
    let binary = open.path().join("oneroot");
    copy_program(server.binary(), &binary);
    chmod(&binary, 0o755);
    let mut command = Command::new(&binary);
    command.current_dir(server.site.path()).args(words).stdin(Stdio::null()).uid(SOMEBODY).gid(SOMEBODY);
    command.output().unwrap()
}

#[test]
fn whatever_the_umask_nothing_of_state_and_store_is_for_anybody_else() {
    let _lab = Lab::new().unwrap();
    for umask in ["000", "077", "027", "177"] {
        let site = SiteFiles::small().unwrap();
        fs::write(site.path().join("root/etc/shadow"), "root:secret").unwrap();
        let server = Server::new(site).unwrap();
        server.site.write().unwrap();
        for words in ["stage", "gc", "stage --afresh", "state backup saved"] {
            let done = under(umask, &server, words).output().unwrap();
            assert!(done.status.success(), "{words}: {}", String::from_utf8_lossy(&done.stderr));
        }
        let process = under(umask, &server, "serve").stderr(Stdio::null()).spawn();
        let process = Running(process.unwrap());
        let begun = Instant::now();
        while server.run(&["status"]).is_err() {
            assert!(begun.elapsed() < PATIENCE, "it does not come up under umask {umask}");
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut found = Vec::new();
        ["state", "store", "saved"].iter().for_each(|name| all(&server.site.path().join(name), &mut found));
        assert!(
            found.iter().any(|(path, mode)| path.ends_with("control.sock") && *mode == 0o600),
            "{found:?}"
        );
        let open = found.iter().filter(|(_, mode)| mode & 0o077 != 0);
        let open: Vec<_> = open.map(|(path, mode)| format!("{path} {mode:o}")).collect();
        assert!(open.is_empty(), "umask {umask}: {open:?}");
        drop(process);
    }
}

#[test]
fn a_state_that_others_may_enter_is_refused_and_the_error_says_how_to_mend_it() {
    let _lab = Lab::new().unwrap();
    let server = Server::new(SiteFiles::small().unwrap()).unwrap();
    server.stage().unwrap();
    let state = server.site.path().join("state");
    fs::create_dir(&state).unwrap();
    for mode in [0o755, 0o711, 0o701, 0o750, 0o770, 0o777] {
        chmod(&state, mode);
        let told = refusal(&server, "serve");
        assert!(told.contains(&format!("chmod 700 {}", state.display())), "{mode:o}: {told}");
        assert_eq!(fs::read_dir(&state).unwrap().count(), 0, "nothing was written there");
    }
    chmod(&state, 0o700);
    std::os::unix::fs::chown(&state, Some(SOMEBODY), None).unwrap();
    let told = refusal(&server, "serve");
    assert!(told.contains(&format!("chown root {}", state.display())), "{told}");
    let store = server.site.path().join("store");
    chmod(&store, 0o777);
    let told = refusal(&server, "stage");
    assert!(told.contains(&format!("chmod -R go= {}", store.display())), "{told}");
}

#[test]
fn whoever_is_not_root_is_not_answered_even_where_the_modes_would_let_everybody_ask() {
    let _lab = Lab::new().unwrap();
    let server = Server::start(SiteFiles::small().unwrap()).unwrap();
    let home = server.site.path();
    chmod(home, 0o755);
    chmod(&home.join("site.toml"), 0o644);
    let told = of_somebody(&server, &["status"]);
    let words = String::from_utf8(told.stderr).unwrap();
    assert!(told.status.code() == Some(1) && words.contains("run this as root"), "{words}");
    // As a careless admin leaves them.
    chmod(&home.join("state"), 0o755);
    chmod(&home.join("state/control.sock"), 0o666);
    for words in [&["status"][..], &["status", "--json"], &["gc", "--dry-run"], &["release", "alpha"]] {
        let told = of_somebody(&server, words);
        let said = String::from_utf8(told.stderr).unwrap();
        assert!(told.status.code() == Some(1) && said.contains("root"), "{words:?}: {said}");
        assert!(told.stdout.is_empty(), "{words:?}");
    }
    let saved = home.join("somebodys");
    fs::create_dir(&saved).unwrap();
    chmod(&saved, 0o777);
    let told = of_somebody(&server, &["state", "backup", "somebodys/saved"]);
    assert!(!told.status.success());
    let saved = fs::read_dir(&saved).unwrap().map(|entry| fs::metadata(entry.unwrap().path()).unwrap().len());
    assert_eq!(saved.sum::<u64>(), 0, "not a byte of it");
    server.run(&["status"]).unwrap();
}

#[test]
fn those_who_ask_slowly_or_not_at_all_hold_up_no_other_question() {
    let _lab = Lab::new().unwrap();
    let server = Server::start(SiteFiles::small().unwrap()).unwrap();
    let socket = server.site.path().join("state/control.sock");
    let silent: Vec<_> = (0..12).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    let mut endless = UnixStream::connect(&socket).unwrap();
    endless.write_all(&[b'x'; 100_000]).map_or_else(|_| (), |()| ());
    for _ in 0..20 {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(b"status\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("\"machines\""), "{answer}");
    }
    // More than are listened to at once: those that say nothing make room for those that do.
    let many: Vec<_> = (0..20).map(|_| UnixStream::connect(&socket)).collect();
    server.run(&["status"]).unwrap();
    drop((silent, many));
}
