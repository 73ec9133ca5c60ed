//! The kernel's error numbers by their names, with what they mean: a person looks for the name, and reads the words.

use super::Errno;

/// Those that a boot meets.
const NAMES: &[(Errno, &str)] = &[
    (Errno::PERM, "EPERM, not permitted"),
    (Errno::NOENT, "ENOENT, not found"),
    (Errno::IO, "EIO, input/output error"),
    (Errno::NXIO, "ENXIO, no such device"),
    (Errno::NOEXEC, "ENOEXEC, wrong format, or a module of another kernel"),
    (Errno::NOMEM, "ENOMEM, too little memory"),
    (Errno::ACCESS, "EACCES, refused"),
    (Errno::BUSY, "EBUSY, in use"),
    (Errno::EXIST, "EEXIST, is there already"),
    (Errno::NODEV, "ENODEV, the kernel has nothing of this kind"),
    (Errno::NOTDIR, "ENOTDIR, not a directory"),
    (Errno::ISDIR, "EISDIR, a directory"),
    (Errno::INVAL, "EINVAL, not taken"),
    (Errno::NOSPC, "ENOSPC, no space left"),
    (Errno::ROFS, "EROFS, read-only"),
    (Errno::LOOP, "ELOOP, links in a circle"),
    (Errno::NOSYS, "ENOSYS, the kernel can't do this"),
    (Errno::PROTO, "EPROTO, not the protocol that was meant"),
    (Errno::OPNOTSUPP, "EOPNOTSUPP, the kernel can't do this"),
    (Errno::PROTONOSUPPORT, "EPROTONOSUPPORT, the other side does not speak this version"),
    (Errno::ADDRINUSE, "EADDRINUSE, in use"),
    (Errno::ADDRNOTAVAIL, "EADDRNOTAVAIL, not an address of this machine"),
    (Errno::NETDOWN, "ENETDOWN, the network is down"),
    (Errno::NETUNREACH, "ENETUNREACH, no route there"),
    (Errno::CONNRESET, "ECONNRESET, cut off"),
    (Errno::PIPE, "EPIPE, cut off"),
    (Errno::TIMEDOUT, "ETIMEDOUT, no answer"),
    (Errno::CONNREFUSED, "ECONNREFUSED, nothing listens there"),
    (Errno::HOSTUNREACH, "EHOSTUNREACH, nobody has this address"),
    (Errno::STALE, "ESTALE, gone"),
    (Errno::KEYREJECTED, "EKEYREJECTED, the signature is not one that the kernel trusts"),
];

/// The name of a number, and what it means.
#[must_use]
pub fn name(errno: Errno) -> String {
    let known = NAMES.iter().find(|(known, _)| *known == errno);
    known.map_or_else(|| format!("error {}", errno.raw_os_error()), |(_, name)| (*name).to_owned())
}
