//! What processes have in common that are forked off before the first thread: they keep nothing of what they inherit but their
//! sockets, and outlive what is meant for the one that they work for.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};

use rustix::process::Pid;

/// Descriptors that are closed one by one, where the kernel or a filter has no call for all of them.
const ONE_BY_ONE: i32 = 65_536;

/// Forks the calling process, which must have one thread. The child's id; `None` in the child.
///
/// # Errors
/// There is no process to be had.
pub fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: the calling process has one thread: `main` and `serve` fork before they start any, and those that they fork start
    // none. So no lock is held by a thread that the child does not have, and everything may be called there.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        child => Ok(Pid::from_raw(child)),
    }
}

/// Signals that end a service or a command: systemd and a terminal send these to all of its processes.
pub const ENDING: [i32; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];

/// Ignores what ends a service: the process that it is meant for may still have machines to answer, and this one ends with it.
pub fn outlive_signals() {
    for signal in ENDING {
        // SAFETY: SIG_IGN is no handler, so no code runs in a signal's context.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// When memory runs out, this process should end first; the unit protects the server.
pub fn give_way() {
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
}

/// Closes all that was inherited but `keep`: sockets that systemd passed would stay open in here, and what is not open
/// can't be misused. Of stdin, stdout and stderr /dev/null is left: what is printed there is no line of the log.
pub fn shed(keep: &[RawFd]) {
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        for standard in 0..=2 {
            // SAFETY: these numbers are stdin's, stdout's and stderr's, which nothing owns; `null` is open.
            unsafe { libc::dup2(null.as_raw_fd(), standard) };
        }
    }
    let mut keep = keep.to_vec();
    keep.sort_unstable();
    let mut first = 3;
    for kept in keep {
        close_range(first, kept - 1);
        first = kept + 1;
    }
    close_range(first, i32::MAX);
}

fn close_range(first: i32, last: i32) {
    if first > last {
        return;
    }
    // SAFETY: this runs in a child that was just forked and never returns to the code that opened these descriptors: their
    // owners are memory that is not used again, those that are kept excepted, which are in no range.
    unsafe {
        let (from, to) = (libc::c_long::from(first), libc::c_long::from(last));
        if libc::syscall(libc::SYS_close_range, from, to, 0) != 0 {
            for descriptor in first..=last.min(ONE_BY_ONE) {
                libc::close(descriptor);
            }
        }
    }
}
