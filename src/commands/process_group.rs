//! A program of somebody else's, run apart from us: in a session of its own, and ended with us.

use std::path::Path;
use std::process::Command;

/// The script says why.
const APART: &str = include_str!("apart.sh");

/// The same program apart. What the script cannot pass on, for we are killed and it is not asked, the kernel does.
pub fn apart(program: &Command) -> Command {
    let mut apart = Command::new("setpriv");
    apart.args(["--pdeathsig", "TERM"]).args(UNHEEDED).args(["sh", "-c", APART, "apart"]);
    apart.arg(program.get_program()).args(program.get_args());
    apart
}

/// What ignores a signal hands that down: under `nohup` an installer would not hear the hangup that it sends to what it has
/// started, and wait for ever. A shell can't undo it (POSIX: what was ignored on entry can't be trapped). Nothing is blocked
/// in what Rust starts.
const UNHEEDED: [&str; 2] = ["env", "--default-signal"];

/// An admin's program as it would begin in a shell of its own, whatever this was started under.
pub fn fresh(program: &str) -> Command {
    let [env, default] = UNHEEDED;
    let mut fresh = Command::new(env);
    // Without the shell, a program with an equals sign in its path would be taken for a variable.
    fresh.arg(default).args(["sh", "-c", "exec \"$0\" \"$@\"", program]);
    fresh
}

/// Whether a shell would find a program by its name.
pub fn is_here(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| is_executable(&directory.join(program)))
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}
