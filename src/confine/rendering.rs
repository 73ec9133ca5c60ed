//! What the processes that render templates keep: no capability, and some thirty system calls, none of which opens a file,
//! makes a socket that leads anywhere or starts a program (docs/decisions/0011-templates-in-a-process.md).
//!
//! They are bound whatever the site says of confinement, for they have no use of more. What the kernel can't take is left:
//! the bounds of memory, stack and time do not hang on it, and a server's own report tells what such a kernel lacks.

use anyhow::{Context as _, Result};
use libc::c_long;
use rustix::thread::CapabilitySet;
use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule, apply_filter};

use super::calls::{NAMESPACES, THREAD, compile, condition, rule};
use super::privileges;

/// Of both: reading and writing what is open, memory, and an end.
const PLAIN: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_close,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_clock_gettime,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_sched_yield,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Of the supervisor: what a fork makes in libc, and what a worker takes from itself.
const FORKING: &[c_long] = &[
    libc::SYS_wait4,
    libc::SYS_pidfd_open,
    libc::SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_fcntl,
    libc::SYS_seccomp,
];

/// Gives up every capability. What can't be given up stays, as under the packaged unit, which forbids the call: the calls
/// that would need it are gone all the same.
pub fn give_up_all() {
    let _ = privileges::give_up_but(CapabilitySet::empty());
}

/// Binds the process that forks workers.
pub fn bind_supervisor() -> Result<()> {
    let bits = |argument, mask, value| condition(argument, SeccompCmpOp::MaskedEq(mask), value);
    let prctls = [libc::PR_SET_PDEATHSIG, libc::PR_SET_NAME, libc::PR_SET_NO_NEW_PRIVS];
    let prctls = prctls.map(|call| rule(vec![is(0, u64::from(call.unsigned_abs()))?]));
    bind(
        FORKING,
        vec![
            (libc::SYS_clone, vec![rule(vec![bits(0, THREAD | NAMESPACES, 0)?])?]),
            (libc::SYS_socketpair, vec![rule(vec![is(0, libc::AF_UNIX as u64)?])?]),
            (libc::SYS_prctl, prctls.into_iter().collect::<Result<_>>()?),
            // An abort is a signal to oneself; a worker, which inherits this, has another id.
            (libc::SYS_tgkill, vec![rule(vec![is(2, libc::SIGABRT as u64)?])?]),
        ],
    )
}

/// Binds the process that renders.
pub fn bind_worker() -> Result<()> {
    bind(&[], vec![(libc::SYS_tgkill, vec![rule(vec![is(0, u64::from(std::process::id()))?])?])])
}

fn bind(more: &[c_long], mut conditional: Vec<(c_long, Vec<SeccompRule>)>) -> Result<()> {
    let no_code = || -> Result<_> {
        let flags = SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64);
        Ok(vec![rule(vec![condition(2, flags, 0)?])?])
    };
    conditional.push((libc::SYS_mmap, no_code()?));
    conditional.push((libc::SYS_mprotect, no_code()?));
    // Limits of its own: the time that the next template has.
    conditional.push((libc::SYS_prlimit64, vec![rule(vec![is(0, 0)?])?]));
    let plain = PLAIN.iter().chain(more).map(|call| (*call, Vec::new()));
    let program = compile(plain.chain(conditional).collect())?;
    apply_filter(&program).context("this kernel has no seccomp filters")
}

fn is(argument: u8, value: u64) -> Result<SeccompCondition> {
    Ok(SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?)
}
