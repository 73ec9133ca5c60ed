//! The table: what somebody tries who has taken over a thread of the server.

use std::path::Path;

/// What seccomp answers.
pub const PERM: i64 = -(libc::EPERM as i64);
/// What Landlock answers.
pub const ACCES: i64 = -(libc::EACCES as i64);
/// What seccomp answers where libc is to take another call.
pub const NOSYS: i64 = -(libc::ENOSYS as i64);

/// An attack: what it is, the call, its arguments, what a server that is not confined is answered, what one that is.
pub struct Attack {
    pub what: &'static str,
    pub number: libc::c_long,
    pub arguments: String,
    pub open: Outcome,
    pub refused: i64,
}

/// What happens on a server that is not confined.
#[derive(Debug, Clone, Copy)]
pub enum Outcome {
    /// It is done.
    Done,
    /// The kernel takes the call up, and answers what is wrong with these arguments: they are wrong so that the test's host
    /// comes to no harm.
    Heard,
    /// Not tried: it would harm the host, or end the server.
    Untried,
}

/// `outside` has the files `there` and `going`, `site` is the site's directory, `bystander` another process of the same user.
pub fn attacks(outside: &Path, site: &Path, bystander: u32) -> Vec<Attack> {
    use Outcome::{Done, Heard, Untried};
    const AT: i32 = libc::AT_FDCWD;
    let (read, make) = (libc::O_RDONLY, libc::O_WRONLY | libc::O_CREAT);
    let open = |path: &str, flags: i32| format!("{AT} @{path} {flags} 420");
    let (outside, site) = (outside.display(), site.display());
    let row =
        |what, number, arguments: String, open, refused| Attack { what, number, arguments, open, refused };
    vec![
        // Files.
        row("reads passwords", libc::SYS_openat, open("/etc/shadow", read), Done, ACCES),
        row(
            "reads them by a newer call",
            libc::SYS_openat2,
            format!("{AT} @/etc/shadow :{} 24", "00".repeat(24)),
            Done,
            ACCES,
        ),
        row("lists the root", libc::SYS_openat, open("/", read | libc::O_DIRECTORY), Done, ACCES),
        row("reads root's keys", libc::SYS_openat, open("/root", read | libc::O_DIRECTORY), Done, ACCES),
        row(
            "reads another process",
            libc::SYS_openat,
            open(&format!("/proc/{bystander}/environ"), read),
            Done,
            ACCES,
        ),
        row("opens a device", libc::SYS_openat, open("/dev/null", read), Done, ACCES),
        row(
            "changes the kernel's settings",
            libc::SYS_openat,
            open("/proc/sys/kernel/core_pattern", libc::O_WRONLY),
            Done,
            ACCES,
        ),
        row("makes a file elsewhere", libc::SYS_openat, open(&format!("{outside}/made"), make), Done, ACCES),
        row(
            "changes a file elsewhere",
            libc::SYS_openat,
            open(&format!("{outside}/there"), libc::O_RDWR),
            Done,
            ACCES,
        ),
        row(
            "empties a file elsewhere",
            libc::SYS_openat,
            open(&format!("{outside}/there"), libc::O_WRONLY | libc::O_TRUNC),
            Done,
            ACCES,
        ),
        row(
            "changes the site",
            libc::SYS_openat,
            open(&format!("{site}/site.toml"), libc::O_RDWR),
            Done,
            ACCES,
        ),
        row(
            "puts a file into a layer",
            libc::SYS_openat,
            open(&format!("{site}/layers/common/made"), make),
            Done,
            ACCES,
        ),
        row(
            "takes a file away elsewhere",
            libc::SYS_unlinkat,
            format!("{AT} @{outside}/going 0"),
            Done,
            ACCES,
        ),
        row(
            "makes a directory elsewhere",
            libc::SYS_mkdirat,
            format!("{AT} @{outside}/dir 448"),
            Done,
            ACCES,
        ),
        row(
            "carries the state out",
            libc::SYS_renameat2,
            format!("{AT} @{site}/state/lock {AT} @{outside}/lock 0"),
            Untried,
            ACCES,
        ),
        row(
            "makes a device",
            libc::SYS_mknodat,
            format!("{AT} @{site}/state/null {} 259", libc::S_IFCHR | 0o600),
            Done,
            PERM,
        ),
        row("gives a file away", libc::SYS_fchownat, format!("{AT} @{outside}/there 1 1 0"), Done, PERM),
        row("opens a file by its handle", libc::SYS_open_by_handle_at, format!("{AT} 0 0"), Heard, PERM),
        row("opens a file's mode", libc::SYS_fchmodat, format!("{AT} @{outside}/there 438"), Done, PERM),
        row("cuts a file", libc::SYS_truncate, format!("@{outside}/there 3"), Done, PERM),
        // Programs, and code of its own.
        row("starts a shell", libc::SYS_execve, "@/bin/sh 0 0".into(), Untried, PERM),
        row("starts a program", libc::SYS_execve, "@/nowhere 0 0".into(), Heard, PERM),
        row("starts one by another call", libc::SYS_execveat, format!("{AT} @/nowhere 0 0 0"), Heard, PERM),
        row("becomes two", libc::SYS_clone, format!("{} 0 0 0 0", libc::SIGCHLD), Untried, PERM),
        row("becomes two unseen", libc::SYS_clone3, "0 0".into(), Heard, NOSYS),
        row("makes memory code", libc::SYS_mmap, "0 4096 7 0x22 -1 0".into(), Done, PERM),
        row("makes a file of memory", libc::SYS_memfd_create, "@x 0".into(), Done, PERM),
        // Other processes.
        row("follows a process", libc::SYS_ptrace, format!("0x4206 {bystander} 0 0"), Done, PERM),
        row(
            "reads a process' memory",
            libc::SYS_process_vm_readv,
            format!("{bystander} 0 0 0 0 0"),
            Done,
            PERM,
        ),
        row("signals a process", libc::SYS_kill, format!("{bystander} 0"), Done, PERM),
        row(
            "signals a thread of another process",
            libc::SYS_tgkill,
            format!("{bystander} {bystander} 0"),
            Done,
            PERM,
        ),
        row("changes a process' limits", libc::SYS_prlimit64, format!("{bystander} 7 0 0"), Done, PERM),
        row("takes a process' descriptors", libc::SYS_pidfd_open, format!("{bystander} 0"), Done, PERM),
        // The kernel.
        row("loads a module", libc::SYS_init_module, "0 0 @".into(), Untried, PERM),
        row("loads a module from a file", libc::SYS_finit_module, "0 @ 0".into(), Untried, PERM),
        row("loads another kernel", libc::SYS_kexec_load, "0 0 0 0".into(), Untried, PERM),
        row("restarts the host", libc::SYS_reboot, "0 0 0 0".into(), Heard, PERM),
        row("loads a program into the kernel", libc::SYS_bpf, "0 0 0".into(), Heard, PERM),
        row("asks by a ring", libc::SYS_io_uring_setup, "1 0".into(), Heard, PERM),
        row("handles page faults", libc::SYS_userfaultfd, "1".into(), Done, PERM),
        row("counts events", libc::SYS_perf_event_open, "0 0 -1 -1 0".into(), Heard, PERM),
        row("looks for keys", libc::SYS_keyctl, "0 -3 0".into(), Done, PERM),
        row("sets the clock", libc::SYS_clock_settime, "0 0".into(), Heard, PERM),
        // Namespaces, mounts, users.
        row("makes a user namespace", libc::SYS_unshare, format!("{}", libc::CLONE_NEWUSER), Heard, PERM),
        row("makes a mount namespace", libc::SYS_unshare, format!("{}", libc::CLONE_NEWNS), Untried, PERM),
        row("mounts", libc::SYS_mount, "0 0 0 0 0".into(), Heard, PERM),
        row("mounts by a newer call", libc::SYS_fsopen, "@tmpfs 0".into(), Done, PERM),
        row("changes its root", libc::SYS_chroot, "@/nowhere".into(), Heard, PERM),
        row("becomes somebody else", libc::SYS_setresuid, "-1 -1 -1".into(), Done, PERM),
        row("takes rights back", libc::SYS_capset, "0 0".into(), Heard, PERM),
        // The network.
        row("asks the kernel's cryptography", libc::SYS_socket, "38 5 0".into(), Untried, PERM),
        row("speaks to a hypervisor", libc::SYS_socket, format!("{} 1 0", libc::AF_VSOCK), Untried, PERM),
        row(
            "speaks to the packet filter",
            libc::SYS_socket,
            format!("16 3 {}", libc::NETLINK_NETFILTER),
            Done,
            PERM,
        ),
        row(
            "speaks to systemd or the bus",
            libc::SYS_socket,
            format!("{} {} 0", libc::AF_UNIX, libc::SOCK_STREAM),
            Done,
            PERM,
        ),
        row(
            "speaks to a daemon by datagrams",
            libc::SYS_socket,
            format!("{} {} 0", libc::AF_UNIX, libc::SOCK_DGRAM),
            Done,
            PERM,
        ),
        row("asks for a ring of packets", libc::SYS_setsockopt, "0 263 5 0 0".into(), Heard, PERM),
        row("speaks Bluetooth", libc::SYS_socket, "31 3 0".into(), Untried, PERM),
    ]
}
