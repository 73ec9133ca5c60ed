//! System calls (seccomp, seccomp(2)): those that a running server makes, and no other.
//!
//! The list is what strace(1) has seen in all of `tests/`, and their like: what another libc or kernel does instead. What
//! is not in it is refused with EPERM and ends nothing: a call that was forgotten is an error to report, and no reason to
//! take every machine's root away. Calls that are newer than the list are "not there" (ENOSYS), for a libc tries such
//! first and then does without.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter_all_threads, sock_filter,
};

/// Those that may be made with any arguments.
const PLAIN: &[c_long] = &[
    // Reading, writing, sending.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_sendfile,
    libc::SYS_copy_file_range,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_fcntl,
    libc::SYS_flock,
    // Files and their names. Landlock says which of them are opened, made, renamed and removed; it does not look at what
    // changes a mode, an owner or a length by a name, so those are missing: they go by a descriptor.
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_fchmod,
    libc::SYS_umask,
    libc::SYS_utimensat,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_syncfs,
    // Sockets; `socket` itself is below.
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_eventfd2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_futex,
    libc::SYS_restart_syscall,
    // Memory; what makes it executable is below.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_membarrier,
    // Threads, signals to ourselves, and what is asked about us.
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_set_tid_address,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_capget,
    libc::SYS_getcpu,
    libc::SYS_getrusage,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
];

/// The same by their older names, which newer architectures never had.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_link,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_getrlimit,
    libc::SYS_time,
];
#[cfg(target_arch = "aarch64")]
const OLDER: &[c_long] = &[libc::SYS_renameat];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const OLDER: &[c_long] = &[];

/// The last call of Linux 5.17; of what came later, nothing is used.
const NEWEST: c_long = 450;

/// A thread, and not another process; no namespace of its own.
pub(super) const THREAD: u64 = (libc::CLONE_VM | libc::CLONE_THREAD) as u64;
pub(super) const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u64;

/// Names of threads and of memory, and what std asks about the processor (PR_GET_AUXV, which libc has not).
const PRCTLS: [u64; 4] =
    [libc::PR_SET_NAME as u64, libc::PR_GET_NAME as u64, libc::PR_SET_VMA as u64, 0x4155_5856];

/// What of a socket's type is no flag.
const SOCKET_KIND: u64 = 0xf;

/// Questions about interfaces, terminals and what waits in a socket (SIOCOUTQ, by its other name), and what std and tokio
/// set on descriptors.
const IOCTLS: [u64; 13] = [
    libc::TIOCOUTQ,
    libc::FIONBIO,
    libc::FIONREAD,
    libc::FIOCLEX,
    libc::TCGETS,
    libc::TIOCGWINSZ,
    libc::SIOCGIFINDEX,
    libc::SIOCGIFNAME,
    libc::SIOCGIFFLAGS,
    libc::SIOCGIFADDR,
    libc::SIOCGIFNETMASK,
    libc::SIOCGIFHWADDR,
    libc::SIOCGIFMTU,
];

/// Binds every thread.
pub fn filter() -> Result<()> {
    apply_filter_all_threads(&program()?).context("this kernel has no seccomp filters")
}

fn program() -> Result<BpfProgram> {
    let plain = PLAIN.iter().chain(OLDER).map(|call| (*call, Vec::new()));
    compile(plain.chain(conditional()?).collect())
}

/// A filter that lets these calls through, each in any of its ways; no way is every way.
pub(super) fn compile(rules: BTreeMap<c_long, Vec<SeccompRule>>) -> Result<BpfProgram> {
    let architecture = std::env::consts::ARCH;
    let target = TargetArch::try_from(architecture)
        .with_context(|| format!("there is no list of system calls for {architecture}"))?;
    let filter = SeccompFilter::new(rules, refused(libc::EPERM), SeccompAction::Allow, target)?;
    let mut program = not_there();
    program.extend(BpfProgram::try_from(filter)?);
    Ok(program)
}

fn refused(errno: i32) -> SeccompAction {
    SeccompAction::Errno(errno.unsigned_abs())
}

