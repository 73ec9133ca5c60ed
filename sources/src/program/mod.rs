//! Programs of somebody else's: run in a session of their own and ended with us, as they would begin in a fresh shell; and what
//! they say meanwhile.

mod said;

use std::path::Path;
use std::process::Command;

use crate::Host;

pub(crate) use said::Said;

/// The store that is staged into, for what a source's program calls.
pub(crate) const STAGES_INTO: &str = "ONEROOT_STAGES";

/// The script says why.
const APART: &str = include_str!("apart.sh");

/// The same program apart. What the script cannot pass on, for we are killed and it is not asked, the kernel does.
pub(crate) fn apart(program: &Command) -> Command {
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
#[must_use]
pub fn fresh(program: &str) -> Command {
    let [env, default] = UNHEEDED;
    let mut fresh = Command::new(env);
    // Without the shell, a program with an equals sign in its path would be taken for a variable.
    fresh.arg(default).args(["sh", "-c", "exec \"$0\" \"$@\"", program]);
    fresh
}

impl Host<'_> {
    /// Whether a shell would find a program by its name.
    #[must_use]
    pub fn has(&self, program: &str) -> bool {
        let path = (self.variable)("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|directory| is_executable(&directory.join(program)))
    }

    /// Whether we were called by the program of a source that is being staged into this store.
    #[must_use]
    pub fn is_staging_into(&self, store: &Path) -> bool {
        // By what they lead to, for either may be written as a link.
        let same = |stages: &Path| {
            stages.canonicalize().ok().is_some_and(|stages| store.canonicalize().ok() == Some(stages))
        };
        (self.variable)(STAGES_INTO).is_some_and(|stages| same(Path::new(&stages)))
    }
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}
