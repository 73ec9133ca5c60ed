//! The first program of a machine, the kernel's modprobe while it is, and what examines the machine later: [`oneroot_init`] has
//! all of them.

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use oneroot_init::boot::{MODPROBE, NEVER, RESTART, Started, boot};
use oneroot_init::kernel::Kernel;
use oneroot_init::kernel::host::Host;
use oneroot_init::machine::Over;
use oneroot_init::modules::modprobe;
use oneroot_init::tell::{TELL, tell};
use oneroot_initrd::BUILD;

/// The first process.
const FIRST: u32 = 1;
/// How long nothing happens at a time, where nothing happens any more.
const LONG: Duration = Duration::from_secs(3600);

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let name = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    if name == MODPROBE {
        return if modprobe(&Host, &arguments) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if name == TELL {
        return if tell(&Host) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if std::process::id() != FIRST {
        // A server looks for it in the program before it takes it for its own: it may not be made at run time.
        let build = black_box(BUILD);
        Host.print(&format!(
            "{build} is the first program of a machine that boots, and does nothing on one that runs"
        ));
        return ExitCode::FAILURE;
    }
    // The first process may not end: the kernel would panic, and nobody would know why.
    std::panic::set_hook(Box::new(|info| {
        let restart = RESTART.load(Ordering::Relaxed);
        Host.print(&format!("\noneroot: a mistake of init's own: {info}"));
        if restart == NEVER {
            end(Over::Stay);
        }
        Host.print(&format!("  the machine starts again in {restart} s"));
        Host.sleep(Duration::from_secs(restart.into()));
        end(Over::Restart)
    }));
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let term = std::env::var("TERM").ok();
    end(boot(&Host, &Started { arguments, term }))
}

/// Starts the machine again, or waits for somebody to do it.
fn end(over: Over) -> ! {
    if over == Over::Restart {
        Host.restart();
    }
    loop {
        Host.sleep(LONG);
    }
}