/// In front of the list: `clone3` has its flags in memory, where no filter sees them, so libc has to take `clone`.
fn not_there() -> BpfProgram {
    // load the call's number (the first word of `struct seccomp_data`); is it clone3; is it newer than the list
    const LOAD: u16 = 0x20;
    const IS: u16 = 0x15;
    const IS_OVER: u16 = 0x25;
    const RETURN: u16 = 0x06;
    let number = |call: c_long| u32::try_from(call).unwrap_or(u32::MAX);
    vec![
        sock_filter { code: LOAD, jt: 0, jf: 0, k: 0 },
        sock_filter { code: IS, jt: 1, jf: 0, k: number(libc::SYS_clone3) },
        sock_filter { code: IS_OVER, jt: 0, jf: 1, k: number(NEWEST) },
        sock_filter {
            code: RETURN,
            jt: 0,
            jf: 0,
            k: u32::from(SeccompAction::Errno(libc::ENOSYS.unsigned_abs())),
        },
    ]
}

/// Those that may be made with some arguments: each rule is one way to make the call.
fn conditional() -> Result<Vec<(c_long, Vec<SeccompRule>)>> {
    let is = |argument, value| condition(argument, SeccompCmpOp::Eq, value);
    let bits = |argument, mask, value| condition(argument, SeccompCmpOp::MaskedEq(mask), value);
    let no_code = || -> Result<_> { Ok(vec![rule(vec![bits(2, libc::PROT_EXEC as u64, 0)?])?]) };
    let family = |family: i32| is(0, u64::from(family.unsigned_abs()));
    let any_of = |argument, values: &[u64]| -> Result<Vec<SeccompRule>> {
        values.iter().map(|value| rule(vec![is(argument, *value)?])).collect()
    };
    let kind = |kind: i32| bits(1, SOCKET_KIND, u64::from(kind.unsigned_abs()));
    let mut sockets = vec![
        rule(vec![family(libc::AF_INET)?])?,
        rule(vec![family(libc::AF_INET6)?])?,
        rule(vec![family(libc::AF_PACKET)?])?,
        rule(vec![family(libc::AF_NETLINK)?, is(2, libc::NETLINK_ROUTE as u64)?])?,
    ];
    // Whoever is root and connects to systemd's or the bus' socket has the host. The control socket was made before, and
    // what connects to it is only accepted. Nothing but datagrams to systemd is begun.
    if std::env::var_os("NOTIFY_SOCKET").is_some() {
        sockets.push(rule(vec![family(libc::AF_UNIX)?, kind(libc::SOCK_DGRAM)?])?);
    }
    Ok(vec![
        (libc::SYS_mmap, no_code()?),
        (libc::SYS_mprotect, no_code()?),
        (libc::SYS_clone, vec![rule(vec![bits(0, THREAD | NAMESPACES, THREAD)?])?]),
        (libc::SYS_tgkill, vec![rule(vec![is(0, u64::from(std::process::id()))?])?]),
        (libc::SYS_prlimit64, any_of(0, &[0])?),
        (libc::SYS_prctl, any_of(0, &PRCTLS)?),
        (libc::SYS_ioctl, any_of(1, &IOCTLS)?),
        (libc::SYS_socket, sockets),
        // Pairs are connected, and a stream's can't be led elsewhere.
        (libc::SYS_socketpair, vec![rule(vec![family(libc::AF_UNIX)?, kind(libc::SOCK_STREAM)?])?]),
        // Rings of packets are asked for here: much code in the kernel, and of no use to us.
        (libc::SYS_setsockopt, vec![rule(vec![condition(1, SeccompCmpOp::Ne, libc::SOL_PACKET as u64)?])?]),
    ])
}

/// All of these at once.
pub(super) fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule> {
    Ok(SeccompRule::new(conditions)?)
}

/// The kernel takes 32 bits of all arguments that are looked at here but `clone`'s flags, of which the upper half is none.
pub(super) fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition> {
    Ok(SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?)
}
