//! The real init, started as the kernel would have started it: nothing of the initramfs's is left to it.

use oneroot_initrd::report::Phase;

use crate::files::{GIVEN, init, is_systemd};
use crate::kernel::Errno;
use crate::machine::{HOME, Machine, Over, PATH};
use crate::root::say;
use crate::telling::BUDGET;
use crate::trouble::Trouble;

/// Becomes the real init. `arguments` are what the kernel has given init, `term` the terminal that it has named.
pub fn hand_over(machine: &mut Machine<'_>, arguments: &[String], term: &str) -> Over {
    machine.teller.begin(Phase::HandOver);
    let (kernel, init) = (machine.kernel, init(machine));
    if !kernel.is_there(&init) {
        return fails(machine, &init, Errno::NOENT);
    }
    // The kernel starts init with none.
    let _ = kernel.write("/proc/self/oom_score_adj", b"0", 0o644);
    if !is_systemd(kernel, &init) {
        watch(machine);
    }
    machine.teller.done(&init);
    machine.teller.last(BUDGET);
    let environment = [HOME, ("TERM", term), PATH];
    let errno = kernel.become_program(&init, arguments, &environment);
    fails(machine, &init, errno)
}

/// An init that is not systemd has no unit to say when it is done, so a script of the tree's shell sees to it.
fn watch(machine: &Machine<'_>) {
    let boot = machine.settings.boot.to_string();
    let script = format!("{GIVEN}/watch");
    let started = machine.kernel.start("/bin/sh", &[&script, &boot], &[HOME, PATH]);
    if started.is_err() {
        // A tree without a shell: that it came up is seen by nobody.
        say(machine, "", "up-unknown");
    }
}

fn fails(machine: &mut Machine<'_>, init: &str, errno: Errno) -> Over {
    say(machine, "", "failed-init");
    machine.is_stuck(&Trouble::NoInit { init: init.to_owned(), errno })
}
